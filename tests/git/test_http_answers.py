"""What a web server asks for in `Retry-After` (docs/protocol.md#publishing)."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dreamcatcherd.git.http_answers import RETRY_MOST_S, HttpAnswer, retry_after_s

NOW_S = 1_767_225_600.0  # 2026-01-01T00:00:00Z


def asked(value: str) -> float | None:
    return retry_after_s(HttpAnswer(429, {"retry-after": value}), NOW_S)


@pytest.fixture
def far_from_greenwich(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The machine's own zone is nine hours ahead."""
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        ("120", 120.0),
        ("0007", 7.0),
        ("3601", RETRY_MOST_S),
        ("9" * 400, RETRY_MOST_S),
        ("Thu, 01 Jan 2026 00:01:30 GMT", 90.0),
        ("Thursday, 01-Jan-26 00:01:30 GMT", 90.0),
        ("Thu, 01 Jan 2026 01:01:30 +0100", 90.0),
        ("Thu Jan  1 00:01:30 2026", 90.0),
        ("Thu, 01 Jan 2026 00:01:30 -0000", 90.0),
        ("Wed, 31 Dec 2025 00:00:00 GMT", 0.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", RETRY_MOST_S),
    ],
)
@pytest.mark.usefixtures("far_from_greenwich")
def test_seconds_and_each_form_of_a_date_are_read(value: str, seconds: float) -> None:
    """Seconds, and the three forms of dates in HTTP, in GMT wherever the machine is; an hour at most."""
    assert os.environ["TZ"] == "Asia/Tokyo"
    assert asked(value) == seconds


@pytest.mark.parametrize("value", ["", "-1", "1.5", "soon", "²", "٣", "Thu, 99 Jan 2026 00:00:00 GMT", "1 2", "+5"])
def test_what_is_neither_is_no_answer(value: str) -> None:
    """The header counts as missing: the daemon backs off by itself."""
    assert asked(value) is None


@given(st.text(max_size=40))
def test_no_text_of_a_server_is_too_much(value: str) -> None:
    """Whatever a server writes there, the wait is nothing, or between 0 and an hour."""
    found = asked(value)
    assert found is None or 0 <= found <= RETRY_MOST_S
