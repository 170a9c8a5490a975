"""The table of collections as data: sections, key, rule (docs/protocol.md#a-delta). Settings add rows.

Owns the shape of a row and the default rows; `records` reads records by them, `rules` joins records."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from typing import Literal, NamedTuple

from msgspec import Struct

RuleName = Literal["lww", "append", "dedup", "sum", "max", "min", "first", "union", "claim"]
FieldRule = Literal["lww", "sum", "max", "min", "union", "first", "deep"]
Form = Literal["records", "map", "counters", "profiles"]

EXTRA = "extra"
MARKS = ("_stamp", "_stamps", "_deleted")
"""Names that the export adds to records, and so no record may bring."""

BY_RECORD: frozenset[RuleName] = frozenset({"append", "dedup", "first", "claim"})
"""Rules that keep or refuse complete records, so that single fields have no rules of their own."""


class KeyField(NamedTuple):
    """A field of a key: its name in the collection, the other names that deltas may use, and whether it may be absent,
    which is stored as null."""

    name: str
    aliases: tuple[str, ...] = ()
    nullable: bool = False


KeyChoice = tuple[KeyField, ...]
"""One of the keys that a record may have: all its fields must be present."""


class Choice(NamedTuple):
    """One alternative of a key, with what follows from the complete row."""

    fields: KeyChoice
    names: tuple[str, ...]
    content: str | None
    """The field whose text is the last part, in the last alternative."""
    apart: bool
    """Whether the names are written into the key, since another alternative has equally many parts."""
    keys: frozenset[str]
    """The names, as a set."""


class Collection(Struct, frozen=True, dict=True):
    """One row of the table.

    `key` holds the alternatives: the first one whose fields a record has is its key. `content` names the text that is
    the last part of the last alternative, for records that have no other identity (comments); a record that lacks only
    the text is appended. `form` says which object the section may be, besides a list of records. `scalar` are patterns
    for bare strings, such as `{node}:{type}`. `shard` is the index of the key part by which records are neighbours in
    the snapshot, and `a_file` is how many of them one file may hold. `fields` are the rules of single fields, sorted.
    `delete` is the section that names entities to delete, and `ttl` for how many frames a claim holds."""

    name: str
    sections: tuple[str, ...]
    key: tuple[KeyChoice, ...]
    rule: RuleName
    content: str | None = None
    form: Form = "records"
    shard: int = 0
    a_file: int = 256
    scalar: tuple[str, ...] = ()
    fields: tuple[tuple[str, FieldRule], ...] = ()
    delete: str | None = None
    ttl: int = 0

    @property
    def identity(self) -> tuple[object, ...]:
        """The part that must not change once the collection has entities: how records are keyed, joined and laid
        out."""
        names = tuple(tuple(field.name for field in choice) for choice in self.key)
        return (names, self.rule, self.content, self.shard, self.fields)

    @property
    def key_names(self) -> tuple[str, ...]:
        """The fields that any alternative names, without repeats."""
        return tuple(dict.fromkeys(field.name for choice in self.key for field in choice))

    # What follows from a row is kept with it: it is asked for with every record.

    @cached_property
    def choices(self) -> tuple[Choice, ...]:
        """The alternatives of the key, in order."""
        last = len(self.key) - 1
        contents = [self.content if at == last else None for at in range(len(self.key))]
        lengths = [len(choice) + (content is not None) for choice, content in zip(self.key, contents, strict=True)]
        names = [tuple(field.name for field in choice) for choice in self.key]
        return tuple(
            Choice(choice, own, content, lengths.count(length) > 1, frozenset(own))
            for choice, own, content, length in zip(self.key, names, contents, lengths, strict=True)
        )

    @cached_property
    def aliased(self) -> tuple[KeyField, ...]:
        """The key fields that have aliases."""
        return tuple(dict.fromkeys(field for choice in self.key for field in choice if field.aliases))

    @cached_property
    def aliases(self) -> frozenset[str]:
        """Every alias of a key field."""
        return frozenset(alias for field in self.aliased for alias in field.aliases)

    @cached_property
    def as_it_is(self) -> Callable[[Iterable[str]], bool]:
        """Whether no field of a record needs another name, or may not be there: the record is stored as it came."""
        nameless = () if self.rule in BY_RECORD else ("",)
        return frozenset((*self.aliases, *MARKS, *nameless)).isdisjoint

    @cached_property
    def rules(self) -> Mapping[str, FieldRule]:
        """The rules of the fields that have their own."""
        return dict(self.fields)

    @cached_property
    def adds(self) -> bool:
        """Whether anything is added up."""
        return self.rule == "sum" or "sum" in self.rules.values()


Table = Mapping[str, Collection]
"""The rows by collection name."""

_NUMBER = KeyField("discussion_number", ("number", "discussion"))
_AUTHOR = KeyField("author", ("agent",))
_NODE = KeyField("node", ("target", "discussion_number", "number", "discussion"))
_TYPE = KeyField("type", ("reaction", "emoji", "content"))
_PROFILES = ("profile_updates", "agent_updates", "agents_updated")


def _one(*fields: KeyField) -> tuple[KeyChoice, ...]:
    return (fields,)


_ROWS = (
    Collection("posts", ("posts_created",), _one(_NUMBER), "lww"),
    Collection(
        "comments",
        ("comments_added",),
        ((KeyField("id", ("comment_id",)),), (_NUMBER, _AUTHOR)),
        "dedup",
        content="body",
    ),
    Collection(
        "chapters",
        ("chapters_added", "chapters_written"),
        _one(KeyField("book"), KeyField("chapter", ("number",)), _AUTHOR),
        "lww",
    ),
    Collection("books", ("books_started",), _one(KeyField("book")), "lww"),
    Collection("agents", _PROFILES, _one(KeyField("agent")), "lww", form="profiles"),
    Collection(
        "reactions",
        ("reactions_added",),
        ((KeyField("id"),), (_NODE, _TYPE, KeyField("agent", ("author",), nullable=True))),
        "dedup",
        scalar=("{node}:{type}", "{node}"),
    ),
    Collection("counters", ("counters",), _one(KeyField("name")), "sum", form="counters"),
    Collection("observations", ("observations",), (), "append"),
)

DEFAULT_TABLE: Table = {row.name: row for row in _ROWS}

CHAPTERS, BOOKS, PROGRESS, LIBRARY = "chapters", "books", "book_progress", "library"

DERIVED: Table = {
    PROGRESS: Collection(PROGRESS, (), _one(KeyField("book"), KeyField("what"), KeyField("which")), "first"),
    LIBRARY: Collection(LIBRARY, (), _one(KeyField("book")), "first", a_file=1),
}
"""Rows that no section feeds and no configuration changes: the merge derives them from chapters and books
(docs/protocol.md#books). A compiled book is large, so each has a file of its own."""


def sections_of(table: Table) -> dict[str, tuple[Collection, int]]:
    """Each known section with its collection and its place among that collection's sections. The section that names
    entities to delete comes after those that bring them."""
    found: dict[str, tuple[Collection, int]] = {}
    for row in table.values():
        for at, section in enumerate((*row.sections, *([row.delete] if row.delete else []))):
            found.setdefault(section, (row, at))
    return found
