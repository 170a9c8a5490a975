"""Looking back: the snapshot commits, and what became of a delta. Reads ledgers; never the state."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from msgspec import Struct

from dreamcatcherd.core import paths
from dreamcatcherd.core.codec import canonical, read_document, read_header
from dreamcatcherd.core.ledger import Ledger, read_ledger
from dreamcatcherd.core.model import Arrival, Conflict, Delta, Fault, Stamp
from dreamcatcherd.core.settings import Limits
from dreamcatcherd.core.tree import blob_at, read_tree
from dreamcatcherd.store.base import Base, claimed_frame, load_ledger
from dreamcatcherd.store.ports import Commit, Store


class Closed(Struct, frozen=True):
    """A closed frame: its snapshot commit and ledger."""

    oid: str
    commit: Commit
    ledger: Ledger


class Receipt(Struct, frozen=True):
    """What became of one version of a delta. `lost` are the fields in which another stream won."""

    path: str
    blob: str
    stream_id: str | None
    outcome: str
    frame: int | None
    digest: str | None
    reason: str | None
    lost: list[Conflict]


def closed_frames(store: Store, base: Base) -> Iterator[Closed]:
    """Closed frames, newest first. From each snapshot commit the nearest earlier one is searched, parent by parent."""
    at = base.commit
    while at is not None:
        commit = store.commit(at)
        frame = claimed_frame(commit)
        ledger = load_ledger(store, base.ledgers, frame) if frame is not None else None
        if ledger is not None:
            yield Closed(at, commit, ledger)
        at = _nearest(store, commit, frame)


def _nearest(store: Store, commit: Commit, before: int | None) -> str | None:
    todo, seen = deque(commit.parents), set(commit.parents)
    while todo:
        oid = todo.popleft()
        found = store.commit(oid)
        frame = claimed_frame(found)
        if frame is not None and (before is None or frame < before):
            return oid
        fresh = [parent for parent in found.parents if parent not in seen]
        seen.update(fresh)
        todo.extend(fresh)
    return None


def receipts(store: Store, base: Base, waiting: list[Arrival], asked: str) -> list[Receipt]:
    """Every version at a path, or of a blob (id or first digits), with what became of it; oldest frame first.

    Fields may also be lost later, to a late delta: the later ledgers are searched for the delta's content id."""
    blob = asked if "/" in asked else store.resolve(asked) or asked
    found: dict[tuple[str, str], Receipt] = {}
    merged: dict[Stamp, tuple[str, str]] = {}
    for frame in _frames(store, base, asked, blob):
        oid = blob_at(store, base.ledgers, paths.ledger_path(frame))
        raw = store.read(oid) if oid else b""
        needles = [canonical(blob)[1:-1], *(stamp[3].encode() for stamp in merged)]
        if not any(needle in raw for needle in needles):
            continue
        ledger = read_ledger(raw)
        for receipt, stamp in _in_ledger(ledger, asked, blob):
            _keep_best(found, receipt)
            if stamp is not None:
                merged[stamp] = (receipt.path, receipt.blob)
        for conflict in ledger.conflicts:
            if conflict.loser in merged:
                found[merged[conflict.loser]].lost.append(conflict)
    for arrival in waiting:
        version = arrival.item.version
        path = paths.printable(version.path)
        if asked == path or blob == version.blob:
            stream_id = arrival.item.stream_id if isinstance(arrival.item, Delta) else None
            _keep_best(found, Receipt(path, version.blob, stream_id, "pending", None, None, None, []))
    return list(found.values())


def _frames(store: Store, base: Base, asked: str, blob: str) -> range:
    """The frames in whose ledgers a delta may stand: its own and all later ones."""
    last = base.state.last_closed
    if last is None:
        return range(0)
    first = paths.frame_of(asked) if "/" in asked else _frame_in(store, blob)
    oldest = _oldest(store, base)
    return range(max(oldest, first) if first is not None and first <= last else oldest, last + 1)


def _oldest(store: Store, base: Base) -> int:
    thousands = min((int(name) for name in read_tree(store, base.ledgers) if name.isdigit()), default=0)
    return thousands * 1000


def _frame_in(store: Store, blob: str) -> int | None:
    if store.resolve(blob) != blob:
        return None
    limits = Limits()
    document = read_document(store.read(blob), delta_bytes=limits.delta_bytes, depth=limits.depth)
    header = document if isinstance(document, Fault) else read_header(document, None)
    return None if isinstance(header, Fault) else header.frame


_RANK = {"pending": 0, "quarantined": 1, "duplicate": 2, "late": 3, "merged": 4}


def _keep_best(found: dict[tuple[str, str], Receipt], receipt: Receipt) -> None:
    """Of one version that stands in several ledgers, the outcome that says most."""
    key = (receipt.path, receipt.blob)
    if key not in found or _RANK[found[key].outcome] < _RANK[receipt.outcome]:
        found[key] = receipt


def _in_ledger(ledger: Ledger, asked: str, blob: str) -> Iterator[tuple[Receipt, Stamp | None]]:
    """The receipts that a ledger has of what is asked, with the stamp of what it merged."""

    def is_it(path: str, oid: str) -> bool:
        return path == asked or oid == blob

    frame, digest = ledger.frame, ledger.snapshot
    for row in ledger.deltas:
        if is_it(row.path, row.blob):
            stamp = (frame if row.frame is None else row.frame, row.utc, row.stream_id, row.content_id or row.blob)
            outcome = "late" if row.late else "merged"
            yield Receipt(row.path, row.blob, row.stream_id, outcome, frame, digest, None, []), stamp
    for again in ledger.duplicates:
        if is_it(again.path, again.blob):
            yield Receipt(again.path, again.blob, again.stream_id, "duplicate", frame, digest, None, []), None
    for early in ledger.held:
        if is_it(early.path, early.blob):
            yield Receipt(early.path, early.blob, early.stream_id, "pending", None, None, "held", []), None
    for bad in ledger.quarantined:
        if is_it(bad.path, bad.blob):
            yield Receipt(bad.path, bad.blob, None, "quarantined", bad.since, None, bad.reason, []), None
