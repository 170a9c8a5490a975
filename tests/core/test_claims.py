"""Claims: who holds a resource, decided once by the close that merges the claim (docs/protocol.md#claims)."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from dreamcatcherd.core.claims import Claimed, decide_claims, held
from dreamcatcherd.core.export import export, read_portable, restore
from dreamcatcherd.core.merge import Merged, merge
from dreamcatcherd.core.model import Delta, Json, Record, Stamp
from dreamcatcherd.core.projections import PROJECTIONS
from dreamcatcherd.core.rules import Entity
from dreamcatcherd.core.settings import read_settings
from tests.core.tools import Heap, delta, state

TEXT = '[collections.tasks]\nsection = "claims"\nkey = ["resource"]\nrule = "claim"\nttl = 3\n'
TABLE = read_settings(TEXT.encode()).table
KEYS = frozenset({"resource"})


class Told(NamedTuple):
    """A decision without its stamp."""

    outcome: str
    holder: str | None
    until: int | None


def asked(frame: int, stream: str, utc: int = 0, **fields: Json) -> Claimed:
    return Claimed(frame, Stamp(frame, utc, stream, "c"), {"resource": "r", **fields})


def decided(*claims: Claimed) -> tuple[Entity, list[Told]]:
    entity, decisions = decide_claims(None, claims, KEYS, 3)
    return entity, [Told(*one[1:]) for one in decisions]


@pytest.mark.parametrize(
    ("claims", "expected"),
    [
        ([asked(1, "a")], [Told("granted", "a", 4)]),
        ([asked(1, "a"), asked(1, "b")], [Told("granted", "a", 4), Told("refused", "a", 4)]),
        ([asked(1, "a"), asked(2, "a")], [Told("granted", "a", 4), Told("refused", "a", 4)]),
        (
            [asked(1, "a"), asked(4, "b"), asked(5, "b")],
            [Told("granted", "a", 4), Told("refused", "a", 4), Told("granted", "b", 8)],
        ),
        ([asked(1, "a"), asked(3, "a", op="renew")], [Told("granted", "a", 4), Told("renewed", "a", 6)]),
        ([asked(1, "a"), asked(2, "b", op="renew")], [Told("granted", "a", 4), Told("refused", "a", 4)]),
        ([asked(1, "a"), asked(5, "a", op="renew")], [Told("granted", "a", 4), Told("refused", None, None)]),
        (
            [asked(1, "a"), asked(2, "a", op="release"), asked(2, "b", op=None)],
            [Told("granted", "a", 4), Told("released", None, None), Told("granted", "b", 5)],
        ),
        ([asked(1, "a"), asked(2, "b", op="release")], [Told("granted", "a", 4), Told("refused", "a", 4)]),
        ([asked(1, "a", op="release"), asked(1, "b", op="renew")], [Told("refused", None, None)] * 2),
    ],
)
def test_each_claim_is_decided_in_its_turn(claims: list[Claimed], expected: list[Told]) -> None:
    """What nobody holds is granted through the frame plus its time; the holder renews and releases; all else is
    refused."""
    assert decided(*claims)[1] == expected


def test_the_entity_names_holder_and_frames_beside_what_the_claim_said() -> None:
    """Its stamp is that of the last decision that changed it, and the operation is no field."""
    entity, _ = decided(
        asked(1, "a", note="n", op="claim"), asked(2, "b", note="x"), asked(3, "a", op="renew", note="y")
    )
    record: Record = {"resource": "r", "note": "n", "holder": "a", "since": 1, "until": 6}
    assert entity == Entity(record, Stamp(3, 0, "a", "c"))
    assert (held(entity, 6), held(entity, 7), held(None, 1)) == (("a", 6), (None, None), (None, None))


def test_a_release_leaves_a_tombstone() -> None:
    """So does a claim that was refused where nothing was."""
    stamp = Stamp(2, 0, "a", "c")
    assert decided(asked(1, "a", note="n"), asked(2, "a", op="release"))[0] == Entity({"resource": "r"}, stamp, stamp)
    assert decided(asked(2, "a", op="renew"))[0] == Entity({"resource": "r"}, stamp, stamp)


# In a merge -------------------------------------------------------------------------------------------------------


def claim(frame: int, stream: str, utc: int = 0, **fields: Json) -> Delta:
    return delta(frame, utc, stream, claims=[{"resource": "r", **fields}])


def closed(heap: Heap, frame: int, deltas: list[Delta], onto: str | None = None) -> Merged:
    """The merge by the close of a frame, of late deltas too."""
    ordered = sorted(deltas, key=lambda one: one.stamp)
    return merge(heap, onto, ordered, TABLE, PROJECTIONS, closing=lambda stamp: frame)


def told(found: Merged) -> list[tuple[str, str, str | None, int | None]]:
    return [(one.stamp.stream_id, one.outcome, one.holder, one.until) for one in found.claims]


def test_stamps_decide_within_a_close() -> None:
    """The earliest claim is granted, whatever the order of arrival; the key is the natural one."""
    found = closed(Heap(), 1, [claim(1, "b", 2), claim(1, "a", 1)])
    assert told(found) == [("a", "granted", "a", 4), ("b", "refused", "a", 4)]
    assert {(one.collection, one.key) for one in found.claims} == {("tasks", "r")}
    assert (found.added, found.conflicts) == ({"tasks": 1}, [])


def test_what_was_decided_stays() -> None:
    """A claim that arrives later loses, though its stamp is earlier, and counts from the frame that merges it."""
    heap = Heap()
    first = closed(heap, 2, [claim(2, "b", 2)])
    late = closed(heap, 3, [claim(1, "a", 1)], first.tree)
    assert told(late) == [("a", "refused", "b", 5)]
    assert state(heap, late.tree, "tasks", TABLE) == state(heap, first.tree, "tasks", TABLE)
    after = closed(heap, 6, [claim(1, "c", 1)], late.tree)
    assert told(after) == [("c", "granted", "c", 9)]


def test_a_released_resource_is_not_counted() -> None:
    """It is there again once somebody else was granted it."""
    heap = Heap()
    one = closed(heap, 1, [claim(1, "a")])
    two = closed(heap, 2, [claim(2, "a", op="release")], one.tree)
    three = closed(heap, 3, [claim(3, "b")], two.tree)
    assert [found.added for found in (one, two, three)] == [{"tasks": 1}, {"tasks": -1}, {"tasks": 1}]
    assert state(heap, two.tree, "tasks", TABLE) == []
    assert closed(heap, 1, [claim(1, "a", op="renew")]).added == {"tasks": 0}


def test_an_operation_that_is_none_is_a_misfit() -> None:
    """It is kept as it is, and nothing is decided."""
    found = closed(Heap(), 1, [claim(1, "a", op="steal"), claim(1, "b", op=["claim"])])
    assert (len(found.misfits), list(found.claims), found.added) == (2, [], {"extra": 2})


def test_claims_travel() -> None:
    """An export has who holds what, and what was released."""
    heap = Heap()
    deltas = [claim(1, "a"), delta(1, 1, "b", claims=[{"resource": 2}]), claim(1, "a", 2, op="release")]
    tree = closed(heap, 1, deltas).tree
    raw = b"".join(export(heap, tree, 1, TABLE, TEXT))
    assert restore(Heap(), read_portable(raw), None).tree == tree
