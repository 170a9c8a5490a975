"""What end-to-end tests share as fixtures: a repository made by `init`, reached in each way that git offers."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.event_tools import Receiver, receiving
from tests.e2e.releases import Release, make_release
from tests.e2e.servers import KINDS, SERVERS, Served, Server, serve
from tests.e2e.tools import dc


@pytest.fixture
def reachable() -> Iterator[Path]:
    """A folder that every user can reach, as pytest's own are not."""
    folder = Path(tempfile.mkdtemp(prefix="dreamcatcherd-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)  # a process that a daemon left behind may just write there


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    """A process that receives events."""
    with receiving(tmp_path / "receiver") as found:
        yield found


def served_as(kind: str, tmp_path: Path) -> Iterator[Served]:
    repository = tmp_path / "served" / "fleet.git"
    dc("init", str(repository))
    with serve(kind, repository, tmp_path / "server") as found:
        yield found


@pytest.fixture(params=KINDS)
def served(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Served]:
    """A new repository by path and through each kind of server."""
    yield from served_as(request.param, tmp_path)


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    """A new repository through each kind of server, https too: for what only a server can do to its clients."""
    for found in served_as(request.param, tmp_path):
        assert isinstance(found, Server)
        yield found


@pytest.fixture
def git_server(tmp_path: Path) -> Iterator[Server]:
    """A new repository behind git's daemon: for what one transport shows."""
    yield from _server("git", tmp_path)


@pytest.fixture
def http_server(tmp_path: Path) -> Iterator[Server]:
    """A new repository behind a web server that asks for a password."""
    yield from _server("http", tmp_path)


@pytest.fixture(params=["git", "http"])
def git_or_http(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    """Either of the two."""
    yield from _server(request.param, tmp_path)


def _server(kind: str, tmp_path: Path) -> Iterator[Server]:
    for found in served_as(kind, tmp_path):
        assert isinstance(found, Server)
        yield found


@pytest.fixture(scope="session")
def release(tmp_path_factory: pytest.TempPathFactory) -> Release:
    """A release made as docs/releasing.md says; it takes half a minute, so its tests share the group `wheel`."""
    return make_release(tmp_path_factory.mktemp("release"))
