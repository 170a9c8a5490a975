"""The trace context of a delta, by the words of W3C Trace Context (docs/protocol.md#traces)."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dreamcatcherd.core.model import Json
from dreamcatcherd.core.report import LINKS, trace_links
from dreamcatcherd.core.trace_context import read_traceparent

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
GOOD = f"00-{TRACE}-{SPAN}-01"


@pytest.mark.parametrize(
    ("value", "read"),
    [
        (GOOD, GOOD),
        (f"00-{TRACE}-{SPAN}-ff", f"00-{TRACE}-{SPAN}-ff"),
        (f"cc-{TRACE}-{SPAN}-01", f"cc-{TRACE}-{SPAN}-01"),
        (f"cc-{TRACE}-{SPAN}-01-what-comes-later", f"cc-{TRACE}-{SPAN}-01"),
    ],
)
def test_a_valid_context_is_read(value: str, read: str) -> None:
    """Version 00 has four parts; a later version may have more, of which the first four are read."""
    assert read_traceparent(value) == read


@pytest.mark.parametrize(
    "value",
    [
        None,
        7,
        ["00", TRACE],
        {"traceparent": GOOD},
        "",
        GOOD.upper(),
        f" {GOOD}",
        f"{GOOD}\n",
        f"{GOOD}-more",
        f"{GOOD}-",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE[:-1]}g-{SPAN}-01",
        f"00-{TRACE[:-1]}\u0661-{SPAN}-01",
        f"cc-{TRACE}-{SPAN}-01\u00e9",
        f"cc-{TRACE}-{SPAN}-01-{'x' * 1000}",
    ],
    ids=repr,
)
def test_anything_else_is_none(value: Json) -> None:
    """Other types, upper case, ids of zeros, version ff, cut or longer ones and other alphabets are no context."""
    assert read_traceparent(value) is None


@given(st.text(alphabet="0123456789abcdef-gF", max_size=60))
@example(GOOD)
def test_what_is_read_can_be_taken_apart(text: str) -> None:
    """Whatever is read has four parts of the right lengths, in hex, and neither id is zero."""
    read = read_traceparent(text)
    if read is not None:
        version, trace, span, flags = read.split("-")
        assert [len(part) for part in (version, trace, span, flags)] == [2, 32, 16, 2]
        assert all(int(part, 16) for part in (trace, span))
        assert (int(flags, 16), int(version, 16)) <= (255, 254)
        assert read == read.lower()


def test_links_are_bounded_and_each_context_is_one() -> None:
    """A context that several deltas carry is one link, with the first stream; beyond the limit links are counted."""
    assert trace_links([(None, "a"), (GOOD, "b"), (GOOD, "c")]) == ([(GOOD, "b")], 0)
    many = [(f"00-{TRACE}-{number:016x}-01", f"s{number}") for number in range(1, LINKS + 6)]
    links, left_out = trace_links(many)
    assert (links, left_out) == (many[:LINKS], 5)
