"""The commands that recompute frames: verify and replay."""

from __future__ import annotations

from pathlib import Path

import click

from dreamcatcherd.cli.common import (
    base_of,
    on_repository,
    open_primary,
    plain,
    tracked,
    with_history,
    with_json,
    write_json,
)
from dreamcatcherd.cli.engines import chosen_engine, with_engine
from dreamcatcherd.cli.files import write_out
from dreamcatcherd.cli.progress import check_frames, counted, replay_spread
from dreamcatcherd.cli.usage import WholeNumber
from dreamcatcherd.core.codec import MAX_FRAME
from dreamcatcherd.core.errors import DreamcatcherError, RefusedError, UsageError
from dreamcatcherd.core.export import export
from dreamcatcherd.core.report import plural
from dreamcatcherd.engine.selection import Engine, EngineKind
from dreamcatcherd.history.archive import holds, open_archive
from dreamcatcherd.history.replay import closed_frames, plan_hindsight, plan_replay_to, replay_planned
from dreamcatcherd.history.verify import Verdict, read_history
from dreamcatcherd.stages.snapshot_chain import links, since_base

_FRAME = WholeNumber(0, MAX_FRAME)


@click.command(short_help="Recompute every closed frame, and name one that differs.")
@click.option("--from", "start", type=_FRAME, help="Begin with this frame, on the snapshot before it.")
@click.option("--sample", type=WholeNumber(1), metavar="K", help="Only K frames, chosen at random.")
@click.option(
    "--resume",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Keep the progress in FILE, and continue from there.",
)
@click.option(
    "--archive", type=click.Path(path_type=Path), metavar="FILE", help="Check an archive instead of a repository."
)
@with_engine
@on_repository
@with_json
def verify(
    start: int | None,
    sample: int | None,
    resume: Path | None,
    archive: Path | None,
    kind: EngineKind | None,
    workers: int | None,
    scheduler: str | None,
    repo: str | None,
    config_file: Path | None,
    as_json: bool,
) -> int:
    """Recompute every closed frame from its deltas, and name the first that differs from the published one.

    Delta files, ledgers, snapshots and the chain of snapshot commits are compared with each other: if any of them was
    replaced, changed or dropped, the frame is named. An imported snapshot is taken as the base. Exit code 1 if a frame
    differs."""
    if sample is not None and resume is not None:
        raise UsageError("--sample and --resume do not go together", "leave one of them out")
    if archive is not None and repo is not None:
        raise UsageError(
            "--archive and --repo do not go together", "leave one of them out: an archive has all it needs"
        )
    engine = chosen_engine(repo, config_file, kind, workers, scheduler)
    if archive is not None:
        verdict = _verify_archive(archive, start, sample, resume, engine)
    else:
        primary = with_history(open_primary(repo, config_file, notes=False))
        store = primary.store
        history = read_history(store, store.refs(), primary.main, start)
        verdict = check_frames(store, history, start, sample, resume, engine)
    if as_json:
        write_json(verdict)
    elif verdict.ok:
        click.echo(f"{plural(verdict.frames, 'frame')} computed again: all as published")
    else:
        click.echo(f"frame {verdict.first_bad}: {plain(verdict.why)}")
    return 0 if verdict.ok else 1


def _verify_archive(file: Path, start: int | None, sample: int | None, resume: Path | None, engine: Engine) -> Verdict:
    """Check the frames of an archive, each on the one before it."""
    with open_archive(file, counted) as (store, manifest):
        try:
            refs = store.refs()
            main = next((ref for ref in refs if ref.startswith("refs/heads/")), "refs/heads/main")
            history = read_history(store, refs, main)
        except DreamcatcherError as error:
            # Its remedy is for a served repository, and names temporary paths.
            raise RefusedError(f"{file} is not a complete archive: {error.cause}", "use another copy") from error
        if not holds(store, manifest, history.links):
            raise RefusedError(f"{file} does not have the frames that its manifest names", "use another copy")
        return check_frames(store, history, max(start or 0, manifest.first), sample, resume, engine)


@click.command(short_help="Rebuild the state after a frame from the deltas alone.")
@click.option("--to", type=_FRAME, metavar="N", help="The state after frame N. [default: the last closed frame]")
@click.option("--hindsight", is_flag=True, help="Merge late deltas that arrived after N in their own frame.")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="The output file. [default: stdout]"
)
@with_engine
@on_repository
@with_json
def replay(
    to: int | None,
    hindsight: bool,
    output: Path | None,
    kind: EngineKind | None,
    workers: int | None,
    scheduler: str | None,
    repo: str | None,
    config_file: Path | None,
    as_json: bool,
) -> int:
    """Rebuild the state after a frame from the deltas alone, and write it as `export` does.

    The state is the one that was published then, or with --hindsight the one with late deltas as if they had arrived in
    time. With --json only frame, digests and the number of deltas are written. Exit code 1 if the state differs from
    the ledger's digest; with --hindsight it may differ."""
    engine = chosen_engine(repo, config_file, kind, workers, scheduler)
    primary = with_history(open_primary(repo, config_file, notes=False))
    store = primary.store
    base = base_of(primary)
    if base.state.last_closed is None:
        raise RefusedError(f"{store.where} has no closed frame", "close a frame first: dreamcatcherd merge")
    frame = base.state.last_closed if to is None else to
    chain = since_base(store, list(links(store, base.commit))[::-1])
    if not hindsight:  # later frames say nothing about what was known then
        chain = [link for link in chain if link.frame <= frame]
    frames = tracked(closed_frames(store, chain), len(chain), "reading frames")
    plan = plan_hindsight(frames, frame) if hindsight else plan_replay_to(frames, frame)
    asked = kind is not None or scheduler is not None
    with replay_spread(store, engine, len(plan.merges), base.commit, "replaying deltas", asked=asked) as spread:
        done = replay_planned(store, plan, spread)
    ledger, settings = done.chapter.ledger, done.chapter.settings
    as_known = done.tree == ledger.snapshot
    if as_json:
        write_json(
            {
                "frame": frame,
                "digest": done.tree,
                "hindsight": hindsight,
                "deltas": done.deltas,
                "known": ledger.snapshot,
            }
        )
    else:
        text = store.read(settings.blob).decode() if settings.blob else None
        write_out(export(done.overlay, done.tree, frame, settings.table, text), output)
        if output is not None:
            click.echo(f"wrote {output}: frame {frame}, digest {done.tree}")
    if not as_known and not hindsight:
        click.echo(f"the ledger of frame {frame} says {ledger.snapshot}: see dreamcatcherd verify", err=True)
        return 1
    return 0
