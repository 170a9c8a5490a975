"""The server-side check under hostile pushes: each is refused with a reason, in bounded time; nobody else notices."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest

from dreamcatcherd.hook.pre_receive import CHECK_LIMIT_S, OutOfTimeError, _limited, check_push
from tests.e2e.test_hook_signers import key, signing
from tests.e2e.tools import clone, dc, dc_json, delta, git, push, try_git
from tests.hostile import (
    FILE,
    FRAME,
    ODD,
    UNREADABLE,
    UNSAFE,
    ZERO,
    Obj,
    blob,
    commit,
    nested,
    oid_of,
    plant,
    push_raw,
    tree,
)

LANE = "refs/heads/dc/mallory"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A shared repository with the check, in which git itself checks nothing."""
    dc("init", str(tmp_path / "fleet.git"))
    git(tmp_path / "fleet.git", "config", "receive.fsckObjects", "false")
    return tmp_path / "fleet.git"


@pytest.mark.parametrize("ref", [LANE, "refs/heads/main"])
@pytest.mark.parametrize("kind", [*UNREADABLE, *UNSAFE])
def test_what_could_not_be_read_or_checked_out_is_refused(repository: Path, kind: str, ref: str) -> None:
    """A push of it is refused without a traceback, by git or by the check, and no ref moves."""
    before = git(repository, "for-each-ref")
    objects = {**UNREADABLE, **UNSAFE}[kind]
    if ref.endswith("main"):
        objects = [("commit", objects[0][1].replace(b"\nauthor", _parent(repository) + b"\nauthor", 1)), *objects[1:]]
    old = ZERO if ref == LANE else git(repository, "rev-parse", "main")
    said = push_raw(repository, ref, objects, old)
    assert said is not None
    assert "Traceback" not in said
    assert "missing necessary objects" in said or "refused this push" in said
    assert git(repository, "for-each-ref") == before


def _parent(repository: Path) -> bytes:
    return b"\nparent " + git(repository, "rev-parse", "main").encode()


@pytest.mark.parametrize("kind", ["2,200 folders deep", "a tree of trees"])
def test_the_check_names_what_it_cannot_read(repository: Path, kind: str) -> None:
    """The refusal names the commit, the reason, and what to do."""
    said = push_raw(repository, LANE, UNREADABLE[kind]) or ""
    assert f"commit {oid_of(UNREADABLE[kind][0])}: unreadable-commit: a tree " in said
    assert "make the commit again with git itself" in said


def test_a_head_of_the_shared_branch_that_cannot_be_read_is_named_like_any_commit(repository: Path) -> None:
    """The settings of such a head cannot be read either; those before the push hold, and the refusal fits."""
    made, *others = UNREADABLE["a blob as tree"]
    head = ("commit", made[1].replace(b"\nauthor", _parent(repository) + b"\nauthor", 1))
    said = push_raw(repository, "refs/heads/main", [head, *others], git(repository, "rev-parse", "main")) or ""
    assert f"commit {oid_of(head)}: unreadable-commit: an object of " in said
    assert "make the commit again with git itself" in said


@pytest.mark.parametrize("branch", ["main", "dc/mallory", "topic"])
@pytest.mark.parametrize("name", [b"git~1", b".git ", b"n" * 300])
def test_names_that_no_clone_can_hold_are_refused_everywhere(repository: Path, name: bytes, branch: str) -> None:
    """A folder outside `state/` that no clone can hold is refused on any branch."""
    head = git(repository, "rev-parse", "main")
    text = ("blob", b"hi")
    objects = commit([*nested([text], [b"src", name, b"x"], FILE)], head)
    old = head if branch == "main" else ZERO
    said = push_raw(repository, f"refs/heads/{branch}", objects, old) or ""
    assert ": bad-name: " in said


@pytest.mark.parametrize("kind", ODD)
def test_odd_commits_are_refused_where_git_checks_objects(tmp_path: Path, kind: str) -> None:
    """A repository that `init` made has git itself refuse malformed objects, so that none stays in history."""
    dc("init", str(tmp_path / "fleet.git"))
    assert push_raw(tmp_path / "fleet.git", LANE, ODD[kind]) is not None


@pytest.mark.parametrize("end", ["\u2028", "\u2029", "\u0085"], ids=ascii)
def test_no_name_of_a_lane_adds_a_ref_to_those_that_the_check_knows(repository: Path, tmp_path: Path, end: str) -> None:
    """Python ends a line where git does not: a lane named for that makes no unmerged lane count as merged, no commit
    as checked, and no push of others fail."""
    worker = clone(repository, tmp_path / "worker")
    push(worker, {"state/stream_deltas/1/bob.json": delta(1, "bob", observations=["x"])}, "dc/bob")
    acknowledged = git(worker, "rev-parse", "HEAD")
    git(worker, "checkout", "-q", "-b", "bad", "origin/main")
    bad = worker / "state/stream_deltas/1/mallory.json"
    bad.parent.mkdir(parents=True, exist_ok=True)
    bad.write_text("{")
    git(worker, "add", "state")
    git(worker, "commit", "-q", "-m", "add")
    broken = git(worker, "rev-parse", "HEAD")
    for name in (f"{acknowledged}-refs/dreamcatcher/seen", f"{broken}-refs/heads/dc/q", "y"):
        try_git(worker, "push", "-q", "origin", f"origin/main:refs/heads/dc/mallory/x{end}{name}")
    assert "lane-unmerged" in try_git(worker, "push", "origin", ":refs/heads/dc/bob").stderr
    assert "not-json" in try_git(worker, "push", "origin", f"{broken}:{LANE}").stderr
    push(clone(repository, tmp_path / "carol"), {"state/stream_deltas/1/c.json": delta(1, "carol")}, "dc/carol")
    dc("close", "--repo", str(repository))
    (receipt,) = dc_json("receipt", "state/stream_deltas/1/bob.json", "--repo", str(repository))
    assert receipt["outcome"] == "merged"


class Deaf:
    """Takes its time to be freed. What is raised meanwhile is lost."""

    def __del__(self) -> None:
        until = time.monotonic() + 0.15
        while time.monotonic() < until:
            pass


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_time_limit_holds_where_its_first_alarm_is_lost() -> None:
    """An alarm while Python frees an object is lost: another one follows, and none after the limit."""
    before = signal.getsignal(signal.SIGALRM)

    def work() -> None:
        Deaf()
        time.sleep(5)

    with pytest.raises(OutOfTimeError), _limited(0.05):
        work()
    assert signal.getsignal(signal.SIGALRM) is before
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_push_that_takes_too_long_to_judge_is_refused(repository: Path) -> None:
    """At the time limit the check refuses, with the limit and a remedy; git processes that it started are ended."""
    objects = [one for number in range(300) for one in _lane(f"s{number}")]
    plant(repository, "refs/heads/topic", objects)
    lines = [f"{ZERO} {oid_of(_lane(f's{number}')[0])} refs/heads/dc/s{number}\n".encode() for number in range(300)]
    variables = {**os.environ, "GIT_DIR": str(repository)}
    answer = check_push(variables, lines, 0.02)
    assert len(answer.refused) == 1
    assert "took longer than 0.02 s" in answer.refused[0]
    assert "several pushes" in answer.refused[0]
    start = time.monotonic()
    assert check_push(variables, lines).refused == []
    assert time.monotonic() - start < CHECK_LIMIT_S


def _lane(stream: str) -> list[Obj]:
    return commit(nested([blob(stream, observations=[stream])], [*FRAME, stream.encode() + b".json"], FILE))


def test_one_blob_under_many_names_is_judged_once(repository: Path) -> None:
    """A delta under 20,000 names passes the check within its limit, is merged once, and the ledger stays small."""
    one = blob(observations=["once"])
    names = tree(*((FILE, b"%05d.json" % number, oid_of(one)) for number in range(20_000)))
    assert push_raw(repository, LANE, commit([*nested([names], FRAME), one])) is None
    (closed,) = dc_json("merge", "--repo", str(repository))
    assert closed["deltas"] == 1
    assert int(git(repository, "cat-file", "-s", "main:state/ledger/0/1.json")) < 100_000
    assert dc_json("verify", "--repo", str(repository))["ok"]
    (found,) = dc_json("receipt", "state/stream_deltas/1/19999.json", "--repo", str(repository))
    assert found["outcome"] == "duplicate"


def test_a_lane_that_another_ref_blocks_is_refused_with_the_culprit(repository: Path, tmp_path: Path) -> None:
    """git cannot hold `dc/alice` beside `dc/alice/x`: the refusal names the ref in the way and what alice can do."""
    worker = clone(repository, tmp_path / "worker")
    git(worker, "push", "-q", "origin", "HEAD:refs/heads/dc/alice/x")
    said = try_git(worker, "push", "origin", "HEAD:refs/heads/dc/alice").stderr
    assert "lane-blocked: dc/alice/x is there, and git cannot hold both" in said
    assert "dc/<stream_id>/<anything>" in said
    said = try_git(worker, "push", "origin", "HEAD:refs/heads/dc/alice/x/y").stderr
    assert "lane-blocked: dc/alice/x is there" in said
    assert "push to dc/alice/x itself" in said
    assert "<anything>" not in said
    git(worker, "push", "-q", "origin", "HEAD:refs/heads/dc/alice/z")


@pytest.mark.needs("ssh-keygen")
def test_nobody_occupies_the_lane_of_another_where_signers_are_set(repository: Path, tmp_path: Path) -> None:
    """A lane ref whose head no key of its stream signed is refused: an empty commit, main's own head, one below it; the
    stream's own key may do all of that."""
    alice, alice_line = key(tmp_path, "alice")
    mallory, mallory_line = key(tmp_path, "mallory")
    _, ops_line = key(tmp_path, "ops")
    lines = [alice_line, mallory_line, ops_line]
    worker = clone(repository, tmp_path / "worker")
    push(worker, {"state/dreamcatcher.toml": f"[security]\nallowed_signers = {lines!r}\noperators = ['ops']\n"})
    signing(worker, mallory)
    main = git(worker, "rev-parse", "HEAD")
    git(worker, "commit", "-q", "--allow-empty", "-m", "squat")
    for commit_id in (main, "HEAD"):
        for lane in ("dc/alice", "dc/alice/x"):
            said = try_git(worker, "push", "origin", f"{commit_id}:refs/heads/{lane}").stderr
            assert f"refs/heads/{lane}: wrong-stream: its head" in said
    git(worker, "push", "-q", "origin", "HEAD:refs/heads/dc/mallory")
    signing(worker, alice)
    git(worker, "commit", "-q", "--allow-empty", "-m", "mine")
    git(worker, "push", "-q", "origin", "HEAD:refs/heads/dc/alice/x")


@pytest.mark.needs("ssh-keygen")
def test_a_key_counts_by_the_time_of_the_push(repository: Path, tmp_path: Path) -> None:
    """A key whose `valid-before` is past signs nothing any more, whatever date the commit bears; one that is valid now
    does, whatever date the commit bears."""
    old, old_line = key(tmp_path, "old")
    new, new_line = key(tmp_path, "new")
    _, ops_line = key(tmp_path, "ops")
    lines = [
        old_line.replace("old ", 'old valid-before="20200101Z" ', 1),
        new_line.replace("new ", 'new valid-after="20200101Z" ', 1),
        ops_line,
    ]
    worker = clone(repository, tmp_path / "worker")
    push(worker, {"state/dreamcatcher.toml": f"[security]\nallowed_signers = {lines!r}\noperators = ['ops']\n"})
    dates = {"GIT_COMMITTER_DATE": "2019-06-01T00:00:00Z", "GIT_AUTHOR_DATE": "2019-06-01T00:00:00Z"}

    def pushed(stream: str, private: Path) -> str:
        signing(worker, private)
        git(worker, "checkout", "-q", "--detach", "origin/main")
        file = worker / f"state/stream_deltas/1/{stream}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(delta(1, stream, observations=[stream]))
        git(worker, "add", "-A")
        git(worker, "commit", "-q", "-m", stream, env=dates)
        return try_git(worker, "push", "-q", "origin", f"HEAD:refs/heads/dc/{stream}").stderr

    assert "wrong-stream" in pushed("old", old)
    assert pushed("new", new) == ""
    dc("merge", "--repo", str(repository))
    assert dc_json("verify", "--repo", str(repository))["ok"]


DEEP = b'{"frame":' * 5000 + b"1" + b"}" * 5000


def test_a_frame_file_beyond_the_stack_stops_no_push(repository: Path, tmp_path: Path) -> None:
    """Where main shows a frame.json that no parser can nest, which nobody checked, pushes and commands go on."""
    head = git(repository, "rev-parse", "main")
    plant(repository, "refs/heads/main", commit(nested([("blob", DEEP)], [b"state", b"frame.json"], FILE), head))
    worker = tmp_path / "worker"
    git(tmp_path, "init", "-q", str(worker))
    git(worker, "fetch", "-q", str(repository), head)
    git(worker, "checkout", "-q", "--detach", "FETCH_HEAD")
    (worker / "state/stream_deltas/1").mkdir(parents=True)
    (worker / "state/stream_deltas/1/a.json").write_text(delta(1, "a", observations=[1]))
    git(worker, "add", "-A")
    git(worker, "commit", "-q", "-m", "a")
    git(worker, "push", "-q", str(repository), "HEAD:refs/heads/dc/a")
    for words in ("status", "plan", "merge", "verify"):
        dc(words, "--repo", str(repository))
    assert json.loads(git(repository, "show", "main:state/frame.json"))["last_closed"] == 1
