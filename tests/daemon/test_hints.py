"""What hints come to: looks, at most one a second, and one after the last hint (docs/protocol.md#hints)."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dreamcatcherd.config_tables import HintConfig
from dreamcatcherd.core.errors import RetryableError, UsageError
from dreamcatcherd.daemon.hints import HINT_EVERY_S, HintPace, read_hint_secrets
from dreamcatcherd.daemon.timers import Timers
from dreamcatcherd.git.failures import LimitedError
from tests.daemon.conftest import Start


class Simulated(Timers):
    """Time that goes on by hand: timers call when it reaches them, unless they have `died`."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.died = False
        self.looks: list[float] = []
        self._due: list[tuple[float, Callable[[], object]]] = []
        self.pace = HintPace(self, lambda: self.looks.append(self.now), lambda: self.now)

    def after(self, name: str, seconds: float, call: Callable[[], object]) -> None:
        assert name == "hint"
        self._due = [] if self.died else [(self.now + seconds, call)]

    def until(self, moment: float) -> None:
        while self._due and self._due[0][0] <= moment:
            self.now, call = self._due.pop()
            call()
        self.now = moment

    def hints(self, *moments: float) -> list[float]:
        """When looks began, for hints at these times."""
        for moment in moments:
            self.until(moment)
            self.pace.hint()
        self.until(self.now + 60)
        return self.looks


def test_the_first_hint_is_a_look_at_once() -> None:
    """Nobody waits for a poll: the look begins with the hint."""
    assert Simulated().hints(5.0) == [5.0]


def test_a_burst_is_two_looks_of_which_the_last_sees_everything() -> None:
    """Two hundred hints in half a second: one look at once, and one at the end of the second."""
    assert Simulated().hints(*(5 + number / 400 for number in range(200))) == [5.0, 6.0]


def test_hints_that_keep_coming_are_a_look_each_second() -> None:
    """Ten seconds of hints, a hundred each second: eleven looks, not a thousand, and none later than a second."""
    looks = Simulated().hints(*(number / 100 for number in range(1_000)))
    assert looks == pytest.approx([float(number) for number in range(11)])


@given(st.lists(st.floats(0, 20), min_size=1).map(sorted))
def test_no_hint_is_forgotten_and_none_costs_more_than_its_share(moments: list[float]) -> None:
    """After each hint there is a look within a second; between two looks there is a second."""
    looks = Simulated().hints(*moments)
    slack = 1e-9
    assert all(any(moment <= look <= moment + HINT_EVERY_S + slack for look in looks) for moment in moments)
    assert all(after - before >= HINT_EVERY_S - slack for before, after in pairwise(looks))


def test_a_timer_that_never_comes_stops_no_later_hint() -> None:
    """If the scheduler died, the next hint after the second is a look again."""
    time = Simulated()
    time.died = True
    assert time.hints(0.0, 0.5, 3.0) == [0.0, 3.0]


# Leaving a server alone -------------------------------------------------------------------------------------------


def test_a_hint_does_not_break_the_peace_that_a_server_asked_for(start: Start) -> None:
    """While `Retry-After` runs, a hint asks the server nothing; its look is that of the first poll afterwards."""
    daemon = start()
    looks: list[None] = []

    def limited() -> None:
        raise LimitedError("asked too often", "wait", retry_after_s=50)

    daemon.store.at_refs = [limited, *[lambda: looks.append(None)] * 5]
    daemon.step(1)
    daemon.service._hints._hinted()
    assert daemon.service._wake.is_set()
    assert 0 < daemon.step(2) <= 50
    assert looks == []


def test_a_server_that_asks_for_no_pause_gets_one(start: Start) -> None:
    """`Retry-After: 0` each time, or a date that is over, is a second's wait: the daemon never asks in a tight loop."""
    daemon = start()

    def limited() -> None:
        raise LimitedError("asked too often", "wait", retry_after_s=0.0)

    daemon.store.at_refs = [limited]
    assert daemon.step(1) == 1


def test_a_hint_ends_the_wait_after_an_ordinary_failure(start: Start) -> None:
    """A failed look that no server limited may be tried again at once: the hint says that there is something."""
    daemon = start()
    looks: list[None] = []

    def failing() -> None:
        raise RetryableError("the disk is full", "make room")

    daemon.store.at_refs = [failing, *[lambda: looks.append(None)] * 5]
    daemon.step(1)
    daemon.step(2)
    assert looks == [None]


# The secret -------------------------------------------------------------------------------------------------------


def test_each_line_of_the_file_is_a_secret(tmp_path: Path) -> None:
    """Lines are stripped, empty ones are none, and any bytes may be in them."""
    (tmp_path / "secret").write_bytes(b"one\r\n\n  two words \n\xff\n")
    assert read_hint_secrets(HintConfig(str(tmp_path / "secret"))) == (b"one", b"two words", b"\xff")
    assert read_hint_secrets(HintConfig()) == ()


def test_systemds_credential_is_found_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`hint_secret` in the credentials directory counts where no file is named."""
    (tmp_path / "hint_secret").write_text("given\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert read_hint_secrets(HintConfig()) == (b"given",)


@pytest.mark.parametrize("content", [b"", b"\n \n"])
def test_a_file_without_a_secret_is_refused(tmp_path: Path, content: bytes) -> None:
    """An empty secret would let everybody sign."""
    (tmp_path / "secret").write_bytes(content)
    with pytest.raises(UsageError, match="holds no secret"):
        read_hint_secrets(HintConfig(str(tmp_path / "secret")))


def test_a_missing_file_is_named() -> None:
    """The error has the path and the key."""
    with pytest.raises(UsageError, match=r"\[hint\] secret_file names /nowhere/secret"):
        read_hint_secrets(HintConfig("/nowhere/secret"))
