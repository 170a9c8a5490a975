"""Nothing that a delta carries is dropped, and each record is placed alike (docs/protocol.md#a-delta)."""

from __future__ import annotations

from collections.abc import Iterator

from hypothesis import given, settings
from hypothesis import strategies as st

from dreamcatcherd.core.codec import canonical
from dreamcatcherd.core.collections import DEFAULT_TABLE, MARKS, Collection
from dreamcatcherd.core.keys import choice_of, key_part
from dreamcatcherd.core.model import Json, Record
from dreamcatcherd.core.settings import read_settings
from tests.core.placing import HEADER, delta, everything, one_by_one

FIELDS = ["discussion_number", "number", "discussion", "author", "agent", "body", "book", "chapter", "node", "target"]
FIELDS += [
    "type",
    "name",
    "value",
    "fields",
    "_stamp",
    "_stamps",
    "title",
    "body_ref",
    "id",
    "comment_id",
    "emoji",
    "_deleted",
    "",
]
SECTIONS = [section for row in DEFAULT_TABLE.values() for section in row.sections]
SECTIONS += ["dreams", "completed_at", "timestamp", "claims", ""]

leaves = st.sampled_from([0, "0", "s", 0.5, True, None])
shapes = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=5),
    max_leaves=10,
)
records = st.dictionaries(st.sampled_from(FIELDS), st.one_of(leaves, leaves, shapes), min_size=1, max_size=7)
section_values = st.one_of(
    shapes,
    st.lists(st.one_of(records, records, leaves), max_size=4),
    st.dictionaries(st.sampled_from(["a", "7", "agent", "name", "fields"]), st.one_of(leaves, records), max_size=3),
)
bodies = st.dictionaries(st.sampled_from(SECTIONS), section_values, max_size=4)


def _numbered(value: Json, count: Iterator[int]) -> Json:
    """The same shape with every number and text made unlike all others."""
    if isinstance(value, dict):
        return {name: _numbered(inner, count) for name, inner in value.items()}
    if isinstance(value, list):
        return [_numbered(inner, count) for inner in value]
    if value is None or value is True:
        return value
    number = next(count)
    return str(number) if value == "0" else f"s{number}" if isinstance(value, str) else number + value


def _leaves(value: Json) -> Iterator[bytes]:
    """Every scalar but null, decimal strings as integers."""
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _leaves(inner)
    elif value is not None:
        yield canonical(value if key_part(value) is None else key_part(value))


def _names(value: Json) -> Iterator[str]:
    """Every key of every object inside."""
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _names(inner)
    if isinstance(value, dict):
        yield from value


@settings(max_examples=150)
@given(bodies, st.booleans())
def test_nothing_that_a_delta_carries_is_dropped(body: Record, unlike: bool) -> None:
    """Every value of every section, and every name that an object gives, is in some record, whatever the mess."""
    if unlike:
        body = _numbered(body, iter(range(1000, 2000)))
    before = canonical(body)
    placed = everything(body)
    assert canonical(body) == before, "the delta itself is left as it was"
    found = {leaf for _, _, record in placed for leaf in _leaves(record)}
    assert found >= set(_leaves(body))
    names = {name for _, _, record in placed for name in _names(record)}
    fields = [field for row in DEFAULT_TABLE.values() for choice in row.key for field in choice]
    aliases = {name for field in fields for name in (field.name, *field.aliases)}
    told = names | {leaf.decode().strip('"') for leaf in found}
    assert told >= {name for value in body.values() for name in _names(value)} - aliases - {"fields"}


ALTERNATIVES = {
    "same": 'key = [["id"], ["node"]]',
    "long": 'key = [["node", "agent"], ["agent", "id"], ["name"]]\nrule = "first"',
    "text": 'key = [["id", "agent"], ["node"]]\ncontent = "title"\nrule = "dedup"',
    "best": 'key = [["id"], ["node", "agent"]]\nkey_aliases = {node = ["target"]}\nrule = "max"',
    "sets": 'key = [["id"], ["node", "agent"]]\nrule = "union"',
    "mixed": 'key = [["id"], ["node", "agent"]]\nfields = {title = "deep", body = "first"}\ndelete = "gone"',
}
ALTERNATIVE_TABLE = read_settings("\n".join(f"[collections.{n}]\n{r}" for n, r in ALTERNATIVES.items()).encode()).table


def told(one: tuple[Collection | None, str, list[Json] | None, Record, str | None]) -> Json:
    """A placed record with its collection by name; reasons are counted for a section, so they are left out."""
    return [one[0].name if one[0] else None, *one[1:4]]


@settings(max_examples=300)
@given(st.sampled_from([*SECTIONS, *ALTERNATIVES]), st.lists(records, max_size=4))
def test_a_record_is_placed_alike_whatever_its_neighbours_are(section: str, items: list[Json]) -> None:
    """A section of plain records is placed in one go, one with an odd record among them one by one: to the same end."""
    plain = one_by_one(delta({**HEADER, section: items}), ALTERNATIVE_TABLE)
    odd = one_by_one(delta({**HEADER, section: [*items, {"_stamp": 0}]}), ALTERNATIVE_TABLE)
    assert canonical([told(one) for one in odd[:-1]]) == canonical([told(one) for one in plain])


@settings(max_examples=60)
@given(st.sampled_from(SECTIONS), st.lists(shapes, max_size=6))
def test_every_item_of_a_list_is_one_record(section: str, items: list[Json]) -> None:
    """As many records come out as a list holds, in its order, each with what its collection's key needs."""
    placed = one_by_one(delta({**HEADER, section: items}), DEFAULT_TABLE)
    assert len(placed) == len(items)
    for row, name, key, record, why in placed:
        assert name == section
        assert set(MARKS).isdisjoint(record)
        assert (key is None) == (row is None or row.rule == "append")
        if row is not None and key is not None:
            names = choice_of(row, record).names
            assert key[: len(names)] == [record[name] for name in names]
            assert why is None
