"""Archives of long histories: their progress, and their check by any workers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dreamcatcherd.engine.pools import Pool
from dreamcatcherd.git.local import LocalStore
from dreamcatcherd.history.archive import open_archive, write_archive
from dreamcatcherd.history.verify import read_history
from dreamcatcherd.history.verify_spread import verify_frames
from tests.history.tamper import chain
from tests.law.fleet import MAIN

pytestmark = pytest.mark.xdist_group("engine")


def test_each_step_of_an_archive_says_how_far_it_is(history: LocalStore, processes: Pool, tmp_path: Path) -> None:
    """All bytes are counted as they are summed, written, read and compared; and workers check the frames."""
    steps: list[tuple[str, int | None, int]] = []

    @contextmanager
    def counted(total: int | None, what: str) -> Iterator[Callable[[int], None]]:
        done: list[int] = []
        yield done.append
        steps.append((what, total, sum(done)))

    write_archive(history, chain(history), 11, 20, MAIN, tmp_path / "a.tar", counted)
    assert [what for what, _, _ in steps] == ["packing objects", "computing checksums", "writing the archive"]
    assert steps[1][1] == steps[1][2] > 1_000
    assert steps[2][1] == steps[2][2] > steps[1][2]  # the checksums are in it too
    steps.clear()
    with open_archive(tmp_path / "a.tar", counted) as (store, _):
        known = read_history(store, store.refs(), MAIN)
        frames = range(1, len(known.links))  # the first is the one that frame 11 begins on
        assert list(verify_frames(store, known, frames, processes, 10**6)) == [None] * 10
    assert [what for what, _, _ in steps] == ["unpacking the archive", "comparing checksums"]
    assert steps[0][2] <= (tmp_path / "a.tar").stat().st_size == steps[0][1]
    assert steps[1][1] == steps[1][2]
