"""What is read from commits, and for whom it counts (Protocol §§3, 4)."""

from __future__ import annotations

from typing import Any

from dreamcatcherd.core.model import Delta
from dreamcatcherd.core.tree import FILE, Entry
from dreamcatcherd.daemon.primary import Phases, Primary
from tests.law.fleet import MAIN, commit_files
from tests.store.tools import FOLDER, close, merged, put, reasons, text

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


def test_a_lane_speaks_for_its_own_stream_alone(primary: Primary) -> None:
    """A delta of another stream on a lane is quarantined and a violation; on its own lane the same bytes merge."""
    store = primary.store
    files = {f"{FOLDER}/1/a.json": text(stream="a")}
    commit_files(store, "refs/heads/dc/b", files, orphan=True)
    ledger = close(primary)
    assert reasons(ledger) == {"a.json": "wrong-stream"}
    assert [(row.kind, row.author) for row in ledger.violations] == [("wrong-stream", "worker <worker@localhost>")]
    commit_files(store, "refs/heads/dc/a/1-x", {f"{FOLDER}/1/again.json": text(stream="a")}, orphan=True)
    assert merged(close(primary)) == ["again.json"]


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
    survey, _ = primary.survey(Phases())
    (arrival,) = survey.arrivals
    assert isinstance(arrival.item, Delta)
    assert arrival.item.body is not None
    assert arrival.item.body["observations"][0] == {**body["observations"][0], "a": "near", "b": "shared"}
    ledger = close(primary)
    assert ledger.deltas[0].unresolved == ("../b.md", "d.md", "e.md")
    assert ledger.deltas[0].content_id not in (None, ledger.deltas[0].blob)


def test_early_deltas_are_held_until_their_frame_and_far_ones_judged_again(primary: Primary) -> None:
    """A delta for a later frame is held at each close and merges in its own; one too far ahead is judged again."""
    store = primary.store
    commit_files(store, MAIN, {"state/dreamcatcher.toml": b"[limits]\nframes_ahead = 2\n"})
    commit_files(store, MAIN, {f"{FOLDER}/3/early.json": text(3), f"{FOLDER}/4/far.json": text(4)})
    first = close(primary)
    assert ([row.frame for row in first.held], reasons(first), first.counts.quarantined) == (
        [3],
        {"far.json": "too-far-ahead"},
        1,
    )
    second = close(primary)
    assert ([row.frame for row in second.held], reasons(second)) == ([3, 4], {})
    third = close(primary)
    assert (merged(third), [row.frame for row in third.held]) == (["early.json"], [4])
    fourth = close(primary)
    assert (merged(fourth), fourth.held, fourth.deltas[0].late) == (["far.json"], [], False)


def test_a_far_delta_is_counted_as_quarantined_once(primary: Primary) -> None:
    """However many closes list a delta as too far ahead, it counts where it was first seen."""
    commit_files(primary.store, MAIN, {f"{FOLDER}/5000/far.json": text(5000)})
    counts = [close(primary).counts.quarantined for _ in range(3)]
    assert counts == [1, 0, 0]
    assert reasons(close(primary)) == {"far.json": "too-far-ahead"}
