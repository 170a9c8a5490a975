"""The list of frames, one closed frame, and the comparison of two frames, for display."""

from __future__ import annotations

from collections import Counter
from itertools import islice

from dreamcatcherd.core.diff import Bounds, Changed
from dreamcatcherd.core.keys import names_entity, natural_key
from dreamcatcherd.core.ledger import BookRow, DeltaRow, DuplicateRow, HeldRow, Ledger
from dreamcatcherd.core.model import Record
from dreamcatcherd.core.settings import Settings
from dreamcatcherd.core.snapshot import Item
from dreamcatcherd.core.summary import frame_summary
from dreamcatcherd.history import queries
from dreamcatcherd.web.pages.display import (
    LABEL,
    NOTHING,
    clip,
    clip_key,
    clip_name,
    entity_link,
    key_text,
    link,
    micros_text,
    plural_words,
    stream_link,
)
from dreamcatcherd.web.pages.lists import conflict_row, quarantine_row
from dreamcatcherd.web.query_executor import Reading

LEDGER_ROWS = 200
FIELDS = 12
SHOWN_DIFF_ROWS = 200
SHOWN_DIFF_BYTES = 2**20
FRAMES_SEEN = 2_000
"""How many frames one page of a filtered list looks at."""


def read_frames(reading: Reading, limit: int, before: int | None, kind: str | None) -> Record:
    """Closed frames, newest first; with `kind` only those that have some of it: late, conflicts, quarantined."""
    rows: list[Record] = []
    last = None
    for row in islice(reading.chain.log(reading.store, reading.base, before=before), FRAMES_SEEN):
        if len(rows) >= limit:
            break
        last = row["frame"]
        if kind is None or row[kind]:
            rows.append(row)
    else:
        further = (
            next(iter(reading.chain.log(reading.store, reading.base, 1, last)), None) if last is not None else None
        )
        last = last if further is not None else None
    return {"rows": rows, "before": last}


def read_frame(reading: Reading, frame: int) -> Record:
    """One closed frame: its ledger, its neighbours, and what it changed. RefusedError if it is not closed."""
    store, base, chain = reading.store, reading.base, reading.chain
    ledger = queries.ledger_of(store, base, frame)
    links = chain.frames(store, base)
    newer, own, older = None, None, None
    for one in links:
        if one.frame < frame:
            older = one.frame
            break
        newer, own = (one.frame, own) if one.frame > frame else (newer, one)
    closed_s = store.commit(own.oid).time if own else None
    counts = ledger.counts
    quarantined = [row for row in ledger.quarantined if row.since == frame]
    changes = None
    if older is not None:
        changes = read_changes(reading, older, frame, Bounds(50, SHOWN_DIFF_BYTES // 4))
    return {
        "frame": frame,
        "row": frame_summary(ledger, own.oid if own else None, closed_s),
        "closed_by": clip(ledger.closed_by, 60),
        "newer": newer,
        "older": older,
        "counts": counts,
        "streams": _by_stream(ledger.deltas),
        "deltas": [_delta(row, frame) for row in ledger.deltas[:LEDGER_ROWS]],
        "held": [_held(row) for row in ledger.held[:LEDGER_ROWS]],
        "duplicates": [_duplicate(row) for row in ledger.duplicates[:LEDGER_ROWS]],
        "quarantined": [quarantine_row(row) for row in quarantined[:LEDGER_ROWS]],
        "conflicts": _conflicts(ledger),
        "claims": _claims(ledger),
        "books": [_book(row) for row in ledger.books[:LEDGER_ROWS]],
        "violations": [
            {
                "kind": row.kind, "path": clip_name(row.path, 200), "commit": row.commit,
                "author": clip(row.author or NOTHING, 120), "detail": clip(row.detail, 200),
            }
            for row in ledger.violations[:LEDGER_ROWS]
        ],
        "misfits": [
            {
                "path": clip_name(row.path, 200), "section": clip(row.section, 60), "why": clip(row.why),
                "records": row.records,
            }
            for row in ledger.misfits[:LEDGER_ROWS]
        ],
        "settings": ledger.settings_change,
        "changes": changes,
        "rows": {
            "deltas": len(ledger.deltas), "held": len(ledger.held), "duplicates": len(ledger.duplicates),
            "quarantined": len(quarantined), "conflicts": len(ledger.conflicts), "claims": len(ledger.claims),
            "books": len(ledger.books), "violations": len(ledger.violations), "misfits": len(ledger.misfits),
        },
    }  # fmt: skip


def _by_stream(rows: list[DeltaRow]) -> Record:
    counted = Counter(row.stream_id for row in rows).most_common()
    late = Counter(row.stream_id for row in rows if row.late)
    most = counted[0][1] if counted else 1
    return {
        "rows": [
            {"name": clip_name(name, LABEL), "page": stream_link(name), "count": count, "late": late[name],
             "share": round(100 * count / most, 2)}
            for name, count in counted[:24]
        ],
        "more": max(0, len(counted) - 24),
    }  # fmt: skip


def _delta(row: DeltaRow, frame: int) -> Record:
    own = frame if row.frame is None else row.frame
    return {
        "stream": clip_name(row.stream_id), "page": stream_link(row.stream_id), "path": clip_name(row.path, 160),
        "file": row.path, "commit": row.commit, "utc": micros_text(row.utc), "late": frame - own if row.late else 0,
        "notes": notes_of(row), "source": clip(row.source, 80),
    }  # fmt: skip


def notes_of(row: DeltaRow) -> list[str]:
    """What is remarkable about a merged delta, in words."""
    notes = []
    if row.ahead_s is not None:
        notes.append(f"clock {row.ahead_s:,} s ahead")
    if row.backward:
        notes.append("clock went backward")
    for count, noun, words in (
        (row.misfits, "record", " without a usable key"),
        (row.collapsed, "record", " that brought nothing new"),
        (len(row.unresolved), "reference", " without a file"),
        (len(row.unknown), "unknown section", ""),
    ):
        if count:
            notes.append(plural_words(count, noun) + words)
    return notes


def _held(row: HeldRow) -> Record:
    return {"stream": clip_name(row.stream_id), "page": stream_link(row.stream_id), "path": clip_name(row.path, 160),
            "file": row.path, "commit": row.commit, "frame": row.frame}  # fmt: skip


def _duplicate(row: DuplicateRow) -> Record:
    return {"stream": clip_name(row.stream_id), "page": stream_link(row.stream_id), "path": clip_name(row.path, 160),
            "file": row.path, "commit": row.commit, "frame": row.frame, "more": row.more}  # fmt: skip


def _conflicts(ledger: Ledger) -> list[Record]:
    return [
        conflict_row(
            queries.LostConflict(ledger.frame, one.collection, one.key, one.field, one.winner, one.loser, one.value)
        )
        for one in ledger.conflicts[:LEDGER_ROWS]
    ]


def _claims(ledger: Ledger) -> list[Record]:
    return [
        {
            "collection": clip(row.collection), "key": clip_key(row.key), "page": entity_link(row.collection, row.key),
            "stream": clip_name(row.stream_id), "stream_page": stream_link(row.stream_id), "outcome": row.outcome,
            "holder": clip_name(row.holder) if row.holder is not None else "", "until": row.until,
        }
        for row in ledger.claims[:LEDGER_ROWS]
    ]  # fmt: skip


def _book(row: BookRow) -> Record:
    return {
        "book": clip(row.book), "page": link("book", {"key": key_text(row.book)}), "events": ", ".join(row.events),
        "chapters": row.chapters, "target": row.target, "published": row.published,
    }  # fmt: skip


# Comparing --------------------------------------------------------------------------------------------------------


def read_changes(reading: Reading, first: int, second: int, bounds: Bounds | None = None) -> Record:
    """The difference between two frames as rows for display."""
    found = queries.diff_frames(
        reading.store, reading.base, first, second, bounds or Bounds(SHOWN_DIFF_ROWS, SHOWN_DIFF_BYTES)
    )
    settings = reading.base.settings
    rows = [_entity("added", item, settings) for items in found.added.values() for item in items]
    rows += [_entity("removed", item, settings) for items in found.removed.values() for item in items]
    rows += [_changed(name, one) for name, ones in found.changed.items() for one in ones]
    return {"from": first, "to": second, "rows": rows, "truncated": found.truncated}


def _entity(kind: str, item: Item, settings: Settings) -> Record:
    fields = [{"name": clip(name, 60), "new": clip(value)} for name, value in list(item.record.items())[:FIELDS]]
    row = settings.table.get(item.collection)
    key, page = "", ""
    if row is not None and row.rule != "append":
        natural = natural_key(row, item.record)
        key = clip_key(natural)
        page = entity_link(item.collection, natural) if names_entity(row, natural) else ""
    more = max(0, len(item.record) - FIELDS)
    return {"kind": kind, "collection": clip(item.collection), "key": key, "page": page, "fields": fields, "more": more}


def _changed(collection: str, one: Changed) -> Record:
    first = list(one.fields.items())[:FIELDS]
    fields = [{"name": clip(name, 60), "old": clip(old), "new": clip(new)} for name, (old, new) in first]
    more = max(0, len(one.fields) - FIELDS)
    return {"kind": "changed", "collection": clip(collection), "key": clip_key(one.key),
            "page": entity_link(collection, one.key), "fields": fields, "more": more}  # fmt: skip
