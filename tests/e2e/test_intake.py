"""Other delta roots, files that pass, and settings without effect, as commands show them (docs/protocol.md#intake)."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

from tests.e2e.tools import clone, dc, dc_json, delta, environment, push

SCRIPT = Path(__file__).parents[2] / "config/worker/push-delta.sh"
SETTINGS = '[intake]\nroots = ["inbox/deltas", "state/stream_deltas"]\n'
IDLE = '[collections.idle]\nsection = "frame"\nkey = ["id"]\n'


def prepared(tmp_path: Path, settings: str = SETTINGS) -> tuple[Path, Path]:
    """A repository with these settings, and a worker's clone of it."""
    repository = tmp_path / "fleet.git"
    dc("init", str(repository))
    worker = clone(repository, tmp_path / "worker")
    push(worker, {"state/dreamcatcher.toml": settings})
    return repository, worker


def test_a_delta_below_another_root_goes_all_the_way(tmp_path: Path) -> None:
    """Validated by its path, pushed by the script and on `main`, merged, with a receipt by its own path, verified."""
    repository, worker = prepared(tmp_path)
    words = ("--repo", str(repository))
    wrong = worker / "inbox" / "deltas" / "9" / "a.json"
    wrong.parent.mkdir(parents=True)
    wrong.write_text(delta(1, "a", observations=[1]))
    (row,) = dc_json("validate", str(wrong), *words, code=1)
    assert row["reason"] == "frame-mismatch"
    wrong.unlink()
    push(worker, {"inbox/deltas/1/a.json": delta(1, "a", observations=[1])})
    file = tmp_path / "b.json"
    file.write_text(delta(1, "b", observations=[2]))
    done = subprocess.run(
        ["sh", SCRIPT, str(repository), str(file)],
        env=environment() | {"PATH": os.environ["PATH"], "DREAMCATCHER_ROOT": "inbox/deltas"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    dc("merge", *words)
    (receipt,) = dc_json("receipt", "inbox/deltas/1/a.json", *words)
    assert (receipt["outcome"], receipt["frame"]) == ("merged", 1)
    (receipt,) = dc_json("receipt", done.stdout.split()[1], *words)
    assert receipt["path"].startswith("inbox/deltas/1/b-")
    assert dc_json("verify", *words)["ok"]
    assert "inbox/deltas/… or state/stream_deltas/…" in dc("receipt", "inbox/deltas/1/none.json", *words, code=1)


def test_validate_finds_the_open_frame_beside_another_root(tmp_path: Path) -> None:
    """By the frame.json of the clone, wherever in it the root is."""
    _, worker = prepared(tmp_path)
    settings = worker / "state" / "dreamcatcher.toml"
    assert settings.is_file()
    subprocess.run(["git", "-C", str(worker), "pull", "-q", "--rebase"], check=True, env=environment())
    assert json.loads((worker / "state" / "frame.json").read_text())["frame"] == 1
    far = worker / "inbox" / "deltas" / "5000" / "a.json"
    far.parent.mkdir(parents=True)
    far.write_text(delta(5000, "a", observations=[1]))
    (row,) = dc_json("validate", str(far), "--settings", str(settings))
    assert any("frames_ahead" in text for text in row["warnings"])


def test_settings_without_effect_are_shown_and_refuse_nothing(tmp_path: Path) -> None:
    """By `config check`, for a file and for a repository, `doctor` and `status`; each of them succeeds."""
    repository, worker = prepared(tmp_path, IDLE)
    words = ("--repo", str(repository))
    wanted = "[collections.idle] can never match: section 'frame'"
    said = dc("config", "check", str(worker / "state" / "dreamcatcher.toml"))
    assert "valid" in said
    assert wanted in said
    assert f"warning: state/dreamcatcher.toml: {wanted}" in dc("config", "check", *words)
    primary = tmp_path / "primary.toml"
    primary.write_text(f'[repository]\nurl = "{repository}"\n')
    assert wanted in dc("config", "check", "--config", str(primary))
    assert wanted not in dc("config", "check", str(primary))
    checks = [one for one in dc_json("doctor", *words) if one["check"] == "settings"]
    assert [one["ok"] for one in checks] == [True, True]
    assert wanted in checks[1]["detail"]
    assert checks[1]["remedy"]
    assert [one["what"] for one in dc_json("status", *words)["troubles"]] == [
        f"state/dreamcatcher.toml: {checks[1]['detail'].partition(': ')[2]}"
    ]


def test_a_configuration_is_judged_although_its_repository_cannot_be_reached(tmp_path: Path) -> None:
    """It is valid, with a note; a broken dreamcatcher.toml is refused with its cause."""
    primary = tmp_path / "primary.toml"
    primary.write_text(f'[repository]\nurl = "{tmp_path}/none.git"\n')
    said = dc("config", "check", "--config", str(primary), both=True)
    assert "valid" in said
    assert "were not checked" in said
    broken = tmp_path / "dreamcatcher.toml"
    broken.write_text("[intake]\nroots = ['/x']\n")
    assert "is not a relative path" in dc("config", "check", str(broken), code=2)
    assert "none.git" in dc("config", "check", "--repo", f"{tmp_path}/none.git", code=2)
