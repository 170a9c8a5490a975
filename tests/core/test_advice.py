"""Warnings about deltas that merge, but not as their authors expect (Protocol §5)."""

from __future__ import annotations

import pytest
from msgspec import structs

from dreamcatcherd.core.advice import ADVICE_LISTED, advise, alike
from dreamcatcherd.core.model import Delta
from dreamcatcherd.core.settings import DEFAULT, Limits, read_settings
from tests.core.tools import delta

SETTINGS = structs.replace(DEFAULT, limits=Limits(frames_ahead=3))


def warnings(one: Delta, open_frame: int | None = None) -> list[str]:
    return advise(one, SETTINGS, open_frame)


def test_a_delta_that_is_stored_as_it_says_has_no_warning() -> None:
    """Records with keys in known sections, for the open frame or an older one, need no advice."""
    one = delta(4, posts_created=[{"number": 1}, {"number": 2}], observations=[1, 1], counters={"a": 1})
    assert [warnings(one, frame) for frame in (None, 4, 5)] == [[], [], []]


@pytest.mark.parametrize(
    ("ahead", "warning"),
    [
        (1, "frame 5 is not open yet (open is 4): it waits until then"),
        (3, "frame 7 is not open yet (open is 4): it waits until then"),
        (
            4,
            "frame 8 is 4 ahead of the open frame 4, more than frames_ahead 3: it is quarantined as too-far-ahead "
            "until its frame comes nearer",
        ),
    ],
)
def test_a_delta_of_a_later_frame_waits(ahead: int, warning: str) -> None:
    """The author learns that the frame is not open, and whether it is nearer than the limit."""
    assert warnings(delta(4 + ahead), 4) == [warning]


def test_records_without_a_key_and_unknown_sections_are_named() -> None:
    """Each reason is counted by section; an unknown section that looks like a known one is asked about."""
    one = delta(1, posts_created=[{"number": 1}, {}, {}], post_created=[{"number": 1}], dreams=[1])
    assert warnings(one) == [
        "posts_created: 2 records without a usable key (no discussion_number), kept in extra/posts_created",
        "unknown section post_created: did you mean posts_created? it is kept in extra/post_created",
        "unknown section dreams: it is kept in extra/dreams",
    ]


@pytest.mark.parametrize(
    ("sections", "repeated"),
    [
        ({"books_started": [{"book": "b", "n": 1}, {"book": "b", "n": 1}, {"book": "b", "n": 2}]}, 1),
        ({"reactions_added": [{"node": 1, "agent": "a", "type": "t", "n": n} for n in range(3)]}, 2),
    ],
)
def test_records_that_bring_nothing_new_are_counted(sections: dict[str, list[object]], repeated: int) -> None:
    """A repeated entity counts if it is the same record, or if its collection keeps the first record of a key."""
    (section,) = sections
    records = "1 record" if repeated == 1 else f"{repeated} records"
    expected = f"{section}: {records} collapsed into an earlier one with the same key, nothing new"
    assert warnings(delta(1, **sections)) == [expected]


def test_a_deletion_repeats_no_record() -> None:
    """Naming an entity to delete beside its record, or twice, is nothing to be warned of."""
    settings = read_settings(b'[collections.votes]\nkey = ["id"]\nrule = "dedup"\ndelete = "votes_removed"')
    one = delta(1, votes=[{"id": 1}], votes_removed=[1, 1, {"id": 1}])
    assert advise(one, settings) == []


def test_references_to_missing_files_are_named_a_few_at_most() -> None:
    """Each reference that names no file has a line, up to the limit for one kind of warning."""
    one = structs.replace(delta(1), unresolved=tuple(f"{at}.md" for at in range(ADVICE_LISTED + 1)))
    assert warnings(one) == [
        f"the reference {at}.md names no file beside the delta in its commit" for at in range(ADVICE_LISTED)
    ]


def test_only_a_near_miss_is_taken_for_a_misspelling() -> None:
    """Two letters exchanged are a misspelling; another word is not."""
    assert alike("obsrevations", ["posts_created", "observations"]) == "observations"
    assert alike("dreams", ["posts_created", "observations"]) is None


def test_a_trace_context_is_known_and_a_wrong_one_is_named() -> None:
    """A valid `traceparent` is no unknown section; one that is none is warned of, since no link comes of it."""
    context = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    one = delta(1, traceparent=context)
    assert warnings(structs.replace(one, traceparent=context)) == []
    for wrong in ("00-none", [context], 7):
        said = warnings(delta(1, traceparent=wrong))
        assert said == ["traceparent is not a W3C trace context: the frame's trace gets no link to it"]
    assert warnings(delta(1, traceparent=None)) == []
