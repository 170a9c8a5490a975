"""`import --map`: a platform's plain state as the first frame, and what it will come to (`--dry-run`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import click

from dreamcatcherd.cli.common import plain, write_json
from dreamcatcherd.cli.files import read_in
from dreamcatcherd.core.errors import RefusedError, UsageError
from dreamcatcherd.core.report import plural
from dreamcatcherd.core.settings import DEFAULT, Settings
from dreamcatcherd.core.tree import lookup
from dreamcatcherd.daemon.primary import Primary
from dreamcatcherd.engine.selection import Engine
from dreamcatcherd.imports.adopt_state import adopt_state
from dreamcatcherd.imports.planned_state import (
    FilePlan,
    MappedView,
    StatePlan,
    check_views,
    plan_state,
    refuse_differences,
    view_records,
)
from dreamcatcherd.imports.platform_state import MappedRecords, StateMap, read_map, records_of
from dreamcatcherd.imports.view_state import read_plain
from dreamcatcherd.stages.fetch import View
from dreamcatcherd.stages.snapshot import SnapshotOptions


class Wish(NamedTuple):
    """What the options ask for; `engine` merges the records if they are many, or if `asked` names it."""

    open_frame: int | None
    dry_run: bool
    force: bool
    as_json: bool
    engine: Engine
    asked: bool


def import_state(
    map_file: Path, folder: Path | None, primary: Primary | None, create: Callable[[], Primary], wish: Wish
) -> None:
    """Import what a map names, from a folder or from the branch; with `dry_run`, say what it comes to.

    `primary` is None if there is no repository yet: `create` makes it, once nothing speaks against the import."""
    mapping = read_map(read_in(map_file), str(map_file))
    following = mapping.frame + 1 if wish.open_frame is None else wish.open_frame
    if following <= mapping.frame:
        raise UsageError(f"--open {following} is not after frame {mapping.frame}", "name a later frame")
    seen = primary.look() if primary is not None else None
    if primary is not None and seen is not None and seen.published.ledger is not None:
        raise RefusedError(f"{primary.store.where} has closed frames already", "import before the first frame closes")
    settings = seen.settings if seen is not None else DEFAULT
    check_views(mapping, settings)
    plan = plan_state(mapping, list(_found(folder, mapping, primary, seen, settings)), settings)
    if wish.dry_run:
        _tell(plan, mapping.frame, following, wish.as_json)
        return
    if not wish.force:
        refuse_differences(plan)
    for note in plan.notes:
        click.echo(plain(f"dreamcatcherd: note: {note}"), err=True)
    primary = primary or create()
    options = SnapshotOptions(primary.closing, next_frame=following)
    from dreamcatcherd.cli.progress import counted  # slow to load, and a dry run needs none of it

    large = wish.asked or is_large_import(wish.engine, plan)
    with counted(len(plan.deltas), "merging deltas") as done:
        ledger = adopt_state(
            primary.store, primary.main, plan.deltas, mapping.frame, options, primary.clock(),
            wish.engine if large else None, done,
        )  # fmt: skip
    misfits = sum(row.records for row in ledger.misfits)
    if wish.as_json:
        imported = {"frame": ledger.frame, "digest": ledger.snapshot, "open": following}
        write_json({**imported, "entities": ledger.counts.entities, "misfits": misfits})
        return
    counts = ", ".join(f"{count} in {name}" for name, count in sorted(ledger.counts.entities.items()))
    click.echo(f"imported frame {ledger.frame}, digest {ledger.snapshot}; frame {following} is open\n{plain(counts)}")
    for row in ledger.misfits:
        click.echo(plain(f"{plural(row.records, 'record')} of {row.path} went to extra/{row.section}: {row.why}"))


def is_large_import(engine: Engine, plan: StatePlan) -> bool:
    """Whether workers merge an import. Its deltas have many records each, so that records count."""
    return engine.kind != "inline" and sum(one.records for one in plan.files) > engine.threshold


def _found(
    folder: Path | None, mapping: StateMap, primary: Primary | None, seen: View | None, settings: Settings
) -> Iterator[tuple[MappedView | None, MappedRecords]]:
    """The records of every file that the map names, in its order: `files`, those of one pattern sorted by name, then
    `views`."""
    for mapped in mapping.files:
        if folder is None:
            raise UsageError("[[files]] are read from a folder", "name it: dreamcatcherd import FOLDER --map TOML")
        paths = sorted(path for path in folder.glob(mapped.path) if path.is_file())
        if not paths:
            raise RefusedError(f"no file in {folder} matches {mapped.path!r}", "correct `path` in the mapping")
        for path in paths:
            name = path.relative_to(folder).as_posix()
            yield None, (mapped, name, records_of(read_plain(read_in(path), str(path)), mapped, name))
    for name, view in mapping.views.items():
        raw = read_in(folder / view.path) if folder is not None else _on_branch(primary, seen, view.path)
        yield view_records(name, view, raw, settings)


def _on_branch(primary: Primary | None, seen: View | None, path: str) -> bytes:
    """A file of the branch's head."""
    if primary is None or seen is None or seen.head is None:
        raise RefusedError(f"there is no branch to read {path} from", "push its files first, or name a folder")
    store = primary.store
    entry = lookup(store, store.commit(seen.head).tree, path)
    if entry is None or not entry.is_file:
        raise RefusedError(f"there is no file {path} on the branch", "correct `path` in the map")
    return store.read(entry.oid)


def _tell(plan: StatePlan, frame: int, following: int, as_json: bool) -> None:
    """Say what an import will come to."""
    if as_json:
        write_json({"frame": frame, "open": following, "files": plan.files, "notes": plan.notes})
        return
    for one in plan.files:
        click.echo(plain(_line(one)))
        for row in one.misfits:
            click.echo(plain(f"  {plural(row.records, 'misfit')} kept in extra/{one.section}: {row.why}"))
        if one.difference is not None:
            click.echo(plain(f"  {one.difference.at}: {one.difference.why}; {one.difference.remedy}"))
    for note in plan.notes:
        click.echo(plain(f"note: {note}"))


def _line(one: FilePlan) -> str:
    lands = ", ".join(f"{count} to {name}" for name, count in one.lands.items()) or "nothing"
    line = f"{one.file}: {plural(one.records, 'record')}: {lands}"
    if one.view is None:
        return line
    return f"{line}; the view {one.view} " + ("gives the same value back" if one.same else "gives another value back")
