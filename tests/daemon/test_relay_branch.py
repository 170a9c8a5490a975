"""What upstream cannot take, on the shared branch of a relay's region: nothing of the others is lost or held up."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dreamcatcherd.core import paths
from dreamcatcherd.core.tree import FILE, Entry
from dreamcatcherd.git.protocols import Move
from tests.daemon.relays import LISTED, Deciding, Region, push
from tests.e2e.tools import git
from tests.law.fleet import MAIN
from tests.stages.signed import make_keys
from tests.stages.tools import FOLDER, merged, put, text


def put_unreadable(region: Region | Deciding, ref: str = MAIN) -> str:
    """Commit on a branch what no parser takes for a commit, as git itself does not; returns its id."""
    store = region.store
    head = store.refs()[ref]
    raw = f"tree {store.commit(head).tree}\nparent {head}\nauthor x\ncommitter x <x> 99999999999 +0000\n\n"
    oid = store.write("commit", raw.encode())
    store.flush()
    assert store.move_refs([Move(ref, oid, head)], "push")
    return oid


def put_on(region: Region, parent: str, files: dict[str, bytes]) -> str:
    """Commit files on the region's shared branch, on top of any commit."""
    entries: dict[str, Entry | None] = {
        path: Entry(FILE, region.store.write("blob", raw)) for path, raw in files.items()
    }
    return put(region.store, MAIN, entries, (parent,))


def test_an_unreadable_commit_leaves_the_branch_and_what_is_around_it_is_merged(tmp_path: Path) -> None:
    """What was pushed below it is forwarded unchanged, what came after it by copies that keep authors, versions and
    attachments; lanes go on at once. The digest is a flat fleet's, in which the commit is passed by."""
    up, flat = Deciding(tmp_path), Deciding(tmp_path / "flat")
    north = Region(tmp_path, up.bare)
    north.look()
    bodies = [text(1, "bob", 1), text(1, "bob", 2, posts_created=[{"number": 1, "body_ref": "b.md"}])]
    branches: list[tuple[Region | Deciding, str]] = [(north, MAIN), (flat, MAIN)]
    for one, _ in branches:
        push(one.store, "alice", 0, 1, MAIN)
        below = one.store.refs()[MAIN]
        bad = put_unreadable(one)
        for number, body in enumerate(bodies):
            path = f"{FOLDER}/1/bob.json"
            files = {path: body, f"{FOLDER}/1/bob/b.md": b"the words"} if number == 0 else {path: body}
            entries: dict[str, Entry | None] = {
                at: Entry(FILE, one.store.write("blob", raw)) for at, raw in files.items()
            }
            put(one.store, MAIN, entries)
        push(one.store, "carol", 0, 1)
    report = north.look()
    assert report.pending.streams == {"alice": 1, "bob": 2, "carol": 1}
    (remedy,) = (one.remedy for one in report.pending.troubles if bad in one.what)
    assert remedy.startswith("the next look at upstream takes it off the branch")
    assert report.pending.relay_pending == 2
    report = north.look()
    assert (report.pending.relay_pending, [one for one in report.pending.troubles if bad in one.what]) == (0, [])
    assert north.store.descends(north.store.refs()[MAIN], below)
    assert not north.store.descends(north.store.refs()[MAIN], bad)
    ledger, expected = up.close(), flat.close()
    assert (ledger.snapshot, ledger.counts.deltas, ledger.counts.unresolved) == (expected.snapshot, 4, 0)
    assert ledger.violations == []
    north.look()
    assert north.store.refs()[MAIN] == up.store.refs()[MAIN]
    assert north.outcome(f"{FOLDER}/1/bob.json") == [("merged", 1), ("merged", 1)]


@pytest.mark.parametrize("above", [True, False], ids=["in the middle", "as the head"])
def test_two_unreadable_commits_leave_the_branch_at_once(above: bool, tmp_path: Path) -> None:
    """Whether the head is one of them or not, and with a merge of both sides of it."""
    up = Deciding(tmp_path)
    north = Region(tmp_path, up.bare)
    north.look()
    north.push("alice", ref=MAIN)
    put_unreadable(north)
    north.push("bob", ref=MAIN)
    put_unreadable(north)
    if above:
        north.push("carol", ref=MAIN)
    up.close()
    for _ in range(3):
        north.look()
    assert merged(up.close()) == [f"{one}-0.json" for one in ("alice", "bob", "carol")[: 2 + above]]
    report = north.look()
    assert north.store.refs()[MAIN] == up.store.refs()[MAIN]
    assert [one for one in report.pending.troubles if "cannot be read" in one.what] == []


def test_an_unreadable_commit_upstream_is_passed_by_there(tmp_path: Path) -> None:
    """The region's copy keeps it, since upstream's history does; what is pushed on it is merged in the next frame but
    one."""
    up = Deciding(tmp_path)
    up.close()
    north = Region(tmp_path, up.bare)
    bad = put_unreadable(up)
    north.look()
    north.push("alice", ref=MAIN)
    report = north.look()
    (remedy,) = (one.remedy for one in report.pending.troubles if bad in one.what)
    assert remedy == "the next snapshot commit passes it by"
    up.close()
    north.look()
    assert north.look().pending.relay_pending == 0
    assert merged(up.close()) == ["alice-0.json"]
    north.look()
    assert north.store.refs()[MAIN] == up.store.refs()[MAIN]


def test_with_signers_the_branch_stays_and_status_says_what_to_do(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A copy of a signed commit has no signature. So lanes and what is below go on, what is above is not forwarded, and
    the remedy that status names brings all of it upstream."""
    keys = make_keys(tmp_path_factory.mktemp("keys"))
    lines = [f"{name} {(keys / f'{key}.pub').read_text().strip()}" for name, key in
             (("ops", "ops"), ("alice", "alice"), ("mallory", "mallory"), ("dc-relay/north", "worker-1"))]  # fmt: skip
    security = f'[security]\nallowed_signers = {json.dumps(lines)}\noperators = ["ops"]\n'
    up = Deciding(tmp_path, hook=True, settings=LISTED + security)
    north = Region(tmp_path, up.bare)
    north.store.signing_key = keys / "worker-1"
    north.look()

    def signed(stream: str, number: int, ref: str) -> None:
        north.store.signing_key = keys / stream
        north.push(stream, number, ref=ref)
        north.store.signing_key = keys / "worker-1"

    signed("alice", 0, MAIN)
    bad = put_unreadable(north)
    signed("mallory", 0, MAIN)
    signed("mallory", 1, "")
    for _ in range(2):
        report = north.look()
    assert report.pending.relay_pending == 1
    (remedy,) = (one.remedy for one in report.pending.troubles if bad in one.what)
    assert "is not forwarded, since a copy of it would not be signed" in remedy
    assert merged(up.close()) == ["alice-0.json", "mallory-1.json"]
    north.look()
    signed("mallory", 0, "")
    _, command = remedy.split("move the branch back: ")
    words = command.split()
    assert words[:2] == ["git", "-C"]
    north.look()
    assert merged(up.close()) == ["mallory-0.json"]
    north.look()
    git(Path(words[2]), *words[3:])
    report = north.look()
    assert report.pending.relay_pending == 0
    assert north.store.refs()[MAIN] == up.store.refs()[MAIN]
    assert paths.UPSTREAM in command


def test_a_branch_that_upstream_refuses_holds_up_no_lane(tmp_path: Path) -> None:
    """A delta that upstream's check refuses is on the shared branch of a region without a check. Lanes go on, also in
    later looks; status says why the branch does not, and the remedy works. It is tried again with each frame."""
    up = Deciding(tmp_path, hook=True)
    north = Region(tmp_path, up.bare)
    north.look()
    put(north.store, MAIN, {f"{FOLDER}/1/bad.json": Entry(FILE, north.store.write("blob", b"{"))})
    north.push("alice", ref=MAIN)
    for number in range(2):
        north.push("bob", number)
        report = north.look()
        assert report.forwarded is not None
        assert (report.forwarded.lanes, report.pending.relay_pending) == (1, 1)
        assert [lane for lane, _ in report.lanes_refused] == (["main"] if number == 0 else [])
        (trouble,) = (one for one in report.pending.troubles if "what was pushed to main is not forwarded" in one.what)
        assert "not-json" in trouble.what
    assert merged(up.close()) == ["bob-0.json", "bob-1.json"]
    assert north.look().lanes_refused == []
    north.push("alice")
    north.look()
    assert merged(up.close()) == ["alice-0.json"]
    north.look()
    _, command = trouble.remedy.split("move the branch back: ")
    git(Path(command.split()[2]), *command.split()[3:])
    report = north.look()
    assert (report.pending.relay_pending, report.pending.troubles) == (0, [])
    north.push("carol", ref=MAIN)
    assert north.look().forwarded is not None
    assert merged(up.close()) == ["carol-0.json"]
