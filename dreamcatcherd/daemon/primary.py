"""A primary's hold on one repository: the store, what was read from it last, and what was seen of the open frame.

All that is kept here is a cache: a primary that forgets it all goes on from what git holds."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice

import msgspec
from msgspec import structs

from dreamcatcherd.core.checkout import Checkout
from dreamcatcherd.core.codec import frame_number, utc_micros
from dreamcatcherd.core.errors import DreamcatcherError
from dreamcatcherd.core.frames import Closing, Decision, Moment, Signs, Watch, decide
from dreamcatcherd.core.ledger import Ledger, Violation
from dreamcatcherd.core.model import Arrival, Delta, Reject
from dreamcatcherd.core.paths import PUBLISHED
from dreamcatcherd.core.report import Pending
from dreamcatcherd.core.tree import NamePath, blob_at
from dreamcatcherd.core.troubles import overdue, violated
from dreamcatcherd.git.protocols import Move, Store
from dreamcatcherd.git.remote import RemoteStore
from dreamcatcherd.stages.canonical_files import canonical_paths, is_edited, restore_subject, write_restore
from dreamcatcherd.stages.early_deltas import EarlyCounts
from dreamcatcherd.stages.ingest import Inbox, InboxReader, pending_streams
from dreamcatcherd.stages.largest_file import Largest
from dreamcatcherd.stages.published import PublishedState, load_published, read_published
from dreamcatcherd.stages.recent_streams import ACTIVE, RecentStreams
from dreamcatcherd.stages.restore_pace import RestorePace
from dreamcatcherd.stages.server_policy import ServerPolicy
from dreamcatcherd.stages.stray_branches import StrayBranches
from dreamcatcherd.stages.unreadable import readable_refs, troubles_of
from dreamcatcherd.stages.violations import current_settings, find_violations

_COUNTER_BYTES = 65_536
UNSAFE_AT_ONCE = 10_000
"""How many paths that no clone can hold one close leaves out; what is beyond is left to the next."""

Attempt = tuple[str, Ledger, dict[str, float], list[float]]
"""A publication under way: its commit, ledger, the seconds of each phase, and the ages of its deltas in seconds."""


class Phases:
    """Seconds spent in each phase of a cycle. `progress` is called at the end of each."""

    def __init__(self, progress: Callable[[], None] = lambda: None) -> None:
        self.seconds: dict[str, float] = {}
        self._progress = progress

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start
            self._progress()


class Primary:
    """One primary. `clock` tells the wall's time in microseconds UTC, `steady` seconds that never step."""

    def __init__(
        self,
        store: Store,
        branch: str,
        closing: Closing,
        clock: Callable[[], int],
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self.store = store
        self.main = f"refs/heads/{branch}"
        self.closing = closing
        self.clock = clock
        self.ingest = InboxReader()
        self.streams = RecentStreams()
        self.last: Inbox | None = None
        self.deltas_frames: int | None = None  # after how many closed frames delta files leave the tree
        self.views: tuple[str, ...] = ()  # collections that are written whole beside the snapshot
        self.restores = True  # whether canonical files that somebody edited are put back before the close
        self.progress: Callable[[], None] = lambda: None
        self._steady = steady
        self._watch: Watch | None = None
        self._base: tuple[tuple[str | None, str | None], PublishedState] | None = None
        self._edits: tuple[object, dict[str, list[Violation]]] = (None, {})  # by commit, since one publication
        self.attempt: Attempt | None = None  # a publication whose outcome is not known, since publishing failed
        self.policy = ServerPolicy(store.folder if isinstance(store, RemoteStore) else None)
        self._pace = RestorePace()
        self._strays = StrayBranches()
        self._largest = Largest()
        self._checkout = Checkout()
        self._early = EarlyCounts()
        self._unsafe: tuple[object, list[tuple[NamePath, str]]] = (None, [])

    def survey(self, phases: Phases) -> tuple[Inbox, str | None]:
        """Read what waits, and why the settings on `main` were refused, if they were."""
        with phases.of("fetch"):
            refs = self.store.refs()
            seen = readable_refs(self.store, refs, self.main)
            base = self.load_published(seen)
            settings, refused = current_settings(self.store, seen.get(self.main), base, self.clock())
            if self.store.follow(settings.lane_prefix):
                refs = {**self.store.refs(), **{ref: oid for ref, oid in refs.items() if ref == self.main}}
        with phases.of("ingest"):
            self.last = self.ingest.survey(self.store, refs, self.main, base, settings, self.clock())
            return self.last, refused

    def violations(self, survey: Inbox, refused: str | None, quarantined: list[Arrival]) -> list[Violation]:
        """What others broke since the last publication. Each commit is looked at once."""
        canonical = canonical_paths(self.views)
        since = (survey.base.commit, canonical)
        if self._edits[0] != since:
            self._edits = (since, {})
        unsafe = self.unsafe_paths(survey)
        return find_violations(self.store, survey, refused, quarantined, canonical, self._edits[1], unsafe)

    def unsafe_paths(self, survey: Inbox) -> list[tuple[NamePath, str]]:
        """What `main` shows since the last publication that no clone can hold: paths and reasons, not all if many."""
        key = (survey.head, survey.base.commit)
        if self._unsafe[0] != key:
            new, old = (self.store.commit(oid).tree if oid else None for oid in key)
            found = self._checkout.unsafe_paths(self.store, new, [old] if old else [])
            self._unsafe = (key, list(islice(found, UNSAFE_AT_ONCE)))
        return self._unsafe[1]

    def restore(self, survey: Inbox, phases: Phases) -> str | None:
        """Put edited canonical files back by a commit of its own; returns it.

        None where there is nothing to restore, it is too early to do so again, or another primary was faster."""
        canonical = canonical_paths(self.views)
        if not self.restores or not is_edited(self.store, survey, canonical) or self._pace.wait_s(self._steady()) > 0:
            return None
        with phases.of("publish"):
            self.store.discard()
            commit = write_restore(self.store, survey, canonical, self.clock())
            self.store.flush()
            done = self.store.move_refs([Move(survey.main, commit, survey.head)], restore_subject(survey))
        self._pace.restored(self._steady())
        return commit if done else None

    def landed(self, survey: Inbox) -> Attempt | None:
        """The publication that seemed to fail, if it is the newest one: a push that timed out may still have landed.

        Whatever is found, it is decided by now."""
        attempt, self.attempt = self.attempt, None
        return attempt if attempt is not None and attempt[0] == survey.base.commit else None

    def decide(self, survey: Inbox, refused: str | None) -> Decision:
        """Whether the open frame is due."""
        now = Moment(self.clock(), self._steady())
        signs = self._signs(survey, refused)
        decision = decide(self._watch, survey.base.state, self.closing, signs, now)
        self._watch = decision.watch
        return decision

    def _signs(self, survey: Inbox, refused: str | None) -> Signs:
        """What the closing rule goes by."""
        frame, closing = survey.base.state.frame, self.closing
        horizon = frame + survey.settings.limits.frames_ahead
        deltas = [arrival.item for arrival in survey.arrivals if isinstance(arrival.item, Delta)]
        return Signs(
            delivered=frozenset(item.stream_id for item in deltas if item.frame == frame),
            expected=self.expected(),
            later=any(frame < item.frame <= horizon for item in deltas) or bool(self._waiting(survey)),
            counter=self._counter(survey) if closing.rule == "counter" else None,
            empty=closing.skip_empty and self._idle(survey, refused),
        )

    def _waiting(self, survey: Inbox) -> dict[str, int]:
        """The early deltas that wait since an earlier frame, by stream; of those too far ahead none."""
        return self._early.look(self.store, survey.base, survey.settings.limits.frames_ahead)

    def expected(self) -> frozenset[str]:
        """The streams that a quorum waits for."""
        streams = self.closing.streams
        if self.closing.rule != "quorum" or self.last is None:
            return frozenset()
        if not isinstance(streams, int):
            return frozenset(streams)
        self.streams.look(self.store, self.last.base)
        return self.streams.within(streams)

    def _counter(self, survey: Inbox) -> int | None:
        """The frame in the external driver's file; None where it cannot be read as one."""
        tree = self.store.commit(survey.head).tree if survey.head else None
        blob = blob_at(self.store, tree, self.closing.counter)
        if blob is None or self.store.size(blob) > _COUNTER_BYTES:
            return None
        try:
            found = msgspec.json.decode(self.store.read(blob))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        return frame_number(found.get("frame") if isinstance(found, dict) else found)

    def _idle(self, survey: Inbox, refused: str | None) -> bool:
        """Whether a close would merge, judge and mend nothing."""
        frame = survey.base.state.frame
        if any(arrival.since is None or _is_due(arrival, frame) for arrival in survey.arrivals) or survey.rewinds:
            return False
        return survey.head == survey.base.commit or not self.violations(survey, refused, [])

    def advance(self, survey: Inbox, commit: str, ledger: Ledger, left: Inbox | None = None) -> Inbox:
        """What a survey becomes by its own publication: a new base, on which nothing is new but what was `left` out."""
        base = read_published(self.store, commit, ledger)
        self._base = ((commit, commit), base)
        self.store.remember(commit)
        self.ingest.published()
        lanes, arrivals = (left.lanes, left.arrivals) if left else ([], [])
        self.last = structs.replace(
            survey, base=base, head=commit, lanes=lanes, arrivals=arrivals, rewinds=(), unreported=()
        )
        return self.last

    def load_published(self, refs: dict[str, str]) -> PublishedState:
        """The base, read again only when a ref that it hangs on has moved."""
        key = (refs.get(self.main), refs.get(PUBLISHED))
        if self._base is None or self._base[0] != key:
            base = load_published(self.store, refs, self.main, self.store.recall())
            if base.commit is not None:
                self.store.remember(base.commit)
            self._base = (key, base)
        return self._base[1]

    def pending(self, survey: Inbox, refused: str | None = None) -> Pending:
        """What waits and what is wrong, as `status` and the metrics report it."""
        base = survey.base
        waiting = [a for a in survey.arrivals if isinstance(a.item, Delta)]
        early = self._waiting(survey)
        now = self.clock()
        seen = self.streams.last()
        active = self.streams.within(ACTIVE)
        bad = [arrival for arrival in survey.arrivals if isinstance(arrival.item, Reject)]
        violations = self.violations(survey, refused, bad)
        strays = self._strays.troubles(self.store, survey.refs, self.main, survey.settings, base.commit)
        unreadable = troubles_of(survey.unreadable, self.main)
        left_out = self.policy.troubles(survey)
        troubles = [*self.store.troubles(), *violated(violations), *unreadable, *left_out, *strays]
        closes_at = utc_micros(base.state.closes_at) if base.state.closes_at else None
        if closes_at is not None and (waiting or early or not self.closing.skip_empty):
            late = overdue(base.state.frame, closes_at / 1e6 + self.closing.grace_s, now)
            troubles += [late] if late else []
        return Pending(
            frame=base.state.frame,
            opened_at=base.state.opened_at,
            closes_at=base.state.closes_at,
            last_closed=base.state.last_closed,
            closed_at_s=self.store.commit(base.commit).time if base.commit and base.ledger else None,
            digest=base.snapshot,
            streams=dict(sorted((Counter(pending_streams(survey.arrivals)) + Counter(early)).items())),
            held=sum(not _is_due(a, base.state.frame) for a in waiting) + sum(early.values()),
            behind_s=max((age_s(a, now) for a in waiting if _is_due(a, base.state.frame)), default=0.0),
            entities=base.ledger.counts.entities if base.ledger else {},
            seen=seen,
            silent=[stream for stream in seen if stream not in active],
            troubles=troubles,
            violations=violations,
            lanes_refused=len(left_out),
        )

    def largest_bytes(self) -> int:
        """Bytes of the largest file that frames have written; 0 before the first look, or where it cannot be told."""
        commit = self.last.base.commit if self.last else None
        try:
            return self._largest.of(self.store, commit)[1] if commit is not None else 0
        except DreamcatcherError:
            return 0


def _is_due(arrival: Arrival, frame: int) -> bool:
    return isinstance(arrival.item, Delta) and arrival.item.frame <= frame


def age_s(arrival: Arrival, now: int) -> float:
    """Seconds since the commit that brought an arrival was made, at least 0; 0 for what an earlier ledger held."""
    return max(0.0, now / 1e6 - arrival.committed_s) if arrival.arrived is not None else 0.0
