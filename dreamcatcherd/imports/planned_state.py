"""What an import of a platform's state will do, found out before anything is written: where each record lands, and
whether each view gives the same value back.

Pure: the deltas are merged in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import NamedTuple

from msgspec import Struct, structs

from dreamcatcherd.core import paths
from dreamcatcherd.core.codec import read_document
from dreamcatcherd.core.collections import EXTRA
from dreamcatcherd.core.decimals import read_exactly
from dreamcatcherd.core.errors import FatalError, RefusedError, UsageError
from dreamcatcherd.core.header import read_header
from dreamcatcherd.core.merge import merge
from dreamcatcherd.core.mistakes import listed
from dreamcatcherd.core.model import Delta, Fault, Json, Version
from dreamcatcherd.core.platform_views import ViewOrigin, view_bytes
from dreamcatcherd.core.projections import PROJECTIONS
from dreamcatcherd.core.records import place
from dreamcatcherd.core.settings import Settings
from dreamcatcherd.core.snapshot import items, open_snapshot
from dreamcatcherd.core.tree import FILE, object_id
from dreamcatcherd.core.view_settings import ViewFile, view_mistakes
from dreamcatcherd.git.overlay import Overlay
from dreamcatcherd.imports.platform_state import FileMap, MappedRecords, StateMap, deltas_of
from dreamcatcherd.imports.view_state import Mismatch, first_difference, read_view_file, records_of_view


class MappedView(NamedTuple):
    """A file that a view names: the view's name, its settings, and the value of the file."""

    name: str
    view: ViewFile
    document: Json


class Misfits(Struct, frozen=True):
    """Records of a file that do not fit their section, and why."""

    why: str
    records: int


class FilePlan(Struct, frozen=True):
    """What becomes of one file: how many records go to which collections and to `extra/<section>`, and, if a view names
    it, whether that view gives the same value back."""

    file: str
    section: str
    records: int
    lands: dict[str, int]
    misfits: list[Misfits]
    view: str | None = None
    same: bool | None = None
    difference: Mismatch | None = None


class StatePlan(NamedTuple):
    """An import: its deltas by path, what becomes of each file, and what else is to be known."""

    deltas: dict[str, bytes]
    files: list[FilePlan]
    notes: list[str]


def view_records(name: str, view: ViewFile, raw: bytes, settings: Settings) -> tuple[MappedView, MappedRecords]:
    """The records of a view's file, for the first section of its collection; RefusedError if the file has none."""
    row = settings.table[view.collection]
    if not row.sections:
        raise RefusedError(f"no section brings records to {view.collection}", "map another collection")
    document = read_view_file(raw, view.path, view, row)
    records = records_of_view(document, view.path, view, row)
    return MappedView(name, view, document), (FileMap(view.path, row.sections[0]), view.path, records)


def check_views(mapping: StateMap, settings: Settings) -> list[str]:
    """UsageError if the views of a mapping cannot count; otherwise what is to be known about them."""
    if mistakes := [*view_mistakes(mapping.views, settings.table, settings.intake)]:
        raise UsageError(f"the map is wrong: {listed(mistakes)}", f"correct it, or commit {paths.SETTINGS} first")
    known = {view.path: view for view in settings.views.values()}
    return [
        f"[views.{name}] is not in {paths.SETTINGS}: {view.path} will not be written until it is committed there"
        for name, view in mapping.views.items()
        if known.get(view.path) != view
    ]


def plan_state(
    mapping: StateMap, found: Sequence[tuple[MappedView | None, MappedRecords]], settings: Settings
) -> StatePlan:
    """Make the deltas of all files, and merge them in memory. RefusedError if one of them would be quarantined."""
    made = list(deltas_of(mapping, (mapped for _, mapped in found), settings.intake))
    deltas = {path: raw for _, path, raw in made}
    read: list[list[Delta]] = [[] for _ in found]
    for at, path, raw in made:
        read[at].append(_read(path, raw, settings))
    overlay = Overlay(_Nothing())
    ordered = sorted(chain.from_iterable(read), key=lambda delta: delta.stamp)
    merged = merge(overlay, None, ordered, settings.table, PROJECTIONS, closing=lambda _: mapping.frame)
    plans = [_planned(*one, brought, settings) for one, brought in zip(found, read, strict=True)]
    folders = open_snapshot(overlay, merged.tree)
    for at, (known, (_, path, records)) in enumerate(found):
        if known is None:
            continue
        view, row = known.view, settings.table[known.view.collection]
        entities = list(items(overlay, folders, settings.table, row.name))
        raw = view_bytes(entities, row, view, ViewOrigin(mapping.frame, merged.tree))
        written = read_view_file(raw, path, view, row)
        why = first_difference(known.document, written, view, row, list(records), entities)
        plans[at] = _with_difference(plans[at], why)
    return StatePlan(deltas, plans, check_views(mapping, settings))


def refuse_differences(plan: StatePlan) -> None:
    """RefusedError if a view does not give the value of its file back."""
    for one in plan.files:
        if (found := one.difference) is not None:
            raise RefusedError(f"{one.file} would not come back the same: {found.at}: {found.why}", found.remedy)


def _with_difference(plan: FilePlan, why: Mismatch | None) -> FilePlan:
    return structs.replace(plan, same=why is None, difference=why)


def _planned(known: MappedView | None, mapped: MappedRecords, deltas: Iterable[Delta], settings: Settings) -> FilePlan:
    lands: Counter[str] = Counter()
    misfits: Counter[str] = Counter()
    for delta in deltas:
        for placed in place(delta, settings.sections):
            name = placed.collection.name if placed.collection is not None else f"{EXTRA}/{placed.section}"
            lands[name] += len(placed.records)
            misfits.update(placed.misfits)
    entry, path, records = mapped
    reasons = [Misfits(why, count) for why, count in misfits.items()]
    view = known.name if known is not None else None
    return FilePlan(path, entry.section, len(records), dict(sorted(lands.items())), reasons, view)


def _read(path: str, raw: bytes, settings: Settings) -> Delta:
    """A delta of the import as it will be read, but for attachments: no file is there for them."""
    document = read_document(raw, settings.limits)
    header = document if isinstance(document, Fault) else read_header(document, None, settings.intake)
    if isinstance(document, Fault) or isinstance(header, Fault):
        fault = document if isinstance(document, Fault) else header
        detail = fault.detail if isinstance(fault, Fault) else ""
        raise RefusedError(f"the records of {path} cannot be merged: {detail}", "see docs/time-travel.md")
    read_exactly(raw, document, settings.summed)
    blob = object_id("blob", raw)
    version = Version(path, blob, FILE, "0" * 40)
    return Delta(version, header.frame, header.utc, header.stream_id, blob, document, header.paths)


class _Nothing:
    """A repository without objects: all that a merge in memory reads, it has written."""

    def read(self, oid: str) -> bytes:
        raise FatalError(f"object {oid} is missing", "report it")
