"""`make crash-disks`, as root: does the model of a power cut tell the truth? Real file systems on loop devices answer.

In each trial what the kernel recovers must be something that the model allows, and the primary goes on from it as in
`trials`. Not shown: a disk that loses or reorders what it has confirmed, or writes half a sector.

A second table is of a server that loses power right after it acknowledged a worker's push. git syncs the objects and
the content of the ref (`core.fsync`), and not the folder in which the ref gets its name. The hook that `init` installs
does that, once a ref has moved and before git answers."""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from dreamcatcherd.hook.install import install_hook
from tests.crash.changes import missing_parts, trace
from tests.crash.disks import SYSTEMS, FileSystem, Mounted
from tests.crash.power import Disk
from tests.crash.scenes import SCENES, Place
from tests.crash.trials import Judge, Kind, Trial, points
from tests.e2e.tools import clone, close_warm, dc, delta, git, missing, push, try_git

CUT = Kind("power cut", "before", 0, "journal")
TRIED = ("path", "adopted", "packs")


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


def _kept(system: FileSystem, folder: Path, hook: bool) -> bool:
    """Whether a new lane is there after a push to it was acknowledged and the power was cut; `hook` says whether the
    folders of refs are synced."""
    at = folder / "server"
    at.mkdir()
    mounted = Mounted(system, folder, at)
    try:
        fleet = at / "fleet.git"
        dc("init", "--no-hook", str(fleet))
        if hook:
            install_hook(fleet, "reference-transaction")
        worker = clone(fleet, folder / "worker")
        mounted.sync()
        acknowledged = push(
            worker, {"state/stream_deltas/1/a.json": delta(1, "a", observations=[1])}, "refs/heads/dc/a"
        )
        mounted.boot(mounted.cut())
        assert try_git(fleet, "fsck", "--full").returncode == 0
        return git(fleet, "rev-parse", "--verify", "-q", "refs/heads/dc/a", check=False) == acknowledged
    finally:
        mounted.close()


def main() -> int:
    """Make all trials on all file systems; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash.truth", description=__doc__)
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
    broken += _pushes(asked.only)
    close_warm()
    return 1 if broken else 0


def _pushes(only: str) -> int:
    """Print what a power cut leaves of an acknowledged push; returns how often the synced name was not there."""
    lost = 0
    print("\n| file system | a pushed ref is there | with its folder synced by a hook |\n| --- | --- | --- |")
    for system in (one for one in SYSTEMS if only in ("", one.name) and not missing(one.make[0])):
        with contextlib.ExitStack() as stack:
            folders = [Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="crash-disk-"))) for _ in range(2)]
            plain, hooked = (_kept(system, folder, hook) for folder, hook in zip(folders, (False, True), strict=True))
        print(f"| {system.name} | {'yes' if plain else 'no'} | {'yes' if hooked else 'no'} |", flush=True)
        lost += not hooked
    return lost


if __name__ == "__main__":
    sys.exit(main())
