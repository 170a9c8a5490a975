"""What a primary at a distance fetches: the refs that changed, whatever the number of those that did not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pygit2
import pytest

from dreamcatcherd.core.errors import RetryableError
from dreamcatcherd.core.frames import Closing
from dreamcatcherd.git.local import LocalStore
from dreamcatcherd.git.protocols import Move
from dreamcatcherd.git.remote import FEW, RemoteStore
from dreamcatcherd.imports.new_repository import create
from tests.git.test_remote import TRANSPORTS, Transport, remote
from tests.git.wires import git_daemon
from tests.law.fleet import MAIN, NOW, commit_files
from tests.stages.tools import FOLDER, text


@pytest.fixture(params=TRANSPORTS)
def transport(request: pytest.FixtureRequest) -> Transport:
    found: Transport = request.param
    return found


@pytest.fixture
def shared(tmp_path: Path) -> LocalStore:
    return create(tmp_path / "served" / "fleet.git", 1, NOW, Closing("manual"))


@pytest.fixture
def url(shared: LocalStore) -> Iterator[str]:
    with git_daemon(shared.folder.parent) as server:
        yield f"{server}/{shared.folder.name}"


def lane(name: str) -> str:
    return f"refs/heads/dc/{name}"


def push_lanes(shared: LocalStore, *names: str) -> None:
    for number, name in enumerate(names):
        commit_files(shared, lane(name), {f"{FOLDER}/1/{name}.json": text(1, name, number)}, orphan=True)


def asked_for(store: RemoteStore, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The refspecs of each fetch from now on."""
    found: list[list[str]] = []
    fetch = store._wire.fetch

    def noted(repository: pygit2.Repository, specs: list[str], limit_s: float) -> bool:
        found.append(specs)
        return fetch(repository, specs, limit_s)

    monkeypatch.setattr(store._wire, "fetch", noted)
    return found


def test_refs_that_changed_are_asked_for_by_name(
    shared: LocalStore, url: str, tmp_path: Path, transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few new lanes by their names, many by a pattern, none not at all; lanes that went are forgotten unasked."""
    push_lanes(shared, "a", "b")
    store = remote(url, tmp_path / "clone.git", transport)
    assert store.refs() == shared.refs()
    asked = asked_for(store, monkeypatch)
    push_lanes(shared, "b", "c")
    assert store.refs() == shared.refs()
    assert sorted(asked.pop()) == [f"+{lane(name)}:{lane(name)}" for name in "bc"]
    assert shared.move_refs([Move(lane("a"), None, shared.refs()[lane("a")])], "test")
    assert store.refs() == store.refs() == shared.refs()
    assert not asked
    head = shared.refs()[MAIN]
    shared.move_refs([Move(lane(f"n{number}"), head, None) for number in range(FEW + 1)], "test")
    assert store.refs() == shared.refs()
    assert len(asked) == 1
    assert "+refs/heads/*:refs/heads/*" in asked[0]
    assert all(store.commit(oid) for oid in store.refs().values())
    shared.move_refs([Move(lane(f"n{number}"), None, head) for number in range(FEW)], "test")
    assert store.refs() == shared.refs()
    assert remote(url, tmp_path / "clone.git", transport).refs() == shared.refs()
    assert LocalStore(tmp_path / "clone.git").refs().keys() >= {MAIN, lane("b"), lane("c"), lane(f"n{FEW}")}
    assert lane("n7") not in LocalStore(tmp_path / "clone.git").refs()


def test_a_lane_that_goes_after_it_was_listed_is_no_failure(
    shared: LocalStore, url: str, tmp_path: Path, transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others are fetched all the same, and it is not shown."""
    store = remote(url, tmp_path / "clone.git", transport)
    store.refs()
    push_lanes(shared, "a")
    heads = store._wire.heads
    listed = iter([{lane("gone"): "1" * 40}])
    monkeypatch.setattr(store._wire, "heads", lambda *of: heads(*of) | next(listed, {}))
    assert store.refs() == shared.refs()


def test_a_lane_that_is_listed_and_never_given_is_told(
    shared: LocalStore, url: str, tmp_path: Path, transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that lists what it does not give is not taken for one that has less."""
    store = remote(url, tmp_path / "clone.git", transport)
    store.refs()
    heads = store._wire.heads
    monkeypatch.setattr(store._wire, "heads", lambda *of: heads(*of) | {lane("never"): "1" * 40})
    with pytest.raises(RetryableError, match="lists 1 ref that it does not give, such as dc/never"):
        store.refs()


def test_two_that_share_a_clone_see_what_the_server_has(
    shared: LocalStore, url: str, tmp_path: Path, transport: Transport
) -> None:
    """What one of them, such as a command beside the daemon, takes out of the clone or puts into it misleads none."""
    push_lanes(shared, "a", "b")
    one, other = (remote(url, tmp_path / "clone.git", transport) for _ in range(2))
    assert one.refs() == other.refs() == shared.refs()
    gone = shared.refs()[lane("a")]
    assert shared.move_refs([Move(lane("a"), None, gone)], "test")
    assert other.refs() == shared.refs()
    assert shared.move_refs([Move(lane("a"), gone, None)], "test")
    push_lanes(shared, "b", "c")
    for store in (one, other, one):
        assert store.refs() == shared.refs()
        assert all(store.commit(oid) for oid in store.refs().values())
