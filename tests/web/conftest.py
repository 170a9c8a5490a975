"""A server over an empty repository, and a certificate for it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from dreamcatcherd.web import bodies, connections, query_executor
from tests.e2e.tools import need
from tests.web.served import Served


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limits of servers are those of a busy machine; a test sets the one that it is about."""
    monkeypatch.setattr(connections, "HEAD_S", 60.0)
    monkeypatch.setattr(bodies, "DISCARD_S", 60.0)
    monkeypatch.setattr(bodies, "SLOW_BODY_S", 60.0)
    monkeypatch.setattr(query_executor, "QUERY_LIMIT_S", 60.0)


@pytest.fixture
def served(patient: None) -> Iterator[Served]:
    """A server over an empty repository that nobody has looked at yet."""
    one = Served()
    yield one
    one.server.stop()


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for localhost and its key."""
    need("openssl")
    folder = tmp_path_factory.mktemp("tls")
    made = folder / "tls.crt", folder / "tls.key"
    words = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1"
    subprocess.run(
        ["openssl", *words.split(), "-out", made[0], "-keyout", made[1]], check=True, capture_output=True, timeout=60
    )
    return made
