"""The exit codes of `dreamcatcherd push` and of push-delta.sh, side by side: refused, misused, or not reached."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dreamcatcherd.client import push
from dreamcatcherd.config import load_config
from dreamcatcherd.git.partial_clone import PartialClone
from tests.client.tools import commit_on, refs
from tests.e2e.servers import Server, hooked
from tests.e2e.test_push import worker_config, written
from tests.e2e.tools import DREAMCATCHERD, dc, delta, environment, export_of, git, invoke, wait_for

SCRIPT = Path(__file__).parents[2] / "config/worker/push-delta.sh"


class Case:
    """One cause of failure: how it comes about, and what both must answer."""

    def __init__(self, code: int, words: str) -> None:
        self.code, self.words = code, words


CASES = {
    "good": Case(0, ""),
    "refused by the check": Case(1, "bad-utc"),
    "refused by another hook": Case(1, "no pushes on Sundays"),
    "no frame": Case(1, "frame"),
    "no stream": Case(1, "stream_id"),
    "not JSON, with the check": Case(1, "not-json|no frame"),
    "no lane has room": Case(1, "cannot create|lane-blocked"),
    "no such file": Case(2, "nothing.json"),
    "no words": Case(2, "nothing to push|usage"),
    "unreachable host": Case(3, "cannot be reached|not acknowledged"),
    "wrong path on the server": Case(3, "no git repository|does not serve|not acknowledged"),
    "no repository there": Case(3, "no git repository|not acknowledged"),
    "no such path": Case(2, "there is no repository at "),
    "no such file URL": Case(2, "there is no repository at "),
    "wrong password": Case(3, "refused the credentials|not acknowledged"),
    "the server may not write": Case(3, "does not serve|not acknowledged"),
    "the connection dies in the middle": Case(3, "cannot be reached|not acknowledged"),
}
"""By what happens: the exit code of both, and a pattern that is found in what each says."""
APART = ("wrong password", "the server may not write", "the connection dies in the middle")
"""Cases with a test of their own."""


@contextmanager
def happening(name: str, server: Server, tmp_path: Path, stream: str) -> Iterator[tuple[str, list[str]]]:
    """Let it happen; gives the URL and the files to push."""
    repository, file = server.repository, written(tmp_path, "d.json", delta(1, stream, observations=[1]))
    if name == "refused by the check":
        yield server.url, [written(tmp_path, "bad.json", delta(1, "w", utc="noon"))]
    elif name == "refused by another hook":
        with hooked(repository, "echo no pushes on Sundays >&2; exit 1"):
            yield server.url, [file]
    elif name == "no frame":
        yield server.url, [written(tmp_path, "bad.json", '{"utc": "2026-01-01T00:00:00Z", "stream_id": "w"}')]
    elif name == "no stream":
        yield server.url, [written(tmp_path, "bad.json", '{"utc": "2026-01-01T00:00:00Z", "frame": 1}')]
    elif name == "not JSON, with the check":
        yield server.url, [written(tmp_path, "bad.json", '{"frame": 1, "stream_id": "w",')]
    elif name == "no lane has room":
        commit_on(repository, "refs/heads/dc", {"x": "x"})
        yield server.url, [file]
    elif name == "no such file":
        yield server.url, [str(tmp_path / "nothing.json")]
    elif name == "no words":
        yield server.url, []
    elif name == "unreachable host":
        server.stop()
        yield server.url, [file]
    elif name == "wrong path on the server":
        yield server.url.replace("fleet.git", "other.git"), [file]
    elif name == "no repository there":
        yield str(tmp_path), [file]
    elif name in ("no such path", "no such file URL"):
        yield f"{'file://' if 'URL' in name else ''}{tmp_path}/none.git", [file]
    else:
        yield server.url, [file]


@pytest.mark.parametrize("name", [name for name in CASES if name not in APART])
def test_both_ways_to_push_have_the_same_exit_codes(name: str, tmp_path: Path, git_server: Server) -> None:
    """The command and push-delta.sh tell refused from unreachable from misused, and say why, in the same cases."""
    case = CASES[name]
    for run in (command_line, script_line):
        with happening(name, git_server, tmp_path, run.__name__) as (url, words):
            code, said = run(url, words, tmp_path)
            if name == "unreachable host":
                git_server.start()
        assert code == case.code, (run.__name__, said)
        assert re.search(case.words, said), (run.__name__, said)
        assert "Traceback" not in said


def command_line(url: str, words: list[str], cwd: Path) -> tuple[int, str]:
    done = invoke("push", *words, "--repo", url, cwd=cwd, timeout_s=120)
    return done.returncode, done.stderr.decode()


def script_line(url: str, words: list[str], cwd: Path) -> tuple[int, str]:
    return outcome_of(["sh", str(SCRIPT), url, *words], cwd)


def outcome_of(line: list[str], cwd: Path, env: dict[str, str] | None = None) -> tuple[int, str]:
    """The exit code, and what was said."""
    done = subprocess.run(
        line, cwd=cwd, env=environment() | (env or {}), capture_output=True, text=True, timeout=120, check=False
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize("way", ["command", "script"])
def test_a_connection_that_dies_in_the_middle_is_no_refusal(git_server: Server, tmp_path: Path, way: str) -> None:
    """It is cut while the server's hook runs, and nobody answers any more: 3, as nobody knows what became of it."""
    file = written(tmp_path, "d.json", delta(1, "w", observations=[1]))
    asked = git_server.repository / "asked"
    with (
        git_server.proxied() as proxy,
        hooked(git_server.repository, "touch asked; until [ -e over ]; do sleep 0.05; done"),
    ):
        line = [*DREAMCATCHERD, "push", file, "--repo", git_server.url]
        line = line if way == "command" else ["sh", str(SCRIPT), git_server.url, file]
        process = subprocess.Popen(
            line, env=environment(), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
        )
        with process:
            try:
                wait_for(asked.exists)
                proxy.refuse()
                proxy.cut()
                _, said = process.communicate(timeout=120)
            finally:
                process.kill()
        (git_server.repository / "over").touch()
    assert process.returncode == 3, said
    assert re.search(CASES["the connection dies in the middle"].words, said)


def test_a_wrong_password_is_no_refusal_of_the_delta(http_server: Server, tmp_path: Path) -> None:
    """Both exit with 3, at once, and neither shows the password."""
    config = worker_config(http_server, tmp_path)
    file = written(tmp_path, "d.json", delta(1, "w", observations=[1]))
    http_server.lock_out()
    assert http_server.token_file is not None
    secret = http_server.token_file.read_text().strip()
    for line, env in (
        ([*DREAMCATCHERD, "push", file, "--config", str(config)], {}),
        (["sh", str(SCRIPT), http_server.url, file], http_server.git_env),
    ):
        code, said = outcome_of(line, tmp_path, env)
        assert code == 3, said
        assert re.search(CASES["wrong password"].words, said)
        assert secret not in said


def test_a_server_that_may_not_be_written_to_is_no_refusal_of_the_delta(git_server: Server, tmp_path: Path) -> None:
    """A daemon without receive-pack: 3 in both."""
    git(git_server.repository, "config", "daemon.receivepack", "false")
    file = written(tmp_path, "d.json", delta(1, "w", observations=[1]))
    for run in (command_line, script_line):
        code, said = run(git_server.url, [file], tmp_path)
        assert code == 3, said
        assert re.search(CASES["the server may not write"].words, said)


@pytest.mark.parametrize("filters", ["true", "false"])
def test_a_lane_that_is_removed_during_the_push_is_made_again(
    git_or_http: Server, tmp_path: Path, filters: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The primary removes a merged lane between the look and the push: the delta arrives on a new one, and merges."""
    repository, true_push = git_or_http.repository, PartialClone.push
    git(repository, "config", "uploadpack.allowFilter", filters)
    config = load_config(worker_config(git_or_http, tmp_path)).repository
    dc("push", written(tmp_path, "a.json", delta(1, "w", observations=["a"])), "--repo", str(repository))
    dc("close", "--repo", str(repository))

    def overtaken(clone: PartialClone, commit: str, ref: str) -> subprocess.CompletedProcess[bytes]:
        monkeypatch.undo()
        git(repository, "update-ref", "-d", ref)
        return true_push(clone, commit, ref)

    monkeypatch.setattr(PartialClone, "push", overtaken)
    (row,) = push(config, json.loads(delta(2, "w", observations=["b"])))
    assert (row.outcome, refs(repository)) == ("pending", {"refs/heads/dc/w": row.commit})
    dc("close", "--repo", str(repository))
    assert [one["value"] for one in export_of(repository)["state"]["observations"]] == ["a", "b"]
    git(repository, "fsck", "--strict")
