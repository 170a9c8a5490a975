"""Primaries on served repositories: the configuration that leads there, and what their logs and health must show."""

from __future__ import annotations

import itertools
import json
import re
import signal
import urllib.error
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pygit2

from dreamcatcherd.config import load_config
from dreamcatcherd.daemon.opening import open_configured
from dreamcatcherd.daemon.primary import Primary
from tests.e2e.servers import Served
from tests.e2e.tools import Daemon, dc_json, git, primary_toml, wait_for

TRAILER = re.compile(r"^Dreamcatcher-Frame: ([0-9]+)$", re.MULTILINE)


def config_for(
    served: Served,
    folder: Path,
    close: str = "interval",
    interval: float = 1.0,
    timeout: float = 30,
    transport: str = "pygit2",
    keys: Mapping[str, str] | None = None,
) -> Path:
    """A primary's configuration for a served repository, with its own clone; `folder` is the primary's alone.

    `keys` stand in `[repository]` in place of what the server says."""
    folder.mkdir(parents=True, exist_ok=True)
    own = {"clone": str(folder / "clone.git"), "transport": transport, **(keys or {})}
    lines = [line for line in served.config_lines.splitlines() if line.split(" = ")[0] not in own]
    lines += [f'{name} = "{value}"' for name, value in own.items()] + [
        f"timeout = {timeout}",
        "poll = 0.5",
        "retry = 2.0",
    ]
    return primary_toml(folder, close, interval, "[repository]\n" + "\n".join(lines) + "\n")


def primary_on(served: Served, folder: Path, timeout: float = 30, transport: str = "pygit2") -> Primary:
    """A primary in this process, whose frames close by hand."""
    config = load_config(config_for(served, folder, "manual", timeout=timeout, transport=transport))
    return open_configured(config, config.repository.url)


def readiness(daemon: Daemon) -> tuple[int, str]:
    """What /readyz answers: its status and its text."""
    try:
        return 200, daemon.get("/readyz")
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, refused.read().decode()


def await_ready(daemon: Daemon) -> None:
    wait_for(lambda: readiness(daemon)[0] == 200)


def events(daemon: Daemon, event: str) -> list[dict[str, Any]]:
    """The lines of a daemon's JSON log of one event."""
    lines = [line for line in daemon.text.splitlines() if line.startswith("{") and line.endswith("}")]
    return [found for line in lines if (found := json.loads(line))["event"] == event]


def told_lately(daemon: Daemon) -> list[dict[str, Any]]:
    """The failures that the log tells since it last told of a recovery: on a busy machine some pass by themselves."""
    told = daemon.text.rpartition('"recovered"')[2]
    return [found for found in events(daemon, "cycle failed") if found["timestamp"] in told]


def metric(daemon: Daemon, sample: str) -> float:
    """The value of one sample, such as `polls_total{result="failed"}`."""
    match = re.search(rf"^dreamcatcher_{re.escape(sample)} (\S+)$", daemon.get("/metrics"), re.MULTILINE)
    return float(match[1]) if match else 0.0


def failed_cycles(daemon: Daemon) -> float:
    """How many looks and publications of a daemon have failed."""
    return sum(metric(daemon, f'{what}_total{{result="failed"}}') for what in ("polls", "publishes"))


def merged(daemon: Daemon) -> float:
    """How many deltas a daemon has merged, late ones too."""
    return sum(metric(daemon, f'deltas_total{{outcome="{outcome}"}}') for outcome in ("merged", "late"))


def await_frames(daemon: Daemon, count: int) -> None:
    """Wait until a daemon has closed so many frames itself."""
    wait_for(lambda: len(events(daemon, "frame closed")) >= count)


def await_failures(daemon: Daemon, more: int = 1) -> None:
    """Wait until so many more cycles have failed."""
    wanted = failed_cycles(daemon) + more
    wait_for(lambda: failed_cycles(daemon) >= wanted, 180)  # each may last as long as the server has to answer


def assert_one_commit_a_frame(repository: Path) -> None:
    """Frames without gap from 1, for each one snapshot commit, and one ledger that has its digest."""
    repo = pygit2.Repository(str(repository))
    main = repo.references["refs/heads/main"].peel(pygit2.Commit)
    closes = [(str(one.id), match[1]) for one in repo.walk(main.id) if (match := TRAILER.search(one.message))]
    # A push that was under way when its daemon ended may land only now, as a frame more.
    rows = dc_json("log", "-n", "10000", "--repo", str(repository))[::-1][: len(closes)]
    assert [row["frame"] for row in rows] == list(range(1, len(rows) + 1))
    assert sorted(closes) == sorted((row["commit"], str(row["frame"])) for row in rows)
    for row in rows:
        ledger = json.loads(repo.read((main.tree / f"state/ledger/{row['frame'] // 1000}/{row['frame']}.json").id)[1])
        assert ledger["snapshot"] == row["digest"] == str((repo[row["commit"]].tree / "state/snapshot").id)
    repo.free()


def assert_only_fast_forwards(repository: Path, ref: str = "main") -> None:
    """Every move of a ref that the server noted led to a commit that holds the one before."""
    heads = git(repository, "reflog", "show", "--format=%H", ref).splitlines()
    assert len(heads) > 1
    repo = pygit2.Repository(str(repository))
    for new, old in itertools.pairwise(heads):
        assert repo.descendant_of(new, old), (new, old)
    repo.free()


def observations(export: dict[str, Any]) -> list[Any]:
    """The plain values that were observed, in the snapshot's order."""
    return [row["value"] for row in export["state"]["observations"]]


def close_by_hand(daemon: Daemon, frame: int) -> None:
    """Let the daemon close its open frame; returns when its log, metrics and status have it."""
    daemon.process.send_signal(signal.SIGUSR1)
    wait_for(lambda: [one for one in events(daemon, "frame closed") if one["frame"] == frame])
    wait_for(lambda: json.loads(daemon.get("/api/v1/status"))["frame"] > frame)
