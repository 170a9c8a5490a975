"""Who holds which resource: the collections of claims in the published snapshot (docs/protocol.md#claims)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from dreamcatcherd.core.keys import natural_key
from dreamcatcherd.core.model import Json
from dreamcatcherd.core.shards import SUFFIX
from dreamcatcherd.core.snapshot import Folders, file_name, items, open_snapshot
from dreamcatcherd.core.tree import Reader
from dreamcatcherd.stages.published import PublishedState


class HeldClaim(NamedTuple):
    """A resource that a stream holds, since one frame and through another."""

    collection: str
    key: Json
    holder: str
    since: int
    until: int


def held_claims(objects: Reader, base: PublishedState) -> Iterator[HeldClaim]:
    """The resources that are held in the open frame."""
    folders = open_snapshot(objects, base.snapshot)
    for name in _collections(base):
        for claim in _claims(objects, folders, base, name):
            if claim.until >= base.state.frame:
                yield claim


def _collections(base: PublishedState) -> list[str]:
    return sorted(name for name, row in base.settings.table.items() if row.rule == "claim")


def _claims(objects: Reader, folders: Folders, base: PublishedState, name: str) -> Iterator[HeldClaim]:
    row = base.settings.table[name]
    for item in items(objects, folders, base.settings.table, name):
        record = item.record
        yield HeldClaim(name, natural_key(row, record), record["holder"], record["since"], record["until"])


class HeldClaims:
    """Counts what is held. A collection is read again only when it has changed; time alone ends the others."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[object, Counter[int]]] = {}

    def held(self, objects: Reader, base: PublishedState) -> dict[str, int]:
        """How many resources are held in the open frame, by collection."""
        names = _collections(base)
        if not names:
            return {}
        folders = open_snapshot(objects, base.snapshot)
        before, self._known = self._known, {}
        for name in names:
            stem = file_name(name)
            entries = (folders.state.get(stem), folders.state.get(stem + SUFFIX))
            last, counts = before.get(name, (None, Counter()))
            if last != entries:
                counts = Counter(claim.until for claim in _claims(objects, folders, base, name))
            self._known[name] = (entries, counts)
        frame = base.state.frame
        return {name: sum(n for until, n in self._known[name][1].items() if until >= frame) for name in names}
