"""What is read from commits, and for whom it counts (docs/protocol.md#the-repository)."""

from __future__ import annotations

from typing import Any

import pytest

from dreamcatcherd.core.model import SAME_NAMED, Delta
from dreamcatcherd.core.settings import DEFAULT
from dreamcatcherd.core.tree import FILE, Entry, subtree
from dreamcatcherd.daemon.cycle import poll
from dreamcatcherd.daemon.primary import Primary
from dreamcatcherd.stages import delta_reader
from dreamcatcherd.stages.delta_reader import read_versions
from tests.law.fleet import MAIN, commit_files
from tests.stages.tools import FOLDER, close, counting_reads, merged, put, reasons, text

LINK = 0o120000
SUBMODULE = 0o160000


def test_a_merge_commit_brings_only_what_differs_from_all_its_parents(primary: Primary) -> None:
    """A version is what a commit changes against every parent: a plain merge brings nothing of its own."""
    store = primary.store
    left = commit_files(store, MAIN, {f"{FOLDER}/1/left.json": text(number=1)})
    right = commit_files(store, "refs/heads/side", {f"{FOLDER}/1/right.json": text(number=2)})
    entry = Entry(FILE, store.write("blob", text(number=2)))
    own = Entry(FILE, store.write("blob", text(number=3)))
    put(store, MAIN, {f"{FOLDER}/1/right.json": entry, f"{FOLDER}/1/own.json": own}, (left, right))
    ledger = close(primary)
    assert merged(ledger) == ["left.json", "own.json", "right.json"]
    assert ledger.duplicates == []


def test_reading_a_backlog_shows_that_it_goes_on(primary: Primary, monkeypatch: pytest.MonkeyPatch) -> None:
    """A daemon that reads for minutes keeps systemd's watchdog quiet, in one commit of many deltas and in many."""
    monkeypatch.setattr(delta_reader, "READ_AT_ONCE", 10)
    commit_files(primary.store, MAIN, {f"{FOLDER}/1/a-{n}.json": text(number=n) for n in range(40)})
    shown: list[int] = []
    primary.progress = lambda: shown.append(1)
    inbox = primary.read_inbox()
    assert len(inbox.arrivals) == 40
    assert len(shown) >= 4
    for n in range(20):
        commit_files(primary.store, f"refs/heads/dc/s{n}", {f"{FOLDER}/1/s{n}.json": text(stream=f"s{n}")}, orphan=True)
    shown.clear()
    assert len(primary.read_inbox().arrivals) == 60
    assert len(shown) >= 6


def test_a_lane_speaks_for_its_own_stream_alone(primary: Primary) -> None:
    """A delta of another stream on a lane is quarantined and a violation; on its own lane the same bytes merge."""
    store = primary.store
    files = {f"{FOLDER}/1/a.json": text(stream="a")}
    commit_files(store, "refs/heads/dc/b", files, orphan=True)
    ledger = close(primary)
    assert reasons(ledger) == {"a.json": "wrong-stream"}
    assert [(row.kind, row.author) for row in ledger.violations] == [("wrong-stream", "worker <worker@localhost>")]
    assert [row.detail for row in ledger.violations] == [row.detail for row in ledger.quarantined]
    assert "dc/b" in ledger.violations[0].detail
    commit_files(store, "refs/heads/dc/a/1-x", {f"{FOLDER}/1/again.json": text(stream="a")}, orphan=True)
    assert merged(close(primary)) == ["again.json"]


def test_names_of_one_blob_beyond_a_few_are_counted(primary: Primary) -> None:
    """A commit that gives one delta very many names brings a few of them; the last one counts all others."""
    store, number = primary.store, SAME_NAMED + 5
    names = [f"{FOLDER}/1/{at:05}.json" for at in range(number)]
    commit = commit_files(store, MAIN, dict.fromkeys(names, text()))
    brought = [(name, store.write("blob", text()), FILE) for name in names]
    found = read_versions(store, commit, brought, DEFAULT)
    assert [one.item.version.path for one in found] == names[:SAME_NAMED]
    assert [one.more for one in found] == [0] * (SAME_NAMED - 1) + [5]


def test_a_lane_built_on_another_lane_counts_each_for_its_own(primary: Primary) -> None:
    """Commits that two lanes reach count for the lane whose stream they name."""
    store = primary.store
    first = commit_files(store, "refs/heads/dc/a", {f"{FOLDER}/1/a.json": text(stream="a")}, orphan=True)
    put(store, "refs/heads/dc/b", {f"{FOLDER}/1/b.json": Entry(FILE, store.write("blob", text(stream="b")))}, (first,))
    ledger = close(primary)
    assert [(row.stream_id, row.source) for row in ledger.deltas] == [("a", "dc/a"), ("b", "dc/b")]


def test_what_is_no_plain_file_or_has_no_name_is_quarantined(primary: Primary) -> None:
    """Links, submodules, frameless and unprintable names are set aside one by one; the rest merges."""
    store = primary.store
    oid = store.write("blob", text())
    names = {
        f"{FOLDER}/1/link.json": Entry(LINK, oid),
        f"{FOLDER}/1/module.json": Entry(SUBMODULE, store.refs()[MAIN]),
        f"{FOLDER}/frameless.json": Entry(FILE, oid),
        f"{FOLDER}/x/word.json": Entry(FILE, oid),
        f"{FOLDER}/1/bell\x07.json": Entry(FILE, oid),
        f"{FOLDER}/1/\udcff.json": Entry(FILE, oid),
        f"{FOLDER}/1/.git/hook.json": Entry(FILE, oid),
        f"{FOLDER}/1/good.json": Entry(FILE, oid),
        f"{FOLDER}/1/notes.txt": Entry(FILE, oid),
    }
    put(store, MAIN, dict(names))
    ledger = close(primary)
    assert merged(ledger) == ["good.json"]
    assert reasons(ledger) == {
        "link.json": "not-a-file",
        "module.json": "not-a-file",
        "frameless.json": "bad-name",
        "word.json": "bad-name",
        "bell\x07.json": "bad-name",
        "\\xff.json": "bad-name",
        "hook.json": "bad-name",
    }


def test_a_bomb_is_refused_by_its_header(primary: Primary) -> None:
    """A delta above the limit of the repository's settings is too large, and nothing else is touched."""
    commit_files(primary.store, MAIN, {"state/dreamcatcher.toml": b"[limits]\ndelta_bytes = 2048\n"})
    commit_files(primary.store, MAIN, {f"{FOLDER}/1/bomb.json": b"0" * 4096, f"{FOLDER}/1/ok.json": text()})
    ledger = close(primary)
    assert (reasons(ledger), merged(ledger)) == ({"bomb.json": "too-large"}, ["ok.json"])


def test_attachments_are_found_beside_the_delta_in_its_own_commit(primary: Primary) -> None:
    """Both places are looked up, in order; what stands elsewhere, later or is no plain text finds nothing."""
    store = primary.store
    body: dict[str, Any] = {
        "observations": [{"a_ref": "a.md", "b_ref": "b.md", "c_ref": "../b.md", "d_ref": "d.md", "e_ref": "e.md"}]
    }
    files = {
        f"{FOLDER}/1/x.json": text(**body),
        f"{FOLDER}/1/x/a.md": b"near",
        f"{FOLDER}/1/a.md": b"far",
        f"{FOLDER}/1/b.md": b"shared",
        f"{FOLDER}/1/x/d.md": b"\xff",
    }
    commit_files(store, MAIN, files)
    commit_files(store, MAIN, {f"{FOLDER}/1/x/e.md": b"too late"})
    inbox = primary.read_inbox()
    (arrival,) = inbox.arrivals
    assert isinstance(arrival.item, Delta)
    assert arrival.item.body is not None
    assert arrival.item.body["observations"][0] == {**body["observations"][0], "a": "near", "b": "shared"}
    ledger = close(primary)
    assert ledger.deltas[0].unresolved == ("../b.md", "d.md", "e.md")
    assert ledger.deltas[0].content_id not in (None, ledger.deltas[0].blob)


def test_early_deltas_wait_for_their_frame_at_no_cost_to_the_frames_in_between(primary: Primary) -> None:
    """A delta for a later frame is listed by the frame in which its wait begins and by the one in which it ends; so is
    one that is too far ahead, and both merge in their own frames."""
    store = primary.store
    commit_files(store, MAIN, {"state/dreamcatcher.toml": b"[limits]\nframes_ahead = 2\n"})
    commit_files(store, MAIN, {f"{FOLDER}/3/early.json": text(3), f"{FOLDER}/4/far.json": text(4)})
    first = close(primary)
    assert ([row.frame for row in first.held], reasons(first), first.counts.quarantined) == (
        [3],
        {"far.json": "too-far-ahead"},
        1,
    )
    assert [row.frame for row in first.ended] == []
    second = close(primary)
    assert (second.held, second.ended, reasons(second), second.counts.waiting) == ([], [], {}, 2)
    third = close(primary)
    assert (merged(third), third.held, [row.frame for row in third.ended]) == (["early.json"], [], [3])
    fourth = close(primary)
    assert (merged(fourth), [row.frame for row in fourth.ended], fourth.deltas[0].late) == (["far.json"], [4], False)
    assert (fourth.counts.waiting, close(primary).ended) == (0, [])


def test_what_waits_is_counted_by_stream_and_never_merged_twice(primary: Primary) -> None:
    """Early deltas count as pending and held, also for a primary that starts anew; the same content under another name
    is a duplicate; one that is too far ahead does not count until its frame is near."""
    store = primary.store
    commit_files(store, MAIN, {f"{FOLDER}/{frame}/early.json": text(frame) for frame in (3, 5, 2000)})
    close(primary)
    again = Primary(store, "main", primary.closing, primary.clock)
    for one in (primary, again):
        pending = poll(one)[0].pending
        assert (sum(pending.streams.values()), pending.held) == (2, 2)
    commit_files(store, MAIN, {f"{FOLDER}/{frame}/again.json": text(frame) for frame in (3, 2000)})
    second = close(again)
    assert sorted(row.path for row in second.duplicates) == [f"{FOLDER}/2000/again.json", f"{FOLDER}/3/again.json"]
    assert second.held == []
    assert merged(close(again)) == ["early.json"]
    pending = poll(again)[0].pending
    assert (sum(pending.streams.values()), pending.held) == (1, 1)


def test_the_ledgers_in_between_do_not_grow_with_what_waits(primary: Primary) -> None:
    """Hundreds of early deltas for the last frame of all cost the frames after them nothing: no ledger lists them."""
    last = 2**53 - 1
    files = {f"{FOLDER}/{last}/{number}.json": text(last, stream=f"s{number}") for number in range(600)}
    commit_files(primary.store, MAIN, files)
    first = close(primary)
    assert (len(first.quarantined), first.counts.waiting) == (600, 600)
    later = close(primary)
    assert list(later.rows()) == []
    assert later.counts.waiting == 600


def test_a_far_delta_is_counted_as_quarantined_once(primary: Primary) -> None:
    """A delta that is too far ahead counts, and is listed, where it was first seen."""
    commit_files(primary.store, MAIN, {f"{FOLDER}/5000/far.json": text(5000)})
    ledgers = [close(primary) for _ in range(3)]
    assert [ledger.counts.quarantined for ledger in ledgers] == [1, 0, 0]
    assert [reasons(ledger) for ledger in ledgers] == [{"far.json": "too-far-ahead"}, {}, {}]


def test_a_delta_of_too_many_records_is_quarantined(primary: Primary) -> None:
    """One record more than the limit is too many, in a list or as members of a map that the settings know."""
    rows = b'[limits]\nrecords = 3\n[collections.c]\nsection = "m.c"\nform = "map"\nkey = ["id"]\n'
    commit_files(primary.store, MAIN, {"state/dreamcatcher.toml": rows})
    close(primary)
    many: dict[str, dict[str, Any]] = {
        "list": {"posts_created": [1, 2, 3, 4]},
        "map": {"m": {"c": {name: {} for name in "abcd"}}},
    }
    files = {f"{FOLDER}/2/{name}.json": text(2, **sections) for name, sections in many.items()}
    commit_files(primary.store, MAIN, {**files, f"{FOLDER}/2/fine.json": text(2, posts_created=[1, 2, 3])})
    ledger = close(primary)
    assert reasons(ledger) == {"list.json": "too-many-records", "map.json": "too-many-records"}
    assert merged(ledger) == ["fine.json"]


def test_a_thousand_references_cost_one_reading_of_their_folder(
    primary: Primary, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many files a delta refers to, the folders that they would lie in are read once each."""
    store = primary.store
    references = [{"body_ref": f"{number}.md"} for number in range(1_000)]
    files = {f"{FOLDER}/1/{number}.md": b"a text" for number in range(0, 1_000, 2)}
    commit_files(store, MAIN, {f"{FOLDER}/1/a.json": text(1, observations=references), **files})
    folder = subtree(store, store.commit(store.refs()[MAIN]).tree, f"{FOLDER}/1")
    reads = counting_reads(store, monkeypatch)
    poll(primary)
    assert 0 < reads[folder or ""] < 10


@pytest.mark.parametrize(("raw_bytes", "times"), [(2**20, 1), (0, 2)])
def test_a_delta_is_read_once_while_its_bytes_are_kept(
    primary: Primary, monkeypatch: pytest.MonkeyPatch, raw_bytes: int, times: int
) -> None:
    """A close reads no delta twice from the repository, unless the frame is larger than what may be kept of it."""
    monkeypatch.setattr("dreamcatcherd.stages.ingest.DECODED_BYTES", 0)
    monkeypatch.setattr("dreamcatcherd.stages.ingest.RAW_BYTES", raw_bytes)
    store = primary.store
    bodies = [text(number=number) for number in range(5)]
    commit_files(store, MAIN, {f"{FOLDER}/1/{number}.json": body for number, body in enumerate(bodies)})
    blobs = {store.write("blob", body) for body in bodies}
    reads = counting_reads(store, monkeypatch)
    assert len(merged(close(primary))) == len(bodies)
    assert {reads[blob] for blob in blobs} == {times}


def test_what_is_kept_of_a_waiting_delta_is_counted_once(primary: Primary, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a close nothing counts against the bounds, whatever names a blob had: the next frame is kept as well."""
    monkeypatch.setattr("dreamcatcherd.stages.ingest.DECODED_BYTES", 0)
    monkeypatch.setattr("dreamcatcherd.stages.ingest.RAW_BYTES", 500)
    store = primary.store
    for frame in range(1, 8):
        body = text(frame, number=frame, pad="x" * 150)
        commit_files(store, MAIN, {f"{FOLDER}/{frame}/{name}.json": body for name in ("a", "b", "c")})
        blob = store.write("blob", body)
        with monkeypatch.context() as counted:
            reads = counting_reads(store, counted)
            close(primary)
        assert reads[blob] == 1
