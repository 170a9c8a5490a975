"""The order in which objects are read: that of their packs."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import pytest

from dreamcatcherd.git.command import git
from dreamcatcherd.git.pack_order import AS_ASKED, in_pack_order
from tests.e2e.tools import git as plain_git


@pytest.fixture
def blobs(tmp_path: Path) -> list[str]:
    """Blobs in the order in which fast-import wrote them into the one pack of `tmp_path`."""
    plain_git(tmp_path, "init", "-q", "--bare", ".")
    marks = tmp_path / "marks"
    texts = [f"delta {number} of one hundred and more\n" for number in range(3 * AS_ASKED)]
    stream = "".join(f"blob\nmark :{at}\ndata {len(text)}\n{text}\n" for at, text in enumerate(texts, 1))
    words = ("-c", "fastimport.unpackLimit=1", "fast-import", "--quiet", f"--export-marks={marks}")
    assert git(tmp_path, *words, stdin=stream.encode()).returncode == 0
    lines = sorted(marks.read_text("ascii").splitlines(), key=lambda line: int(line[1:].split()[0]))
    return [line.split()[1] for line in lines]


def test_objects_are_read_in_the_order_of_their_pack(tmp_path: Path, blobs: list[str]) -> None:
    """Whatever the order in which objects are asked for, and how often, they come once, as they lie in the pack."""
    asked = [*blobs, *blobs[:10]]
    random.Random(1).shuffle(asked)
    assert in_pack_order(tmp_path, asked) == blobs


def test_objects_outside_packs_come_first(tmp_path: Path, blobs: list[str]) -> None:
    """A loose object, and one that is nowhere, are in the answer as well: it only orders."""
    loose = git(tmp_path, "hash-object", "-w", "--stdin", stdin=b"alone\n").stdout.decode().strip()
    nowhere = "0" * 40
    assert in_pack_order(tmp_path, [*reversed(blobs), loose, nowhere]) == [loose, nowhere, *blobs]


def test_the_objects_of_each_pack_are_together(tmp_path: Path, blobs: list[str]) -> None:
    """With several packs each object comes once, and those of one pack one after another."""
    for index in (tmp_path / "objects/pack").glob("*.idx"):
        os.utime(index, (0, 0))  # the second pack is newer, whatever ticks the clock of the file system has
    listed = "\n".join(blobs[::2]).encode()
    done = git(tmp_path, "pack-objects", "-q", str(tmp_path / "objects/pack/pack"), stdin=listed)
    second = [oid for oid in in_pack_order(tmp_path, blobs) if oid in set(blobs[::2])]
    assert done.returncode == 0
    assert sorted(in_pack_order(tmp_path, blobs)) == sorted(blobs)
    assert in_pack_order(tmp_path, blobs)[: len(second)] == second


@pytest.mark.parametrize(
    "damage", [b"", b"\xfftOc\0\0\0\2", b"another format" * 100], ids=["empty", "cut off", "foreign"]
)
def test_a_pack_whose_index_is_damaged_is_passed_over(tmp_path: Path, blobs: list[str], damage: bytes) -> None:
    """A damaged index costs the order and nothing else."""
    (index,) = (tmp_path / "objects" / "pack").glob("*.idx")
    index.chmod(0o644)
    index.write_bytes(damage)
    assert sorted(in_pack_order(tmp_path, blobs)) == sorted(blobs)


def test_a_repository_without_packs_has_no_order(tmp_path: Path, blobs: list[str]) -> None:
    """Without a folder of packs the objects come as they were asked for."""
    shutil.rmtree(tmp_path / "objects" / "pack")
    assert in_pack_order(tmp_path, blobs) == blobs
