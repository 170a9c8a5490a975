"""Lanes that a server's policy keeps out of `main`: which they are, and what status says of them.

The rules are the contract's (docs/protocol.md#publishing).

What is known is kept in the own clone, for the next start and for one-shot commands; without it all is found again."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from dreamcatcherd.core import paths
from dreamcatcherd.core.codec import plain, utc_text
from dreamcatcherd.core.errors import PushRefusedError
from dreamcatcherd.core.refused_lanes import (
    LaneAttempt,
    Refusal,
    attempts,
    read_refusals,
    settled,
    still_there,
    write_refusals,
)
from dreamcatcherd.core.troubles import Trouble
from dreamcatcherd.git.atomic_write import write_atomically
from dreamcatcherd.git.reachability import reach_within
from dreamcatcherd.stages.attribution import without_lanes
from dreamcatcherd.stages.inbox import Inbox

REFUSALS_FILE = "dreamcatcherd-refused"
REFUSED_NAMED = 100
"""How many of them `status` names."""


class ServerPolicy:
    """What one server was found to refuse. `folder` is the own clone; None if pushes go through no server."""

    def __init__(self, folder: Path | None) -> None:
        self._file = folder / REFUSALS_FILE if folder else None
        self._last: PushRefusedError | None = None
        self.known: dict[str, Refusal] = {}
        if self._file is not None:
            with contextlib.suppress(OSError):
                self.known = read_refusals(self._file.read_bytes())

    def attempts(self, inbox: Inbox) -> Iterator[LaneAttempt]:
        """What to leave out of the open frame, until the server takes it; `refused` says each time that it did not."""
        lanes = lanes_of(inbox)
        self._last = None
        known = still_there(self.known, lanes)
        return attempts(known, lanes, inbox.published.state.frame, lambda: self._named(inbox))

    def narrowed(self, inbox: Inbox, attempt: LaneAttempt) -> Inbox:
        """What is published where an attempt leaves lanes out."""
        return without_lanes(inbox, {one for key, one in lanes_of(inbox).items() if key in attempt.left_out})

    def refused(self, error: PushRefusedError) -> None:
        """The server refused the last attempt."""
        self._last = error

    def _named(self, inbox: Inbox) -> list[str]:
        return list(named_in(self._last.said, inbox)) if self._last else []

    def taken(self, inbox: Inbox, attempt: LaneAttempt, now: int) -> list[tuple[str, str]]:
        """The server took an attempt. Returns the lanes that are known to be refused since now, with what was said."""
        lanes = lanes_of(inbox)
        why = self._last.cause if self._last else ""
        # A lane that moved is another history, of which nothing is known.
        before = still_there(self.known, lanes)
        self.known = settled(before, lanes, attempt, inbox.published.state.frame, now, why)
        if self._file is not None and self.known != before:
            with contextlib.suppress(OSError):
                write_atomically(self._file, write_refusals(self.known))
        return [
            (lane_of(one), why) for one in sorted(attempt.refused & self.known.keys()) if self.known[one].tries == 1
        ]

    def troubles(self, inbox: Inbox) -> list[Trouble]:
        """What `status` says of each lane that is left out."""
        found = []
        for key, one in list(still_there(self.known, lanes_of(inbox)).items())[:REFUSED_NAMED]:
            lane, since = lane_of(key), utc_text(one.since)
            if one.tries:
                what = f"{lane} is left out until frame {one.again}, since the server refuses what it brings: {one.why}"
                remedy = "let its owner push another history, or the server take this one"
            else:
                what = f"{lane} is left out for now: the server refused what it brings, or another of these lanes"
                remedy = "the next frames find out which"
            found.append(Trouble(plain(what), since, remedy))
        return found


def lanes_of(inbox: Inbox) -> dict[str, tuple[str, str]]:
    """The heads of lanes that bring something new, as (ref, commit), by what they are known by."""
    return {f"{ref} {oid}": (ref, oid) for ref, oid in inbox.lanes if ref != inbox.main}


def lane_of(key: str) -> str:
    """A lane's name, for people."""
    return paths.short_ref(key.partition(" ")[0])


def named_in(said: str, inbox: Inbox) -> Iterator[str]:
    """The lanes of which a server's words name the ref, or a commit, a blob or a path that they bring."""
    from dreamcatcherd.git.http_answers import OBJECT_ID  # only a server refuses, and most closes ask none

    ids = set(OBJECT_ID.findall(said))
    on_main = set(reach_within(inbox.commits, inbox.head))
    for key, (ref, tip) in lanes_of(inbox).items():
        brought = reach_within(inbox.commits, tip, on_main)
        mine = set(brought)
        versions = [one.item.version for one in inbox.arrivals if one.item.version.commit in mine]
        if (
            re.search(rf"\b{re.escape(paths.short_ref(ref))}(?![\w/.-])", said)
            or _is_named(ids, [*brought, *(one.blob for one in versions)])
            or any(one.path in said for one in versions)
        ):
            yield key


def _is_named(ids: set[str], oids: Iterable[str]) -> bool:
    return any(oid.startswith(one) for one in ids for oid in oids)
