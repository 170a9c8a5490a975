"""bisect: ten steps for a thousand frames, and honest about what it could not test."""

from __future__ import annotations

import random

import pytest

from dreamcatcherd.cli.bisect import search


@pytest.mark.parametrize("guilty", [2, 3, 500, 613, 999, 1000])
def test_a_thousand_frames_take_ten_steps(guilty: int) -> None:
    """Between a good frame 1 and a bad frame 1,000 the first bad one is found in at most ten tests."""
    found = search(list(range(1, 1001)), lambda frame: int(frame >= guilty))
    assert (found.good, found.bad, found.skipped) == (guilty - 1, guilty, [])
    assert len(found.tested) <= 10


def test_skipped_frames_are_passed_over_and_named_where_they_matter() -> None:
    """With frames that cannot be tested, the guilty one is found, or is among those that are named."""
    chance = random.Random(1)
    for _ in range(300):
        last = chance.randrange(2, 60)
        guilty = chance.randrange(2, last + 1)
        skip = {frame for frame in range(2, last) if chance.random() < 0.4}
        codes = {frame: 125 if frame in skip else 7 * (frame >= guilty) for frame in range(1, last + 1)}
        found = search(list(codes), codes.__getitem__)
        assert found.good < guilty <= found.bad
        assert guilty == found.bad or guilty in found.skipped
        assert set(found.skipped) <= skip
        assert set(range(found.good + 1, found.bad)) == set(found.skipped)
        assert len(found.tested) == len(set(found.tested))
