"""Workers in regions with relays, against as many workers in one repository: what arrives upstream, and how fast.

`python -m tests.bench.regions 3 20 5`: regions, workers in each, and deltas of each worker, one push for each. Every
repository is served by git daemon, with the server-side check, which a daemon on that repository makes: a primary, or
the region's relay. All of it shares this machine, so the two rows compare and their figures are no limits. `upstream`
counts the pushes that the deciding repository took, `retries` the pushes of workers that git refused. `pushed` are the
seconds until the last push was acknowledged, `published` those from then until a frame has all of it."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from tests.e2e.relays import list_relays, relay_toml, waiting
from tests.e2e.servers import GitServer
from tests.e2e.tools import Daemon, dc, dc_json, environment, primary_toml, wait_for

TRIES = 20
"""How often a worker pushes one delta before the run counts as failed."""


class Figures(NamedTuple):
    """What one way came to."""

    upstream: int
    retries: int
    pushed_s: float
    published_s: float
    digest: str


def write_commits(folder: Path, workers: int, deltas: int) -> None:
    """Make a repository that has every worker's deltas, each in a commit on top of the worker's one before."""
    subprocess.run(["git", "init", "-q", "--bare", str(folder)], check=True, env=environment())
    parts = []
    for worker in range(workers):
        for number in range(deltas):
            second = worker * deltas + number
            utc = f"2026-01-01T{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}Z"
            sections = {"observations": [second], "profile_updates": {"all": {"last": worker}}, "counters": {"n": 1}}
            text = json.dumps({"frame": 1, "utc": utc, "stream_id": f"w{worker}", **sections})
            parts.append(
                f"commit refs/heads/w{worker}/{number}\ncommitter w <w@example.org> {1767225600 + second} +0000\n"
                f"data 1\nd\n" + (f"from refs/heads/w{worker}/{number - 1}\n" if number else "")
                + f"M 100644 inline state/stream_deltas/1/w{worker}-{number}.json\ndata {len(text)}\n{text}\n"
            )  # fmt: skip
    words = ["git", "-C", str(folder), "fast-import", "--quiet"]
    subprocess.run(words, input="".join(parts).encode(), check=True, env=environment())


def push_all(commits: Path, urls: Sequence[str], deltas: int) -> int:
    """Let every worker, each in a thread, push its deltas to the URL at its place; returns how often git refused."""

    def work(worker: int) -> int:
        refused = 0
        for number in range(deltas):
            spec = f"refs/heads/w{worker}/{number}:refs/heads/dc/w{worker}"
            words = ["git", "-C", str(commits), "push", "-q", urls[worker], spec]
            for _ in range(TRIES):
                if subprocess.run(words, capture_output=True, check=False, env=environment()).returncode == 0:
                    break
                refused += 1
            else:
                raise RuntimeError(f"worker {worker} could not push")
        return refused

    with ThreadPoolExecutor(len(urls)) as threads:
        return sum(threads.map(work, range(len(urls))))


def moves_of(repository: Path, below: str) -> int:
    """How many moves of the refs below a prefix the server noted."""
    logs = (repository / "logs" / below).rglob("*")
    return sum(len(path.read_text().splitlines()) for path in logs if path.is_file())


def run(commits: Path, upstream: Path, urls: Sequence[str], deltas: int, arrived: Callable[[], object]) -> Figures:
    """Push everything, wait until it has arrived upstream, and close the frame."""
    began = time.monotonic()
    retries = push_all(commits, urls, deltas)
    pushed = time.monotonic()
    arrived()
    count = moves_of(upstream, "refs/heads/dc") + moves_of(upstream, "refs/heads/dc-relay")
    row = json.loads(dc("close", "--json", "--repo", str(upstream)))[0]
    assert row["deltas"] == len(urls) * deltas, row
    return Figures(count, retries, pushed - began, time.monotonic() - pushed, row["digest"])


def pending(repository: Path) -> int:
    found: int = dc_json("status", "--repo", str(repository))["pending"]["total"]
    return found


def make_upstream(folder: Path, names: Sequence[str], stack: ExitStack) -> tuple[Path, GitServer]:
    """The deciding repository, with its primary, and its server that is not started yet."""
    folder.mkdir()
    upstream = folder / "served" / "fleet.git"
    dc("init", str(upstream))
    list_relays(upstream, folder / "operator", *names)
    config = primary_toml(folder, "manual", more='[log]\nformat = "json"\n')
    await_check(stack.enter_context(Daemon(folder, "--repo", str(upstream), "--config", str(config))))
    server = GitServer(upstream, folder / "server")
    stack.callback(server.close)
    return upstream, server


def await_check(daemon: Daemon) -> None:
    """Wait until a daemon checks the pushes to its repository, so that both ways pay the same for each push."""
    wait_for(lambda: daemon.logged("checking pushes for the hook"), 120)


def flat(folder: Path, commits: Path, names: Sequence[str], workers: int, deltas: int) -> Figures:
    """All workers push to the deciding repository."""
    with ExitStack() as stack:
        upstream, server = make_upstream(folder, names, stack)
        server.start()
        return run(commits, upstream, [server.url] * (len(names) * workers), deltas, lambda: None)


def relayed(folder: Path, commits: Path, names: Sequence[str], workers: int, deltas: int) -> Figures:
    """Workers push to the repository of their region, which a relay forwards."""
    with ExitStack() as stack:
        upstream, deciding = make_upstream(folder, names, stack)
        deciding.start()
        relays, servers = [], []
        for name in names:
            region = folder / name / "served" / "region.git"
            config = relay_toml(folder / name, region, deciding.url, name)
            config.write_text(config.read_text().replace("0.2\nretry", "1.0\nretry"))
            relays.append(stack.enter_context(Daemon(folder / name, "--config", str(config))))
            servers.append(GitServer(region, folder / name / "server"))
            stack.callback(servers[-1].close)
        for relay, server in zip(relays, servers, strict=True):
            wait_for(lambda relay=relay: waiting(relay) == 0, 120)  # type: ignore[misc]
            await_check(relay)
            server.start()
        urls = [server.url for server in servers for _ in range(workers)]

        def arrived() -> None:
            total = len(urls) * deltas
            wait_for(lambda: all(waiting(relay) == 0 for relay in relays) and pending(upstream) == total, 600)

        return run(commits, upstream, urls, deltas, arrived)


def main(regions: int, workers: int, deltas: int) -> None:
    names = [f"region-{number}" for number in range(regions)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_commits(folder / "workers.git", regions * workers, deltas)
        print(f"{regions} regions of {workers} workers, {deltas} deltas each")
        print(f"{'way':8} {'upstream':>9} {'a second':>9} {'retries':>8} {'pushed':>8} {'published':>10}  digest")
        found = {}
        for way, act in (("flat", flat), ("relays", relayed)):
            one = found[way] = act(folder / way, folder / "workers.git", names, workers, deltas)
            rate = one.upstream / (one.pushed_s + one.published_s)
            times = f"{one.pushed_s:8.1f} {one.published_s:10.1f}"
            print(f"{way:8} {one.upstream:9} {rate:9.2f} {one.retries:8} {times}  {one.digest[:12]}", flush=True)
        assert found["flat"].digest == found["relays"].digest, "the digests differ"
        print(f"pushes upstream: {found['flat'].upstream / found['relays'].upstream:.1f} times as many without relays")


if __name__ == "__main__":
    main(*([int(word) for word in sys.argv[1:]] or [3, 20, 5]))
