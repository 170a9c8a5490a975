"""Real file systems on loop devices, whose power can be cut; only root may mount them.

The image behind a mounted file system has only what the kernel has handed to the disk. A copy of it is the disk after a
power cut: mounting it recovers the journal, as a reboot does."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import NamedTuple


class FileSystem(NamedTuple):
    """A file system: how it is made and mounted, and the size of its image in MiB. Its own timer writes nothing out
    during a trial, so that only what is synced is sure to be there. A copy of an XFS has the UUID of the first one,
    which may be mounted still."""

    name: str
    make: tuple[str, ...]
    options: str
    mib: int


SYSTEMS = (
    FileSystem("ext4", ("mkfs.ext4", "-q", "-F", "-m0"), "commit=900", 64),
    FileSystem(
        "ext4, data=writeback", ("mkfs.ext4", "-q", "-F", "-m0"), "commit=900,data=writeback,noauto_da_alloc", 64
    ),
    FileSystem("xfs", ("mkfs.xfs", "-q", "-f"), "nouuid", 320),
)


def _run(*words: str | Path) -> None:
    subprocess.run(words, check=True, capture_output=True)


class Mounted:
    """A file system in an image, mounted on a folder."""

    def __init__(self, system: FileSystem, folder: Path, at: Path) -> None:
        self._system, self._folder, self._at = system, folder, at
        self._image = folder / "disk-0"
        self._cuts = 0
        with self._image.open("wb") as file:
            file.truncate(system.mib << 20)
        _run(*system.make, self._image)
        self._mount()

    def _mount(self) -> None:
        options = f"loop,{self._system.options}".rstrip(",")
        _run("mount", "-o", options, self._image, self._at)

    def sync(self) -> None:
        """Let all be on the disk."""
        _run("sync", "-f", self._at)

    def cut(self) -> Path:
        """A copy of the disk as it is now."""
        self._cuts += 1
        copy = self._folder / f"disk-{self._cuts}"
        _run("cp", "--sparse=always", self._image, copy)
        return copy

    def boot(self, copy: Path) -> None:
        """Mount a copy in the place of the disk."""
        self.close()
        self._image.unlink()
        self._image = copy
        self._mount()

    def close(self) -> None:
        """Unmount it. Lazily: this process may still have packs of a repository open, by libgit2."""
        _run("umount", "--lazy", self._at)
