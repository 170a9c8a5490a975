"""What a push may bring: each rule of the pre-receive check, over both stores (docs/protocol.md#violations)."""

from __future__ import annotations

import json

import pytest

from dreamcatcherd.core import paths
from dreamcatcherd.core.tree import FILE, Entry, edit, lookup, subtree
from dreamcatcherd.daemon.primary import Primary
from dreamcatcherd.git.protocols import Commit, Move, Store
from dreamcatcherd.hook.branch_rules import judge_push
from dreamcatcherd.hook.push import OFFENCES_LISTED, Gate, Update
from tests.law.fleet import MAIN, NOW, commit_files
from tests.stages.tools import FOLDER, WHO, close, put, text

LANE = "refs/heads/dc/s"
GATE = Gate(MAIN)
Files = dict[str, bytes | None]


def made(store: Store, files: Files, *parents: str) -> str:
    """A commit upon the first parent's tree; no ref names it yet."""
    entries = {path: Entry(FILE, store.write("blob", raw)) if raw is not None else None for path, raw in files.items()}
    tree = edit(store, store.commit(parents[0]).tree if parents else None, entries)
    assert tree is not None
    commit = store.write_commit(Commit(tree, parents, WHO, NOW // 1_000_000, "work\n"))
    store.flush()
    return commit


def offences(store: Store, moves: dict[str, str | None], gate: Gate = GATE) -> dict[str, str]:
    """Path or ref and reason of what a push is refused for."""
    refs = store.refs()
    found = judge_push(store, [Update(ref, refs.get(ref), new) for ref, new in moves.items()], gate)
    return {offence.path: offence.reason for offence in found}


def on_main(store: Store, files: Files) -> dict[str, str]:
    return offences(store, {MAIN: made(store, files, store.refs()[MAIN])})


def take_back(store: Store, refs: dict[str, str]) -> dict[str, str]:
    """Move `main` and the published ref back to where they stood; returns where they were, as a push would name it."""
    now = store.refs()
    moved = {ref: now[ref] for ref in (MAIN, paths.PUBLISHED)}
    assert store.move_refs([Move(ref, refs.get(ref), oid) for ref, oid in moved.items()], "take back")
    return moved


def test_what_workers_are_to_push_passes(primary: Primary) -> None:
    """Deltas new and changed, attachments, settings, the counter file and other people's files enter by `main`."""
    store = primary.store
    files: Files = {
        f"{FOLDER}/1/a.json": text(),
        f"{FOLDER}/1/a/body.md": b"text",
        f"{FOLDER}/frame-1-s.json": text(number=1),
        paths.SETTINGS: b"[limits]\ndepth = 9\n",
        "state/frame_counter.json": b'{"frame": 1}',
        "README": b"ours",
    }
    assert on_main(store, files) == {}
    put(store, MAIN, {path: Entry(FILE, store.write("blob", raw or b"")) for path, raw in files.items()})
    close(primary)
    again: Files = {f"{FOLDER}/1/a.json": text(number=2), f"{FOLDER}/1/a/body.md": b"other", "README": None}
    assert on_main(store, {**again, "state/frame_counter.json": b"{}", paths.SETTINGS: None}) == {}


def test_every_version_counts_not_only_the_newest_tree(primary: Primary) -> None:
    """Garbage that a later commit of the same push mends is still a version that would be quarantined."""
    store = primary.store
    first = made(store, {f"{FOLDER}/1/a.json": b"{", f"{FOLDER}/2/b.json": text(1)}, store.refs()[MAIN])
    second = made(store, {f"{FOLDER}/1/a.json": text(), f"{FOLDER}/2/b.json": text(2)}, first)
    (one, two) = judge_push(store, [Update(MAIN, store.refs()[MAIN], second)], GATE)
    assert (one.path, one.reason, one.at) == (f"{FOLDER}/1/a.json", "not-json", None)
    assert (two.path, two.reason, two.at) == (f"{FOLDER}/2/b.json", "frame-mismatch", "$.frame")
    assert first[:10] in one.detail


def test_limits_are_those_of_the_repository(primary: Primary) -> None:
    """A delta is measured by the settings that the push brings, else by those on `main`, else by the last good ones."""
    store = primary.store
    deep = text(observations=[[[[[1]]]]])
    low = b"[limits]\ndepth = 4\n"
    assert on_main(store, {f"{FOLDER}/1/a.json": deep}) == {}
    assert on_main(store, {f"{FOLDER}/1/a.json": deep, paths.SETTINGS: low}) == {f"{FOLDER}/1/a.json": "too-deep"}
    commit_files(store, MAIN, {paths.SETTINGS: low})
    close(primary)
    commit_files(store, MAIN, {paths.SETTINGS: b"[limits"})
    assert on_main(store, {f"{FOLDER}/1/a.json": deep}) == {f"{FOLDER}/1/a.json": "too-deep"}


def test_settings_must_be_readable(primary: Primary) -> None:
    """What cannot count as settings is refused before it stands on `main`."""
    assert on_main(primary.store, {paths.SETTINGS: b"[limits]\ndpeth = 4\n"}) == {paths.SETTINGS: "settings-refused"}


def test_canonical_files_are_the_primarys(primary: Primary) -> None:
    """Adding, changing and deleting below `state/` is refused where it is neither delta, settings nor counter."""
    store = primary.store
    commit_files(store, MAIN, {f"{FOLDER}/1/a.json": text()})
    close(primary)
    files: Files = {
        "state/snapshot/format": b"mine",
        "state/snapshot/state/agents.jsonl": b"{}",
        "state/ledger/0/1.json": None,
        "state/frame.json": b'{"frame": 9}',
        "state/agents.json": b"{}",
        f"{FOLDER}x.json": text(),
    }
    assert on_main(store, files) == {
        "state/snapshot/format": "snapshot-edited",
        "state/snapshot/state/agents.jsonl": "snapshot-edited",
        "state/ledger/0/1.json": "ledger-edited",
        "state/frame.json": "frame-edited",
        "state/agents.json": "state-edited",
        f"{FOLDER}x.json": "state-edited",
    }


def test_another_counter_file_may_be_named(primary: Primary) -> None:
    """With a counter file of its own the repository lets that one through, and the default one no longer."""
    store = primary.store
    files: Files = {"state/clock.json": b"{}", "state/frame_counter.json": b"{}"}
    moves: dict[str, str | None] = {MAIN: made(store, files, store.refs()[MAIN])}
    assert offences(store, moves, Gate(MAIN, "state/clock.json")) == {"state/frame_counter.json": "state-edited"}


def test_deltas_and_attachments_are_neither_deleted_nor_renamed(primary: Primary) -> None:
    """A deletion is refused, and a rename is one; so is a file in whose place a folder is put."""
    store = primary.store
    commit_files(store, MAIN, {f"{FOLDER}/1/{name}": text() for name in ("a.json", "b.json", "c.json", "d.md")})
    files: Files = {f"{FOLDER}/1/a.json": None, f"{FOLDER}/1/new.json": text(), f"{FOLDER}/1/d.md": None}
    assert on_main(store, {**files, f"{FOLDER}/1/b.json/x.md": b"x"}) == {
        f"{FOLDER}/1/a.json": "delta-deleted",
        f"{FOLDER}/1/b.json": "delta-deleted",
        f"{FOLDER}/1/d.md": "delta-deleted",
    }


def test_a_changed_delta_keeps_its_stream(primary: Primary) -> None:
    """Another stream's delta is not overwritten; what never was a delta may be mended by anybody."""
    store = primary.store
    commit_files(store, MAIN, {f"{FOLDER}/1/a.json": text(stream="a"), f"{FOLDER}/1/bad.json": b"{"})
    assert on_main(store, {f"{FOLDER}/1/a.json": text(stream="b")}) == {f"{FOLDER}/1/a.json": "delta-changed"}
    assert on_main(store, {f"{FOLDER}/1/a.json": text(stream="a", number=1), f"{FOLDER}/1/bad.json": text()}) == {}
    first = made(store, {f"{FOLDER}/1/new.json": text(stream="a")}, store.refs()[MAIN])
    second = made(store, {f"{FOLDER}/1/new.json": text(stream="b")}, first)
    assert offences(store, {MAIN: second}) == {f"{FOLDER}/1/new.json": "delta-changed"}


def test_a_wrong_stream_or_frame_is_named_where_the_delta_has_it(primary: Primary) -> None:
    """The place is the path of the field that was read, which need not be `stream_id` or `frame` at the top."""
    store = primary.store
    meta = {"timestamp": "2026-01-01T00:00:00Z", "node_id": "a"}
    files = {f"{FOLDER}/1/a.json": json.dumps({"_meta": {**meta, "frame": 1}}).encode()}
    lane = made(store, {**files})
    assert [one.at for one in judge_push(store, [Update("refs/heads/dc/b", None, lane)], GATE)] == ["$._meta.node_id"]
    head = commit_files(store, MAIN, {f"{FOLDER}/1/a.json": text(stream="b")})
    changed = made(store, {**files}, head)
    assert [one.at for one in judge_push(store, [Update(MAIN, head, changed)], GATE)] == ["$._meta.node_id"]
    commit_files(store, "refs/heads/dc/b", files, orphan=True)
    far = json.dumps({"_meta": {**meta, "frame": 2000}}).encode()
    commit_files(store, MAIN, {f"{FOLDER}/2000/far.json": far})
    ledger = close(primary)
    places = {row.reason: row.at for row in ledger.quarantined}
    assert places == {"wrong-stream": "$._meta.node_id", "too-far-ahead": "$._meta.frame"}


def test_a_merge_cannot_put_another_streams_file_in_place(primary: Primary) -> None:
    """A merge that takes a lane's file where `main` has another stream's is a change of stream from head to head."""
    store = primary.store
    head = commit_files(store, MAIN, {f"{FOLDER}/1/x.json": text(stream="a")})
    lane = commit_files(store, "refs/heads/dc/b", {f"{FOLDER}/1/x.json": text(stream="b")}, orphan=True)
    merge = made(store, {f"{FOLDER}/1/x.json": text(stream="b")}, head, lane)
    assert offences(store, {MAIN: merge}) == {f"{FOLDER}/1/x.json": "delta-changed"}


def test_a_merge_that_turns_the_snapshot_back_is_refused(primary: Primary) -> None:
    """A merge of an older state brings no new version of anything, and yet changes what stands from head to head."""
    store = primary.store
    old = commit_files(store, MAIN, {f"{FOLDER}/1/a.json": text()})
    close(primary)
    head = store.refs()[MAIN]
    stale = {path: lookup(store, store.commit(old).tree, path) for path in ("state/snapshot", "state/frame.json")}
    tree = edit(store, store.commit(head).tree, {**stale, "state/ledger": None})
    assert tree is not None
    merge = store.write_commit(Commit(tree, (head, old), WHO, NOW // 1_000_000, "merge\n"))
    store.flush()
    refused = offences(store, {MAIN: merge})
    assert set(refused.values()) == {"snapshot-edited", "ledger-edited", "frame-edited"}


def test_a_rewind_that_takes_anything_back_is_refused(primary: Primary) -> None:
    """Where git would allow a forced push, what it takes away below `state/` is still missed; other files are not."""
    store = primary.store
    start = store.refs()[MAIN]
    commit_files(store, MAIN, {"README": b"x"})
    assert offences(store, {MAIN: start}) == {}
    commit_files(store, MAIN, {f"{FOLDER}/1/a.json": text()})
    assert offences(store, {MAIN: start}) == {f"{FOLDER}/1/a.json": "delta-deleted"}
    assert offences(store, {MAIN: None}) == {MAIN: "main-deleted"}


def test_lanes_bring_valid_deltas_of_their_own_stream(primary: Primary) -> None:
    """Upon `main`, upon the lane, after a merge of `main`, or as an orphan: all enter; another's stream does not."""
    store = primary.store
    files: Files = {f"{FOLDER}/1/a.json": text(), f"{FOLDER}/1/a/body.md": b"text", "notes": b"mine"}
    upon_main = made(store, files, store.refs()[MAIN])
    assert offences(store, {LANE: upon_main}) == {}
    assert offences(store, {f"{LANE}/1-x": made(store, files)}) == {}
    commit_files(store, MAIN, {f"{FOLDER}/1/b.json": text(stream="b")})
    close(primary)
    merge = made(store, files, store.refs()[MAIN], upon_main)
    assert offences(store, {LANE: made(store, {f"{FOLDER}/2/a.json": text(2)}, merge)}) == {}
    other: Files = {f"{FOLDER}/1/o.json": text(stream="o"), f"{FOLDER}/1/bad.json": b"<<<<<<< HEAD\n"}
    assert offences(store, {LANE: made(store, other)}) == {
        f"{FOLDER}/1/o.json": "wrong-stream",
        f"{FOLDER}/1/bad.json": "conflict-markers",
    }


def test_a_lane_inherits_the_state_of_main_and_edits_none(primary: Primary) -> None:
    """An orphan may be a copy of `main`'s tree of now or of before; edits, settings and the counter are refused."""
    store = primary.store
    own: Files = {f"{FOLDER}/1/a.json": text()}
    commit_files(store, MAIN, {paths.SETTINGS: b"", "state/frame_counter.json": b"{}", f"{FOLDER}/1/o.json": text()})
    copies: list[str] = []
    for _ in range(3):
        commit_files(store, MAIN, {f"{FOLDER}/1/{len(copies)}.json": text(number=len(copies))})
        close(primary)
        copies.append(store.commit(store.refs()[MAIN]).tree)
    for tree in copies:
        changed = edit(store, tree, {f"{FOLDER}/1/a.json": Entry(FILE, store.write("blob", text(number=9)))})
        assert changed is not None
        orphan = store.write_commit(Commit(changed, (), WHO, NOW // 1_000_000, "copy\n"))
        store.flush()
        assert offences(store, {LANE: orphan}) == {}
    copied = edit(store, copies[-1], {"state/snapshot/format": Entry(FILE, store.write("blob", b"x"))})
    assert copied is not None
    orphan = store.write_commit(Commit(copied, (), WHO, NOW // 1_000_000, "copy\n"))
    store.flush()
    assert offences(store, {LANE: orphan}) == {"state/snapshot/format": "snapshot-edited"}
    edits: Files = {
        "state/snapshot/format": b"x",
        "state/frame.json": b"{}",
        "state/ledger/0/1.json": b"{}",
        paths.SETTINGS: b"[limits]\n",
        "state/frame_counter.json": b'{"frame": 7}',
        "state/new.json": b"{}",
    }
    assert offences(store, {LANE: made(store, {**own, **edits}, store.refs()[MAIN])}) == {
        "state/snapshot/format": "snapshot-edited",
        "state/frame.json": "frame-edited",
        "state/ledger/0/1.json": "ledger-edited",
        paths.SETTINGS: "state-edited",
        "state/frame_counter.json": "state-edited",
        "state/new.json": "state-edited",
    }


def test_lanes_that_come_together_each_speak_for_their_own(primary: Primary) -> None:
    """A lane built on another counts each delta for the lane that it names; without that lane it is wrong."""
    store = primary.store
    first = made(store, {f"{FOLDER}/1/a.json": text(stream="a")})
    second = made(store, {f"{FOLDER}/1/b.json": text(stream="b")}, first)
    assert offences(store, {"refs/heads/dc/b": second}) == {f"{FOLDER}/1/a.json": "wrong-stream"}
    assert offences(store, {"refs/heads/dc/a": first, "refs/heads/dc/b": second}) == {}
    assert offences(store, {"refs/heads/dc/b": second, MAIN: made(store, {}, store.refs()[MAIN], second)}) == {}


def test_a_lane_is_deleted_only_once_it_is_merged_whole(primary: Primary) -> None:
    """Before the publication its deletion is refused, after it the primary may clear up."""
    store = primary.store
    commit_files(store, LANE, {f"{FOLDER}/1/a.json": text()}, orphan=True)
    assert offences(store, {LANE: None}) == {LANE: "lane-unmerged"}
    close(primary)
    assert offences(store, {LANE: None}) == {}


def test_lanes_have_names_that_a_stream_can_have(primary: Primary) -> None:
    """A lane of a name that is too long is refused, and a branch that would leave no room for lanes."""
    store = primary.store
    commit = made(store, {f"{FOLDER}/1/a.json": text()})
    long = "refs/heads/dc/" + "x" * 129
    assert offences(store, {long: commit, "refs/heads/dc": commit}) == {long: "bad-lane", "refs/heads/dc": "bad-lane"}


def test_lanes_are_where_the_settings_say(primary: Primary) -> None:
    """With another prefix the old one is free, and the new one is checked."""
    store = primary.store
    commit_files(store, MAIN, {paths.SETTINGS: b'[lanes]\nprefix = "refs/lanes/"\n'})
    bad = made(store, {f"{FOLDER}/1/a.json": b"{"})
    assert offences(store, {LANE: bad}) == {}
    assert offences(store, {"refs/lanes/s": bad}) == {f"{FOLDER}/1/a.json": "not-json"}


def test_other_refs_are_free_but_hide_nothing(primary: Primary) -> None:
    """Branches and tags take anything; what stands on them is judged once it reaches `main` or a lane."""
    store = primary.store
    commit = made(store, {f"{FOLDER}/1/a.json": b"{", "state/frame.json": b"x"}, store.refs()[MAIN])
    free = ("refs/heads/feature", "refs/tags/v1", "refs/notes/commits")
    assert offences(store, dict.fromkeys(free, commit)) == {}
    assert store.move_refs([Move(free[0], commit, None)], "push")
    assert offences(store, {free[0]: None}) == {}
    mended = made(store, {f"{FOLDER}/1/a.json": text(), "state/frame.json": None}, commit)
    refused = {f"{FOLDER}/1/a.json": "not-json", "state/frame.json": "frame-edited"}
    assert offences(store, {MAIN: mended}) == refused
    assert offences(store, {LANE: commit}) == refused


def test_a_whole_publication_enters_where_nobody_is_named(primary: Primary) -> None:
    """`main` and the published ref move together, by one frame or several; either of them alone does not."""
    store = primary.store
    commit_files(store, MAIN, {f"{FOLDER}/1/a.json": text(number=1), f"{FOLDER}/1/bad.json": b"{"})
    commit_files(store, LANE, {f"{FOLDER}/1/a.json": text(number=2)}, orphan=True)
    before = store.refs()
    close(primary)
    (one, published) = (store.refs()[ref] for ref in (MAIN, paths.PUBLISHED))
    assert one == published
    close(primary)
    moves = take_back(store, before)
    assert offences(store, dict(moves)) == {}
    assert offences(store, {MAIN: one, paths.PUBLISHED: one}) == {}
    assert offences(store, {paths.PUBLISHED: one}) == {paths.PUBLISHED: "not-the-primary"}
    assert offences(store, {MAIN: moves[MAIN], paths.PUBLISHED: one})[paths.PUBLISHED] == "not-the-primary"
    assert set(offences(store, {MAIN: one}).values()) == {"snapshot-edited", "ledger-edited", "frame-edited"}
    assert store.move_refs([Move(MAIN, one, before[MAIN])], "half")
    assert offences(store, {paths.PUBLISHED: one}) == {}
    assert offences(store, {paths.PUBLISHED: None}) == {paths.PUBLISHED: "not-the-primary"}
    assert offences(store, {"refs/dreamcatcher/mine": one}) == {"refs/dreamcatcher/mine": "not-the-primary"}


def test_a_publication_that_hides_a_delta_is_refused(primary: Primary) -> None:
    """Neither a worker's commit below a snapshot commit nor a delta in the snapshot commit itself goes unjudged."""
    store = primary.store
    before = store.refs()
    commit_files(store, MAIN, {f"{FOLDER}/1/a.json": text(number=1)})
    head = store.refs()
    close(primary)
    moves = take_back(store, head)
    whole = store.commit(moves[MAIN])
    hidden = commit_files(store, MAIN, {f"{FOLDER}/1/hidden.json": text(number=2)})

    def forged(files: Files, parent: str) -> dict[str, str | None]:
        tree = edit(
            store, whole.tree, {path: Entry(FILE, store.write("blob", raw or b"")) for path, raw in files.items()}
        )
        assert tree is not None
        oid = store.write_commit(Commit(tree, (parent,), WHO, NOW // 1_000_000, whole.message))
        store.flush()
        return {MAIN: oid, paths.PUBLISHED: oid}

    both: Files = {f"{FOLDER}/1/hidden.json": text(number=2)}
    assert offences(store, forged(both, hidden))[paths.PUBLISHED] == "not-the-primary"
    assert store.move_refs([Move(MAIN, head[MAIN], hidden)], "back")
    assert offences(store, forged(both, head[MAIN]))[paths.PUBLISHED] == "not-the-primary"
    assert offences(store, forged({}, before[MAIN]))[paths.PUBLISHED] == "not-the-primary"
    assert offences(store, forged({"state/other.json": b"{}"}, head[MAIN])) == {"state/other.json": "state-edited"}
    assert offences(store, forged({}, head[MAIN])) == {}


def test_a_publication_that_drops_what_waits_is_refused(primary: Primary) -> None:
    """An early delta is in no later ledger until its frame: a snapshot commit that does not carry it on is not whole;
    one that does is."""
    store = primary.store
    commit_files(store, MAIN, {f"{FOLDER}/9/early.json": text(9)})
    close(primary)
    head = store.refs()
    close(primary)
    whole = store.commit(take_back(store, head)[MAIN])

    def forged(changes: dict[str, Entry | None]) -> dict[str, str | None]:
        tree = edit(store, whole.tree, changes)
        assert tree is not None
        oid = store.write_commit(Commit(tree, (head[MAIN],), WHO, NOW // 1_000_000, whole.message))
        store.flush()
        return {MAIN: oid, paths.PUBLISHED: oid}

    waiting = f"{paths.LEDGER}/waiting.jsonl"
    assert lookup(store, whole.tree, waiting)
    assert offences(store, forged({waiting: None}))[paths.PUBLISHED] == "not-the-primary"
    other = Entry(FILE, store.write("blob", b"[]\n"))
    assert offences(store, forged({waiting: other}))[paths.PUBLISHED] == "not-the-primary"
    assert offences(store, forged({})) == {}


def test_where_a_primary_is_named_only_that_one_publishes(primary: Primary) -> None:
    """Others are refused however whole their frame is; the one that is named is let through."""
    store = primary.store
    commit_files(store, MAIN, {f"{FOLDER}/1/a.json": text()})
    before = store.refs()
    close(primary)
    moves: dict[str, str | None] = {**take_back(store, before)}
    refused = offences(store, moves, Gate(MAIN, is_primary=lambda commit: False))
    assert (refused[paths.PUBLISHED], refused["state/frame.json"]) == ("not-the-primary", "frame-edited")
    assert offences(store, moves, Gate(MAIN, is_primary=lambda commit: commit == moves[MAIN])) == {}
    edited = made(store, {"state/frame.json": b"{}"}, before[MAIN])
    assert offences(store, {MAIN: edited}, Gate(MAIN, is_primary=lambda commit: True)) == {
        "state/frame.json": "frame-edited"
    }


def test_the_first_frame_may_be_opened_in_an_empty_repository(primary: Primary) -> None:
    """The first commit may open a frame over an empty snapshot, and nothing more."""
    store = primary.store
    opened = store.refs()[MAIN]
    close(primary)
    closed = store.refs()[MAIN]
    take_back(store, {})
    assert store.refs() == {}
    assert offences(store, {MAIN: opened}) == {}
    assert offences(store, {MAIN: opened, paths.PUBLISHED: opened}) == {}
    assert offences(store, {MAIN: made(store, {f"{FOLDER}/1/a.json": text()})}) == {}
    assert "frame-edited" in offences(store, {MAIN: closed}).values()
    with_delta = made(store, {f"{FOLDER}/1/a.json": text()}, opened)
    assert offences(store, {MAIN: with_delta}) == {}
    assert offences(store, {MAIN: with_delta, paths.PUBLISHED: with_delta})[paths.PUBLISHED] == "not-the-primary"
    assert "frame-edited" in offences(store, {MAIN: opened}, Gate(MAIN, is_primary=lambda commit: False)).values()
    assert store.move_refs([Move(paths.PUBLISHED, closed, None)], "only main is gone")
    assert "frame-edited" in offences(store, {MAIN: opened}).values()


def test_a_project_of_before_is_taken_up_by_its_first_publication(primary: Primary) -> None:
    """Where `main` is there and nothing was published, the first whole frame enters."""
    store = primary.store
    first = made(store, {"README": b"old", f"{FOLDER}/1/a.json": text()})
    assert store.move_refs(
        [Move(MAIN, first, store.refs()[MAIN]), Move(paths.PUBLISHED, None, store.refs()[MAIN])], "x"
    )
    before = store.refs()
    close(primary)
    assert offences(store, dict(take_back(store, before))) == {}


def test_offences_are_told_for_so_many_files_and_no_more(primary: Primary) -> None:
    """However much a push breaks, what is told is bounded, each file once."""
    files: Files = {f"{FOLDER}/1/{number}.json": b"{" for number in range(OFFENCES_LISTED + 20)}
    assert len(on_main(primary.store, files)) == OFFENCES_LISTED


def reads_of_a_push(primary: Primary, monkeypatch: pytest.MonkeyPatch) -> tuple[int, int]:
    """How many trees and blobs the check reads for one delta on `main` and one on a lane."""
    store = primary.store
    frame = primary.load_published(store.refs()).state.frame
    upon = made(store, {f"{FOLDER}/{frame}/new.json": text(frame)}, store.refs()[MAIN])
    orphan = made(store, {f"{FOLDER}/{frame}/new.json": text(frame)})
    read = store.read
    counted: list[str] = []

    def counting(oid: str) -> bytes:
        raw = read(oid)
        if not raw.startswith(b"tree "):
            counted.append(oid)
        return raw

    with monkeypatch.context() as patch:
        patch.setattr(store, "read", counting)
        assert offences(store, {MAIN: upon}) == {}
        on_main = len(counted)
        assert offences(store, {LANE: orphan}) == {}
    return on_main, len(counted) - on_main


def test_what_is_read_follows_the_push_not_the_repository(primary: Primary, monkeypatch: pytest.MonkeyPatch) -> None:
    """After forty more frames and eighty more deltas the same push reads as many trees and blobs as before."""
    store = primary.store
    commit_files(store, MAIN, {f"{FOLDER}/1/a.json": text(), f"{FOLDER}/1/b.json": text(number=1)})
    close(primary)
    few = reads_of_a_push(primary, monkeypatch)
    for frame in range(2, 42):
        commit_files(store, MAIN, {f"{FOLDER}/{frame}/a.json": text(frame), f"{FOLDER}/{frame}/b.json": text(frame)})
        close(primary)
    assert subtree(store, store.commit(store.refs()[MAIN]).tree, f"{FOLDER}/41")
    assert reads_of_a_push(primary, monkeypatch) == few
    assert max(few) < 30
