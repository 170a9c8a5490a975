"""The commands about the command: version, and completion for shells."""

from __future__ import annotations

import shlex
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from dreamcatcherd import __version__
from tests.e2e.tools import dc, dc_json, environment, git, program


def test_version_tells_what_it_runs_on() -> None:
    """One line alone; with --verbose Python, libgit2, git and each library, and the same as JSON."""
    assert dc("version") == dc("--version") == f"dreamcatcherd {__version__}\n"
    told = dc_json("version")
    assert told["dreamcatcherd"] == __version__
    assert told["python"] == ".".join(map(str, sys.version_info[:3]))
    assert told["git"] in git(Path.cwd(), "--version")
    assert told["libraries"]["msgspec"] == metadata.version("msgspec")
    assert "pytest" not in told["libraries"]
    flat = {name: value for name, value in told.items() if name != "libraries"} | told["libraries"]
    assert dict(line.split(" ", 1) for line in dc("version", "--verbose").splitlines()) == flat


def completed(script: str, *words: str) -> list[str]:
    """What bash offers for the last of the words, with the script sourced."""
    line = " ".join(map(shlex.quote, words))
    ask = f"source {shlex.quote(script)}; COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; "
    ask += '_dreamcatcherd_completion dreamcatcherd; printf "%s\\n" "${COMPREPLY[@]}"'
    path = {"PATH": f"{Path(sys.executable).parent}:{environment()['PATH']}"}
    done = subprocess.run(
        ["bash", "--norc", "-c", ask], env=environment() | path, capture_output=True, text=True, check=True, timeout=300
    )
    assert done.stderr == ""
    return done.stdout.split()


def test_bash_completes_commands_options_and_choices(tmp_path: Path) -> None:
    """The script that `completion bash` writes completes in a real bash."""
    script = tmp_path / "completion"
    script.write_text(dc("completion", "bash"))
    assert set(completed(str(script), "dreamcatcherd", "re")) >= {"receipt"}
    assert completed(str(script), "dreamcatcherd", "hook", "") == ["pre-receive"]
    assert "--frame" in completed(str(script), "dreamcatcherd", "merge", "--fr")
    assert completed(str(script), "dreamcatcherd", "completion", "") == ["bash", "zsh", "fish"]


@pytest.mark.parametrize(("shell", "sign"), [("zsh", "#compdef dreamcatcherd"), ("fish", "complete --no-files")])
def test_other_shells_have_a_script_too(shell: str, sign: str) -> None:
    """zsh and fish get click's script for this command; where the shell is there, it parses."""
    script = dc("completion", shell)
    assert sign in script
    assert "_DREAMCATCHERD_COMPLETE" in script
    if program(shell):
        subprocess.run([shell, "-n"], input=script, text=True, check=True, timeout=300)
    assert "'tcsh' is not one of" in dc("completion", "tcsh", code=2)
