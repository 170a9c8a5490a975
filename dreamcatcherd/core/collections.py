"""The table of collections as data: section and aliases, key fields, rule (Protocol §4). Adding a row is configuration.

Owns what a row is and the default rows; how records are read is in `records`, what a rule does in `rules`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from msgspec import Struct

from dreamcatcherd.core.codec import RESERVED_SECTIONS as RESERVED_SECTIONS

RuleName = Literal["lww", "append", "dedup", "sum", "max", "first", "union"]
Form = Literal["records", "counters", "profiles"]

EXTRA = "extra"


class Collection(Struct, frozen=True):
    """One row of the table.

    `key` holds, for each key field, its name followed by its aliases. `content` names the text that is the last part
    of the key where records have no other (comments): a record without it is keyed by the whole of itself. `form` says
    which object, besides a list of records, the section may be. `shard` is the key field that decides which records
    lie side by side in the snapshot, and `a_file` how many of them one file there may hold."""

    name: str
    sections: tuple[str, ...]
    key: tuple[tuple[str, ...], ...]
    rule: RuleName
    content: str | None = None
    form: Form = "records"
    shard: int = 0
    a_file: int = 256

    @property
    def identity(self) -> tuple[object, ...]:
        """What may not change once the collection has entities: how records are keyed, joined and laid out."""
        return (tuple(names[0] for names in self.key), self.rule, self.content, self.form, self.shard)


Table = Mapping[str, Collection]
"""The rows by collection name."""

_NUMBER = ("discussion_number", "number", "discussion")
_AUTHOR = ("author", "agent")

_ROWS = (
    Collection("posts", ("posts_created",), (_NUMBER,), "lww"),
    Collection("comments", ("comments_added",), (_NUMBER, _AUTHOR), "dedup", content="body"),
    Collection("chapters", ("chapters_added", "chapters_written"), (("book",), ("chapter", "number"), _AUTHOR), "lww"),
    Collection("books", ("books_started",), (("book",),), "lww"),
    Collection("agents", ("profile_updates", "agent_updates", "agents_updated"), (("agent",),), "lww", form="profiles"),
    Collection("reactions", ("reactions_added",), (("node", "target"), ("agent",), ("type",)), "dedup"),
    Collection("counters", ("counters",), (("name",),), "sum", form="counters"),
    Collection("observations", ("observations",), (), "append"),
)

DEFAULT_TABLE: Table = {row.name: row for row in _ROWS}

CHAPTERS, BOOKS, PROGRESS, LIBRARY = "chapters", "books", "book_progress", "library"

DERIVED: Table = {
    PROGRESS: Collection(PROGRESS, (), (("book",), ("what",), ("which",)), "first"),
    LIBRARY: Collection(LIBRARY, (), (("book",),), "first", a_file=1),
}
"""Rows that no section feeds and no configuration changes: the merge makes them out of chapters and books (Protocol §5,
Books). A compiled book is large, so each has a file of its own."""


def sections_of(table: Table) -> dict[str, tuple[Collection, int]]:
    """Each known section with its collection and its place among that collection's sections."""
    return {section: (row, i) for row in table.values() for i, section in enumerate(row.sections)}
