"""Making the ledger of a frame from its plan and its merge (docs/protocol.md#the-ledger). `ledger` owns the shapes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TypeVar

from msgspec import Struct, structs

from dreamcatcherd.core.clock_skew import ClockFlag, clock_flags
from dreamcatcherd.core.ledger import (
    ClaimRow,
    Counts,
    DeltaRow,
    DuplicateRow,
    HeldRow,
    Ledger,
    MisfitRow,
    QuarantinedRow,
    SettingsChange,
    Violation,
)
from dreamcatcherd.core.merge import Merged
from dreamcatcherd.core.model import SAME_NAMED, Delta, DeltaArrival, RejectArrival, Stamp, Version
from dreamcatcherd.core.paths import printable
from dreamcatcherd.core.plan import Plan


class Basis(Struct, frozen=True):
    """The base of a new ledger: the digest, entity counts and settings before the frame; findings that are not about
    deltas: violations, a change of settings, streams that a quorum waited for in vain; and the numbers that flag
    clocks."""

    previous: str | None
    entities: dict[str, int]
    settings: str | None
    violations: list[Violation] = []
    settings_change: SettingsChange | None = None
    missing: list[str] = []
    max_skew_s: float = 300.0
    last_utc: dict[str, int] = {}
    waiting: int = 0
    """How many early deltas waited before the frame."""
    ended: list[HeldRow] = []
    """Those of them whose wait ends with the frame."""


def make_ledger(plan: Plan, merged: Merged, basis: Basis, closed_by: str) -> Ledger:
    """The ledger of a frame from its plan and merge."""
    flags = clock_flags(plan.deltas, plan.frame, basis.max_skew_s, basis.last_utc)
    deltas = _delta_rows(plan, merged, flags)
    held = [_held_row(arrival, plan.frame) for arrival in plan.held]
    far = {arrival.item.version: arrival.item for arrival in plan.far}
    quarantined = [_quarantined_row(arrival, plan.frame, far) for arrival in plan.quarantined]
    duplicates = [_duplicate_row(arrival) for arrival in plan.duplicates]
    quarantined, duplicates = _shortened(quarantined, SAME_NAMED), _shortened(duplicates, SAME_NAMED)
    # Counts are carried on from frame to frame: counting the snapshot would read all of it.
    entities = dict(basis.entities)
    for name, count in merged.added.items():
        entities[name] = entities.get(name, 0) + count
    late = sum(row.late for row in deltas)
    counts = Counts(
        deltas=len(deltas),
        streams=len({row.stream_id for row in deltas}),
        late=late,
        duplicates=sum(1 + row.more for row in duplicates),
        held=len(held),
        quarantined=sum(1 + row.more for row in quarantined if row.since == plan.frame),
        misfits=len(merged.misfits),
        conflicts=len(merged.conflicts),
        violations=len(basis.violations),
        entities=entities,
        clocks=len(flags),
        unresolved=sum(len(row.unresolved) for row in deltas),
        collapsed=sum(row.collapsed for row in deltas),
        unknown=sum(len(row.unknown) for row in deltas),
        waiting=basis.waiting + len(held) + len(far) - len(basis.ended),
    )
    return Ledger(
        frame=plan.frame,
        snapshot=merged.tree,
        previous=basis.previous,
        closed_by=closed_by,
        settings=basis.settings,
        deltas=deltas,
        held=held,
        duplicates=duplicates,
        misfits=_misfit_rows(merged, plan) if merged.misfits else [],
        quarantined=quarantined,
        conflicts=merged.conflicts,
        claims=[
            ClaimRow(one.collection, one.key, one.stamp.stream_id, one.outcome, one.holder, one.until, one.stamp)
            for one in merged.claims
        ],
        violations=basis.violations,
        books=merged.rows,
        settings_change=basis.settings_change,
        missing=basis.missing,
        ended=basis.ended,
        counts=counts,
    )


def _delta_rows(plan: Plan, merged: Merged, flags: Mapping[Stamp, ClockFlag]) -> list[DeltaRow]:
    misfits = Counter(misfit.stamp for misfit in merged.misfits)
    rows = []
    for arrival in plan.deltas:
        stamp = arrival.item.stamp
        row = _delta_row(arrival, plan.frame, flags.get(stamp))
        notes = (misfits[stamp], merged.collapsed.get(stamp, 0), tuple(merged.unknown.get(stamp, ())))
        rows.append(structs.replace(row, misfits=notes[0], collapsed=notes[1], unknown=notes[2]) if any(notes) else row)
    return rows


def _content(item: Delta) -> str | None:
    return item.content_id if item.content_id != item.version.blob else None


def _delta_row(arrival: DeltaArrival, frame: int, flag: ClockFlag | None) -> DeltaRow:
    item = arrival.item
    late = item.frame < frame
    return DeltaRow(
        path=item.version.path,
        blob=item.version.blob,
        utc=item.utc,
        stream_id=item.stream_id,
        source=arrival.source,
        commit=item.version.commit,
        late=late,
        frame=item.frame if late else None,
        content_id=_content(item),
        unresolved=item.unresolved,
        ahead_s=flag.ahead_s if flag else None,
        backward=flag.backward if flag else False,
    )


def _held_row(arrival: DeltaArrival, frame: int) -> HeldRow:
    item = arrival.item
    return HeldRow(
        path=item.version.path,
        blob=item.version.blob,
        frame=item.frame,
        utc=item.utc,
        stream_id=item.stream_id,
        source=arrival.source,
        commit=item.version.commit,
        since=frame if arrival.since is None else arrival.since,
        content_id=_content(item),
    )


def _duplicate_row(arrival: DeltaArrival) -> DuplicateRow:
    item = arrival.item
    version = item.version
    named = (version.path, version.blob, item.frame, item.stream_id, arrival.source, version.commit)
    return DuplicateRow(*named, _content(item), arrival.more)


_Row = TypeVar("_Row", DuplicateRow, QuarantinedRow)


def _shortened(rows: list[_Row], most: int) -> list[_Row]:
    """The rows, but only the first `most` of each blob in each commit; the last of these counts the rest. Rows of
    waiting deltas all stay, since the next frames read the deltas by them."""
    kept: list[_Row] = []
    last: dict[tuple[str, str], int] = {}
    count: Counter[tuple[str, str]] = Counter()
    listed: Counter[tuple[str, str]] = Counter()
    for row in rows:
        if isinstance(row, QuarantinedRow) and row.frame is not None:
            kept.append(row)
            continue
        key = (row.blob, row.commit)
        count[key] += 1 + row.more
        listed[key] += 1
        if listed[key] <= most:
            last[key] = len(kept)
            kept.append(structs.replace(row, more=0) if row.more else row)
    for key, number in count.items():
        if number > min(listed[key], most):
            kept[last[key]] = structs.replace(kept[last[key]], more=number - min(listed[key], most))
    return kept


def _quarantined_row(arrival: RejectArrival, frame: int, far: Mapping[Version, Delta]) -> QuarantinedRow:
    item = arrival.item
    early = far.get(item.version)
    return QuarantinedRow(
        path=printable(item.version.path),
        blob=item.version.blob,
        reason=item.fault.reason,
        detail=item.fault.detail,
        source=arrival.source,
        commit=item.version.commit,
        since=frame if arrival.since is None else arrival.since,
        at=item.fault.at,
        more=arrival.more,
        frame=early.frame if early else None,
        utc=early.utc if early else None,
        stream_id=early.stream_id if early else None,
        content_id=_content(early) if early else None,
    )


def _misfit_rows(merged: Merged, plan: Plan) -> list[MisfitRow]:
    versions = {arrival.item.stamp: arrival.item.version for arrival in plan.deltas}
    counted: dict[tuple[str, str, str, str], int] = {}
    for misfit in merged.misfits:
        version = versions[misfit.stamp]
        row = (version.path, version.blob, misfit.section, misfit.why)
        counted[row] = counted.get(row, 0) + 1
    return [MisfitRow(*row, count) for row, count in sorted(counted.items())]
