"""The verdict on a fleet: healthy, attention or failing, with its reasons in order of urgency (docs/operations.md).

Pure: the signs go in, the verdict comes out. Two streams that set one field are the everyday work of the merge, so
conflicts are no sign and never change the verdict."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from msgspec import Struct

from dreamcatcherd.core.codec import short_name, utc_micros, utc_text
from dreamcatcherd.core.report import Pending, plural
from dreamcatcherd.core.troubles import OVERDUE_S, Trouble, is_overdue_trouble

RECENT_FRAMES = 100
"""For how many closed frames something that is over still asks for attention."""

LATE_SHARE = 0.5
LATE_LEAST = 20
"""Attention from this share of late deltas on, if the recent frames have at least so many deltas."""

SENTENCE = 90
"""The sentence names a second reason if the first is shorter than this many characters."""

SILENT_NAMED, SILENT_CHARS = 3, 32
"""So many silent streams are named, with so many characters of each name."""

Level = Literal["healthy", "attention", "failing"]


class Recent(Struct, frozen=True):
    """What the last closed frames hold together. The times (RFC 3339) and `violated` are of the newest frame
    concerned."""

    frames: int = 0
    deltas: int = 0
    late: int = 0
    quarantined: int = 0
    violations: int = 0
    quarantined_at: str | None = None
    violated_at: str | None = None
    violated: int | None = None


class HealthSigns(Struct, frozen=True):
    """What the verdict is made from: the daemon's state, and what its repository shows.

    `pending` is None before the first poll. `why` is the cause of the last failure, `closing` whether a frame is being
    merged at this moment."""

    pending: Pending | None = None
    ready: bool = False
    why: str = ""
    daemon_troubles: tuple[Trouble, ...] = ()
    closing: bool = False
    recent: Recent = Recent()


class VerdictReason(Struct, frozen=True):
    """One reason: what is so, since when (RFC 3339, None if unknown), what to do, and the page with the details.

    `last` is when it happened last, for what is counted over some frames and began at no one time."""

    level: Level
    text: str
    since: str | None
    remedy: str
    page: str
    last: str | None = None


class FleetVerdict(Struct, frozen=True):
    """The level, one sentence for people, and the reasons, the most urgent first.

    `countdown` is the part of the sentence that changes with every second, empty if there is none."""

    level: Level
    sentence: str
    countdown: str
    reasons: tuple[VerdictReason, ...]


def verdict(signs: HealthSigns, now: int) -> FleetVerdict:
    """The verdict at a time, in microseconds since 1970."""
    failing = tuple(_failures(signs, now))
    attention = tuple(_concerns(signs, now))
    reasons = failing + attention
    if reasons:
        return FleetVerdict(reasons[0].level, _together([one.text for one in reasons]), "", reasons)
    if signs.pending is None:
        raise AssertionError("a repository that was never read is a reason")
    return FleetVerdict("healthy", *_calm(signs.pending, signs.closing, now), ())


def _failures(signs: HealthSigns, now: int) -> Iterator[VerdictReason]:
    """Why frames do not close or are not published."""
    pending = signs.pending
    if not signs.ready and (pending is not None or signs.daemon_troubles):
        known = next((one for one in signs.daemon_troubles if one.what == signs.why), None)
        remedy = known.remedy if known else "see the daemon's log"
        text = signs.why or "the last look at the repository failed"
        yield VerdictReason("failing", text, known.since if known else None, remedy, "troubles")
    if pending is None or signs.closing:
        return
    # The trouble says since when; without one, the time that the loop itself had promised counts.
    late = next((one for one in pending.troubles if is_overdue_trouble(one, pending.frame)), None)
    due = utc_micros(late.since) if late is not None and late.since else None
    if due is None and pending.due_at_s is not None:  # the loop hangs: it would have noticed by itself
        due = round(pending.due_at_s * 1e6)
    if due is not None and now - due > OVERDUE_S * 1e6:
        text = f"frame {pending.frame} is {span_text((now - due) / 1e6)} overdue"
        remedy = late.remedy if late else "see what the daemon's log says, and restart it if it says nothing"
        if not signs.ready:
            remedy = "it closes once the failure above is over"
        yield VerdictReason("failing", text, utc_text(due), remedy, "frames")


def _concerns(signs: HealthSigns, now: int) -> Iterator[VerdictReason]:
    """What needs a look, and does not stop frames."""
    pending = signs.pending
    if pending is None and not signs.daemon_troubles:
        yield _attention(
            f"nothing is read yet: {signs.why or 'the daemon starts'}",
            None,
            "wait for the first look at the repository",
            "troubles",
        )
    if pending is not None and signs.closing and pending.due_at_s is not None:
        late_s = now / 1e6 - pending.due_at_s
        if late_s > OVERDUE_S:
            text = f"frame {pending.frame} is being merged, {span_text(late_s)} after its time"
            yield _attention(
                text,
                utc_text(round(pending.due_at_s * 1e6)),
                "see the time of each phase in the metric dreamcatcher_phase_duration_seconds",
                "frames",
            )
    for one in signs.daemon_troubles:
        if signs.ready or one.what != signs.why:
            yield _attention(one.what, one.since, one.remedy, "troubles")
    for one in pending.troubles if pending is not None else ():
        if not is_overdue_trouble(one, pending.frame if pending else 0):
            yield _attention(one.what, one.since, one.remedy, "troubles")
    yield from _recent(signs.recent)
    if pending is not None and pending.silent:
        count = len(pending.silent)
        text = f"{plural(count, 'stream')} {_be(count)} silent"
        if count == len(pending.seen) > 1:
            text = "all streams are silent"
        elif count <= SILENT_NAMED:
            text += f": {_listed([short_name(one, SILENT_CHARS) for one in pending.silent])}"
        remedy = "see that the workers run; a stream that left is forgotten 100 frames after its last delta"
        yield _attention(text, None, remedy, "streams?state=silent")


def _recent(recent: Recent) -> Iterator[VerdictReason]:
    frames = "frame" if recent.frames == 1 else f"{recent.frames} frames"
    if count := recent.quarantined:
        text = f"{plural(count, 'delta')} {'was' if count == 1 else 'were'} quarantined in the last {frames}"
        yield _attention(
            text,
            None,
            "the list has the reason of each: correct it and push it again under a new name",
            "quarantine",
            recent.quarantined_at,
        )
    if count := recent.violations:
        text = f"{plural(count, 'violation')} {'was' if count == 1 else 'were'} repaired in the last {frames}"
        yield _attention(
            text,
            None,
            "find out who did it, and install the server-side check",
            f"frames/{recent.violated}#violations",
            recent.violated_at,
        )
    if recent.deltas >= LATE_LEAST and recent.late > LATE_SHARE * recent.deltas:
        text = f"{recent.late} of {recent.deltas} deltas came late in the last {frames}"
        yield _attention(
            text,
            None,
            "make frames longer, or set [frames] grace: late deltas are merged all the same",
            "frames?kind=late",
        )


def _attention(text: str, since: str | None, remedy: str, page: str, last: str | None = None) -> VerdictReason:
    return VerdictReason("attention", text, since, remedy, page, last)


def _calm(pending: Pending, closing: bool, now: int) -> tuple[str, str]:
    """The sentence of a healthy fleet, and its countdown."""
    total = sum(pending.streams.values())
    waits = "no delta waits" if not total else f"{plural(total, 'delta')} {'waits' if total == 1 else 'wait'}"
    closes_at = utc_micros(pending.closes_at) if pending.closes_at else None
    if closing:
        return f"frame {pending.frame} is being merged, {waits}", ""
    if closes_at is None or closes_at <= now:
        return f"frame {pending.frame} is open, {waits}", ""
    countdown = f"in {span_text((closes_at - now) / 1e6)}"
    return f"frame {pending.frame} closes {countdown}, {waits}", countdown


def _together(texts: list[str]) -> str:
    # One sentence must be read at a glance: the list below it has the rest.
    shown = texts[:2] if len(texts[0]) < SENTENCE else texts[:1]
    left = len(texts) - len(shown)
    return ", ".join(shown) + (f", and {left} more" if left else "")


def _listed(names: list[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def _be(count: int) -> str:
    return "is" if count == 1 else "are"


def span_text(seconds: float) -> str:
    """A span of time for people, rounded up: `8 s`, `3 min`, `5 h`, `4 days`."""
    for size, most, unit in ((1, 120, "s"), (60, 7_200, "min"), (3_600, 172_800, "h")):
        if seconds < most:
            return f"{-int(-seconds // size)} {unit}"
    return f"{-int(-seconds // 86_400)} days"
