"""The table of collections is the protocol's (docs/protocol.md#a-delta)."""

from __future__ import annotations

import pytest
from msgspec import structs

from dreamcatcherd.core.collections import DEFAULT_TABLE, Collection, KeyField, sections_of

PROTOCOL = """
posts         posts_created                  discussion_number|number|discussion                              lww
comments      comments_added                 id|comment_id;discussion_number|number|discussion,author|agent   dedup
chapters      chapters_added,chapters_written  book,chapter|number,author|agent                               lww
books         books_started                  book                                                             lww
agents        profile_updates,agent_updates,agents_updated  agent                                             lww
reactions     reactions_added                id;node|target|discussion_number|number|discussion,type|reaction|emoji|content,agent|author  dedup
counters      counters                       name                                                             sum
observations  observations                   -                                                                append
"""  # noqa: E501


def test_the_default_rows_are_the_protocols() -> None:
    """Sections with their aliases, the alternatives of the key, their fields in order, and the rule, row by row."""
    expected = [line.split() for line in PROTOCOL.strip().splitlines()]
    found = [
        [
            row.name,
            ",".join(row.sections),
            ";".join(",".join("|".join((field.name, *field.aliases)) for field in choice) for choice in row.key) or "-",
            row.rule,
        ]
        for row in DEFAULT_TABLE.values()
    ]
    assert found == expected


def test_rows_with_a_form_of_their_own_are_few() -> None:
    """Counters and agents may be objects by name, comments are keyed by their text too, reactions may be strings."""
    forms = {row.name: row.form for row in DEFAULT_TABLE.values() if row.form != "records"}
    assert forms == {"agents": "profiles", "counters": "counters"}
    assert {row.name: row.content for row in DEFAULT_TABLE.values() if row.content} == {"comments": "body"}
    assert {row.name: row.scalar for row in DEFAULT_TABLE.values() if row.scalar} == {
        "reactions": ("{node}:{type}", "{node}")
    }


def test_only_the_agent_of_a_reaction_may_be_absent() -> None:
    """All other key fields must be there."""
    fields = [field for row in DEFAULT_TABLE.values() for choice in row.key for field in choice]
    assert [field for field in fields if field.nullable] == [KeyField("agent", ("author",), nullable=True)]


def test_each_section_leads_to_its_collection_and_place() -> None:
    """Aliases come after the section's own name, so that their records are later ones."""
    found = sections_of(DEFAULT_TABLE)
    assert len(found) == sum(len(row.sections) for row in DEFAULT_TABLE.values())
    places = [(found[name][0].name, found[name][1]) for name in ("chapters_added", "chapters_written", "counters")]
    assert places == [("chapters", 0), ("chapters", 1), ("counters", 0)]
    assert "dreams" not in found


def test_the_section_of_deletions_comes_last() -> None:
    """It belongs to its collection like the others, and its items are read after theirs."""
    row = structs.replace(DEFAULT_TABLE["posts"], sections=("p", "q"), delete="gone")
    assert sections_of({"posts": row}) == {"p": (row, 0), "q": (row, 1), "gone": (row, 2)}


def test_the_fields_of_all_alternatives_are_named_once() -> None:
    """A field that stands in two alternatives is one field."""
    row = Collection("x", ("x",), ((KeyField("a"), KeyField("b")), (KeyField("b"), KeyField("c"))), "lww")
    assert row.key_names == ("a", "b", "c")
    assert DEFAULT_TABLE["reactions"].key_names == ("id", "node", "type", "agent")
    assert DEFAULT_TABLE["observations"].key_names == ()


CHAPTER_KEY = DEFAULT_TABLE["chapters"].key[0]


@pytest.mark.parametrize(
    "change",
    [
        {"sections": ("scenes",)},
        {"key": ((KeyField("book", ("tome",)), KeyField("chapter"), KeyField("author", nullable=True)),)},
        {"form": "map"},
        {"scalar": ("{book}/{chapter}/{author}",)},
        {"delete": "chapters_removed"},
        {"a_file": 7},
    ],
)
def test_what_may_change_is_no_identity(change: dict[str, object]) -> None:
    """Sections, aliases, forms of writing and deletions can change at any time."""
    row = DEFAULT_TABLE["chapters"]
    assert structs.replace(row, **change).identity == row.identity


@pytest.mark.parametrize(
    "change",
    [
        {"key": (CHAPTER_KEY[::-1],)},
        {"key": ((KeyField("id"),), CHAPTER_KEY)},
        {"rule": "first"},
        {"shard": 1},
        {"content": "body"},
        {"fields": (("words", "max"),)},
    ],
)
def test_what_may_not_change_is_the_identity(change: dict[str, object]) -> None:
    """Keys, rules of records and fields, and layout are what entities were made by."""
    row = DEFAULT_TABLE["chapters"]
    assert structs.replace(row, **change).identity != row.identity
