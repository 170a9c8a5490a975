"""Projections: views of the merged records that the merge keeps up to date in collections of their own.

Owns the interface between the merge and such a view; `projections` lists the views. A projection sees the new records
while they are folded, and writes its collections once they are merged. Its output must follow from the set of merged
deltas alone, as the snapshot does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

from dreamcatcherd.core.collections import Table
from dreamcatcherd.core.ledger import BookRow
from dreamcatcherd.core.model import Json, Record, Stamp
from dreamcatcherd.core.snapshot import Folders
from dreamcatcherd.core.tree import Entry, Objects

BroughtRecords = Mapping[str, tuple[list[Json], list[Record], list[Stamp]]]
"""What new deltas bring, by collection: keys, records and stamps side by side. The records of one delta are in order.
"""

ProjectionRow = BookRow
"""A row that a projection adds to the ledger. Another projection joins its own type here, as a union."""


class Derived(NamedTuple):
    """The result of updating a projection."""

    added: dict[str, int]
    """How many entities were added to each derived collection; negative if more were removed."""
    rows: list[ProjectionRow]
    """Rows for the ledger."""


class Projection(Protocol):
    """One view during one merge."""

    def note(self, brought: BroughtRecords) -> None:
        """Note the new records of one part of the frame. Parts come one after the other, and each is freed before the
        next is folded, so a projection must not keep a reference to one."""

    def notes(self) -> Any:
        """What was noted so far, for `recall` of another one that notes other parts: plain values and stamps."""

    def recall(self, notes: Any) -> None:
        """Add what another one noted of other entities."""

    def update(self, objects: Objects, before: dict[str, Entry], folders: Folders) -> Derived:
        """Bring the derived collections up to the records that have just been merged into `folders`. `before` is the
        folder `state` as it was before the merge."""


NewProjection = Callable[[Table], Projection]
"""Makes the view for one merge under a table of collections."""
