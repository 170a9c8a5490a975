"""Lanes that a server's policy refuses: found by publishing without some, and offered again less and less often.

A server refuses a complete publication, and may or may not name the lane that is the cause. Every publication that it
accepts is final for its frame. So lanes that may be the cause are left out, as few as possible, and frames never stop
altogether."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from math import ceil

import msgspec
from msgspec import Struct, structs

GROUPS = 32
"""Into how many groups suspects are split at first, to leave out one group after the other."""
ATTEMPTS = 64
"""How many publications one close may try."""
WAIT_MOST = 1024
"""The most frames after which a refused lane is published again."""


class Refusal(Struct, frozen=True):
    """A lane's head that is left out: since when (microseconds UTC), and the server's message.

    `tries` counts how often it was refused; 0 means that it is only suspected. `again` is the frame in which it is
    offered again."""

    since: int
    why: str
    tries: int = 0
    again: int = 0


class LaneAttempt(Struct, frozen=True):
    """The lanes that one publication leaves out. If the server accepts it, `suspects` of these are suspected, and
    `refused` ones known to be the cause; nothing changes for the other lanes that were left out."""

    left_out: frozenset[str]
    suspects: frozenset[str] = frozenset()
    refused: frozenset[str] = frozenset()


Refusals = Mapping[str, Refusal]
"""By lane, which here is a ref with its head, `<ref> <commit>`: nothing is known of another head."""


def still_there(known: Refusals, lanes: Collection[str]) -> dict[str, Refusal]:
    """What is known of lanes that are still there."""
    return {lane: one for lane, one in known.items() if lane in lanes}


def attempts(
    known: Refusals, lanes: Iterable[str], frame: int, hinted: Callable[[], Iterable[str]]
) -> Iterator[LaneAttempt]:
    """The lanes to leave out of the close of `frame`, one attempt after the other until the server accepts. `known` is
    of lanes that exist; `hinted` returns the lanes that the server named in its last refusal."""
    every = frozenset(lanes)
    resting = frozenset(lane for lane, one in known.items() if one.tries and one.again > frame)
    due = frozenset(lane for lane, one in known.items() if one.tries) - resting
    suspects = frozenset(known) - resting - due
    found = _among(suspects, resting | due, every) if suspects else _at_first(resting, due, every, hinted)
    # The last attempt leaves out every lane, so that a server which refuses all of them still gets the shared branch.
    for number, attempt in enumerate(found):
        if number < ATTEMPTS:
            yield attempt
        elif attempt.left_out == every:  # the last resort
            yield attempt
            return


def _at_first(
    resting: frozenset[str], due: frozenset[str], every: frozenset[str], hinted: Callable[[], Iterable[str]]
) -> Iterator[LaneAttempt]:
    yield LaneAttempt(resting)
    if due:
        yield LaneAttempt(resting | due, refused=due)
    named = (frozenset(hinted()) & every) - resting - due
    if named and resting | due | named != every:
        yield LaneAttempt(resting | due | named, refused=due | named)
    if left := every - resting - due:
        one = len(left) == 1
        yield LaneAttempt(every, frozenset() if one else left, due | left if one else due)


def _among(suspects: frozenset[str], away: frozenset[str], every: frozenset[str]) -> Iterator[LaneAttempt]:
    """Some of the suspects are the cause. First all but a few of these are published, then the reverse."""
    listed = sorted(suspects)
    for group in _parts(listed, min(GROUPS, len(listed))):
        yield _blaming(away, group)
    parts = 1
    while parts < len(listed):
        parts = min(2 * parts, len(listed))
        for group in _parts(listed, parts):
            yield _blaming(away, suspects - group)
    if len(listed) > 1:
        yield LaneAttempt(away | suspects, suspects)
    if every != away | suspects:
        yield LaneAttempt(every, every - away)


def _blaming(away: frozenset[str], group: frozenset[str]) -> LaneAttempt:
    one = len(group) == 1
    return LaneAttempt(away | group, frozenset() if one else group, group if one else frozenset())


def _parts(listed: list[str], parts: int) -> Iterator[frozenset[str]]:
    size = ceil(len(listed) / parts)
    for start in range(0, len(listed), size):
        yield frozenset(listed[start : start + size])


def settled(
    known: Refusals, lanes: Collection[str], attempt: LaneAttempt, frame: int, now: int, why: str
) -> dict[str, Refusal]:
    """The entries once a server accepted an attempt in `frame`; `why` is its message for the attempts before."""
    found: dict[str, Refusal] = {}
    for lane in sorted(attempt.left_out.intersection(lanes)):
        one = known.get(lane) or Refusal(now, why)
        if lane in attempt.refused:
            tries = one.tries + 1
            one = structs.replace(one, why=why or one.why, tries=tries, again=frame + min(2**tries, WAIT_MOST))
        found[lane] = one
    return found


def write_refusals(known: Refusals) -> bytes:
    """As JSON, for a primary's next start."""
    return msgspec.json.encode(dict(known), order="sorted")


def read_refusals(raw: bytes) -> dict[str, Refusal]:
    """The entries that were written; none if they cannot be read: then everything is found out again."""
    try:
        return msgspec.json.decode(raw, type=dict[str, Refusal])
    except msgspec.DecodeError:
        return {}
