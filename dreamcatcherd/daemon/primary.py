"""A primary: the store that it works on, what it read last, and what it saw of the open frame.

Everything that is remembered here is a cache: a primary that forgets it continues from what git holds."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import msgspec
from msgspec import Struct, structs

from dreamcatcherd.core.checkout import Checkout
from dreamcatcherd.core.codec import frame_number, utc_micros
from dreamcatcherd.core.errors import DreamcatcherError
from dreamcatcherd.core.frames import Closing, Decision, Moment, Signs, Watch, decide
from dreamcatcherd.core.ledger import Ledger, Violation
from dreamcatcherd.core.merge import Merged
from dreamcatcherd.core.model import Arrival, DeltaArrival, RejectArrival
from dreamcatcherd.core.paths import ROOTS, is_copy
from dreamcatcherd.core.plan import Plan
from dreamcatcherd.core.report import CloseTimeline, Pending, PhaseRun
from dreamcatcherd.core.tree import NamePath, blob_at
from dreamcatcherd.core.troubles import overdue, oversized, unmatched_settings, violated
from dreamcatcherd.daemon.collector import collector_off
from dreamcatcherd.daemon.phases import MergeCount, Phases
from dreamcatcherd.engine.selection import Engine, is_large
from dreamcatcherd.git.derived_files import derived_files
from dreamcatcherd.git.protocols import Move, Store
from dreamcatcherd.stages.attribution import pending_streams
from dreamcatcherd.stages.canonical_files import is_edited, restore_subject, write_restore
from dreamcatcherd.stages.early_deltas import EarlyCounts
from dreamcatcherd.stages.fetch import Fetcher, View
from dreamcatcherd.stages.held_claims import HeldClaims
from dreamcatcherd.stages.inbox import Inbox
from dreamcatcherd.stages.ingest import InboxReader
from dreamcatcherd.stages.largest_file import Largest
from dreamcatcherd.stages.merge import FrameMerge, NewBase, merge_frame
from dreamcatcherd.stages.published import PublishedState
from dreamcatcherd.stages.recent_streams import RecentStreams
from dreamcatcherd.stages.restore_pace import RestorePace
from dreamcatcherd.stages.server_policy import ServerPolicy
from dreamcatcherd.stages.snapshot import CloseContext, FrameCommit, SnapshotOptions, snapshot_frame
from dreamcatcherd.stages.stray_branches import StrayBranches
from dreamcatcherd.stages.unreadable import troubles_of
from dreamcatcherd.stages.views import large_views
from dreamcatcherd.stages.violations import find_violations, new_unsafe_paths

_COUNTER_BYTES = 65_536

SAME_MOMENT_S = 0.01
"""How far apart two times may be that mean one moment."""


class Unconfirmed(Struct, frozen=True):
    """A publication whose outcome is not known: its commit and ledger, the seconds of each phase so far, the ages of
    its deltas in seconds, and what it did when."""

    commit: str
    ledger: Ledger
    seconds: dict[str, float]
    ages_s: list[float]
    timeline: CloseTimeline


class Primary:
    """One primary. `clock` is the wall clock in microseconds UTC, `steady` a clock in seconds that never steps."""

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
        self.reader = InboxReader(lambda: self.progress())
        self.streams = RecentStreams(derived_files(store))
        self.policy = ServerPolicy(store.server_notes)
        self.last: Inbox | None = None
        self.read_runs: list[PhaseRun] = []  # the phases of reading `last`
        self.timeline: CloseTimeline | None = None  # of the last close, also of one that failed
        self.unconfirmed: Unconfirmed | None = None
        self.deltas_frames: int | None = None  # after how many closed frames delta files leave the tree
        self.restores = True  # whether canonical files that somebody edited are put back before the close
        self.engine = Engine()  # who merges large frames
        self.progress: Callable[[], None] = lambda: None
        self.merging = MergeCount()  # of the last merge, also while it runs
        self.beside: Callable[[], Mapping[str, str]] = dict  # refs of mirrors' heads that the store does not list
        self._steady = steady
        self._watch: Watch | None = None
        self._fetcher = Fetcher(self.main)
        self._edits: tuple[object, dict[str, list[Violation]]] = (None, {})  # by commit, since one publication
        self._pace = RestorePace()
        self._strays = StrayBranches()
        self._largest = Largest(derived_files(store))
        self._checkout = Checkout()
        self._early = EarlyCounts()
        self._claims = HeldClaims()
        self._unsafe: tuple[object, list[tuple[NamePath, str]]] = (None, [])
        self._shown: tuple[Inbox, Pending] | None = None
        self._due_at_s = 0.0

    # Stages -------------------------------------------------------------------------------------------------------

    @collector_off()
    def read_inbox(self, phases: Phases | None = None) -> Inbox:
        """Stages 1 and 2: one look at the refs, and what waits there."""
        phases = phases or Phases(self)
        before = len(phases.runs)
        with phases.of("fetch"):
            view = self._fetcher.fetch(self.store, self.clock(), self.beside())
        with phases.of("ingest"):
            self.last = self.reader.read(self.store, view)
        self.read_runs = phases.runs[before:]
        return self.last

    def merge(self, inbox: Inbox, plan: Plan, base: NewBase | None = None) -> Merged:
        """Stage 4; a large frame by the engine's workers. RetryableError if they are lost."""
        spread: FrameMerge | None = None
        self.merging = MergeCount(len(plan.deltas))
        if is_large(self.engine, plan.deltas):
            from dreamcatcherd.engine.spread import merge_spread  # slow to load, and few frames are so large

            spread = partial(merge_spread, self.engine, self.store, inbox.settings, self._merged_more, self.store)
        return merge_frame(self.store, inbox, plan, base, spread, self._merged_more)

    def _merged_more(self, deltas: int) -> None:
        self.merging.add(deltas)
        self.progress()

    def write_snapshot(
        self, inbox: Inbox, plan: Plan, merged: Merged, closed_by: str, base: NewBase | None = None
    ) -> FrameCommit:
        """Stage 5, with this primary's options and what it noticed of others."""
        options = SnapshotOptions(self.closing, self.deltas_frames)
        context = self.context(inbox, plan, closed_by)
        if base is not None:
            context = structs.replace(context, entities=base.entities)
        return snapshot_frame(self.store, inbox, plan, merged, context, options, self.clock())

    def context(self, inbox: Inbox, plan: Plan, closed_by: str) -> CloseContext:
        """What a close records and writes besides its deltas."""
        delivered = {one.item.stream_id for one in plan.deltas if one.item.frame == plan.frame}
        missing = sorted(self.expected() - delivered)
        unsafe = tuple(path for path, _ in self.unsafe_paths(inbox))
        return CloseContext(closed_by, self.violations(inbox, plan.quarantined), missing, unsafe)

    def look(self) -> View:
        """One look at the refs; nothing of it is kept."""
        return Fetcher(self.main).fetch(self.store, self.clock(), self.beside())

    def load_published(self, refs: dict[str, str]) -> PublishedState:
        """The published state that some refs lead to."""
        return self._fetcher.load_published(self.store, refs)

    def confirmed(self, inbox: Inbox) -> Unconfirmed | None:
        """The publication that seemed to fail, if it is the newest one: a push that timed out may still have landed.

        Whatever is found, the question is answered then."""
        unconfirmed, self.unconfirmed = self.unconfirmed, None
        return unconfirmed if unconfirmed is not None and unconfirmed.commit == inbox.published.commit else None

    def advance(self, inbox: Inbox, commit: FrameCommit, left: Inbox) -> Inbox:
        """The inbox after its own publication: a new published state, and nothing new but what was `left` out."""
        published = self._fetcher.advance(self.store, commit.commit, commit.ledger)
        self.reader.published()
        view = structs.replace(inbox.view, published=published, head=commit.commit)
        self.last = structs.replace(
            inbox, view=view, lanes=left.lanes, arrivals=left.arrivals, rewinds=(), unreported=()
        )
        return self.last

    # What others did ----------------------------------------------------------------------------------------------

    def violations(self, inbox: Inbox, quarantined: Sequence[RejectArrival]) -> list[Violation]:
        """What others broke since the last publication. Each commit is looked at once."""
        since = inbox.published.commit
        if self._edits[0] != since:
            self._edits = (since, {})
        unsafe = self.unsafe_paths(inbox)
        return find_violations(self.store, inbox, quarantined, self._edits[1], unsafe)

    def unsafe_paths(self, inbox: Inbox) -> list[tuple[NamePath, str]]:
        """What `main` shows since the last publication that no clone can hold; looked for once for each head."""
        key = (inbox.head, inbox.published.commit)
        if self._unsafe[0] != key:
            self._unsafe = (key, new_unsafe_paths(self.store, inbox, self._checkout))
        return self._unsafe[1]

    def restore(self, inbox: Inbox, phases: Phases) -> str | None:
        """Put edited canonical files back by a commit of its own; returns it.

        None if there is nothing to restore, it is too early to do so again, or another primary was faster."""
        if (
            not self.restores
            or not is_edited(self.store, inbox)
            or is_copy(inbox.refs)  # which asks every ref
            or self._pace.wait_s(self._steady()) > 0
        ):
            return None
        with phases.of("publish"):
            self.store.discard()
            commit = write_restore(self.store, inbox, self.clock())
            self.store.flush()
            done = self.store.move_refs([Move(inbox.main, commit, inbox.head)], restore_subject(inbox))
        self._pace.restored(self._steady())
        return commit if done else None

    # Closing and reporting ----------------------------------------------------------------------------------------

    def decide(self, inbox: Inbox) -> Decision:
        """Whether the open frame is due."""
        now = Moment(self.clock(), self._steady())
        decision = decide(self._watch, inbox.published.state, self.closing, self._signs(inbox), now)
        self._watch = decision.watch
        return decision

    def due_at_s(self, decision: Decision) -> float | None:
        """When the open frame is or was due, in seconds since 1970; None if no time says so. Two readings of the clock
        are not two answers: the same moment is the same number."""
        if decision.wake_in_s is None:
            return None
        at_s = self.clock() / 1e6 + decision.wake_in_s
        if abs(at_s - self._due_at_s) > SAME_MOMENT_S:
            self._due_at_s = at_s
        return self._due_at_s

    def _signs(self, inbox: Inbox) -> Signs:
        """What the closing rule goes by."""
        frame, closing = inbox.published.state.frame, self.closing
        horizon = frame + inbox.settings.limits.frames_ahead
        deltas = [one.item for one in inbox.arrivals if isinstance(one, DeltaArrival)]
        return Signs(
            delivered=frozenset(item.stream_id for item in deltas if item.frame == frame),
            expected=self.expected(),
            later=any(frame < item.frame <= horizon for item in deltas) or bool(self._waiting(inbox)),
            counter=self._counter(inbox) if closing.rule == "counter" else None,
            empty=closing.skip_empty and self._idle(inbox),
        )

    def _waiting(self, inbox: Inbox) -> dict[str, int]:
        """The early deltas that wait since an earlier frame, by stream; of those too far ahead none."""
        return self._early.look(self.store, inbox.published, inbox.settings.limits.frames_ahead)

    def expected(self) -> frozenset[str]:
        """The streams that a quorum waits for."""
        streams = self.closing.streams
        if self.closing.rule != "quorum" or self.last is None:
            return frozenset()
        if not isinstance(streams, int):
            return frozenset(streams)
        self.streams.update(self.store, self.last.published)
        return self.streams.within(streams)

    def _counter(self, inbox: Inbox) -> int | None:
        """The frame in the external driver's file; None if it cannot be read as one."""
        tree = self.store.commit(inbox.head).tree if inbox.head else None
        blob = blob_at(self.store, tree, self.closing.counter)
        if blob is None or self.store.size(blob) > _COUNTER_BYTES:
            return None
        try:
            found = msgspec.json.decode(self.store.read(blob))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        return frame_number(found.get("frame") if isinstance(found, dict) else found)

    def _idle(self, inbox: Inbox) -> bool:
        """Whether a close would have nothing to merge, to quarantine or to repair."""
        frame = inbox.published.state.frame
        if any(arrival.since is None or _is_due(arrival, frame) for arrival in inbox.arrivals) or inbox.rewinds:
            return False
        return inbox.head == inbox.published.commit or not self.violations(inbox, [])

    def pending(self, inbox: Inbox) -> Pending:
        """What waits and what is wrong, as `status` and the metrics report it. What follows from the inbox alone is
        found out once; the same object is returned while nothing changes."""
        base, now = inbox.published, self.clock()
        shown = self._shown
        if shown is None or shown[1].seen is not self.streams.last() or not inbox.shows_the_same(shown[0]):
            shown = self._shown = (inbox, self._unchanging(inbox))
        known = shown[1]
        due = [one for one in inbox.arrivals if _is_due(one, base.state.frame)]
        left_out = self.policy.troubles(inbox)
        troubles = [*self.store.troubles(), *known.troubles, *left_out]
        closes_at = utc_micros(base.state.closes_at) if base.state.closes_at else None
        # A frame that waits for its first delta (`skip_empty`), or for a person, is not overdue.
        if closes_at is not None and self.closing.rule != "manual" and (known.streams or not self.closing.skip_empty):
            late = overdue(base.state.frame, closes_at / 1e6 + self.closing.grace_s, now)
            troubles += [late] if late else []
        behind_s = max((age_s(one, now) for one in due), default=0.0)
        if troubles == known.troubles and behind_s == 0:
            return known
        return structs.replace(known, behind_s=behind_s, troubles=troubles, lanes_refused=len(left_out))

    def _unchanging(self, inbox: Inbox) -> Pending:
        """What waits and what is wrong, as far as neither time nor the server's policy changes it."""
        base = inbox.published
        waiting = [one for one in inbox.arrivals if isinstance(one, DeltaArrival)]
        early = self._waiting(inbox)
        bad = [one for one in inbox.arrivals if isinstance(one, RejectArrival)]
        violations = self.violations(inbox, bad)
        strays = self._strays.troubles(self.store, inbox.refs, self.main, inbox.settings, base.commit)
        unreadable = troubles_of(inbox.unreadable, self.main)
        large, warnings = large_views(self.store, base), inbox.settings.warnings
        others = (*violated(violations), *unreadable, *strays, *unmatched_settings(warnings))
        return Pending(
            frame=base.state.frame,
            opened_at=base.state.opened_at,
            closes_at=base.state.closes_at,
            last_closed=base.state.last_closed,
            closed_at_s=self.store.commit(base.commit).time if base.commit and base.ledger else None,
            digest=base.snapshot,
            streams=dict(sorted((Counter(pending_streams(inbox.arrivals)) + Counter(early)).items())),
            held=sum(not _is_due(a, base.state.frame) for a in waiting) + sum(early.values()),
            behind_s=0.0,
            entities=base.ledger.counts.entities if base.ledger else {},
            seen=self.streams.last(),
            silent=self.streams.silent(),
            troubles=[*others, *map(oversized, large)],
            violations=violations,
            claims_held=self._claims.held(self.store, base),
            settings=inbox.settings.blob,
            settings_warnings=warnings,
            large_views=large,
        )

    def largest_bytes(self) -> int:
        """Bytes of the largest file that frames have written; 0 before the first poll, or if it cannot be read."""
        commit = self.last.published.commit if self.last else None
        roots = self.last.settings.intake.roots if self.last else ROOTS
        try:
            return self._largest.of(self.store, commit, roots)[1] if commit is not None else 0
        except DreamcatcherError:
            return 0


def _is_due(arrival: Arrival, frame: int) -> bool:
    return isinstance(arrival, DeltaArrival) and arrival.item.frame <= frame


def age_s(arrival: Arrival, now: int) -> float:
    """Seconds since the commit that brought an arrival was made, at least 0; 0 for what an earlier ledger held."""
    return max(0.0, now / 1e6 - arrival.committed_s) if arrival.arrived is not None else 0.0
