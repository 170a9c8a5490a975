"""Refusals, races and outages: what a push makes of the server's answer."""

from __future__ import annotations

import threading
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from dreamcatcherd.client import Pushed, pace, push
from dreamcatcherd.client import lane as lane_module
from dreamcatcherd.client.pace import Pace
from dreamcatcherd.config_tables import RepositoryConfig
from dreamcatcherd.core.codec import canonical
from dreamcatcherd.core.errors import RetryableError, UsageError
from dreamcatcherd.daemon.primary import Primary
from dreamcatcherd.git.partial_clone import PartialClone
from tests.client.tools import FOLDER, commit_on, delta, files, one, refs
from tests.e2e.tools import git
from tests.stages.signed import Fleet, make_keys
from tests.stages.tools import close


def test_what_the_server_refuses_is_a_row_with_its_words(bare: Path) -> None:
    """Another hook's message is the detail; the reason is `refused`."""
    hook = bare / "hooks/pre-receive"
    hook.write_text("#!/bin/sh\necho 'no pushes on Sundays' >&2\nexit 1\n")
    row = one(bare, delta())
    assert (row.outcome, row.reason, row.ref) == ("refused", "refused", None)
    assert row.detail == "no pushes on Sundays"
    assert refs(bare) == {}


def test_of_several_only_those_that_the_server_refuses_are_refused(bare: Path) -> None:
    """After a refusal each delta is pushed by itself."""
    hook = bare / "hooks/pre-receive"
    check = 'git grep -q forbidden "$new" && { echo "state/x.json: not-json at $.a: forbidden" >&2; exit 1; }; exit 0'
    hook.write_text(f"#!/bin/sh\nread old new ref\n{check}\n")
    rows = push(bare, [delta(second=1), delta(observations=["forbidden"]), delta(second=2)])
    assert [row.outcome for row in rows] == ["pending", "refused", "pending"]
    assert (rows[1].reason, rows[1].at, rows[1].detail) == ("not-json", "$.a", "forbidden")


def test_a_ref_in_the_way_of_all_lanes_is_a_refusal(unchecked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where git cannot create the lane, the row names the ref that is in the way, after a few attempts."""
    paused = list[float]()
    monkeypatch.setattr(lane_module, "Pace", partial(Pace, paused.append))
    commit_on(unchecked, "refs/heads/dc", {"x": "x"})
    row = one(unchecked, delta())
    # The ref does not go away by itself: a minute of attempts would only delay the answer.
    assert len(paused) < 5
    assert (row.outcome, row.reason) == ("refused", "lane-blocked")
    assert "'refs/heads/dc' exists" in (row.detail or "")


def test_warnings_of_both_sides_come_once(bare: Path) -> None:
    """The check's warnings are those of this side; what it says besides is passed on."""
    row = one(bare, delta(posts_craeted=[{"number": 1}]))
    assert len(row.warnings) == 1
    assert "did you mean posts_created" in row.warnings[0]
    late = one(bare, delta(3))
    assert late.warnings == ("frame 3 is not open yet (open is 1): it waits until then",)


@pytest.mark.parametrize("key", ["worker-1", "mallory", ""])
def test_with_signers_the_commit_is_signed_and_judged_before(tmp_path: Path, key: str) -> None:
    """With the stream's key it merges; with another or none, nothing is pushed."""
    fleet = Fleet(tmp_path, make_keys(tmp_path))
    fleet.push({"state/dreamcatcher.toml": fleet.security(f"w {fleet.public('worker-1')}")}, signed_by="ops")
    close(fleet.primary)
    config = RepositoryConfig(url=str(fleet.bare), signing_key=str(tmp_path / key) if key else None)
    row = one(config, delta(2))
    if key != "worker-1":
        assert (row.outcome, row.reason) == ("refused", "wrong-stream")
        assert refs(fleet.bare) == {}
        return
    assert [found.stream_id for found in close(fleet.primary).deltas] == ["w"]


@pytest.mark.parametrize("stream", ["w", "no lane"])
def test_pushers_that_race_on_one_ref_all_arrive(
    bare: Path, primary: Primary, stream: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three threads push to one lane, or to the shared branch, at the same time: every delta is merged once."""
    monkeypatch.setattr(pace, "BUDGET_S", 600.0)
    rows: list[Pushed] = []

    def work(number: int) -> None:
        rows.extend(one(bare, delta(stream=stream, second=10 * number + at)) for at in range(2))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [row.outcome for row in rows] == ["pending"] * 6
    assert sorted(row.blob for row in close(primary).deltas) == sorted(row.blob for row in rows)


@pytest.mark.parametrize("moved_by", ["another delta", "the same delta"])
def test_a_push_that_is_overtaken_runs_again(bare: Path, moved_by: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lane moves between the look and the push: the next attempt continues it, or finds the delta there."""
    true_push = PartialClone.push
    seconds = {"another delta": [1], "the same delta": [1, 0]}

    def overtaken(clone: PartialClone, commit: str, ref: str) -> Any:
        monkeypatch.undo()
        push(bare, [delta(second=second) for second in seconds[moved_by]])
        return true_push(clone, commit, ref)

    one(bare, delta(second=5))
    monkeypatch.setattr(PartialClone, "push", overtaken)
    row = one(bare, delta())
    assert row.outcome == ("pending" if moved_by == "another delta" else "duplicate")
    assert len(files(bare, "refs/heads/dc/w")) == 3
    assert refs(bare)["refs/heads/dc/w"] == row.commit


@pytest.mark.parametrize("check", ["bare", "unchecked"])
def test_a_lane_of_the_other_form_that_comes_in_between_is_no_refusal(
    check: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A ref below the lane is created between the look and the push, as by push-delta.sh: the delta goes beside it."""
    repository: Path = request.getfixturevalue(check)
    true_push = PartialClone.push

    def overtaken(clone: PartialClone, commit: str, ref: str) -> Any:
        monkeypatch.undo()
        commit_on(repository, "refs/heads/dc/w/1-x", {f"{FOLDER}/1/x.json": canonical(delta(second=1)).decode()})
        return true_push(clone, commit, ref)

    monkeypatch.setattr(PartialClone, "push", overtaken)
    row = one(repository, delta())
    assert (row.outcome, row.ref) == ("pending", "refs/heads/dc/w/push")


def test_an_answer_that_is_lost_is_looked_up_and_not_pushed_again(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server took the push and its answer was lost: the ref shows it, and the row is not a duplicate."""
    true_push = PartialClone.push

    def lost(clone: PartialClone, commit: str, ref: str) -> Any:
        assert true_push(clone, commit, ref).returncode == 0
        raise RetryableError("the server cannot be reached", "wait")

    monkeypatch.setattr(PartialClone, "push", lost)
    monkeypatch.setattr(Pace, "_pause", lambda *_: None)
    row = one(bare, delta())
    assert (row.outcome, row.commit) == ("pending", refs(bare)["refs/heads/dc/w"])
    assert git(bare, "rev-list", "--count", "refs/heads/dc/w") == "1"


def test_a_repeat_is_known_as_one_after_an_outage_before_anything_was_pushed(
    bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server does not answer the first question about the lane: what is there was there before this push."""
    true_find = lane_module.find_target
    first = one(bare, delta())
    failures = [RetryableError("the server cannot be reached", "wait")]

    def unreachable_once(*words: Any) -> Any:
        if failures:
            raise failures.pop()
        return true_find(*words)

    monkeypatch.setattr(lane_module, "find_target", unreachable_once)
    monkeypatch.setattr(Pace, "_pause", lambda *_: None)
    again = one(bare, delta())
    assert (again.outcome, again.commit) == ("duplicate", first.commit)


def test_an_outage_is_tried_again_with_growing_pauses_and_then_reported(
    bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four attempts, each pause about twice the one before; a server that asks for a wait gets it."""
    pauses: list[float] = []
    failure = RetryableError("x cannot be reached", "wait")

    def unreachable(*_: Any) -> Any:
        raise failure

    monkeypatch.setattr(lane_module, "Pace", partial(Pace, pauses.append))
    monkeypatch.setattr(lane_module, "_push", unreachable)
    with pytest.raises(RetryableError, match="cannot be reached"):
        push(bare, delta())
    assert len(pauses) == 3
    assert all(0.5 * 2**at / 2 <= pause <= 0.5 * 2**at * 1.5 for at, pause in enumerate(pauses))
    pauses.clear()
    failure = RetryableError("x is not available for now (503)", "wait", retry_after_s=7.0)
    with pytest.raises(RetryableError):
        push(bare, delta())
    assert pauses == [7.0, 7.0, 7.0]
    pauses.clear()
    failure = RetryableError("x is not available for now (503)", "wait", retry_after_s=3600.0)
    with pytest.raises(RetryableError):
        push(bare, delta())
    assert pauses == []


def test_credentials_that_are_refused_are_not_tried_again(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure that cannot pass by itself is reported at once."""
    attempts: list[int] = []

    def refused(*_: Any) -> Any:
        attempts.append(1)
        raise RetryableError("x refused the credentials", "check them")

    monkeypatch.setattr(lane_module, "_push", refused)
    with pytest.raises(RetryableError, match="credentials"):
        push(bare, delta())
    assert len(attempts) == 1


def test_a_folder_without_a_repository_is_a_failure_of_the_repository(tmp_path: Path) -> None:
    """As with git's own push: the disk may come back. A path that is not there at all is wrong usage, as for every
    command: to push again would never help."""
    with pytest.raises(RetryableError, match="is no git repository"):
        push(tmp_path, delta())
    with pytest.raises(UsageError, match="there is no repository at "):
        push(tmp_path / "nowhere.git", delta())


@pytest.mark.parametrize("url", ["--upload-pack=x", "ext::sh -c x", "ssh://-oProxyCommand=x/y", "gopher://x/y"])
def test_a_repository_that_git_would_misread_is_refused(url: str) -> None:
    """No option, and no protocol that runs a program."""
    with pytest.raises(UsageError):
        push(url, delta())
