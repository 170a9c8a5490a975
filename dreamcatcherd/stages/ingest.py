"""Commits to arrivals: every version of every delta in every commit not merged yet (Protocol §3).

Owns which commit came by which ref. What it remembers between two surveys is a cache: dropping it changes nothing."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from msgspec import Struct, structs

from dreamcatcherd.core import paths
from dreamcatcherd.core.codec import has_control
from dreamcatcherd.core.errors import UnreadableError
from dreamcatcherd.core.model import Arrival, Delta, Fault, Reject, RejectArrival, Version, arrival_of
from dreamcatcherd.core.settings import Settings
from dreamcatcherd.core.signers import Signers, lines_at, speaks_for
from dreamcatcherd.core.tree import FILE
from dreamcatcherd.git.protocols import Commit, ObjectReader, SignatureChecker, Store
from dreamcatcherd.git.reachability import reach_within
from dreamcatcherd.stages.delta_reader import ReadVersion, deltas_among, files_of, read_delta, read_versions
from dreamcatcherd.stages.early_deltas import ending, listed_rows
from dreamcatcherd.stages.fetch import View
from dreamcatcherd.stages.published import PublishedState
from dreamcatcherd.stages.snapshot_chain import merged_heads, recent_links
from dreamcatcherd.stages.unreadable import (
    Unreadable,
    followed,
    found_on,
    readable_heads,
    why_unreadable,
)

Judged = Delta | Reject


class Rewind(Struct, frozen=True):
    """A lane that no longer holds what it held at an earlier look; `new` is None where it was deleted."""

    ref: str
    old: str
    new: str | None

    @property
    def detail(self) -> str:
        return f"it no longer holds {self.old}" if self.new else f"it was deleted at {self.old}"


class Inbox(Struct, frozen=True):
    """What waits to be merged, as one view shows it.

    `lanes` are the lane heads that bring new commits, as (ref, commit): of a rewound lane both the old head and the new
    one, and, if `main`'s head cannot be read, the nearest commits below it that can. `commits` are all new commits.
    `unreadable` are commits that were passed over; of these, no ledger names the `unreported` ones yet."""

    view: View
    lanes: list[tuple[str, str]]
    commits: dict[str, Commit]
    arrivals: list[Arrival]
    rewinds: tuple[Rewind, ...] = ()
    unreadable: tuple[Unreadable, ...] = ()
    unreported: tuple[Unreadable, ...] = ()

    @property
    def refs(self) -> dict[str, str]:
        """All refs of the view."""
        return self.view.refs

    @property
    def main(self) -> str:
        """The shared branch, as a full ref name."""
        return self.view.main

    @property
    def head(self) -> str | None:
        """The commit of `main`; None if there is none that can be read."""
        return self.view.head

    @property
    def published(self) -> PublishedState:
        """The state that the open frame builds on."""
        return self.view.published

    @property
    def settings(self) -> Settings:
        """The settings that the open frame is merged under."""
        return self.view.settings

    def main_holds(self, commit: str) -> bool:
        """Whether `main` has the published commit in its history: then its new commits lead back to it."""
        todo, seen = [self.head], set()
        while todo:
            oid = todo.pop()
            if oid == commit:
                return True
            if oid in self.commits and oid not in seen:
                seen.add(oid)
                todo.extend(self.commits[oid].parents)
        return False


DECODED_COST = 4 * 2**20
"""How much of the deltas is kept decoded while they wait; what is beyond is read again when it is merged."""

RECENT = 64
"""Snapshot commits whose parents tell a fresh start which lanes are merged, so that it need not walk to them."""


class InboxReader:
    """Reads new commits, each once: a commit never changes, so what it holds is kept while it waits."""

    def __init__(self) -> None:
        """`settled` are the lanes, by ref, that the base was last seen to reach whole."""
        self._judged: dict[str, list[ReadVersion]] = {}
        self._kept = 0  # bytes of the bodies that are kept decoded
        self._arrivals: dict[str, tuple[list[str], list[Arrival]]] = {}
        self._held: dict[Version, Judged] = {}
        self.settled: dict[str, str] = {}
        self._seen: dict[str, str] = {}
        self._left: dict[str, str] = {}  # heads that a lane was rewound from before they were merged, with their ref
        self._rewinds: list[Rewind] = []
        self._arrived: dict[str, int | None] = {}
        self._signed: dict[str, str | None] = {}  # the fingerprint of each new commit's good signature
        self._signers: Signers | None = None
        self._faults: dict[str, str] = {}  # new commits that cannot be read, with the reason
        self._unreadable: tuple[Unreadable, ...] = ()
        self._blocked: dict[str, str] = {}  # heads of lanes that are left alone: not read again while they stand
        self._reported: set[tuple[str, str]] = set()  # of these, what a ledger names by now, as (ref, commit)
        self._judged_by: object = None

    def read(self, store: Store, view: View) -> Inbox:
        """Find all that waits on `main` and on the lanes. New commits arrived at the view's time."""
        refs, main, head, base, settings = view.refs, view.main, view.head, view.published, view.settings
        now = view.seen_at or None
        prefix = settings.lane_prefix
        lanes = {ref: oid for ref, oid in refs.items() if paths.lane_stream(ref, prefix) and ref != main}
        if not self.settled and base.commit:
            recent = recent_links(store, base.commit, RECENT)
            merged = {oid for link in recent for oid in merged_heads(store, store.commit(link.oid))}
            self.settled = {ref: oid for ref, oid in lanes.items() if oid in merged}
        self._notice(store, base, refs, lanes)
        open_lanes = {ref: oid for ref, oid in lanes.items() if self.settled.get(ref) != oid}
        self._blocked = {ref: oid for ref, oid in self._blocked.items() if lanes.get(ref) == oid}
        open_lanes = {ref: oid for ref, oid in open_lanes.items() if ref not in self._blocked}
        tips = {*open_lanes.values(), *self._left, *([refs[main]] if main in refs else [])}
        hidden = base.tips
        commits = store.new_commits(tips, hidden) if tips - set(hidden) else {}
        commits = followed(store, commits, refs.get(main), hidden)
        self._blocked = {ref: oid for ref, oid in self._blocked.items() if oid not in commits}
        self.settled = {ref: oid for ref, oid in lanes.items() if oid not in commits and ref not in self._blocked}
        self._left = {oid: ref for oid, ref in self._left.items() if oid in commits}
        live = [(ref, oid) for ref, oid in lanes.items() if oid in commits]
        live += [(ref, oid) for oid, ref in self._left.items()]
        live.sort()
        self._forget(settings, commits)
        live = self._readable(store, commits, settings, refs.get(main), main, live)
        heads = readable_heads(commits, self._faults, refs.get(main))
        if head is None:
            live = [(main, oid) for oid in heads] + live
        arrivals = self.waiting(store, base, settings)
        for oid, sources in _sources(commits, heads, main, live).items():
            known = self._arrivals.get(oid)
            if known is None or known[0] != sources:
                arrived = self._arrived.setdefault(oid, now)
                read = self._read(store, oid, commits[oid], settings)
                come = attribute(read, sources, prefix, commits[oid].time, arrived)
                known = self._arrivals[oid] = (sources, come)
            arrivals += known[1]
        if settings.signers:
            arrivals = self.only_signed(store, arrivals, settings.signers, now)
        unreported = tuple(one for one in self._unreadable if (one.ref, one.commit) not in self._reported)
        rewinds = tuple(self._rewinds)
        return Inbox(view, live, commits, arrivals, rewinds, self._unreadable, unreported)

    def _readable(
        self,
        store: ObjectReader,
        commits: dict[str, Commit],
        settings: Settings,
        head: str | None,
        main: str,
        lanes: list[tuple[str, str]],
    ) -> list[tuple[str, str]]:
        """The lanes of which every new commit can be read; of the others and of `main`, what cannot is noted."""
        for oid, commit in commits.items():
            self._read(store, oid, commit, settings)
        self._faults = {oid: why for oid, why in self._faults.items() if oid in commits}
        if head in commits and head not in self._faults and (why := why_unreadable(store, head)) is not None:
            self._faults[head] = why
        left_alone = [one for one in self._unreadable if one.ref in self._blocked]
        if not self._faults:
            self._unreadable = tuple(left_alone)
            return lanes
        found = {ref: found_on(ref, commits, self._faults, reach_within(commits, tip)) for ref, tip in lanes}
        of_main = set(reach_within(commits, head))
        on_main = found_on(main, commits, self._faults, of_main)
        now = [one for one in found.values() if one is not None]
        self._unreadable = ((on_main,) if on_main else ()) + tuple(sorted(left_alone + now, key=lambda one: one.ref))
        rewound = set(self._left.values())
        self._blocked |= {ref: tip for ref, tip in lanes if found[ref] and tip not in of_main and ref not in rewound}
        return [(ref, tip) for ref, tip in lanes if found[ref] is None]

    def only_signed(
        self, store: SignatureChecker, arrivals: list[Arrival], signers: Signers, now: int | None = None
    ) -> list[Arrival]:
        """The arrivals, with every delta rejected that no key of its stream signed. What is held was judged before.

        A key counts if it is valid `now` (None: at any time), when a commit is first seen, whatever date that bears."""
        if signers != self._signers:
            self._signed.clear()
            self._signers = signers
        new = {arrival.item.version.commit for arrival in arrivals if arrival.since is None}
        good = store.good_signatures(sorted(new - self._signed.keys()), lines_at(signers.lines, now))
        self._signed = {oid: good.get(oid, self._signed.get(oid)) for oid in new}
        return [
            reject_unsigned(arrival)
            if isinstance(arrival.item, Delta)
            and arrival.since is None
            and not speaks_for(signers, self._signed[arrival.item.version.commit], arrival.item.stream_id)
            else arrival
            for arrival in arrivals
        ]

    def published(self) -> None:
        """What was noticed so far is in a ledger by now."""
        self._rewinds.clear()
        self._reported = {(one.ref, one.commit) for one in self._unreadable}

    def _notice(self, store: Store, base: PublishedState, refs: dict[str, str], lanes: dict[str, str]) -> None:
        """Hold each lane against the last look: what a rewind would take away before it is merged is kept.

        What the last ledger tells of already, another primary saw too."""
        left_alone = {one.ref for one in self._unreadable}
        for ref, old in self._seen.items():
            new = refs.get(ref)
            if new == old or (new is not None and store.descends(new, old)):
                continue
            merged = any(store.descends(tip, old) for tip in base.tips)
            if not merged and ref not in left_alone and store.resolve(old) == old:
                self._left[old] = ref
            if new is not None or not merged:
                self._rewinds.append(Rewind(ref, old, new))
        self._seen = lanes
        told = {(row.path, row.commit, row.detail) for row in base.ledger.violations} if base.ledger else set()
        self._rewinds = [one for one in self._rewinds if (paths.short_ref(one.ref), one.new, one.detail) not in told]

    def _forget(self, settings: Settings, commits: dict[str, Commit]) -> None:
        judged_by = (settings.limits, settings.lane_prefix)
        if judged_by != self._judged_by:
            self._judged.clear()
            self._arrivals.clear()
            self._held.clear()
            self._kept = 0
            self._judged_by = judged_by
        for oid in [oid for oid in self._judged if oid not in commits]:
            gone = (found.item for found in self._judged.pop(oid))
            self._kept -= sum(item.cost for item in gone if isinstance(item, Delta) and item.body)
            self._arrivals.pop(oid, None)
        self._arrived = {oid: now for oid, now in self._arrived.items() if oid in commits}

    def _read(self, store: ObjectReader, oid: str, commit: Commit, settings: Settings) -> list[ReadVersion]:
        found = self._judged.get(oid)
        if found is None:
            found = []
            try:
                brought = deltas_among(files_of(store, commit))
                judged = read_versions(store, oid, brought, settings.limits)
                found = [one._replace(item=self._spared(one.item)) for one in judged]
            except UnreadableError as error:
                self._faults[oid] = error.cause
            self._judged[oid] = found
        return found

    def _spared(self, item: Judged) -> Judged:
        """The item, without its body where those that are kept take enough memory already."""
        if isinstance(item, Reject):
            return item
        if self._kept + item.cost > DECODED_COST:
            return structs.replace(item, body=None)
        self._kept += item.cost
        return item

    def waiting(self, store: ObjectReader, base: PublishedState, settings: Settings) -> list[Arrival]:
        """The early deltas whose frame is open now, read and judged again."""
        rows = [*ending(store, base), *listed_rows(base)]
        versions = [Version(row.path, row.blob, FILE, row.commit) for row in rows]
        before, self._held = self._held, {}
        for version in versions:
            item = before.get(version) or read_delta(store, version, settings.limits)
            self._held[version] = structs.replace(item, body=None) if isinstance(item, Delta) else item
        return [
            arrival_of(self._held[version], row.source, row.since) for version, row in zip(versions, rows, strict=True)
        ]


def without_lanes(inbox: Inbox, heads: Collection[tuple[str, str]]) -> Inbox:
    """What a inbox would be without some heads of lanes: what came by them alone is left out."""
    if not heads:
        return inbox
    lanes = [one for one in inbox.lanes if one not in heads]
    tips = [inbox.head, *(oid for _, oid in lanes)]
    kept = {oid for tip in tips for oid in reach_within(inbox.commits, tip)}
    arrivals = [one for one in inbox.arrivals if one.since is not None or one.item.version.commit in kept]
    return structs.replace(inbox, lanes=lanes, arrivals=arrivals)


def _sources(
    commits: dict[str, Commit], heads: list[str], main: str, lanes: list[tuple[str, str]]
) -> dict[str, list[str]]:
    """For each new commit the refs that bring it: `main` alone where that reaches it, else all lanes that do."""
    sources = {oid: ["main"] for head in heads for oid in reach_within(commits, head)}
    on_main = set(sources)
    for ref, tip in lanes:
        if ref == main:
            continue
        for oid in reach_within(commits, tip, on_main):
            sources.setdefault(oid, []).append(ref)
    return sources


def attribute(
    judged: Iterable[ReadVersion], sources: list[str], prefix: str, committed_s: int, arrived: int | None
) -> list[Arrival]:
    """What one commit brings, each with the ref that stands for it. On a lane the delta's stream must be the lane's
    (Protocol §4)."""
    first = paths.short_ref(sources[0])
    lanes: dict[str | None, str] = {}
    for ref in sources:
        lanes.setdefault(paths.lane_stream(ref, prefix), paths.short_ref(ref))
    found = []
    for item, more in judged:
        source = first
        if sources != ["main"] and isinstance(item, Delta):
            if item.stream_id in lanes:
                source = lanes[item.stream_id]
            else:
                item = _of_another(item, first)
        found.append(arrival_of(item, source, None, committed_s, arrived, more))
    return found


def _of_another(item: Delta, source: str) -> Reject:
    shown = item.stream_id if not has_control(item.stream_id) else "?"
    detail = f"the lane {source} is not the stream {shown!r}'s"
    return Reject(item.version, Fault("wrong-stream", detail, "$.stream_id"))


def reject_unsigned(arrival: Arrival) -> RejectArrival:
    version = arrival.item.version
    detail = f"commit {version.commit} has no good signature by a key of the delta's stream"
    return arrival.refused(Fault("wrong-stream", detail, "$.stream_id"))


def pending_streams(arrivals: list[Arrival]) -> dict[str, int]:
    """How many deltas wait, by stream."""
    counted: dict[str, int] = {}
    for arrival in arrivals:
        if isinstance(arrival.item, Delta):
            stream = arrival.item.stream_id
            counted[stream] = counted.get(stream, 0) + 1
    return dict(sorted(counted.items()))
