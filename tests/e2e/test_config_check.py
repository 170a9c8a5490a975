"""`config check` and `run` on a configuration with several mistakes (docs/protocol.md#configuration)."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from tests.e2e.tools import DREAMCATCHERD, dc, environment

BAD = '[frames]\nclose = "hourly"\ncron = "x"\n[http]\nlisten = "x"\n[[events]]\nexec = ["/no/such/program"]\n'
WHERE = ("[frames] close", "[http] listen", "[frames] cron", "[[events]] table 1 exec")


def check(folder: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [*DREAMCATCHERD, "config", "check", *words]
    env = environment() | variables
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=300)


def test_check_writes_every_mistake_on_a_line_of_its_own(tmp_path: Path) -> None:
    """On stderr with exit code 2, also what it names and cannot be used: a schedule that is none, a missing program."""
    (tmp_path / "primary.toml").write_text(BAD)
    done = check(tmp_path, "primary.toml")
    assert (done.returncode, done.stdout) == (2, "")
    lines = done.stderr.splitlines()
    assert len(lines) == len(WHERE)
    for line, where in zip(lines, WHERE, strict=True):
        assert line.startswith(f"dreamcatcherd: primary.toml: {where}")


def test_check_as_json_has_a_row_for_each_file(tmp_path: Path) -> None:
    """A primary's file and the settings of a repository in one call, each with its own mistakes, and code 2."""
    (tmp_path / "primary.toml").write_text("[frames]\ngrace = 1\n")
    (tmp_path / "dreamcatcher.toml").write_text('[limits]\ndepth = 1\n[intake]\nroots = ["/x"]\n')
    done = check(tmp_path, "dreamcatcher.toml", "--config", "primary.toml", "--json")
    assert (done.returncode, done.stderr) == (2, "")
    settings, primary = json.loads(done.stdout)
    assert primary == {"path": "primary.toml", "ok": True, "warnings": [], "mistakes": []}
    assert (settings["path"], settings["ok"]) == ("dreamcatcher.toml", False)
    assert settings["mistakes"][0] == {
        "where": "[limits] depth",
        "what": "is 1: it takes a whole number from 2 to 512",
        "remedy": "",
    }
    assert [one["where"] for one in settings["mistakes"]] == ["[limits] depth", "[intake] roots:"]


def test_quiet_writes_nothing_about_a_file_that_is_valid(tmp_path: Path) -> None:
    """The unit of systemd runs it before each reload."""
    (tmp_path / "primary.toml").write_text("[frames]\ngrace = 1\n")
    done = check(tmp_path, "--quiet", "primary.toml")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    (tmp_path / "primary.toml").write_text(BAD)
    assert len(check(tmp_path, "--quiet", "primary.toml").stderr.splitlines()) == len(WHERE)


def test_other_commands_name_the_first_mistake_and_the_command_for_all(tmp_path: Path) -> None:
    """On one line; of `run` a value of its own option is named by the option."""
    (tmp_path / "primary.toml").write_text(BAD)
    more = "; `dreamcatcherd config check primary.toml` lists them"
    said = dc("status", "--config", "primary.toml", cwd=tmp_path, code=2)
    assert said.startswith('dreamcatcherd: primary.toml: [frames] close is "hourly": it takes ')
    assert said.strip().endswith(f"(and 1 more mistake){more}")
    said = dc("run", "--config", "primary.toml", cwd=tmp_path, code=2)
    assert said.strip().endswith(f"(and 3 more mistakes){more}")
    said = dc("run", "--listen", "x", cwd=tmp_path, code=2)
    assert said == "dreamcatcherd: --listen 'x' is not host:port; write it as 127.0.0.1:9464\n"


def test_variables_are_checked_with_the_file(tmp_path: Path) -> None:
    """A mistake in one is named by the variable, and not by the file."""
    (tmp_path / "primary.toml").write_text("[frames]\ngrace = 1\n")
    done = check(tmp_path, "primary.toml", DREAMCATCHERD_FRAMES_GRACE="soon", DREAMCATCHERD_LOG_LEVL="info")
    assert done.stderr.splitlines() == [
        "dreamcatcherd: DREAMCATCHERD_FRAMES_GRACE is text: it takes a number from 0 to 31536000",
        "dreamcatcherd: DREAMCATCHERD_LOG_LEVL is unknown; did you mean 'level'?",
    ]
