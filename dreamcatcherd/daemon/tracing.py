"""`[otel]` as what the traces of a daemon need, with the contents of its files."""

from __future__ import annotations

import re

from dreamcatcherd.config_files import credential_file
from dreamcatcherd.config_tables import OtelConfig
from dreamcatcherd.core.errors import UsageError
from dreamcatcherd.observe.frame_trace import TraceTarget
from dreamcatcherd.observe.traces import check_target

_PATH = "/v1/traces"
_HEADER = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([!-~](?:[ -~\t]*[!-~])?)[ \t]*")


def read_tracing(otel: OtelConfig, repository: str) -> TraceTarget | None:
    """Where traces are sent, or None; UsageError if a file cannot be used or the extra is not installed."""
    if otel.endpoint is None:
        return None
    base = otel.endpoint.rstrip("/")
    ca_file = credential_file("otel", "ca_file", otel.ca_file)
    target = TraceTarget(
        url=base if base.endswith(_PATH) else base + _PATH,
        repository=repository,
        headers=_headers(otel),
        ca_file=str(ca_file) if ca_file else None,
    )
    check_target(target)
    return target


def _headers(otel: OtelConfig) -> tuple[tuple[str, str], ...]:
    path = credential_file("otel", "headers_file", otel.headers_file)
    if path is None:
        return ()
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not UTF-8"
        raise UsageError(f"{path} (headers_file) cannot be read: {why}", "let the daemon's user read it") from error
    found = [_HEADER.fullmatch(line) for line in lines if line.strip()]
    if not all(found):  # the line may be a token alone: it is not shown
        raise UsageError(f"{path} holds a line that is no header", "write each as `name: value`, one a line")
    return tuple((match[1], match[2]) for match in found if match)
