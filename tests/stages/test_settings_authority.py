"""Which signed changes of the settings count, on the shared branch and in the server-side check.

Contract: docs/protocol.md#violations."""

from __future__ import annotations

import subprocess

import pytest

from dreamcatcherd.core import paths
from dreamcatcherd.hook.install import install_hooks
from tests.law.fleet import MAIN
from tests.stages.signed import Fleet, git
from tests.stages.tools import close, merged, reasons

pytestmark = pytest.mark.needs("ssh-keygen")


def branch_off(fleet: Fleet, settings: bytes, orphan: bool = False, at: str = MAIN) -> str:
    """The settings, signed by an operator, in a commit on top of what is published, or of nothing; it goes nowhere."""
    blob = git(fleet.bare, "hash-object", "-w", "--stdin", given=settings)
    parent = git(fleet.bare, "rev-parse", at)
    return _commit(fleet, parent, blob, [] if orphan else [parent], "--gpg-sign=" + str(fleet.keys / "ops"))


def merge_unsigned(fleet: Fleet, brought: str) -> str:
    """A commit that anybody can make: what is on `main`, with the settings of another commit, which it merges."""
    head, blob = git(fleet.bare, "rev-parse", MAIN), git(fleet.bare, "rev-parse", f"{brought}:{paths.SETTINGS}")
    return _commit(fleet, head, blob, [head, brought])


def _commit(fleet: Fleet, base: str, blob: str, parents: list[str], *sign: str) -> str:
    index = ["-c", "core.bare=false", "--work-tree", str(fleet.folder)]
    git(fleet.bare, *index, "read-tree", base)
    git(fleet.bare, *index, "update-index", "--add", "--cacheinfo", f"100644,{blob},{paths.SETTINGS}")
    who = ("-c", "user.name=w", "-c", "user.email=w@localhost", "-c", "gpg.format=ssh")
    words = [word for parent in parents for word in ("-p", parent)]
    return git(fleet.bare, *who, "commit-tree", git(fleet.bare, "write-tree"), *words, "-m", "settings", *sign)


def push(fleet: Fleet, commit: str) -> str:
    """Push a commit to `main` past the server-side check; returns what git says where that refuses it."""
    install_hooks(fleet.bare)
    git(fleet.bare, "update-ref", "refs/heads/scratch", commit)
    work = fleet.folder / "clone"
    git(fleet.folder, "clone", "-q", "--bare", str(fleet.bare), str(work))
    git(fleet.bare, "update-ref", "-d", "refs/heads/scratch")
    done = subprocess.run(
        ["git", "-C", str(work), "push", str(fleet.bare), f"{commit}:{MAIN}"],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stderr if done.returncode else ""


@pytest.mark.parametrize("checked", [False, True], ids=["no check", "check"])
@pytest.mark.parametrize("orphan", [False, True], ids=["an older branch", "another history"])
def test_settings_that_were_signed_before_the_present_ones_are_not_played_back(
    fleet: Fleet, orphan: bool, checked: bool
) -> None:
    """An operator's signed commit from before a key was revoked, merged by somebody else, changes nothing."""
    fleet.secure(f"mallory {fleet.public('mallory')}")
    again = fleet.security(f"mallory {fleet.public('mallory')}", f"alice {fleet.public('alice')}")
    old = branch_off(fleet, again, orphan)
    revoked = fleet.secure()
    merge = merge_unsigned(fleet, old)
    if checked:
        said = push(fleet, merge)
        assert f"commit {old[:10]} was signed before the present settings took force" in said
        return
    git(fleet.bare, "update-ref", MAIN, merge)
    fleet.deliver("mallory", 1, "mallory")
    ledger = close(fleet.primary)
    assert ledger.settings == revoked.settings
    assert reasons(ledger) == {"mallory-1.json": "wrong-stream"}
    refused = [row.detail for row in ledger.violations if row.kind == "settings-refused"]
    assert len(refused) == 1
    assert "was signed before the present settings took force" in refused[0]


@pytest.mark.parametrize("checked", [False, True], ids=["no check", "check"])
def test_a_signed_branch_counts_whoever_merges_it(fleet: Fleet, checked: bool) -> None:
    """A change that an operator signed on a branch, some frames ago, counts where nobody changed the settings since."""
    fleet.secure()
    branch = branch_off(fleet, fleet.security(f"mallory {fleet.public('mallory')}"))
    close(fleet.primary)
    fleet.deliver("alice", 1, "alice")
    assert merged(close(fleet.primary)) == ["alice-1.json"]
    merge = merge_unsigned(fleet, branch)
    if checked:
        assert push(fleet, merge) == ""
    else:
        git(fleet.bare, "update-ref", MAIN, merge)
    fleet.deliver("mallory", 1, "mallory")
    ledger = close(fleet.primary)
    assert (merged(ledger), ledger.violations) == (["mallory-1.json"], [])
    assert ledger.settings_change is not None
    assert ledger.settings_change.commit == branch


def test_a_branch_of_a_change_counts_after_that_was_published(fleet: Fleet) -> None:
    """What an operator signs on top of his own change counts also where only that one was in the frame between."""
    fleet.secure()
    fleet.push({paths.SETTINGS: fleet.security(f"worker-1 {fleet.public('worker-1')}")}, signed_by="ops")
    branch = branch_off(fleet, fleet.security(f"mallory {fleet.public('mallory')}"))
    for _ in range(3):
        close(fleet.primary)
    git(fleet.bare, "update-ref", MAIN, merge_unsigned(fleet, branch))
    ledger = close(fleet.primary)
    assert ledger.settings_change is not None
    assert ledger.settings_change.commit == branch


def test_the_second_of_two_changes_counts_before_either_is_published(fleet: Fleet) -> None:
    """What an operator signs on top of his own change that no frame has taken yet counts too."""
    fleet.secure()
    fleet.push({paths.SETTINGS: fleet.security(f"worker-1 {fleet.public('worker-1')}")}, signed_by="ops")
    commit = fleet.push({paths.SETTINGS: fleet.security(f"mallory {fleet.public('mallory')}")}, signed_by="ops")
    ledger = close(fleet.primary)
    assert ledger.settings_change is not None
    assert ledger.settings_change.commit == commit
