"""`make crash-disks`, as root: does the model of a power cut tell the truth? Real file systems on loop devices answer.

The image behind a mounted file system has only what the kernel has handed to the disk. A copy of it, made at the moment
in which the processes are killed, is the disk after a power cut: mounting it recovers the journal, as a reboot does. In
each trial the kernel's answer must be one that the model allows, and the primary goes on from it as in `trials`. Not
shown: a disk that loses or reorders what it has confirmed, or writes half a sector."""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.crash.changes import missing_parts, trace
from tests.crash.power import Disk
from tests.crash.scenes import SCENES, Place
from tests.crash.trials import Judge, Kind, Trial, points
from tests.e2e.tools import close_warm, missing

CUT = Kind("power cut", "before", 0, "journal")
TRIED = ("path", "adopted", "packs")


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


def _allowed(disk: Disk, root: Path) -> tuple[list[str], bool]:
    """What a real disk shows that the model does not allow; and whether it lost anything."""
    real = {path.relative_to(root).as_posix(): path for path in root.rglob("*") if path.is_file()}
    if not any(set(real) == set(names) for names in disk.journal):
        near = min(disk.journal, key=lambda names: len(set(names) ^ set(real)))
        return [f"names: {sorted(set(near) ^ set(real))}"], True
    names = next(names for names in disk.journal if set(real) == set(names))
    last = disk.journal[-1]
    wrong, lost = [], names.keys() != last.keys()
    for name, file in names.items():
        raw = real[name].read_bytes()
        if last.get(name) is file and raw != file.now:
            lost = True
            if raw != file.synced and not file.now.startswith(raw.rstrip(b"\0")):
                wrong.append(f"content of {name}: {raw[:80]!r}")
    return wrong, lost


def trial(judge: Judge, mounted: Mounted, at: int) -> tuple[Trial, list[str], bool]:
    """Cut the power before a change; returns what became of it, what the model did not allow, and whether anything that
    was written is gone."""
    place = judge.place
    place.reset()
    mounted.sync()
    disk = Disk(place.root)
    run = trace(place.interrupted(), place.root, place.scratch, "before", at)
    copy = mounted.cut()
    disk.follow(run.changes, place.scratch / "synced")
    disk.see()
    mounted.boot(copy)
    wrong, lost = _allowed(disk, place.root)
    return judge.judged(CUT, at, run), wrong, lost


@contextlib.contextmanager
def _judge_on(system: FileSystem, scene: str) -> Iterator[tuple[Judge, Mounted]]:
    folder = Path(tempfile.mkdtemp(prefix="crash-disk-"))
    root = folder / "place" / "root"
    root.mkdir(parents=True)
    try:
        mounted = Mounted(system, folder, root)
        try:
            with contextlib.closing(Place(next(one for one in SCENES if one.name == scene), folder / "place")) as place:
                yield Judge(place), mounted
        finally:
            mounted.close()
    finally:
        shutil.rmtree(folder)


def main() -> int:
    """Make all trials on all file systems; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash.disks", description=__doc__)
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--only", default="", help="the name of one file system")
    asked = parser.parse_args()
    if reason := missing_parts() or ("" if os.geteuid() == 0 else "only root mounts disks"):
        print(reason, file=sys.stderr)
        return 2
    broken = 0
    print("| file system | scene | trials | lost something unsynced | not as the model says | promise broken |")
    print("| --- | --- | --- | --- | --- | --- |")
    for system in (one for one in SYSTEMS if asked.only in ("", one.name)):
        if reason := missing(system.make[0]):
            print(f"{system.name}: {reason}", file=sys.stderr)
            continue
        for scene in TRIED:
            with _judge_on(system, scene) as (judge, mounted):
                counts: Counter[str] = Counter()
                for at in points(CUT, judge.changes)[:: asked.every]:
                    one, wrong, lost = trial(judge, mounted, at)
                    counts += Counter(trials=1, lost=lost, model=bool(wrong), broken=bool(one.wrong))
                    for line in (*wrong, *one.wrong):
                        print(f"{system.name}, {scene}, change {at}, {one.change}: {line}", file=sys.stderr)
            cells = (counts[name] for name in ("trials", "lost", "model", "broken"))
            print(f"| {system.name} | {scene} | {' | '.join(map(str, cells))} |", flush=True)
            broken += counts["model"] + counts["broken"]
    close_warm()
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
