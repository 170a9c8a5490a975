"""One stream for display: its state, its deltas and what became of them, its losses, and its clock."""

from __future__ import annotations

from collections import Counter

from dreamcatcherd.core.codec import calendar_text
from dreamcatcherd.core.errors import RefusedError
from dreamcatcherd.core.model import Record
from dreamcatcherd.core.report import Pending
from dreamcatcherd.history.stream_history import StreamDelta, stream_history
from dreamcatcherd.web.pages.display import clip, clip_name, micros_text
from dreamcatcherd.web.pages.frames import notes_of
from dreamcatcherd.web.pages.lists import conflict_row
from dreamcatcherd.web.paging import page_of_frames
from dreamcatcherd.web.query_executor import Reading

DELTAS_SHOWN = 50


def read_stream(reading: Reading, stream_id: str, before: int | None, skip: int = 0) -> Record:
    """What a stream delivered in recent frames, or in those before a frame. The figures are of all rows of the frames,
    whichever of them the page lists."""
    found = stream_history(reading.store, reading.base, reading.chain, stream_id, DELTAS_SHOWN, before)
    late = [one.frame - one.own for one in found.deltas if one.outcome == "late" and one.own is not None]
    newest = max([*(one.frame for one in found.deltas), *(one.frame for one in found.lost)], default=None)
    page = page_of_frames(found.deltas, DELTAS_SHOWN, skip, newest, found.before)
    losses = page_of_frames(found.lost, DELTAS_SHOWN, skip, newest, found.before)
    longer = page if len(found.deltas) > len(found.lost) else losses
    rows = [one.merged for one in found.deltas if one.merged is not None]
    return {
        "deltas": [_delta(one) for one in page.rows],
        "losses": [conflict_row(one) for one in losses.rows],
        "lost": len(found.lost),
        "outcomes": Counter(one.outcome for one in found.deltas),
        "lateness": (max(late), sum(late) / len(late)) if late else None,
        "ahead": max((row.ahead_s for row in rows if row.ahead_s is not None), default=None),
        "backward": sum(row.backward for row in rows),
        "first": found.first,
        "last": found.last,
        "known": bool(found.deltas or found.lost) or found.before is not None,
        "next": longer.more,
    }


def stream_now(pending: Pending | None, stream_id: str) -> Record:
    """A stream's present state: silent, active, new, or not seen in the last 100 frames."""
    last = pending.seen.get(stream_id) if pending else None
    waiting = pending.streams.get(stream_id, 0) if pending else 0
    silent = pending is not None and stream_id in pending.silent
    state = "silent" if silent else "active" if last else "new" if waiting else "not seen"
    return {
        "stream_id": clip_name(stream_id, 128),
        "state": state,
        "waiting": waiting,
        "last_frame": last.frame if last else None,
        "last_utc": calendar_text(last.utc) if last else None,
        "frames_ago": pending.frame - last.frame if pending and last else None,
    }


def check_known(found: Record, now: Record) -> None:
    """RefusedError if nothing at all is known of a stream."""
    if now["state"] == "not seen" and not found["known"]:
        raise RefusedError(f"no stream {now['stream_id']!r} is known", "see the list of streams, or search for it")


def _delta(one: StreamDelta) -> Record:
    return {
        "frame": one.frame, "own": one.own, "outcome": one.outcome, "path": clip_name(one.path, 160), "file": one.path,
        "commit": one.commit, "utc": micros_text(one.utc), "detail": clip(one.detail, 200),
        "late": one.frame - one.own if one.outcome == "late" and one.own is not None else 0, "lost": one.lost,
        "notes": notes_of(one.merged) if one.merged else [],
    }  # fmt: skip
