"""Warnings about a delta that merges, but not as its author expects (docs/protocol.md#the-server-side-check).

Pure: the server-side check and `validate` give the same warnings. Nothing here refuses a delta."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from dreamcatcherd.core.codec import canonical
from dreamcatcherd.core.delta_sections import Sections
from dreamcatcherd.core.model import Delta
from dreamcatcherd.core.records import place
from dreamcatcherd.core.settings import Limits, Settings
from dreamcatcherd.core.trace_context import TRACEPARENT

ADVICE_LISTED = 10
"""How many warnings of one kind are listed."""

_ALIKE = 0.8


def advise(delta: Delta, settings: Settings, open_frame: int | None = None) -> list[str]:
    """Warnings about one delta with its body; none if it is stored as its author would expect."""
    return [
        *_timing(delta, settings.limits, open_frame),
        *_contents(delta, settings.sections),
        *_trace_context(delta),
        *_unresolved(delta.unresolved),
    ]


def _timing(delta: Delta, limits: Limits, open_frame: int | None) -> Iterable[str]:
    if open_frame is None or delta.frame <= open_frame:
        return
    ahead = delta.frame - open_frame
    if ahead > limits.frames_ahead:
        yield (
            f"frame {delta.frame} is {ahead} ahead of the open frame {open_frame}, more than frames_ahead "
            f"{limits.frames_ahead}: it is quarantined as too-far-ahead until its frame comes nearer"
        )
    else:
        yield f"frame {delta.frame} is not open yet (open is {open_frame}): it waits until then"


def _contents(delta: Delta, sections: Sections) -> Iterable[str]:
    misfits: Counter[tuple[str, str]] = Counter()
    repeats: Counter[str] = Counter()
    unknown: dict[str, None] = {}
    seen: set[tuple[str, bytes]] = set()
    for collection, section, keys, records, whys in place(delta, sections):
        misfits.update({(section, why): count for why, count in whys.items()})
        if collection is None and section != TRACEPARENT and sum(whys.values()) < len(records):
            unknown[section] = None
        elif collection is not None and keys is not None and collection.rule in ("dedup", "first", "lww"):
            if section == collection.delete:
                continue
            for key, record in zip(keys, records, strict=True):
                repeated = [key, record] if collection.rule == "lww" else [key]
                mark = (collection.name, canonical(repeated))
                repeats[section] += mark in seen
                seen.add(mark)
    for (section, why), count in list(misfits.items())[:ADVICE_LISTED]:
        yield f"{section}: {_records(count)} without a usable key ({why}), kept in extra/{section}"
    for section, count in list(repeats.items())[:ADVICE_LISTED]:
        if count:
            yield f"{section}: {_records(count)} collapsed into an earlier one with the same key, nothing new"
    for section in list(unknown)[:ADVICE_LISTED]:
        meant = alike(section, list(sections.known))
        hint = f": did you mean {meant}?" if meant else ":"
        yield f"unknown section {section}{hint} it is kept in extra/{section}"


def alike(section: str, known: Sequence[str]) -> str | None:
    """The known section that an unknown one is probably a misspelling of."""
    from difflib import get_close_matches  # imported here: seldom needed, and the check starts with every push

    found = get_close_matches(section[:200], known, 1, _ALIKE)
    return found[0] if found else None


def _trace_context(delta: Delta) -> Iterable[str]:
    if delta.traceparent is None and (delta.body or {}).get(TRACEPARENT) is not None:
        yield f"{TRACEPARENT} is not a W3C trace context: the frame's trace gets no link to it"


def _unresolved(references: Sequence[str]) -> Iterable[str]:
    for reference in references[:ADVICE_LISTED]:
        yield f"the reference {reference[:200]} names no file beside the delta in its commit"


def _records(count: int) -> str:
    return f"{count} record" if count == 1 else f"{count} records"
