"""Several delta roots, on both stores (docs/protocol.md#intake)."""

from __future__ import annotations

import json

import pytest

from dreamcatcherd.core import paths
from dreamcatcherd.core.model import Delta, Version
from dreamcatcherd.core.settings import read_settings
from dreamcatcherd.core.tree import FILE, TREE, Entry, format_tree, read_tree
from dreamcatcherd.daemon.cycle import close_frame
from dreamcatcherd.daemon.primary import Primary
from dreamcatcherd.git.protocols import Commit, Move, Store
from dreamcatcherd.history.receipts import receipts
from dreamcatcherd.history.replay import closed_frames, replay_to
from dreamcatcherd.history.verify import read_history, verify_frame
from dreamcatcherd.stages.delta_copies import Copies
from dreamcatcherd.stages.delta_reader import read_delta
from dreamcatcherd.stages.largest_file import Largest
from dreamcatcherd.stages.stray_branches import StrayBranches, why_unseen
from tests.law.fleet import MAIN, NOW, commit_files, new_primary
from tests.stages.tools import FOLDER, WHO, close, content, merged, other, put, reasons, stands, text

INSIDE, OUTSIDE = "state/agents/inbox", "agents/out box/deltas"
LANE = "refs/heads/dc/s"


def rooted(primary: Primary, *roots: str, more: str = "") -> Primary:
    """Name other roots in the settings, in force from the next close on."""
    raw = f"[intake]\nroots = {json.dumps(roots)}\n{more}".encode()
    commit_files(primary.store, MAIN, {paths.SETTINGS: raw})
    return primary


def verified(primary: Primary) -> None:
    """Every frame is what its deltas give, and a replay comes to the published state."""
    store = primary.store
    history = read_history(store, store.refs(), MAIN)
    assert [verify_frame(store, history, at) for at in range(len(history.links))] == [None] * len(history.links)
    frame = history.links[-1].frame
    base = primary.load_published(store.refs())
    assert replay_to(store, closed_frames(store, history.links), frame).tree == base.snapshot


@pytest.mark.parametrize("root", [INSIDE, OUTSIDE])
def test_deltas_merge_from_main_and_lanes_below_each_root(primary: Primary, root: str) -> None:
    """Folders, the flat form and attachments, with the lane's copies on `main` under their own paths."""
    store = rooted(primary, paths.DELTAS, root).store
    commit_files(store, MAIN, {f"{root}/1/a.json": text(number=1), f"{FOLDER}/1/b.json": text(number=2)})
    noted = {f"{root}/frame-1-s.json": text(number=3, observations=[{"body_ref": "n.md"}]), f"{root}/1/n.md": b"note"}
    commit_files(store, LANE, noted, orphan=True)
    ledger = close(primary)
    assert merged(ledger) == ["a.json", "b.json", "frame-1-s.json"]
    assert [row.unresolved for row in ledger.deltas] == [(), (), ()]
    assert content(store, f"{root}/1/n.md") == b"note"
    assert content(store, f"{root}/frame-1-s.json") == noted[f"{root}/frame-1-s.json"]
    assert close(primary).counts.deltas == 0
    assert other(store).load_published(store.refs()) == primary.load_published(store.refs())
    verified(primary)


def test_the_same_delta_below_two_roots_counts_once(primary: Primary) -> None:
    """A root is where a delta arrives, and no part of what it is."""
    store = rooted(primary, INSIDE, OUTSIDE).store
    commit_files(store, MAIN, {f"{INSIDE}/1/a.json": text(), f"{OUTSIDE}/01/b.json": text()})
    ledger = close(primary)
    assert (ledger.counts.deltas, len(ledger.duplicates)) == (1, 1)
    verified(primary)


def test_each_bad_name_is_explained_by_its_root(primary: Primary) -> None:
    """What has no frame below its root is quarantined; the detail names that root."""
    store = rooted(primary, INSIDE, OUTSIDE).store
    commit_files(store, MAIN, {f"{INSIDE}/x/a.json": text(), f"{OUTSIDE}/x/b.json": text()})
    ledger = close(primary)
    assert reasons(ledger) == {"a.json": "bad-name", "b.json": "bad-name"}
    assert sorted(row.detail.partition(": use ")[2] for row in ledger.quarantined) == [
        f"{OUTSIDE}/<frame>/<name>.json",
        f"{INSIDE}/<frame>/<name>.json",
    ]


@pytest.mark.parametrize("root", [INSIDE, OUTSIDE])
def test_a_deleted_delta_is_put_back_below_each_root(primary: Primary, root: str) -> None:
    """Deleted and changed files are violations below any root, and what was deleted comes back."""
    store = rooted(primary, paths.DELTAS, root).store
    commit_files(store, MAIN, {f"{root}/1/{name}.json": text(number=at) for at, name in enumerate("abc")})
    close(primary)
    put(store, MAIN, {f"{root}/1/a.json": None, f"{root}/1/b.json": Entry(FILE, store.write("blob", text(number=9)))})
    ledger = close(primary)
    assert [(row.kind, row.path) for row in ledger.violations] == [
        ("delta-deleted", f"{root}/1/a.json"),
        ("delta-changed", f"{root}/1/b.json"),
    ]
    assert content(store, f"{root}/1/a.json") == text(number=0)
    put(store, MAIN, {root: None})
    close(primary)
    assert content(store, f"{root}/1/c.json") == text(number=2)
    verified(primary)


def test_old_frames_leave_every_root(primary: Primary) -> None:
    """`deltas_frames` counts the same frames below each root, and names of one root spare none of another."""
    store = rooted(primary, INSIDE, OUTSIDE).store
    primary.deltas_frames = 2
    commit_files(store, MAIN, {f"{root}/1/a.json": text(number=len(root)) for root in (INSIDE, OUTSIDE)})
    close(primary)
    close(primary)
    assert stands(store, f"{INSIDE}/1/a.json")
    commit_files(store, MAIN, {f"{INSIDE}/1/late.json": text(number=7)})  # spares its own root's folder for one close
    assert close(primary).counts.late == 1
    assert stands(store, f"{INSIDE}/1")
    assert not stands(store, f"{OUTSIDE}/1")
    close(primary)
    assert not stands(store, f"{INSIDE}/1")
    verified(primary)


def test_roots_change_with_the_close_that_records_them(primary: Primary) -> None:
    """What came below a root before it was one is never read, what is below a former root belongs to others, and each
    frame is verified under its own settings."""
    store = primary.store
    before = {f"{INSIDE}/1/early.json": text(number=1), f"{FOLDER}/1/a.json": text(number=2)}
    commit_files(store, MAIN, before)
    assert merged(close(primary)) == ["a.json"]
    rooted(primary, INSIDE)
    commit_files(store, MAIN, {f"{INSIDE}/2/b.json": text(2), f"{FOLDER}/2/c.json": text(2, number=3)})
    put(store, MAIN, {f"{FOLDER}/1/a.json": None, f"{INSIDE}/1/early.json": None})
    ledger = close(primary)
    assert merged(ledger) == ["b.json"]
    assert ledger.violations == []
    assert not stands(store, f"{FOLDER}/1/a.json")
    assert not stands(store, f"{INSIDE}/1/early.json")
    rooted(primary, paths.DELTAS)
    commit_files(store, MAIN, {f"{FOLDER}/3/d.json": text(3)})
    assert merged(close(primary)) == ["d.json"]
    verified(primary)
    base = primary.load_published(store.refs())
    assert [row.outcome for row in receipts(store, base, [], f"{INSIDE}/2/b.json")] == ["merged"]


def test_an_early_delta_below_a_former_root_is_quarantined(primary: Primary) -> None:
    """It is judged again under the settings of its frame, in which its path names none."""
    store = rooted(primary, INSIDE, OUTSIDE).store
    commit_files(store, MAIN, {f"{INSIDE}/3/a.json": text(3), f"{OUTSIDE}/3/b.json": text(3, number=1)})
    close(primary)
    rooted(primary, OUTSIDE)
    close(primary)
    ledger = close(primary)
    assert reasons(ledger) == {"a.json": "bad-name"}
    assert merged(ledger) == ["b.json"]
    verified(primary)


def test_other_peoples_files_are_not_replaced_for_a_root(primary: Primary) -> None:
    """Where a file is in the place of a root outside `state/`, lane deltas merge and no copy replaces the file."""
    store = rooted(primary, OUTSIDE).store
    commit_files(store, MAIN, {"agents": b"a list of agents"})
    commit_files(store, LANE, {f"{OUTSIDE}/1/a.json": text()}, orphan=True)
    assert merged(close(primary)) == ["a.json"]
    assert content(store, "agents") == b"a list of agents"
    verified(primary)


def test_a_file_in_the_place_of_a_root_with_deltas_gives_way(primary: Primary) -> None:
    """Whoever replaces the folder by a file has deleted its deltas: they are put back."""
    store = rooted(primary, OUTSIDE).store
    commit_files(store, MAIN, {f"{OUTSIDE}/1/a.json": text()})
    close(primary)
    put(store, MAIN, {"agents": Entry(FILE, store.write("blob", b"mine"))})
    close(primary)
    assert content(store, f"{OUTSIDE}/1/a.json") == text()


def test_copies_keep_away_from_alike_names_below_any_root() -> None:
    """Sub-folders are counted from the root: a delta's file in the place of one renames it."""
    store = rooted(new_primary(b""), OUTSIDE).store
    commit_files(store, MAIN, {f"{OUTSIDE}/1/sub.json": text(number=1)})
    head = store.commit(store.refs()[MAIN]).tree
    copies = Copies(store, head, (OUTSIDE,))
    settings = read_settings(f"[intake]\nroots = ['{OUTSIDE}']".encode())
    path = f"{OUTSIDE}/1/sub.json/a.json"
    commit = commit_files(store, LANE, {path: text()}, orphan=True)
    delta = read_delta(store, Version(path, store.write("blob", text()), FILE, commit), settings)
    assert isinstance(delta, Delta)
    copies.put(delta)
    (copied,) = copies.added
    assert copied.startswith(f"{OUTSIDE}/1/sub~")
    assert copied.endswith(".json/a.json")


def test_a_tree_that_cannot_be_read_above_a_root_stops_no_frame(primary: Primary) -> None:
    """A broken folder is left out of `main`, deltas below it are put back, and the frame closes."""
    store = rooted(primary, OUTSIDE).store
    commit_files(store, MAIN, {f"{OUTSIDE}/1/a.json": text()})
    close(primary)
    head = store.refs()[MAIN]
    _break(store, head, "agents")
    ledger = close(primary)
    assert "unreadable-commit" in {row.kind for row in ledger.violations}
    assert content(store, f"{OUTSIDE}/1/a.json") == text()
    commit_files(store, MAIN, {f"{OUTSIDE}/3/b.json": text(3)})
    assert merged(close(primary)) == ["b.json"]


def _break(store: Store, head: str, name: str) -> None:
    """Put a tree that git cannot parse on `main`, in the place of a folder."""
    broken = store.write("tree", b"100644 x")
    root = store.commit(head).tree
    tree = store.write("tree", format_tree({**read_tree(store, root), name: Entry(TREE, broken)}))
    commit = store.write_commit(Commit(tree, (head,), WHO, NOW // 1_000_000, "break\n"))
    store.flush()
    assert store.move_refs([Move(MAIN, commit, head)], "push")


def test_a_ledger_cannot_hide_deltas_by_naming_other_roots(primary: Primary) -> None:
    """A snapshot commit whose settings name other roots than `main` has is not taken for a publication."""
    store = primary.store
    close(primary)
    forger = other(store)
    before = store.refs()
    commit_files(store, MAIN, {f"{FOLDER}/2/a.json": text(2)})
    head = store.refs()[MAIN]
    rooted(forger, INSIDE)
    close_frame(forger, "test")
    forged = store.commit(store.refs()[MAIN])
    bare = put(store, "refs/heads/forged", {paths.SETTINGS: None}, (store.refs()[MAIN],))
    commit = store.write_commit(Commit(store.commit(bare).tree, (head,), forged.author, forged.time, forged.message))
    store.flush()
    now = store.refs()
    assert store.move_refs([Move(MAIN, commit, now[MAIN])], "forge")
    assert store.move_refs([Move(paths.PUBLISHED, before[paths.PUBLISHED], now[paths.PUBLISHED])], "forge")
    assert other(store).load_published(store.refs()).commit == before[paths.PUBLISHED]


def test_what_is_said_of_other_places_names_the_roots(primary: Primary) -> None:
    """Stray branches count the versions below the roots, and `receipt` names where deltas go."""
    store = rooted(primary, INSIDE, OUTSIDE).store
    close(primary)
    commit_files(store, "refs/heads/work", {f"{INSIDE}/1/a.json": text(), f"{FOLDER}/1/b.json": text(number=1)})
    inbox = primary.read_inbox()
    strays = StrayBranches()
    (trouble,) = strays.troubles(store, inbox.refs, MAIN, inbox.settings, inbox.published.commit)
    assert "work brings 1 version of a delta that is never merged" in trouble.what
    default = read_settings(b"")
    assert len(strays.troubles(store, inbox.refs, MAIN, default, inbox.published.commit)) == 1
    commit_files(store, MAIN, {"stream_deltas/1/x.json": text()})
    why = why_unseen(store, store.refs(), MAIN, inbox.settings, "stream_deltas/1/x.json")
    assert f"outside {INSIDE}/<frame>/ or {OUTSIDE}/<frame>/: it is never merged" in (why or "")


def test_the_largest_file_is_none_of_a_root(primary: Primary) -> None:
    """Deltas of a root deep below `state/` are left out; with other roots the answer is another."""
    store, largest = rooted(primary, INSIDE).store, Largest()
    commit = commit_files(store, MAIN, {f"{INSIDE}/1/a.json": b"x" * 9_999, "state/agents/big": b"y" * 5_000})
    assert largest.of(store, commit, (INSIDE,)) == ("state/agents/big", 5_000)
    assert largest.of(store, commit) == (f"{INSIDE}/1/a.json", 9_999)


def test_settings_that_never_match_are_a_trouble(primary: Primary) -> None:
    """`status` lists them with a remedy, and what waits is reported with the file that they are in."""
    store = primary.store
    assert primary.pending(primary.read_inbox()).settings_warnings == ()
    commit_files(store, MAIN, {paths.SETTINGS: b"[collections.a]\nsection = 'frame'\nkey = ['id']\n"})
    pending = primary.pending(primary.read_inbox())
    (warning,) = pending.settings_warnings
    (trouble,) = pending.troubles
    assert "can never match" in warning
    assert trouble.what == f"{paths.SETTINGS}: {warning}"
    assert "correct or remove it" in trouble.remedy
    assert pending.settings == store.write("blob", b"[collections.a]\nsection = 'frame'\nkey = ['id']\n")
