"""The health check of the container image, against real servers."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from dreamcatcherd.config_tables import HttpConfig
from dreamcatcherd.web.server import read_listening
from tests.web.served import Served


def check(port: int, interpreter: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-I", *interpreter, "-m", "dreamcatcherd.web.healthcheck"]
    env = os.environ | {"DREAMCATCHERD_HTTP_LISTEN": f"0.0.0.0:{port}"}
    return subprocess.run(words, env=env, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize("encrypted", [False, True], ids=["http", "https"])
def test_a_daemon_is_healthy_with_and_without_tls(encrypted: bool, pair: tuple[Path, Path]) -> None:
    """Exit 0 and nothing printed, also where the certificate is for another name."""
    cert, key = map(str, pair) if encrypted else (None, None)
    served = Served(listening=read_listening(HttpConfig("127.0.0.1:0", tls_cert=cert, tls_key=key)))
    try:
        done = check(served.server.port)
    finally:
        served.server.stop()
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_port_that_nobody_answers_is_unhealthy() -> None:
    """Exit 1 and one line, where nothing listens and where a listener says nothing."""
    with closing(socket.socket()) as silent:
        silent.bind(("127.0.0.1", 0))
        for listens in (False, True):
            if listens:
                silent.listen()
            done = check(silent.getsockname()[1])
            assert (done.returncode, done.stderr.count("\n")) == (1, 1)
            assert done.stderr.startswith("no answer on port ")


def loaded_in(text: str) -> set[str]:
    """The top-level modules in a list that `-X importtime` wrote."""
    return {line.rpartition("|")[2].strip().partition(".")[0] for line in text.splitlines() if "|" in line}


def test_it_loads_no_library() -> None:
    """Every 30 s a process is started for it, so only the standard library and this package's own names are loaded."""
    words = [sys.executable, "-I", "-X", "importtime", "-c", ""]
    bare = loaded_in(subprocess.run(words, capture_output=True, text=True, check=True, timeout=60).stderr)
    loaded = loaded_in(check(1, ("-X", "importtime")).stderr)
    assert "http" in loaded
    assert loaded - bare - sys.stdlib_module_names == {"dreamcatcherd"}
