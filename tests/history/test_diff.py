"""diff says what two exports differ in, and costs what the difference is, not the state."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dreamcatcherd.core.codec import canonical
from dreamcatcherd.core.collections import DEFAULT_TABLE
from dreamcatcherd.core.diff import compare, diff_json
from dreamcatcherd.core.export import export
from dreamcatcherd.core.merge import merge
from dreamcatcherd.core.model import Delta, Version
from dreamcatcherd.core.projections import PROJECTIONS
from dreamcatcherd.daemon.primary import Primary
from dreamcatcherd.history.replay import closed_frames
from dreamcatcherd.testing import MemoryStore
from tests.history.tamper import chain

Rows = dict[str, dict[str, Any]]


def rows_of(exported: dict[str, Any], table: dict[str, Any]) -> dict[str, Rows]:
    """An export's records by collection and key as text; appended ones by all that they are."""
    found: dict[str, Rows] = {}
    for name, records in exported["state"].items():
        keys = table.get(name, [])
        for record in records:
            plain = {field: value for field, value in record.items() if not field.startswith("_stamp")}
            key: Any = [record[field] for field in keys]
            if name == "comments":
                key += [record["body"]] if record.get("body") else []
            key = record if not keys else key[0] if len(key) == 1 else key
            at = json.dumps(key, sort_keys=True)
            while at in found.get(name, {}):  # two equal records of one delta
                at += "+"
            found.setdefault(name, {})[at] = {"key": key, "record": record, "plain": plain}
    return found


@pytest.mark.parametrize("pair", [(1, 2), (30, 31), (5, 60), (1, 60), (60, 60)])
def test_diff_is_the_difference_of_two_exports(sixty: Primary, pair: tuple[int, int]) -> None:
    """Added records and changed fields are what a plain comparison of both exports finds; back they are removed."""
    store = sixty.store
    told = list(closed_frames(store, chain(store)))
    table = told[-1].settings.table
    keys = {name: [field.name for field in row.key[-1]] if row.key else [] for name, row in table.items()}
    old, new = (
        rows_of(json.loads(b"".join(export(store, told[frame - 1].ledger.snapshot, frame, table, None))), keys)
        for frame in pair
    )
    added: dict[str, list[Any]] = {}
    changed: dict[str, list[Any]] = {}
    for name, rows in new.items():
        for at, row in rows.items():
            before = old.get(name, {}).get(at)
            if before is None:
                added.setdefault(name, []).append(row["record"])
                continue
            fields = {
                field: [before["plain"].get(field), row["plain"].get(field)]
                for field in {**before["plain"], **row["plain"]}
                if before["plain"].get(field) != row["plain"].get(field)
            }
            if fields:
                changed.setdefault(name, []).append({"key": row["key"], "fields": fields})
    first, last = (told[frame - 1].ledger.snapshot for frame in pair)
    found = json.loads(canonical(diff_json(compare(store, first, last, table), *pair)))
    assert found == {"from": pair[0], "to": pair[1], "added": added, "changed": changed, "removed": {}}
    back = json.loads(canonical(diff_json(compare(store, last, first, table), *pair)))
    assert back.get("removed", {}) == added
    assert back["added"] == {}


class Counted:
    """A reader that counts what it reads."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self.bytes = 0

    def read(self, oid: str) -> bytes:
        raw = self._store.read(oid)
        self.bytes += len(raw)
        return raw


def cost(entities: int) -> int:
    """The bytes that a diff reads over 20 changed and 20 new entities among so many."""
    store = MemoryStore()

    def state(base: str | None, frame: int, numbers: list[int]) -> str:
        body = {"posts_created": [{"number": number, "title": f"title {frame}"} for number in numbers]}
        version = Version(f"state/stream_deltas/{frame}/s.json", f"{frame:040x}", 0o100644, "0" * 40)
        return merge(
            store,
            base,
            [Delta(version, frame, 0, "s", f"{frame:040x}", body, ("frame", "utc", "stream_id"))],
            DEFAULT_TABLE,
            PROJECTIONS,
        ).tree

    old = state(None, 1, list(range(1, entities + 1)))
    step = entities // 20
    new = state(old, 2, [*range(1, entities, step)[:20], *range(entities + 1, entities + 21)])
    reader = Counted(store)
    found = compare(reader, old, new, DEFAULT_TABLE)
    assert (len(found.changed["posts"]), len(found.added["posts"])) == (20, 20)
    return reader.bytes


def test_the_cost_of_a_diff_follows_the_difference() -> None:
    """Forty entities differ among 3,000 or among 60,000: the second diff reads no more than three times as much."""
    assert cost(60_000) < 3 * cost(3_000)
