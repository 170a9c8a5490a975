"""A mirror of the shared repository: listed, fetched and pushed to by git, from the repository that a primary works on.

Nothing here moves a ref of that repository, and everything has a time limit. A mirror is believed in nothing: objects
are checked as they arrive, and a head counts only if all that it reaches is here."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from dreamcatcherd.core.errors import RetryableError
from dreamcatcherd.core.paths import TRIAL
from dreamcatcherd.git.access import Access
from dreamcatcherd.git.command import git, lines_of
from dreamcatcherd.git.protocols import Move
from dreamcatcherd.git.remote import FIRST_FETCH
from dreamcatcherd.git.requests import GitRequests
from dreamcatcherd.git.transport import Transport

FETCHES = 32
"""How many fetches one look may take to find the heads that bring objects that git refuses."""

_REFUSED = re.compile(r"fsck|index-pack|unpack-objects|did not send all necessary|bad object|missing (?:blob|tree)")
"""What git says of objects that it refuses, and not of a connection."""

_GONE = "couldn't find remote ref"
_CHECKED = ("-c", "fetch.fsckObjects=true", "-c", "maintenance.auto=false", "-c", "gc.auto=0")


class MirrorWire:
    """The way to one mirror, from the repository in `folder`. One thread owns it."""

    def __init__(self, access: Access, folder: Path, waiting: Callable[[], None] = lambda: None) -> None:
        """`waiting` is called about once a second while git works; what it raises ends git."""
        self._access = access
        self._folder = folder
        self._requests = GitRequests(access, folder, waiting)
        self._transport = Transport(access, folder, waiting)
        self.refused: dict[str, str] = {}  # heads whose objects git refuses, by ref

    def heads(self, patterns: Sequence[str]) -> dict[str, str]:
        """The refs that the mirror lists and that match one of the patterns."""
        return self._requests.heads(patterns)

    def fetch(self, heads: Mapping[str, str]) -> dict[str, str]:
        """Fetch what these heads reach, as far as it is not here; returns those of them that are complete here.

        A head that moved since it was listed may be left out, as one whose objects git refuses: those are added to
        `refused`. RetryableError if the mirror cannot be reached."""
        missing = {ref: oid for ref, oid in heads.items() if oid not in self._commits(heads.values())}
        left = FETCHES
        todo = [missing] if missing else []
        while todo and left:
            left -= 1
            some = todo.pop()
            try:
                self._fetch(some)
            except RetryableError as error:
                if _GONE in error.cause and len(todo) < FETCHES:
                    now = self.heads(sorted(some))
                    todo += [found] if (found := {ref: now[ref] for ref in some if ref in now}) and now != some else []
                    continue
                if not _REFUSED.search(error.cause):
                    raise
                if len(some) == 1:
                    self.refused |= some
                    continue
                # One bad head must not keep out all others: it is searched for by halves.
                refs = sorted(some)
                half = len(refs) // 2
                todo += [{ref: some[ref] for ref in part} for part in (refs[:half], refs[half:])]
        return self._complete(heads)

    def _fetch(self, heads: Mapping[str, str]) -> None:
        words = (*_CHECKED, "fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--stdin", "--", self._access.url)
        asked = "".join(f"{ref}\n" for ref in sorted(heads)).encode("utf-8", "surrogateescape")
        self._requests.git(*words, limit_s=self._access.timeout_s * FIRST_FETCH, stdin=asked)

    def _commits(self, oids: Iterable[str]) -> set[str]:
        """Those of the ids that are commits here."""
        asked = "".join(f"{oid}\n" for oid in sorted(set(oids))).encode()
        shown = git(self._folder, "cat-file", "--batch-check", stdin=asked, timeout_s=self._access.timeout_s)
        lines = (line.split(" ") for line in lines_of(shown.stdout))
        return {words[0] for words in lines if words[1:2] == ["commit"]}

    def _complete(self, heads: Mapping[str, str]) -> dict[str, str]:
        """Those of the heads whose history is here completely, with all of its objects."""
        here = self._commits(heads.values())
        found = {ref: oid for ref, oid in heads.items() if oid in here}
        if not found or self._reach(found.values()):
            return found
        # Some lack objects: a fetch that was cut short leaves what it brought.
        return {ref: oid for ref, oid in list(found.items())[:FETCHES] if self._reach([oid])}

    def _reach(self, oids: Iterable[str]) -> bool:
        """Whether everything that commits reach, beyond what refs here reach, is here: git asks the same of a fetch."""
        asked = "".join(f"{oid}\n" for oid in sorted(set(oids))).encode()
        words = ("rev-list", "--objects", "--stdin", "--not", "--all", "--quiet")
        limit_s = self._access.timeout_s * FIRST_FETCH
        return git(self._folder, *words, stdin=asked, timeout_s=limit_s).returncode == 0

    def push(self, moves: Sequence[Move]) -> RetryableError | None:
        """Ask for all moves together, each from its expected value: why the mirror refused, None if it accepted or
        somebody else moved one of the refs first."""
        return self._transport.push(moves)

    def try_push(self, oid: str) -> RetryableError | None:
        """Push a trial ref to a commit, and delete it again; returns why that fails, if it does."""
        try:
            for spec in (f"+{oid}:{TRIAL}", f":{TRIAL}"):
                self._requests.git("push", "--porcelain", "--", self._access.url, spec)
        except RetryableError as failure:
            return failure
        return None
