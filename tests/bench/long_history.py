"""`python -m tests.bench.long_history FRAMES FOLDER`: a repository with as many closed frames as a fleet leaves in
weeks, hundreds of frames a second.

Each frame goes through the pure functions of a close: plan, merge, ledger, message. What surrounds them in a primary
(looking for what is new, the guard, durable writes) is left out, and `git fast-import` builds the trees. The result is
an ordinary history: `git fsck` and `dreamcatcherd verify` accept it (`tests/history/test_long_history.py`).

The state stays small: what grows is the history. Each frame has one delta; some have a second one that conflicts with
it, some a late one, some a duplicate."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from dreamcatcherd.core.codec import utc_text
from dreamcatcherd.core.errors import FatalError
from dreamcatcherd.core.frames import Closing, opened
from dreamcatcherd.core.ledger import Ledger, write_ledger
from dreamcatcherd.core.ledger_builder import Basis, make_ledger
from dreamcatcherd.core.merge import merge
from dreamcatcherd.core.model import Arrival, Delta, Version, arrival_of
from dreamcatcherd.core.paths import LEDGER, PUBLISHED, SNAPSHOT, ledger_path
from dreamcatcherd.core.plan import make_plan
from dreamcatcherd.core.projections import PROJECTIONS
from dreamcatcherd.core.settings import DEFAULT
from dreamcatcherd.core.snapshot import already_merged, empty_snapshot, open_snapshot
from dreamcatcherd.core.tree import FILE, TREE, Entry, Kind, object_id, read_tree
from dreamcatcherd.git.command import AUTHOR
from dreamcatcherd.git.maintenance import maintain
from dreamcatcherd.git.protocols import Commit
from dreamcatcherd.imports.new_repository import create
from dreamcatcherd.observe.clock import wall_clock
from dreamcatcherd.stages.delta_reader import read_delta
from dreamcatcherd.stages.frame_file import format_frame_file
from dreamcatcherd.stages.snapshot import commit_message

MAIN = "refs/heads/main"
PERIOD_S = 10
STREAMS = 8
POSTS = 500
KEPT = 100
"""How many closed frames delta files stay in the tree: the folder of all frames would be written again by each."""

CONFLICTS, LATE, TWICE = 10, 25, 50
"""Every so many frames there is a conflict, a late delta, or a delta that came before."""

MANUAL = Closing("manual")


class Scratch:
    """The objects of the present snapshot: all that the next merge reads."""

    where = "memory"

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}

    def read(self, oid: str) -> bytes:
        if oid not in self.objects:
            raise FatalError(f"object {oid} is missing", "the generator forgot it too early")
        return self.objects[oid]

    def size(self, oid: str) -> int:
        return len(self.read(oid))

    def commit(self, oid: str) -> Commit:
        raise AssertionError("deltas without attachments need no tree")

    def write(self, kind: Kind, data: bytes) -> str:
        oid = object_id(kind, data)
        self.objects[oid] = data
        return oid


class Importer:
    """`git fast-import`: commits go in, their ids come out."""

    def __init__(self, repository: Path, head: str) -> None:
        command = ["git", "-C", str(repository), "-c", "core.compression=1", "fast-import", "--quiet", "--force"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._process.stdin
        assert self._process.stdout
        self._into, self._out = self._process.stdin, self._process.stdout
        self._from = f"from {head}\n".encode()

    def commit(self, author: str, time_s: int, message: str, files: dict[str, bytes | None]) -> str:
        """A commit on top of the last one, with some files set or (None) removed, folders too; returns its id."""
        parts = [f"commit {MAIN}\nmark :1\ncommitter {author} {time_s} +0000\n".encode(), _data(message.encode())]
        parts.append(self._from)
        self._from = b""  # a branch that was named once goes on from its last commit
        parts += [f"D {path}\n".encode() for path, raw in files.items() if raw is None]
        parts += [
            b"M 100644 inline %b\n%b" % (path.encode(), _data(raw)) for path, raw in files.items() if raw is not None
        ]
        self._into.write(b"".join([*parts, b"\nget-mark :1\n"]))
        self._into.flush()
        return self._out.readline().decode().strip()

    def close(self) -> None:
        self._into.write(f"reset {PUBLISHED}\nfrom {MAIN}\n\ndone\n".encode())
        self._into.close()
        self._out.close()
        assert self._process.wait() == 0


def _data(raw: bytes) -> bytes:
    return b"data %d\n%b\n" % (len(raw), raw)


class LongHistory:
    """Closes one frame after another."""

    def __init__(self, repository: Path, start: int, twice: int = TWICE) -> None:
        """`start` is when frame 1 opens, in microseconds UTC."""
        store = create(repository, 1, start, MANUAL)
        self._folder = store.folder
        head = store.refs()[MAIN]
        self._start, self._twice = start, twice
        self._scratch = Scratch()
        self._snapshot = empty_snapshot(self._scratch)
        self._import = Importer(repository, head)
        self._previous: str | None = None
        self._last: Ledger | None = None
        self._recent: dict[int, dict[str, bytes]] = {}

    def close_frame(self, frame: int) -> None:
        """What workers push in a frame, and its close."""
        now = self._start + frame * PERIOD_S * 1_000_000
        files = dict(_deltas(frame, now - 5_000_000, self._recent, self._twice))
        self._recent[frame] = files
        self._recent.pop(frame - 2, None)
        brought = self._import.commit("worker <worker@localhost>", now // 1_000_000 - 1, "add deltas\n", {**files})
        arrivals = [self._arrival(path, raw, brought, now - 1_000_000) for path, raw in sorted(files.items())]
        scratch, before = self._scratch, self._last
        folders = open_snapshot(scratch, self._snapshot)
        plan = make_plan(arrivals, frame, DEFAULT.limits, lambda ids: already_merged(scratch, folders, ids))
        deltas = [one.item for one in plan.deltas]
        merged = merge(scratch, self._snapshot, deltas, DEFAULT.table, PROJECTIONS, closing=lambda _: frame)
        basis = Basis(
            previous=self._snapshot if before else None,
            entities=before.counts.entities if before else {},
            settings=None,
            last_utc=_last_utc(before),
        )
        ledger = make_ledger(plan, merged, basis, "interval")
        changes: dict[str, bytes | None] = dict(_replaced(scratch, self._snapshot, merged.tree, SNAPSHOT))
        changes[f"{LEDGER}/{ledger_path(frame)}"] = write_ledger(ledger)
        changes["state/frame.json"] = format_frame_file(opened(frame + 1, now, frame, merged.tree, MANUAL))
        if frame > KEPT:
            changes[f"state/stream_deltas/{frame - KEPT}"] = None
        self._previous = self._import.commit(AUTHOR, now // 1_000_000, commit_message(ledger, self._previous), changes)
        self._snapshot, self._last = merged.tree, ledger

    def _arrival(self, path: str, raw: bytes, commit: str, arrived: int) -> Arrival:
        blob = self._scratch.write("blob", raw)
        found = read_delta(self._scratch, Version(path, blob, FILE, commit), DEFAULT)  # type: ignore[arg-type]
        assert isinstance(found, Delta)
        del self._scratch.objects[blob]
        return arrival_of(found, "main", None, arrived // 1_000_000, arrived)

    def close(self) -> None:
        """Move the refs to the last frame, and do what a daemon's upkeep does now and then."""
        self._import.close()
        maintain(self._folder)


def _deltas(frame: int, at: int, recent: dict[int, dict[str, bytes]], twice: int) -> Iterator[tuple[str, bytes]]:
    """The files that a frame brings."""

    def delta(own: int, stream: int, utc: int, title: str) -> tuple[str, bytes]:
        body = {
            "frame": own, "utc": utc_text(utc), "stream_id": f"stream-{stream}",
            "posts_created": [{"discussion_number": own % POSTS + 1, "title": title}], "counters": {"visits": 1},
        }  # fmt: skip
        return f"state/stream_deltas/{own}/stream-{stream}-{frame}.json", json.dumps(body).encode()

    yield delta(frame, frame % STREAMS, at, f"post of {frame}")
    if frame % CONFLICTS == 0:
        yield delta(frame, (frame + 1) % STREAMS, at + 1, f"another post of {frame}")
    if frame % LATE == 0:
        # The frame before had none that conflicts, so the late delta is the one that loses or wins there.
        yield delta(frame - 3, (frame + 2) % STREAMS, at - 3 * PERIOD_S * 1_000_000 - 1, f"late post of {frame - 3}")
    if frame % twice == 0:
        raw = next(iter(recent[frame - 1].values()))
        yield f"state/stream_deltas/{frame - 1}/again-{frame}.json", raw


def _last_utc(ledger: Ledger | None) -> dict[str, int]:
    found: dict[str, int] = {}
    for row in ledger.deltas if ledger else ():
        found[row.stream_id] = max(row.utc, found.get(row.stream_id, row.utc))
    return found


class _Place(NamedTuple):
    path: str
    old: Entry | None
    new: Entry | None


def _replaced(scratch: Scratch, old: str, new: str, root: str) -> Iterator[tuple[str, bytes | None]]:
    """The files in which two snapshots differ, with their bytes in the new one; what only the old one has is
    forgotten."""
    todo = [_Place(root, Entry(TREE, old), Entry(TREE, new))]
    gone: set[str] = set()
    kept: set[str] = set()
    while todo:
        at = todo.pop()
        if at.old == at.new:
            continue
        then = read_tree(scratch, at.old.oid) if at.old and at.old.mode == TREE else {}
        now = read_tree(scratch, at.new.oid) if at.new and at.new.mode == TREE else {}
        todo += [_Place(f"{at.path}/{name}", then.get(name), now.get(name)) for name in {**then, **now}]
        if at.new and at.new.mode != TREE:
            yield at.path, scratch.read(at.new.oid)
        elif at.old and at.old.mode != TREE:
            yield at.path, None
        kept |= {entry.oid for entry in now.values()}
        gone |= {entry.oid for entry in (at.old, *then.values()) if entry}
    for oid in gone - kept - {new}:
        scratch.objects.pop(oid, None)


def make_history(repository: Path, frames: int, twice: int = TWICE) -> None:
    """A repository with so many closed frames, the last one closed now. `twice`: see `TWICE`."""
    history = LongHistory(repository, wall_clock() - (frames + 1) * PERIOD_S * 1_000_000, twice)
    for frame in range(1, frames + 1):
        history.close_frame(frame)
    history.close()


if __name__ == "__main__":
    start = time.monotonic()
    make_history(Path(sys.argv[2]), int(sys.argv[1]))
    print(f"{sys.argv[1]} frames in {time.monotonic() - start:.1f} s")
