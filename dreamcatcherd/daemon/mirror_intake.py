"""Reading one mirror: its heads are fetched into the repository that the primary works on, and kept there by refs.

What is kept counts from then on, whatever becomes of the mirror: git is the memory. All else that is remembered here
saves requests, and a restart asks again."""

from __future__ import annotations

from collections.abc import Mapping

from dreamcatcherd.core import paths
from dreamcatcherd.core.report import plural
from dreamcatcherd.core.settings import Settings
from dreamcatcherd.daemon.mirror_config import MirrorSite
from dreamcatcherd.git.kept_refs import KeptRefs
from dreamcatcherd.git.mirror import MirrorWire
from dreamcatcherd.git.protocols import QueryReader
from dreamcatcherd.git.ref_names import is_plain_branch
from dreamcatcherd.stages.mirror_copy import check_branch, check_history, is_here
from dreamcatcherd.stages.snapshot_chain import tips_of

LANES_MOST = 20_000
"""How many lanes of one mirror are looked at; further ones are left out, and reported."""


class MirrorIntake:
    """One mirror as it is read. One thread owns it."""

    def __init__(self, mirror: MirrorSite, wire: MirrorWire, kept: KeptRefs) -> None:
        """`dropping` are the refs that the loop needs no longer, `blocked` those whose heads cannot be merged."""
        self._mirror = mirror
        self._wire = wire
        self._kept = kept
        self._root = f"{paths.MIRRORS}{mirror.table.name}/"
        self._known: dict[str, str] = {}  # the heads that were dealt with, by ref
        self._left_out = 0  # lanes beyond LANES_MOST
        self._stored: set[str] = set()  # the refs that are kept, as far as they were not dropped since
        self.dropping: frozenset[str] = frozenset()
        self.blocked: frozenset[str] = frozenset()

    def kept_heads(self) -> dict[str, str]:
        """The heads of this mirror that are kept, by their refs here."""
        found = {ref: oid for ref, oid in self._kept.read().items() if ref.startswith(self._root)}
        if not self._stored <= found.keys():  # the clone was made again: every head is asked for again
            self._known.clear()
        self._stored = set(found)
        return found

    def list_heads(self, main: str, settings: Settings) -> dict[str, str]:
        """The refs that count at the mirror: its shared branch, its lanes, and the refs of publications."""
        heads = self._wire.heads([main, *settings.lane_patterns, paths.PUBLISHED, paths.SEEN])
        own = {ref: oid for ref, oid in heads.items() if ref in (main, paths.PUBLISHED, paths.SEEN)}
        lanes = [ref for ref in sorted(heads) if settings.is_lane(ref) and is_plain_branch(ref)]
        self._left_out = max(0, len(lanes) - LANES_MOST)
        return {**own, **{ref: heads[ref] for ref in lanes[:LANES_MOST]}}

    def judge(self, store: QueryReader, listed: Mapping[str, str], published: str) -> None:
        """Fetch what the mirror has published, if it is not here; RefusedError if it is of another history."""
        theirs = listed.get(paths.PUBLISHED)
        if theirs is None:
            return
        if not is_here(store, theirs):
            self._wire.fetch({paths.PUBLISHED: theirs})
            store.refresh()
        check_history(store, published, theirs, self._mirror.table.name)

    def read(self, store: QueryReader, listed: Mapping[str, str], published: str, main: str) -> dict[str, str]:
        """Fetch the heads that are new, keep those that no publication reaches, and drop refs that are not needed.
        Returns the heads that are kept then."""
        kept = self.kept_heads()
        heads = {ref: oid for ref, oid in listed.items() if ref not in (paths.PUBLISHED, paths.SEEN)}
        refused = self._wire.refused = {ref: oid for ref, oid in self._wire.refused.items() if heads.get(ref) == oid}
        wanted = {ref: oid for ref, oid in heads.items() if self._known.get(ref) != oid and ref not in refused}
        here = self._wire.fetch(wanted) if wanted else {}
        store.refresh()
        new = store.new_commits(set(here.values()), tips_of(store, published)) if here else {}
        check_branch(new, here.get(main), self._mirror.table.name)
        add = {
            paths.mirrored_ref(self._mirror.table.name, ref.removeprefix("refs/heads/"), oid): oid
            for ref, oid in here.items()
            if oid in new
        }
        # A head that cannot be merged is kept for as long as the mirror has it.
        gone = {ref for ref in self.blocked & kept.keys() if not self._still(heads, ref, kept[ref])}
        drop = (self.dropping | gone) & kept.keys()
        self._kept.change({ref: oid for ref, oid in add.items() if ref not in kept}, drop - add.keys())
        self._known = {ref: oid for ref, oid in heads.items() if ref in here or self._known.get(ref) == oid}
        now = {ref: oid for ref, oid in kept.items() if ref not in drop} | add
        self._stored = set(now)
        return now

    def _still(self, heads: Mapping[str, str], ref: str, oid: str) -> bool:
        found = paths.mirrored_branch(ref)
        return found is not None and heads.get(f"refs/heads/{found[1]}") == oid

    def troubles(self) -> list[tuple[str, str]]:
        """What is wrong with single heads, each with a remedy."""
        found = []
        if self._wire.refused:
            ref = min(self._wire.refused)
            what = f"{plural(len(self._wire.refused), 'head')} with objects that git refuses, such as"
            cause = f"mirror {self._mirror.table.name} has {what} {paths.short_ref(ref)}"
            found.append((cause, "nothing is read from it: let its owner push another history there"))
        if self._left_out:
            many = f"mirror {self._mirror.table.name} has {plural(self._left_out, 'lane')} more than are looked at"
            found.append((many, "lower [retention] lanes_keep, and see who pushes so many"))
        return found
