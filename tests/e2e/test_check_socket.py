"""Pushes that a running process checks for the hook: the same answers, and the complete check whenever it is unclear.

The tests of `test_hook.py` that are named here run a second time, with the process; every push of theirs has to be
answered by it. Contract: docs/protocol.md#the-server-side-check."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dreamcatcherd.daemon.push_checks import start_process
from dreamcatcherd.hook.check_server import WORKERS
from dreamcatcherd.hook.check_socket import ANSWER_S, BEGIN_S, SOCKET, SOCKET_FOLDER, ask
from tests.e2e import test_hook
from tests.e2e.processes import living
from tests.e2e.test_hook import FOLDER as DELTAS
from tests.e2e.test_hook import commit, pushed
from tests.e2e.tools import Daemon, clone, dc, dc_json, delta, git, primary_toml, push, wait_for
from tests.hook.checking import complete_checks, note_complete_checks, serving, workers_of

BROKEN = '{"frame": 2,'

test_good_pushes = test_hook.test_good_pushes_pass_and_land
test_deletions = test_hook.test_deletions_renames_and_other_state_are_refused
test_a_merge_back = test_hook.test_a_merge_that_turns_the_snapshot_back_is_refused
test_lanes = test_hook.test_a_lane_speaks_for_its_own_stream
test_deleted_lanes = test_hook.test_a_lane_is_deleted_only_once_it_is_merged
test_publications = test_hook.test_the_primary_publishes_by_push_and_a_forger_does_not
test_accounts = test_hook.test_only_the_account_that_is_named_publishes
test_keys = test_hook.test_only_a_commit_that_the_primarys_key_signed_is_published


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """A repository with the check, one delta merged in frame 1, and frame 2 open. It notes complete checks."""
    repository = tmp_path / "fleet.git"
    dc("init", str(repository))
    first = clone(repository, tmp_path / "first")
    push(first, {f"{DELTAS}/1/first.json": delta(1, "first", profile_updates={"a": {"mood": "calm"}})})
    dc("merge", "--repo", str(repository))
    note_complete_checks(repository)
    return repository


@pytest.fixture
def process(plain: Path) -> Iterator[subprocess.Popen[str]]:
    """The process that checks its pushes."""
    with serving(plain) as found:
        yield found


@pytest.fixture
def fleet(plain: Path, process: subprocess.Popen[str]) -> Iterator[Path]:
    """The same repository, every push to which the process has to answer."""
    yield plain
    assert complete_checks(plain) == 0


@pytest.fixture
def worker(plain: Path, tmp_path: Path) -> Path:
    return clone(plain, tmp_path / "worker")


def lane(worker: Path, name: str, text: str | None = None) -> str:
    """Push one delta of a stream to its lane; `ok` or `refused` and what git said."""
    git(worker, "checkout", "-q", "--detach", "origin/main")
    commit(worker, {f"{DELTAS}/2/{name}.json": delta(2, name) if text is None else text})
    return pushed(worker, f"HEAD:refs/heads/dc/{name}")


def remarks(said: str) -> list[str]:
    return [line.strip() for line in said.splitlines() if line.startswith(("remote:", "ok remote:", "refused remote:"))]


def test_both_ways_say_the_same(plain: Path, worker: Path) -> None:
    """Refusals, warnings and their order are the same, word for word, and so is the exit code."""
    commit(worker, {f"{DELTAS}/2/a.json": BROKEN, f"{DELTAS}/2/b.json": delta(1, "w"), "deltas/2/c.json": "{}"})
    commit(worker, {f"{DELTAS}/2/d.json": delta(7_000, "w"), "state/mine": "é"})
    refused = git(worker, "rev-parse", "HEAD")
    git(worker, "checkout", "-q", "--detach", "origin/main")
    far = {
        f"{DELTAS}/2/w.json": delta(2, "w", coments_added=[1], posts_created=[{"x": 1}]),
        f"{DELTAS}/2/stray.txt": "x",
    }
    commit(worker, {**far, "deltas/2/c.json": "{}"})

    def said(suffix: str) -> list[str]:
        answers = [pushed(worker, f"{refused}:main"), pushed(worker, f"{refused}:refs/heads/dc/w/r")]
        git(worker, "commit", "-q", "--amend", "-m", suffix)  # a known commit would bring nothing to warn of
        answers += [pushed(worker, f"HEAD:refs/heads/dc/w/{suffix}", f"HEAD:refs/heads/topic-{suffix}")]
        assert [one.split()[0] for one in answers] == ["refused", "refused", "ok"]
        return [line.replace(suffix, "x") for one in answers for line in remarks(one)]

    alone = said("one-way")
    assert complete_checks(plain) == 3
    with serving(plain):
        assert said("other-way") == alone
    assert complete_checks(plain) == 3
    assert len(alone) > 10


def test_the_process_is_not_asked_where_anything_is_unclear(plain: Path, worker: Path) -> None:
    """Another mode, Python or version, variables that change what git reads, no perl: the hook checks alone."""
    hook, text = plain / "hooks/pre-receive", (plain / "hooks/pre-receive").read_text()
    other = worker.parent / "python"
    other.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    other.chmod(0o755)

    def alone(name: str) -> None:
        before = complete_checks(plain)
        assert lane(worker, name).startswith("ok")
        assert complete_checks(plain) == before + 1, name

    with serving(plain):
        (plain / SOCKET).chmod(0o666)
        alone("mode")
        (plain / SOCKET).chmod(0o600)
        (plain / SOCKET_FOLDER).chmod(0o777)
        alone("folder")
        (plain / SOCKET_FOLDER).chmod(0o700)
        hook.write_text(text.replace(f"python={sys.executable}", f"python={other}"))
        alone("python")
        hook.write_text(text.replace("exec perl", "export GIT_REF_PARANOIA=1; exec perl"))
        alone("variable")
        hook.write_text(text.replace("command -v perl", "command -v no-perl"))
        alone("perl")
        hook.write_text(text.replace("dreamcatcherd-check 1", "dreamcatcherd-check 2"))
        alone("version")
        hook.write_text(text)
        before = complete_checks(plain)
        assert lane(worker, "asked").startswith("ok")
        assert complete_checks(plain) == before


YES = {
    "nothing": b"",
    "a yes without an end": b"checking\n0 0\n",
    "a yes without a beginning": b"0 0\nend\n",
    "half a text": b"checking\n0 9\nabcend\n",
    "more than a text": b"checking\n0 3\nabcdend\n",
    "another code": b"checking\n2 0\nend\n",
    "silence": None,
}
NO = {
    "a no without an end": b"checking\n1 3\nabc",
    "a reason": b"checking\nelsewhere a reason\n",
    "a reason at once": b"elsewhere a reason\n",
    "silence after a while": None,
}


def test_only_a_complete_answer_counts(plain: Path, worker: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that is killed or stopped in the middle, or says anything else, neither lets a push in nor keeps it
    out: the hook checks it, with what is left of its time."""
    monkeypatch.chdir(plain)
    hurry(plain)
    (plain / SOCKET_FOLDER).mkdir(0o700)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(SOCKET)
        (plain / SOCKET).chmod(0o600)
        listener.listen()
        for number, (kind, answer) in enumerate({**YES, **NO}.items()):
            thread = threading.Thread(target=answer_once, args=(listener, kind, answer), daemon=True)
            thread.start()
            said = lane(worker, f"w{number}", BROKEN if kind in YES else None)
            assert said.split()[0] == ("refused" if kind in YES else "ok"), kind
            assert ("not-json" in said) is (kind in YES), kind
            assert complete_checks(plain) == number + 1, kind
            thread.join(60)


def hurry(repository: Path) -> None:
    """Let the hook wait for a second only."""
    hook = repository / "hooks/pre-receive"
    hook.write_text(hook.read_text().replace("alarm 60;", "alarm 1;"))


def answer_once(listener: socket.socket, kind: str, answer: bytes | None) -> None:
    """Answer one hook, or keep silent until it gives up."""
    connection, _ = listener.accept()
    with connection, contextlib.suppress(OSError):  # a hook that was slow to ask is gone before it is answered
        while connection.recv(65_536):
            pass
        if answer is not None:
            connection.sendall(answer)
            return
        connection.sendall(b"checking\n" if "while" in kind else b"")
        gone = select.poll()
        gone.register(connection, 0)
        gone.poll(1000 * (BEGIN_S + ANSWER_S + 60))


def test_a_process_that_is_killed_leaves_a_working_hook(plain: Path, worker: Path) -> None:
    """Killed, it leaves a socket that refuses; its workers end with it, and the next process takes the socket over.
    While one serves, no second one does."""
    with serving(plain) as process:
        assert lane(worker, "a").startswith("ok")
        workers = workers_of(process)
        assert workers
        second = start_process(plain)
        with second:
            assert second.stdout is not None
            assert second.stdout.readline() == "another daemon checks the pushes to this repository\n"
        assert lane(worker, "b").startswith("ok")
        assert complete_checks(plain) == 0
        os.kill(workers[0], signal.SIGKILL)  # one worker is replaced
        wait_for(lambda: len(set(workers_of(process)) - {workers[0]}) == len(workers))
        assert lane(worker, "c").startswith("ok")
        assert complete_checks(plain) == 0
        left = workers_of(process)
        process.kill()
        wait_for(lambda: not set(left) & set(living()))
    assert (plain / SOCKET).exists()
    assert "each push starts the complete check: " in (said := reported(plain))
    assert "does not answer" in said
    assert complete_checks(plain) == 1  # doctor runs the hook itself
    assert lane(worker, "d", BROKEN).startswith("refused")
    assert complete_checks(plain) == 2
    with serving(plain):
        assert lane(worker, "d").startswith("ok")
        assert complete_checks(plain) == 2
    assert not (plain / SOCKET).exists()
    assert lane(worker, "e").startswith("ok")


def test_a_stopped_process_delays_a_push_and_does_not_keep_it_out(plain: Path, worker: Path) -> None:
    """A process that is stopped takes connections and answers none: after a short time the hook checks alone."""
    hook = plain / "hooks/pre-receive"
    text = hook.read_text()
    with serving(plain) as process:
        stopped = [process.pid, *workers_of(process)]
        hurry(plain)
        try:
            for pid in stopped:
                os.kill(pid, signal.SIGSTOP)
            assert lane(worker, "a").startswith("ok")
            assert lane(worker, "b", BROKEN).startswith("refused")
            assert complete_checks(plain) == 2
        finally:
            for pid in stopped:
                os.kill(pid, signal.SIGCONT)
        hook.write_text(text)
        assert lane(worker, "c").startswith("ok")
        assert complete_checks(plain) == 2


def test_hooks_that_connect_and_say_nothing_hold_nobody_up(
    plain: Path, worker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More silent connections than there are workers are dropped after a second each, and pushes are answered again."""
    monkeypatch.chdir(plain)
    with start_process(plain) as process, contextlib.ExitStack() as opened:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        silent = [opened.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(WORKERS + 2)]
        for one in silent:
            one.connect(SOCKET)
        for one in silent:
            one.settimeout(60)
            assert one.recv(100).startswith(b"elsewhere ")
        answered_at_last(plain, worker)


def answered_at_last(repository: Path, worker: Path) -> None:
    """Push until the process with its real limits has answered: on a busy machine they may be over before."""
    for number in itertools.count():
        before = complete_checks(repository)
        assert lane(worker, f"again-{number}").startswith("ok")
        if complete_checks(repository) == before:
            return
        assert number < 20


def test_a_frame_that_is_overdue_is_waited_for_by_the_hook(plain: Path, worker: Path) -> None:
    """A push to the shared branch that has to wait does so in its own process; lanes are answered at once."""
    state = json.loads(git(plain, "show", "main:state/frame.json"))
    late = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - 60))
    hook = plain / "hooks/pre-receive"
    hook.chmod(0o644)
    commit(worker, {"state/frame.json": json.dumps({**state, "closes_at": late})})
    git(worker, "push", "-q", "origin", "HEAD:main")
    hook.chmod(0o755)
    with serving(plain, waits=True):
        git(worker, "fetch", "-q")
        assert lane(worker, "a").startswith("ok")
        assert complete_checks(plain) == 0
        commit(worker, {f"{DELTAS}/2/m.json": delta(2, "m")})
        assert pushed(worker, "HEAD:main").startswith("ok")
        assert complete_checks(plain) == 1


def test_a_path_may_be_longer_than_the_address_of_a_socket(tmp_path: Path) -> None:
    """A repository at a path of more than 107 bytes has its pushes checked all the same."""
    folder = tmp_path / ("n" * 100) / "fleet.git"
    folder.parent.mkdir()
    dc("init", str(folder))
    head = git(folder, "rev-parse", "main")
    with serving(folder):
        assert ask(folder, f"{head} {head} refs/heads/main\n".encode()) == (0, "")


def reported(repository: Path) -> str:
    """What `doctor` says of who checks pushes."""
    checks = dc_json("doctor", "--repo", str(repository))
    return str(next(one["detail"] for one in checks if one["check"] == "push check"))


def test_the_daemon_keeps_the_process_running(plain: Path, worker: Path, tmp_path: Path) -> None:
    """It starts soon after the daemon, `doctor` says that pushes are checked by it, and it ends with the daemon, also
    with one that is killed."""
    assert "no daemon serves this repository here" in reported(plain)
    config = primary_toml(tmp_path, more='[log]\nformat = "json"\n')
    with Daemon(tmp_path, "--repo", str(plain), "--config", str(config)) as daemon:
        (line,) = wait_for(lambda: daemon.logged("checking pushes for the hook"))
        # It waits for an answer no longer than a hook does.
        wait_for(lambda: reported(plain) == "a running daemon checks the pushes of this account")
        answered_at_last(plain, worker)
        assert daemon.stop()[0] == 0
        wait_for(lambda: line["pid"] not in living())
        assert not (plain / SOCKET).exists()
    with Daemon(tmp_path, "--repo", str(plain), "--config", str(config)) as daemon:
        line = wait_for(lambda: daemon.logged("checking pushes for the hook")[1:])[0]
        daemon.process.kill()
        daemon.process.wait()
        wait_for(lambda: line["pid"] not in living())
    assert lane(worker, "b").startswith("ok")
