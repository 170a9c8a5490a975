"""A relay: its repository is a copy, and what workers push there is merged upstream (docs/relay.md)."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from dreamcatcherd.core import paths
from dreamcatcherd.core.errors import FatalError, PushRefusedError
from dreamcatcherd.core.frames import Closing
from dreamcatcherd.core.tree import FILE, Entry, walk
from dreamcatcherd.daemon.cycle import close_frame
from dreamcatcherd.git.local import LocalStore
from dreamcatcherd.git.protocols import Move
from dreamcatcherd.history.verify import read_history, verify_frame
from dreamcatcherd.imports.new_repository import create
from tests.daemon.relays import LISTED, Deciding, Region, commit_settings, digest_of_flat, push
from tests.law.fleet import MAIN, NOW, primary_on
from tests.stages.signed import make_keys
from tests.stages.tools import FOLDER, close, merged, put, text


def test_two_regions_give_the_digest_of_a_flat_fleet(tmp_path: Path) -> None:
    """Deltas of two regions, early and late ones too, come to the digest that one repository gives, and verify."""
    up = Deciding(tmp_path)
    north, south = Region(tmp_path, up.bare), Region(tmp_path, up.bare, "south")
    frames = [
        [("alice", 1, 1), ("bob", 2, 1), ("carol", 3, 3)],
        [("alice", 4, 2), ("bob", 5, 1)],
        [("carol", 6, 3)],
    ]
    for deltas in frames:
        for stream, number, frame in deltas:
            (south if stream == "bob" else north).push(stream, number, frame)
        north.look()
        south.look()
        last = up.close()
    assert last.snapshot == digest_of_flat(tmp_path, frames)
    history = read_history(up.store, up.store.refs(), MAIN)
    assert [verify_frame(up.store, history, at) for at in range(len(history.links))] == [None] * 3
    for region in (north, south):
        region.look()
        assert region.store.refs()[MAIN] == up.store.refs()[MAIN]
        assert region.relay.look()[0].pending.relay_pending == 0


def test_a_worker_of_a_region_reads_its_receipt_there(tmp_path: Path) -> None:
    """A delta is pending in its region until upstream has merged it, and then merged, with upstream's frame."""
    up = Deciding(tmp_path)
    north = Region(tmp_path, up.bare)
    north.look()
    path = north.push("alice")
    assert north.look().pending.streams == {"alice": 1}
    assert north.outcome(path) == [("pending", None)]
    up.close()
    assert north.look().pending.streams == {}
    assert north.outcome(path) == [("merged", 1)]


def test_each_look_pushes_once_and_only_what_upstream_lacks(tmp_path: Path) -> None:
    """Deltas of several lanes go upstream in one commit on top of the one before; a look without any pushes nothing."""
    up = Deciding(tmp_path)
    north = Region(tmp_path, up.bare)
    north.look()
    assert up.lane() is None
    north.push("alice")
    north.push("bob")
    report = north.look()
    first = up.lane()
    assert first is not None
    assert report.forwarded is not None
    assert (report.forwarded.commit, report.forwarded.deltas, report.forwarded.lanes) == (first, 2, 2)
    assert north.look().forwarded is None
    assert up.lane() == first
    north.push("carol")
    north.look()
    second = up.store.commit(up.lane() or "")
    assert second.parents == (first, north.store.refs()["refs/heads/dc/carol"])


def test_the_ledger_names_the_relay_as_source_and_the_workers_commit(tmp_path: Path) -> None:
    """A row of the ledger has the relay's lane as its source, and the commit in which the worker brought the delta."""
    up = Deciding(tmp_path)
    north = Region(tmp_path, up.bare)
    north.look()
    north.push("alice")
    north.look()
    row = up.close().deltas[0]
    assert (row.source, row.commit) == ("dc-relay/north", north.store.refs()["refs/heads/dc/alice"])


def test_a_merged_lane_leaves_the_region_when_it_was_silent_long_enough(tmp_path: Path) -> None:
    """A region's lane can go `lanes_keep` seconds after it was merged upstream, and no earlier."""
    up = Deciding(tmp_path)
    north = Region(tmp_path, up.bare)
    north.look()
    north.push("alice")
    north.look()
    assert north.relay.silent_lanes(0) == {}
    up.close()
    north.look()
    lane = {"refs/heads/dc/alice": north.store.refs()["refs/heads/dc/alice"]}
    assert north.relay.silent_lanes(0) == lane
    assert north.relay.silent_lanes(10) == {}
    north.clock.go_on(10)
    assert north.relay.silent_lanes(10) == lane


def test_pushes_to_the_regions_shared_branch_are_forwarded_and_stay_until_they_are_merged(tmp_path: Path) -> None:
    """The branch moves forward alone: with upstream's frames and the deltas pushed here, then to upstream's commit."""
    up = Deciding(tmp_path)
    north = Region(tmp_path, up.bare)
    north.look()
    early = north.push("alice", ref=MAIN)
    north.look()
    pushed = north.store.refs()[MAIN]
    assert merged(up.close()) == ["alice-0.json"]
    late = north.push("bob", ref=MAIN)  # on top of the branch as it was before that close
    north.look()
    head = north.store.refs()[MAIN]
    assert north.store.descends(head, pushed)
    assert north.store.descends(head, up.store.refs()[MAIN])
    assert north.outcome(early) == [("merged", 1)]
    assert north.outcome(late) == [("pending", None)]
    assert paths_on(north, head) >= {early, late}
    north.look()
    assert merged(up.close()) == ["bob-0.json"]
    north.look()
    assert north.store.refs()[MAIN] == up.store.refs()[MAIN]


def paths_on(region: Region, commit: str) -> set[str]:
    return {path for path, _ in walk(region.store, region.store.commit(commit).tree)}


def test_a_linear_upstream_merges_what_a_region_pushes(tmp_path: Path) -> None:
    """With `history = "linear"` lanes and the shared branch of a region are merged, and its branch is upstream's."""
    up = Deciding(tmp_path, settings='[lanes]\nrelays = ["north"]\n[publish]\nhistory = "linear"\n')
    north = Region(tmp_path, up.bare)
    north.look()
    north.push("alice", ref=MAIN)
    north.push("bob")
    north.look()
    assert merged(up.close()) == ["alice-0.json", "bob-0.json"]
    report = north.look()
    assert (report.forwarded, report.pending.streams) == (None, {})
    assert north.store.refs()[MAIN] == up.store.refs()[MAIN]


def test_a_relay_that_dies_after_its_push_does_not_push_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What has landed upstream is found there by the next start, although the answer to the push was lost."""
    up = Deciding(tmp_path)
    north = Region(tmp_path, up.bare)
    north.look()
    north.push("alice")

    original = north.relay._upstream.push

    def dies(*args: object) -> None:
        original(*args)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    monkeypatch.setattr(north.relay._upstream, "push", dies)
    with pytest.raises(KeyboardInterrupt):
        north.try_look()
    landed = up.lane()
    assert landed is not None
    again = Region(tmp_path, up.bare)
    assert again.look().forwarded is None
    assert up.lane() == landed
    assert merged(up.close()) == ["alice-0.json"]


def test_a_relay_that_dies_before_its_push_pushes_at_its_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A forwarding commit that never left is made again."""
    up = Deciding(tmp_path)
    north = Region(tmp_path, up.bare)
    north.look()
    north.push("alice")

    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(north.relay._upstream, "push", dies)
    with pytest.raises(KeyboardInterrupt):
        north.try_look()
    assert up.lane() is None
    Region(tmp_path, up.bare).look()
    assert merged(up.close()) == ["alice-0.json"]


@pytest.mark.parametrize("one_region", [True, False])
def test_two_relays_of_one_name_race_and_lose_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_region: bool
) -> None:
    """The relay that comes second pushes nothing over the first one's commit, looks again, and both end well."""
    up = Deciding(tmp_path)
    north = Region(tmp_path, up.bare)
    elsewhere = tmp_path if one_region else tmp_path / "elsewhere"
    elsewhere.mkdir(exist_ok=True)
    other = Region(elsewhere, up.bare)
    other.primary.clock = lambda: NOW + 5_000_000  # at one time they would make one and the same commit
    north.look()
    other.look()
    north.push("alice")
    if not one_region:
        other.push("bob")
    original = north.relay._upstream.push

    def second(*args: object) -> object:
        monkeypatch.undo()
        assert other.look().forwarded is not None
        return original(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(north.relay._upstream, "push", second)
    assert north.look().forwarded is None
    assert north.relay.left_s < 1
    again = north.look().forwarded
    assert (again is None) == one_region
    assert other.look().forwarded is None
    assert merged(up.close()) == ["alice-0.json"] + ([] if one_region else ["bob-0.json"])


def test_a_relay_of_a_relay_forwards_to_the_top(tmp_path: Path) -> None:
    """Deltas of a district go through its region to the top, are merged once, and their receipts come back."""
    up = Deciding(tmp_path)
    region = Region(tmp_path, up.bare)
    region.look()
    district = Region(tmp_path, region.bare, "south")
    district.look()
    path = district.push("alice")
    region.push("bob")
    district.look()
    report = region.look()
    assert report.forwarded is not None
    assert report.forwarded.deltas == 2
    assert merged(up.close()) == ["alice-0.json", "bob-0.json"]
    region.look()
    district.look()
    assert district.outcome(path) == [("merged", 1)]
    assert district.store.refs()[MAIN] == up.store.refs()[MAIN]


def test_a_delta_that_cannot_be_merged_is_quarantined_upstream(tmp_path: Path) -> None:
    """Without a check, what a region takes in is judged upstream, and the reason is in the region's receipt."""
    up = Deciding(tmp_path)
    north = Region(tmp_path, up.bare)
    north.look()
    path = f"{FOLDER}/1/bad.json"
    put(north.store, "refs/heads/dc/alice", {path: Entry(FILE, north.store.write("blob", b"{"))})
    north.look()
    assert [row.reason for row in up.close().quarantined] == ["not-json"]
    north.look()
    assert north.outcome(path) == [("quarantined", 1)]


def test_a_lane_that_cannot_be_read_holds_up_no_other(tmp_path: Path) -> None:
    """A lane with an unreadable commit is not forwarded, and reported; the other lanes are."""
    up = Deciding(tmp_path)
    north = Region(tmp_path, up.bare)
    north.look()
    tree = north.store.write("tree", b"")
    broken = north.store.write("commit", f"tree {tree}\nauthor x\ncommitter x <x> 99999999999 +0000\n\n".encode())
    north.store.flush()
    assert north.store.move_refs([Move("refs/heads/dc/bad", broken, None)], "push")
    north.push("alice")
    report = north.look()
    assert report.forwarded is not None
    assert report.forwarded.lanes == 1
    assert any(one.what.startswith("dc/bad brings the commit") for one in report.pending.troubles)
    assert merged(up.close()) == ["alice-0.json"]


def refuse(up: Deciding, script: str) -> None:
    hook = up.bare / "hooks" / "pre-receive"
    hook.write_text(f"#!/bin/sh\n{script}\n")
    hook.chmod(0o755)


REFUSES_BAD = """while read old new ref; do
  for one in $(git rev-list $new --not --all); do
    if git ls-tree -r --name-only $one | grep -q bad-; then echo "no: policy forbids $one"; exit 1; fi
  done
done"""


def test_a_lane_that_upstreams_policy_refuses_is_left_out_and_reported(tmp_path: Path) -> None:
    """The server names a commit: its lane is left out, all others are forwarded, and status says which and why."""
    up = Deciding(tmp_path)
    north = Region(tmp_path, up.bare)
    north.look()
    for stream in ("alice", "bad", "bob"):
        north.push(stream)
    refuse(up, REFUSES_BAD)
    report = north.look()
    assert report.forwarded is not None
    assert report.forwarded.lanes == 2
    assert [lane for lane, _ in report.lanes_refused] == ["dc/bad"]
    assert report.pending.relay_pending == 1
    assert any("dc/bad is left out until frame" in one.what for one in report.pending.troubles)
    assert merged(up.close()) == ["alice-0.json", "bob-0.json"]


def test_a_push_that_takes_too_long_to_check_is_halved(tmp_path: Path) -> None:
    """After a long outage the check refuses all in one push; smaller pushes bring it upstream in several looks."""
    up = Deciding(tmp_path)
    north = Region(tmp_path, up.bare)
    north.look()
    for number in range(8):
        north.push(f"w{number}")
    said = "checking it took longer than 10 s; push less at once, in several pushes"
    refuse(up, f'read old new ref; test $(git rev-list $new --not --all | wc -l) -le 3 || {{ echo "{said}"; exit 1; }}')
    brought = [report.forwarded.deltas for report in (north.look() for _ in range(4)) if report.forwarded]
    assert brought == [2, 2, 2, 2]
    assert len(up.close().deltas) == 8


def test_an_upstream_that_is_down_stops_nothing_but_forwarding(tmp_path: Path) -> None:
    """The region goes on, the failure stays until a look goes well, and then one push brings everything."""
    up = Deciding(tmp_path)
    north = Region(tmp_path, up.bare)
    north.look()
    away = up.bare.rename(tmp_path / "away.git")
    for number in range(3):
        north.push("alice", number)
        report = north.try_look()
        assert north.relay.failure is not None
        assert report.pending.relay_pending == number + 1
    assert north.relay.left_s > 0
    away.rename(up.bare)
    report = north.look()
    assert report.forwarded is not None
    assert report.forwarded.deltas == 3
    assert merged(up.close()) == ["alice-0.json", "alice-1.json", "alice-2.json"]


def test_an_upstream_that_was_restored_from_a_backup_gets_everything_again(tmp_path: Path) -> None:
    """What upstream has lost is forwarded again and merged; the region never goes back, and says what it sees."""
    up = Deciding(tmp_path)
    north = Region(tmp_path, up.bare)
    north.look()
    up.close()
    backup = tmp_path / "backup.git"
    shutil.copytree(up.bare, backup)
    path = north.push("alice", 1, 2)
    north.look()
    up.close()
    north.look()
    before = dict(north.store.refs())
    del before["refs/heads/dc/alice"]
    assert north.store.move_refs([Move("refs/heads/dc/alice", None, north.store.refs()["refs/heads/dc/alice"])], "gone")
    shutil.rmtree(up.bare)
    backup.rename(up.bare)
    restored = primary_on(LocalStore(up.bare))
    report = north.look()
    assert {ref: north.store.refs()[ref] for ref in (MAIN, paths.PUBLISHED)} == {
        ref: before[ref] for ref in (MAIN, paths.PUBLISHED)
    }
    assert any(one.what.startswith("upstream was moved back") for one in report.pending.troubles)
    assert merged(close(restored)) == ["alice-1.json"]
    assert not any(one.what.startswith("upstream was moved back") for one in north.look().pending.troubles)
    assert ("merged", 2) in north.outcome(path)


def test_a_relay_that_upstream_does_not_list_forwards_nothing_and_says_so(tmp_path: Path) -> None:
    """Nothing is pushed until an operator lists the relay; then it is, without a restart."""
    up = Deciding(tmp_path, settings="")
    north = Region(tmp_path, up.bare)
    north.look()
    north.push("alice")
    report = north.look()
    assert (report.forwarded, report.pending.relay_pending, up.lane()) == (None, 1, None)
    assert any("does not list the relay 'north'" in one.what for one in report.pending.troubles)
    commit_settings(up.store, LISTED)
    assert north.look().forwarded is not None


def test_an_unlisted_relays_lane_is_never_merged_but_reported(tmp_path: Path) -> None:
    """Without a check such a lane can be pushed: its deltas are not merged, and status names the remedy."""
    up = Deciding(tmp_path)
    push(up.store, "alice", ref="refs/heads/dc-relay/west")
    inbox = up.primary.read_inbox()
    assert inbox.arrivals == []
    found = [one for one in up.primary.pending(inbox).troubles if one.what.startswith("dc-relay/west brings 1")]
    assert 'relays = ["west"]' in found[0].remedy


def test_no_frame_closes_in_a_copy(tmp_path: Path) -> None:
    """A primary that is pointed at a relay's repository by mistake publishes nothing there."""
    up = Deciding(tmp_path)
    north = Region(tmp_path, up.bare)
    north.look()
    with pytest.raises(FatalError, match="frames are closed upstream"):
        close_frame(primary_on(LocalStore(north.bare)), "test")
    assert north.store.refs()[MAIN] == up.store.refs()[MAIN]


def test_a_new_repository_becomes_a_copy_and_one_with_frames_does_not(tmp_path: Path) -> None:
    """The first frame that `init` opened is replaced; frames of its own are kept, and the relay says what to do."""
    up = Deciding(tmp_path)
    create(tmp_path / "region-north.git", 1, NOW + 1, Closing("manual"), hook=False)
    north = Region(tmp_path, up.bare)
    north.look()
    assert north.store.refs()[MAIN] == up.store.refs()[MAIN]
    own = primary_on(create(tmp_path / "region-south.git", 1, NOW + 1, Closing("manual"), hook=False))
    close(own)
    south = Region(tmp_path, up.bare, "south")
    before = south.store.refs()
    with pytest.raises(FatalError, match="cannot be made a copy"):
        south.try_look()
    assert south.store.refs() == before


def test_attachments_are_forwarded_with_their_delta(tmp_path: Path) -> None:
    """A delta that names a file has its content upstream."""
    up = Deciding(tmp_path)
    north = Region(tmp_path, up.bare)
    north.look()
    body = text(posts_created=[{"discussion_number": 1, "body_ref": "words.md"}])
    entries: dict[str, Entry | None] = {
        f"{FOLDER}/1/alice.json": Entry(FILE, north.store.write("blob", body)),
        f"{FOLDER}/1/alice/words.md": Entry(FILE, north.store.write("blob", b"the words")),
    }
    put(north.store, "refs/heads/dc/s", entries)
    north.look()
    assert up.close().counts.unresolved == 0


def signers(keys: Path, *more: str) -> str:
    """Settings that list the relay `north`, with a key for each of some principals, named `principal=key`."""
    names = [one.partition("=") for one in ("ops=ops", "alice=alice", *more)]
    lines = [f"{principal} {(keys / f'{key}.pub').read_text()}".strip() for principal, _, key in names]
    return f'{LISTED}[security]\nallowed_signers = {json.dumps(lines)}\noperators = ["ops"]\n'


def signed_push(region: Region, keys: Path, stream: str, by: str, number: int = 0) -> None:
    region.store.signing_key = keys / by
    region.push(stream, number)
    region.store.signing_key = None


def test_with_signers_the_relays_key_vouches_for_its_lane_and_each_stream_for_its_deltas(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Without a key of `dc-relay/north` upstream refuses the lane and says what to do; with it, a delta that its stream
    has not signed is left out, and the others are merged."""
    keys = make_keys(tmp_path_factory.mktemp("keys"))
    up = Deciding(tmp_path, hook=True, settings=signers(keys, "dc-relay/north=worker-1"))
    north = Region(tmp_path, up.bare)
    north.look()
    signed_push(north, keys, "alice", "alice")
    north.try_look()
    assert isinstance(north.relay.failure, PushRefusedError)
    assert "not-a-relay" in north.relay.failure.cause
    assert "principal dc-relay/north" in north.relay.failure.cause
    north.store.signing_key = keys / "worker-1"
    assert north.look().forwarded is not None
    signed_push(north, keys, "bob", "mallory")
    signed_push(north, keys, "alice", "alice", 2)
    north.store.signing_key = keys / "worker-1"
    report = north.look()
    assert [lane for lane, _ in report.lanes_refused] == ["dc/bob"]
    assert merged(up.close()) == ["alice-0.json", "alice-2.json"]
