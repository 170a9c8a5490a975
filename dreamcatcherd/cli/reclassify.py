"""The commands that bring a snapshot into another form: by new settings, or into the present format."""

from __future__ import annotations

from collections import Counter
from functools import partial
from pathlib import Path
from typing import NamedTuple

import click

from dreamcatcherd.cli.common import on_repository, open_primary, plain, tracked, with_history, with_json, write_json
from dreamcatcherd.cli.engines import chosen_engine, with_engine
from dreamcatcherd.cli.progress import replay_spread
from dreamcatcherd.core.collections import EXTRA, Table
from dreamcatcherd.core.errors import RefusedError
from dreamcatcherd.core.ledger import RECLASSIFY
from dreamcatcherd.core.report import plural
from dreamcatcherd.core.snapshot import items, open_snapshot
from dreamcatcherd.core.tree import Reader
from dreamcatcherd.daemon.cycle import close_frame
from dreamcatcherd.daemon.primary import Primary
from dreamcatcherd.engine.selection import EngineKind
from dreamcatcherd.git.disk_overlay import DiskOverlay
from dreamcatcherd.git.overlay import Overlay
from dreamcatcherd.history.reclassify import reclassified
from dreamcatcherd.history.replay import ReplayPlan, ReplaySpread, closed_frames, plan_replay
from dreamcatcherd.imports.convert import convert
from dreamcatcherd.observe.clock import wall_clock
from dreamcatcherd.stages.inbox import Inbox
from dreamcatcherd.stages.merge import NewBase
from dreamcatcherd.stages.snapshot_chain import links, since_base


@click.command("reclassify", short_help="Place all records by the settings in force.")
@click.option("--dry-run", is_flag=True, help="Only say what would move.")
@with_engine
@on_repository
@with_json
def reclassify_command(
    dry_run: bool,
    kind: EngineKind | None,
    workers: int | None,
    scheduler: str | None,
    repo: str | None,
    config_file: Path | None,
    as_json: bool,
) -> None:
    """Place all records by the settings in force, as if they had been there from the start.

    Records that were merged before the settings knew their sections are in `extra/…`. This closes the open frame with a
    snapshot in which they are in their collections; its digest is the one that the settings would have given from the
    start. The deltas of the whole history are read again."""
    engine = chosen_engine(repo, config_file, kind, workers, scheduler)
    primary = with_history(open_primary(repo, config_file, notes=False))
    inbox = primary.read_inbox()
    published = inbox.published
    if published.snapshot is None or published.ledger is None:
        raise RefusedError(f"{primary.store.where} has no closed frame", "close a frame first: dreamcatcherd merge")
    if inbox.view.refused is not None:
        raise RefusedError(f"the settings on {primary.main} do not count: {inbox.view.refused}", "correct them first")
    table = inbox.settings.table
    plan = _plan(primary, inbox)
    asked = kind is not None or scheduler is not None
    frame = digest = None
    with replay_spread(
        primary.store, engine, len(plan.merges), published.commit, "placing deltas", asked=asked
    ) as spread:
        placing = _Placing(primary, spread)
        overlay, base = placing.place(plan, inbox)
        before = _sections(primary.store, published.snapshot, table)
        after = _sections(overlay, base.tree, table)
        if base.tree != published.snapshot and not dry_run:
            placing.write(overlay, base)
            onto = partial(placing.base_for, known=inbox, base=base)
            report = close_frame(primary, RECLASSIFY, inbox=inbox, onto=onto)
            if report.ledger is None:
                raise RefusedError("another primary closed the frame meanwhile", "run it again")
            frame, digest = report.ledger.frame, report.ledger.snapshot
    moved = {name: count - after[name] for name, count in sorted(before.items()) if count != after[name]}
    if as_json:
        write_json({"moved": moved, "entities": base.entities, "base": base.tree, "frame": frame, "digest": digest})
        return
    for name, count in moved.items():
        click.echo(f"{plain(name)}: {plural(count, 'record')} {'would move' if dry_run else 'moved'} to collections")
    if base.tree == published.snapshot:
        click.echo("everything is where the settings place it: nothing to do")
    elif frame is not None:
        click.echo(f"closed frame {frame}: digest {digest}")


def _plan(primary: Primary, inbox: Inbox) -> ReplayPlan:
    """What all closed frames up to the published one come to under the settings of an inbox."""
    chain = since_base(primary.store, list(links(primary.store, inbox.published.commit))[::-1])
    frames = tracked(closed_frames(primary.store, chain), len(chain), "reading frames")
    return plan_replay(frames, inbox.settings)


class _Placing(NamedTuple):
    """Who places all records: a primary, and the workers of an engine if there are many."""

    primary: Primary
    spread: ReplaySpread | None

    def place(self, plan: ReplayPlan, inbox: Inbox) -> tuple[Overlay | DiskOverlay, NewBase]:
        """The base that a plan leads to under the settings of an inbox, and the overlay that has its objects."""
        store = self.primary.store
        overlay = Overlay(store) if self.spread is None else DiskOverlay(store)
        return overlay, reclassified(overlay, store, plan, inbox.settings, self.spread)

    def write(self, overlay: Overlay | DiskOverlay, base: NewBase) -> None:
        """Write the objects of a base into the store; nothing refers to them before the close."""
        for object_kind, data in overlay.objects(base.tree):
            self.primary.store.write(object_kind, data)

    def base_for(self, now: Inbox, known: Inbox, base: NewBase) -> NewBase:
        """The base for one try of the close; computed again if the settings or the published frame changed
        meanwhile."""
        if now.settings.blob != known.settings.blob or now.published.commit != known.published.commit:
            overlay, base = self.place(_plan(self.primary, now), now)
            self.write(overlay, base)
        return base


def _sections(objects: Reader, tree: str, table: Table) -> Counter[str]:
    """How many records each section of `extra` has."""
    return Counter(item.collection for item in items(objects, open_snapshot(objects, tree), table, EXTRA))


@click.command("convert", short_help="Convert a repository of the former snapshot format.")
@on_repository
@with_json
def convert_command(repo: str | None, config_file: Path | None, as_json: bool) -> None:
    """Bring a repository whose snapshots have the former format into the present one.

    Stop every daemon first, and close the open frame with the version that wrote it, so that no delta on `main` waits.
    Records, stamps and merged deltas stay; the digest is new. The conversion closes the open frame, and replay and
    verify begin with it."""
    primary = open_primary(repo, config_file)
    ledger = convert(primary.store, primary.main, wall_clock(), primary.closing)
    if as_json:
        write_json({"frame": ledger.frame, "digest": ledger.snapshot, "open": ledger.frame + 1})
    else:
        click.echo(f"converted as frame {ledger.frame}, digest {ledger.snapshot}; frame {ledger.frame + 1} is open")
