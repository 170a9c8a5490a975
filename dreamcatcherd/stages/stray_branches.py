"""Deltas on branches that nothing is merged from, and why a file was never judged. For `status` and `receipt`."""

from __future__ import annotations

from dreamcatcherd.core import paths
from dreamcatcherd.core.codec import plain
from dreamcatcherd.core.model import Delta
from dreamcatcherd.core.settings import Settings
from dreamcatcherd.core.tree import lookup
from dreamcatcherd.core.troubles import Trouble
from dreamcatcherd.git.protocols import ObjectReader
from dreamcatcherd.stages.delta_reader import versions_of
from dreamcatcherd.stages.inbox import Inbox
from dreamcatcherd.stages.never_merged import never_merged, not_a_delta

BRANCHES = 100
"""How many branches of no lane are looked into for deltas."""


class StrayBranches:
    """Branches of no lane that bring deltas: each commit is looked into once."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str | None, paths.Roots], int] = {}
        self._last: tuple[dict[str, str], object, list[Trouble]] | None = None

    def troubles(
        self, store: ObjectReader, refs: dict[str, str], main: str, settings: Settings, published: str | None
    ) -> list[Trouble]:
        """One trouble for each branch whose commits bring deltas that nobody merges."""
        key = (main, settings.lane_prefix, settings.intake.roots, published)
        # Compared as an object: between two polls mostly nothing changes, and there may be thousands of refs.
        if self._last is None or self._last[0] is not refs or self._last[1] != key:
            self._last = (refs, key, self._look(store, refs, main, settings, published))
        return self._last[2]

    def _look(
        self, store: ObjectReader, refs: dict[str, str], main: str, settings: Settings, published: str | None
    ) -> list[Trouble]:
        found: list[Trouble] = []
        known: dict[tuple[str, str | None, paths.Roots], int] = {}
        roots = settings.intake.roots
        lanes = settings.lane_prefix  # asked first: a fleet has thousands of them, and few other branches
        strays = [ref for ref in refs if not ref.startswith(lanes) and never_merged(ref, main, settings) is not None]
        for ref in sorted(strays)[:BRANCHES]:
            key = (refs[ref], published, roots)
            count = self._known.get(key)
            if count is None:
                count = _count(store, refs[ref], [oid for oid in (published, refs.get(main)) if oid], roots)
            known[key] = count
            if count:
                many = "1 version of a delta that is" if count == 1 else f"{count} versions of deltas that are"
                what = f"{paths.short_ref(ref)} brings {many} never merged"
                lane = f"{paths.short_ref(settings.lane_prefix)}<stream_id>"
                remedy = f"push them to {paths.short_ref(main)} or to {lane}"
                if (relay := paths.relay_name(ref)) is not None:
                    remedy = f'list the relay in {paths.SETTINGS}: [lanes] relays = ["{relay}"], or delete the branch'
                found.append(Trouble(plain(what), None, remedy))
        self._known = known
        return found


def _count(store: ObjectReader, tip: str, hidden: list[str], roots: paths.Roots) -> int:
    return sum(len(versions_of(store, commit, roots)) for commit in store.new_commits([tip], hidden).values())


def occupied_lanes(store: ObjectReader, inbox: Inbox) -> list[Trouble]:
    """Lanes that bring no delta of their stream: somebody else may have put them in its way."""
    sources = {one.source for one in inbox.arrivals if isinstance(one.item, Delta)}
    found: list[Trouble] = []
    for ref, oid in sorted(inbox.refs.items()):
        stream = paths.lane_stream(ref, inbox.settings.lane_prefix)
        if stream is None or ref == inbox.main or paths.short_ref(ref) in sources:
            continue
        commit = store.commit(oid)
        merged = oid not in inbox.commits
        if merged and (len(commit.parents) > 1 or versions_of(store, commit, inbox.settings.intake.roots)):
            continue
        state = "is merged, and its last commit" if merged else "waits, and"
        by = f" by {commit.author}" if commit.author else ""
        lane = paths.short_ref(ref)
        what = f"{lane} {state} brings no delta of the stream {stream!r}; its head is {oid[:10]}{by}"
        remedy = f"if it is not that stream's, git push --delete origin {lane}; allowed_signers keep others off it"
        found.append(Trouble(plain(what), None, remedy))
    return found


def why_unseen(store: ObjectReader, refs: dict[str, str], main: str, settings: Settings, path: str) -> str | None:
    """Why a path that some ref has is no delta that was ever judged; None if no ref has it."""
    for ref in sorted(refs, key=lambda ref: (ref != main, ref))[: 10 * BRANCHES]:
        if lookup(store, store.commit(refs[ref]).tree, path) is None:
            continue
        where = paths.short_ref(ref)
        if (why := never_merged(ref, main, settings)) is not None:
            return f"{path} is on {where}, which is {why}"
        if paths.root_above(path, settings.intake.roots) is None:
            return f"{path} is on {where}, outside {paths.named_roots(settings.intake.roots)}: it is never merged"
        if not path.endswith(".json"):
            return f"{path} is on {where}, and is {not_a_delta(path)}"
    return None
