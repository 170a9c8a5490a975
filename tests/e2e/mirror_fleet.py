"""A fleet over two forges: a deciding repository and a mirror, workers that fall back, and outages of either.

Shared by the short test of outages and by the long run of `make soak-mirrors`."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.e2e.primaries import await_ready, config_for, merged, observations
from tests.e2e.servers import Served, Server, serve
from tests.e2e.tools import Daemon, dc, delta, environment, export_of, git, wait_for

PUBLISHED = "refs/dreamcatcher/published"


def mirror_repository(main: Path, mirror: Path) -> Path:
    """A mirror as an operator makes it: a clone, with the server-side check."""
    git(Path.cwd(), "clone", "-q", "--mirror", str(main), str(mirror))
    dc("init", str(mirror))
    return mirror


def mirror_table(served: Served, name: str, more: str = "") -> str:
    """The `[[mirrors]]` table of a served repository."""
    return f'[[mirrors]]\nname = "{name}"\npoll = 0.2\nretry = 1.0\n{served.config_lines}{more}'


def ref(repository: Path, name: str) -> str:
    return git(repository, "rev-parse", "--verify", "--quiet", name, check=False)


def is_current(main: Path, mirror: Path) -> bool:
    """Whether a mirror has the last publication of the deciding repository, on both refs."""
    published = ref(main, PUBLISHED)
    return [ref(mirror, name) for name in (PUBLISHED, "refs/heads/main")] == [published, published]


class Worker:
    """Pushes one delta after the other, each from a commit of its own and to a lane of its own, so that no later push
    brings it once more: to the first repository that takes it. `acknowledged` are the marks of those that one took."""

    def __init__(self, name: str, clone: Path, urls: Sequence[str]) -> None:
        self.name = name
        self.acknowledged: list[str] = []
        self.by = dict.fromkeys(urls, 0)  # how many each repository took
        self._clone = clone
        self._urls = urls
        self._go = threading.Event()
        self._resting = threading.Event()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._go.set()
        self._thread.start()

    def pause(self) -> None:
        """Push nothing more; returns when nothing is under way."""
        self._resting.clear()
        self._go.clear()
        assert self._resting.wait(300)

    def resume(self) -> None:
        self._go.set()

    def stop(self) -> None:
        self._end.set()
        self._go.set()
        self._thread.join(300)

    def _run(self) -> None:
        for number in itertools.count(1):
            if not self._go.is_set():
                self._resting.set()
                self._go.wait()
            if self._end.is_set():
                return
            mark = f"{self.name}-{number}"
            commit = self._commit(mark)
            for url in self._urls:
                if self._push(url, commit, f"refs/heads/dc/{self.name}/{number}"):
                    self.acknowledged.append(mark)
                    self.by[url] += 1
                    break
            self._end.wait(0.25)

    def _commit(self, mark: str) -> str:
        """A commit without a parent that holds one delta of frame 1: late ones are merged like any other."""
        path = f"state/stream_deltas/1/{mark}.json"
        blob = self._git("hash-object", "-w", "--stdin", stdin=delta(1, self.name, observations=[mark]))
        lines = f"100644 {blob}\t{path}\n"
        index = {"GIT_INDEX_FILE": str(self._clone / f"index-{self.name}")}
        self._git("read-tree", "--empty", more=index)
        self._git("update-index", "--add", "--index-info", stdin=lines, more=index)
        tree = self._git("write-tree", more=index)
        return self._git("-c", "user.name=w", "-c", "user.email=w@localhost", "commit-tree", "-m", mark, tree)

    def _git(self, *words: str, stdin: str = "", more: dict[str, str] | None = None) -> str:
        done = subprocess.run(
            ["git", *words], cwd=self._clone, env=environment() | (more or {}), input=stdin, capture_output=True,
            text=True, check=True, timeout=300,
        )  # fmt: skip
        return done.stdout.strip()

    def _push(self, url: str, commit: str, lane: str) -> bool:
        words = ["git", "push", "-q", url, f"{commit}:{lane}"]
        done = subprocess.run(words, cwd=self._clone, env=environment(), capture_output=True, check=False, timeout=300)
        return done.returncode == 0


class TwoForges(NamedTuple):
    """A running fleet."""

    main: Server
    mirror: Server
    daemon: Daemon
    workers: list[Worker]

    def acknowledged(self) -> list[str]:
        return sorted(mark for worker in self.workers for mark in worker.acknowledged)

    def taken_by(self, at: int) -> int:
        """How many pushes the deciding repository (0) or the mirror (1) took."""
        url = (self.main, self.mirror)[at].url
        return sum(worker.by[url] for worker in self.workers)

    def settle(self) -> None:
        """Let the workers pause, and wait until everything that was acknowledged is merged."""
        for worker in self.workers:
            worker.pause()
        wait_for(lambda: merged(self.daemon) >= len(self.acknowledged()), 300)

    def resume(self) -> None:
        for worker in self.workers:
            worker.resume()

    def await_pushes(self, at: int, more: int) -> None:
        """Wait until a repository has taken so many more."""
        wanted = self.taken_by(at) + more
        wait_for(lambda: self.taken_by(at) >= wanted, 300)

    def outage(self, at: int, copy: Path, pushes: int, wait: threading.Event, seconds: float) -> None:
        """One of the two goes down, the other one takes pushes for a while, and it comes back as an older copy."""
        down = (self.main, self.mirror)[at]
        self.settle()
        down.stop()
        self.resume()
        self.await_pushes(1 - at, pushes)
        wait.wait(seconds)
        shutil.rmtree(down.repository)
        shutil.copytree(copy, down.repository)
        down.start()

    def back_up(self, at: int, copy: Path) -> None:
        """Copy one of the two as it is now, without a server that writes meanwhile."""
        server = (self.main, self.mirror)[at]
        server.stop()
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(server.repository, copy)
        server.start()

    def assert_whole(self) -> None:
        """Everything that was acknowledged is merged exactly once, `verify` agrees, and the mirror has it all."""
        self.settle()
        assert sorted(observations(export_of(self.main.repository))) == self.acknowledged()
        assert "all as published" in dc("verify", "--repo", str(self.main.repository))
        wait_for(lambda: is_current(self.main.repository, self.mirror.repository), 300)


@contextmanager
def two_forges(folder: Path, workers: int, interval: float) -> Iterator[TwoForges]:
    """Two git daemons, both with the server-side check, a primary with its own clone, and workers that push."""
    main = folder / "main" / "fleet.git"
    dc("init", str(main))
    north = mirror_repository(main, folder / "north" / "fleet.git")
    with ExitStack() as stack:
        servers = []
        for name, repository in (("main", main), ("north", north)):
            server = stack.enter_context(serve("git", repository, folder / f"{name}-server"))
            assert isinstance(server, Server)
            servers.append(server)
        config = config_for(servers[0], folder / "primary", interval=interval)
        # Without empty frames there is a last publication, which the mirror has to get.
        text = config.read_text().replace("[frames]\n", "[frames]\nskip_empty = true\n")
        config.write_text(text + mirror_table(servers[1], "north"))
        daemon = stack.enter_context(Daemon(folder / "primary", "--config", str(config)))
        await_ready(daemon)
        found = []
        for number in range(workers):
            clone = folder / f"worker-{number}"
            git(Path.cwd(), "init", "-q", str(clone))
            order = [server.url for server in servers][:: -1 if number % 2 else 1]
            found.append(Worker(f"w{number}", clone, order))
        forges = TwoForges(servers[0], servers[1], daemon, found)
        for worker in found:
            worker.start()
        try:
            yield forges
        finally:
            for worker in found:
                worker.stop()
        assert "Traceback" not in daemon.text


def troubles_of_mirrors(daemon: Daemon) -> list[str]:
    """What `status` says of mirrors."""
    found = json.loads(daemon.get("/api/v1/status"))["troubles"]
    return [one["what"] for one in found if one["what"].startswith("mirror ")]
