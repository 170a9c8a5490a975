"""`[engine]` as the engine of a primary and of the commands."""

from __future__ import annotations

from pathlib import Path

from dreamcatcherd.config_tables import EngineConfig
from dreamcatcherd.engine.selection import Engine


def engine_of(table: EngineConfig) -> Engine:
    """The engine that a configuration names. Nothing is started or asked."""
    files = certificate_files(table) if (table.scheduler or "").startswith("tls://") else (None, None, None)
    return Engine(table.kind, table.workers or 0, table.scheduler, table.threshold, *files)


def check_engine(table: EngineConfig) -> None:
    """UsageError if the library or the certificates of an engine cannot be used; its scheduler is not asked."""
    from dreamcatcherd.engine.usable import check_certificates, check_library  # commands that run once need neither

    check_library(table.kind)
    check_certificates(*certificate_files(table))


def certificate_files(table: EngineConfig) -> tuple[Path | None, Path | None, Path | None]:
    """The files of authority, certificate and key."""
    named = (table.ca_file, table.tls_cert, table.tls_key)
    ca_file, certificate, key = (Path(name).expanduser().absolute() if name else None for name in named)
    return ca_file, certificate, key
