"""One pass through the six stages: fetch → ingest → plan → merge → snapshot → publish.

Read `close_frame` first. Each stage takes one frozen value and returns the next:

    View → Inbox → Plan → Merged → FrameCommit → PublishedState

A cycle may be killed at any instant: until the refs move nothing counts, and after that nothing is left to do."""

from __future__ import annotations

import time
from collections.abc import Callable

from msgspec import structs

from dreamcatcherd.core.codec import utc_micros, utc_text
from dreamcatcherd.core.errors import FatalError, OvertakenError, PushRefusedError
from dreamcatcherd.core.frames import Decision, opened
from dreamcatcherd.core.ledger import Ledger
from dreamcatcherd.core.merge import Merged
from dreamcatcherd.core.model import DeltaArrival
from dreamcatcherd.core.paths import MIRRORS, is_copy
from dreamcatcherd.core.plan import merged_id
from dreamcatcherd.core.report import CloseTimeline, CycleReport, Pending, trace_links
from dreamcatcherd.core.snapshot import MergedId
from dreamcatcherd.daemon.collector import collector_off
from dreamcatcherd.daemon.phases import Phases
from dreamcatcherd.daemon.primary import SAME_MOMENT_S, Primary, Unconfirmed, age_s
from dreamcatcherd.git.incomplete_clone import UNSHALLOW
from dreamcatcherd.stages.inbox import Inbox
from dreamcatcherd.stages.lane_cleanup import remove_lanes, silent_lanes
from dreamcatcherd.stages.merge import NewBase
from dreamcatcherd.stages.plan import plan_frame
from dreamcatcherd.stages.publish import publish
from dreamcatcherd.stages.snapshot import FrameCommit, frame_ledger, subject_of

RACES = 60
"""How often a close that lost the race for `main` is rebuilt at once, before it is left to the next cycle."""

RACE_PAUSE_S = (0.002, 0.25)
"""The longest pause after the first lost race, and after any: it doubles in between, and chance shortens it."""

SLOW_S = 0.5
"""Seconds of this thread's processor time from which on a close counts as slow. A slow close that loses a race
publishes what it has merged: else a frame that is slow to merge would never close on a branch that moves fast."""


def poll(primary: Primary, restore: bool = False) -> tuple[CycleReport, Decision]:
    """Read what waits and close nothing; also returns whether the open frame is due.

    With `restore`, canonical files that somebody edited are put back, unless the frame is due: the close does that.
    A publication that seemed to fail and is found on `main` is reported by the poll that finds it."""
    phases = Phases(primary)
    inbox = primary.read_inbox(phases)
    primary.streams.update(primary.store, inbox.published)
    decision = primary.decide(inbox)
    pending = _timed(primary.pending(inbox), primary, decision)
    restored = primary.restore(inbox, phases) if restore and not decision.due else None
    if (landed := primary.confirmed(inbox)) is not None:
        return CycleReport(
            pending, landed.ledger, landed.commit, phases=landed.seconds, ages_s=landed.ages_s, restored=restored,
            timeline=landed.timeline,
        ), decision  # fmt: skip
    return CycleReport(pending, phases=phases.seconds, restored=restored), decision


def _timed(pending: Pending, primary: Primary, decision: Decision) -> Pending:
    """With the time at which this primary closes the open frame: the repository may name a later one, or none."""
    due_at_s = primary.due_at_s(decision)
    if due_at_s is None:
        return pending
    closing = primary.closing
    at = round((due_at_s - closing.grace_s) * 1e6)
    closes_at = pending.closes_at
    if not _names(closes_at, at):
        opened_at = utc_micros(pending.opened_at) if pending.opened_at else None
        closes_at = opened(pending.frame, opened_at, None, None, closing).closes_at if opened_at is not None else None
    return structs.replace(pending, due_at_s=due_at_s, closes_at=closes_at if _names(closes_at, at) else utc_text(at))


def _names(text: str | None, moment: int) -> bool:
    """Whether a time is a moment, in microseconds, up to what two readings of the clock differ."""
    named = utc_micros(text) if text else None
    return named is not None and abs(named - moment) < SAME_MOMENT_S * 1e6


def close_frame(
    primary: Primary,
    closed_by: str,
    frame: int | None = None,
    inbox: Inbox | None = None,
    onto: Callable[[Inbox], NewBase] | None = None,
) -> CycleReport:
    """Close a frame, by default the open one, and publish it; `inbox` is what a poll just read. `onto` makes another
    base than the published snapshot.

    If `main` moves meanwhile, the close is rebuilt on what is there then. It is given up if another primary closed the
    frame: the one that is open then is not due yet."""
    if primary.store.cut:  # deltas behind the cut would be merged away unread
        raise FatalError(f"{primary.store.where} is a shallow repository: nothing is published from it", UNSHALLOW)
    store = primary.store
    phases = Phases(primary, primary.read_runs if inbox else ())  # a poll's reading is part of the close
    with collector_off():
        inbox = inbox or primary.read_inbox(phases)
        if is_copy(inbox.refs):  # a frame that closed here would part it from upstream for ever
            from dreamcatcherd.stages.relay_copy import CLOSE_UPSTREAM, NO_CLOSE  # it loads the code for remotes

            raise FatalError(f"{store.where}: {NO_CLOSE}", CLOSE_UPSTREAM)
        frame = inbox.published.state.frame if frame is None else frame
        # Known to the primary from here on, with the runs as they grow: a close that fails is traced as well.
        primary.timeline = CloseTimeline(frame, closed_by, inbox.published.commit, phases.runs)
        tries = Tries(primary, inbox, primary.timeline)
        while tries.is_open(inbox):
            chosen = tries.choose(inbox)
            with phases.of("plan"):
                plan = plan_frame(store, chosen, tries.merged_ids)
            with phases.of("merge"):
                base = onto(chosen) if onto is not None else None
                merged = tries.merged or primary.merge(chosen, plan, base)
            with phases.of("snapshot"):
                commit = primary.write_snapshot(chosen, plan, merged, closed_by, base)
            with phases.of("publish"):
                won = tries.publish(chosen, merged, commit, phases.seconds)
            # Nothing before this line counts, and everything after it can be found out again from git.
            if won:
                return tries.report(inbox, chosen, commit, phases.seconds)
            inbox = tries.next_inbox(inbox, phases)
        return CycleReport(
            primary.pending(inbox), lost=True, races=tries.races, phases=phases.seconds, timeline=tries.timeline
        )


def draft_ledger(primary: Primary, inbox: Inbox, closed_by: str) -> Ledger:
    """The ledger that a close would publish now. Nothing is published, and nothing that was written is kept."""
    plan = plan_frame(primary.store, inbox)
    merged = primary.merge(inbox, plan)
    return frame_ledger(primary.store, inbox, plan, merged, primary.context(inbox, plan, closed_by))


class Tries:
    """The tries of one close: which lanes it leaves out, and what it does after a lost race or a refused push."""

    def __init__(self, primary: Primary, inbox: Inbox, timeline: CloseTimeline) -> None:
        self._primary = primary
        self._frame = timeline.frame
        self.timeline = timeline
        self._attempts = primary.policy.attempts(inbox)
        self._attempt = next(self._attempts)
        self._refused = False
        self._slow = False
        self._began_s = 0.0
        self._last: tuple[Inbox, frozenset[MergedId], Merged] | None = None
        self.races = 0
        self.merged_ids: frozenset[MergedId] | None = None
        self.merged: Merged | None = None

    def is_open(self, inbox: Inbox) -> bool:
        """Whether the frame can still be closed; OvertakenError after too many lost races."""
        if self.races >= RACES:
            cause = f"frame {self._frame} could not be published: main moved {RACES} times in a row"
            raise OvertakenError(cause, "let workers push to lanes, which never race, or run it again", RACES)
        return inbox.published.state.frame == self._frame

    def choose(self, inbox: Inbox) -> Inbox:
        """The inbox without the lanes that this try leaves out. A slow close keeps what it merged, if that still holds:
        same published state, same settings, all of its deltas still there."""
        self._began_s = time.thread_time()
        chosen = self._primary.policy.narrowed(inbox, self._attempt)
        self.merged_ids = self.merged = None
        if self._slow and self._last is not None:
            before, ids, merged = self._last
            there = {merged_id(one) for one in chosen.arrivals if isinstance(one, DeltaArrival)}
            same = before.published.commit == chosen.published.commit and before.settings == chosen.settings
            if same and ids <= there:
                self.merged_ids, self.merged = ids, merged
        return chosen

    def publish(self, chosen: Inbox, merged: Merged, commit: FrameCommit, seconds: dict[str, float]) -> bool:
        """Publish; False if `main` moved, or if the server refused and there are fewer lanes to try it with."""
        self._slow = self._slow or time.thread_time() - self._began_s > SLOW_S
        self._last = (chosen, frozenset(map(merged_id, commit.merged)), merged)
        ages_s = [age_s(arrival, commit.made_at) for arrival in commit.merged]
        links, left_out = trace_links((one.item.traceparent, one.item.stream_id) for one in commit.merged)
        self.timeline = structs.replace(self.timeline, links=links, links_left_out=left_out)
        self._primary.unconfirmed = Unconfirmed(commit.commit, commit.ledger, seconds, ages_s, self.timeline)
        try:
            # Known to `confirmed` from here on: if the answer is lost, the next poll finds out whether it landed.
            won = publish(self._primary.store, chosen, commit.commit, subject_of(commit.ledger))
        except PushRefusedError as error:
            self._primary.unconfirmed = None
            self._primary.policy.refused(error)
            narrower = next(self._attempts, None)
            if narrower is None:
                raise
            self._attempt, self._refused, self._last = narrower, True, None
            return False
        # Any other failure leaves the publication unconfirmed: a push that timed out may still have landed.
        self._primary.unconfirmed = None
        return won

    def next_inbox(self, inbox: Inbox, phases: Phases) -> Inbox:
        """What the next try works on: after a refused push the same, after a lost race what is there now."""
        phases.attempt += 1
        if self._refused:
            self._refused = False
            return inbox
        if not self._slow:
            from random import uniform  # few closes lose a race

            time.sleep(uniform(0, min(RACE_PAUSE_S[0] * 2**self.races, RACE_PAUSE_S[1])))  # noqa: S311 (no secret)
        self.races += 1
        return self._primary.read_inbox(phases)

    def report(self, inbox: Inbox, chosen: Inbox, commit: FrameCommit, seconds: dict[str, float]) -> CycleReport:
        """What the close did. Lanes that were left out stay in the inbox."""
        refused = self._primary.policy.taken(inbox, self._attempt, commit.made_at)
        after = self._primary.advance(chosen, commit, _left_out(inbox, chosen))
        ages_s = [age_s(arrival, commit.made_at) for arrival in commit.merged]
        return CycleReport(
            self._primary.pending(after), commit.ledger, commit.commit, races=self.races, phases=seconds, ages_s=ages_s,
            lanes_refused=refused, timeline=self.timeline,
        )  # fmt: skip


def _left_out(inbox: Inbox, chosen: Inbox) -> Inbox:
    """What a publication left out: lanes, and what they alone bring."""
    lanes = [one for one in inbox.lanes if one not in chosen.lanes]
    kept = {id(one) for one in chosen.arrivals}
    return structs.replace(inbox, lanes=lanes, arrivals=[one for one in inbox.arrivals if id(one) not in kept])


def remove_silent_lanes(primary: Primary, keep_s: float) -> list[str]:
    """Remove lanes that the last poll showed completely merged and silent for `keep_s` seconds; returns their refs."""
    inbox = primary.last
    if inbox is None or inbox.published.commit is None:
        return []
    since_s = primary.clock() / 1e6 - keep_s
    # Those of mirrors are deleted there, and the refs that keep them here go at once.
    settled = {ref: oid for ref, oid in primary.reader.settled.items() if not ref.startswith(MIRRORS)}
    lanes = silent_lanes(primary.store, settled, inbox.published.commit, since_s)
    return remove_lanes(primary.store, lanes)
