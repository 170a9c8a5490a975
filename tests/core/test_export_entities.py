"""Every kind of entity travels in an export: tombstones, deep values, exact sums and alternative keys."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dreamcatcherd.core.collections import Collection
from dreamcatcherd.core.export import export, read_portable, restore
from dreamcatcherd.core.model import Deletion
from dreamcatcherd.core.settings import read_settings
from tests.core.entity_tools import ROWS, TEXT, contributions
from tests.core.tools import Heap, delta, merged

ALTERNATIVES = (
    '[collections.notes]\nkey = [["id"], ["node"]]\ncontent = "body"\nrule = "dedup"\ndelete = "notes_gone"\n'
    '[collections.votes]\nkey = [["id"], ["node", "agent"]]\nscalar = "{node}"\nrule = "union"\n'
)
parts = st.sampled_from([None, 1, "1", "x"])
items = st.one_of(
    st.dictionaries(st.sampled_from(["id", "node", "agent", "body", "n"]), parts, max_size=4),
    st.sampled_from([1, "x", "y"]),
)


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
@settings(max_examples=20)
@given(data=st.data())
def test_an_entity_of_any_rule_travels(row: Collection, data: st.DataObject) -> None:
    """The import has the digest of the export, whatever was written and deleted."""
    table, heap = read_settings(TEXT.encode()).table, Heap()
    deltas = []
    for at, record in data.draw(contributions(row)):
        if type(record) is Deletion:
            deltas.append(delta(at.frame, at.utc, at.stream_id, **{row.delete or "": [record["id"]]}))
        else:
            deltas.append(delta(at.frame, at.utc, at.stream_id, **{row.name: [record]}))
    unique = {one.content_id: one for one in deltas}.values()
    tree = merged(heap, unique, table=table).tree
    raw = b"".join(export(heap, tree, 3, table, TEXT))
    assert restore(Heap(), read_portable(raw), None).tree == tree


@settings(max_examples=100)
@given(st.lists(st.tuples(st.sampled_from(["notes", "votes", "notes_gone"]), st.lists(items, max_size=4)), max_size=5))
def test_entities_of_alternative_keys_travel(sections: list[tuple[str, list[object]]]) -> None:
    """Appended records with what is left of their key among them."""
    table, heap = read_settings(ALTERNATIVES.encode()).table, Heap()
    deltas = [delta(1 + utc % 2, utc, **{section: found}) for utc, (section, found) in enumerate(sections)]
    tree = merged(heap, deltas, table=table).tree
    raw = b"".join(export(heap, tree, 2, table, ALTERNATIVES))
    assert restore(Heap(), read_portable(raw), None).tree == tree
