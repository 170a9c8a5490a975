"""Whether the bytes of one file would merge as a delta (docs/protocol.md#commands, `validate`).

Pure: the command, the API and the agents' tool give the same answer."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from msgspec import Struct

from dreamcatcherd.core.advice import advise
from dreamcatcherd.core.codec import read_document, references, too_large
from dreamcatcherd.core.decimals import read_exactly
from dreamcatcherd.core.header import count_records, read_header
from dreamcatcherd.core.model import Delta, Fault, Version
from dreamcatcherd.core.paths import bad_name, in_repository, loose_frame_of
from dreamcatcherd.core.settings import Settings
from dreamcatcherd.core.tree import FILE

NO_PATH = "-"
"""The name of bytes that come without a path: the path's frame and the file's name are not checked."""


class ValidationRow(Struct, frozen=True):
    """Whether one file would merge: `reason`, `at` (a JSON path) and `detail` if not, `warnings` if it would."""

    path: str
    ok: bool
    reason: str | None
    at: str | None
    detail: str | None
    warnings: list[str]


def check_delta(
    raw: bytes,
    path: str,
    settings: Settings,
    open_frame: int | None,
    missing: Callable[[Iterable[str]], Iterable[str]] = lambda _: (),
) -> Fault | list[str]:
    """The reason to quarantine a delta, or the warnings if it would merge.

    `path` may lie in any folder; its part from a delta root on counts. `NO_PATH` is none. `missing` gives those
    of the delta's references that resolve to nothing; without it none is looked up."""
    limits, intake = settings.limits, settings.intake
    if len(raw) > limits.delta_bytes:
        return too_large(len(raw), limits.delta_bytes)
    path_frame = None if path == NO_PATH else loose_frame_of(path, intake.roots)
    if path_frame is not None and (why := bad_name(in_repository(path, intake.roots), intake.roots)) is not None:
        return Fault("bad-name", why)
    document = read_document(raw, limits)
    if isinstance(document, Fault):
        return document
    header = read_header(document, path_frame, intake)
    used = intake.header if isinstance(header, Fault) else header.paths
    if (records := count_records(document, used, settings.sections)) > limits.records:
        return Fault("too-many-records", f"{records} records, the limit is {limits.records}")
    if isinstance(header, Fault):
        return header
    unresolved = tuple(missing(references(document)))
    version = Version(path, "0" * 40, FILE, "0" * 40)
    read_exactly(raw, document, settings.summed)
    place = (header.frame, header.utc, header.stream_id)
    found = advise(
        Delta(version, *place, "0" * 40, document, header.paths, unresolved=unresolved), settings, open_frame
    )
    if path != NO_PATH and not path.endswith(".json"):
        found.append("the name of a delta file ends in .json: under this name it is never merged")
    return found


def validation_row(path: str, found: Fault | list[str]) -> ValidationRow:
    """The row that `validate --json` prints and the API answers."""
    if isinstance(found, Fault):
        return ValidationRow(path, False, found.reason, found.at, found.detail, [])
    return ValidationRow(path, True, None, None, None, found)
