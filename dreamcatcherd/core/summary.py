"""One closed frame in a few numbers: the rows of `log`, `merge --json` and dashboards."""

from __future__ import annotations

from dreamcatcherd.core.codec import utc_text
from dreamcatcherd.core.ledger import Ledger, LedgerHead
from dreamcatcherd.core.model import Record


def frame_summary(ledger: Ledger | LedgerHead, commit: str | None, closed_at_s: float | None) -> Record:
    """The JSON of one row of `log`."""
    counts = ledger.counts
    return {
        "frame": ledger.frame,
        "digest": ledger.snapshot,
        "commit": commit,
        "closed_at": utc_text(round(closed_at_s * 1e6)) if closed_at_s is not None else None,
        "deltas": counts.deltas,
        "streams": counts.streams,
        "late": counts.late,
        "conflicts": counts.conflicts,
        "quarantined": counts.quarantined,
    }
