"""The table of collections as data: section and aliases, key fields, rule (docs/protocol.md#a-delta). Settings add
rows.

Owns the shape of a row and the default rows; `records` reads records by them, `rules` joins records."""

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

    `key` holds the name and aliases of each key field. `content` names the text that is the last part of the key, for
    records that have no other identity (comments); a record without that text is keyed by the complete record. `form`
    says which object the section may be, besides a list of records. `shard` is the index of the key field by which
    records are neighbours in the snapshot, and `a_file` is how many of them one file may hold."""

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
        """The part that must not change once the collection has entities: how records are keyed, joined and laid
        out."""
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
"""Rows that no section feeds and no configuration changes: the merge derives them from chapters and books
(docs/protocol.md#books). A compiled book is large, so each has a file of its own."""


def sections_of(table: Table) -> dict[str, tuple[Collection, int]]:
    """Each known section with its collection and its place among that collection's sections."""
    return {section: (row, i) for row in table.values() for i, section in enumerate(row.sections)}
