"""Cycle reports as a cycle makes them, without a repository."""

from __future__ import annotations

from typing import Any

from dreamcatcherd.core.ledger import Counts, Ledger, QuarantinedRow, Violation
from dreamcatcherd.core.model import Conflict, Stamp
from dreamcatcherd.core.report import CycleReport, Pending

_ONE, _TWO = Stamp(7, 1, "a", "c" * 40), Stamp(7, 2, "b", "d" * 40)


def pending(**given: Any) -> Pending:
    """What waits: nothing, in frame 8, unless told otherwise."""
    values: dict[str, Any] = {
        "frame": 8,
        "opened_at": None,
        "closes_at": None,
        "last_closed": 7,
        "closed_at_s": 1_767_225_600.0,
        "digest": "e" * 40,
        "streams": {},
        "held": 0,
        "behind_s": 0.0,
        "entities": {},
    }
    return Pending(**{**values, **given})


def quarantined(name: str, reason: str, since: int = 7) -> QuarantinedRow:
    path = f"state/stream_deltas/7/{name}.json"
    return QuarantinedRow(path, "b" * 40, reason, f"why {name}", "dc/s", "f" * 40, since)


def conflict(collection: str) -> Conflict:
    return Conflict(collection, 1, "title", _TWO, _ONE, "lost")


def closed(frame: int = 7, **given: Any) -> Ledger:
    """A closed frame's ledger from its rows and counts; what has rows is counted by them."""
    rows: dict[str, Any] = {name: given.pop(name, []) for name in ("quarantined", "conflicts", "violations")}
    counted: dict[str, Any] = dict.fromkeys(Counts.__struct_fields__, 0)
    counted |= {"entities": {}, **{name: len(found) for name, found in rows.items()}, **given}
    counted["quarantined"] = sum(row.since == frame for row in rows["quarantined"])
    return Ledger(frame, "e" * 40, None, "interval", None, counts=Counts(**counted), **rows)


def published(ledger: Ledger, **given: Any) -> CycleReport:
    return CycleReport(given.pop("pending", pending()), ledger, "a" * 40, **given)


def violation(kind: Any, **given: Any) -> Violation:
    return Violation(kind, "state/snapshot", "c" * 40, given.pop("author", "w <w@localhost>"), **given)
