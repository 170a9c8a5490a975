"""Format numbers: what this version does with state and configuration of another one (docs/compatibility.md)."""

from __future__ import annotations

import json
import urllib.error
from pathlib import Path

import pytest

from dreamcatcherd.config import load_config
from dreamcatcherd.core.errors import UsageError
from dreamcatcherd.core.settings import SettingsError, read_settings
from dreamcatcherd.core.snapshot import FORMAT as SNAPSHOT_FORMAT
from dreamcatcherd.history.archive import ARCHIVE_FORMAT
from tests.e2e.tools import (
    Daemon,
    clone,
    dc,
    dc_json,
    delta,
    export_of,
    git,
    primary_toml,
    push,
    rewrite,
    try_git,
    wait_for,
)

FRAME = "state/frame.json"


@pytest.fixture
def fleet(tmp_path: Path) -> Path:
    """A repository with one closed frame."""
    fleet = tmp_path / "fleet.git"
    dc("init", str(fleet))
    push(clone(fleet, tmp_path / "worker"), {"state/stream_deltas/1/a.json": delta(1, "a", observations=[1])})
    dc("merge", "--repo", str(fleet))
    return fleet


def refs_of(fleet: Path) -> str:
    return git(fleet, "for-each-ref", "--format=%(objectname) %(refname)")


def publish_as(fleet: Path, folder: Path, **keys: int) -> None:
    """Replace the last publication by one whose frame.json has further keys, as another version would publish it."""
    work = clone(fleet, folder)
    file = work / FRAME
    file.write_text(json.dumps(json.loads(file.read_text()) | keys))
    git(work, "commit", "-q", "--amend", "--no-edit", "-a")
    git(fleet, "fetch", "-q", str(work), "+HEAD:refs/heads/main", "+HEAD:refs/dreamcatcher/published")


def test_nothing_carries_a_number_as_long_as_it_is_1(fleet: Path) -> None:
    """frame.json of this version has the keys of the protocol alone, and the snapshot names its format."""
    frame = json.loads(git(fleet, "show", f"main:{FRAME}"))
    assert list(frame) == ["frame", "opened_at", "closes_at", "last_closed", "snapshot"]
    assert git(fleet, "show", "main:state/snapshot/format") == "dreamcatcher-snapshot/2"


def test_state_of_a_newer_format_is_refused_and_left_alone(fleet: Path, tmp_path: Path) -> None:
    """Commands, a worker's push and the server-side check refuse it with the remedy, and no ref moves."""
    publish_as(fleet, tmp_path / "newer", format=2)
    before = refs_of(fleet)
    (tmp_path / "b.json").write_text(delta(2, "b"))
    for words in (["merge"], ["status"], ["plan"], ["export"], ["verify"], ["push", str(tmp_path / "b.json")]):
        said = dc(*words, "--repo", str(fleet), code=3)
        assert "format 2 is newer than 1, the newest that this version reads; upgrade dreamcatcherd" in said, words
    worker = clone(fleet, tmp_path / "other")
    (worker / "state/stream_deltas/2").mkdir(parents=True)
    (worker / "state/stream_deltas/2/c.json").write_text(delta(2, "c"))
    git(worker, "add", "-A")
    git(worker, "commit", "-q", "-m", "c")
    refused = try_git(worker, "push", "-q", "origin", "HEAD:main")
    assert refused.returncode == 1
    assert "format 2 is newer than 1" in refused.stderr
    assert refs_of(fleet) == before


def test_a_daemon_waits_for_its_upgrade_and_then_goes_on(fleet: Path, tmp_path: Path) -> None:
    """On state of a newer format it serves, is not ready, says why and writes nothing; when the state is readable again
    it continues by itself, with the delta that was pushed before."""
    old = git(fleet, "rev-parse", "main")
    push(tmp_path / "worker", {"state/stream_deltas/2/d.json": delta(2, "d", observations=[2])}, "refs/heads/dc/d")
    publish_as(fleet, tmp_path / "newer", format=2)
    before = refs_of(fleet)
    with Daemon(tmp_path, "--config", str(primary_toml(tmp_path, "interval", 0.5)), "--repo", str(fleet)) as daemon:
        (failed,) = wait_for(lambda: daemon.logged("cycle failed"))
        assert "format 2 is newer than 1" in failed["cause"]
        assert "upgrade" in failed["remedy"]
        with pytest.raises(urllib.error.HTTPError) as unready:
            daemon.get("/readyz")
        assert unready.value.code == 503
        assert "format 2 is newer than 1" in unready.value.read().decode()
        assert refs_of(fleet) == before
        for ref in ("main", "dreamcatcher/published"):
            git(fleet, "update-ref", f"refs/{'heads/' if ref == 'main' else ''}{ref}", old)
        wait_for(lambda: any(line["deltas"] for line in daemon.logged("frame closed")))
    assert sorted(row["value"] for row in export_of(fleet)["state"]["observations"]) == [1, 2]


def test_state_with_keys_of_a_later_version_of_the_same_format_is_continued(fleet: Path, tmp_path: Path) -> None:
    """A key that this version does not know is ignored: the frame closes, and all frames verify."""
    publish_as(fleet, tmp_path / "later", another=1)
    push(clone(fleet, tmp_path / "next"), {"state/stream_deltas/2/b.json": delta(2, "b", observations=[2])})
    dc("merge", "--repo", str(fleet))
    assert dc_json("verify", "--repo", str(fleet))["ok"] is True


@pytest.mark.parametrize("form", ["dreamcatcher-snapshot/3", "another"])
def test_an_export_of_a_newer_format_is_refused(fleet: Path, tmp_path: Path, form: str) -> None:
    """`import` says which format the file has and which it reads, and makes no repository's frame."""
    file = tmp_path / "export.json"
    file.write_text(json.dumps(export_of(fleet) | {"format": form}))
    dc("init", str(tmp_path / "new.git"))
    before = refs_of(tmp_path / "new.git")
    said = dc("import", str(file), "--repo", str(tmp_path / "new.git"), code=1)
    assert f"{form!r}, this version reads 'dreamcatcher-snapshot/2'" in said
    assert refs_of(tmp_path / "new.git") == before


def test_a_configuration_with_a_newer_number_is_refused(tmp_path: Path) -> None:
    """Format 1 is what a file without a number has; a newer one, or what is no number, is refused with the remedy."""
    file = tmp_path / "primary.toml"
    file.write_text("format = 1\n[frames]\ninterval = 7\n")
    assert load_config(file).frames.interval == 7
    for number, why in (("2", "format 2 is newer than 1"), ("true", "format is True"), ("0", "format is 0")):
        file.write_text(f"format = {number}\n")
        with pytest.raises(UsageError, match=why):
            load_config(file)
    file.write_text("format = 2\n")
    assert "; upgrade dreamcatcherd, or use the file of this version" in dc("config", "check", str(file), code=2)


def test_a_running_daemon_keeps_its_configuration_when_a_newer_one_appears(fleet: Path, tmp_path: Path) -> None:
    """A file with a newer number is refused like any other mistake: frames go on, and the trouble is reported."""
    config = primary_toml(tmp_path, "interval", 0.3)
    with Daemon(tmp_path, "--config", str(config), "--repo", str(fleet)) as daemon:
        daemon.url()
        rewrite(config, "format = 2\n" + config.read_text())
        (refused,) = wait_for(lambda: daemon.logged("configuration refused, the old one stays"))
        assert "format 2 is newer than 1" in refused["cause"]
        closed = len(daemon.logged("frame closed"))
        wait_for(lambda: len(daemon.logged("frame closed")) > closed)


def test_settings_with_a_newer_number_are_ignored_and_recorded(fleet: Path, tmp_path: Path) -> None:
    """The server-side check refuses them. Without it the last valid settings stay, frames close, and the ledger
    names the reason."""
    assert read_settings(b"format = 1\n[limits]\ndepth = 9\n", None).limits.depth == 9
    with pytest.raises(SettingsError, match="format 2 is newer than 1"):
        read_settings(b"format = 2\n", None)
    operator, settings = clone(fleet, tmp_path / "operator"), "format = 2\n[limits]\ndepth = 1\n"
    (operator / "state/dreamcatcher.toml").write_text(settings)
    git(operator, "add", "-A")
    git(operator, "commit", "-q", "-m", "settings of a later version")
    assert "format 2 is newer than 1" in try_git(operator, "push", "origin", "HEAD:main").stderr
    (fleet / "hooks/pre-receive").unlink()
    git(operator, "push", "-q", "origin", "HEAD:main")
    push(clone(fleet, tmp_path / "next"), {"state/stream_deltas/2/b.json": delta(2, "b", observations=[[2]])})
    dc("merge", "--repo", str(fleet))
    ledger = json.loads(git(fleet, "show", "main:state/ledger/0/2.json"))
    (row,) = ledger["violations"]
    assert row["kind"] == "settings-refused"
    assert "format 2 is newer than 1" in row["detail"]
    assert len(ledger["deltas"]) == 1


def test_the_document_names_the_formats_that_the_code_has() -> None:
    """Each format in docs/compatibility.md is the one of the code."""
    text = (Path(__file__).parents[2] / "docs/compatibility.md").read_text()
    for form in (SNAPSHOT_FORMAT, ARCHIVE_FORMAT):
        assert f"| `{form}` |" in text
