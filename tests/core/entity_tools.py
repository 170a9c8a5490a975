"""Rows of every kind and contributions to their entities, for tests of how entities are joined."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st

from dreamcatcherd.core.codec import Exact, canonical
from dreamcatcherd.core.collections import Collection
from dreamcatcherd.core.entities import fold_entity
from dreamcatcherd.core.entity_lines import entity_line, key_fields, read_entity
from dreamcatcherd.core.model import Deletion, Json, Record, Stamp
from dreamcatcherd.core.rules import Contributions, Entity
from dreamcatcherd.core.settings import read_settings

FIELDS = (
    'fields = {sum = "sum", max = "max", min = "min", union = "union", first = "first", deep = "deep", lww = "lww"}'
)
SIMPLE = ("lww", "sum", "max", "min", "union", "dedup", "first")
TEXT = "".join(
    f'[collections.{name}]\nkey = ["id"]\nrule = "{name}"\n'
    f'[collections.{name}_deleted]\nkey = ["id"]\nrule = "{name}"\ndelete = "{name}_gone"\n'
    for name in SIMPLE
) + "".join(
    f'[collections.{name}_mixed]\nkey = ["id"]\nrule = "{name}"\n{FIELDS}\n'
    f'[collections.{name}_all]\nkey = ["id"]\nrule = "{name}"\n{FIELDS}\ndelete = "{name}_all_gone"\n'
    for name in ("lww", "sum", "max", "min", "union")
)
ROWS = {name: row for name, row in read_settings(TEXT.encode()).table.items() if name.startswith(SIMPLE)}
"""Every rule, with and without deletions and rules of single fields."""

RAW_KEY = b"[1]"

stamps = st.builds(Stamp, st.integers(1, 3), st.integers(0, 2), st.sampled_from("ab"), st.sampled_from("cd"))
addends = st.one_of(st.integers(-5, 5), st.sampled_from(["0.1", "-0.1", "0.25", "1234567890123456789.5"]).map(Exact))
leaves: st.SearchStrategy[Json] = st.sampled_from([None, 0, 1, 1.0, "x", [], [1], {}])
deep_values = st.recursive(
    leaves, lambda inner: st.dictionaries(st.sampled_from("pq"), inner, max_size=2), max_leaves=5
)
plain_values = st.one_of(leaves, st.dictionaries(st.sampled_from("pq"), leaves, max_size=2))


def records(row: Collection) -> st.SearchStrategy[Record]:
    """Records that fit a row, key fields included."""
    names = ["sum", "max", "min", "union", "first", "deep", "lww", "other"] if row.fields else ["x", "y"]
    rules = dict(row.fields)
    of = {"sum": addends, "deep": deep_values}
    fields: dict[str, st.SearchStrategy[Json]] = {
        name: of.get(rules.get(name, row.rule), plain_values) for name in names
    }
    return st.fixed_dictionaries({"id": st.just(1)}, optional=fields)


def contributions(row: Collection) -> st.SearchStrategy[list[tuple[Stamp, Record]]]:
    """What several deltas bring to one entity, in order of their stamps; each may bring several records, and then a
    deletion."""
    gone = st.just([Deletion(id=1)]) if row.delete is not None else st.just([])
    brought = st.tuples(st.lists(records(row), max_size=2), st.just([]) | gone).map(lambda two: two[0] + two[1])
    deltas = st.dictionaries(stamps, brought.filter(bool), min_size=1, max_size=6)
    return deltas.map(lambda found: [(at, record) for at in sorted(found) for record in found[at]])


def joined(row: Collection, parts: Sequence[Contributions]) -> Entity:
    """The entity after each part was joined with what a snapshot would have of those before."""
    line: bytes | None = None
    for part in parts:
        if part:
            line = line_after(row, line, part)
    assert line is not None
    return read_entity(row, line)


def line_after(row: Collection, line: bytes | None, part: Contributions) -> bytes:
    """The line of an entity after more contributions."""
    old = read_entity(row, line) if line is not None else None
    found = entity_line(RAW_KEY, fold_entity(row, old, part, key_fields(row, RAW_KEY)))
    assert entity_line(RAW_KEY, read_entity(row, found)) == found, "a line is read as it was written"
    return found


def told(entity: Entity) -> bytes:
    """An entity as bytes, since 1, 1.0 and true are equal in Python and are not the same value."""
    return canonical(list(entity))
