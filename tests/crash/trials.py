"""One trial: a fault at one change of a close, then a start on a healthy disk, and what became of the deltas."""

from __future__ import annotations

import errno
import os
import re
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import NamedTuple

from dreamcatcherd.core.errors import DreamcatcherError
from dreamcatcherd.git.local import LocalStore
from dreamcatcherd.git.locks import MAINTAINED
from dreamcatcherd.git.maintenance import maintain
from dreamcatcherd.history.verify import read_history, verify_frame
from tests.crash.changes import OPEN, ROOM, SYNC, Change, Fault, Traced, trace
from tests.crash.power import REMAINS, Disk, Remains, write
from tests.crash.scenes import Place, clear
from tests.e2e.tools import invoke, try_git
from tests.law.fleet import MAIN

AGO_S = 60.0
"""How long after the fault the primary is started again, by the times of the locks that it left."""

OLD_S = 30 * 86_400.0
"""How old leftovers are made, to see that maintenance removes them."""


class Kind(NamedTuple):
    """A kind of fault: what the tracer does, with which error, and what a power cut leaves."""

    name: str
    fault: Fault
    error: int = 0
    remains: Remains | None = None


KINDS = (
    Kind("killed before", "before"),
    Kind("killed after", "after"),
    Kind("git killed", "one"),
    Kind("primary killed", "main"),
    Kind("EIO", "fail", errno.EIO),
    Kind("ENOSPC", "fill", errno.ENOSPC),
    *(Kind(f"power cut: {one}", "before", 0, one) for one in REMAINS),
)

CLOSED, PUBLISHED, RESTARTED = "closed at once", "already published", "closed on restart"
"""The outcomes: the interrupted command closed the frame and said so; it had published before it failed; the next start
closed it."""
NOT_REACHED = "not reached"
"""This run made fewer changes: nothing went wrong with it."""
OUTCOMES = (CLOSED, PUBLISHED, RESTARTED, NOT_REACHED)


class Trial(NamedTuple):
    """What became of one trial. `wrong` is empty if every promise was kept."""

    scene: str
    kind: str
    at: int
    change: str
    outcome: str
    wrong: list[str]
    leftovers: list[str]


RENAMING = ("mkdir", "rmdir", "unlink", "rename", "link", "symlink")
"""How the calls begin that change names."""


def plan(changes: list[Change]) -> list[tuple[int, list[Kind]]]:
    """All trials: the change that goes wrong, and the kinds of one fault that are tried there."""
    together: dict[tuple[int, Fault, int], list[Kind]] = {}
    for kind in KINDS:
        for at in points(kind, changes):
            together.setdefault((at, kind.fault, kind.error), []).append(kind)
    return [(at, kinds) for (at, _, _), kinds in sorted(together.items())]


def points(kind: Kind, changes: list[Change]) -> list[int]:
    """The numbers of the changes at which a kind of fault differs from the same one a change earlier, and makes sense.

    A call that fails anyway is left out, and only what takes up room finds the disk full. Who kills git, or the primary
    beside it, needs a git that runs. Killed after a change, a process leaves what it leaves if it is killed before its
    next one, so that counts where the next is another's. A power cut drops the same until something is synced, or until
    a name changes too."""
    before = [None, *changes]
    after = [*(one.program for one in changes[1:]), ""]
    if kind.fault == "fill":
        return [one.number for one in changes if one.bits & ROOM and one.result >= 0]
    if kind.fault == "fail":
        return [one.number for one in changes if one.result >= 0]
    if kind.fault in ("one", "main"):
        return [one.number for one in changes if one.program != "dreamcatcherd"]
    if kind.fault == "after":
        return [one.number for one, program in zip(changes, after, strict=True) if one.program != program]
    if kind.remains in ("neither", "names"):
        names = kind.remains == "names"
        return [
            one.number
            for one, last in zip(changes, before[:-1], strict=True)
            if last is None or last.bits & SYNC or (names and (last.bits & OPEN or last.call.startswith(RENAMING)))
        ]
    return [one.number for one in changes]


class Judge:
    """The trials in one place. A run without a fault says what must be published, and which changes there are."""

    def __init__(self, place: Place, seed: int = 1) -> None:
        self.place = place
        self.seed = seed
        place.reset()
        run = trace(place.interrupted(), place.root, place.scratch)
        assert run.code == 0, run.errors
        self.changes = run.changes
        self.wanted = place.published()
        self.names = _names(place.root)

    def trials(self, kinds: Sequence[Kind], at: int) -> list[Trial]:
        """Make a trial of each kind at one change. All need the same fault, so the close is interrupted once."""
        place = self.place
        place.reset()
        disk = Disk(place.root)
        run = trace(place.interrupted(), place.root, place.scratch, kinds[0].fault, at, kinds[0].error)
        disk.follow(run.changes, place.scratch / "synced")
        disk.see()
        struck = place.scratch / "struck"
        if len(kinds) > 1:
            place.save(struck)
        found = []
        for number, kind in enumerate(kinds):
            if number:
                place.restore(struck)
            if kind.remains is not None:
                random = Random(f"{self.seed} {at}")
                clear(place.root)
                write(place.root, disk.folders(kind.remains), disk.remains(kind.remains, random))
            found.append(self.judged(kind, at, run))
        return found

    def judged(self, kind: Kind, at: int, run: Traced) -> Trial:
        """What becomes of the place as it is now, after a fault."""
        before = self.place.published()
        wrong = self._failure(run)
        _pass_time(self.place.root)
        outcome = (CLOSED if run.code == 0 else PUBLISHED) if before == self.wanted else RESTARTED
        if len(run.changes) < at - 1:
            outcome = NOT_REACHED
        wrong += self._go_on()
        leftovers = self._leftovers()
        one = self.changes[at - 1]
        change = f"{one.program}: {one.call} {shown(one.path, self.place.root)}"
        return Trial(
            self.place.scene.name, kind.name, at, change, outcome, [*wrong, *self._checks(leftovers)], leftovers
        )

    def _failure(self, run: Traced) -> list[str]:
        """What is wrong with how the interrupted command failed: not one line, or a traceback."""
        if run.code in (0, 137):
            return []
        lines = run.errors.strip().splitlines()
        good = run.code == 3 and len(lines) == 1 and "Traceback" not in run.errors
        return [] if good else [f"the command ended with {run.code}: {run.errors.strip()[-300:]}"]

    def _go_on(self) -> list[str]:
        """Start again until the frame is closed, and the next one; returns what went wrong."""
        wrong = []
        done = invoke(*self.place.command(self.place.scene.frame + 1), timeout_s=600)
        if done.returncode:
            wrong.append(f"the next start ended with {done.returncode}: {done.stderr.decode().strip()[-300:]}")
        if (found := self.place.published()) != self.wanted:
            wrong.append(f"published {found.split()} in place of {self.wanted.split()}")
        return wrong

    def _checks(self, leftovers: list[str]) -> list[str]:
        """What is wrong with the repositories once the primary has gone on."""
        wrong = _differences(self.place.fleet)
        for folder in self.place.repositories():
            fsck = try_git(folder, "fsck", "--full", "--strict", "--no-dangling")
            if fsck.returncode:
                wrong.append(f"git fsck of {folder.name} ended with {fsck.returncode}: {fsck.stderr.strip()[-200:]}")
        if leftovers:
            wrong += [f"{name} is left for ever" for name in self._still_there(leftovers)]
        return wrong

    def _leftovers(self) -> list[str]:
        """Files that a run without a fault does not leave, by the form of their names."""
        return sorted(_names(self.place.root) - self.names - KNOWN)

    def _still_there(self, leftovers: list[str]) -> list[str]:
        """Those of some leftovers that maintenance does not remove once they are old."""
        for path in self.place.root.rglob("*"):
            if path.is_file():
                os.utime(path, (time.time() - OLD_S,) * 2)
        for folder in self.place.repositories():
            try:
                maintain(folder)
            except DreamcatcherError as error:
                return [f"maintenance failed: {error}"]
        return sorted(set(leftovers) & _names(self.place.root))


KNOWN = frozenset(
    f"{folder}/{name}"
    for folder in ("fleet.git", "clone")
    for name in ("objects/pack/pack-#.pack", "objects/pack/pack-#.idx", MAINTAINED)
)
"""Forms of names that are no leftovers: a close that failed may leave a pack, which maintenance joins to the others,
and some files are made when they are first needed."""


def _differences(repository: Path) -> list[str]:
    """What `verify` finds in a repository."""
    store = LocalStore(repository)
    try:
        history = read_history(store, store.refs(), MAIN)
        found = [verify_frame(store, history, at) for at in range(len(history.links))]
    except DreamcatcherError as error:
        return [f"verify: {error}"]
    return [f"verify: frame {one.frame}: {one.why}" for one in found if one is not None]


def _names(root: Path) -> frozenset[str]:
    """The forms of all names below a folder: ids, random parts and process ids replaced."""
    return frozenset(_form(path.relative_to(root).as_posix()) for path in root.rglob("*") if path.is_file())


def _form(name: str) -> str:
    name = re.sub(r"objects/[0-9a-f]{2}/", "objects/##/", name)
    name = re.sub(r"[0-9a-f]{38,40}", "#", name)
    name = re.sub(r"(tmp_(?:obj|pack|idx|graph|rev|mtimes)_|pack_git2_|\.new-|tmp-)\w+", r"\1*", name)
    return re.sub(r"(/\.[\w-]+\.)\d+$", r"\1*", name)


def shown(path: str, root: Path) -> str:
    """A path below the root, with what differs from run to run left out."""
    return _form(os.path.relpath(path, root))


def _pass_time(root: Path) -> None:
    """Let a minute pass: the locks that were left are as old as they would be then."""
    for path in root.rglob("*.lock"):
        os.utime(path, (time.time() - AGO_S,) * 2)
