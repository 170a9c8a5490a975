"""Writing a file so that it has its name only once it is complete."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path


def is_special(path: Path) -> bool:
    """Whether a path is a device or a pipe: to rename a file over it would take it from the machine."""
    return path.exists() and not path.is_file() and not path.is_dir()


def write_atomically(
    path: Path, data: bytes | Iterable[bytes], mode: int | None = None, *, durable: bool = False
) -> None:
    """Write a file under a temporary name in the same folder, then rename it; if that fails, nothing is left behind.

    `durable` syncs the file and its name to the disk first: it is there after a power cut, complete."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with unfinished.open("wb") as file:
            file.writelines([data] if isinstance(data, bytes) else data)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        if mode is not None:
            unfinished.chmod(mode)
        unfinished.replace(path)
        if durable:
            sync_folder(path.parent)
    finally:
        unfinished.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_all(folder: Path) -> None:
    """Make a new folder durable, with all that is in it, and its own name: git syncs neither the files nor the names of
    a repository that it makes."""
    for path in (folder, *folder.rglob("*")):
        if path.is_dir():
            sync_folder(path)
        elif not path.is_symlink():
            with path.open("rb") as file:
                os.fsync(file.fileno())
    sync_folder(folder.parent)
