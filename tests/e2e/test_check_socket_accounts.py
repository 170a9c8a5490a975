"""Who may ask the process that checks pushes, and whom it serves: real accounts, so root alone can run these tests."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from dreamcatcherd.daemon.push_checks import start_process
from dreamcatcherd.hook.check_socket import SOCKET, ElsewhereError, ask
from tests.e2e.test_hook import commit, pushed
from tests.e2e.tools import clone, dc, delta, unprivileged
from tests.hook.checking import complete_checks, note_complete_checks, serving

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="no root: run as root to give files to another user"),
]

DELTAS = "state/stream_deltas/1"
OWNER = 65_534


@pytest.fixture
def plain(reachable: Path) -> Iterator[Path]:
    """A repository with the check, which notes complete checks."""
    repository = reachable / "fleet.git"
    dc("init", str(repository))
    note_complete_checks(repository)
    yield repository
    os.chown(repository, 0, -1)


def test_an_account_that_does_not_own_the_repository_serves_no_hooks(plain: Path) -> None:
    """Who owns the socket approves pushes, so the repository's owner has to; and a hook of another account does not
    ask."""
    with serving(plain):
        os.chown(plain, 12_345, -1)
        with pytest.raises(ElsewhereError, match="belongs to another account"):
            ask(plain, b"")
        os.chown(plain, 0, -1)
    os.chown(plain, 12_345, -1)
    with start_process(plain) as process:
        assert process.stdout is not None
        assert "belongs to another account" in process.stdout.readline()
    os.chown(plain, 0, -1)


def test_the_socket_of_another_account_is_neither_asked_nor_answered(
    plain: Path, reachable: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Repository and process belong to another account. The hook of root, which may use any socket, checks by itself,
    and lets good pushes in and keeps bad ones out; who asks the process nevertheless is given no answer."""
    begin = unprivileged()
    worker = clone(plain, reachable / "worker")
    good = commit(worker, {f"{DELTAS}/a.json": delta(1, "a", observations=[1])})
    bad = commit(worker, {f"{DELTAS}/a.json": '{"frame": 1,'})
    trusting = reachable / "gitconfig"  # git itself distrusts the repositories of others
    trusting.write_text("[safe]\n\tdirectory = *\n")
    subprocess.run(["chown", "-R", f"{OWNER}:{OWNER}", str(plain)], check=True)
    with serving(plain, begin=begin):
        assert (plain / SOCKET).stat().st_uid == OWNER
        said = pushed(worker, f"{good}:refs/heads/dc/a", GIT_CONFIG_GLOBAL=str(trusting))
        assert said.startswith("ok"), said
        assert complete_checks(plain) == 1
        assert "not-json" in pushed(worker, f"{bad}:refs/heads/dc/a", GIT_CONFIG_GLOBAL=str(trusting))
        assert complete_checks(plain) == 2
        monkeypatch.chdir(plain)
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(SOCKET)
            answer = b"".join(iter(lambda: connection.recv(4096), b""))
        assert answer == b"elsewhere the hook runs under another account\n"
