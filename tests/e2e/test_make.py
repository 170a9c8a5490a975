"""The first two commands of a new user: the environment that `make` installs, and `make run`.

Most tests start requirements/environment.sh with a PATH of their own, on which python3 is a script: what it answers is
what the machine lacks."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.ports import taken_port
from tests.e2e.terminals import CTRL_C, in_terminal
from tests.e2e.tools import DREAMCATCHERD, environment

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "requirements" / "environment.sh"
TOOLS = ("basename", "cat", "chmod", "cp", "date", "grep", "id", "mkdir", "sed", "sleep", "tail")
PYTHON = r"""#!/bin/sh
case "$*" in
*version_info*) echo "${VERSION:-3.12}" ;;
*ensurepip*) exit ${WITHOUT_ENSUREPIP:-0} ;;
'-m pip --version') exit 0 ;;
'-m venv'*) test -z "$VENV_SAYS" || { echo "$VENV_SAYS"; exit 1; }; mkdir -p .venv/bin; cp "$0" .venv/bin/python ;;
'-m pip install'*)
    test -z "$WITH" || exec "$WITH" "$@"
    echo "Collecting msgspec<1,>=0.19 (from x)"
    $WAIT
    echo "$PIP_SAYS"
    test -z "$PIP_SAYS"
    ;;
*) exit 9 ;;
esac
"""
"""A Python of the machine, and of the environment that it makes. Variables say what it lacks."""


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A folder of a project without an environment, and beside it `bin`, the whole PATH, with python3 and git."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in TOOLS:
        (programs / name).symlink_to(shutil.which(name) or "")
    script(programs / "python3", PYTHON)
    script(programs / "git", '#!/bin/sh\necho "git version ${GIT:-2.39.5}"\n')
    (tmp_path / "project").mkdir()
    return tmp_path / "project"


def script(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


def command(machine: Path, python: str = "python3", what: str = "run") -> tuple[list[str], dict[str, str]]:
    return [str(SCRIPT), python, ".venv", what], {"PATH": str(machine.parent / "bin")}


def install(machine: Path, python: str = "python3", code: int = 0, **variables: str) -> str:
    """Run the script to its end on such a machine, check its exit code, and return what it wrote on stderr."""
    words, path = command(machine, python)
    done = subprocess.run(words, cwd=machine, env=path | variables, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    return done.stderr


def test_the_first_use_says_what_it_does_and_how_long_it_took(machine: Path) -> None:
    """In a pipe three plain lines, nothing that only a terminal understands; an environment that is there is kept."""
    said = install(machine)
    assert re.fullmatch(
        r"making a virtual environment for Python 3\.12 in \.venv\n"
        r"installing the libraries of the daemon in \.venv\n"
        r"environment ready in \d+ s\n",
        said,
    )
    assert install(machine).startswith("installing the libraries of the daemon in .venv\nenvironment ready in ")


@pytest.mark.parametrize(
    ("python", "variables", "said"),
    [
        ("python3.99", {}, "python3.99 is not installed; install Python 3.11 or newer (Debian and Ubuntu: apt install"),
        ("python3", {"VERSION": "3.10"}, "python3 is Python 3.10, and 3.11 or newer is needed; name another one: make"),
        ("python3", {"VERSION": "2.7"}, "python3 is Python 2.7, and 3.11 or newer is needed; name another one: make P"),
        ("python3", {"WITHOUT_ENSUREPIP": "1"}, "python3 cannot make virtual environments; on Debian and Ubuntu: apt "
                                                "install python3-venv\n"),
        ("python3", {"GIT": "2.30.2"}, "git version 2.30.2 is too old; install git 2.36 or newer\n"),
        ("python3", {"GIT": "1.8.3.1"}, "git version 1.8.3.1 is too old; install git 2.36 or newer\n"),
    ],
)  # fmt: skip
def test_what_the_machine_lacks_is_said_before_anything_is_made(
    machine: Path, python: str, variables: dict[str, str], said: str
) -> None:
    """Python or its venv module, or git: one line with the cause and how to get it, and no environment."""
    found = install(machine, python, 1, **variables)
    assert found.startswith(said)
    assert found.count("\n") == 1
    assert not (machine / ".venv").exists()


def test_a_machine_without_git_is_told_how_to_get_it(machine: Path) -> None:
    """The daemon needs git: it is asked for before the libraries are fetched."""
    (machine.parent / "bin" / "git").unlink()
    assert install(machine, code=1) == (
        "git is not installed or not on the PATH; install git 2.36 or newer (Debian and Ubuntu: apt install git)\n"
    )


@pytest.mark.parametrize("version", ["2.36.0", "2.40.1", "2.51.0.rc1", "3.0", "2.39.5 (Apple Git-154)"])
def test_a_git_that_is_new_enough_is_accepted(machine: Path, version: str) -> None:
    """From 2.36 on, in every form that git writes its version in."""
    assert "environment ready" in install(machine, GIT=version)


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device", "no space is left"),
        ("OSError: [Errno 13] Permission denied: '.venv/lib'", "run as its owner, or name another folder: make VENV="),
        ("SSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED] …", "PIP_CERT=FILE make …"),
        ("'NewConnectionError: [Errno -3] Temporary failure in name resolution'", "the package index cannot be reache"),
        (
            "ERROR: No matching distribution found for msgspec<1,>=0.19\n",
            "installed: ERROR: No matching distribution f",
        ),
    ],
)
def test_an_installation_that_fails_names_the_cause_and_a_remedy(machine: Path, output: str, said: str) -> None:
    """pip writes dozens of lines; the user reads one, and the file that has the others."""
    *_, last = install(machine, code=1, PIP_SAYS=output).splitlines()
    assert said in last
    assert "; " in last
    assert output in (machine / ".venv" / "install.log").read_text()


def test_an_index_that_does_not_answer_is_named(machine: Path) -> None:
    """What the real pip writes is understood: the index cannot be reached, and there is a way without one."""
    (machine / "pyproject.toml").write_text('[build-system]\nrequires = ["hatchling"]\n')
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # it does not listen, so the connection is refused
        index = {"PIP_INDEX_URL": f"http://127.0.0.1:{closed.getsockname()[1]}/", "PIP_RETRIES": "1"}
        *_, last = install(machine, code=1, **index, PIP_CONFIG_FILE="/dev/null", WITH=sys.executable).splitlines()
    assert last.startswith("the package index cannot be reached; connect this machine, or name a folder of wheels: ")


def test_a_terminal_shows_which_library_is_being_fetched(machine: Path) -> None:
    """The line is overwritten, and gone when the environment is ready. The library is being fetched until a line is
    typed."""
    words, path = command(machine)
    code, said = in_terminal(words, machine, path | {"WAIT": "sed 1q /dev/tty"}, "s  msgspec", b"\n")
    assert code == 0
    assert re.search(r"\r\x1b\[K\d+ s  msgspec.*\r\x1b\[Kenvironment ready in \d+ s\r\n$", said, re.DOTALL)


def test_an_interrupted_installation_ends_at_once_and_goes_on_later(machine: Path) -> None:
    """Ctrl-C also ends pip, which a shell starts in the background; the next use completes the environment."""
    words, path = command(machine)
    # A test in the background inherits that the signal is ignored, and what a shell ignores it cannot trap.
    words = [shutil.which("env") or "", "--default-signal=INT", *words]
    code, _ = in_terminal(words, machine, path | {"WAIT": "sleep 600"}, "s  msgspec", CTRL_C)
    assert code == 130
    assert "environment ready" in install(machine)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the Makefile beside an environment that is ready: its command is the package under test."""
    folder = tmp_path / "project"
    (folder / ".venv" / "bin").mkdir(parents=True)
    shutil.copy(ROOT / "Makefile", folder)
    (folder / "pyproject.toml").touch()
    script(folder / ".venv" / "bin" / "dreamcatcherd", f'#!/bin/sh\nexec {" ".join(DREAMCATCHERD)} "$@"\n')
    (folder / ".venv" / ".runtime").touch()
    return folder


def make(project: Path, *words: str) -> subprocess.CompletedProcess[str]:
    env = environment() | {"MAKEFLAGS": "", "MAKELEVEL": ""}
    line = ["make", "--no-print-directory", *words]
    return subprocess.run(line, cwd=project, env=env, capture_output=True, text=True, check=False, timeout=120)


@pytest.mark.needs("make")
def test_make_run_on_a_taken_port_names_the_command_with_a_free_one(project: Path) -> None:
    """What it says can be pasted, and then serves; nothing is made before that."""
    with taken_port() as taken:
        done = make(project, "run", f"LISTEN=127.0.0.1:{taken}")
        assert done.returncode == 2
        said = done.stderr.splitlines()[0]
        assert said.startswith(f"dreamcatcherd: 127.0.0.1:{taken} cannot be listened on: Address already in use; stop ")
        assert not (project / "fleet.git").exists()
        remedy = re.search(r"such as make run (LISTEN=127\.0\.0\.1:\d+)$", said)
        assert remedy, said
        with subprocess.Popen(
            ["make", "--no-print-directory", "run", remedy[1]],
            cwd=project, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            start_new_session=True,
        ) as process:  # fmt: skip
            try:
                assert process.stderr
                assert remedy[1].removeprefix("LISTEN=") in process.stderr.readline()
                process.send_signal(signal.SIGTERM)
                process.communicate(timeout=60)
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.needs("make")
def test_make_run_on_a_terminal_ends_with_ctrl_c_and_without_a_complaint(project: Path) -> None:
    """The daemon stops in order, and make has nothing to add."""
    words = ["make", "--no-print-directory", "run", "LISTEN=127.0.0.1:0"]
    env = environment() | {"TERM": "xterm", "MAKEFLAGS": "", "MAKELEVEL": ""}
    code, said = in_terminal(words, project, env, "started", CTRL_C)
    assert code in (0, -signal.SIGINT)  # make repeats the signal for the shell that started it
    assert "***" not in said
    assert "Traceback" not in said
