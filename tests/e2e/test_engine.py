"""`replay` and `verify` with an engine, and configurations and options of one that are refused."""

from __future__ import annotations

import contextlib
import json
import socket
from pathlib import Path

import pytest

from tests.e2e.test_docs import blocks, shell
from tests.e2e.tools import dc, dc_json
from tests.stages.tools import text


@pytest.fixture(autouse=True)
def own_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers start from the program of their parent, which in a forked command would be that of the tests."""
    monkeypatch.setenv("DREAMCATCHERD_ENGINE_THRESHOLD", "50000")


@pytest.fixture
def fleet(tmp_path: Path) -> str:
    """A repository with two closed frames."""
    repository = str(tmp_path / "fleet.git")
    dc("init", repository)
    for frame in (1, 2):
        for number in range(3):
            file = tmp_path / f"{frame}-{number}.json"
            file.write_bytes(
                text(frame, f"s{number}", number, posts_created=[{"number": number, "title": f"t{frame}"}])
            )
            dc("push", str(file), "--repo", repository)
        dc("merge", "--repo", repository)
    return repository


def test_replay_and_verify_by_processes(fleet: str, tmp_path: Path) -> None:
    """The digest, the export and the verdict are those of a computation in one process; an archive is checked too."""
    here = dc_json("replay", "--repo", fleet)
    assert dc_json("replay", "--repo", fleet, "--engine", "processes", "--workers", "2") == here
    assert here["digest"] == here["known"]
    exports = [dc("replay", "--repo", fleet, *more) for more in ((), ("--engine", "processes"))]
    assert exports[0] == exports[1]
    verdict = {"frames": 2, "ok": True, "first_bad": None, "why": None}
    assert dc_json("verify", "--repo", fleet, "--engine", "processes", "--workers", "2") == verdict
    archive = str(tmp_path / "fleet.tar")
    dc("archive", "--repo", fleet, "-o", archive)
    assert dc_json("verify", "--archive", archive, "--engine", "processes", "--workers", "2") == verdict


def test_replay_and_verify_on_a_dask_cluster(fleet: str) -> None:
    """A cluster of this machine is started for the command, and ends with it. It asks for no port that another one may
    have, such as Dask's own."""
    here = dc_json("replay", "--repo", fleet)
    with socket.socket() as other:
        with contextlib.suppress(OSError):  # then a cluster has it already
            other.bind(("127.0.0.1", 8787))
            other.listen()
        done = dc("replay", "--repo", fleet, "--json", "--engine", "dask", "--workers", "1", both=True)
    assert json.loads(done) == here


def test_the_options_of_the_page(fleet: str) -> None:
    """The block of docs/engine.md runs as it is on a repository with closed frames."""
    done = shell(blocks("docs/engine.md")["options"], Path(fleet).parent)
    assert "2 frames computed again: all as published" in done


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--scheduler", "tcp://192.0.2.1:8786"], 2, "is on another machine: Dask runs what it is sent"),
        (["--scheduler", "tls://192.0.2.1:8786"], 2, "needs certificates"),
        (["--scheduler", "here"], 2, "is not an address such as tls://"),
        (["--scheduler", "tcp://127.0.0.1:1", "--engine", "processes"], 2, "do not go together"),
        (["--scheduler", "tcp://127.0.0.1:65536"], 2, "has a port that is not 1 to 65535"),
        (["--scheduler", "tcp://127.0.0.1:1", "--workers", "2"], 2, "--workers and --scheduler do not go together"),
        (["--workers", "2"], 2, "--workers has no effect with the engine inline"),
        (["--workers", "2", "--engine", "inline"], 2, "--workers has no effect with the engine inline"),
        (["--scheduler", "tcp://127.0.0.1:1"], 3, "the scheduler tcp://127.0.0.1:1 is lost or cannot be reached"),
    ],
)
def test_options_that_are_refused_and_a_scheduler_that_is_not_there(
    fleet: str, options: list[str], code: int, said: str
) -> None:
    """One line, with exit code 2 for what can never work and 3 for a scheduler that does not answer."""
    for command in ("replay", "verify", "reclassify"):
        assert said in dc(command, "--repo", fleet, "--json", *options, code=code)


def test_workers_beside_a_configured_scheduler(fleet: str, tmp_path: Path) -> None:
    """The option would have no effect there: the scheduler has its own workers."""
    file = tmp_path / "primary.toml"
    file.write_text('[engine]\nkind = "dask"\nscheduler = "tcp://127.0.0.1:1"\n')
    done = dc("replay", "--repo", fleet, "--config", str(file), "--workers", "2", code=2)
    assert "--workers and [engine] scheduler do not go together: a scheduler has workers of its own" in done


def test_an_archive_and_a_repository(fleet: str, tmp_path: Path) -> None:
    """Only one of them can be checked: neither is left out silently."""
    done = dc("verify", "--repo", fleet, "--archive", str(tmp_path / "fleet.tar"), code=2)
    assert "--archive and --repo do not go together" in done
