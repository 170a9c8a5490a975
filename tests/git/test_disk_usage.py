"""What a repository's folder takes, as the metrics show it."""

from __future__ import annotations

from pathlib import Path

from dreamcatcherd.core.frames import Closing
from dreamcatcherd.git.disk_usage import disk_usage
from dreamcatcherd.imports.new_repository import create
from tests.law.fleet import NOW


def test_packs_are_counted_with_their_indexes(tmp_path: Path) -> None:
    """A new repository has one pack, of the commit that opened its first frame; the disk has room left."""
    store = create(tmp_path / "fleet.git", 1, NOW, Closing("manual"))
    files = list((store.folder / "objects/pack").iterdir())
    found = disk_usage(store.folder)
    assert found is not None
    assert (found.packs, found.packed_bytes) == (1, sum(file.stat().st_size for file in files))
    assert found.free_bytes > 0


def test_a_folder_that_is_gone_has_no_size(tmp_path: Path) -> None:
    """What cannot be measured is not shown, and stops nobody."""
    assert disk_usage(tmp_path / "nowhere.git") is None
