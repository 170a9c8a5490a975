"""Files that leave or enter: written whole or not at all; tar and zstd as containers."""

from __future__ import annotations

import importlib
import io
import sys
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from dreamcatcherd.cli.common import shown_json
from dreamcatcherd.core.errors import RefusedError, UsageError
from dreamcatcherd.git.atomic_write import write_atomically

_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
UNPACKED_MOST = 2**31
"""Bytes that a compressed file may hold: a few kilobytes can hold any number of them."""


def write_out(pieces: Iterable[bytes], output: Path | None, *, text: bool = True) -> None:
    """Write pieces to a file, which has its name only once it is whole, or to stdout. `text` says that they are JSON.

    A terminal gets the same JSON with escapes for what it would obey; UsageError where it is to get anything else."""
    if output is None:
        terminal = sys.stdout.isatty()
        if terminal and not text:
            raise UsageError("this is no text for a terminal", "name a file: -o FILE")
        for piece in pieces:
            sys.stdout.buffer.write(shown_json(piece.decode()).encode() if terminal else piece)
        sys.stdout.buffer.flush()
        return
    write_atomically(output, pieces)


def read_in(file: Path) -> bytes:
    """The bytes of a file, or of stdin for `-`, decompressed; UsageError where it cannot be read."""
    try:
        raw = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}", "name a readable file") from error
    return decompressed(raw) if raw.startswith(_ZSTD_MAGIC) else raw


def tar_bytes(files: Iterable[tuple[str, bytes]]) -> bytes:
    """A tar of files, the same for the same files: no times, no owners."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, raw in files:
            member = tarfile.TarInfo(name)
            member.size = len(raw)
            tar.addfile(member, io.BytesIO(raw))
    return out.getvalue()


def tar_files(raw: bytes) -> dict[str, bytes]:
    """The plain files of a tar, by name; RefusedError where it is damaged."""
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(raw), mode="r:") as tar:
            for member in tar:
                if member.issparse():
                    raise RefusedError(f"the tar holds {member.name!r} with holes in it", "write it with export")
                opened = tar.extractfile(member) if member.isfile() else None
                if opened is not None:
                    found[member.name] = opened.read()
    except (tarfile.TarError, OSError, EOFError) as error:
        raise RefusedError(f"the tar cannot be read: {error}", "write it again") from error
    return found


def is_tar(raw: bytes) -> bool:
    return raw[257:262] == b"ustar"


def compressed(raw: bytes) -> bytes:
    """The bytes as one zstd frame."""
    module = _zstd()
    return bytes(module.compress(raw))


def decompressed(raw: bytes) -> bytes:
    """What was compressed with zstd; RefusedError where it is damaged."""
    module = _zstd()
    try:
        if module.__name__ == "zstandard":
            with module.ZstdDecompressor().stream_reader(raw, read_across_frames=True) as reader:
                return _bounded(reader)
        with module.open(io.BytesIO(raw)) as reader:
            return _bounded(reader)
    except module.ZstdError as error:
        raise RefusedError(f"the zstd file is damaged: {error}", "write it again") from error


def _bounded(reader: Any) -> bytes:
    """All that a reader gives; RefusedError where that is more than a file may hold."""
    found = bytearray()
    while piece := reader.read(2**20):
        found += piece
        if len(found) > UNPACKED_MOST:
            cause = f"the zstd file holds more than {UNPACKED_MOST >> 20} MiB"
            raise RefusedError(cause, "if that is right, unpack it with zstd -d and name the result")
    return bytes(found)


def _zstd() -> Any:
    """Python's own module from 3.14 on, else the package `zstandard`."""
    for name in ("compression.zstd", "zstandard"):
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    raise UsageError("zstd is not installed here", "pip install 'dreamcatcherd[zstd]', or leave --zstd out")
