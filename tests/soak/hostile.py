"""`make soak-hostile`: a real daemon under every hostile shape at once, beside eight honest workers, for minutes.

The repository has no server-side check, as on a hosted service. One attacker after the other pushes by hand to
`git receive-pack`: commits and trees that cannot be read, names that no clone can hold, floods of records, fields,
conflicts and early deltas, bombs, deletions of canonical files; another opens connections to the daemon and is silent.
Ends with 1 where an honest delta is missing or doubled, a frame took longer than twice the interval, the daemon took
300 MB of memory, `/healthz` failed, or what was published does not verify. Draws `artifacts/soak-hostile.svg`."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

from dreamcatcherd.core.codec import utc_micros
from dreamcatcherd.demo.fleet import Worker, compare_publishing
from tests.e2e.tools import Daemon, dc, dc_json, export_of, primary_toml, wait_for
from tests.hostile import FILE, ODD, UNREADABLE, UNSAFE, Obj, blob, commit, nested, oid_of, push_raw, tree
from tests.soak.__main__ import draw, run, sample

PICTURE = Path(__file__).parents[2] / "artifacts" / "soak-hostile.svg"
WORKERS = 8
INTERVAL_S = 10.0
MEMORY_MB = 300.0
EVERY_S = 2.0
NICE = 10
"""How far workers and attackers, who have machines of their own, stand behind the daemon where all share one."""
PAUSE_S = 1.0

FIGURES = ("dreamcatcher_phase_duration_seconds_sum", "dreamcatcher_publish", "dreamcatcher_restores_total")
"""What of the metrics is shown at the end."""

KEPT_OFF_MAIN = ("a tree of trees",)
"""What the server-side check alone keeps from the shared branch: there it costs every worker's own git its memory."""

Shape = Callable[[int, str], list[Obj]]
"""A history that attacks: from the open frame and a stream of its own."""


def _one(frame: int, stream: str, **sections: object) -> list[Obj]:
    """A commit with one delta."""
    names = [b"state", b"stream_deltas", b"%d" % frame, f"{stream}.json".encode()]
    return commit(nested([blob(stream, frame, **sections)], names, FILE))


def _many(frame: int, count: int, make: Callable[[int], Obj]) -> list[Obj]:
    """A commit with many files in one frame's folder."""
    blobs = [make(number) for number in range(count)]
    folder = tree(*((FILE, b"%06d.json" % number, oid_of(one)) for number, one in enumerate(blobs)))
    return commit([*nested([folder], [b"state", b"stream_deltas", b"%d" % frame]), *dict.fromkeys(blobs)])


SHAPES: dict[str, Shape] = {
    "records of one agent": lambda f, s: _one(
        f, s, profile_updates=[{"agent": "victim", f"field{i % 5000}": s} for i in range(40_000)]
    ),
    "bare observations": lambda f, s: _one(f, s, observations=[1] * 100_000),
    "too many records": lambda f, s: _one(f, s, observations=[1] * 2_000_000),
    "misfits": lambda f, s: _one(f, s, posts_created=[[]] * 50_000),
    "unknown sections": lambda f, s: _one(f, s, **{f"s{i}": i for i in range(50_000)}),
    "many fields": lambda f, s: _one(f, s, profile_updates=[{"agent": "wide", **{f"f{i}": s for i in range(50_000)}}]),
    "conflicts": lambda f, s: _one(f, s, posts_created=[{"number": i, "title": s} for i in range(10_000)]),
    "chapters": lambda f, s: _one(
        f,
        s,
        books_started=[{"book": s, "target_chapters": 10_000}],
        chapters_added=[{"book": s, "chapter": i, "author": s, "content": "w"} for i in range(10_000)],
    ),
    "empty lists": lambda f, s: _one(f, s, observations=[[[]] * 1_000_000]),
    "one blob under many names": lambda f, s: _many(f, 50_000, lambda _: blob(s, f, observations=[s])),
    "garbage": lambda f, s: _many(f, 20_000, lambda _: ("blob", b"garbage")),
    "early deltas": lambda f, s: _many(2**53 - 1, 1_000, lambda i: blob(s, 2**53 - 1, observations=[f"{s}-{i}"])),
    "near early deltas": lambda f, s: _many(f + 500, 500, lambda i: blob(s, f + 500, observations=[f"{s}-{i}"])),
    "a zlib bomb": lambda f, s: commit(
        nested([("blob", b"0" * 200_000_000)], [b"state", b"stream_deltas", b"%d" % f, f"{s}.json".encode()], FILE)
    ),
    "brackets": lambda f, s: _many(f, 1, lambda _: ("blob", b"[" * 2_000_000)),
}


def histories() -> Iterator[tuple[str, Shape]]:
    """Every shape, again and again."""
    fixed: dict[str, list[Obj]] = {**UNREADABLE, **UNSAFE, **ODD}
    turns = zip(itertools.cycle(SHAPES.items()), itertools.cycle(fixed.items()), strict=False)
    for (name, shape), (odd, objects) in turns:
        yield name, shape
        yield odd, lambda frame, stream, objects=objects: _of(stream, objects)  # type: ignore[misc]


def _of(stream: str, objects: list[Obj]) -> list[Obj]:
    """The same history with a commit of its own."""
    kind, raw = objects[0]
    return [(kind, raw + stream.encode()), *objects[1:]]


class Stubborn(Worker):
    """An honest worker that asks again while somebody has taken frame.json away, and is patient with a busy machine."""

    git_s = 300.0

    def _open_frame(self) -> int:
        while True:
            with contextlib.suppress(RuntimeError, ValueError, KeyError):
                return super()._open_frame()
            if self._halt.wait(0.2):
                return 1


class Attacker(threading.Thread):
    """Pushes one hostile history after the other, each to a lane of its own and some to the shared branch."""

    def __init__(self, repository: Path, frame: Callable[[], int]) -> None:
        super().__init__(name="attacker", daemon=True)
        self.halt = threading.Event()
        self.pushed: Counter[str] = Counter()
        self._repository = repository
        self._frame = frame

    def run(self) -> None:
        for number, (name, shape) in enumerate(histories()):
            if self.halt.wait(PAUSE_S):
                return
            objects = shape(self._frame(), f"mallory{number}")
            with contextlib.suppress(subprocess.SubprocessError, OSError):
                refused = push_raw(self._repository, f"refs/heads/dc/mallory{number}", objects)
                self.pushed[f"{name}{' (git refuses it)' if refused else ''}"] += 1
            if number % 7 == 0 and name not in KEPT_OFF_MAIN:
                self._on_main(objects, number)

    def _on_main(self, objects: list[Obj], number: int) -> None:
        """Put the same tree on top of the shared branch: without `state/snapshot`, with whatever else it has."""
        head = self._git("rev-parse", "main")
        raw = objects[0][1]
        if not raw.startswith(b"tree ") or b"\nauthor" not in raw:
            return
        on_top = [("commit", raw.replace(b"\nauthor", f"\nparent {head}\nauthor".encode(), 1)), *objects[1:]]
        if push_raw(self._repository, "refs/heads/main", on_top, head) is None:
            self.pushed["on main"] += 1

    def _git(self, *words: str) -> str:
        done = subprocess.run(["git", "-C", str(self._repository), *words], capture_output=True, text=True, check=False)
        return done.stdout.strip()


class Squatter(threading.Thread):
    """Opens connections to the daemon, sends half a request on each, and keeps them."""

    def __init__(self, url: str) -> None:
        super().__init__(name="squatter", daemon=True)
        self.halt = threading.Event()
        self._address = (urlsplit(url).hostname or "", urlsplit(url).port or 0)

    def run(self) -> None:
        held: list[socket.socket] = []
        while not self.halt.wait(0.05):
            with contextlib.suppress(OSError):
                one = socket.create_connection(self._address, timeout=5)
                one.sendall(b"GET /api/v1/log HTTP/1.1\r\nHost: localhost\r\n")
                held.append(one)
            if len(held) > 600:
                held.pop(0).close()
        for one in held:
            one.close()


def late_frames(repository: Path) -> list[str]:
    """The frames that closed later than twice the interval after the one before."""
    rows = dc_json("log", "--limit", "100000", "--repo", str(repository))[::-1]
    times = [(row["frame"], (utc_micros(row["closed_at"]) or 0) / 1e6) for row in rows]
    pairs = itertools.pairwise(times)
    late = ((frame, at - before) for (_, before), (frame, at) in pairs if at - before > 2 * INTERVAL_S)
    return [f"frame {frame} took {took:.0f} s" for frame, took in late]


def soak(folder: Path, seconds: float) -> list[str]:
    repository = folder / "fleet.git"
    dc("init", str(repository), "--no-hook")
    subprocess.run(["git", "-C", str(repository), "config", "receive.fsckObjects", "false"], check=True)
    (folder / "workers").mkdir()
    fleet = [Stubborn(repository, folder / "workers", f"worker-{i}", lane=i % 2 == 0) for i in range(WORKERS)]
    config = primary_toml(folder, "interval", INTERVAL_S, "[retention]\nlanes_keep = 60\n")
    samples: list[tuple[float, dict[str, float]]] = []
    wrong: list[str] = []
    unwell = 0
    with Daemon(folder, "--repo", str(repository), "--config", str(config)) as daemon:
        wait_for(lambda: "dreamcatcher_frame_last_closed 1.0" in daemon.get("/metrics"))
        attacker = Attacker(repository, lambda: int(samples[-1][1]["frame"]) if samples else 1)
        squatter = Squatter(daemon.url())
        os.nice(NICE)
        for thread in (*fleet, attacker, squatter):
            thread.start()
        start = time.monotonic()
        while (now := time.monotonic() - start) < seconds:
            with contextlib.suppress(OSError, json.JSONDecodeError):
                samples.append((now, sample(daemon, repository)))
            try:
                daemon.get("/healthz")
            except OSError:
                unwell += 1
            if sys.stderr.isatty():
                print(f"\r{now:.0f} of {seconds:.0f} s", end="", file=sys.stderr, flush=True)
            time.sleep(EVERY_S)
        for one in (attacker, squatter):
            one.halt.set()
        for worker in fleet:
            worker.stop()
        for thread in (*fleet, attacker, squatter):
            thread.join(60)
        figures = [line for line in daemon.get("/metrics").splitlines() if line.startswith(FIGURES)]
        status = (Path("/proc") / str(daemon.process.pid) / "status").read_text()
        peak = int(status.split("VmHWM:")[1].split()[0]) / 1024
        code, _ = daemon.stop()
        if os.environ.get("KEEP_LOG"):
            Path(os.environ["KEEP_LOG"]).write_text(daemon.text)
    late = late_frames(repository)
    dc("merge", "--repo", str(repository))
    if os.environ.get("KEEP_REPOSITORY"):
        shutil.copytree(repository, os.environ["KEEP_REPOSITORY"])
    observations = export_of(repository)["state"]["observations"]
    landed = [row["value"] for row in observations if isinstance(row.get("value"), str)]
    honest = [sent for worker in fleet for sent in worker.sent]
    marks = {sent.mark for sent in honest}
    verdict = compare_publishing(honest, [mark for mark in landed if mark in marks])
    for name, count in sorted(attacker.pushed.items()):
        print(f"{count:4} {name}")
    frames = dc_json("verify", "--repo", str(repository))
    hostile = sum(attacker.pushed.values())
    print(f"{hostile} hostile pushes; {verdict.acknowledged} honest deltas acknowledged, {verdict.landed} landed")
    print(*figures, sep="\n")
    print(f"{frames['frames']} frames; peak memory {peak:.0f} MiB")
    PICTURE.parent.mkdir(exist_ok=True)
    PICTURE.write_text(draw(samples))
    print(f"drawn: {PICTURE}")
    wrong += late
    wrong += [f"peak memory {peak:.0f} MiB"] if peak * 1.048576 >= MEMORY_MB else []
    wrong += [f"/healthz failed {unwell} times"] if unwell else []
    wrong += [f"the daemon ended with {code}"] if code else []
    wrong += [f"what was published does not verify: {frames}"] if not frames["ok"] else []
    wrong += [f"a worker stopped: {worker.failure}" for worker in fleet if worker.failure]
    return wrong + ([] if verdict.holds else [f"the promise is broken: {verdict}"])


if __name__ == "__main__":
    run(soak)
