"""What must hold after every step, whatever happened: checked from the server's objects, sharing no code with the
stages that it checks."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

import msgspec

from dreamcatcherd.core.paths import PUBLISHED
from dreamcatcherd.core.tree import blob_at
from tests.law.sent import content_id
from tests.simulation.server import Pushed, Server

_FRAME = re.compile(r"^Dreamcatcher-Frame: ([0-9]+)$", re.MULTILINE)
_SEEN = re.compile(r"^Dreamcatcher-Seen: ([0-9a-f]{40})$", re.MULTILINE)
_PREVIOUS = re.compile(r"^Dreamcatcher-Previous: ([0-9a-f]{40})$", re.MULTILINE)

REASONS = {"far": "too-far-ahead"}
"""The reasons of quarantine that have another name here."""


class BrokenError(BaseException):
    """A promise is broken. It is no `Exception`, so that nothing between here and the runner takes it for a failure of
    the repository."""


class Outcome(NamedTuple):
    """What became of a version in the ledger of a frame."""

    frame: int
    what: str


class Audit:
    """The published history as it was seen grow. `outcomes` are the final ones; `waiting` are early versions."""

    def __init__(self, server: Server, region: Server | None, count: Callable[[str], None]) -> None:
        """`count` is called for each row of a ledger, with what it says."""
        self._region = region
        self._copied = 0
        self._server = server
        self._accounts = server.accounts
        self._count = count
        self._published: str | None = None
        self._reached: set[str] = set()
        self.chain: list[tuple[int, str]] = []
        self.ledgers: dict[int, dict[str, Any]] = {}
        self.outcomes: dict[Pushed, Outcome] = {}
        self.waiting: dict[Pushed, int] = {}
        self.merged: dict[tuple[int, str], int] = {}

    def look(self) -> int:
        """Check all that was published since the last look; returns how many frames that was. BrokenError says which
        promise is broken."""
        tip = self._server.heads.get(PUBLISHED)
        self._check_region()
        if tip == self._published:
            return 0
        if tip is None:
            raise BrokenError("the published ref is gone")
        fresh = self._links(tip)
        for frame, oid in fresh:
            self._close(frame, oid)
        self._published = tip
        return len(fresh)

    def _check_region(self) -> None:
        """A region shows what was published upstream, and never goes back to what was before."""
        shown = self._region.heads.get(PUBLISHED) if self._region else None
        if shown is None or shown == self._server.seen_published[self._copied]:
            return
        if shown not in self._server.seen_published[self._copied :]:
            raise BrokenError(f"region: it shows {shown}, which is older, or was never published upstream")
        self._copied = self._server.seen_published.index(shown)
        self._count("copied to the region")

    def _links(self, tip: str) -> list[tuple[int, str]]:
        """The snapshot commits since the last look, oldest first: one for each frame, each on top of the last."""
        found: list[tuple[int, str]] = []
        last = self.chain[-1][1] if self.chain else None
        at: str | None = tip
        while at is not None and at != last:
            message = self._server.store.commit(at).message
            frame, before = _FRAME.search(message), _PREVIOUS.search(message)
            if frame is None:
                break
            found.append((int(frame[1]), at))
            at = before[1] if before else None
        found.reverse()
        # The commit that opened the first frame is published and closes none.
        if self.chain and at != last:
            raise BrokenError(f"fork: {tip} was published and does not follow on {last} of frame {self.chain[-1][0]}")
        numbers = [frame for frame, _ in self.chain[-1:] + found]
        if any(after != before + 1 for before, after in pairwise(numbers)):
            raise BrokenError(f"frames were published as {numbers}")
        return found

    def _close(self, frame: int, oid: str) -> None:
        store = self._server.store
        # In a linear history another commit holds what `main` does not.
        seen = _SEEN.search(store.commit(oid).message)
        reached = self._server.reach([oid, *([seen[1]] if seen else [])])
        if self._published is not None and self._published not in reached:
            raise BrokenError(f"frame {frame}: {oid} does not reach {self._published}, which was published before")
        blob = blob_at(store, store.commit(oid).tree, f"state/ledger/{frame // 1000}/{frame}.json")
        if blob is None:
            raise BrokenError(f"frame {frame}: {oid} has no ledger")
        ledger = msgspec.json.decode(store.read(blob))
        self.chain.append((frame, oid))
        self.ledgers[frame] = ledger
        self._count_rows(frame, ledger)
        for commit in sorted(reached - self._reached):
            for version in self._accounts.by_commit.get(commit, ()):
                if version not in self.outcomes and version not in self.waiting:
                    raise BrokenError(f"frame {frame}: {oid} hides {version}, which no ledger names")
        self._published, self._reached = oid, reached

    def _count_rows(self, frame: int, ledger: dict[str, Any]) -> None:
        """Each version has one final outcome, and each content is merged once."""
        for name, what in (("deltas", "merged"), ("duplicates", "duplicate"), ("quarantined", "quarantined")):
            for row in ledger[name]:
                version = _version(row)
                if version not in self._accounts.pushed:
                    self._adopt(version)
                if version not in self._accounts.pushed:
                    raise BrokenError(f"frame {frame}: nobody pushed {version}, which is {what}")
                if version in self.outcomes:
                    raise BrokenError(f"frame {frame}: {version} is {what}, and was {self.outcomes[version]}")
                self.outcomes[version] = Outcome(frame, what)
                if self.waiting.pop(version, None) is not None:
                    self._count(f"{what} after it waited")
                self._count("late" if row.get("late") else what)
                for start, way in (("dc-relay/", "through the relay"), ("mirror/", "through the mirror")):
                    if row["source"].startswith(start):
                        self._count(way)
                self._judge(frame, version, row, what)
        for row in ledger["held"]:
            self.waiting[_version(row)] = row["frame"]
            self._count("held")
        for row in ledger["violations"]:
            self._count(row["kind"])

    def _adopt(self, version: Pushed) -> None:
        """Take a version for pushed that a primary itself wrote: a copy, in a snapshot commit that never came to count.
        Half of its publication arrived, and what was left of it is another commit on `main`."""
        pushed = self._accounts.pushed
        written = _FRAME.search(self._server.store.commit(version.commit).message)
        alike = [one for one in pushed if one.blob == version.blob]
        if written is not None and alike:
            pushed[version] = pushed[alike[0]]
            self._count("copy in half a publication")

    def _judge(self, frame: int, version: Pushed, row: dict[str, Any], what: str) -> None:
        brought = self._accounts.pushed[version]
        found = row["reason"] if what == "quarantined" else ""
        right = {REASONS.get(brought.malformed, brought.malformed)}
        if version in self._accounts.taken_back:
            right.add("wrong-stream")  # a lane that was made on the old `main` is all that still brings it
        if brought.malformed == "wrong-stream" and version in self._accounts.regional:
            right.add("")  # upstream cannot see on which lane it was: keeping it away is the region's check
        if brought.malformed == "far" and what == "duplicate":
            right.add("")  # the same content waits already
        if found not in right:
            raise BrokenError(f"frame {frame}: {version} is {what} {found}, and should be {sorted(right)}")
        if what == "merged":
            known_by = (row.get("frame", frame), content_id(brought.sent))
            if known_by in self.merged:
                raise BrokenError(f"frame {frame}: {version} was merged in frame {self.merged[known_by]} already")
            self.merged[known_by] = frame

    def unjudged(self) -> list[Pushed]:
        """The versions that are owed an account and have no final outcome yet. A duplicate has none while the version
        that has its content waits."""
        merged = {content for _, content in self.merged}
        return sorted(one for one in self._accounts.owed if not self._is_final(one, merged))

    def _is_final(self, version: Pushed, merged: set[str]) -> bool:
        found, brought = self.outcomes.get(version), self._accounts.pushed[version]
        waits = not brought.malformed and content_id(brought.sent) not in merged
        return found is not None and not (found.what == "duplicate" and waits)


def _version(row: dict[str, Any]) -> Pushed:
    return Pushed(row["path"], row["blob"], row["commit"])
