"""What a close would do: judge every arrival as merged, late, duplicate, held or quarantined (Protocol §§4, 7).

Every arrival ends in exactly one list of the plan: what a snapshot commit makes reachable, its ledger accounts for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from msgspec import Struct, structs

from dreamcatcherd.core.model import Arrival, Delta, Fault, Reject, Stamp
from dreamcatcherd.core.settings import Limits
from dreamcatcherd.core.snapshot import MergedId


class Plan(Struct, frozen=True):
    """The fate of every arrival when `frame` closes. `deltas` are in order of their stamps, late ones among them."""

    frame: int
    deltas: list[Arrival]
    duplicates: list[Arrival]
    held: list[Arrival]
    quarantined: list[Arrival]
    far: list[Arrival] = []
    """Of the quarantined those that are only too far ahead, as the deltas that they are."""


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
    each_far: bool = False,
    deferred: Callable[[MergedId], bool] = lambda merged_id: False,
) -> Plan:
    """Judge arrivals for the close of `frame`; `merged_before` tells which content ids the snapshot has already, and
    `waits_before` which early ones wait. `each_far` lists every version that is too far ahead, as older ledgers do.
    What is due and `deferred` is held like what is early, and merges with the next frame."""
    plan = Plan(frame, [], [], [], [])
    same: dict[MergedId, list[Arrival]] = {}
    horizon = frame + limits.frames_ahead
    for arrival in arrivals:
        item = arrival.item
        if isinstance(item, Delta) and not (each_far and item.frame > horizon):
            same.setdefault((item.frame, item.content_id), []).append(arrival)
        else:
            _quarantine(plan, arrival, limits)
    before = merged_before(same) | waits_before(merged_id for merged_id in same if merged_id[0] > frame)
    for merged_id, equal in same.items():
        if merged_id in before:
            plan.duplicates.extend(equal)
            continue
        chosen = min(equal, key=_preference) if len(equal) > 1 else equal[0]
        plan.duplicates.extend(other for other in equal if other is not chosen)
        if merged_id[0] > horizon:
            _quarantine(plan, chosen, limits)
        else:
            (plan.held if merged_id[0] > frame or deferred(merged_id) else plan.deltas).append(chosen)
    plan.deltas.sort(key=_order)
    plan.held.sort(key=_order)
    plan.far.sort(key=_order)
    plan.duplicates.sort(key=_place)
    plan.quarantined.sort(key=_place)
    return plan


def merged_id(arrival: Arrival) -> MergedId:
    """What a delta is known by once it is merged."""
    if not isinstance(arrival.item, Delta):
        raise AssertionError("only deltas are merged")
    return (arrival.item.frame, arrival.item.content_id)


def _quarantine(plan: Plan, arrival: Arrival, limits: Limits) -> None:
    item = arrival.item
    if isinstance(item, Delta):
        plan.far.append(arrival)
        arrival = structs.replace(arrival, item=_too_far(item, plan.frame, limits.frames_ahead))
    plan.quarantined.append(arrival)


def _preference(arrival: Arrival) -> tuple[object, ...]:
    """Which of several versions of one content stands for it: a held one, then one on the shared branch."""
    return (arrival.since is None, arrival.source != "main", *_place(arrival))


def _place(arrival: Arrival) -> tuple[str, ...]:
    version = arrival.item.version
    return (version.path, version.blob, arrival.source, version.commit)


def _order(arrival: Arrival) -> Stamp:
    if not isinstance(arrival.item, Delta):
        raise AssertionError("only deltas have a stamp")
    return arrival.item.stamp


def _too_far(item: Delta, frame: int, frames_ahead: int) -> Reject:
    detail = f"frame {item.frame} is more than {frames_ahead} ahead of the open frame {frame}"
    return Reject(item.version, Fault("too-far-ahead", detail, "$.frame"))
