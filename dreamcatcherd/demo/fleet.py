"""A fleet of plain-git workers, for the demo and for tests: every worker runs real git processes.

Owns the record of what was pushed: a push counts as acknowledged only after git exited with 0."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from msgspec import Struct

PUSHES = 30
"""How often a worker on the shared branch rebases and pushes again before it gives up."""

PUSH_PAUSE_S = (0.1, 1.0)
"""The pause between two deltas of a worker. With a shorter one, a large fleet on one machine starves the daemon."""


class Sent(Struct, frozen=True):
    """One delta of a worker. `mark` is a text that occurs in no other delta; `acknowledged` is git's answer to the
    push."""

    stream_id: str
    mark: str
    acknowledged: bool


class Pusher(threading.Thread, ABC):
    """One stream with its own clone, which pushes to its lane or to the shared branch.

    `repository` is a path or a URL, `more` are variables that git needs to reach it. A subclass implements `_work`.
    `failure` is the error that stopped it, if any."""

    git_s = 60.0
    """The time limit of one git process, in seconds."""

    def __init__(
        self,
        repository: Path | str,
        folder: Path,
        stream_id: str,
        *,
        lane: bool,
        more: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(name=stream_id, daemon=True)
        self.stream_id = stream_id
        self.failure: str | None = None
        self._repository = repository
        self._folder = folder / stream_id
        self._lane = lane
        self._more = dict(more or {})
        self._halt = threading.Event()
        self._random = random.Random(stream_id)  # noqa: S311 (timing only)

    def stop(self) -> None:
        """End `_work` after the current push."""
        self._halt.set()

    def run(self) -> None:
        """Clone the repository and work; keep the first error in `failure`."""
        try:
            self._git("clone", "-q", "--", str(self._repository), str(self._folder), cwd=self._folder.parent)
            self._work()
        except (OSError, subprocess.SubprocessError, RuntimeError) as error:
            self.failure = str(error)

    @abstractmethod
    def _work(self) -> None:
        """Commit and push until `stop`."""

    def _open_frame(self) -> int:
        """The open frame, from `main`."""
        self._git("fetch", "-q", "origin", "main")
        frame: int = json.loads(self._git("show", "FETCH_HEAD:state/frame.json"))["frame"]
        return frame

    def _commit(self, frame: int, name: str, mark: str, sections: dict[str, object]) -> None:
        """Commit one delta under a file name that may exist already."""
        folder = self._folder / "state" / "stream_deltas" / str(frame)
        folder.mkdir(parents=True, exist_ok=True)
        head = {"frame": frame, "utc": datetime.now(UTC).isoformat(), "stream_id": self.stream_id}
        (folder / name).write_text(json.dumps({**head, **sections}))
        self._git("add", "state/stream_deltas")
        self._git("commit", "-q", "-m", mark)

    def _push_or_die(self, *, killed: bool) -> bool:
        """Push the commits; with `killed`, SIGKILL cuts the push short. Returns whether git acknowledged it."""
        target = f"HEAD:refs/heads/dc/{self.stream_id}" if self._lane else "HEAD:main"
        return self._push_and_kill(target) if killed else self._push(target)

    def _push(self, target: str) -> bool:
        for _ in range(PUSHES):
            if self._try("push", "-q", "origin", target) == 0:
                return True
            if not self._lane:
                self._try("pull", "-q", "--rebase", "origin", "main")
            self._halt.wait(self._random.uniform(0.01, 0.2))
        return False

    def _push_and_kill(self, target: str) -> bool:
        push = subprocess.Popen(
            self._words("push", "-q", "origin", target),
            cwd=self._folder,
            env=self._environment(),
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        # Different delays kill the push in different phases.
        time.sleep(self._random.uniform(0.0, 0.03))
        code = push.poll()
        if code is None:
            # The group and not the process: git starts others for the transport.
            os.killpg(push.pid, signal.SIGKILL)
            push.wait()
        return code == 0

    def _git(self, *words: str, cwd: Path | None = None) -> str:
        done = subprocess.run(
            self._words(*words),
            cwd=cwd or self._folder,
            env=self._environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=self.git_s,
        )
        if done.returncode:
            raise RuntimeError(f"{self.stream_id}: git {words[0]}: {done.stderr.strip()}")
        return done.stdout

    def _try(self, *words: str) -> int:
        done = subprocess.run(
            self._words(*words),
            cwd=self._folder,
            env=self._environment(),
            capture_output=True,
            check=False,
            timeout=self.git_s,
        )
        return done.returncode

    def _words(self, *words: str) -> list[str]:
        who = ("-c", f"user.name={self.stream_id}", "-c", f"user.email={self.stream_id}@localhost")
        # A collection of garbage in the background could outlive the worker's folder.
        return ["git", *who, "-c", "gc.auto=0", "-c", "advice.detachedHead=false", *words]

    def _environment(self) -> dict[str, str]:
        # Inside a git hook, GIT_DIR and others would point to another repository.
        kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        return kept | {"GIT_TERMINAL_PROMPT": "0"} | self._more


class Worker(Pusher):
    """Pushes deltas until `stop`.

    `kill_after` ends it like a crash: after this many deltas, SIGKILL ends the next push half-way."""

    def __init__(
        self,
        repository: Path | str,
        folder: Path,
        stream_id: str,
        *,
        lane: bool,
        kill_after: int | None = None,
        more: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(repository, folder, stream_id, lane=lane, more=more)
        self.sent: list[Sent] = []
        self._kill_after = kill_after

    def _work(self) -> None:
        while not self._halt.is_set():
            killed = self._kill_after is not None and len(self.sent) >= self._kill_after
            self._send(killed=killed)
            if killed:
                return
            self._halt.wait(self._random.uniform(*PUSH_PAUSE_S))

    def _send(self, *, killed: bool) -> None:
        mark = f"{self.stream_id}:{len(self.sent)}"
        sections: dict[str, object] = {
            "comments_added": [{"discussion_number": 1, "author": self.stream_id, "body": mark}],
            "profile_updates": {self.stream_id: {"last": mark}, "everyone": {"last": mark}},
            "counters": {"deltas": 1},
            "observations": [mark],
        }
        self._commit(self._open_frame(), f"{self.stream_id}-{len(self.sent)}.json", mark, sections)
        self.sent.append(Sent(self.stream_id, mark, self._push_or_die(killed=killed)))


def make_fleet(
    repository: Path | str, folder: Path, size: int, killed: int, more: Mapping[str, str] | None = None
) -> list[Worker]:
    """Workers, alternately on lanes and on the shared branch; the last `killed` ones die in the middle of a push."""
    workers = []
    for i in range(size):
        kill_after = 1 + i % 3 if i >= size - killed else None
        name = f"worker-{i:02}"
        workers.append(Worker(repository, folder, name, lane=i % 2 == 0, kill_after=kill_after, more=more))
    return workers


class RunVerdict(Struct, frozen=True):
    """Pushed deltas compared with merged ones, by their marks."""

    acknowledged: int
    unacknowledged: int
    landed: int
    missing: list[str]
    doubled: list[str]
    invented: list[str]

    @property
    def holds(self) -> bool:
        """Whether every acknowledged delta was merged exactly once, and nothing was merged that nobody sent."""
        return not (self.missing or self.doubled or self.invented)


def compare_publishing(sent: list[Sent], landed: list[str]) -> RunVerdict:
    """Compare the deltas that workers sent with the marks in the snapshot's observations."""
    counted: dict[str, int] = {}
    for mark in landed:
        counted[mark] = counted.get(mark, 0) + 1
    return RunVerdict(
        acknowledged=sum(one.acknowledged for one in sent),
        unacknowledged=sum(not one.acknowledged for one in sent),
        landed=len(counted),
        missing=sorted(one.mark for one in sent if one.acknowledged and one.mark not in counted),
        doubled=sorted(mark for mark, count in counted.items() if count > 1),
        invented=sorted(counted.keys() - {one.mark for one in sent}),
    )
