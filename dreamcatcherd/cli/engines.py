"""The options that choose an engine for one command, and what they make of the configuration."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from msgspec import structs

from dreamcatcherd.cli.common import configuration
from dreamcatcherd.cli.usage import WholeNumber
from dreamcatcherd.config_rules import wrong_scheduler
from dreamcatcherd.core.errors import UsageError
from dreamcatcherd.daemon.engines import engine_of
from dreamcatcherd.engine.selection import Engine, EngineKind
from dreamcatcherd.engine.usable import check_certificates, check_library

_Command = TypeVar("_Command", bound=Callable[..., Any])

_ENGINE = click.option(
    "--engine", "kind", type=click.Choice(["inline", "processes", "dask"]),
    help="Where it is computed, whatever its size. [default: as [engine] says, if it is large]",
)  # fmt: skip
_WORKERS = click.option(
    "--workers", type=WholeNumber(1, 1024), metavar="N", help="Processes, or workers of a Dask cluster on this machine."
)
_SCHEDULER = click.option("--scheduler", metavar="ADDR", help="A Dask scheduler: tls://HOST:PORT, tcp:// on loopback.")


def with_engine(command: _Command) -> _Command:
    """The options `--engine`, `--workers` and `--scheduler`."""
    return _ENGINE(_WORKERS(_SCHEDULER(command)))


def chosen_engine(
    repo: str | None, config_file: Path | None, kind: EngineKind | None, workers: int | None, scheduler: str | None
) -> Engine:
    """The engine of `[engine]` with the options in place of its keys. An engine that is named is used whatever the size
    of the work; a scheduler names Dask. UsageError for options that do not go together or have no effect, and without
    the library of an engine that is named."""
    table = configuration(repo, config_file)[0].engine
    if scheduler is not None:
        if kind not in (None, "dask"):
            raise UsageError(f"--scheduler and --engine {kind} do not go together", "use --engine dask")
        if (why := wrong_scheduler(scheduler)) is not None:
            raise UsageError(f"--scheduler {why}", "name the address that dask scheduler prints")
        if scheduler.startswith("tls://") and table.ca_file is None:
            remedy = "set ca_file, tls_cert and tls_key in [engine] of the configuration, and name it with --config"
            raise UsageError("--scheduler tls:// needs certificates", remedy)
        kind = "dask"
        table = structs.replace(table, scheduler=scheduler)
    if kind is not None:
        table = structs.replace(table, kind=kind, threshold=0)
    if workers is not None:
        if table.kind == "inline":
            cause = "--workers has no effect with the engine inline, which is this process"
            raise UsageError(cause, "name another one, such as --engine processes, or leave --workers out")
        if table.kind == "dask" and table.scheduler is not None:
            option = "--scheduler" if scheduler is not None else "[engine] scheduler"
            cause = f"--workers and {option} do not go together: a scheduler has workers of its own"
            raise UsageError(cause, "leave --workers out")
        table = structs.replace(table, workers=workers)
    engine = engine_of(table)
    if kind == "dask":
        check_library(kind)
        check_certificates(engine.ca_file, engine.tls_cert, engine.tls_key)
    return engine
