"""`[engine]` as the engine of a primary and of the commands."""

from __future__ import annotations

from pathlib import Path

from dreamcatcherd.config_tables import EngineConfig
from dreamcatcherd.engine.selection import Engine


def engine_of(table: EngineConfig) -> Engine:
    """The engine that a configuration names. Nothing is started or asked."""
    files = (Path(name).expanduser().absolute() if name else None for name in _files(table))
    return Engine(table.kind, table.workers or 0, table.scheduler, table.threshold, *files)


def _files(table: EngineConfig) -> tuple[str | None, str | None, str | None]:
    return (table.ca_file, table.tls_cert, table.tls_key)
