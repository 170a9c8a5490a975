"""The portable snapshot in other forms: one record a line (ndjson), or a file for each collection (tar).

Owns how an export is split into lines or files and joined again. It knows only the outer shape of the export, so a
member that a later version adds is carried along."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from urllib.parse import unquote

import msgspec

from dreamcatcherd.core.codec import canonical, read_as
from dreamcatcherd.core.errors import RefusedError
from dreamcatcherd.core.snapshot import file_name

HEAD = "snapshot.json"
MERGED_FILE = "merged.ndjson"
_STATE = "state/"
_END = ".ndjson"


class _Exported(msgspec.Struct):
    state: dict[str, list[msgspec.Raw]] = {}
    merged: dict[str, list[str]] = {}


class _Line(msgspec.Struct, forbid_unknown_fields=True):
    collection: str | None = None
    record: msgspec.Raw = msgspec.Raw()
    frame: str | None = None
    merged: list[str] = []


_Head = dict[str, msgspec.Raw]


def to_ndjson(raw: bytes) -> Iterator[bytes]:
    """An export as lines: its head, then merged content ids by frame, then each record."""
    exported = read_as(raw, _Exported)
    yield _head_of(raw) + b"\n"
    for frame, ids in exported.merged.items():
        yield canonical({"frame": frame, "merged": ids}) + b"\n"
    for name, records in exported.state.items():
        for record in records:
            yield b'{"collection":%s,"record":%s}\n' % (canonical(name), bytes(record))


def from_ndjson(raw: bytes) -> bytes:
    """The export that `to_ndjson` split; RefusedError if the lines are not one."""
    first, *lines = raw.splitlines()
    state: dict[str, list[bytes]] = {}
    merged: dict[str, list[str]] = {}
    try:
        for text in lines:
            line = read_as(text, _Line)
            if line.collection is not None and bytes(line.record):
                state.setdefault(line.collection, []).append(bytes(line.record))
            elif line.frame is not None:
                merged[line.frame] = line.merged
            else:
                raise ValueError(f"the line {text[:60].decode('utf-8', 'replace')!r} is neither record nor merged ids")
        return _joined(first, state, merged)
    except (ValueError, msgspec.DecodeError) as error:
        raise _unreadable(error) from error


def to_files(raw: bytes) -> Iterator[tuple[str, bytes]]:
    """An export as files: `snapshot.json`, `merged.ndjson`, and `state/<collection>.ndjson` with a record a line."""
    exported = read_as(raw, _Exported)
    yield HEAD, _head_of(raw) + b"\n"
    lines = (canonical({"frame": frame, "merged": ids}) + b"\n" for frame, ids in exported.merged.items())
    yield MERGED_FILE, b"".join(lines)
    for name, records in exported.state.items():
        yield f"{_STATE}{file_name(name)}{_END}", b"".join(bytes(record) + b"\n" for record in records)


def from_files(files: Mapping[str, bytes]) -> bytes:
    """The export that `to_files` split; RefusedError if the files are not one. The name of a collection is taken from
    the name of its file, so files must not be renamed."""
    try:
        lines = (read_as(raw, _Line) for raw in files[MERGED_FILE].splitlines())
        merged = {line.frame or "": line.merged for line in lines}
        state = {
            unquote(path.removeprefix(_STATE).removesuffix(_END)): raw.splitlines()
            for path, raw in files.items()
            if path.startswith(_STATE)
        }
        return _joined(files[HEAD], state, merged)
    except (KeyError, ValueError, msgspec.DecodeError) as error:
        raise _unreadable(error) from error


def is_ndjson(raw: bytes) -> bool:
    """Whether bytes begin like the output of `to_ndjson`: with a line that is a complete object without `state`."""
    try:
        return "state" not in read_as(raw.partition(b"\n")[0], _Head)
    except msgspec.DecodeError:
        return False


def _head_of(raw: bytes) -> bytes:
    head = {name: value for name, value in read_as(raw, _Head).items() if name not in ("state", "merged")}
    return b"{" + b",".join(canonical(name) + b":" + bytes(head[name]) for name in sorted(head)) + b"}"


def _joined(first: bytes, state: Mapping[str, Iterable[bytes]], merged: dict[str, list[str]]) -> bytes:
    parts = {name: bytes(value) for name, value in read_as(first, _Head).items()}
    parts["merged"] = canonical(merged)
    parts["state"] = (
        b"{" + b",".join(canonical(name) + b":[" + b",".join(lines) + b"]" for name, lines in state.items()) + b"}"
    )
    return b"{" + b",".join(canonical(name) + b":" + raw for name, raw in parts.items()) + b"}"


def _unreadable(error: Exception) -> RefusedError:
    return RefusedError(f"not an exported snapshot: {error}", "use a file that dreamcatcherd export wrote")
