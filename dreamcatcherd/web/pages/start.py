"""The first page: the open frame, the streams, and the beginning of every list."""

from __future__ import annotations

from typing import NamedTuple

from dreamcatcherd.core.codec import calendar_text, utc_micros
from dreamcatcherd.core.collections import EXTRA
from dreamcatcherd.core.model import Record
from dreamcatcherd.core.report import Pending
from dreamcatcherd.observe.clock import wall_clock
from dreamcatcherd.web.pages import lists
from dreamcatcherd.web.pages.display import LABEL, clip_name, link, stream_link
from dreamcatcherd.web.query_executor import Reading

STREAMS_SHOWN = 12
ROWS_SHOWN = 8
FRAMES_SHOWN = 10


class Parts(NamedTuple):
    """What the first page shows of one published commit, clipped for display."""

    log: list[Record]
    quarantined: Record
    conflicts: Record
    claims: list[Record]
    more_claims: int
    books: list[Record]
    more_books: int


def read_parts(reading: Reading) -> Parts:
    """Everything on the first page that depends on the published commit alone."""
    claims, all_claims = lists.read_claims(reading, ROWS_SHOWN)
    books, all_books = lists.read_books(reading, ROWS_SHOWN)
    quarantined = lists.read_quarantined(reading, ROWS_SHOWN, None)
    conflicts = lists.read_conflicts(reading, ROWS_SHOWN, None)
    last = reading.base.state.last_closed
    return Parts(
        log=list(reading.chain.log(reading.store, reading.base, FRAMES_SHOWN)),
        quarantined=quarantined | {"empty": lists.empty_text(quarantined, None, last)},
        conflicts=conflicts | {"empty": lists.empty_text(conflicts, None, last)},
        claims=claims,
        more_claims=all_claims - len(claims),
        books=books,
        more_books=all_books - len(books),
    )


def open_frame(pending: Pending) -> Record:
    """The open frame: its deltas by stream, the largest first, and the elapsed part of its time."""
    counts = sorted(pending.streams.items(), key=lambda one: (-one[1], one[0]))
    most = counts[0][1] if counts else 1
    bars = [
        {
            "name": clip_name(name, LABEL),
            "page": stream_link(name),
            "count": count,
            "share": round(100 * count / most, 2),
        }
        for name, count in counts[:STREAMS_SHOWN]
    ]
    opened, closes = (utc_micros(text) if text else None for text in (pending.opened_at, pending.closes_at))
    timed = opened is not None and closes is not None and closes > opened
    return {
        "total": sum(pending.streams.values()),
        "streams": bars,
        "more": max(0, len(counts) - STREAMS_SHOWN),
        "span_s": (closes - opened) / 1e6 if timed and closes and opened else None,
        "gone_s": max(0.0, (wall_clock() - opened) / 1e6) if timed and opened else None,
        "entities": [
            {"name": clip_name(name), "page": _collection_page(name), "count": count}
            for name, count in sorted(pending.entities.items(), key=lambda one: -one[1])
        ],
    }


def _collection_page(name: str) -> str:
    # All extra sections are counted together, and only the list of collections names each.
    return "collections" if name == EXTRA else link("collection", {"name": name})


def stream_list(pending: Pending, state: str | None, limit: int, offset: int = 0) -> Record:
    """Streams for display, the silent ones first, then those that delivered last; `state` chooses one kind."""
    silent = set(pending.silent)
    rows = []
    for name in {**pending.seen, **pending.streams}:
        last = pending.seen.get(name)
        kind = "silent" if name in silent else "new" if last is None else "active"
        rows.append((kind, name, last))
    # Who looks at streams mostly looks for those that are missing.
    rows.sort(key=lambda row: (row[0] != "silent", -row[2].frame if row[2] else 1, row[1]))
    chosen = [row for row in rows if state is None or row[0] == state]
    return {
        "rows": [
            {
                "stream_id": clip_name(name), "page": stream_link(name), "state": kind,
                "pending": pending.streams.get(name, 0), "frame": last.frame if last else None,
                "utc": calendar_text(last.utc) if last else None,
            }
            for kind, name, last in chosen[offset : offset + limit]
        ],
        "total": len(chosen),
        "all": len(rows),
        "silent": len(silent),
        "new": sum(kind == "new" for kind, _, _ in rows),
        "more": max(0, len(chosen) - offset - limit),
    }  # fmt: skip
