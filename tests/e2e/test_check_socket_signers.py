"""Signed and forged pushes that a running process checks for the hook: the same answers as without it.

The tests of `test_hook_signers.py` and `test_hook_hostile.py` that are named here run a second time, those that need a
repository of their own; every push of theirs has to be answered by the process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e import test_hook_hostile, test_hook_signers
from tests.e2e.tools import dc
from tests.hook.checking import complete_checks, note_complete_checks, serving

pytestmark = pytest.mark.needs("ssh-keygen")

test_signers = test_hook_signers.test_where_signers_are_set_only_their_pushes_enter
test_replacements = test_hook_signers.test_a_replacement_takes_nothing_over
test_squatters = test_hook_hostile.test_nobody_occupies_the_lane_of_another_where_signers_are_set
test_deep_frame_file = test_hook_hostile.test_a_frame_file_beyond_the_stack_stops_no_push
test_expired_keys = test_hook_hostile.test_a_key_counts_by_the_time_of_the_push


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[Path]:
    """A shared repository, every push to which a process has to answer."""
    path = tmp_path / "served" / "fleet.git"
    dc("init", str(path))
    note_complete_checks(path)
    with serving(path):
        yield path
    assert complete_checks(path) == 0
