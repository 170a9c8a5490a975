"""A relay: a daemon whose repository is a copy of another one, to which it forwards what workers push (docs/relay.md).

Owns the order of a look: upstream's refs are fetched, the shared branch follows them, and what upstream lacks is pushed
to the relay's lane there, by compare-and-swap. git is the cursor: a look may end at any instant, and the next one finds
out from the refs what is left to do. So two relays for one repository, or of one name, only cost a lost race."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator

from msgspec import Struct, structs

from dreamcatcherd.client.session import remote_access
from dreamcatcherd.config_files import credential_file, is_same_folder, repository_folder, repository_path
from dreamcatcherd.config_remotes import RelayConfig
from dreamcatcherd.config_tables import Config
from dreamcatcherd.core import paths
from dreamcatcherd.core.codec import plain
from dreamcatcherd.core.errors import PushRefusedError, RetryableError, UsageError
from dreamcatcherd.core.frames import Decision
from dreamcatcherd.core.report import CycleReport, Forwarded, Pending
from dreamcatcherd.core.troubles import Trouble, is_overdue_trouble
from dreamcatcherd.daemon.backoff import Backoff
from dreamcatcherd.daemon.phases import Phases
from dreamcatcherd.daemon.primary import Primary
from dreamcatcherd.git.local import LocalStore
from dreamcatcherd.git.protocols import Commit, GitStore, Move
from dreamcatcherd.git.upstream import OFFER, Upstream, UpstreamRefs, known_upstream
from dreamcatcherd.stages.inbox import Inbox
from dreamcatcherd.stages.relay_copy import ahead_trouble, check_copy, follow_upstream, is_ahead
from dreamcatcherd.stages.relay_forward import (
    count_waiting,
    forwarded,
    heads_among,
    missing_upstream,
    waiting_here,
    within_reach,
    write_forwarding,
)
from dreamcatcherd.stages.relay_unreadable import (
    branch_heads,
    push_to_lanes,
    split_branch,
    take_off_unreadable,
    with_fitting_remedies,
)
from dreamcatcherd.stages.server_policy import ServerPolicy

COMMITS_MOST = 5_000
"""How many commits one push brings at most: the check of a push upstream has a time limit."""

FOLLOWED_MOST = 8
"""How often the shared branch is moved again at once if a push moved it first."""

_TOO_MUCH = ("longer than", "in several pushes")
"""What the check says of a push that takes too long to check."""

_NOT_A_RELAY = "not-a-relay"
"""The check's reason for refusing the lane itself, whatever it brings."""

_OVERDUE = "frames are closed upstream: see that a primary runs there, and that upstream can be reached"
_PATH = "name a path in [repository] url, or run the relay where the repository is"

LOST = Forwarded("", 0, 0, 0)
"""What a push brought that another relay of the same name forestalled: nothing."""

UNREAD = Pending(0, None, None, None, None, None, {}, 0, 0.0, {})
"""What a report says before the repository was read."""


class RefusedBranch(Struct, frozen=True):
    """What upstream refused of the shared branch: its heads with upstream's commit then, and why."""

    at: tuple[list[str], str | None]
    cause: str


class Relay:
    """The relay of `primary`'s repository. `failure` is why the last look at upstream failed, None if it went well."""

    def __init__(
        self, config: RelayConfig, upstream: Upstream, primary: Primary, steady: Callable[[], float] = time.monotonic
    ) -> None:
        self.config = config
        self.failure: RetryableError | None = None
        self.backoff = Backoff()
        self._name = config.name or ""
        self._upstream = upstream
        self._primary = primary
        self._steady = steady
        self._seen = UpstreamRefs()
        self._next_s = 0.0  # when upstream is looked at again
        self._most = COMMITS_MOST
        self._refused_branch: RefusedBranch | None = None
        self._merged: dict[str, tuple[str, float]] = {}  # merged lanes: head, and since when this process knows it
        self._missing: tuple[object, list[str], dict[str, Commit]] = (None, [], {})

    def serves(self, primary: Primary) -> bool:
        """Whether this is the relay of a primary's repository."""
        return self._primary is primary

    @property
    def left_s(self) -> float:
        """How long until upstream is looked at again, in seconds."""
        return max(0.0, self._next_s - self._steady())

    # One look -----------------------------------------------------------------------------------------------------

    def look(self, hinted: bool = False) -> tuple[CycleReport, Decision]:
        """Look at the repository, and at upstream if that is due, or if something was `hinted` and it did not fail.

        A failure of upstream is in `failure`; FatalError if the relay's own repository cannot be worked on."""
        primary, phases = self._primary, Phases(self._primary)
        report = CycleReport(UNREAD, phases=phases.seconds)
        inbox = None
        if self.left_s <= 0 or (hinted and self.failure is None):
            self._next_s = self._steady() + self.config.poll
            try:
                with phases.of("fetch"):
                    self._follow()
                inbox = primary.read_inbox(phases)
                with phases.of("publish"):
                    report = self._forward(inbox, report)
            except RetryableError as error:
                self.failure = error
                self._next_s = self._steady() + self.backoff.wait_s(error, self.config.retry)
            else:
                self.failure = None
                self.backoff.end()
        inbox = inbox or primary.read_inbox(phases)
        if self._seen == UpstreamRefs():  # upstream is down since the start: what was seen before counts
            self._seen = known_upstream(inbox.refs)
        primary.streams.update(primary.store, inbox.published)
        self._note_merged()
        decision = structs.replace(primary.decide(inbox), due=False, closed_by="", wake_in_s=self.left_s)
        return structs.replace(report, pending=self._pending(inbox)), decision

    def poll(self, hinted: bool, show: Callable[[Pending], None]) -> tuple[CycleReport, Decision]:
        """One look, for a daemon: a failure of upstream is raised once what waits here was shown."""
        found = self.look(hinted)
        if self.failure is not None:
            show(found[0].pending)
            raise self.failure
        return found

    def _follow(self) -> None:
        """Fetch what upstream has, and bring the shared branch to it."""
        store, main = self._primary.store, self._primary.main
        refs = store.refs()
        if main in refs and not paths.is_copy(refs):
            check_copy(store, main, self._upstream.peek())  # before anything marks the repository as a copy
            self._upstream.check_other(refs[main])
        self._seen = self._upstream.fetch(known_upstream(refs))
        if self._seen.main is None:
            remedy = "name a repository that dreamcatcherd init made or prepared"
            raise RetryableError(f"{self._upstream.where} has no {paths.short_ref(main)}", remedy)
        last = self._primary.last
        roots = last.settings.intake.roots if last else paths.ROOTS
        if last is not None:
            take_off_unreadable(store, last, self._seen, self._primary.clock())
        for _ in range(FOLLOWED_MOST):
            if follow_upstream(store, main, self._seen, roots, self._primary.clock()):
                return
        # Pushes to the shared branch were faster each time. The next look goes on, and forwarding does not wait for it.

    # Forwarding ---------------------------------------------------------------------------------------------------

    def _forward(self, inbox: Inbox, report: CycleReport) -> CycleReport:
        """Push what upstream lacks, without the lanes that it refuses; returns the report with what was pushed.

        PushRefusedError if it refuses all lanes."""
        branch, missing = self._missing_of(inbox)
        if not any(oid in missing for oid in branch):
            self._refused_branch = None
        if self._name not in inbox.settings.relays or not heads_among(missing):
            return report
        if (refused_branch := self._refused_branch) is not None and refused_branch.at == (branch, self._seen.main):
            branch = []  # it is offered again after each frame that closes upstream, and after each push to it
        policy, waiting = self._primary.policy, waiting_here(inbox, missing)
        last: PushRefusedError | None = None
        first: Inbox | None = None
        for attempt in policy.attempts(waiting):
            chosen = policy.narrowed(waiting, attempt)
            first = first or chosen
            try:
                pushed = self._push(chosen, branch, missing)
            except PushRefusedError as error:
                if _NOT_A_RELAY in error.said:
                    raise  # whatever is left out, the lane itself is refused
                policy.refused(error)
                last = error
                continue
            if pushed is LOST:
                return report
            refused = policy.taken(waiting, attempt, self._primary.clock())
            if pushed is None and last is not None and not attempt.refused:
                raise last  # nothing is left that could be tried, and nothing shows which lane is the cause
            if branch:
                self._refused_branch = None
            return structs.replace(report, forwarded=pushed, lanes_refused=refused)
        if last is not None and first is not None:
            return self._without_branch(first, branch, missing, last, report)
        return report

    def _without_branch(
        self, chosen: Inbox, branch: list[str], missing: dict[str, Commit], error: PushRefusedError, report: CycleReport
    ) -> CycleReport:
        """Forward the lanes alone after an `error`: upstream refuses the shared branch without them as well."""
        if not branch:
            raise error
        pushed = self._push(chosen, [], missing)
        known, self._refused_branch = self._refused_branch, RefusedBranch((branch, self._seen.main), error.cause)
        left_out = [(paths.short_ref(self._primary.main), error.cause)] if known is None else []
        return structs.replace(report, forwarded=pushed if pushed is not LOST else None, lanes_refused=left_out)

    def _push(self, chosen: Inbox, branch: list[str], missing: dict[str, Commit]) -> Forwarded | None:
        """One push of what is chosen, and of these heads of the shared branch; None if there is nothing, LOST if the
        lane was moved first.

        If the check finds that the push takes too long to check, half of it is pushed, and so on."""
        tips = [oid for ref, oid in chosen.lanes if ref != chosen.main] + branch + list(chosen.published.tips)
        while True:
            batch = within_reach(missing, tips, self._most)
            heads = heads_among(batch)
            if not heads:
                return None
            try:
                found = self._offer(heads)
            except PushRefusedError as error:
                if len(batch) < 2 or not all(sign in error.said for sign in _TOO_MUCH):
                    raise
                self._most = len(batch) // 2
                continue
            if found is None:  # another relay of this name was first: look again soon, and not at the same moment
                self._next_s = self._steady() + random.uniform(0, self.config.poll / 2)  # noqa: S311 (no secret)
                return LOST
            self._seen = found
            self._most = min(2 * self._most, COMMITS_MOST)
            return forwarded(found.lane or "", chosen, batch)

    def _offer(self, heads: list[str]) -> UpstreamRefs | None:
        """Write the forwarding commit, keep it by a ref, and push it; None if the lane was moved first."""
        store = self._primary.store
        commit = write_forwarding(store, self._name, self._seen.lane, heads, self._primary.clock())
        store.flush()
        if not store.move_refs([Move(OFFER, commit, store.refs().get(OFFER))], "offered to upstream"):
            return None  # another relay works on this repository too
        return self._upstream.push(commit, self._seen)

    def _missing_of(self, inbox: Inbox) -> tuple[list[str], dict[str, Commit]]:
        """The heads of the shared branch to forward, and what upstream lacks; found once for the same refs on both
        sides."""
        key = (inbox.refs, inbox.lanes, inbox.unreadable, self._seen)
        if self._missing[0] != key:
            branch = branch_heads(self._primary.store, inbox, self._seen)
            self._missing = (key, branch, missing_upstream(self._primary.store, inbox, branch, self._seen))
        return self._missing[1:]

    # What is shown ------------------------------------------------------------------------------------------------

    def _pending(self, inbox: Inbox) -> Pending:
        """What waits here, with the relay's own troubles."""
        pending = self._primary.pending(inbox)
        troubles = [
            structs.replace(one, remedy=_OVERDUE) if is_overdue_trouble(one, pending.frame) else one
            for one in pending.troubles
        ]
        troubles = with_fitting_remedies(self._primary.store, troubles, inbox, self._seen)
        troubles += self._troubles(inbox)
        return structs.replace(pending, troubles=troubles, relay_pending=self._count_waiting(inbox))

    def _count_waiting(self, inbox: Inbox) -> int:
        """How many deltas upstream does not have, those on the shared branch too that cannot be forwarded."""
        _, missing = self._missing_of(inbox)
        if all(one.ref != inbox.main for one in inbox.unreadable):
            return count_waiting(inbox, missing)
        return count_waiting(inbox, {*missing, *split_branch(self._primary.store, inbox, self._seen).after})

    def _troubles(self, inbox: Inbox) -> Iterator[Trouble]:
        if inbox.head is not None and self._name not in inbox.settings.relays:
            remedy = f'add it upstream to {paths.SETTINGS}: [lanes] relays = ["{self._name}"]'
            yield Trouble(f"upstream does not list the relay {self._name!r}: nothing is forwarded", None, remedy)
        if (refused := self._refused_branch) is not None:
            branch = paths.short_ref(inbox.main)
            what = f"what was pushed to {branch} is not forwarded, since upstream refuses it: {refused.cause}"
            yield Trouble(plain(what), None, push_to_lanes(self._primary.store, inbox.main))
        published = inbox.published.commit
        if published is not None and is_ahead(self._primary.store, published, self._seen):
            yield ahead_trouble(self._primary.store, published, self._seen)

    # Lanes --------------------------------------------------------------------------------------------------------

    def _note_merged(self) -> None:
        """Note since when each lane is merged. Snapshot commits do not show it: upstream merges forwarding commits."""
        now, before = self._steady(), self._merged
        self._merged = {
            ref: before[ref] if ref in before and before[ref][0] == oid else (oid, now)
            for ref, oid in self._primary.reader.settled.items()
        }

    def silent_lanes(self, keep_s: float) -> dict[str, str]:
        """The lanes that are in the published history for `keep_s` seconds, as this process saw it, by ref."""
        until = self._steady() - keep_s
        return {ref: oid for ref, (oid, since) in self._merged.items() if since <= until}


def relay_of(config: Config, store: GitStore, primary: Primary, now: Relay | None) -> Relay | None:
    """The relay of a configuration, None without `[relay]`; the one of `now` if it is the same.

    UsageError if the repository is on another machine or upstream itself, or a credential file is missing."""
    relay = config.relay
    if relay.upstream is None or relay.name is None:
        return None
    if now is not None and now.config == relay and now.serves(primary):
        return now
    return Relay(relay, upstream_of(config, store), primary)


def policy_of(relay: Relay | None, store: GitStore) -> ServerPolicy:
    """What is known of the server that the repository's pushes go through: upstream's for a relay, else its own."""
    return ServerPolicy(store.server_notes if relay is None else store.folder)


def upstream_of(config: Config, store: GitStore) -> Upstream:
    """The upstream of a configuration that has one; nothing is asked of it.

    UsageError if the repository is on another machine or upstream itself, or a credential file is missing."""
    relay = config.relay
    if not isinstance(store, LocalStore):
        raise UsageError(f"{store.where} is on another machine: a relay works on a repository of its own disk", _PATH)
    path = repository_path(relay.upstream or "")
    if path is not None and is_same_folder(repository_folder(path), store.folder):
        raise UsageError("[relay] upstream is the relay's own repository", "name the repository that decides")
    url = (relay.upstream or "") if path is None else str(path.absolute())
    access = remote_access(relay, url, lambda key: credential_file("relay", key, getattr(relay, key)))
    return Upstream(access, store.folder, config.repository.branch, relay.name or "", lambda: store.progress())
