"""Files of export and import: written completely or not at all, as tar or zstd if wanted."""

from __future__ import annotations

import importlib
import io
import sys
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from dreamcatcherd.cli.common import read_stdin, shown_json
from dreamcatcherd.core.errors import RefusedError, UsageError
from dreamcatcherd.git.atomic_write import is_special, write_atomically

_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
UNPACKED_MOST = 2**31
"""The limit of decompressed bytes: a few kilobytes can expand to any size."""


def write_out(pieces: Iterable[bytes], output: Path | None, *, text: bool = True) -> None:
    """Write pieces to a file, which appears under its name when it is complete, or to stdout. `text`: they are JSON.

    On a terminal, characters that it would obey are escaped; UsageError for anything but JSON. A device or a pipe is
    written to as it is."""
    if output is None:
        terminal = sys.stdout.isatty()
        if terminal and not text:
            raise UsageError("binary data cannot be shown on a terminal", "name a file: -o FILE")
        for piece in pieces:
            sys.stdout.buffer.write(shown_json(piece.decode()).encode() if terminal else piece)
        sys.stdout.buffer.flush()
        return
    write_file(output, pieces)


def write_file(output: Path, pieces: Iterable[bytes]) -> None:
    """Write pieces to a file that appears when it is complete; a link stays one. A device or a pipe is written to."""
    if is_special(output):
        with output.open("wb") as file:
            file.writelines(pieces)
        return
    write_atomically(output.resolve() if output.is_symlink() else output, pieces)


def read_in(file: Path) -> bytes:
    """The bytes of a file, or of stdin for `-`, decompressed; UsageError if it cannot be read."""
    try:
        raw = read_stdin() if str(file) == "-" else file.read_bytes()
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}", "name a readable file") from error
    return decompressed(raw) if raw.startswith(_ZSTD_MAGIC) else raw


def tar_bytes(files: Iterable[tuple[str, bytes]]) -> bytes:
    """A tar without times and owners: the same files give the same bytes."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, raw in files:
            member = tarfile.TarInfo(name)
            member.size = len(raw)
            tar.addfile(member, io.BytesIO(raw))
    return out.getvalue()


def tar_files(raw: bytes) -> dict[str, bytes]:
    """The plain files of a tar, by name; RefusedError if it is damaged."""
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(raw), mode="r:") as tar:
            for member in tar:
                if member.issparse():
                    raise RefusedError(f"the tar has {member.name!r} with holes in it", "write it with export")
                opened = tar.extractfile(member) if member.isfile() else None
                if opened is not None:
                    found[member.name] = opened.read()
    except (tarfile.TarError, OSError, EOFError) as error:
        raise RefusedError(f"the tar cannot be read: {error}", "write it again") from error
    return found


def is_tar(raw: bytes) -> bool:
    """Whether the bytes are a tar."""
    return raw[257:262] == b"ustar"  # at this offset in the header of the first file


def compressed(raw: bytes) -> bytes:
    """The bytes as one zstd frame."""
    module = _zstd()
    return bytes(module.compress(raw))


def decompressed(raw: bytes) -> bytes:
    """The decompressed bytes; RefusedError if they are damaged."""
    module = _zstd()
    try:
        if module.__name__ == "zstandard":
            # Concatenated frames are one stream for the zstd command, and so they are here.
            with module.ZstdDecompressor().stream_reader(raw, read_across_frames=True) as reader:
                return _bounded(reader)
        with module.open(io.BytesIO(raw)) as reader:
            return _bounded(reader)
    except module.ZstdError as error:
        raise RefusedError(f"the zstd file is damaged: {error}", "write it again") from error


def _bounded(reader: Any) -> bytes:
    """All bytes of a reader; RefusedError beyond `UNPACKED_MOST`."""
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
