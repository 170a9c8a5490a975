"""Daemons that are stepped by hand, and put away after the test."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dreamcatcherd.config import Config
from tests.daemon.tools import CONFIG, Clock, Daemon, Scripted, new_store
from tests.daemon.web import Served
from tests.e2e.tools import do_without, program

Start = Callable[..., Daemon]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def start(clock: Clock) -> Start:
    """Makes a daemon on a store in memory (by default one with frame 1 open). It is never started, only stepped."""

    def make(store: Scripted | None = None, config: Config = CONFIG) -> Daemon:
        return Daemon(store or new_store(), clock, config)

    return make


@pytest.fixture
def served() -> Iterator[Served]:
    """A server over an empty repository that nobody has looked at yet."""
    one = Served()
    yield one
    one.server.stop()


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for localhost and its key."""
    if program("openssl") is None:
        do_without("no openssl: run make packages as root")
    folder = tmp_path_factory.mktemp("tls")
    made = folder / "tls.crt", folder / "tls.key"
    words = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1"
    subprocess.run(
        ["openssl", *words.split(), "-out", made[0], "-keyout", made[1]], check=True, capture_output=True, timeout=60
    )
    return made
