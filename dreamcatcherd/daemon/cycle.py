"""One pass through the stages: read → plan → merge → ledger → commit → publish. Returns values; starts nothing.

A newcomer reads the whole cycle in `close_frame`. A cycle may be killed at any instant: until the refs move nothing
counts, and after that nothing is left to do."""

from __future__ import annotations

import gc
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from msgspec import Struct, structs

from dreamcatcherd.core.errors import RetryableError
from dreamcatcherd.core.frames import Closing, due_at, opened
from dreamcatcherd.core.ledger import Basis, Ledger, make_ledger
from dreamcatcherd.core.merge import merge
from dreamcatcherd.core.model import Arrival, Delta
from dreamcatcherd.core.paths import PUBLISHED
from dreamcatcherd.core.plan import make_plan
from dreamcatcherd.core.report import CycleReport, Pending
from dreamcatcherd.core.snapshot import already_merged, open_snapshot
from dreamcatcherd.store.base import Base, load_base, never_less, read_base, streams_of
from dreamcatcherd.store.ingest import Ingest, Survey, pending_streams
from dreamcatcherd.store.lanes import remove_lanes, silent_lanes
from dreamcatcherd.store.ports import Store
from dreamcatcherd.store.publish import build_commit, message_of, publish
from dreamcatcherd.store.violations import current_settings, find_violations, settings_change

RECENT = 10
"""Frames whose streams count as active."""

RACES = 60
"""How often a publication that another commit overtook is rebuilt at once, before the next cycle takes it up."""

PAUSE_S = (0.002, 0.25)
"""The longest pause after the first lost race, and after any: it doubles in between, and chance shortens it."""


class Draft(Struct, frozen=True):
    """A frame merged but not published: its ledger, the deltas that went in, and those that are held."""

    ledger: Ledger
    merged: list[Arrival]
    waiting: list[Arrival]


def wall_clock() -> int:
    """Now, in microseconds UTC."""
    return time.time_ns() // 1000


class Phases:
    """Seconds spent in each phase of a cycle."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


class Primary:
    """A primary's hold on one repository: the store, the branch, the closing rule, and the cache of what was read."""

    def __init__(self, store: Store, branch: str, closing: Closing, clock: Callable[[], int]) -> None:
        self.store = store
        self.main = f"refs/heads/{branch}"
        self.closing = closing
        self.clock = clock
        self.ingest = Ingest()
        self.last: Survey | None = None
        self._streams: dict[int, set[str]] = {}
        self._base: tuple[tuple[str | None, str | None], Base] | None = None

    def survey(self, phases: Phases) -> tuple[Survey, str | None]:
        """Read what waits, and why the settings on `main` were refused, if they were."""
        with phases.of("fetch"):
            refs = self.store.refs()
            base = self.load_base(refs)
            settings, refused = current_settings(self.store, refs.get(self.main), base)
            if self.store.follow(settings.lane_prefix):
                refs = {**self.store.refs(), **{ref: oid for ref, oid in refs.items() if ref == self.main}}
        with phases.of("ingest"):
            self.last = self.ingest.survey(self.store, refs, self.main, base, settings)
            return self.last, refused

    def advance(self, survey: Survey, commit: str, drafted: Draft) -> Survey:
        """What a survey becomes by its own publication: a new base, on which only what is not due yet still waits."""
        base = read_base(self.store, commit, drafted.ledger)
        self._base = ((commit, commit), base)
        self.store.remember(commit)
        self.ingest.published()
        self.last = structs.replace(survey, base=base, head=commit, lanes=[], arrivals=drafted.waiting, rewinds=())
        return self.last

    def recent_streams(self) -> set[str]:
        """The streams that delivered in the last ten closed frames, as their ledgers say."""
        base = self.last.base if self.last else None
        last = base.state.last_closed if base else None
        frames = range(max(0, last - RECENT + 1), last + 1) if last is not None else range(0)
        for frame in frames:
            if base is not None and frame not in self._streams:
                self._streams[frame] = streams_of(self.store, base.ledgers, frame)
        self._streams = {frame: self._streams[frame] for frame in frames}
        return set().union(*self._streams.values())

    def load_base(self, refs: dict[str, str]) -> Base:
        """The base, read again only when a ref that it hangs on has moved."""
        key = (refs.get(self.main), refs.get(PUBLISHED))
        if self._base is None or self._base[0] != key:
            self._base = (key, load_base(self.store, refs, self.main))
        return self._base[1]


def look(primary: Primary) -> tuple[CycleReport, int | None]:
    """Read what waits and close nothing; also tells when the open frame is due, in microseconds UTC."""
    phases = Phases()
    survey, _ = primary.survey(phases)
    at = due_at(survey.base.state, primary.closing)
    return CycleReport(pending_of(survey, primary), phases=phases.seconds), at


def draft(primary: Primary, survey: Survey, refused: str | None, closed_by: str, phases: Phases) -> Draft:
    """Plan and merge the open frame: the ledger that would be published, its objects written but not flushed."""
    store, base = primary.store, survey.base
    with phases.of("merge"):
        folders = open_snapshot(store, base.snapshot)
        plan = make_plan(
            survey.arrivals,
            base.state.frame,
            survey.settings.limits,
            lambda ids: already_merged(store, folders, ids),
        )
        deltas = [arrival.item for arrival in plan.deltas if isinstance(arrival.item, Delta)]
        merged = merge(store, base.snapshot, deltas, survey.settings.table)
        never_less(store, base.snapshot, merged.tree)
        violations = find_violations(store, survey, refused, plan.quarantined)
        entities = base.ledger.counts.entities if base.ledger else {}
        change = settings_change(store, survey)
        basis = Basis(base.snapshot if base.ledger else None, entities, survey.settings.blob, violations, change)
        return Draft(make_ledger(plan, merged, basis, closed_by), plan.deltas, plan.held)


def close_frame(primary: Primary, closed_by: str, frame: int | None = None) -> CycleReport:
    """Close a frame, by default the open one, and publish it. Rebuilds on a moved head.

    Gives the frame up where another primary closed it: the one that is open then is not due yet."""
    with _uncollected():
        return _close_frame(primary, closed_by, frame)


@contextmanager
def _uncollected() -> Iterator[None]:
    """Without the cycle collector: a close makes millions of objects that all live to its end, none of them cyclic."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def _close_frame(primary: Primary, closed_by: str, frame: int | None) -> CycleReport:
    store, phases = primary.store, Phases()
    survey, refused = primary.survey(phases)
    frame = survey.base.state.frame if frame is None else frame
    for race in range(RACES):
        if survey.base.state.frame != frame:
            return CycleReport(pending_of(survey, primary), lost=True, races=race, phases=phases.seconds)
        drafted = draft(primary, survey, refused, closed_by, phases)
        with phases.of("write"):
            now = primary.clock()
            state = opened(frame + 1, now, frame, drafted.ledger.snapshot, primary.closing)
            commit = build_commit(store, survey, drafted.ledger, state, drafted.merged, now)
        with phases.of("publish"):
            won = publish(store, survey, commit, message_of(drafted.ledger).partition("\n")[0])
        if won:
            ages = [_age_s(survey, arrival, now) for arrival in drafted.merged]
            after = primary.advance(survey, commit, drafted)
            return CycleReport(pending_of(after, primary), drafted.ledger, commit, False, race, phases.seconds, ages)
        time.sleep(random.uniform(0, min(PAUSE_S[0] * 2**race, PAUSE_S[1])))  # noqa: S311 (no secret hangs on it)
        survey, refused = primary.survey(phases)
    raise RetryableError(
        f"frame {frame} could not be published: main moved {RACES} times in a row", "the next cycle tries again"
    )


def remove_silent_lanes(primary: Primary, keep_s: float) -> list[str]:
    """Remove lanes that the last look showed merged whole and silent for `keep_s` seconds; returns their refs."""
    survey = primary.last
    if survey is None or survey.base.commit is None:
        return []
    since_s = primary.clock() / 1e6 - keep_s
    lanes = silent_lanes(primary.store, primary.ingest.settled, survey.base.commit, since_s)
    return remove_lanes(primary.store, lanes)


def pending_of(survey: Survey, primary: Primary) -> Pending:
    """What waits, as `status` and the metrics tell it."""
    base = survey.base
    waiting = [a for a in survey.arrivals if isinstance(a.item, Delta)]
    now = primary.clock()
    return Pending(
        frame=base.state.frame,
        opened_at=base.state.opened_at,
        closes_at=base.state.closes_at,
        last_closed=base.state.last_closed,
        closed_at_s=primary.store.commit(base.commit).time if base.commit and base.ledger else None,
        digest=base.snapshot,
        streams=pending_streams(survey.arrivals),
        held=sum(not _is_due(a, base.state.frame) for a in waiting),
        behind_s=max((_age_s(survey, a, now) for a in waiting if _is_due(a, base.state.frame)), default=0.0),
        entities=base.ledger.counts.entities if base.ledger else {},
    )


def _is_due(arrival: Arrival, frame: int) -> bool:
    return isinstance(arrival.item, Delta) and arrival.item.frame <= frame


def _age_s(survey: Survey, arrival: Arrival, now: int) -> float:
    """Seconds since the commit that brought an arrival, at least 0; of what was held the commit is older history."""
    commit = survey.commits.get(arrival.item.version.commit)
    return max(0.0, now / 1e6 - commit.time) if commit else 0.0
