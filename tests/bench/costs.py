"""`make bench-costs`: what one delta, one frame and one ref cost in bytes and time, for the plan in docs/scale.md.

Prints unit costs of one run on this machine, never asserts. The fleet is that of the other benchmarks: deltas of about
1.2 KB, pushed to lanes."""

from __future__ import annotations

import resource
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from dreamcatcherd.core.frames import Closing
from dreamcatcherd.core.settings_schema import LANES
from dreamcatcherd.daemon.cycle import close_frame
from dreamcatcherd.daemon.primary import Primary
from dreamcatcherd.git.local import LocalStore
from dreamcatcherd.git.protocols import Move
from dreamcatcherd.imports.new_repository import create
from dreamcatcherd.observe.clock import wall_clock
from tests.bench.fleet import DAY, push

FRAMES = 20
DELTAS = 1_000
STREAMS = 100
EMPTY_FRAMES = 300
MANUAL = Closing("manual")
REFS = 10_000
_PLACES = {"state/ledger": "ledger", "state/snapshot": "snapshot", "state/stream_deltas": "deltas"}


def git(repository: Path, *words: str, text: str = "") -> str:
    """The output of a git command that must succeed."""
    command = ["git", "-C", str(repository), *words]
    return subprocess.run(command, input=text, check=True, capture_output=True, text=True).stdout


def packed_bytes(repository: Path) -> int:
    """The size of all packs, repacked as `git gc` does."""
    git(repository, "repack", "-adfq")
    return sum(path.stat().st_size for path in (repository / "objects" / "pack").glob("pack-*.pack"))


def children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def bytes_by_place(repository: Path, start: str) -> Counter[str]:
    """The packed bytes of the objects that `start` reaches, by the folder that they are in; commits have a place of
    their own."""
    listed = dict(line.partition(" ")[::2] for line in git(repository, "rev-list", "--objects", start).splitlines())
    asked = git(
        repository, "cat-file", "--batch-check=%(objectname) %(objecttype) %(objectsize:disk)", text="\n".join(listed)
    )
    found: Counter[str] = Counter()
    for line in asked.splitlines():
        oid, kind, size = line.split(" ")
        folder = "/".join(listed[oid].split("/")[:2])
        found["commits" if kind == "commit" else _PLACES.get(folder, "other trees and files")] += int(size)
    return found


def closed_frames(repository: Path, frames: int, deltas: int, first: int = 1, known: int = 0) -> float:
    """Push and close frames; returns the processor seconds of the closes."""
    store = LocalStore(repository)
    store.follow(LANES)
    primary = Primary(store, "main", MANUAL, wall_clock)
    spent = 0.0
    for frame in range(first, first + frames):
        if deltas:
            push(store, frame, deltas, STREAMS, known)
            known += 2 * deltas
        start = time.process_time()
        close_frame(primary, "bench")
        spent += time.process_time() - start
        # As `[retention] lanes_keep` does, so that the refs do not grow.
        store.move_refs([Move(ref, None, oid) for ref, oid in store.refs().items() if "/dc/" in ref], "bench")
    return spent


def history_lines(folder: Path) -> Iterator[str]:
    """What deltas cost, in a repository that holds little else."""
    repository = folder / "fleet.git"
    create(repository, 1, DAY, MANUAL, hook=False)
    before = packed_bytes(repository)
    closing_s = closed_frames(repository, FRAMES, DELTAS)
    count = FRAMES * DELTAS
    size = packed_bytes(repository) - before
    yield f"{count} deltas in {FRAMES} frames: {closing_s * 1e6 / count:.0f} µs of processor time each to merge"
    yield f"packed: {size / count:.0f} bytes for each delta, with everything that is about it"
    for start, what in {"--all": "of these", "main^{tree}": "in the newest tree"}.items():
        for place, used in bytes_by_place(repository, start).most_common():
            yield f"  {what}, {place}: {used / count:.0f} bytes"
    for name, words in {
        "complete": ["--no-checkout"],
        "without history (--depth 1)": ["--depth", "1", "--no-checkout"],
        "without file contents (--filter=blob:none --no-checkout)": ["--filter=blob:none", "--no-checkout"],
    }.items():
        yield clone_line(repository, folder, name, words, count)


def clone_line(repository: Path, folder: Path, name: str, words: list[str], count: int) -> str:
    """What one clone transfers and costs both sides."""
    git(repository, "config", "uploadpack.allowFilter", "true")
    target = folder / "clone"
    used = children_s()
    subprocess.run(["git", "clone", "-q", *words, f"file://{repository}", str(target)], check=True)
    used = children_s() - used
    packs = sum(path.stat().st_size for path in (target / ".git/objects/pack").glob("*.pack"))
    subprocess.run(["rm", "-rf", str(target)], check=True)
    return f"clone, {name}: {packs / count:.0f} bytes and {used * 1e6 / count:.0f} µs for each delta"


def frame_lines(folder: Path) -> Iterator[str]:
    """What a frame costs that has nothing in it."""
    repository = folder / "empty.git"
    create(repository, 1, DAY, MANUAL, hook=False)
    closed_frames(repository, 1, 0)
    before = packed_bytes(repository)
    spent = closed_frames(repository, EMPTY_FRAMES, 0, first=2)
    size = packed_bytes(repository) - before
    yield f"an empty frame: {size / EMPTY_FRAMES:.0f} bytes packed, {spent * 1000 / EMPTY_FRAMES:.1f} ms to close"


def ref_lines(folder: Path) -> Iterator[str]:
    """What one ref more costs each look and each push."""
    repository = folder / "refs.git"
    create(repository, 1, DAY, MANUAL, hook=False)
    head = git(repository, "rev-parse", "main").strip()
    moves = "".join(f"create refs/heads/dc/stream-{number:05} {head}\n" for number in range(REFS))
    git(repository, "update-ref", "--stdin", text=moves)
    git(repository, "pack-refs", "--all")
    used = children_s()
    listed = git(repository, "ls-remote", f"file://{repository}")
    used = children_s() - used
    yield f"a ref: {len(listed) / REFS:.0f} bytes and {used * 1e6 / REFS:.1f} µs in each list of all refs"


def main() -> None:
    """Measure in a temporary folder, and print each line as it is known."""
    with tempfile.TemporaryDirectory() as work:
        for lines in (history_lines, frame_lines, ref_lines):
            for line in lines(Path(work)):
                print(line, flush=True)


if __name__ == "__main__":
    main()
