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


MergedBefore = Callable[[Iterable[MergedId]], set[MergedId]]


def make_plan(arrivals: Sequence[Arrival], frame: int, limits: Limits, merged_before: MergedBefore) -> Plan:
    """Judge arrivals for the close of `frame`; `merged_before` tells which content ids the snapshot has already."""
    plan = Plan(frame, [], [], [], [])
    same: dict[MergedId, list[Arrival]] = {}
    for arrival in arrivals:
        item = arrival.item
        if isinstance(item, Delta) and item.frame <= frame + limits.frames_ahead:
            same.setdefault((item.frame, item.content_id), []).append(arrival)
        elif isinstance(item, Delta):
            plan.quarantined.append(structs.replace(arrival, item=_too_far(item, frame, limits.frames_ahead)))
        else:
            plan.quarantined.append(arrival)
    before = merged_before(same)
    for merged_id, equal in same.items():
        if merged_id in before:
            plan.duplicates.extend(equal)
            continue
        chosen = min(equal, key=_preference) if len(equal) > 1 else equal[0]
        plan.duplicates.extend(other for other in equal if other is not chosen)
        (plan.held if merged_id[0] > frame else plan.deltas).append(chosen)
    plan.deltas.sort(key=_order)
    plan.held.sort(key=_order)
    plan.duplicates.sort(key=_place)
    plan.quarantined.sort(key=_place)
    return plan


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
