"""The outcome of a delta: merged, late, duplicate, quarantined or pending. Reads ledgers, never the state."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import unquote

from msgspec import Struct

from dreamcatcherd.core import paths
from dreamcatcherd.core.codec import canonical, decode, frame_number, plain, read_document, utc_micros
from dreamcatcherd.core.errors import RefusedError
from dreamcatcherd.core.header import read_header
from dreamcatcherd.core.intake import Intake
from dreamcatcherd.core.ledger import ClaimRow, Ledger, MisfitRow, QuarantinedRow, read_ledger
from dreamcatcherd.core.model import Arrival, Conflict, Delta, Fault, Json, Stamp
from dreamcatcherd.core.settings import Limits
from dreamcatcherd.core.tree import blob_at
from dreamcatcherd.git.protocols import QueryReader
from dreamcatcherd.history.ledger_index import LINEAR, UNLISTED, LedgerIndex, content_word, path_word, time_word
from dreamcatcherd.stages.inbox import Inbox
from dreamcatcherd.stages.published import PublishedState
from dreamcatcherd.stages.stray_branches import why_unseen


class Receipt(Struct, frozen=True):
    """The outcome of one version of a delta, with the frame and digest of the ledger that lists it.

    `lost` are the fields in which another stream won. `misfits`, `collapsed` (a number of records), `unresolved`
    (references) and `unknown` (sections) are the parts that were not stored as records of their own
    (docs/protocol.md#a-delta). `claims` are the decisions about its claims."""

    path: str
    blob: str
    stream_id: str | None
    outcome: str
    frame: int | None
    digest: str | None
    reason: str | None
    lost: list[Conflict] = []
    misfits: list[MisfitRow] = []
    collapsed: int = 0
    unresolved: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    claims: list[ClaimRow] = []


class Asked(Struct, frozen=True):
    """How a query names a delta: by path, by blob, or by the first parts of its order key (at least two)."""

    path: str | None = None
    blob: str | None = None
    key: tuple[Json, ...] = ()

    def is_it(self, path: str, blob: str, stamp: Stamp | None) -> bool:
        """Whether the query names a version with this path, blob and stamp (None if it has no stamp)."""
        if self.key:
            return stamp is not None and stamp[: len(self.key)] == self.key
        return path == self.path or blob == self.blob


_KEY = re.compile(r"[0-9]{1,16}/[^/]+(?:/[^/]+){0,2}")


def known_receipts(store: QueryReader, inbox: Inbox, text: str, index: LedgerIndex = LINEAR) -> list[Receipt]:
    """The receipts of a delta as of an inbox, pending ones too; RefusedError says why there is none."""
    asked = text.removeprefix("./")
    found = receipts(store, inbox.published, inbox.arrivals, asked, index=index)
    if found:
        return found
    why = why_unseen(store, inbox.refs, inbox.main, inbox.settings, asked)
    if why is not None:
        raise RefusedError(plain(why), "see docs/workers.md for where deltas go")
    roots = " or ".join(f"{root}/…" for root in inbox.settings.intake.roots)
    remedy = f"check the path ({roots}), blob id or key, and that the push was accepted"
    raise RefusedError(f"no delta {text!r} has arrived", remedy)


def read_asked(store: QueryReader, text: str) -> Asked:
    """Parse what a user typed: `<frame>/<utc>[/<stream_id>[/<content id>]]` or a stamp as a JSON list is an order key.

    Any other text with a slash is a path; without a slash it is a blob id or its first digits."""
    parts: list[Json] = []
    if text.startswith("["):
        try:
            parts = list(decode(text.encode()))
        except (ValueError, TypeError):
            parts = []
    elif _KEY.fullmatch(text):
        parts = [unquote(part) for part in text.split("/")]
    if len(parts) >= 2:
        frame, utc = frame_number(parts[0]), parts[1]
        if isinstance(utc, str):
            utc = int(utc) if utc.isascii() and utc.isdigit() else utc_micros(utc)
        if frame is not None and utc is not None:
            return Asked(key=(frame, utc, *parts[2:4]))
    return Asked(path=text) if "/" in text else Asked(blob=store.resolve(text) or text)


def receipts(
    store: QueryReader,
    base: PublishedState,
    waiting: list[Arrival],
    text: str,
    since: int = 0,
    index: LedgerIndex = LINEAR,
) -> list[Receipt]:
    """The outcome of every version of the delta that `text` names, oldest frame first; empty if there is none.

    `waiting` are the arrivals that no frame has merged yet. Ledgers before frame `since` are not read. FatalError if a
    ledger cannot be read."""
    asked = read_asked(store, text)
    found: dict[tuple[str, str], Receipt] = {}
    merged: dict[Stamp, tuple[str, str]] = {}
    search = index.search(store, base.ledgers, _words(asked), _first_frame(store, base, asked, since))
    for _, raw in search:
        # A field can be lost in a later frame, to a late delta. That ledger has the content id of the losing version.
        needles = [_needle(asked), *(stamp.content_id.encode() for stamp in merged)]
        # If a blob came under very many names, the ledger lists some and counts the others: the path may be absent.
        unlisted = asked.path is not None and b'"more":' in raw
        if not unlisted and not any(needle in raw for needle in needles):
            continue
        ledger = read_ledger(raw)
        if unlisted and (receipt := _among_unlisted(store, ledger, asked.path or "")) is not None:
            _keep_best(found, receipt)
        for receipt, stamp in _in_ledger(ledger, asked, {stamp.content_id for stamp in merged} if asked.key else set()):
            _keep_best(found, receipt)
            if stamp is not None:
                merged[stamp] = (receipt.path, receipt.blob)
                search.want([content_word(stamp.content_id)])
        for conflict in ledger.conflicts:
            if conflict.loser in merged:
                found[merged[conflict.loser]].lost.append(conflict)
    for arrival in waiting:
        item = arrival.item
        path = paths.printable(item.version.path)
        if asked.is_it(path, item.version.blob, item.stamp if isinstance(item, Delta) else None):
            stream_id = item.stream_id if isinstance(item, Delta) else None
            _keep_best(found, Receipt(path, item.version.blob, stream_id, "pending", None, None, None, []))
    return list(found.values())


def _needle(asked: Asked) -> bytes:
    """Bytes that every ledger contains that lists the delta: decoding is far slower than a search."""
    if asked.key:
        return b'"utc":%d' % asked.key[1] if len(asked.key) < 4 else canonical(asked.key[3])[1:-1]
    return canonical(asked.path if asked.path is not None else asked.blob)[1:-1]


def _words(asked: Asked) -> list[bytes]:
    """The words of the ledgers in which the delta may be."""
    if asked.path is not None:
        return [path_word(asked.path), UNLISTED]
    if asked.key:
        return [time_word(asked.key[1]) if len(asked.key) < 4 else content_word(str(asked.key[3]))]
    return [content_word(asked.blob or "")]


def _first_frame(store: QueryReader, base: PublishedState, asked: Asked, since: int) -> int:
    """The first frame whose ledger may list a delta: its own, or `since` if that is later or its own is not known."""
    intake = base.settings.intake
    if asked.key:
        first = asked.key[0]
    elif asked.path:
        first = paths.frame_of(asked.path, intake.roots)
    else:
        first = _frame_in(store, asked.blob, intake)
    last = base.state.last_closed
    return max(since, first) if first is not None and last is not None and first <= last else since


def _frame_in(store: QueryReader, blob: str | None, intake: Intake) -> int | None:
    if blob is None or store.resolve(blob) != blob:
        return None
    limits = Limits()
    document = read_document(store.read(blob), limits)
    header = document if isinstance(document, Fault) else read_header(document, None, intake)
    return None if isinstance(header, Fault) else header.frame


_RANK = {"pending": 0, "quarantined": 1, "duplicate": 2, "late": 3, "merged": 4}


def _keep_best(found: dict[tuple[str, str], Receipt], receipt: Receipt) -> None:
    """Keep one receipt for each version: of several ledgers' outcomes, the one of the highest rank."""
    key = (receipt.path, receipt.blob)
    if key not in found or _RANK[found[key].outcome] < _RANK[receipt.outcome]:
        found[key] = receipt


def _among_unlisted(store: QueryReader, ledger: Ledger, path: str) -> Receipt | None:
    """The receipt of a version that a ledger counts and does not list, since its blob came under many names at once."""
    if any(row.path == path for row in ledger.rows()):
        return None
    for rows, outcome in ((ledger.duplicates, "duplicate"), (ledger.quarantined, "quarantined")):
        for row in rows:
            if row.more and blob_at(store, store.commit(row.commit).tree, path) == row.blob:
                reason = row.reason if isinstance(row, QuarantinedRow) else None
                return Receipt(path, row.blob, None, outcome, ledger.frame, ledger.snapshot, reason)
    return None


def _in_ledger(ledger: Ledger, asked: Asked, contents: set[str]) -> Iterator[tuple[Receipt, Stamp | None]]:
    """The receipts in one ledger, each with the delta's stamp if it was merged.

    A duplicate's row has no time. If the query is an order key, duplicates are recognized by the content ids found so
    far (`contents`)."""
    frame, digest = ledger.frame, ledger.snapshot
    for row in ledger.deltas:
        stamp = Stamp(frame if row.frame is None else row.frame, row.utc, row.stream_id, row.content_id or row.blob)
        if asked.is_it(row.path, row.blob, stamp):
            outcome = "late" if row.late else "merged"
            contents = contents | {stamp.content_id} if asked.key else contents
            misfits = [one for one in ledger.misfits if (one.path, one.blob) == (row.path, row.blob)]
            notes = (misfits, row.collapsed, row.unresolved, row.unknown)
            claims = [one for one in ledger.claims if one.stamp == stamp]
            yield Receipt(row.path, row.blob, row.stream_id, outcome, frame, digest, None, [], *notes, claims), stamp
    for early in ledger.held:
        stamp = Stamp(early.frame, early.utc, early.stream_id, early.content_id or early.blob)
        if asked.is_it(early.path, early.blob, stamp):
            yield Receipt(early.path, early.blob, early.stream_id, "pending", None, None, "held", []), None
    for again in ledger.duplicates:
        if asked.is_it(again.path, again.blob, None) or (again.content_id or again.blob) in contents:
            yield Receipt(again.path, again.blob, again.stream_id, "duplicate", frame, digest, None, []), None
    for bad in ledger.quarantined:
        if asked.is_it(bad.path, bad.blob, None):
            yield Receipt(bad.path, bad.blob, None, "quarantined", bad.since, None, bad.reason, []), None
