"""What a relay may push upstream, and what may be pushed to its own repository (docs/relay.md)."""

from __future__ import annotations

import pytest

from dreamcatcherd.core import paths
from dreamcatcherd.daemon.primary import Primary
from dreamcatcherd.git.protocols import Commit, Move, Store
from tests.hook.test_rules import Files, made, offences, on_main
from tests.law.fleet import MAIN, NOW, commit_files
from tests.stages.tools import FOLDER, WHO, close, text

NORTH = "refs/heads/dc-relay/north"


@pytest.fixture
def listed(primary: Primary) -> Store:
    """A repository whose settings list the relay `north`."""
    commit_files(primary.store, MAIN, {paths.SETTINGS: b'[lanes]\nrelays = ["north"]\n'})
    close(primary)
    return primary.store


def forwarding(store: Store, *heads: str) -> str:
    commit = store.write_commit(Commit(store.write("tree", b""), heads, WHO, NOW // 1_000_000, "forward\n"))
    store.flush()
    return commit


def test_a_listed_relay_brings_deltas_of_any_stream(listed: Store) -> None:
    """One lane has deltas of two streams, in commits on any base; what cannot be merged is refused as ever."""
    alice = made(listed, {f"{FOLDER}/2/a.json": text(2, "alice")}, listed.refs()[MAIN])
    bob = made(listed, {f"{FOLDER}/2/b.json": text(2, "bob")})
    assert offences(listed, {NORTH: forwarding(listed, alice, bob)}) == {}
    bad = made(listed, {f"{FOLDER}/2/bad.json": b"{"})
    assert offences(listed, {NORTH: forwarding(listed, alice, bad)}) == {f"{FOLDER}/2/bad.json": "not-json"}


def test_a_relays_commits_may_stand_on_frames_that_upstream_has_lost(listed: Store) -> None:
    """A tree with other canonical files than `main` ever had is no offence on a relay's lane, and one on a stream's."""
    files: Files = {"state/snapshot/format": b"lost", f"{FOLDER}/2/a.json": text(2, "alice")}
    lost = made(listed, files, listed.refs()[MAIN])
    assert offences(listed, {NORTH: forwarding(listed, lost)}) == {}
    assert offences(listed, {"refs/heads/dc/alice": lost}) == {"state/snapshot/format": "snapshot-edited"}


@pytest.mark.parametrize("name", ["south", "north/more", ""])
def test_the_lane_of_an_unlisted_relay_is_refused(listed: Store, name: str) -> None:
    """Nothing would be merged from it, so it is refused whatever it brings."""
    ref = f"refs/heads/dc-relay/{name}"
    head = made(listed, {f"{FOLDER}/2/a.json": text(2, "alice")})
    assert offences(listed, {ref: head})[ref] == "not-a-relay"


def test_a_relays_lane_is_deleted_once_it_is_merged(primary: Primary, listed: Store) -> None:
    """Like a lane: not while it brings something that no snapshot has."""
    head = forwarding(listed, made(listed, {f"{FOLDER}/2/a.json": text(2, "alice")}))
    assert listed.move_refs([Move(NORTH, head, None)], "push")
    assert offences(listed, {NORTH: None}) == {NORTH: "lane-unmerged"}
    close(primary)
    assert offences(listed, {NORTH: None}) == {}


def test_a_copy_takes_deltas_alone(listed: Store) -> None:
    """On the shared branch of a relay's repository everything but deltas and their attachments is refused."""
    files: Files = {f"{FOLDER}/2/a.json": text(2, "alice"), f"{FOLDER}/2/a/body.md": b"words"}
    others: Files = {"README": b"mine", paths.SETTINGS: b""}
    assert on_main(listed, {**files, **others}) == {}
    assert listed.move_refs([Move(f"{paths.UPSTREAM}main", listed.refs()[MAIN], None)], "fetched")
    assert on_main(listed, files) == {}
    assert on_main(listed, {**files, **others}) == {"README": "relay-copy", paths.SETTINGS: "relay-copy"}


def test_nobody_publishes_in_a_copy(listed: Store) -> None:
    """A primary that is pointed at a relay's repository by its URL is refused."""
    refs = listed.refs()
    assert listed.move_refs([Move(f"{paths.UPSTREAM}main", refs[MAIN], None)], "fetched")
    new = made(listed, {f"{FOLDER}/2/a.json": text(2)}, refs[MAIN])
    assert offences(listed, {MAIN: new, paths.PUBLISHED: new})[paths.PUBLISHED] == "relay-copy"
