"""The table of collections of the simple model: the rows of every fleet, and those of the settings."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from typing import Any

SETTINGS = b"""
[collections.firsts]
section = "firsts"
key = ["resource"]
rule = "first"
[collections.scores]
key = ["player"]
rule = "max"
[collections.tags]
key = ["page"]
rule = "union"
[collections.channels]
section = ["channels_updated", "meta.channels"]
form = "map"
key = ["id"]
rule = "lww"
delete = "channels_removed"
[collections.channels.fields]
post_count = "sum"
peak = "max"
low = "min"
tags = "union"
creator = "first"
traits = "deep"
[collections.follows]
key = ["follower", "followee"]
rule = "lww"
delete = "unfollowed"
[collections.votes]
key = [["id"], ["node", "agent"]]
scalar = "{node}:{agent}"
rule = "dedup"
delete = "votes_removed"
[collections.pins]
key = [["id"], ["slug"]]
rule = "first"
delete = "unpinned"
[collections.lows]
key = ["name"]
rule = "min"
delete = "lows_removed"
[collections.totals]
key = ["name"]
rule = "sum"
delete = "totals_removed"
[collections.bags]
key = ["name"]
rule = "union"
delete = "bags_removed"
[collections.tasks]
section = "claims"
key = ["resource"]
rule = "claim"
ttl = 2
"""

Alternative = tuple[tuple[str, ...], ...]
"""One way to key a record: for each field its own name and then its aliases."""

BY_FIELD = frozenset({"lww", "max", "min"})
"""Base rules whose entities have a stamp for each field."""


@dataclass(frozen=True)
class Row:
    """One collection: where its records come from, how they are keyed, and how they are joined."""

    name: str
    sections: tuple[str, ...]
    key: tuple[Alternative, ...]
    rule: str
    fields: dict[str, str] = field(default_factory=dict)
    form: str = "records"
    scalar: tuple[str, ...] = ()
    content: str | None = None
    nullable: frozenset[str] = frozenset()
    delete: str | None = None
    ttl: int = 0

    @property
    def by_field(self) -> bool:
        """Whether its entities have a stamp for each field."""
        return self.rule in BY_FIELD or bool(self.fields)

    def rule_of(self, name: str) -> str:
        """The rule of one field."""
        return self.fields.get(name, self.rule)

    def is_keyed_by_text(self, alternative: Alternative) -> bool:
        """Whether the content is the last part of this alternative's keys."""
        return self.content is not None and alternative == self.key[-1]

    def is_confusable(self, alternative: Alternative) -> bool:
        """Whether another alternative's keys have as many parts."""
        parts = [len(one) + self.is_keyed_by_text(one) for one in self.key]
        return parts.count(len(alternative) + self.is_keyed_by_text(alternative)) > 1


_NUMBER = ("discussion_number", "number", "discussion")
_AUTHOR = ("author", "agent")
_REACTION: Alternative = (
    ("node", "target", *_NUMBER),
    ("type", "reaction", "emoji", "content"),
    ("agent", "author"),
)

DEFAULTS = (
    Row("posts", ("posts_created",), ((_NUMBER,),), "lww"),
    Row("comments", ("comments_added",), ((("id", "comment_id"),), (_NUMBER, _AUTHOR)), "dedup", content="body"),
    Row("chapters", ("chapters_added", "chapters_written"), ((("book",), ("chapter", "number"), _AUTHOR),), "lww"),
    Row("books", ("books_started",), ((("book",),),), "lww"),
    Row("agents", ("profile_updates", "agent_updates", "agents_updated"), ((("agent",),),), "lww", form="profiles"),
    Row(
        "reactions",
        ("reactions_added",),
        ((("id",),), _REACTION),
        "dedup",
        scalar=("{node}:{type}", "{node}"),
        nullable=frozenset({"agent"}),
    ),
    Row("counters", ("counters",), ((("name",),),), "sum", form="counters"),
    Row("observations", ("observations",), (), "append"),
)


def rows_of(settings: bytes) -> dict[str, Row]:
    """The rows by name: those of every fleet and those of the settings."""
    rows = {row.name: row for row in DEFAULTS}
    for name, given in tomllib.loads(settings.decode()).get("collections", {}).items():
        rows[name] = _row(name, given)
    return rows


def _row(name: str, given: dict[str, Any]) -> Row:
    key = given.get("key", [])
    content = given.get("content")
    alternatives = key if key and isinstance(key[0], list) else [key] if key or content else []
    return Row(
        name,
        _names(given.get("section", name)),
        tuple(tuple((own,) for own in alternative) for alternative in alternatives),
        given["rule"],
        fields=given.get("fields", {}),
        content=content,
        form=given.get("form", "records"),
        scalar=_names(given.get("scalar", [])),
        delete=given.get("delete"),
        ttl=given.get("ttl", 0),
    )


def _names(given: str | list[str]) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)


ROWS = rows_of(SETTINGS)
KEYS: dict[str, list[list[str]]] = {
    row.name: [[names[0] for names in alternative] for alternative in row.key] for row in ROWS.values() if row.key
}
"""The fields of each key alternative, by collection."""
RULE: dict[str, str] = {row.name: row.rule for row in ROWS.values()}
