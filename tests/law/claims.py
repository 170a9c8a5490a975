"""Claims of the simple model: each decision is taken once, by the close that merges its delta."""

from __future__ import annotations

from typing import Any, NamedTuple

from tests.law.records import Key
from tests.law.rows import Row
from tests.law.sent import Stamp
from tests.law.values import plain


class Claim(NamedTuple):
    """A record of a claim: who asks, with which delta, and in which frame's close it is decided."""

    frame: int
    stamp: Stamp
    record: dict[str, Any]


def decide(row: Row, key: Key, claims: list[Claim]) -> tuple[dict[str, Any] | None, list[dict[str, Any]]]:
    """The record of one resource (None if nobody ever held it), and each decision as a row of the ledger of its frame.

    Claims are taken in order of the frame that decides, then of stamp and position."""
    found: dict[str, Any] | None = None
    rows = []
    for frame, stamp, record in claims:
        held = found if found is not None and "holder" in found and frame <= found["until"] else None
        mine = held is not None and held["holder"] == stamp[2]
        op, outcome = record.get("op") or "claim", "refused"
        own = {"holder": stamp[2], "until": frame + row.ttl, "_stamp": list(stamp)}
        if op == "claim" and held is None:
            fields = {name: value for name, value in plain(record).items() if name != "op"}
            found, outcome = {**fields, **own, "since": frame}, "granted"
        elif op == "renew" and mine and found is not None:
            found, outcome = {**found, **own}, "renewed"
        elif op == "release" and mine:
            found, outcome = {**key.own(), "_stamp": list(stamp), "_deleted": list(stamp)}, "released"
        found = found or {**key.own(), "_stamp": list(stamp), "_deleted": list(stamp)}
        now = found if outcome in ("granted", "renewed") else (held or {}) if outcome == "refused" else {}
        answer = {"holder": now.get("holder"), "until": now.get("until")}
        rows.append({"frame": frame, "key": key.shown(), "stream_id": stamp[2], "outcome": outcome, **answer})
    return found, rows
