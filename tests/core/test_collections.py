"""The table of collections is the protocol's (docs/protocol.md#a-delta)."""

from __future__ import annotations

from msgspec import structs

from dreamcatcherd.core.codec import MAP_SECTIONS, UTC_NAMES
from dreamcatcherd.core.collections import DEFAULT_TABLE, RESERVED_SECTIONS, sections_of

PROTOCOL = """
posts         posts_created                              discussion_number|number|discussion               lww
comments      comments_added                             discussion_number|number|discussion,author|agent  dedup
chapters      chapters_added,chapters_written            book,chapter|number,author|agent                  lww
books         books_started                              book                                              lww
agents        profile_updates,agent_updates,agents_updated  agent                                          lww
reactions     reactions_added                            node|target,agent,type                            dedup
counters      counters                                   name                                              sum
observations  observations                               -                                                 append
"""


def test_the_default_rows_are_the_protocols() -> None:
    """Sections with their aliases, key fields with theirs in order, and the rule, row by row."""
    expected = [line.split() for line in PROTOCOL.strip().splitlines()]
    found = [
        [row.name, ",".join(row.sections), ",".join("|".join(names) for names in row.key) or "-", row.rule]
        for row in DEFAULT_TABLE.values()
    ]
    assert found == expected


def test_rows_with_a_form_of_their_own_are_few() -> None:
    """Counters and agents may be objects by name, comments are keyed by their text as well."""
    forms = {row.name: row.form for row in DEFAULT_TABLE.values() if row.form != "records"}
    assert forms == {"agents": "profiles", "counters": "counters"}
    assert {row.name: row.content for row in DEFAULT_TABLE.values() if row.content} == {"comments": "body"}


def test_each_section_leads_to_its_collection_and_place() -> None:
    """Aliases come after the section's own name, so that their records are later ones."""
    found = sections_of(DEFAULT_TABLE)
    assert len(found) == sum(len(row.sections) for row in DEFAULT_TABLE.values())
    places = [(found[name][0].name, found[name][1]) for name in ("chapters_added", "chapters_written", "counters")]
    assert places == [("chapters", 0), ("chapters", 1), ("counters", 0)]
    assert "dreams" not in found


def test_header_fields_are_no_sections() -> None:
    """No collection may claim what places a delta in time."""
    assert {"frame", "stream_id", *UTC_NAMES} == RESERVED_SECTIONS
    assert not RESERVED_SECTIONS & set(sections_of(DEFAULT_TABLE))


def test_what_may_not_change_is_told_from_what_may() -> None:
    """Keys, rule and layout are a collection's identity; sections and aliases can change at any time."""
    row = DEFAULT_TABLE["chapters"]
    renamed = structs.replace(row, sections=("scenes",), key=(("book", "tome"), ("chapter",), ("author",)))
    assert renamed.identity == row.identity
    for other in (
        structs.replace(row, key=(("book",), ("author",), ("chapter",))),
        structs.replace(row, rule="first"),
        structs.replace(row, shard=1),
        structs.replace(row, content="body"),
        structs.replace(row, form="profiles"),
    ):
        assert other.identity != row.identity


def test_the_sections_that_may_be_maps_are_those_of_the_table() -> None:
    """What counts records by member is what the table lets be an object of entities."""
    maps = {section for row in DEFAULT_TABLE.values() if row.form != "records" for section in row.sections}
    assert maps == MAP_SECTIONS
