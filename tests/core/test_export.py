"""The portable snapshot: one JSON object that gives the same digest elsewhere, or is refused.

Contract: docs/protocol.md#commands."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dreamcatcherd.core.collections import DEFAULT_TABLE
from dreamcatcherd.core.errors import RefusedError
from dreamcatcherd.core.export import Restored, export, read_portable, restore
from dreamcatcherd.core.model import Delta
from dreamcatcherd.core.settings import DEFAULT, read_settings
from dreamcatcherd.core.snapshot import FORMER
from tests.core.tools import Heap, delta, merged

SETTINGS = (
    '[collections.claims]\nkey = ["resource"]\nrule = "first"\n'
    '[collections.scores]\nkey = ["player"]\nrule = "max"\n'
    '[collections.tags]\nkey = ["page"]\nrule = "union"\n'
    '[collections.dreams]\naliases = ["dreamt"]\n'
)
TABLE = read_settings(SETTINGS.encode()).table


def a_few() -> list[Delta]:
    """Deltas of every kind of record, some entities set by several of them."""
    return [
        delta(
            1,
            1,
            "a",
            "a" * 40,
            posts_created=[{"number": 10, "title": "t"}, 9, {"number": "two", "n": 1}, {"lost": True}],
            comments_added=[{"discussion": 9, "author": "x", "body": b} for b in ("b", "a", "", None)],
            profile_updates={"zoe": {"mood": 1}, "7": {}},
            counters={"visits": 3},
            observations=["first", {"second": 2}],
            claims=[{"resource": "r", "by": "a"}],
            dreams=[1],
        ),
        delta(
            2,
            1,
            "b",
            "b" * 40,
            posts_created=[{"number": 10, "likes": 1.0}],
            counters={"visits": 10**30},
            scores=[{"player": 1, "best": [1]}],
            tags=[{"page": "p", "tags": ["y", "x"]}],
            dreamt=[2],
            **{"odd/section\t": [1, {"x": 1}], "": 0},
        ),
    ]


def exported(heap: Heap, tree: str, text: str | None = SETTINGS) -> bytes:
    table = TABLE if text else DEFAULT_TABLE
    return b"".join(export(heap, tree, 2, table, text))


def restored(raw: bytes, heap: Heap | None = None) -> Restored:
    return restore(heap or Heap(), read_portable(raw), "f" * 40)


def document() -> dict[str, Any]:
    heap = Heap()
    found: dict[str, Any] = json.loads(exported(heap, merged(heap, a_few(), table=TABLE).tree))
    return found


# What is written --------------------------------------------------------------------------------------------------


def test_an_export_is_one_object_with_sorted_keys() -> None:
    """Format, frame, digest, the merged ids by frame, the settings' text, and every collection, empty ones too."""
    heap = Heap()
    tree = merged(heap, a_few(), table=TABLE).tree
    raw = exported(heap, tree)
    found = json.loads(raw)
    assert list(found) == ["digest", "format", "frame", "merged", "settings", "state"]
    assert (found["digest"], found["format"], found["frame"]) == (tree, "dreamcatcher-snapshot/2", 2)
    assert found["settings"] == SETTINGS
    assert found["merged"] == {"1": ["a" * 40], "2": ["b" * 40]}
    extras = ["extra/", "extra/odd/section\t", "extra/posts_created"]
    assert list(found["state"]) == sorted([*TABLE, *extras])
    assert found["state"]["books"] == []
    assert raw.endswith(b"}}\n")


def test_records_are_as_the_deltas_gave_them_plus_their_stamps() -> None:
    """Key fields have the collection's names; fields have a stamp each where the rule goes by field, else one."""
    state = document()["state"]
    one, two = [1, 1, "a", "a" * 40], [2, 1, "b", "b" * 40]
    assert state["agents"] == [
        {"agent": 7, "_stamps": {"": one}},
        {"agent": "zoe", "mood": 1, "_stamps": {"mood": one}},
    ]
    assert state["counters"] == [{"name": "visits", "value": 10**30 + 3, "_stamp": two}]
    assert state["claims"] == [{"resource": "r", "by": "a", "_stamp": one}]
    assert state["scores"] == [{"player": 1, "best": [1], "_stamps": {"best": two}}]
    assert state["tags"] == [{"page": "p", "tags": ["x", "y"], "_stamp": two}]
    assert state["observations"] == [{"value": "first", "_stamp": one}, {"second": 2, "_stamp": one}]
    assert state["extra/odd/section\t"] == [{"value": 1, "_stamp": two}, {"x": 1, "_stamp": two}]


def test_records_are_in_natural_key_order() -> None:
    """Integers by size before strings, keys without a text before those with one, appended ones by position."""
    state = document()["state"]
    assert [record["discussion_number"] for record in state["posts"]] == [9, 10, "two"]
    assert [record.get("body") for record in state["comments"]] == ["", None, "a", "b"]
    assert [record["value"] for record in state["dreams"]] == [1, 2]
    heap = Heap()
    tree = merged(heap, [delta(posts_created=list(range(1100, 0, -1)), observations=list(range(300)))]).tree
    many = json.loads(exported(heap, tree, None))["state"]
    assert [record["discussion_number"] for record in many["posts"]] == list(range(1, 1101))
    assert [record["value"] for record in many["observations"]] == list(range(300))


def test_an_export_does_not_depend_on_the_way_there() -> None:
    """The same set, merged at once or one by one, gives the same bytes."""
    heap, tree = Heap(), None
    for one in reversed(a_few()):
        tree = merged(heap, [one], tree, TABLE).tree
    assert tree is not None
    other = Heap()
    assert exported(heap, tree) == exported(other, merged(other, a_few(), table=TABLE).tree)


# What is read -----------------------------------------------------------------------------------------------------


def test_an_import_gives_the_same_digest_and_goes_on_alike() -> None:
    """Nothing is lost on the way: digest, counts, settings, and what a later delta makes of it are the same."""
    here, there = Heap(), Heap()
    first = merged(here, a_few(), table=TABLE)
    found = restored(exported(here, first.tree), there)
    assert (found.tree, found.entities) == (first.tree, first.added)
    assert found.settings == read_settings(SETTINGS.encode(), "f" * 40)
    late = delta(1, 2, "c", posts_created=[{"number": 10, "likes": 7, "title": "late"}], observations=[3])
    assert merged(there, [late], found.tree, TABLE) == merged(here, [late], first.tree, TABLE)


def test_an_empty_snapshot_travels_too() -> None:
    """No entities, no settings: the same digest, under the defaults."""
    heap = Heap()
    tree = merged(heap, []).tree
    assert restored(exported(heap, tree, None)) == Restored(tree, {}, DEFAULT)


def test_large_collections_travel() -> None:
    """Files that were split, deltas of many appended records and many merged ids come back in the same layout."""
    heap = Heap()
    sections: dict[str, Any] = {
        "posts_created": list(range(1000)),
        "observations": list(range(300)),
        "dreams": list(range(300)),
    }
    deltas = [delta(n % 3, n, **{name: values[n::9] for name, values in sections.items()}) for n in range(9)]
    found = merged(heap, [*deltas, delta(1, 99, observations=list(range(600)))])
    assert restored(exported(heap, found.tree, None)).tree == found.tree


def test_an_export_of_the_format_before_is_imported_as_one_of_this() -> None:
    """The same records, stamps and merged ids, with the digest that they have in this format."""
    heap = Heap()
    tree = merged(heap, a_few(), table=TABLE).tree
    former = {**json.loads(exported(heap, tree)), "format": FORMER, "digest": "0" * 40}
    former["state"]["agents"][0]["_stamps"] = {}  # that format had no stamp for a write of nothing but the key
    made = restored(json.dumps(former).encode(), heap).tree
    assert made not in (tree, former["digest"])
    now = json.loads(exported(heap, made))
    assert {**now, "format": FORMER, "digest": "0" * 40} == former
    assert restored(json.dumps(now).encode()).tree == made


# What is refused --------------------------------------------------------------------------------------------------

Damage = Callable[[dict[str, Any]], object]

DAMAGES: dict[str, Damage] = {
    "another digest": lambda found: found.update(digest="0" * 40),
    "another format": lambda found: found.update(format="dreamcatcher-snapshot/3"),
    "no digest": lambda found: found.pop("digest"),
    "no state": lambda found: found.pop("state"),
    "a record that is gone": lambda found: found["state"]["posts"].pop(),
    "a record that is there twice": lambda found: found["state"]["observations"].append(
        found["state"]["observations"][-1]
    ),
    "another value": lambda found: found["state"]["posts"][0].update(title="edited"),
    "another stamp": lambda found: found["state"]["claims"][0].update(_stamp=[1, 1, "a", "0" * 40]),
    "no stamp": lambda found: found["state"]["claims"][0].pop("_stamp"),
    "no stamps": lambda found: found["state"]["posts"][1].pop("_stamps"),
    "one stamp for fields": lambda found: found["state"]["posts"][1].update(_stamps=[1, 1, "a", "a" * 40]),
    "half a stamp": lambda found: found["state"]["observations"][0].update(_stamp=[1, 1]),
    "a stamp that is no list": lambda found: found["state"]["observations"][0].update(_stamp=7),
    "a frame that is none": lambda found: found["state"]["observations"][0].update(_stamp=["x", 1, "a", "b"]),
    "a frame beyond all frames": lambda found: found["state"]["observations"][0].update(_stamp=[10**30, 1, "a", "b"]),
    "no key": lambda found: found["state"]["posts"][0].pop("discussion_number"),
    "a key that is none": lambda found: found["state"]["posts"][0].update(discussion_number=[1]),
    "an unknown collection": lambda found: found["state"].update(unheard=[{"x": 1, "_stamp": [1, 1, "a", "b"]}]),
    "records that are none": lambda found: found["state"].update(posts=[1]),
    "a merged id that is gone": lambda found: found["merged"].pop("1"),
    "a merged id of another frame": lambda found: found["merged"].update({"3": ["a" * 40]}),
    "a merged id of no frame": lambda found: found["merged"].update({"x": ["a" * 40]}),
    "no settings": lambda found: found.update(settings=None),
    "settings that are none": lambda found: found.update(settings="[limits"),
    "other settings": lambda found: found.update(settings=SETTINGS.replace('"union"', '"lww"')),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_file_is_refused(damage: Damage) -> None:
    """Whatever was changed, the import says so with a remedy and names no digest that the content does not have."""
    found = document()
    damage(found)
    with pytest.raises(RefusedError) as refused:
        restored(json.dumps(found).encode())
    assert refused.value.exit_code == 1
    assert "export" in refused.value.remedy
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{}",
        b"[]",
        b"nonsense",
        b'{"format": "\xff"}',
        b'{"digest":"","format":"dreamcatcher-snapshot/2","frame":0,"merged":{},"state":{},"x":"\xff"}',
        b"[" * 100_000,
        b'{"state": {"x": [{"y": ' + b"[" * 100_000,
    ],
    ids=lambda raw: repr(raw[:16]),
)
def test_what_is_no_export_is_refused(raw: bytes) -> None:
    """Any bytes that are no portable snapshot end in the one error that says what to use instead."""
    with pytest.raises(RefusedError, match="use a file that dreamcatcherd export wrote"):
        read_portable(raw)


@settings(max_examples=300)
@given(st.data())
def test_no_changed_byte_goes_unnoticed(data: st.DataObject) -> None:
    """A file with one byte changed, lost or cut off there is refused, or else it means the very same snapshot."""
    heap = Heap()
    tree = merged(heap, a_few(), table=TABLE).tree
    raw = exported(heap, tree)
    at = data.draw(st.integers(0, len(raw) - 1))
    rest = data.draw(st.sampled_from([b"", raw[at + 1 :]]))
    changed = raw[:at] + data.draw(st.binary(max_size=1)) + rest
    try:
        found = restored(changed)
    except RefusedError:
        return
    assert found.tree == tree
