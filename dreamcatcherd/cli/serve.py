"""The commands that serve a repository: run, merge, close."""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
from pathlib import Path

import click
import msgspec

from dreamcatcherd.cli.common import configuration, on_repository, open_primary, plain, tracked, with_json, write_json
from dreamcatcherd.cli.usage import Seconds, WholeNumber
from dreamcatcherd.config import ConfigError
from dreamcatcherd.config_files import repository_path
from dreamcatcherd.config_tables import DEFAULT_URL, Config, FramesConfig
from dreamcatcherd.core.codec import MAX_FRAME
from dreamcatcherd.core.errors import FatalError, RefusedError, RetryableError, UsageError
from dreamcatcherd.core.frames import CloseRule
from dreamcatcherd.core.paths import is_copy
from dreamcatcherd.core.report import CycleReport, Pending, plural
from dreamcatcherd.core.summary import frame_summary
from dreamcatcherd.daemon.cycle import close_frame, poll
from dreamcatcherd.daemon.opening import closing_of
from dreamcatcherd.daemon.primary import Primary
from dreamcatcherd.git.maintenance import has_many_packs, maintain, write_graph
from dreamcatcherd.git.protocols import GitStore, Store
from dreamcatcherd.observe.clock import wall_clock
from dreamcatcherd.stages.inbox import Inbox

_FRAME = WholeNumber(0, MAX_FRAME)

_LISTEN_AS = "DREAMCATCHER_LISTEN_AS"
"""The variable with which a wrapper, such as `make run`, names its own way to choose an address, for remedies."""


@click.command()
@click.option(
    "--listen", metavar="ADDR", help="host:port of the status page, metrics and API, in place of [http] listen."
)
@click.option("--interval", type=Seconds(), help="Close a frame every S seconds, in place of [frames] interval.")
@on_repository
def run(repo: str | None, config_file: Path | None, listen: str | None, interval: float | None) -> None:
    """Serve the repository: the daemon.

    With no configuration it serves ./fleet.git (made if missing), closes a frame every 10 s, and answers HTTP on
    127.0.0.1:9464. The options also override a file that is read again. SIGTERM and SIGINT end it within 2 s.

    The log is on stderr: JSON lines, except on a terminal. Only a terminal is shown how to push a first delta."""
    # The server's libraries take half of a command's start-up time, and only this command needs them.
    from dreamcatcherd.daemon.bootstrap import Source, build_runtime
    from dreamcatcherd.daemon.configured import load_complete
    from dreamcatcherd.daemon.service import Service
    from dreamcatcherd.imports.new_repository import create, create_empty
    from dreamcatcherd.observe.logs import set_up_logs, take_stray_messages
    from dreamcatcherd.web.server import NotListeningError, check_port, read_listening

    def read() -> tuple[Config, str]:
        return load_complete(lambda: _configured(repo, config_file, listen, interval), config_file)

    source = Source(read, config_file)
    config, url = source.read()
    logger = set_up_logs(config.log.format, config.log.level)
    take_stray_messages()
    path = repository_path(url)
    new = repo is None and config.repository.url == DEFAULT_URL and path is not None and not path.exists()
    new = new and config.relay.upstream is None
    try:
        if new and path is not None:
            check_port(read_listening(config.http))  # a start that fails leaves no repository behind
            create(path, 1, wall_clock(), closing_of(config), config.repository.branch)
        if config.relay.upstream is not None and path is not None and not path.exists():
            create_empty(path, config.repository.branch)
        service = Service(build_runtime(config, url), logger, source)
        service.start()
    except NotListeningError as error:
        raise UsageError(error.cause, error.remedy_by(os.environ.get(_LISTEN_AS, "--listen "))) from error
    if sys.stdout.isatty():
        click.echo(
            f"dreamcatcherd serves {service.primary.store.where}: {_open_frame(service.primary)}, {_closes(config)}\n"
            f"status page: {service.http.url}/\n"
            f"metrics and health: {service.http.url}/metrics and /healthz\n\n"
            "Push a first delta with plain git, from another terminal:\n\n"
            + first_delta(str(path.resolve()) if path else service.primary.store.where)
        )
        sys.stdout.flush()
    service.run()


def _configured(
    repo: str | None, config_file: Path | None, listen: str | None, interval: float | None
) -> tuple[Config, str]:
    """The configuration with the options of `run`, which override the file and the environment alike.

    UsageError names the option whose value cannot count."""
    variables = dict(os.environ)
    if listen is not None:
        import json  # the other commands do not need it

        variables["DREAMCATCHERD_HTTP_LISTEN"] = json.dumps(listen)
    if interval is not None:
        try:
            # Here, since it would be the file's mistake once both are put together.
            msgspec.convert({"interval": interval}, FramesConfig)
        except msgspec.ValidationError as error:
            why = str(error).partition(" - at ")[0].replace("Expected `float`", "expected seconds")
            raise UsageError(
                f"--interval {interval:g}: {why}", "name the seconds from one close to the next"
            ) from error
        variables["DREAMCATCHERD_FRAMES_INTERVAL"] = repr(interval)
    try:
        config, url = configuration(repo, config_file, variables)
    except ConfigError as error:
        if listen is None:
            raise
        option = os.environ.get(_LISTEN_AS, "--listen ").rstrip("= ")
        raise error.renamed("DREAMCATCHERD_HTTP_LISTEN", option) from error
    # Neither is what was asked for: to ignore the option, or to change what closes frames.
    if interval is not None and config.frames.close != "interval":
        cause = f"--interval {interval:g} has no effect, since [frames] close is {config.frames.close!r}"
        raise UsageError(cause, 'leave the option out, or set close = "interval"')
    return config, url


def _closes(config: Config) -> str:
    frames = config.frames
    if config.relay.upstream is not None:
        return "frames close upstream"
    texts: dict[CloseRule, str] = {
        "manual": "frames close by hand: dreamcatcherd close",
        "interval": f"frames close every {frames.interval:g} s",
        "cron": f"frames close at {frames.cron} (UTC)",
        "counter": f"frames close as {frames.counter} says",
        "quorum": "frames close when all expected streams have delivered",
        "next": "frames close when a delta of a later frame arrives",
    }
    return texts[frames.close]


def _open_frame(primary: Primary) -> str:
    """A text about the open frame. A repository that cannot be reached yet does not end the start."""
    try:
        return f"frame {poll(primary)[0].pending.frame} is open"
    except (RetryableError, FatalError) as error:
        return f"it cannot be read yet ({plain(error.cause)})"


def first_delta(url: str) -> str:
    """Shell commands that push a first delta to a repository, whatever frame is open; the first failure ends them."""
    # Joined by &&: without the clone, for example when my-worker exists, the others would commit to the repository that
    # the shell happens to be in.
    return rf"""    git clone -q {shlex.quote(url)} my-worker && cd my-worker &&
    frame=$(sed -n 's/^ *"frame": *\([0-9]*\).*/\1/p' state/frame.json) &&
    mkdir -p state/stream_deltas/$frame &&
    printf '{{"frame": %s, "utc": "%s", "stream_id": "my-worker", "observations": ["hello"]}}\n' \
        $frame "$(date -u +%Y-%m-%dT%H:%M:%SZ)" > state/stream_deltas/$frame/my-worker.json &&
    git add state &&
    git -c user.name=my-worker -c user.email=my-worker@localhost commit -qm "my-worker: frame $frame" &&
    git push -q origin HEAD:refs/heads/dc/my-worker
"""


@click.command("merge", short_help="Close the open frame, publish, and exit: for cron and CI.")
@click.option("--frame", type=_FRAME, help="Close all frames up to this one, one commit each.")
@on_repository
@with_json
def merge_command(frame: int | None, repo: str | None, config_file: Path | None, as_json: bool) -> None:
    """Read, close the open frame, publish, and exit: for cron and CI jobs.

    The frame closes whether or not its time is over. If frame N is closed already, --frame N does nothing."""
    primary = open_primary(repo, config_file, notes=False)
    check_closes(primary)
    waiting = primary.read_inbox()  # not a poll, which also reads the ledgers of the last 100 frames
    inbox: Inbox | None = waiting
    now_open = first = waiting.published.state.frame
    last = first if frame is None else frame
    closed: list[CycleReport] = []
    # Each report names the next open frame: another primary may close frames in between.
    for _ in tracked(range(first, last + 1), max(0, last + 1 - first), "closing frames"):
        if now_open > last:
            break
        report = close_frame(primary, "merge", now_open, inbox)
        now_open, inbox = report.pending.frame, None
        closed.append(report)
        if not as_json:
            click.echo(_line(report, report.pending))
    if any(report.commit for report in closed):
        keep_up(primary.store)
    if as_json:
        write_json([_summary(report) for report in closed if report.ledger])
    elif not closed:
        click.echo(f"frame {last} is closed already: nothing to do")


def check_closes(primary: Primary) -> None:
    """RefusedError if the repository is a relay's: no frame closes there."""
    if is_copy(primary.store.refs()):
        from dreamcatcherd.stages.relay_copy import CLOSE_UPSTREAM, NO_CLOSE  # it loads the code for remotes

        raise RefusedError(f"{primary.store.where}: {NO_CLOSE}", CLOSE_UPSTREAM)


def keep_up(store: Store) -> None:
    """Do what saves the next commands time: add the published commits to the commit-graph, and join the packs if they
    are many, since each close leaves one. A failure is ignored."""
    if isinstance(store, GitStore) and (published := store.recall()) is not None:
        with contextlib.suppress(RetryableError):
            if has_many_packs(store.folder):
                maintain(store.folder)
            else:
                write_graph(store.folder, published)


@click.command(short_help="Close the open frame now, also while a daemon runs.")
@on_repository
@with_json
def close(repo: str | None, config_file: Path | None, as_json: bool) -> None:
    """Close the open frame now, whatever its rule, also while a daemon runs; SIGUSR1 makes a daemon do the same."""
    primary = open_primary(repo, config_file, notes=False)
    check_closes(primary)
    report = close_frame(primary, "manual")
    if report.commit:
        keep_up(primary.store)
    if as_json:
        write_json([_summary(report)] if report.ledger else [])
    else:
        click.echo(_line(report, report.pending))


def _line(report: CycleReport, pending: Pending) -> str:
    if report.ledger is None:
        return f"frame {pending.last_closed}: closed by another primary"
    counts = report.ledger.counts
    kinds = ("late", "duplicates", "held", "misfits", "quarantined", "conflicts", "violations", "collapsed")
    logged = [(kind, getattr(counts, kind)) for kind in kinds]
    rest = "".join(f", {count} {kind.removesuffix('s') if count == 1 else kind}" for kind, count in logged if count)
    rest += f", {plural(counts.unresolved, 'unresolved reference')}" if counts.unresolved else ""
    rest += f", {plural(counts.unknown, 'unknown section')}" if counts.unknown else ""
    went = f"{plural(counts.deltas, 'delta')} from {plural(counts.streams, 'stream')}"
    return f"frame {report.ledger.frame}: {went}{rest}, digest {report.ledger.snapshot}"


def _summary(report: CycleReport) -> dict[str, object]:
    if report.ledger is None:
        raise AssertionError("only published frames are summarized")
    return frame_summary(report.ledger, report.commit, report.pending.closed_at_s)
