"""What a cycle saw and did, as values: the one source of metrics, summary logs and `status` (Protocol §§9, 10)."""

from __future__ import annotations

from msgspec import Struct

from dreamcatcherd.core.ledger import Ledger


class Pending(Struct, frozen=True):
    """What one look at the repository shows. `behind_s` is how long ago the oldest delta that is due was committed.

    `held` deltas are among those of `streams`."""

    frame: int
    opened_at: str | None
    closes_at: str | None
    last_closed: int | None
    closed_at_s: float | None
    digest: str | None
    streams: dict[str, int]
    held: int
    behind_s: float
    entities: dict[str, int]


class CycleReport(Struct, frozen=True):
    """What a cycle did. `commit` is None where nothing was published; `lost` tells that another primary was first.

    `phases` are seconds, `ages_s` the seconds from each merged delta's commit to its publication."""

    pending: Pending
    ledger: Ledger | None = None
    commit: str | None = None
    lost: bool = False
    races: int = 0
    phases: dict[str, float] = {}
    ages_s: list[float] = []


def status_json(pending: Pending) -> dict[str, object]:
    """The JSON of `status` and `/api/v1/status`."""
    return {
        "frame": pending.frame,
        "opened_at": pending.opened_at,
        "closes_at": pending.closes_at,
        "last_closed": pending.last_closed,
        "digest": pending.digest,
        "pending": {"total": sum(pending.streams.values()), "streams": pending.streams},
        "held": pending.held,
        "behind_s": round(pending.behind_s, 3),
    }
