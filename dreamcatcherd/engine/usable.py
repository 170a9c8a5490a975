"""Whether an engine can be used on this machine: its library, its certificates, and its scheduler.

The first two are looked at when a configuration is read, so that no close is the first to find out; the scheduler is
asked by `doctor` alone."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from dreamcatcherd.core.errors import UsageError
from dreamcatcherd.engine.selection import Engine, EngineKind, without_library

_LIBRARIES = ("dask", "distributed")


def check_library(kind: EngineKind) -> None:
    """UsageError if the library of an engine is not installed. It is not loaded, which takes a second."""
    missing = [name for name in _LIBRARIES if kind == "dask" and find_spec(name) is None]
    if missing:
        raise UsageError(*without_library(missing[0]))


def check_certificates(ca_file: Path | None, certificate: Path | None, key: Path | None) -> None:
    """UsageError if a file for the TLS of a scheduler cannot be used; nothing without files."""
    for name, file in (("ca_file", ca_file), ("tls_cert", certificate), ("tls_key", key)):
        try:
            if file is not None:
                file.read_bytes()
        except OSError as error:
            cause = f"{file} ({name}) cannot be read: {error.strerror}"
            raise UsageError(cause, "let the daemon's user read it") from error
    import ssl  # few configurations have any

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        if ca_file is not None:
            context.load_verify_locations(ca_file)
    except (ssl.SSLError, ValueError) as error:
        remedy = "name a PEM file with the certificate of the authority in [engine] ca_file"
        raise UsageError(f"{ca_file} (ca_file) cannot be used: {error}", remedy) from error
    try:
        if certificate is not None and key is not None:
            context.load_cert_chain(certificate, key, lambda: "")
    except (ssl.SSLError, ValueError) as error:
        remedy = "name a PEM certificate and its key without passphrase in [engine] tls_cert and tls_key"
        raise UsageError(f"{certificate} and {key} cannot be used: {error}", remedy) from error


def ask_scheduler(engine: Engine, patience_s: float) -> int:
    """How many threads the workers of a scheduler have together, each of them of this version. UsageError without the
    library; RetryableError if the scheduler cannot be reached, or has no workers within `patience_s`."""
    check_library("dask")
    from dreamcatcherd.engine.dask_pool import DaskPool, security_of

    security = security_of(engine.ca_file, engine.tls_cert, engine.tls_key)
    pool = DaskPool(engine.scheduler, engine.workers, security, None, None, patience_s)
    try:
        return pool.workers
    finally:
        pool.close()
