"""A test that changes what belongs to its process is noticed."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog

from dreamcatcherd.observe.logs import set_up_logs
from tests.as_found import changed, log_put_back, process_state


def change_log() -> None:
    set_up_logs("json", "error")


def change_folder() -> None:
    os.chdir("/")


def change_environment() -> None:
    os.environ["LANGUAGE_OF_ANOTHER_TEST"] = "C"


def change_signals() -> None:
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)


def change_hook() -> None:
    sys.excepthook = lambda *_: None


@pytest.fixture
def _put_back() -> Iterator[None]:
    """Undo what the tests of this file do."""
    folder, hook, handler = Path.cwd(), sys.excepthook, signal.getsignal(signal.SIGUSR1)
    with log_put_back():
        yield
    os.chdir(folder)
    sys.excepthook = hook
    signal.signal(signal.SIGUSR1, handler)
    os.environ.pop("LANGUAGE_OF_ANOTHER_TEST", None)


@pytest.mark.usefixtures("_put_back")
@pytest.mark.parametrize(
    ("change", "names"),
    [
        (change_log, {"the configuration of structlog", "the handlers of the root logger"}),
        (change_folder, {"the folder of the process"}),
        (change_environment, {"environment variables"}),
        (change_signals, {"signal handlers"}),
        (change_hook, {"sys.excepthook"}),
    ],
)
def test_what_a_test_changes_in_its_process_is_named(change: Callable[[], None], names: set[str]) -> None:
    """Whoever leaves the process changed fails with the name of what it was."""
    before = process_state()
    change()
    assert names <= set(changed(before, process_state()))


def test_a_log_that_was_set_up_is_put_back() -> None:
    """After the block nothing of the new log is left, and a logger writes where it wrote before."""
    before = process_state()
    with log_put_back():
        set_up_logs("json", "debug")
        assert structlog.is_configured()
        assert [one for one in logging.root.handlers if type(one).__name__ == "LibraryLog"]
    assert changed(before, process_state()) == []
