"""What a large computation keeps on disk, and a disk that refuses: at once, late, or from the start."""

from __future__ import annotations

import gc
import tempfile
from pathlib import Path
from typing import Any

import pytest

from dreamcatcherd.core.errors import RetryableError
from dreamcatcherd.engine.spill import Spill
from dreamcatcherd.git.disk_overlay import DiskOverlay
from dreamcatcherd.git.scratch_file import ScratchFile
from dreamcatcherd.testing import MemoryStore

pytestmark = pytest.mark.xdist_group("engine")

FULL = r"could not be written to .*: No space left on device; free some space there, or name another folder: TMPDIR="


def test_pieces_come_back_by_part() -> None:
    """Pieces on disk are given back part by part, in the order in which they came; parts without any are left out."""
    with Spill(3) as spill:
        spill.add([b"a", b"", b"c"])
        spill.add([b"aa", b"", b""])
        assert list(spill.parts()) == [[b"a", b"aa"], [b"c"]]


def test_objects_come_back_by_id() -> None:
    """Written objects are read from disk, others from the store below; an empty one is an object too."""
    store = MemoryStore()
    below = store.write("blob", b"below")
    overlay = DiskOverlay(store)
    written = {overlay.write("blob", data): data for data in (b"", b"one", b"two" * 100_000)}
    assert {oid: overlay.read(oid) for oid in written} == written
    assert overlay.read(below) == b"below"


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Temporary files open, and the disk takes none of their bytes."""

    def opened(prefix: str, buffering: int = -1) -> Any:
        return Path("/dev/full").open("w+b" if buffering == 0 else "wb", buffering)

    monkeypatch.setattr("tempfile.TemporaryFile", opened)


@pytest.mark.usefixtures("full_disk")
def test_a_full_disk_is_said_with_the_folder(recwarn: pytest.WarningsRecorder) -> None:
    """However few bytes are written, the error comes with them, and names the folder and how to choose another one;
    letting go of the file adds nothing."""
    with Spill(1) as spill, pytest.raises(RetryableError, match=f"the pieces of a large merge {FULL}"):
        spill.add([b"a"])
    overlay = DiskOverlay(MemoryStore())
    with pytest.raises(RetryableError, match=f"a computed object {FULL}"):
        overlay.write("blob", b"a")
    del overlay
    gc.collect()
    assert not recwarn.list


def test_without_any_folder_for_temporary_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error is that of a full disk, where the file cannot even be opened."""
    monkeypatch.setattr(tempfile, "tempdir", "/no/such/folder")
    for made in (lambda: Spill(1), lambda: DiskOverlay(MemoryStore())):
        with pytest.raises(RetryableError, match="could not be written to /no/such/folder: No such file"):
            made()


def test_bytes_that_the_disk_lost() -> None:
    """What was written and cannot be read back is an error of the disk."""
    file = ScratchFile("a piece")
    place = file.add(b"12")
    with pytest.raises(RetryableError, match=r"a piece could not be read from .*: the file is shorter"):
        file.read((place[0], place[1] + 1))
