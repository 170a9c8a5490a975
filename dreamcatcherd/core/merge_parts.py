"""A merge in parts that need not run in one process: what each part takes, what it gives, and what they come to.

    split       records of some deltas, folded, to one Fold for each part of the key space
    gather      the Folds of one part, from all deltas, to one
    merge_part  one part joined with the snapshot, whose other parts it leaves alone
    join_parts  the snapshot that all parts give together, and the facts for the ledger

Each is a function of its arguments. A part has all records of its entities, as in `merge`; the result is the same to
the byte, whatever the number of parts, and whichever deltas were folded together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from dreamcatcherd.core.claims import ClaimDecision
from dreamcatcherd.core.codec import canonical
from dreamcatcherd.core.collections import EXTRA, Table
from dreamcatcherd.core.fold import Column, Fold
from dreamcatcherd.core.merge import ClosingFrame, Merged, Noted, apply_fold
from dreamcatcherd.core.model import Conflict, Misfit, Stamp
from dreamcatcherd.core.projection import NewProjection
from dreamcatcherd.core.shard_join import join_updates
from dreamcatcherd.core.shards import SUFFIX, Change, Layout
from dreamcatcherd.core.snapshot import (
    APPENDED,
    EXTRAS,
    Folders,
    MergedId,
    add_merged,
    appended_share,
    close_snapshot,
    file_name,
    keyed_layout,
    near_paths,
    open_snapshot,
    zone_of,
)
from dreamcatcherd.core.tree import Objects, format_tree, read_tree

IDS_AT_ONCE = 50_000
"""How many content ids are noted as merged at a time: a change of a line takes many times its bytes."""


class MergedPart(NamedTuple):
    """One part of a merge: the snapshot's folder `state` with the changes of this part alone, and what it found."""

    state: str
    added: dict[str, int]
    conflicts: list[Conflict]
    misfits: list[Misfit]
    collapsed: dict[Stamp, int]
    unknown: dict[Stamp, list[str]]
    claims: list[ClaimDecision]
    notes: list[Any]
    """What each projection noted, in their order."""


def split(folded: Fold, table: Table, parts: int) -> list[Fold]:
    """A fold of all records as one for each part. All records of an entity are in one part, and so are the neighbours
    with which it shares a file, where possible."""
    found = [Fold({}, {}, [], {}) for _ in range(parts)]
    for name, column in folded.keyed.items():
        for part, chosen in _by_part([zone_of(near) % parts for near in near_paths(table[name], column.keys)]):
            found[part].keyed[name] = column.at(chosen)
    for name, lines in folded.appended.items():
        skipped = 4 if name == EXTRA else 0
        for part, chosen in _by_part([appended_share(line[0][skipped:], parts) for line in lines]):
            found[part].appended[name] = [lines[at] for at in chosen]
    # Facts about a delta belong to no entity, so any one part can carry them.
    found[0].misfits.extend(folded.misfits)
    found[0].unknown.update(folded.unknown)
    return found


def _by_part(parts: list[int]) -> Iterable[tuple[int, list[int]]]:
    found: dict[int, list[int]] = {}
    for at, part in enumerate(parts):
        found.setdefault(part, []).append(at)
    return found.items()


def gather(folds: Iterable[Fold]) -> Fold:
    """Folds of one part, each of other deltas, as one: the records in order of their stamps, as if all deltas had been
    folded together. The records of one delta must be in one fold."""
    keyed: dict[str, Column] = {}
    appended: dict[str, list[Change[None]]] = {}
    misfits: list[Misfit] = []
    unknown: dict[Stamp, list[str]] = {}
    for one in folds:
        for name, column in one.keyed.items():
            gathered = keyed.setdefault(name, Column([], [], []))
            gathered.keys.extend(column.keys)
            gathered.records.extend(column.records)
            gathered.stamps.extend(column.stamps)
        for name, lines in one.appended.items():
            appended.setdefault(name, []).extend(lines)
        misfits.extend(one.misfits)
        unknown.update(one.unknown)
    for name, column in keyed.items():
        # The sort is stable: the records of one delta stay in their order.
        order = sorted(range(len(column.stamps)), key=column.stamps.__getitem__)
        keyed[name] = column.at(order)
    return Fold(keyed, appended, misfits, unknown)


def merge_part(
    objects: Objects,
    snapshot: str | None,
    folded: Fold,
    table: Table,
    projections: Sequence[NewProjection],
    closing: ClosingFrame,
) -> MergedPart:
    """Join one part with a snapshot. Objects are written; `merge` has the meaning of the other arguments."""
    folders = open_snapshot(objects, snapshot)
    found = MergedPart("", {}, [], folded.misfits, Counter(), folded.unknown, [], [])
    collapsed = Counter[Stamp]()
    for new_projection in projections:
        view = new_projection(table)
        view.note(folded.keyed)
        found.notes.append(view.notes())
    apply_fold(objects, folders, folded, table, Noted(found.added, found.conflicts, collapsed, found.claims, closing))
    state = objects.write("tree", format_tree(folders.state))
    return found._replace(state=state, collapsed=dict(collapsed))


def join_parts(
    objects: Objects,
    snapshot: str | None,
    parts: Sequence[MergedPart],
    ids: Iterable[MergedId],
    table: Table,
    projections: Sequence[NewProjection],
    closing: ClosingFrame,
) -> Merged:
    """What `merge` gives for the deltas `ids` into a snapshot, from all its parts; their objects must be readable."""
    folders = open_snapshot(objects, snapshot)
    before = dict(folders.state)
    _join_states(objects, folders, [part.state for part in parts], table)
    added, collapsed = Counter[str](), Counter[Stamp]()
    unknown: dict[Stamp, list[str]] = {}
    claims: list[ClaimDecision] = []
    merged = Merged("", [], [], {}, [], collapsed, unknown, claims)
    for part in parts:
        added.update(part.added)
        collapsed.update(part.collapsed)
        unknown.update(part.unknown)
        merged.conflicts.extend(part.conflicts)
        merged.misfits.extend(part.misfits)
        claims.extend(part.claims)
    merged.added.update(added)
    for at, new_projection in enumerate(projections):
        view = new_projection(table)
        for part in parts:
            view.recall(part.notes[at])
        derived = view.update(objects, before, folders)
        merged.added.update(derived.added)
        merged.rows.extend(derived.rows)
    ordered = sorted(ids)  # neighbours share files
    for at in range(0, len(ordered), IDS_AT_ONCE):
        add_merged(objects, folders, ordered[at : at + IDS_AT_ONCE])
    claims.sort(key=lambda one: (canonical([one.collection, one.key]), closing(one.stamp), one.stamp))
    return merged._replace(tree=close_snapshot(objects, folders), conflicts=sorted(merged.conflicts, key=canonical))


def _join_states(objects: Objects, folders: Folders, states: Sequence[str], table: Table) -> None:
    """Bring the folder `state` of a snapshot to what several parts made of it."""
    updated = [read_tree(objects, state) for state in states]
    layout_of = _layouts(table)
    changed = {name for one in updated for name in one if one[name] != folders.state.get(name)}
    for name in sorted({name.removesuffix(SUFFIX) for name in changed}):
        join_updates(objects, folders.state, name, updated, layout_of(name))


def _layouts(table: Table) -> Callable[[str], Layout[None]]:
    """The layout of each file of the folder `state`, by its name."""
    rows = {file_name(name): row for name, row in table.items()}

    def layout_of(name: str) -> Layout[None]:
        if name == EXTRA:
            return EXTRAS
        return APPENDED if rows[name].rule == "append" else keyed_layout(rows[name])

    return layout_of
