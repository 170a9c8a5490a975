"""Closes of large frames by an engine's workers, and what happens where these are lost."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from dreamcatcherd.cli.progress import counted
from dreamcatcherd.core.errors import RetryableError
from dreamcatcherd.daemon.cycle import close_frame, poll
from dreamcatcherd.daemon.primary import Primary
from dreamcatcherd.engine import large_merge
from dreamcatcherd.engine.selection import Engine
from dreamcatcherd.git.local import LocalStore
from dreamcatcherd.git.protocols import Store
from dreamcatcherd.history.replay import own_ledger
from dreamcatcherd.testing import MemoryStore
from tests.core.test_merge_parts import authors
from tests.history.tamper import chain
from tests.law.fleet import MAIN, commit_files, new_primary, primary_on

pytestmark = pytest.mark.xdist_group("engine")

DELTAS = 40


def pushed(store: Store, frame: int) -> None:
    """Push deltas of books, claims and observations, some of them late, with an attachment each."""
    files: dict[str, bytes] = {}
    for number, one in enumerate(authors(DELTAS)):
        assert one.body is not None
        body = {**one.body, "frame": max(1, frame - number % 2), "utc": f"2026-01-01T00:00:{number:02}Z"}
        body["posts_created"] = [{"number": number % 9, "title": str(number), "body_ref": "note.md"}]
        name = f"state/stream_deltas/{body['frame']}/{body['stream_id']}-{frame}-{number}"
        files |= {f"{name}.json": json.dumps(body).encode(), f"{name}/note.md": b"note"}
    commit_files(store, MAIN, files)


def twins(tmp_path: Path) -> tuple[Primary, Primary]:
    """A primary on a repository in memory, and one on a repository on disk."""
    here = new_primary()
    assert isinstance(here.store, MemoryStore)
    subprocess.run(["git", "init", "--quiet", "--bare", "--initial-branch=main", str(tmp_path / "r.git")], check=True)
    store = LocalStore(tmp_path / "r.git")
    for oid, (kind, data) in here.store.objects.items():
        assert store.write(kind, data) == oid
    store.flush()
    for ref, head in here.store.refs().items():
        subprocess.run(["git", "-C", str(store.folder), "update-ref", ref, head], check=True)
    return here, primary_on(store)


@pytest.mark.parametrize("kind", ["processes", "dask"])
def test_a_large_frame_has_the_ledger_of_a_close_inline(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two frames, the second on the snapshot of the first: conflicts, claims, books, late deltas and the digest."""
    monkeypatch.setattr(large_merge, "PART_COST", 2_000)
    here, there = twins(tmp_path)
    address = request.getfixturevalue("scheduler") if kind == "dask" else None
    there.engine = Engine("dask" if kind == "dask" else "processes", 2, address, threshold=10)
    for frame in (1, 2):
        for primary in (here, there):
            pushed(primary.store, frame)
            poll(primary)
            close_frame(primary, "test")
        ledgers = [own_ledger(primary.store, chain(primary.store)[-1]) for primary in (here, there)]
        assert ledgers[0] == ledgers[1]
    subprocess.run(["git", "-C", str(tmp_path / "r.git"), "fsck"], check=True)


def test_a_lost_scheduler_fails_the_close_and_not_the_next(tmp_path: Path, scheduler: str) -> None:
    """Nothing is published, and the close is made once the scheduler is there."""
    _, primary = twins(tmp_path)
    pushed(primary.store, 1)
    primary.engine = Engine("dask", 2, "tcp://127.0.0.1:1", threshold=10)
    before = primary.store.refs()
    with pytest.raises(RetryableError, match="lost or cannot be reached"):
        close_frame(primary, "test")
    assert primary.store.refs() == before
    primary.engine = Engine("dask", 2, scheduler, threshold=10)
    report = close_frame(primary, "test")
    assert report.ledger is not None
    assert report.ledger.counts.deltas == DELTAS


def test_whatever_an_engine_raises_fails_the_frame_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error that no library promised is one line, with exit code 3 for a command, and a daemon goes on."""

    def failing(*_: object) -> None:
        raise LookupError("no such thing")

    monkeypatch.setattr(Engine, "_open", failing)
    _, primary = twins(tmp_path)
    pushed(primary.store, 1)
    primary.engine = Engine("processes", 2, threshold=10)
    before = primary.store.refs()
    with pytest.raises(RetryableError, match="the engine failed: LookupError: no such thing"):
        close_frame(primary, "test")
    assert primary.store.refs() == before


def test_a_small_frame_asks_no_worker(tmp_path: Path) -> None:
    """Up to the threshold a frame is merged inline, whether or not a scheduler is there."""
    _, primary = twins(tmp_path)
    pushed(primary.store, 1)
    primary.engine = Engine("dask", 2, "tcp://127.0.0.1:1", threshold=DELTAS)
    assert close_frame(primary, "test").ledger is not None


def test_progress_is_a_line_where_there_is_no_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Now and then a line on stderr has what is done, the rate, and the time that is left."""
    monkeypatch.setattr("dreamcatcherd.cli.progress.REPORT_S", 0.0)
    with counted(2_000, "replaying deltas") as note:
        note(500)
    assert capsys.readouterr().err.startswith("dreamcatcherd: replaying deltas: 500 of 2,000, ")
