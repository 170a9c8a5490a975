"""One pass through the stages: read → plan → merge → ledger → commit → publish. Returns values; starts nothing.

A newcomer reads the whole cycle in `close_frame`. A cycle may be killed at any instant: until the refs move nothing
counts, and after that nothing is left to do."""

from __future__ import annotations

import gc
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager

from msgspec import Struct, structs

from dreamcatcherd.core.errors import FatalError, OvertakenError
from dreamcatcherd.core.frames import Decision, opened
from dreamcatcherd.core.ledger import Ledger
from dreamcatcherd.core.ledger_builder import Basis, make_ledger
from dreamcatcherd.core.merge import Merged, merge
from dreamcatcherd.core.model import Arrival, Delta
from dreamcatcherd.core.plan import Plan, make_plan, merged_id
from dreamcatcherd.core.report import CycleReport
from dreamcatcherd.core.snapshot import already_merged, open_snapshot
from dreamcatcherd.core.waiting import already_waiting
from dreamcatcherd.daemon.memory import give_back
from dreamcatcherd.daemon.primary import Phases, Primary, age_s
from dreamcatcherd.git.failures import PushRefusedError
from dreamcatcherd.git.incomplete_clone import UNSHALLOW
from dreamcatcherd.stages.delta_reader import with_body
from dreamcatcherd.stages.early_deltas import count, ending
from dreamcatcherd.stages.ingest import Inbox
from dreamcatcherd.stages.lane_cleanup import remove_lanes, silent_lanes
from dreamcatcherd.stages.publish import publish
from dreamcatcherd.stages.published import never_less, streams_of
from dreamcatcherd.stages.snapshot import build_commit, subject_of
from dreamcatcherd.stages.views import view_files
from dreamcatcherd.stages.violations import settings_change

RACES = 60
"""How often a publication that another commit overtook is rebuilt at once, before the next cycle takes it up."""

RACE_PAUSE_S = (0.002, 0.25)
"""The longest pause after the first lost race, and after any: it doubles in between, and chance shortens it."""


SLOW_S = 0.5
"""From how many seconds of merging (of this thread's processor time) on a lost race is run again with what is merged:
whoever makes a frame slow to merge, and the branch fast to move, would else keep it open."""


class Draft(Struct, frozen=True):
    """A frame merged but not published: its ledger, the deltas that went in, and what the merge came to."""

    ledger: Ledger
    merged: list[Arrival]
    result: Merged


def look(primary: Primary, restore: bool = False) -> tuple[CycleReport, Decision]:
    """Read what waits and close nothing; also tells whether the open frame is due. With `restore`, canonical files that
    somebody edited are put back, unless the frame is due: its own commit does that.

    A publication that seemed to fail and is found to have landed is reported by the look that finds it."""
    phases = Phases(primary.progress)
    survey, refused = primary.survey(phases)
    primary.streams.look(primary.store, survey.base)
    decision = primary.decide(survey, refused)
    due_at_s = None if decision.wake_in_s is None else primary.clock() / 1e6 + decision.wake_in_s
    pending = structs.replace(primary.pending(survey, refused), due_at_s=due_at_s)
    restored = primary.restore(survey, phases) if restore and not decision.due else None
    if (landed := primary.landed(survey)) is not None:
        commit, ledger, seconds, ages = landed
        return CycleReport(pending, ledger, commit, False, 0, seconds, ages, restored), decision
    return CycleReport(pending, phases=phases.seconds, restored=restored), decision


def draft(
    primary: Primary, survey: Inbox, refused: str | None, closed_by: str, phases: Phases, before: Draft | None = None
) -> Draft:
    """Plan and merge the open frame: the ledger that would be published, its objects written but not flushed.

    With a draft of the same frame from `before`, what that merged stays as it is: what came since is accounted for, and
    what of it is due waits for the next frame."""
    store, base, limits = primary.store, survey.base, survey.settings.limits
    with phases.of("merge"):
        folders = open_snapshot(store, base.snapshot)
        chosen = {merged_id(arrival) for arrival in before.merged} if before else None
        plan = make_plan(
            survey.arrivals,
            base.state.frame,
            limits,
            lambda ids: already_merged(store, folders, ids),
            lambda ids: already_waiting(store, base.ledgers, ids),
            deferred=lambda one: chosen is not None and one not in chosen,
        )
        merged = before.result if before else _merge(primary, survey, plan)
        deltas = [arrival.item for arrival in plan.deltas if isinstance(arrival.item, Delta)]
        delivered = {item.stream_id for item in deltas if item.frame == base.state.frame}
        basis = Basis(
            previous=base.snapshot if base.ledger else None,
            entities=base.ledger.counts.entities if base.ledger else {},
            settings=survey.settings.blob,
            violations=primary.violations(survey, refused, plan.quarantined),
            settings_change=settings_change(store, survey),
            missing=sorted(primary.expected() - delivered),
            max_skew_s=limits.max_skew,
            told=streams_of(store, base.ledgers, base.ledger.frame) if deltas and base.ledger else {},
            waiting=count(store, base),
            ended=ending(store, base),
        )
        return Draft(make_ledger(plan, merged, basis, closed_by), plan.deltas, merged)


def _merge(primary: Primary, survey: Inbox, plan: Plan) -> Merged:
    store, base, settings = primary.store, survey.base, survey.settings
    store.discard()
    deltas = [arrival.item for arrival in plan.deltas if isinstance(arrival.item, Delta)]
    merged = merge(store, base.snapshot, deltas, settings.table, lambda one: with_body(store, one, settings.limits))
    never_less(store, base.snapshot, merged.tree)
    return merged


def _still_holds(before: Draft | None, seen: Inbox | None, survey: Inbox) -> bool:
    """Whether what a draft merged is to be merged still: on the same base, by the same settings, all of it there."""
    if before is None or seen is None:
        return False
    there = {merged_id(arrival) for arrival in survey.arrivals if isinstance(arrival.item, Delta)}
    same = seen.base.commit == survey.base.commit and seen.settings == survey.settings
    return same and all(merged_id(arrival) in there for arrival in before.merged)


def close_frame(primary: Primary, closed_by: str, frame: int | None = None) -> CycleReport:
    """Close a frame, by default the open one, and publish it. Rebuilds on a moved head.

    Gives the frame up where another primary closed it: the one that is open then is not due yet."""
    with _uncollected():
        return _close_frame(primary, closed_by, frame)


@contextmanager
def _uncollected() -> Iterator[None]:
    """Without the cycle collector: a close makes millions of objects that all live to its end, none of them cyclic.
    What they took is given back then."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()
        give_back()


def _close_frame(primary: Primary, closed_by: str, frame: int | None) -> CycleReport:
    store, phases, policy = primary.store, Phases(primary.progress), primary.policy
    if store.cut:  # what waits behind the cut would be merged away unread
        raise FatalError(f"{store.where} is a shallow repository: nothing is published from it", UNSHALLOW)
    whole, refused = primary.survey(phases)
    frame = whole.base.state.frame if frame is None else frame
    attempts = policy.attempts(whole)
    attempt = next(attempts)
    drafted: Draft | None = None
    seen: Inbox | None = None
    hurried = False
    race = 0
    while race < RACES:
        if whole.base.state.frame != frame:
            return CycleReport(primary.pending(whole), lost=True, races=race, phases=phases.seconds)
        survey = policy.narrowed(whole, attempt)
        began = time.thread_time()
        before = drafted if hurried and _still_holds(drafted, seen, survey) else None
        drafted, seen = draft(primary, survey, refused, closed_by, phases, before), survey
        hurried = hurried or time.thread_time() - began > SLOW_S
        with phases.of("write"):
            now = primary.clock()
            state = opened(frame + 1, now, frame, drafted.ledger.snapshot, primary.closing)
            views = view_files(store, survey, drafted.ledger.snapshot, primary.views)
            keep = primary.deltas_frames
            unsafe = [path for path, _ in primary.unsafe_paths(survey)]
            commit = build_commit(store, survey, drafted.ledger, state, drafted.merged, now, views, keep, unsafe)
        ages = [age_s(arrival, now) for arrival in drafted.merged]
        primary.attempt = (commit, drafted.ledger, phases.seconds, ages)
        try:
            with phases.of("publish"):
                won = publish(store, survey, commit, subject_of(drafted.ledger))
        except PushRefusedError as error:
            primary.attempt = None
            policy.refused(error)
            if (narrower := next(attempts, None)) is None:
                raise
            attempt, drafted = narrower, None
            continue
        primary.attempt = None
        if won:
            told = policy.taken(whole, attempt, now)
            after = primary.advance(survey, commit, drafted.ledger, _left_out(whole, survey))
            pending = primary.pending(after)
            return CycleReport(pending, drafted.ledger, commit, False, race, phases.seconds, ages, None, told)
        if not hurried:
            time.sleep(random.uniform(0, min(RACE_PAUSE_S[0] * 2**race, RACE_PAUSE_S[1])))  # noqa: S311 (no secret hangs on it)
        race += 1
        whole, refused = primary.survey(phases)
    cause = f"frame {frame} could not be published: main moved {RACES} times in a row"
    raise OvertakenError(cause, "let workers push to lanes, which never race, or run it again", RACES)


def _left_out(whole: Inbox, survey: Inbox) -> Inbox:
    """What a publication left where it is: the lanes that it was made without, and what they alone bring."""
    lanes = [one for one in whole.lanes if one not in survey.lanes]
    kept = {id(one) for one in survey.arrivals}
    return structs.replace(whole, lanes=lanes, arrivals=[one for one in whole.arrivals if id(one) not in kept])


def remove_silent_lanes(primary: Primary, keep_s: float) -> list[str]:
    """Remove lanes that the last look showed merged whole and silent for `keep_s` seconds; returns their refs."""
    survey = primary.last
    if survey is None or survey.base.commit is None:
        return []
    since_s = primary.clock() / 1e6 - keep_s
    lanes = silent_lanes(primary.store, primary.ingest.settled, survey.base.commit, since_s)
    return remove_lanes(primary.store, lanes)
