"""What a power cut leaves of a folder: a model of files, names, and what `fsync` promises of each.

POSIX promises the content of a file that was synced, and the names of a folder that was synced; of all else, either may
be there. `Disk` follows the changes of a traced command and knows both sides: what was promised, and what the processes
saw. `remains` builds a folder from them:

    neither   what was promised, and nothing else
    names     all names, and of the files only what was synced: a renamed file is there and empty (XFS, ext4)
    data      the names that were promised, and in them all that was written
    journal   names up to some change after the last sync (a journal keeps their order, and each sync writes it out),
              and of each file what was synced, all of it, or a part

Not modelled: sectors that are written half, a device that loses what it confirmed."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from random import Random
from typing import Literal

from tests.crash.changes import CLOSE, OPEN, SYNC, Change

Remains = Literal["neither", "names", "data", "journal"]
REMAINS: tuple[Remains, ...] = ("neither", "names", "data", "journal")


class File:
    """A file, whatever its names are: what was synced of it last, and what it held at the end."""

    def __init__(self, synced: bytes, mode: int = 0o644) -> None:
        self.synced = self.now = synced
        self.mode = mode


class Folder:
    """A folder: its names as processes see them, and as its last sync left them."""

    def __init__(self) -> None:
        self.names: dict[str, File | Folder] = {}
        self.kept: dict[str, File | Folder] = {}


class Disk:
    """The folder `root`, from before a command on. All that is there at the beginning counts as synced."""

    def __init__(self, root: Path) -> None:
        self._root = str(root.resolve())
        self.top = _read(root)
        self.journal: list[dict[str, File]] = []

    def follow(self, changes: Iterable[Change], synced: Path) -> None:
        """Do again what changes did; `synced` is the folder with what each synced file held."""
        self.journal = [dict(files_of(self.top, kept=False))]
        for change in changes:
            if change.result < 0:
                continue
            renamed = self._apply(change, synced)
            if change.bits & SYNC:  # a sync writes out the journal: what was before it cannot be undone
                self.journal = [dict(files_of(self.top, kept=False))]
            elif renamed:
                self.journal.append(dict(files_of(self.top, kept=False)))

    def see(self) -> None:
        """Note what the files hold now, at the end of the changes."""
        for path, file in files_of(self.top, kept=False):
            real = Path(self._root, path)
            if real.is_file():
                file.now, file.mode = real.read_bytes(), real.stat().st_mode & 0o777

    def remains(self, which: Remains, random: Random) -> dict[str, tuple[bytes, int]]:
        """What a power cut leaves: the content and mode of each file, by its path below the root."""
        if which == "journal":
            return {path: (_part(file, random), file.mode) for path, file in random.choice(self.journal).items()}
        names = files_of(self.top, kept=which in ("neither", "data"))
        return {path: (file.now if which == "data" else file.synced, file.mode) for path, file in names}

    def folders(self, which: Remains) -> set[str]:
        """The folders that a power cut leaves, also the empty ones: git makes those of a repository once."""
        return set(_folders_of(self.top, which in ("neither", "data")))

    def _place(self, path: str) -> tuple[Folder, str] | None:
        """The folder that a path's last name is in, and that name; None for what is not below the root any more."""
        *above, name = os.path.relpath(path, self._root).split("/")
        folder = self.top
        for part in above:
            found = folder.names.get(part)
            if not isinstance(found, Folder):
                return None
            folder = found
        return folder, name

    def _at(self, path: str) -> File | Folder | None:
        if path == self._root:
            return self.top
        place = self._place(path)
        return place[0].names.get(place[1]) if place else None

    def _apply(self, change: Change, synced: Path) -> bool:
        """Apply one change; returns whether a name changed."""
        if change.bits & SYNC:
            self._sync(self._at(change.path), synced / str(change.number))
            return False
        place = self._place(change.path)
        if place is None or change.bits & CLOSE:
            return False
        folder, name = place
        if change.bits & OPEN:
            if name in folder.names:
                return False
            folder.names[name] = File(b"", change.mode)
        elif change.call in ("mkdir", "mkdirat"):
            folder.names[name] = Folder()
        elif change.call in ("unlink", "unlinkat", "rmdir"):
            folder.names.pop(name, None)
        elif change.call.startswith(("rename", "link")):
            target = self._place(change.path2)
            if target is None or name not in folder.names:
                return False
            target[0].names[target[1]] = folder.names[name] if "link" in change.call else folder.names.pop(name)
        else:
            return False
        return True

    def _sync(self, found: File | Folder | None, copy: Path) -> None:
        if isinstance(found, Folder):
            found.kept = dict(found.names)
        elif found is not None and copy.exists():
            found.synced = found.now = copy.read_bytes()  # what it held, if it is deleted before `see`


def files_of(folder: Folder, kept: bool, above: str = "") -> Iterator[tuple[str, File]]:
    """The files below a folder, by path: with the names that were synced, or with all."""
    for name, one in (folder.kept if kept else folder.names).items():
        if isinstance(one, Folder):
            yield from files_of(one, kept, f"{above}{name}/")
        else:
            yield f"{above}{name}", one


def _folders_of(folder: Folder, kept: bool, above: str = "") -> Iterator[str]:
    for name, one in (folder.kept if kept else folder.names).items():
        if isinstance(one, Folder):
            yield f"{above}{name}"
            yield from _folders_of(one, kept, f"{above}{name}/")


def _part(file: File, random: Random) -> bytes:
    """What a cut may leave of a file: what was synced, all, or half of what was added since."""
    if file.now == file.synced:
        return file.now
    cut = len(file.synced) + random.randrange(max(1, len(file.now) - len(file.synced)))
    return random.choice([file.synced, file.now, file.now[:cut]])


def _read(path: Path) -> Folder:
    found = Folder()
    for entry in os.scandir(path):
        one = Path(entry.path)
        mode = entry.stat().st_mode & 0o777
        found.names[entry.name] = _read(one) if entry.is_dir() else File(one.read_bytes(), mode)
    found.kept = dict(found.names)
    return found


def write(folder: Path, folders: Iterable[str], files: dict[str, tuple[bytes, int]]) -> None:
    """Make these folders and files in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in folders:
        (folder / name).mkdir(parents=True, exist_ok=True)
    for name, (raw, mode) in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(raw)
        path.chmod(mode)
