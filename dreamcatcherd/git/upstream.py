"""The repository upstream of a relay: listed, fetched from and pushed to by git, from the relay's own repository.

Owns the refs below `refs/dreamcatcher/upstream/`: what was last seen there, and what is offered. A cache but for the
offer, which keeps the forwarding commit from git's gc until upstream has it."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from pathlib import Path

from msgspec import Struct

from dreamcatcherd.core import paths
from dreamcatcherd.core.errors import FatalError, PushRefusedError, RetryableError
from dreamcatcherd.git.access import Access
from dreamcatcherd.git.command import git, lines_of
from dreamcatcherd.git.failures import LimitedError
from dreamcatcherd.git.incomplete_clone import SHALLOW
from dreamcatcherd.git.own_clone import set_refs
from dreamcatcherd.git.protocols import Move
from dreamcatcherd.git.remote import FIRST_FETCH
from dreamcatcherd.git.requests import GitRequests
from dreamcatcherd.git.transport import Transport

OFFER = f"{paths.UPSTREAM}offer"
"""The forwarding commit that was made last."""

_PROBE = "refs/dreamcatcher/probe-"

_FETCH = ("fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--no-auto-gc", "--")


class UpstreamRefs(Struct, frozen=True):
    """What upstream's refs name; None where there is no such ref. `lane` is the relay's own."""

    main: str | None = None
    published: str | None = None
    seen: str | None = None
    lane: str | None = None

    @property
    def history(self) -> list[str]:
        """What reaches all that upstream has on its shared branch or has merged."""
        return list(dict.fromkeys(oid for oid in (self.main, self.published, self.seen) if oid is not None))

    @property
    def tips(self) -> list[str]:
        """What reaches all that upstream has of this relay, merged or not."""
        return list(dict.fromkeys([*self.history, *([self.lane] if self.lane is not None else [])]))


def known_upstream(refs: dict[str, str]) -> UpstreamRefs:
    """What a relay's repository with these refs last saw of its upstream."""
    return UpstreamRefs(*(refs.get(f"{paths.UPSTREAM}{name}") for name in UpstreamRefs.__struct_fields__))


class Upstream:
    """The repository of `access`, asked from the bare repository `folder`; `branch` is the shared branch of both, and
    `name` the relay's. `waiting` is called about once a second. Every failure names `[relay]`, not `[repository]`."""

    def __init__(self, access: Access, folder: Path, branch: str, name: str, waiting: Callable[[], None]) -> None:
        self.where = access.url
        self.lane = f"{paths.RELAYS}{name}"
        self._access = access
        self._folder = folder
        self._requests = GitRequests(access, folder, waiting)
        self._wire = Transport(access, folder, waiting)
        self._names = dict(zip(UpstreamRefs.__struct_fields__, self._followed(branch), strict=True))

    def _followed(self, branch: str) -> tuple[str, ...]:
        return (f"refs/heads/{branch}", paths.PUBLISHED, paths.SEEN, self.lane)

    def fetch(self, known: UpstreamRefs, has: str | None = None) -> UpstreamRefs:
        """The refs as they are now, with all that they reach. `known` is what the repository saw last, and `has` a
        commit that need not be fetched.

        RetryableError if upstream cannot be reached, FatalError if the disk refuses."""
        try:
            return self._fetch(known, has)
        except RetryableError as error:
            raise _of_relay(error) from error

    def peek(self) -> UpstreamRefs:
        """The refs as they are now, with all that they reach and without a note of them: nothing marks the repository
        as a copy yet. RetryableError if upstream cannot be reached."""
        found = self.listed()
        refs = [ref for name, ref in self._names.items() if getattr(found, name) is not None]
        try:
            if refs:
                self._requests.git(*_FETCH, self.where, *refs, limit_s=self._access.timeout_s * FIRST_FETCH)
        except RetryableError as error:
            raise _of_relay(error) from error
        return found

    def check_other(self, commit: str) -> None:
        """FatalError if the address leads to the repository that asks: a ref to one of its commits, which is made here
        for a moment, shows there. RetryableError if upstream cannot be reached."""
        ref = f"{_PROBE}{secrets.token_hex(8)}"
        self._set({ref: commit})
        try:
            found = self._requests.heads([ref])
        except RetryableError as error:
            raise _of_relay(error) from error
        finally:
            self._set({ref: None})
        if ref in found:
            cause = f"[relay] upstream {self.where} is the relay's own repository: nothing is forwarded"
            raise FatalError(cause, "name the repository that decides, or take the table [relay] out")

    def listed(self) -> UpstreamRefs:
        """The refs as they are now; nothing is fetched. RetryableError if upstream cannot be reached."""
        try:
            return UpstreamRefs(**self._listed())
        except RetryableError as error:
            raise _of_relay(error) from error

    def _listed(self) -> dict[str, str | None]:
        heads = self._requests.heads(list(self._names.values()))
        return {name: heads.get(ref) for name, ref in self._names.items()}

    def _fetch(self, known: UpstreamRefs, has: str | None) -> UpstreamRefs:
        now = self._listed()
        changed = {name: oid for name, oid in now.items() if oid != getattr(known, name)}
        wanted = [name for name, oid in changed.items() if oid is not None and oid != has]
        if wanted:
            limit_s = self._access.timeout_s * (1 if known.main else FIRST_FETCH)
            specs = [f"+{self._names[name]}:{paths.UPSTREAM}{name}" for name in wanted]
            self._requests.git(*_FETCH, self.where, *specs, limit_s=limit_s)
        self._note({name: oid for name, oid in changed.items() if name not in wanted})
        # A ref may have moved since it was listed: what counts is what was fetched.
        found = self._noted() if changed else known
        if now["main"] is not None and found.main is None:
            remedy = f"if it is a shallow repository ({SHALLOW}), complete it there: git fetch --unshallow"
            raise RetryableError(f"{self.where} lists its shared branch and does not give it", remedy)
        return found

    def push(self, commit: str, refs: UpstreamRefs) -> UpstreamRefs | None:
        """Push a commit to the relay's lane, from where `refs` saw it; returns the refs with it.

        None if the lane was moved first. PushRefusedError if the server refuses, RetryableError if it fails. The lane
        is read back: only that counts."""
        trouble = self._wire.push([Move(self.lane, commit, refs.lane)])
        if isinstance(trouble, PushRefusedError):
            raise _of_relay(trouble)
        found = self.fetch(refs, has=commit)
        if found.lane == commit:
            return found
        if trouble is not None:
            raise _of_relay(trouble) from trouble
        return None

    def _noted(self) -> UpstreamRefs:
        form = "--format=%(objectname) %(refname)"
        listed = lines_of(git(self._folder, "for-each-ref", form, paths.UPSTREAM.rstrip("/")).stdout)
        return known_upstream({name: oid for oid, name in (line.split(" ", 1) for line in listed)})

    def _note(self, wanted: Mapping[str, str | None]) -> None:
        if wanted:
            self._set({f"{paths.UPSTREAM}{name}": oid for name, oid in wanted.items()})

    def _set(self, wanted: Mapping[str, str | None]) -> None:
        set_refs(self._folder, wanted)


def _of_relay(error: RetryableError) -> RetryableError:
    """The same failure, with a remedy that fits a relay."""
    remedy = error.remedy.replace("[repository] url", "[relay] upstream").replace("[repository]", "[relay]")
    if isinstance(error, PushRefusedError):
        return PushRefusedError(error.cause, remedy.replace("the primary", "the relay"), error.said)
    kind = LimitedError if isinstance(error, LimitedError) else RetryableError
    return kind(error.cause, remedy, kind=error.kind, retry_after_s=error.retry_after_s)
