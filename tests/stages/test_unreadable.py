"""What anybody can push and nobody can read is recorded and passed by; frames go on (docs/protocol.md#violations)."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest

from dreamcatcherd.cli.progress import check_frames
from dreamcatcherd.core.frames import Closing
from dreamcatcherd.core.ledger import Ledger
from dreamcatcherd.core.paths import short_ref
from dreamcatcherd.core.tree import format_tree, parse, read_tree
from dreamcatcherd.daemon.cycle import close_frame, poll
from dreamcatcherd.daemon.primary import Primary
from dreamcatcherd.git.commits import parse_commit
from dreamcatcherd.git.local import LocalStore
from dreamcatcherd.git.protocols import Commit
from dreamcatcherd.history.verify import Verdict, read_history
from dreamcatcherd.imports.new_repository import create
from tests.hostile import FILE, ODD, UNREADABLE, UNSAFE, Obj, blob, commit, nested, oid_of, plant, tree
from tests.law.fleet import NOW, commit_files, primary_on
from tests.stages.tools import FOLDER, text

LANE, HONEST, MAIN = "refs/heads/dc/mallory", "refs/heads/dc/alice", "refs/heads/main"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A shared repository without the check, frame 1 open."""
    create(tmp_path / "fleet.git", 1, NOW, Closing("manual"))
    return tmp_path / "fleet.git"


@pytest.fixture
def primary(repository: Path) -> Primary:
    return primary_on(LocalStore(repository))


def honest(repository: Path, frame: int) -> None:
    """Alice pushes a delta of a frame to her lane."""
    plant(repository, f"{HONEST}/{frame}", commit(in_frame(blob("alice", frame, observations=[frame]), frame)))


def in_frame(delta: Obj, frame: int) -> list[Obj]:
    """The tree of a delta in the folder of its frame."""
    return nested([delta], [b"state", b"stream_deltas", b"%d" % frame, b"a.json"], FILE)


FOLLOWED = [kind for kind in UNREADABLE if kind.startswith(("a date", "a huge commit"))]
"""What git itself follows to the commits before it."""


def close(primary: Primary) -> Ledger:
    """Close a frame and return its ledger."""
    report = close_frame(primary, "test")
    assert report.ledger is not None
    return report.ledger


def clones(repository: Path, to: Path) -> bool:
    """Whether a fresh clone can be made and checked out."""
    words = ["git", "clone", "-q", "--no-local", str(repository), str(to)]
    return subprocess.run(words, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("ref", [LANE, MAIN])
@pytest.mark.parametrize("kind", UNREADABLE)
def test_frames_go_on_past_what_cannot_be_read(repository: Path, primary: Primary, kind: str, ref: str) -> None:
    """A commit or tree that cannot be read ends no look and no close: the delta beside it is merged, the ledger records
    the commit once, and the next frame closes as well."""
    close(primary)
    plant(repository, ref, UNREADABLE[kind])
    honest(repository, 2)
    poll(primary)
    ledger = close(primary)
    assert [row.stream_id for row in ledger.deltas] == ["alice"]
    recorded = [row for row in ledger.violations if row.kind == "unreadable-commit"]
    assert [(row.path, row.commit) for row in recorded] == [(short_ref(ref), oid_of(UNREADABLE[kind][0]))]
    assert recorded[0].detail
    honest(repository, 3)
    ledger = close(primary)
    assert [row.stream_id for row in ledger.deltas] == ["alice"]
    assert not [row for row in ledger.violations if row.kind == "unreadable-commit"]


@pytest.mark.parametrize("kind", UNREADABLE)
def test_status_names_the_lane_for_as_long_as_it_is_there(repository: Path, primary: Primary, kind: str) -> None:
    """A lane that cannot be read is a trouble with a remedy, also after a ledger has named it; once it is deleted, none
    is left."""
    plant(repository, LANE, UNREADABLE[kind])
    for _ in range(2):
        troubles = [one for one in poll(primary)[0].pending.troubles if oid_of(UNREADABLE[kind][0]) in one.what]
        assert len(troubles) == 1
        assert "dc/mallory" in troubles[0].what
        assert "delete" in troubles[0].remedy
        close(primary)
    (repository / LANE).unlink()
    assert not [one for one in poll(primary)[0].pending.troubles if "cannot be read" in one.what]


@pytest.mark.parametrize("kind", UNREADABLE)
def test_what_cannot_be_read_gets_into_no_clone(repository: Path, primary: Primary, kind: str, tmp_path: Path) -> None:
    """The published history does not hold the unreadable commit of a lane, so that fresh clones go on working."""
    plant(repository, LANE, UNREADABLE[kind])
    honest(repository, 1)
    close(primary)
    (repository / LANE).unlink()
    assert clones(repository, tmp_path / "clone")


@pytest.mark.parametrize("kind", FOLLOWED)
def test_what_stands_below_and_upon_a_commit_that_git_follows_is_merged(
    repository: Path, primary: Primary, kind: str
) -> None:
    """Where git can follow a commit that is passed by, honest work on both sides of it on `main` is merged, and what is
    published verifies."""
    close(primary)
    head = primary.store.refs()[MAIN]
    below = commit_files(primary.store, MAIN, {f"{FOLDER}/2/below.json": text(2, "alice", 1)})
    (_, raw), *_ = UNREADABLE[kind]
    raw = raw.replace(raw.partition(b"\n")[0], f"tree {primary.store.commit(below).tree}\nparent {below}".encode(), 1)
    plant(repository, MAIN, bad := [("commit", raw)])
    primary.store.through(oid_of(bad[0]))  # else whoever commits on top of it here would not know its tree
    commit_files(primary.store, MAIN, {f"{FOLDER}/2/upon.json": text(2, "alice", 2)})
    fresh = primary_on(LocalStore(repository))
    poll(fresh)
    ledger = close(fresh)
    assert sorted(row.path.rpartition("/")[2] for row in ledger.deltas) == ["below.json", "upon.json"]
    assert [row.kind for row in ledger.violations] == ["unreadable-commit"]
    close(fresh)
    assert fresh.store.descends(fresh.store.refs()[MAIN], head)
    assert wrong(fresh) is None


@pytest.mark.parametrize("kind", FOLLOWED)
def test_what_an_unreadable_head_of_main_stands_on_is_merged(repository: Path, primary: Primary, kind: str) -> None:
    """Whoever puts such a commit on top of honest work on `main` takes nothing of that away; the commit itself is in no
    later history."""
    close(primary)
    below = commit_files(primary.store, MAIN, {f"{FOLDER}/2/below.json": text(2, "alice", 1)})
    (_, raw), *_ = UNREADABLE[kind]
    raw = raw.replace(raw.partition(b"\n")[0], f"tree {primary.store.commit(below).tree}\nparent {below}".encode(), 1)
    plant(repository, MAIN, bad := [("commit", raw)])
    fresh = primary_on(LocalStore(repository))
    poll(fresh)
    ledger = close(fresh)
    assert [row.path.rpartition("/")[2] for row in ledger.deltas] == ["below.json"]
    assert {row.kind for row in ledger.violations} == {"unreadable-commit", "main-rewound"}
    close(fresh)
    head = fresh.store.refs()[MAIN]
    assert fresh.store.descends(head, below)
    assert not fresh.store.descends(head, oid_of(bad[0]))
    assert wrong(fresh) is None


def wrong(primary: Primary) -> Verdict | None:
    """What does not verify of the published history, if anything."""
    store = primary.store
    verdict = check_frames(store, read_history(store, store.refs(), primary.main), None)
    return None if verdict.ok else verdict


def test_a_lane_that_is_left_alone_is_read_once(
    repository: Path, primary: Primary, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However large a commit is that cannot be read, and however long its lane stands, no later close asks for it."""
    plant(repository, LANE, UNREADABLE["a huge commit"])
    close(primary)
    asked: set[str] = set()
    plain = LocalStore.new_commits

    def noted(self: LocalStore, tips: Iterable[str], hidden: Iterable[str]) -> dict[str, Commit]:
        asked.update(tips := list(tips))
        return plain(self, tips, hidden)

    monkeypatch.setattr(LocalStore, "new_commits", noted)
    for frame in (2, 3):
        honest(repository, frame)
        assert [row.stream_id for row in close(primary).deltas] == ["alice"]
    assert asked
    assert oid_of(UNREADABLE["a huge commit"][0]) not in asked


@pytest.mark.parametrize("kind", ["a folder of garbage", "2,200 folders deep"])
def test_a_lane_that_main_has_merged_is_no_trouble_any_more(repository: Path, primary: Primary, kind: str) -> None:
    """Once somebody put the commit into the shared branch, `main` is what brings it; the lane counts as merged."""
    plant(repository, LANE, UNREADABLE[kind])
    close(primary)
    head, bad = primary.store.refs()[MAIN], oid_of(UNREADABLE[kind][0])
    kept = [("tree", primary.store.read(primary.store.commit(head).tree))]
    plant(repository, MAIN, commit(kept, head, bad))
    assert [row.path for row in close(primary).violations if row.kind == "unreadable-commit"] == ["main"]
    assert not [one for one in poll(primary)[0].pending.troubles if "cannot be read" in one.what]


def test_a_lane_is_merged_once_its_owner_pushes_another_history(repository: Path, primary: Primary) -> None:
    """Leaving a lane alone costs its owner nothing for ever: another history on it is merged."""
    plant(repository, LANE, UNREADABLE["2,200 folders deep"])
    close(primary)
    plant(repository, LANE, commit(in_frame(blob(frame=2, observations=[1]), 2)))
    assert [row.stream_id for row in close(primary).deltas] == ["mallory"]


@pytest.mark.parametrize("kind", ODD)
def test_odd_histories_are_read_as_git_reads_them(repository: Path, primary: Primary, kind: str) -> None:
    """A history that git itself can read is read, however odd its header or tree: its delta is merged, once."""
    plant(repository, LANE, ODD[kind])
    ledger = close(primary)
    assert [row.stream_id for row in ledger.deltas] == ["mallory"]
    assert not ledger.violations
    assert not close(primary).deltas


@pytest.mark.parametrize("kind", UNSAFE)
def test_names_that_no_clone_can_hold_are_quarantined(
    repository: Path, primary: Primary, kind: str, tmp_path: Path
) -> None:
    """A delta on a lane under a name that git refuses to check out is quarantined; a fresh clone works afterwards."""
    plant(repository, LANE, UNSAFE[kind])
    honest(repository, 1)
    ledger = close(primary)
    assert [row.stream_id for row in ledger.deltas] == ["alice"]
    assert [row.reason for row in ledger.quarantined] == ["bad-name"]
    assert clones(repository, tmp_path / "clone")


@pytest.mark.parametrize("folder", [(), (b"src",), (b"state", b"stream_deltas", b"1")], ids=["root", "src", "frame"])
@pytest.mark.parametrize("name", [b"git~1", b".git ", b"n" * 300, b"..", b"x/../y"])
def test_names_that_no_clone_can_hold_leave_the_shared_branch(
    repository: Path, primary: Primary, name: bytes, folder: tuple[bytes, ...], tmp_path: Path
) -> None:
    """A name pushed to the shared branch that no clone can hold is recorded as `bad-path` and left out by the next
    snapshot commit; what is beside it stays."""
    close(primary)
    head = primary.store.refs()[MAIN]
    text = ("blob", b"hi")
    inside = tree((0o100644, b"x", oid_of(text)))
    beside = tree((0o100644, b"README", oid_of(text)), (0o40000, name, oid_of(inside)))
    objects = [*nested([beside], folder), inside, text]
    if folder[:1] != (b"state",):
        entries = parse(objects[0][1]) | {"state": read_tree(primary.store, primary.store.commit(head).tree)["state"]}
        objects[0] = ("tree", format_tree(entries))
    plant(repository, MAIN, commit(objects, head))
    assert not clones(repository, tmp_path / "before")
    ledger = close(primary)
    assert {row.kind for row in ledger.violations} >= {"bad-path"}
    assert clones(repository, tmp_path / "clone")
    at = b"/".join([*folder, b"README"]).decode()
    assert (tmp_path / "clone" / at).read_text() == "hi"


@pytest.mark.parametrize(
    ("raw", "parents"),
    [
        (b"tree %b\nparent %b\nauthor a <a> 1 +0\ncommitter a <a> 1 +0\n\nm" % (b"1" * 40, b"2" * 40), ("2" * 40,)),
        (b"tree %b\nauthor a <a> 1 +0\nparent %b\ncommitter a <a> 1 +0\n\nm" % (b"1" * 40, b"2" * 40), ()),
        (b"tree %b\nauthor a <a> 1 +0\ncommitter a <a> 1 +0\n\nparent %b\n" % (b"1" * 40, b"2" * 40), ()),
    ],
)
def test_a_commit_has_the_parents_that_git_sees(raw: bytes, parents: tuple[str, ...]) -> None:
    """Only parents that stand directly below the tree count, since git reads no others."""
    assert parse_commit(raw).parents == parents


def test_a_lane_that_was_begun_on_a_branch_with_one_counts_once_a_frame_has_passed_it_by(
    repository: Path, primary: Primary
) -> None:
    """Every clone has the commit then. The lane waits for that frame, and not for a restart or another push."""
    head = primary.store.refs()[MAIN]
    made, *others = UNREADABLE[FOLLOWED[0]]
    bad = ("commit", made[1].replace(b"\nauthor", b"\nparent " + head.encode() + b"\nauthor", 1))
    plant(repository, MAIN, [bad, *others])
    store = LocalStore(repository)
    commit_files(store, MAIN, {f"{FOLDER}/1/m.json": text(1, "m", 0)})
    on_branch = store.refs()[MAIN]
    plant(repository, HONEST, commit(in_frame(blob("alice", 1, observations=[1]), 1), on_branch))
    poll(primary)
    assert [row.stream_id for row in close(primary).deltas] == ["m"]
    assert [row.stream_id for row in close(primary).deltas] == ["alice"]
    assert poll(primary)[0].pending.troubles == []
