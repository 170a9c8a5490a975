"""The observations and actions of a cycle as values: the only source of metrics, summary logs and `status`
(docs/protocol.md#commands, docs/protocol.md#metrics)."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from dreamcatcherd.core.codec import calendar_text, utc_micros
from dreamcatcherd.core.ledger import Ledger, Violation
from dreamcatcherd.core.troubles import LargeView, Trouble

REPOSITORY_HEADER = "Dreamcatcher-Repository"
"""The HTTP header that names the repository of a status, percent-encoded."""


class LastDelta(Struct, frozen=True):
    """A stream's last merged delta: the frame that merged it, and its UTC in microseconds."""

    frame: int
    utc: int


class Pending(Struct, frozen=True):
    """The state of the repository at one poll. `behind_s` is how long ago the oldest delta that is due was committed.

    `due_at_s` is when the open frame is or was due, in seconds since 1970, None if no time says so. `troubles` are the
    present ones, as far as the repository shows them, `violations` those since the last publication. `held` deltas are
    among those of `streams`. `seen` has each stream of the last 100 frames with its last delta; `silent` are those that
    delivered in none of the last 10. `claims_held` counts the resources that somebody holds in the open frame, by
    collection. `settings` is the file of those in force, with the warnings about it. `large_views` are among the
    troubles, and logged. `relay_pending` counts the deltas that a relay's upstream does not have."""

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
    seen: dict[str, LastDelta] = {}
    silent: list[str] = []
    due_at_s: float | None = None
    troubles: list[Trouble] = []
    violations: list[Violation] = []
    lanes_refused: int = 0
    claims_held: dict[str, int] = {}
    settings: str | None = None
    settings_warnings: tuple[str, ...] = ()
    large_views: list[LargeView] = []
    relay_pending: int = 0


class Check(Struct, frozen=True):
    """One finding of `doctor`: `remedy` is given if it is not `ok`."""

    check: str
    ok: bool
    detail: str
    remedy: str | None = None


class Forwarded(Struct, frozen=True):
    """One push of a relay: its commit upstream, and how many commits, deltas and lanes it brought there."""

    commit: str
    commits: int
    deltas: int
    lanes: int


class DiskUsage(Struct, frozen=True):
    """The disk space of the primary's own folder: its packs, their bytes, and the free bytes of the disk."""

    packs: int
    packed_bytes: int
    free_bytes: int


class PhaseRun(Struct, frozen=True):
    """One run of a phase: a close that lost a race runs most of them again, in its next `attempt` (the first is 1).

    `began` is microseconds UTC. `failed` means that an error ended it."""

    phase: str
    began: int
    seconds: float
    attempt: int = 1
    failed: bool = False


class CloseTimeline(Struct, frozen=True):
    """What a close did when, whether it published or not: the frame's trace is made of it.

    `opened` is the snapshot commit that opened the frame; all primaries know the same. `links` are the trace contexts
    that merged deltas carry, each with its stream; `links_left_out` counts those beyond `LINKS`."""

    frame: int
    closed_by: str
    opened: str | None
    runs: list[PhaseRun]
    links: list[tuple[str, str]] = []
    links_left_out: int = 0


LINKS = 128
"""How many links a trace has: the default limit of OpenTelemetry for a span."""


def trace_links(contexts: Iterable[tuple[str | None, str]]) -> tuple[list[tuple[str, str]], int]:
    """The links of a close from (trace context or None, stream) of each merged delta, and how many are left out. One
    context is one link, with the first stream that gave it."""
    found: dict[str, str] = {}
    for context, stream in contexts:
        if context is not None:
            found.setdefault(context, stream)
    return list(found.items())[:LINKS], max(0, len(found) - LINKS)


class CycleReport(Struct, frozen=True):
    """The actions of one cycle. `commit` is None if nothing was published; `lost` means that another primary was first.

    `restored` is the commit that put canonical files back, if one was made. `lanes_refused` are lanes that a server's
    policy refuses since this close, each with the server's message. `phases` are seconds, `ages_s` the seconds from
    each merged delta's commit to its publication. `timeline` is None for a poll. `forwarded` is what a relay pushed."""

    pending: Pending
    ledger: Ledger | None = None
    commit: str | None = None
    lost: bool = False
    races: int = 0
    phases: dict[str, float] = {}
    ages_s: list[float] = []
    restored: str | None = None
    lanes_refused: list[tuple[str, str]] = []
    timeline: CloseTimeline | None = None
    forwarded: Forwarded | None = None


def status_line(pending: Pending, now: int) -> str:
    """The state in one line, for people: `frame 405 open, 12 deltas from 3 streams, closes in 8 s`."""
    total = sum(pending.streams.values())
    line = f"frame {pending.frame} open, {plural(total, 'delta')} from {plural(len(pending.streams), 'stream')}"
    closes_at = utc_micros(pending.closes_at) if pending.closes_at else None
    if closes_at is not None:
        left_s = round((closes_at - now) / 1e6)
        line += f", closes in {left_s} s" if left_s > 0 else f", was due {-left_s} s ago" if left_s < 0 else ", is due"
    return line


def promised(closes_at: str | None, now: int) -> str | None:
    """A closing time in the future; None once it has passed, since then it promises nothing."""
    at = utc_micros(closes_at) if closes_at else None
    return closes_at if at is not None and at > now else None


def plural(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def status_json(pending: Pending, now: int, troubles: Iterable[Trouble]) -> dict[str, object]:
    """The JSON of `status` and `/api/v1/status`. `now` is in microseconds UTC."""
    return {
        "frame": pending.frame,
        "opened_at": pending.opened_at,
        "closes_at": promised(pending.closes_at, now),
        "last_closed": pending.last_closed,
        "digest": pending.digest,
        "pending": {"total": sum(pending.streams.values()), "streams": pending.streams},
        "held": pending.held,
        "behind_s": round(pending.behind_s, 3),
        "seen": {name: {"frame": last.frame, "utc": calendar_text(last.utc)} for name, last in pending.seen.items()},
        "silent": pending.silent,
        "troubles": list(troubles),
    }
