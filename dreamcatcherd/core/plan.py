"""The plan of a close: each arrival is merged, late, duplicate, held or quarantined (docs/protocol.md#quarantine,
docs/protocol.md#publishing).

Every arrival ends in exactly one list of the plan: the snapshot commit makes it reachable, so it is never read again,
and its ledger must account for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from msgspec import Struct

from dreamcatcherd.core.model import Arrival, Delta, DeltaArrival, Fault, RejectArrival, Stamp
from dreamcatcherd.core.settings import Limits
from dreamcatcherd.core.snapshot import MergedId


class Plan(Struct, frozen=True):
    """The fate of every arrival when `frame` closes. `deltas` are in order of their stamps, late ones among them."""

    frame: int
    deltas: list[DeltaArrival]
    duplicates: list[DeltaArrival]
    held: list[DeltaArrival]
    quarantined: list[RejectArrival]
    far: list[DeltaArrival] = []
    """The quarantined versions that are only too far ahead, as the deltas that they are: they wait, so their keys are
    needed."""


KnownBefore = Callable[[Iterable[MergedId]], set[MergedId]]
"""Which of some content ids are known from before."""


def _none(ids: Iterable[MergedId]) -> set[MergedId]:
    return set()


def make_plan(
    arrivals: Sequence[Arrival],
    frame: int,
    limits: Limits,
    merged_before: KnownBefore,
    waits_before: KnownBefore = _none,
    deferred: Callable[[MergedId], bool] = lambda merged_id: False,
) -> Plan:
    """Judge arrivals for the close of `frame`. `merged_before` answers which content ids the snapshot has already, and
    `waits_before` which early ones wait. A
    delta that is due and `deferred` is held like an early one, and merges with the next frame."""
    plan = Plan(frame, [], [], [], [])
    same: dict[MergedId, list[DeltaArrival]] = {}
    horizon = frame + limits.frames_ahead
    # Copies of one content are grouped before anything is decided: which of them counts must not depend on the order
    # in which they arrived, and the snapshot is asked once for all contents.
    for arrival in arrivals:
        if isinstance(arrival, RejectArrival):
            plan.quarantined.append(arrival)
        else:
            same.setdefault(merged_id(arrival), []).append(arrival)
    # Two lookups for the complete frame instead of two for each delta: the snapshot keeps ids of one frame together.
    before = merged_before(same) | waits_before(known_by for known_by in same if known_by[0] > frame)
    for known_by, equal in same.items():
        if known_by in before:
            plan.duplicates.extend(equal)
            continue
        # One of several equal versions counts, and always the same one, whoever delivered first.
        chosen = min(equal, key=_preference) if len(equal) > 1 else equal[0]
        plan.duplicates.extend(other for other in equal if other is not chosen)
        if chosen.item.frame > horizon:
            _quarantine_far(plan, chosen, limits)
        elif chosen.item.frame > frame or deferred(known_by):
            plan.held.append(chosen)
        else:
            plan.deltas.append(chosen)
    plan.deltas.sort(key=_order)
    plan.held.sort(key=_order)
    plan.far.sort(key=_order)
    plan.duplicates.sort(key=_place)
    plan.quarantined.sort(key=_place)
    return plan


def merged_id(arrival: DeltaArrival) -> MergedId:
    """The id by which a delta is known once it is merged."""
    return (arrival.item.frame, arrival.item.content_id)


def _quarantine_far(plan: Plan, arrival: DeltaArrival, limits: Limits) -> None:
    plan.far.append(arrival)
    plan.quarantined.append(arrival.refused(_too_far(arrival.item, plan.frame, limits.frames_ahead)))


def _preference(arrival: DeltaArrival) -> tuple[object, ...]:
    """Which of several versions of one content is merged or held; the others are its duplicates. One that an earlier
    ledger lists comes first, then one on the shared branch, since these were reported already or are read by everybody.
    The place decides last: any total order would do, but every primary must choose the same version."""
    return (arrival.since is None, arrival.source != "main", *_place(arrival))


def _place(arrival: Arrival) -> tuple[str, ...]:
    version = arrival.item.version
    return (version.path, version.blob, arrival.source, version.commit)


def _order(arrival: DeltaArrival) -> Stamp:
    return arrival.item.stamp


def _too_far(item: Delta, frame: int, frames_ahead: int) -> Fault:
    detail = f"frame {item.frame} is more than {frames_ahead} ahead of the open frame {frame}"
    return Fault("too-far-ahead", detail, item.frame_at)
