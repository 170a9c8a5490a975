"""What became of a pushed delta: its row, and waiting until the row is final."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from msgspec import Struct, structs

from dreamcatcherd.client.pace import jittered
from dreamcatcherd.client.session import Session, Sight
from dreamcatcherd.core import paths
from dreamcatcherd.core.errors import RetryableError
from dreamcatcherd.core.ledger import ClaimRow, MisfitRow
from dreamcatcherd.core.model import Conflict
from dreamcatcherd.core.tree import read_tree
from dreamcatcherd.history.receipts import Receipt, receipts

_QUICK_S = 0.2


class Pushed(Struct, frozen=True):
    """What became of one delta that was to be pushed, with the fields of its receipt.

    `outcome` is that of the receipt (pending, merged, late, duplicate, quarantined), or `refused`: then nothing was
    pushed, `reason` is a word and `detail` a sentence. `duplicate` also means that the repository had the delta
    already; `frame` and `digest` say where it was merged, if it was. `name` is how the caller named it, `path` its path
    in the repository, `ref` and `commit` what it was pushed to. `warnings` name what is not stored as expected."""

    name: str
    path: str | None
    blob: str
    ref: str | None
    commit: str | None
    outcome: str
    stream_id: str | None
    frame: int | None = None
    digest: str | None = None
    reason: str | None = None
    detail: str | None = None
    at: str | None = None
    lost: list[Conflict] = []
    misfits: list[MisfitRow] = []
    collapsed: int = 0
    unresolved: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    claims: list[ClaimRow] = []
    warnings: tuple[str, ...] = ()

    @property
    def accepted(self) -> bool:
        """Whether the repository has the delta and, as far as is known, merges it and grants what it claims."""
        refused = any(claim.outcome == "refused" for claim in self.claims)
        return self.outcome not in ("refused", "quarantined") and not refused

    @property
    def final(self) -> bool:
        """Whether no later frame changes the outcome."""
        if self.outcome == "duplicate":
            return self.frame is not None
        return self.outcome != "pending"


def with_receipt(row: Pushed, receipt: Receipt) -> Pushed:
    """The row with what a receipt says. A duplicate stays one where the delta was merged."""
    known = {name: getattr(receipt, name) for name in Receipt.__struct_fields__ if name not in ("path", "blob")}
    if row.outcome == "duplicate" and receipt.outcome in ("merged", "late", "pending"):
        known["outcome"] = "duplicate"
        known["reason"] = receipt.reason or row.reason if receipt.outcome == "pending" else None
    if known["stream_id"] is None:
        known["stream_id"] = row.stream_id
    return structs.replace(row, **known)


def find_receipts(session: Session, sight: Sight, rows: Sequence[Pushed], since: int) -> list[Pushed]:
    """The rows with what the ledgers from frame `since` on say about them."""
    wanted = [row for row in rows if row.path is not None and not row.final]
    last = sight.frame.last_closed
    if not wanted or last is None or since > last:
        return list(rows)
    _fetch_ledgers(session, sight, since, last)
    found: dict[str, Receipt] = {}
    for row in wanted:
        for receipt in receipts(session.clone, sight.published, [], row.path or "", since=since):
            if receipt.blob == row.blob:
                found[row.path or ""] = receipt
    return [with_receipt(row, found[row.path]) if row.path in found and not row.final else row for row in rows]


def _fetch_ledgers(session: Session, sight: Sight, first: int, last: int) -> None:
    """Fetch ledgers in two requests, and not one by one."""
    clone = session.clone
    thousands = read_tree(clone, sight.published.ledgers)
    wanted = [str(number) for number in range(first // 1000, last // 1000 + 1)]
    folders = [thousands[name].oid for name in wanted if name in thousands]
    clone.fetch_missing(folders)
    names = {paths.ledger_path(frame).rpartition("/")[2] for frame in range(first, last + 1)}
    clone.fetch_missing(entry.oid for oid in folders for name, entry in read_tree(clone, oid).items() if name in names)


def wait_until_final(
    session: Session,
    sight: Sight,
    rows: list[Pushed],
    wait_s: float,
    progress: Callable[[Sight, float], None] = lambda sight, left_s: None,
) -> list[Pushed]:
    """Look at the repository until all rows are final or the time is over; the rows as they are then.

    Only the refs are listed at each look. While the repository does not answer, the wait goes on."""
    until = time.monotonic() + wait_s
    since = (sight.frame.last_closed if sight.frame.last_closed is not None else -1) + 1
    pause = _QUICK_S
    while not all(row.final for row in rows) and (left_s := until - time.monotonic()) > 0:
        # A frame closes at a time that nobody but its primary knows exactly, so the refs are polled.
        progress(sight, left_s)
        time.sleep(min(left_s, jittered(pause)))
        pause = min(session.poll_s, pause * 1.5)
        try:
            refs = session.published_refs()
            if refs == sight.refs:
                continue
            sight = session.look(refs)
            rows = find_receipts(session, sight, rows, since)
        except RetryableError as failure:
            pause = max(pause, min(failure.retry_after_s or 0.0, until - time.monotonic()))
            continue
        since = (sight.frame.last_closed if sight.frame.last_closed is not None else -1) + 1
        pause = _QUICK_S
    return rows
