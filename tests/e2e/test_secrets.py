"""No password and no key is ever shown: not in logs, errors, metrics or health, nor kept in the clone, nor in argv."""

from __future__ import annotations

import base64
import contextlib
import os
import shutil
import stat
import subprocess
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.e2e.primaries import await_failures, await_frames, await_ready, config_for, readiness
from tests.e2e.servers import HttpServer, Server, refusing
from tests.e2e.tools import DREAMCATCHERD, Daemon, environment

PASSWORD = "pass@w/rd%41with?odd&signs"
COMMANDS = (("status",), ("doctor", "--json"), ("merge",))


def said(words: list[str], codes: tuple[int, ...]) -> str:
    done = subprocess.run(
        [*DREAMCATCHERD, *words], env=environment(), capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode in codes, (words, done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


def everything_said(daemon: Daemon, config: Path, codes: tuple[int, ...]) -> list[str]:
    """What the daemon answers, and what commands say."""
    pages = [readiness(daemon)[1], *(daemon.get(path) for path in ("/metrics", "/healthz"))]
    return pages + [said([*command, "--config", str(config)], codes) for command in COMMANDS]


def secrets_of(server: Server) -> list[str]:
    """What must not occur, in each form that it might take."""
    if not isinstance(server, HttpServer):
        assert server.ssh_key
        return server.ssh_key.read_text().split("\n")[1:-2]
    both = base64.b64encode(f"{server.user}:{server.password}".encode()).decode()
    return [server.password, quote(server.password, safe=""), both]


@pytest.fixture
def argv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A `git` first on the PATH that writes down its command line."""
    real = shutil.which("git")
    folder = tmp_path / "bin"
    folder.mkdir()
    noted = tmp_path / "argv"
    wrapper = folder / "git"
    wrapper.write_text(f'#!/bin/sh\nprintf "%s\\n" "$*" >> {noted}\nexec {real} "$@"\n')
    wrapper.chmod(wrapper.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return noted


@pytest.mark.parametrize(
    ("server", "in_url", "transport"),
    [
        ("http", True, "pygit2"),
        ("http", True, "git"),
        ("https", False, "git"),
        ("ssh", False, "pygit2"),
    ],
    indirect=["server"],
)
def test_secrets_stay_where_they_are(server: Server, in_url: bool, transport: str, tmp_path: Path, argv: Path) -> None:
    """In good times, locked out, and refused by a hook, whatever is said or written holds no secret."""
    folder = tmp_path / "primary"
    if isinstance(server, HttpServer):
        assert server.token_file
        server.password = PASSWORD
        server.token_file.write_text(PASSWORD + "\n")
        server.let_in()
    keys = {}
    if in_url:
        assert isinstance(server, HttpServer)
        keys["url"] = server.url.replace("://", f"://{server.user}:{quote(server.password, safe='')}@")
        server.token_file = None
    config = config_for(server, folder, interval=0.5, transport=transport, keys=keys)
    if in_url:
        assert isinstance(server, HttpServer)
        config.write_text(config.read_text().replace(f'user = "{server.user}"\n', ""))
    with Daemon(folder, "--config", str(config)) as daemon:
        await_frames(daemon, 2)
        texts = everything_said(daemon, config, (0,))
        server.lock_out()
        await_failures(daemon, 2)
        texts += everything_said(daemon, config, (1, 3))
        server.let_in()
        await_ready(daemon)
        with refusing(server.repository, "no"):
            await_failures(daemon, 1)
            texts += everything_said(daemon, config, (0, 1, 3))
        await_ready(daemon)
        assert daemon.stop()[0] == 0
        texts.append(daemon.text)
    commands = argv.read_text()
    assert " push " in commands
    texts.append(commands)
    for file in (path for path in (folder / "clone.git").rglob("*") if path.is_file()):
        with contextlib.suppress(FileNotFoundError):
            texts.append(file.read_bytes().decode("latin-1"))
    for secret in secrets_of(server):
        assert len(secret) > 8
        assert not [text for text in texts if secret in text]
