"""`log` for people: a header, quiet frames on one line, and no wrapping (docs/protocol.md#commands)."""

from __future__ import annotations

import re
import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dreamcatcherd.cli.log import runs
from tests.e2e.test_terminal import on_terminal
from tests.e2e.tools import clone, dc, dc_json, delta, git, push

HEADER = "frame\tclosed_at\tdeltas\tstreams\tlate\tconflicts\tquarantined\tdigest"


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Frames 1395 to 1408: 1395 with a conflict, 1396 to 1401 without deltas, 1402 with a delta that is quarantined,
    1403 to 1405 without, 1406 with a late delta, 1407 without, 1408 with a delta. Not to be changed."""
    folder = tmp_path_factory.mktemp("log")
    dc("init", "fleet.git", "--frame", "1395", "--no-hook", cwd=folder)
    worker = clone(folder / "fleet.git", folder / "worker")
    posts: list[Any] = [{"posts_created": [{"number": 1, "title": title}]} for title in "ab"]
    first, second = (delta(1395, f"w{number}", **more) for number, more in enumerate(posts))
    steps = {
        1395: {"state/stream_deltas/1395/a.json": first, "state/stream_deltas/1395/b.json": second},
        1402: {"state/stream_deltas/1402/bad.json": "{"},
        1406: {"state/stream_deltas/1400/late.json": delta(1400, "w", observations=[1])},
        1408: {"state/stream_deltas/1408/a.json": delta(1408, "w", observations=[1])},
    }
    for frame, files in steps.items():
        if frame > 1395:
            dc("merge", "--frame", str(frame - 1), cwd=folder)
        git(worker, "pull", "-q", "--rebase", "origin", "main")
        push(worker, files)
    dc("merge", cwd=folder)
    return folder


def test_frames_without_deltas_share_a_line(fleet: Path) -> None:
    """A header, then a line for each frame that something happened in, and one for a run of frames without deltas."""
    header, *lines = dc("log", cwd=fleet).splitlines()
    assert header == HEADER
    cells = [line.split("\t") for line in lines]
    assert [row[0] for row in cells] == ["1408", "1407", "1406", "1405-1403", "1402", "1401-1396", "1395"]
    assert cells[3] == ["1405-1403", "3 frames without deltas"]
    assert cells[5] == ["1401-1396", "6 frames without deltas"]
    # What the JSON of the same frame says, complete and in the order of the header.
    listed = {row["frame"]: row for row in dc_json("log", cwd=fleet)}
    for row in cells:
        if len(row) > 2:
            assert row == [str(listed[int(row[0])][name]) for name in HEADER.split("\t")]


def test_json_lists_every_frame(fleet: Path) -> None:
    """Nothing is folded for programs."""
    assert [row["frame"] for row in dc_json("log", cwd=fleet)] == list(range(1408, 1394, -1))


def test_the_limit_counts_frames_not_lines(fleet: Path) -> None:
    """`--limit N` is about the newest N frames in both forms, whatever of them shares a line."""
    assert [row["frame"] for row in dc_json("log", "--limit", "5", cwd=fleet)] == [1408, 1407, 1406, 1405, 1404]
    lines = dc("log", "--limit", "5", cwd=fleet).splitlines()
    assert [line.split("\t")[0] for line in lines] == ["frame", "1408", "1407", "1406", "1405-1404"]


@pytest.mark.parametrize("columns", [80, 100, 200])
def test_no_line_is_wider_than_the_terminal(columns: int, fleet: Path) -> None:
    """At 80 columns and more each line fits, the digest is short, and numbers stand below their names."""
    said = re.sub(r"\x1b\[\d*m", "", on_terminal(["log"], fleet, columns))
    header, *lines = said.replace("\r", "").rstrip("\n").split("\n")
    assert max(map(len, (header, *lines))) <= columns
    assert [line.split()[0] for line in lines] == ["1408", "1407", "1406", "1405-1403", "1402", "1401-1396", "1395"]
    assert lines[3] == "1405-1403  3 frames without deltas"
    digest = dc_json("log", "--limit", "1", cwd=fleet)[0]["digest"]
    assert lines[0].endswith(digest[:12])
    assert len(lines[0]) == header.index("digest") + 12
    for name, count in (("deltas", "2"), ("conflicts", "1"), ("quarantined", "0")):
        assert lines[-1][header.index(name) + len(name) - 1] == count, name


def test_a_narrow_terminal_does_without_what_matters_least(fleet: Path) -> None:
    """At 100 columns all columns are there; at 80 some that matter less are not; at 30 the rest still fits."""
    names = [
        re.sub(r"\x1b\[\d*m", "", on_terminal(["log"], fleet, columns)).split("\n")[0].split()
        for columns in (100, 80, 30)
    ]
    assert names[0] == ["frame", "closed", "at", *HEADER.split("\t")[2:]]
    assert names[1] == ["frame", "closed", "at", "deltas", "conflicts", "quarantined", "digest"]
    assert names[2] == ["frame", "deltas", "digest"]


def test_a_repository_without_closed_frames_says_so(tmp_path: Path) -> None:
    """No table is written, so that a pipe gets nothing; people see why."""
    dc("init", "fleet.git", cwd=tmp_path)
    assert dc("log", cwd=tmp_path) == ""
    assert dc("log", cwd=tmp_path, both=True) == "no frame is closed yet\n"
    assert dc_json("log", cwd=tmp_path) == []


def test_every_table_in_a_pipe_begins_with_its_columns(fleet: Path, tmp_path: Path) -> None:
    """`plan`, `status` and the shelf write the names of the columns before the rows, as `log` does."""
    own = tmp_path / "log"
    shutil.copytree(fleet, own)
    worker = clone(own / "fleet.git", own / "next")
    book: Any = {"books_started": [{"book": "b", "title": "T", "target_chapters": 2}]}
    push(worker, {"state/stream_deltas/1409/n.json": delta(1409, "n", **book)}, "refs/heads/dc/n")
    assert "\nstream\tdeltas\nn\t1\n" in dc("status", cwd=own)
    assert "\npath\tstream\toutcome\nstate/stream_deltas/1409/n.json\tn\tmerged\n" in dc("plan", cwd=own)
    assert dc("books", cwd=own, both=True).startswith("there are no books yet")
    dc("merge", cwd=own)
    assert dc("books", cwd=own) == "book\ttitle\tchapters\tmissing\tauthors\tpublished\nb\tT\t0 of 2\t1-2\t\t\n"
    assert "no deltas are pending" in dc("plan", cwd=own)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=30))
def test_folding_keeps_every_frame_once_and_in_order(shape: list[tuple[bool, bool]]) -> None:
    """Groups joined again are the log; a group of several has consecutive frames without deltas, and cannot grow."""
    rows: list[Any] = []
    frame = 1000
    for busy, gap in shape:
        frame -= 2 if gap else 1
        rows.append({"frame": frame, "deltas": int(busy), "late": 0, "conflicts": 0, "quarantined": 0})
    groups = list(runs(rows))
    assert [row for group in groups for row in group] == rows
    for group in groups:
        assert len(group) == 1 or not any(row["deltas"] for row in group)
        assert [row["frame"] for row in group] == list(range(group[0]["frame"], group[-1]["frame"] - 1, -1))
    for one, other in pairwise(groups):
        busy = one[-1]["deltas"] or other[0]["deltas"]
        assert busy or one[-1]["frame"] - other[0]["frame"] != 1
