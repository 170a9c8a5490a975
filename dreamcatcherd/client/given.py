"""What a worker hands over: deltas as files, bytes or objects, and their attachments. Owns reading them from disk."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from dreamcatcherd.core.codec import canonical, read_document, references, too_large
from dreamcatcherd.core.errors import UsageError
from dreamcatcherd.core.model import Fault, Json
from dreamcatcherd.core.paths import attachment_paths
from dreamcatcherd.core.settings import Limits

GivenDelta = str | Path | bytes | Mapping[str, Json]
"""A delta: the path of its file, its bytes, or its JSON object."""

GivenAttachments = Iterable[str | Path] | Mapping[str, str | bytes | Path]
"""Attachments: files, or texts, bytes and files by the name that the delta's `*_ref` field has."""

_ANY = "state/stream_deltas/0/delta.json"


class Given(Struct, frozen=True):
    """A delta as it was handed over: how messages name it, its bytes or why they are not read, and its attachments by
    reference."""

    name: str
    raw: bytes
    fault: Fault | None = None
    attached: Mapping[str, bytes] = {}


def read_given(delta: GivenDelta, attachments: GivenAttachments, limits: Limits, name: str | None = None) -> Given:
    """Read one delta, and those attachments that its `*_ref` fields name: from `attachments`, else, for a file, from
    the files beside it, in the layout of docs/protocol.md#the-repository.

    UsageError if a file cannot be read."""
    path = Path(delta) if isinstance(delta, (str, Path)) else None
    shown = name or (str(path) if path else "the delta")
    if path is not None:
        if path.is_symlink():
            return Given(shown, b"", Fault("not-a-file", "a symbolic link is not a delta"))
        if path.exists() and not path.is_file():
            return Given(shown, b"", Fault("not-a-file", "not a plain file"))
        raw = _read(path, limits.delta_bytes + 1)
    else:
        raw = delta if isinstance(delta, bytes) else object_bytes(delta)
    if len(raw) > limits.delta_bytes:
        size = path.stat().st_size if path else len(raw)
        return Given(shown, b"", too_large(size, limits.delta_bytes))
    document = read_document(raw, limits)
    if isinstance(document, Fault):
        return Given(shown, raw, document)
    named = list(references(document))
    found = _named(named, attachments, limits)
    if path is not None:
        for reference in named:
            if reference not in found and (beside := _beside(path, reference)) is not None:
                found[reference] = _read(beside, limits.delta_bytes)
    return Given(shown, raw, None, found)


def check_attachments(attachments: GivenAttachments, given: Sequence[Given]) -> None:
    """UsageError if no delta names one of the attachments: it would be lost."""
    used = {reference for one in given for reference in one.attached}
    # A delta that cannot be read may name anything.
    if any(one.fault is not None for one in given):
        return
    for name in attachments:
        if not any(_is_named(reference, str(name)) for reference in used):
            cause = f"no *_ref field names the attachment {name}"
            raise UsageError(cause, 'name it in the delta, as in "body_ref": "text.md", or leave it out')


def object_bytes(delta: object) -> bytes:
    """The bytes of a delta's file from its JSON object; UsageError for what JSON cannot hold.

    They are in the one canonical form, so that the same delta given twice is the same delta."""
    if not isinstance(delta, Mapping):
        raise UsageError(f"a delta is not {type(delta).__name__}", "give a path, bytes or an object")
    try:
        # The canonical form has null for numbers that are not finite, and nothing may change silently.
        json.dumps(dict(delta), allow_nan=False)
        return canonical(dict(delta))
    except (TypeError, ValueError, msgspec.MsgspecError, RecursionError) as error:
        what = "a number that is not finite" if "JSON compliant" in str(error) else f"{error}"[:200]
        raise UsageError(f"the delta is not JSON: {what}", "write numbers and texts that JSON has") from error


def _named(references: Sequence[str], attachments: GivenAttachments, limits: Limits) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    given = attachments if isinstance(attachments, Mapping) else {str(file): Path(file) for file in attachments}
    for name, content in given.items():
        for reference in references:
            if reference not in found and _is_named(reference, name) and attachment_paths(_ANY, 0, reference):
                found[reference] = _content(name, content, limits.delta_bytes)
    return found


def _is_named(reference: str, name: str) -> bool:
    """Whether a reference names a file by its path, or by the last parts of it."""
    return name == reference or name.endswith(f"/{reference}")


def _content(name: str, content: str | bytes | Path, most: int) -> bytes:
    raw = _read(content, most + 1) if isinstance(content, Path) else content
    raw = raw.encode() if isinstance(raw, str) else raw
    if len(raw) > most:
        raise UsageError(f"the attachment {name} has more than {most} bytes", "shorten it, or raise delta_bytes")
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(f"the attachment {name} is not UTF-8", "encode it as UTF-8, or leave it out") from error
    return raw


def _beside(delta: Path, reference: str) -> Path | None:
    """The file that a reference names beside a delta's file: in the folder of the delta's name, else next to it."""
    for place in attachment_paths(_ANY, 0, reference):
        own, _, below = place.removeprefix("state/stream_deltas/0/").partition("/")
        inside = own == "delta" and below == reference
        file = delta.with_name(delta.name.removesuffix(".json")) / reference if inside else delta.parent / reference
        if file.is_file() and not file.is_symlink():
            return file
    return None


def _read(file: Path, most: int) -> bytes:
    """At most so many bytes of a file: an endless one is not read."""
    try:
        with file.open("rb") as opened:
            return opened.read(most)
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}", "name a readable file") from error
