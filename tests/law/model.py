"""A second implementation of the merge, deliberately simple: all deltas at once, sorted, folded into plain dicts.

It shares no code with the package. Where the two agree on generated deltas, each checks the other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from tests.law.books import library
from tests.law.claims import Claim, decide
from tests.law.joins import entity
from tests.law.joins import is_alive as is_alive
from tests.law.losses import losses
from tests.law.records import Key, Placed, order_of, place
from tests.law.records import key_of as _key_of
from tests.law.rows import KEYS as KEYS
from tests.law.rows import ROWS, Row, rows_of
from tests.law.rows import RULE as RULE
from tests.law.rows import SETTINGS as SETTINGS
from tests.law.sent import Sent as Sent
from tests.law.sent import Stamp
from tests.law.sent import blob_id as blob_id
from tests.law.sent import content_id as content_id
from tests.law.sent import stamped as stamped
from tests.law.values import plain
from tests.law.values import read as read
from tests.law.values import text as text

Closes = Mapping[tuple[int, str], int]
"""For deltas by frame and content id: the frame whose close merges them, if that is not their own."""

_Identity = tuple[str, Key]


class _Merged(NamedTuple):
    """Everything that deltas bring, by entity, each list in order."""

    deltas: list[tuple[Stamp, list[Placed]]]
    rows: dict[str, Row]
    writes: dict[_Identity, list[tuple[Stamp, dict[str, Any]]]]
    deletions: dict[_Identity, list[Stamp]]
    appended: dict[str, list[tuple[Any, dict[str, Any]]]]


def model(deltas: list[Sent], closes: Closes | None = None, settings: bytes = SETTINGS) -> dict[str, Any]:
    """The `state` and `merged` of an export of these deltas; sums that are not whole are decimals."""
    merged = _merge(deltas, settings)
    found: dict[str, list[tuple[Any, dict[str, Any]]]] = {}
    for name, key in {**merged.writes, **merged.deletions}:
        if merged.rows[name].rule != "claim":
            writes, deletions = merged.writes.get((name, key), []), merged.deletions.get((name, key), [])
            record = entity(merged.rows[name], key, writes, deletions)
            found.setdefault(name, []).append((_order(key), record))
    for (name, key), (held, _) in _decided(merged, closes or {}).items():
        if held is not None:
            found.setdefault(name, []).append((_order(key), held))
    for name, records in merged.appended.items():
        found.setdefault(name, []).extend(records)
    state = {name: [record for _, record in sorted(some, key=lambda one: one[0])] for name, some in found.items()}
    replayed = [
        (stamp, [(one.collection, one.record) for one in placed if not one.deletes]) for stamp, placed in merged.deltas
    ]
    ids: dict[str, list[str]] = {}
    for frame, content in sorted((stamp[0], stamp[3]) for stamp, _ in merged.deltas):
        ids.setdefault(str(frame), []).append(content)
    return {"state": {**state, **library(replayed, state)}, "merged": ids}


def decisions(deltas: list[Sent], closes: Closes | None = None, settings: bytes = SETTINGS) -> list[dict[str, Any]]:
    """Every decision about a claim: `frame`, and the rest as in `claims` of that frame's ledger."""
    decided = _decided(_merge(deltas, settings), closes or {})
    return [{"collection": name, **row} for (name, _), (_, rows) in decided.items() for row in rows]


def conflicts(before: list[Sent], new: list[Sent], settings: bytes = SETTINGS) -> list[dict[str, Any]]:
    """The rows of a ledger whose frame merges `new` (none of it merged before) upon `before`."""
    standing, brought = _merge(before, settings), _merge(new, settings)
    found = []
    for (name, key), writes in brought.writes.items():
        row = brought.rows[name]
        if row.rule != "claim":
            stands = standing.writes.get((name, key), [])
            old = entity(row, key, stands, standing.deletions.get((name, key), [])) if stands else None
            rows = losses(row, set(key.fields), old, writes)
            found += [{"collection": name, "key": key.shown(), **lost} for lost in rows]
    return found


def key_of(name: str, record: Mapping[str, Any]) -> Any:
    """A stored record's key as people see it."""
    return _key_of(ROWS[name], record).shown()


def key_fields(name: str, record: Mapping[str, Any]) -> set[str]:
    """The fields of a stored record's own key."""
    return set(_key_of(ROWS[name], record).fields)


def _merge(deltas: list[Sent], settings: bytes) -> _Merged:
    rows = rows_of(settings)
    loaded = {}
    for sent in deltas:
        stamp, document = stamped(sent)
        loaded[stamp[0], stamp[3]] = (stamp, document)
    ordered = sorted(loaded.values(), key=lambda one: one[0])
    merged = _Merged([(stamp, place(rows, document)) for stamp, document in ordered], rows, {}, {}, {})
    for stamp, placed in merged.deltas:
        for position, one in enumerate(placed):
            if one.key is None or one.appended:
                order = _order(one.key, stamp, position)
                record = {**plain(one.record), "_stamp": list(stamp)}
                merged.appended.setdefault(one.collection, []).append((order, record))
            elif one.deletes:
                merged.deletions.setdefault((one.collection, one.key), []).append(stamp)
            else:
                merged.writes.setdefault((one.collection, one.key), []).append((stamp, one.record))
    return merged


def _order(key: Key | None, *further: Any) -> tuple[Any, ...]:
    """The place of a record in its collection: by natural key, and appended ones by what is further given."""
    return (order_of(key.shown()) if key else (), *further)


def _decided(merged: _Merged, closes: Closes) -> dict[_Identity, tuple[dict[str, Any] | None, list[dict[str, Any]]]]:
    """The resources that were ever asked for: record and decisions of each."""
    found = {}
    for (name, key), writes in merged.writes.items():
        if merged.rows[name].rule == "claim":
            claims = [Claim(closes.get((stamp[0], stamp[3]), stamp[0]), stamp, record) for stamp, record in writes]
            claims.sort(key=lambda claim: claim.frame)
            found[name, key] = decide(merged.rows[name], key, claims)
    return found
