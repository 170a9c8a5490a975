"""Hostile pushes that a running process checks for the hook: the same refusals, all in one repository with one process.

The tests of `test_hook_hostile.py` that are named here run a second time; every push of theirs that git itself lets
through has to be answered by the process. The last one closes the frame that the others push to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e import test_hook_hostile
from tests.e2e.tools import dc, git
from tests.hook.checking import complete_checks, note_complete_checks, serving

test_unreadable = test_hook_hostile.test_what_could_not_be_read_or_checked_out_is_refused
test_named = test_hook_hostile.test_the_check_names_what_it_cannot_read
test_head = test_hook_hostile.test_a_head_of_the_shared_branch_that_cannot_be_read_is_named_like_any_commit
test_names = test_hook_hostile.test_names_that_no_clone_can_hold_are_refused_everywhere
test_blocked_lanes = test_hook_hostile.test_a_lane_that_another_ref_blocks_is_refused_with_the_culprit
test_many_names = test_hook_hostile.test_one_blob_under_many_names_is_judged_once


@pytest.fixture(scope="module")
def answered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A repository in which git checks nothing, with a process that checks its pushes."""
    repository = tmp_path_factory.mktemp("answered") / "fleet.git"
    dc("init", str(repository))
    git(repository, "config", "receive.fsckObjects", "false")
    note_complete_checks(repository)
    with serving(repository):
        yield repository


@pytest.fixture
def repository(answered: Path) -> Iterator[Path]:
    """The same; the test fails if a hook had to check a push itself."""
    before = complete_checks(answered)
    yield answered
    assert complete_checks(answered) == before
