"""Waiting for the receipt, claims, and what else is asked of a repository."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from dreamcatcherd.client import Pushed, claim, frame, push, receipt
from dreamcatcherd.core.errors import RefusedError, RetryableError, UsageError
from dreamcatcherd.daemon.primary import Primary
from dreamcatcherd.git.local import LocalStore
from dreamcatcherd.git.partial_clone import PartialClone
from tests.client.tools import commit_on, delta, one, refs
from tests.e2e.tools import git
from tests.law.fleet import primary_on
from tests.stages.tools import close


def waited(repository: Path, primary: Primary, given: Any, closes: int = 1) -> Pushed:
    """Push and wait, while frames close at the first looks."""
    left = [closes]

    def progress(sight: object, left_s: float) -> None:
        if left[0]:
            left[0] -= 1
            close(primary)

    return one(repository, given, wait_s=120, progress=progress)


def test_waiting_ends_with_the_receipt(bare: Path, primary: Primary) -> None:
    """merged, with frame and digest, and what was lost or not stored as sent."""
    one(bare, delta(stream="z", second=9, posts_created=[{"number": 1, "title": "z"}]))
    body = delta(posts_created=[{"number": 1, "title": "w"}, {"title": "no key"}], odd=[1])
    row = waited(bare, primary, body)
    assert (row.outcome, row.frame) == ("merged", 1)
    assert row.digest == frame(bare).snapshot
    assert [lost.field for lost in row.lost] == ["title"]
    assert [misfit.section for misfit in row.misfits] == ["posts_created"]
    assert row.unknown == ("odd",)


def test_a_late_delta_is_waited_for_too(bare: Path, primary: Primary) -> None:
    """It is warned of, and its outcome is `late`."""
    close(primary)
    row = waited(bare, primary, delta(1))
    assert (row.outcome, row.frame) == ("late", 2)
    assert row.warnings[0].startswith("frame 1 is closed")
    assert row.accepted


def test_a_held_delta_is_not_final(bare: Path, primary: Primary) -> None:
    """An early delta is pending, held, through closes before its own; then it is merged."""
    row = one(
        bare, delta(3), wait_s=1, progress=lambda sight, left_s: close(primary) if sight.frame.frame < 3 else None
    )
    assert (row.outcome, row.frame) == ("pending", None)
    while frame(bare).frame < 3:
        close(primary)
    again = waited(bare, primary, delta(3))
    assert (again.outcome, again.frame) == ("duplicate", 3)


def test_a_wait_that_runs_out_leaves_pending(bare: Path) -> None:
    """Nothing closes the frame: the row is as after the push."""
    row = one(bare, delta(), wait_s=0.3)
    assert (row.outcome, row.final, row.accepted) == ("pending", False, True)
    assert one(bare, delta(second=1), wait_s=0).outcome == "pending"
    with pytest.raises(UsageError):
        push(bare, delta(), wait_s=-1)


def test_what_is_quarantined_after_all_is_not_accepted(unchecked: Path) -> None:
    """Settings that change before the close can quarantine what was right at the push."""
    primary = primary_on(LocalStore(unchecked))
    toml = "[limits]\ndelta_bytes = 1024\n"

    def progress(sight: object, left_s: float) -> None:
        if frame(unchecked).frame == 1:
            main = git(unchecked, "rev-parse", "main")
            commit_on(unchecked, "refs/heads/main", {"state/dreamcatcher.toml": toml}, (main,))
            close(primary)

    row = one(unchecked, delta(observations=["x" * 2000]), wait_s=120, progress=progress)
    assert (row.outcome, row.reason, row.accepted) == ("quarantined", "too-large", False)
    again = one(unchecked, delta(observations=["x" * 2000]))
    assert (again.outcome, again.reason) == ("refused", "too-large")


def test_waiting_goes_on_while_the_repository_does_not_answer(
    bare: Path, primary: Primary, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looks that fail in between change nothing."""
    true_heads = PartialClone.heads
    failing = [0]

    def heads(clone: PartialClone, patterns: Any) -> dict[str, str]:
        if failing[0]:
            failing[0] -= 1
            raise RetryableError("x cannot be reached", "wait")
        return true_heads(clone, patterns)

    def progress(sight: object, left_s: float) -> None:
        if frame(bare).frame == 1:
            close(primary)
            failing[0] = 3

    monkeypatch.setattr(PartialClone, "heads", heads)
    row = one(bare, delta(), wait_s=120, progress=progress)
    assert (row.outcome, failing) == ("merged", [0])


CLAIMS = '[collections.tasks]\nsection = "meta.claims"\nkey = ["resource"]\nrule = "claim"\nttl = 2\n'
PAIRS = '[collections.seats]\nsection = "seats"\nkey = ["room", "seat"]\nrule = "claim"\nttl = 2\n'


def with_settings(repository: Path, toml: str) -> None:
    main = git(repository, "rev-parse", "main")
    commit_on(repository, "refs/heads/main", {"state/dreamcatcher.toml": toml}, (main,))


def test_one_claims_and_the_other_is_told_who_holds_it(bare: Path, primary: Primary) -> None:
    """The first stamp is granted through frame 1 + ttl; the other is refused and not accepted. A release ends it."""
    with_settings(bare, CLAIMS)
    first = claim(bare, "build", "a")
    assert first.outcome == "pending"
    assert first.claims == []

    def progress(sight: object, left_s: float) -> None:
        if frame(bare).frame == 1:
            close(primary)

    second = claim(bare, "build", "b", wait_s=120, progress=progress)
    (decision,) = second.claims
    assert (decision.outcome, decision.holder, decision.until) == ("refused", "a", 3)
    assert second.outcome == "merged"
    assert not second.accepted
    claim(bare, "build", "a", operation="release")
    claim(bare, "build", "b")
    outcomes = [(row.stream_id, row.outcome) for row in close(primary).claims]
    assert outcomes == [("a", "released"), ("b", "granted")]


def test_keys_of_several_parts_and_several_collections(bare: Path, primary: Primary) -> None:
    """A key's parts are joined by slashes; with several collections of claims the one must be named."""
    with_settings(bare, CLAIMS + PAIRS)
    with pytest.raises(UsageError, match="several collections"):
        claim(bare, "build", "a")
    with pytest.raises(UsageError, match="not a collection with the rule claim"):
        claim(bare, "build", "a", collection="posts")
    with pytest.raises(UsageError, match="not a key of seats"):
        claim(bare, "a/b/c", "a", collection="seats")
    claim(bare, "main%2Fhall/7", "a", collection="seats")
    claim(bare, "build/linux", "a", collection="tasks")
    assert [row.key for row in close(primary).claims] == [["main/hall", 7], "build/linux"]


def test_without_a_collection_of_claims_there_is_nothing_to_claim(bare: Path) -> None:
    """The message says what to add to the settings; with just those lines there, the claim works."""
    with pytest.raises(UsageError, match="no collection with the rule claim") as found:
        claim(bare, "build", "a")
    remedy = found.value.remedy
    lines = re.findall(r'\[[\w.]+\]|\w+ = (?:"\w+"|\["\w+"\])', remedy)
    assert (len(lines), "docs/protocol.md#collections" in remedy) == (4, True)
    with pytest.raises(UsageError, match="not an operation"):
        claim(bare, "build", "a", operation="steal")
    assert refs(bare) == {}
    with_settings(bare, "\n".join(lines))
    assert claim(bare, "build", "a").outcome == "pending"


def test_the_open_frame_is_asked_for(bare: Path, primary: Primary) -> None:
    """It is the published one, whatever somebody wrote into the branch."""
    assert frame(bare).frame == 1
    close(primary)
    main = git(bare, "rev-parse", "main")
    commit_on(bare, "refs/heads/main", {"state/frame.json": '{"frame": 99}'}, (main,))
    found = frame(bare)
    assert (found.frame, found.last_closed) == (2, 1)


def test_a_receipt_is_asked_for_with_the_delta_itself(bare: Path, primary: Primary) -> None:
    """Unknown, then pending on its lane, then merged; one that cannot merge is refused."""
    with pytest.raises(RefusedError, match="has no such delta"):
        receipt(bare, delta())
    row = one(bare, delta())
    waiting = receipt(bare, delta())
    assert (waiting.outcome, waiting.commit, waiting.path) == ("pending", row.commit, row.path)
    close(primary)
    merged = receipt(bare, delta())
    assert (merged.outcome, merged.frame, merged.digest) == ("merged", 1, frame(bare).snapshot)
    assert receipt(bare, b"[]").reason == "not-an-object"
