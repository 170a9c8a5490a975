"""Stage 2, ingest: every version of every delta in every commit that is not merged yet.

Which commits count is the contract's (docs/protocol.md#the-repository). What the reader
remembers between two polls is a cache: without it, everything is read from git again."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import structs

from dreamcatcherd.core import paths
from dreamcatcherd.core.codec import decoded_size
from dreamcatcherd.core.errors import UnreadableError
from dreamcatcherd.core.model import Arrival, Delta, DeltaArrival, Reject, Version, arrival_of
from dreamcatcherd.core.settings import Settings
from dreamcatcherd.core.signers import Signers, lines_at, speaks_for
from dreamcatcherd.core.tree import FILE
from dreamcatcherd.git.protocols import Commit, ObjectReader, SignatureChecker, Store
from dreamcatcherd.git.reachability import reach_within
from dreamcatcherd.stages.attribution import attribute, reject_unsigned, sources_of
from dreamcatcherd.stages.delta_reader import ReadVersion, deltas_among, files_of, noting, read_delta, read_versions
from dreamcatcherd.stages.early_deltas import ending
from dreamcatcherd.stages.fetch import View
from dreamcatcherd.stages.inbox import Inbox, Rewind
from dreamcatcherd.stages.mirrored import mirrored_heads, without_covered
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


DECODED_BYTES = 64 * 2**20
"""How much memory the deltas may take that are kept decoded while they wait (`decoded_size`)."""

RAW_BYTES = 16 * 2**20
"""How many bytes of the other deltas are kept as they were read, and decoded again when they are merged; what is beyond
that is read again. A decoded delta takes several times the memory of its bytes, and decoding is the faster part of
reading."""

RECENT = 64
"""How many snapshot commits a fresh start reads: their parents are the lane heads that were merged lately."""


class InboxReader:
    """Reads new commits, each once: a commit never changes, so what it holds is kept while it waits."""

    def __init__(self, progress: Callable[[], None] = lambda: None) -> None:
        """`settled` are the lanes, by ref, whose heads the published commit was last seen to reach. `progress` is
        called while a backlog is read."""
        self._progress = progress
        self._judged: dict[str, list[ReadVersion]] = {}
        self._kept = 0  # bytes of memory of the bodies that are kept decoded
        self._kept_of: dict[str, int] = {}  # the same by commit
        self._kept_raw = 0  # bytes of the documents that are kept as they were read
        self._arrivals: dict[str, tuple[list[str], list[Arrival]]] = {}
        self._held: dict[Version, Judged] = {}
        self.settled: dict[str, str] = {}
        self._seen: dict[str, str] = {}
        self._rewound: dict[str, str] = {}  # old heads of rewound lanes that are not merged yet, each with its ref
        self._rewinds: list[Rewind] = []
        self._arrived: dict[str, int | None] = {}
        self._signed: dict[str, str | None] = {}  # the fingerprint of each new commit's good signature
        self._signers: Signers | None = None
        self._faults: dict[str, str] = {}  # new commits that cannot be read, with the reason
        self._unreadable: tuple[Unreadable, ...] = ()
        self._blocked: dict[str, str] = {}  # lane heads that bring an unreadable commit; each is read once
        self._blocked_since: str | None = None  # the publication under which they were blocked
        self._reported: set[tuple[str, str]] = set()  # unreadable commits that a ledger names, as (ref, commit)
        self._judged_by: object = None
        self._is_lane: tuple[object, dict[str, bool]] = (None, {})  # by ref, under one prefix and list of relays
        self._last: Inbox | None = None

    def read(self, store: Store, view: View) -> Inbox:
        """Find all that waits on `main` and on the lanes. New commits arrived at the view's time.

        A view that shows what the last one did costs nothing for each lane: the inbox is that of the last one."""
        last, self._last = self._last, None
        if last is None or not view.shows_the_same(last.view):
            last = self._read_all(store, view)
        self._last = structs.replace(last, view=view)
        return self._last

    def _read_all(self, store: Store, view: View) -> Inbox:
        refs, main, head, base, settings = view.refs, view.main, view.head, view.published, view.settings
        lanes = self._lanes(refs, main, settings)
        if not self.settled and base.commit:
            self.settled = _merged_lately(store, base.commit, lanes)
        self._note_rewinds(store, base, refs, lanes, main)
        mirrored = mirrored_heads(refs, settings, main)  # their refs never move, so they are never rewound
        lanes = {**lanes, **mirrored}
        self._blocked = {ref: oid for ref, oid in self._blocked.items() if lanes.get(ref) == oid}
        self._unblock(store, base)

        # A fleet has thousands of lanes and few of them bring something: settled and blocked ones are not walked again.
        open_lanes = [oid for ref, oid in lanes.items() if self.settled.get(ref) != oid and ref not in self._blocked]
        tips = {*open_lanes, *self._rewound, *([refs[main]] if main in refs else [])}
        commits = store.new_commits(tips, base.tips) if tips - set(base.tips) else {}
        commits = followed(store, commits, refs.get(main), base.tips)
        self._blocked = {ref: oid for ref, oid in self._blocked.items() if oid not in commits}
        self.settled = {ref: oid for ref, oid in lanes.items() if oid not in commits and ref not in self._blocked}
        self._rewound = {oid: ref for oid, ref in self._rewound.items() if oid in commits}
        self._forget(settings, commits)

        # Of a rewound lane the old head counts as a lane too: what it brought was pushed, and must be merged.
        live = [(ref, oid) for ref, oid in lanes.items() if oid in commits]
        live = sorted(live + [(ref, oid) for oid, ref in self._rewound.items()])
        live = self._readable(store, commits, settings, refs.get(main), main, live)
        if mirrored:
            live = without_covered(commits, live)
        heads = readable_heads(commits, self._faults, refs.get(main))
        if head is None:
            live = [(main, oid) for oid in heads] + live
        heads += [oid for ref, oid in live if ref == main and oid not in heads]  # `main` was rewound from these
        arrivals = self.waiting(store, base, settings)
        for oid, sources in sources_of(commits, heads, main, live).items():
            arrivals += self._arrivals_of(view, oid, commits[oid], sources)
        # Signatures come last, and of all new commits in one go: git checks them in one process.
        if settings.signers:
            arrivals = self.only_signed(store, arrivals, settings.signers, view.seen_at or None)
        unreported = tuple(one for one in self._unreadable if (one.ref, one.commit) not in self._reported)
        return Inbox(view, live, commits, arrivals, tuple(self._rewinds), self._unreadable, unreported)

    def _unblock(self, store: Store, base: PublishedState) -> None:
        """Read a lane again whose unreadable commit a publication has passed by on `main`: every clone has that commit
        now, and what the lane brings on top of it is honest work."""
        if base.commit == self._blocked_since:
            return
        self._blocked_since = base.commit
        passed = {
            one.ref
            for one in self._unreadable
            if one.ref in self._blocked and any(store.descends(tip, one.commit) for tip in base.tips)
        }
        self._blocked = {ref: oid for ref, oid in self._blocked.items() if ref not in passed}

    def _lanes(self, refs: dict[str, str], main: str, settings: Settings) -> dict[str, str]:
        """The refs that are lanes. Each name is judged once: a fleet has thousands, and one of them moves."""
        by, known = self._is_lane
        now = (main, settings.lane_prefix, settings.relays)
        if by != now or len(known) > 2 * len(refs) + 1_000:  # names that are gone do not pile up
            self._is_lane = (now, known := {})
        for ref in refs.keys() - known.keys():
            known[ref] = ref != main and settings.is_lane(ref)
        return {ref: oid for ref, oid in refs.items() if known[ref]}

    def _arrivals_of(self, view: View, oid: str, commit: Commit, sources: list[str]) -> list[Arrival]:
        """What one commit brings. It is attributed again only if other refs bring it than before."""
        known = self._arrivals.get(oid)
        if known is None or known[0] != sources:
            arrived = self._arrived.setdefault(oid, view.seen_at or None)
            known = (sources, attribute(self._judged[oid], sources, view.settings, commit.time, arrived))
            self._arrivals[oid] = known
        return known[1]

    def _readable(
        self,
        store: Store,
        commits: dict[str, Commit],
        settings: Settings,
        head: str | None,
        main: str,
        lanes: list[tuple[str, str]],
    ) -> list[tuple[str, str]]:
        """The lanes whose new commits can all be read. Unreadable commits of the others and of `main` are noted.

        Merging the head of such a lane would put the unreadable commit into every clone, so the lane is blocked until
        its owner pushes another history. On `main` the commit is there already, and only passed over."""
        self._read_new(store, commits, settings)
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
        rewound = set(self._rewound.values())
        self._blocked |= {ref: tip for ref, tip in lanes if found[ref] and tip not in of_main and ref not in rewound}
        return [(ref, tip) for ref, tip in lanes if found[ref] is None]

    def only_signed(
        self, store: SignatureChecker, arrivals: list[Arrival], signers: Signers, now: int | None = None
    ) -> list[Arrival]:
        """The arrivals, with every delta rejected that no key of its stream signed. Held deltas were checked before.

        A key counts if it is valid `now` (None: at any time). The commit's own date does not matter: its author chooses
        it, so a key that has expired could sign for the past."""
        if signers != self._signers:
            self._signed.clear()
            self._signers = signers
        new = {arrival.item.version.commit for arrival in arrivals if arrival.since is None}
        good = store.good_signatures(sorted(new - self._signed.keys()), lines_at(signers.lines, now))
        self._signed = {oid: good.get(oid, self._signed.get(oid)) for oid in new}
        return [
            reject_unsigned(arrival)
            if isinstance(arrival, DeltaArrival)
            and arrival.since is None
            and not speaks_for(signers, self._signed[arrival.item.version.commit], arrival.item.stream_id)
            else arrival
            for arrival in arrivals
        ]

    def published(self) -> None:
        """The rewinds and unreadable commits that were noticed so far are in a ledger now."""
        self._last = None
        self._rewinds.clear()
        self._reported = {(one.ref, one.commit) for one in self._unreadable}

    def _note_rewinds(
        self, store: Store, base: PublishedState, refs: dict[str, str], lanes: dict[str, str], main: str
    ) -> None:
        """Compare `main` and each lane with the last poll, and keep the old head of one that was rewound before it was
        merged.

        A rewind that the last ledger names was seen by another primary, and is not reported twice."""
        now = lanes if paths.is_copy(refs) or main not in refs else {**lanes, main: refs[main]}
        left_alone = {one.ref for one in self._unreadable}
        moved = [(ref, old) for ref, old in self._seen.items() if refs.get(ref) != old]
        for ref, old in sorted(moved):
            new = refs.get(ref)
            if new is not None and store.descends(new, old):
                continue
            merged = any(store.descends(tip, old) for tip in base.tips)
            # The old head may be gone from the object database already: then there is nothing to merge.
            if not merged and ref not in left_alone and store.resolve(old) == old:
                self._rewound[old] = ref
            # Of `main` a rewind behind the last publication is found in git itself, whoever saw it.
            if not merged or (new is not None and ref != main):
                self._rewinds.append(Rewind(ref, old, new))
        self._seen = now
        reported = {(row.path, row.commit, row.detail) for row in base.ledger.violations} if base.ledger else set()
        self._rewinds = [
            one for one in self._rewinds if (paths.short_ref(one.ref), one.new, one.detail) not in reported
        ]

    def _forget(self, settings: Settings, commits: dict[str, Commit]) -> None:
        """Drop what is remembered of commits that are no longer new, and everything if the settings changed."""
        # In settings without a file of their own, as in tests, the values themselves are compared.
        judged_by = (settings.blob, settings.limits, settings.lane_prefix, settings.relays, settings.intake)
        if judged_by != self._judged_by:
            self._judged.clear()
            self._arrivals.clear()
            self._held.clear()
            self._kept_of.clear()
            self._kept = self._kept_raw = 0
            self._judged_by = judged_by
        for oid in [oid for oid in self._judged if oid not in commits]:
            self._kept -= self._kept_of.pop(oid, 0)
            for item, _ in self._judged.pop(oid):
                if isinstance(item, Delta):
                    self._kept_raw -= len(item.raw or b"")
            self._arrivals.pop(oid, None)
        self._arrived = {oid: now for oid, now in self._arrived.items() if oid in commits}

    def _read_new(self, store: Store, commits: dict[str, Commit], settings: Settings) -> None:
        """Read the versions that new commits bring, each once; a commit that cannot be read brings none and is noted.

        What they bring is listed first, so that all of it is read in the order of the packs."""
        brought: dict[str, list[tuple[str, str, int]]] = {}
        for oid in noting([oid for oid in commits if oid not in self._judged], self._progress):
            self._judged[oid] = []
            try:
                brought[oid] = deltas_among(files_of(store, commits[oid], settings.intake.roots))
            except UnreadableError as error:
                self._faults[oid] = error.cause
        ahead = self._read_ahead(store, brought, settings)
        for oid, versions in noting(brought.items(), self._progress):
            if oid in self._faults:
                continue
            try:
                judged = read_versions(store, oid, versions, settings, ahead=ahead)
            except UnreadableError as error:
                self._faults[oid] = error.cause
                continue
            self._judged[oid] = [
                one if one.item.version in ahead else one._replace(item=self._spared(oid, one.item)) for one in judged
            ]

    def _read_ahead(
        self, store: Store, brought: dict[str, list[tuple[str, str, int]]], settings: Settings
    ) -> dict[Version, Judged]:
        """One version of each blob that each commit brings, read in the order of the packs."""
        named: dict[str, dict[str, Version]] = {}
        for oid, versions in brought.items():
            for path, blob, mode in versions:
                named.setdefault(blob, {}).setdefault(oid, Version(path, blob, mode, oid))
        ahead: dict[Version, Judged] = {}
        for blob in noting(store.in_pack_order(named), self._progress):
            for oid, version in named[blob].items():
                if oid in self._faults:
                    continue
                try:
                    ahead[version] = self._spared(oid, read_delta(store, version, settings, keep_raw=True))
                except UnreadableError as error:
                    self._faults[oid] = error.cause
        return ahead

    def _spared(self, oid: str, item: Judged) -> Judged:
        """An item of a commit, with its bytes in place of its body if the bodies that are kept take enough memory
        already, and without both if the bytes do as well. Another name of a blob does not count its bytes once more."""
        if isinstance(item, Reject):
            return item
        raw = item.raw
        if raw is None or item.body is None:
            return structs.replace(item, body=None, raw=None)
        size = decoded_size(raw) + item.size - len(raw)  # with the texts of its attachments
        if self._kept + size <= DECODED_BYTES:
            self._kept += size
            self._kept_of[oid] = self._kept_of.get(oid, 0) + size
            return structs.replace(item, raw=None)
        if self._kept_raw + len(raw) > RAW_BYTES:
            return structs.replace(item, body=None, raw=None)
        self._kept_raw += len(raw)
        return structs.replace(item, body=None)

    def waiting(self, store: ObjectReader, base: PublishedState, settings: Settings) -> list[Arrival]:
        """The early deltas whose frame is open now, read again from their commits."""
        rows = ending(store, base)
        versions = [Version(row.path, row.blob, FILE, row.commit) for row in rows]
        before, self._held = self._held, {}
        for version in versions:
            item = before.get(version) or read_delta(store, version, settings)
            self._held[version] = structs.replace(item, body=None) if isinstance(item, Delta) else item
        return [
            arrival_of(self._held[version], row.source, row.since) for version, row in zip(versions, rows, strict=True)
        ]


def _merged_lately(store: ObjectReader, published: str, lanes: dict[str, str]) -> dict[str, str]:
    """The lanes whose heads are parents of the newest snapshot commits: a fresh start need not walk to them."""
    links = recent_links(store, published, RECENT)
    merged = {oid for link in links for oid in merged_heads(store, store.commit(link.oid))}
    return {ref: oid for ref, oid in lanes.items() if oid in merged}
