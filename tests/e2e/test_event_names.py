"""A receiver of events that moves: a subscription with a name goes on at another address (docs/events.md)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.e2e.event_tools import closed, configured, receiving
from tests.e2e.test_events import apply, await_frames, fleet, started, state, table
from tests.e2e.tools import wait_for

__all__ = ["fleet", "state"]


def test_a_receiver_that_moves_gets_at_its_new_address_what_waited(fleet: Path, tmp_path: Path) -> None:
    """A subscription that has a name, given while events wait, goes on at another port by a reload alone, with all that
    waited and in order; and over a kill -9 of the daemon."""
    with receiving(tmp_path / "old") as old, receiving(tmp_path / "new") as new:
        file = configured(tmp_path / "p", fleet, table(old))
        with started(tmp_path, file) as daemon:
            wait_for(lambda: len(closed(old.events)) >= 2)
            old.kill()
            await_frames(daemon, 2)
            apply(daemon, tmp_path / "p", fleet, table(old, 'name = "board"\n'))
            await_frames(daemon, 2)
            apply(daemon, tmp_path / "p", fleet, table(new, 'name = "board"\n'))
            wait_for(lambda: new.events)
            daemon.process.kill()
            daemon.process.wait()
        with started(tmp_path, file) as daemon:
            last = await_frames(daemon, 2)
            wait_for(lambda: closed(new.events)[-1] >= last - 1)
            assert daemon.stop()[0] == 0
        had, after = closed(old.events), closed(new.events)
    assert had[0] == 1
    assert after[0] in (had[-1], had[-1] + 1)
    assert after == list(range(after[0], after[-1] + 1))


def test_two_subscriptions_of_one_name_are_refused(fleet: Path, tmp_path: Path) -> None:
    """They would share a cursor; the mistake names the table and the key."""
    tables = "".join(f'[[events]]\nname = "board"\nurl = "http://127.0.0.1:9/{at}"\n' for at in "ab")
    file = configured(tmp_path / "p", fleet, tables)
    words = [sys.executable, "-m", "dreamcatcherd", "config", "check", str(file)]
    found = subprocess.run(words, capture_output=True, text=True, check=False)
    assert found.returncode == 2
    assert "[[events]] table 2 name" in found.stdout + found.stderr
