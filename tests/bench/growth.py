"""`make bench-growth`: what commands cost as the history and the state of a repository grow.

`python -m tests.bench.growth --folder FOLDER --history 100 10000 --state 0 300000 --runs 5`: each command is run in
turn on all repositories, so that what else the machine does falls on all of them alike. The figures are the processor
time of the command and of everything that it starts; the ratios compare each repository with the first one.
Repositories are kept in FOLDER and used again."""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from dreamcatcherd.core.settings_schema import LANES
from dreamcatcherd.daemon.cycle import close_frame
from dreamcatcherd.daemon.primary import Primary
from dreamcatcherd.git.local import LocalStore
from dreamcatcherd.git.maintenance import maintain
from dreamcatcherd.git.protocols import Move, Store
from dreamcatcherd.imports.new_repository import create
from dreamcatcherd.observe.clock import wall_clock
from tests.bench.fleet import push
from tests.bench.long_history import MANUAL, STREAMS, make_history
from tests.e2e.primaries import await_ready
from tests.e2e.tools import Daemon, primary_toml

SHORT_HISTORY, SHORT_STATE = (100, 10_000), (0, 300_000)
RUNS = 5
SMALL = 200
A_FRAME = 2_500
"""Deltas in each frame that fills a state; each brings eight entities."""

_PROGRAM = [sys.executable, "-m", "dreamcatcherd"]
Action = Callable[[Path], object]


def processor_s(action: Action, repository: Path) -> float:
    """The processor time of all processes that an action starts."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    action(repository)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def asked(*words: str) -> Action:
    """A command that only reads."""

    def run(repository: Path) -> None:
        subprocess.run([*_PROGRAM, *words, "--repo", str(repository)], check=True, stdout=subprocess.DEVNULL)

    return run


def merged(repository: Path) -> None:
    """A one-shot `merge` of what waits; the refs are put back."""
    store = LocalStore(repository)
    before = store.refs()
    subprocess.run([*_PROGRAM, "merge", "--repo", str(repository)], check=True, stdout=subprocess.DEVNULL)
    _put_back(store, before)


def pushed(repository: Path) -> None:
    """A push of one small delta to a new lane, with the server-side check; the lane is removed."""
    store = LocalStore(repository)
    before = store.refs()
    frame = Primary(store, "main", MANUAL, wall_clock).load_published(before).state.frame
    worker = repository.with_name(f"{repository.stem}-pusher.git")
    if not worker.exists():
        # Of a commit that is older than all others git looks for its ancestors in the complete history, which no check
        # of ours asks for. Workers' commits are new.
        push(create(worker, 1, wall_clock(), MANUAL, hook=False), frame, 1, 1, 1, wall_clock() // 1_000_000)
    ref = f"{LANES}stream-000/{frame}"
    words = ["git", "-C", str(worker), "push", "--quiet", str(repository), f"{ref}:{LANES}stream-000/bench-{frame}"]
    subprocess.run(words, check=True, stderr=subprocess.DEVNULL)
    _put_back(store, before)


def started(repository: Path) -> None:
    """A daemon, up to the end of its first look."""
    with tempfile.TemporaryDirectory(prefix="dreamcatcherd-bench-") as name:
        config = primary_toml(Path(name), "manual")
        with Daemon(Path(name), "--repo", str(repository), "--config", str(config)) as daemon:
            await_ready(daemon)
            daemon.stop()


def _put_back(store: Store, refs: dict[str, str]) -> None:
    moves = [Move(ref, refs.get(ref), oid) for ref, oid in store.refs().items() if refs.get(ref) != oid]
    assert not moves or store.move_refs(moves, "again")


# Repositories ---------------------------------------------------------------------------------------------------------


def history_of(folder: Path, frames: int) -> Path:
    """A repository of so many closed frames, made if it is not there."""
    return _made(folder / f"history-{frames}.git", lambda path: make_history(path, frames))


def state_of(folder: Path, entities: int) -> Path:
    """A repository with so many entities, a small frame behind it, and deltas that wait."""
    return _made(folder / f"state-{entities}.git", lambda path: _make_state(path, entities))


def _made(path: Path, make: Callable[[Path], None]) -> Path:
    # A repository has its name only once it is complete, since making one may take minutes.
    if not path.exists():
        unfinished = path.with_suffix(".unfinished")
        subprocess.run(["rm", "-rf", str(unfinished)], check=True)
        make(unfinished)
        unfinished.rename(path)
    return path


def _make_state(path: Path, entities: int) -> None:
    store = create(path, 1, wall_clock(), MANUAL)
    frames = entities // 8 // A_FRAME
    for frame in range(1, frames + 1):
        push(store, frame, A_FRAME, 25, 1 + (frame - 1) * 2 * A_FRAME)
        _close(store)
    push(store, frames + 1, SMALL, 20, 1 + frames * 2 * A_FRAME)
    _close(store)
    lanes = [(ref, oid) for ref, oid in store.refs().items() if ref.startswith(LANES)]
    assert store.move_refs([Move(ref, None, oid) for ref, oid in lanes], "silent")
    maintain(path)
    push(store, frames + 2, SMALL, 20, 1 + frames * 2 * A_FRAME + 2 * SMALL)


def _close(store: Store) -> None:
    assert close_frame(Primary(store, "main", MANUAL, wall_clock), "bench").commit


# Figures --------------------------------------------------------------------------------------------------------------


def compare(name: str, what: Sequence[str], repositories: Sequence[Path], actions: Sequence[Action], runs: int) -> None:
    """Print one line: the median processor time on the first repository, and the others compared with it."""
    took: list[list[float]] = [[] for _ in repositories]
    for run in range(runs + 1):
        for at, (repository, action) in enumerate(zip(repositories, actions, strict=True)):
            seconds = processor_s(action, repository)
            if run:  # the first run fills caches, and makes the index of ledgers
                took[at].append(seconds)
    first = statistics.median(took[0])
    ratios = [
        f"{what[at]} {statistics.median(one / base for one, base in zip(times, took[0], strict=True)):.2f}"
        for at, times in enumerate(took[1:], 1)
    ]
    print(f"{name}: {what[0]} {first:.3f} s; ratio {', '.join(ratios)} ({runs} runs in turn)", flush=True)


def bench_history(folder: Path, frames: Sequence[int], runs: int) -> None:
    """Commands by the number of closed frames; the state is the same small one."""
    repositories = [history_of(folder, count) for count in frames]
    what = [f"{count} frames" for count in frames]

    def late(count: int) -> str:
        return f"state/stream_deltas/{count - 1}/stream-{(count - 1) % STREAMS}-{count - 1}.json"

    same: dict[str, Action] = {
        "status": asked("status"),
        "receipt of an old delta": asked("receipt", "state/stream_deltas/17/stream-1-17.json"),
        "show KEY": asked("show", "posts", "5"),
        "explain KEY": asked("explain", "posts", "5"),
        "log -n 20": asked("log", "-n", "20"),
        "diff of old frames": asked("diff", "16", "17"),
        "plan": asked("plan"),
        "merge of an empty frame": merged,
        "push with the check": pushed,
        "doctor": asked("doctor"),
        "start of a daemon": started,
    }
    news = [asked("verify", "--from", str(count - 5)) for count in frames]
    compare("verify of the last frames", what, repositories, news, runs)
    compare("receipt of a new delta", what, repositories, [asked("receipt", late(count)) for count in frames], runs)
    for name, action in same.items():
        compare(name, what, repositories, [action] * len(frames), runs)


def bench_states(folder: Path, entities: Sequence[int], runs: int) -> None:
    """Commands by the number of entities."""
    repositories = [state_of(folder, count) for count in entities]
    what = [f"{count} entities" for count in entities]
    last = [1 + count // 8 // A_FRAME for count in entities]
    paths = [f"state/stream_deltas/{frame}/stream-000-000000.json" for frame in last]
    keys = [str(1 + (frame - 1) * 2 * A_FRAME) for frame in last]
    compare(f"merge of {SMALL} deltas", what, repositories, [merged] * len(entities), runs)
    compare("show KEY", what, repositories, [asked("show", "posts", key) for key in keys], runs)
    compare("explain KEY", what, repositories, [asked("explain", "posts", key) for key in keys], runs)
    compare("receipt", what, repositories, [asked("receipt", path) for path in paths], runs)
    compare("status", what, repositories, [asked("status")] * len(entities), runs)
    compare("push with the check", what, repositories, [pushed] * len(entities), runs)
    compare("doctor", what, repositories, [asked("doctor")] * len(entities), runs)
    compare("start of a daemon", what, repositories, [started] * len(entities), runs)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--folder", type=Path, help="where repositories are kept; without it they are temporary")
    options.add_argument("--history", type=int, nargs="*", default=SHORT_HISTORY)
    options.add_argument("--state", type=int, nargs="*", default=SHORT_STATE)
    options.add_argument("--runs", type=int, default=RUNS)
    given = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="dreamcatcherd-bench-", ignore_cleanup_errors=True) as name:
        folder: Path = given.folder or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        if given.history:
            bench_history(folder, given.history, given.runs)
        if given.state:
            bench_states(folder, given.state, given.runs)


if __name__ == "__main__":
    main()
