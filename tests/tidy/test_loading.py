"""What commands load at start: a command that runs once takes longer to start than a small frame to merge."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SHAPES = {"", ".codec", ".ledger", ".model"}
"""What `dreamcatcherd.core.ledger` may load. Every push starts the server-side check anew, and it reads no merge."""

LIBRARIES = {"click", "msgspec", "typing_extensions"}
"""What every command may load besides Python's own library."""
LIBGIT2 = {"pygit2", "_cffi_backend"}

BASE = {"cli", "core", "config", "config_files", "config_remotes", "config_rules", "config_tables"}
WITH_GIT = BASE | {"git", "stages", "observe", "daemon", "engine"}
CLOSING = {
    "daemon",
    "daemon.collector",
    "daemon.cycle",
    "daemon.engines",
    "daemon.opening",
    "daemon.phases",
    "daemon.primary",
    "observe",
    "observe.clock",
}
"""What a command that runs once may load of the packages that the daemon runs in."""

LOADS = {
    "validate": (BASE, LIBRARIES),
    "merge": (WITH_GIT, LIBRARIES | LIBGIT2),
    "close": (WITH_GIT, LIBRARIES | LIBGIT2),
    "plan": (WITH_GIT | {"history"}, LIBRARIES | LIBGIT2),
    "status": (WITH_GIT | {"history"}, LIBRARIES | LIBGIT2),
    "log": (WITH_GIT | {"history"}, LIBRARIES | LIBGIT2),
    "show": (WITH_GIT | {"history"}, LIBRARIES | LIBGIT2),
    "receipt": (WITH_GIT | {"history"}, LIBRARIES | LIBGIT2),
    "explain": (WITH_GIT | {"history"}, LIBRARIES | LIBGIT2),
    "replay": (WITH_GIT | {"history"}, LIBRARIES | LIBGIT2),
    "verify": (WITH_GIT | {"history"}, LIBRARIES | LIBGIT2),
    "export": (WITH_GIT | {"history", "hook", "imports"}, LIBRARIES | LIBGIT2),
}
"""For each command, the packages of `dreamcatcherd` and the libraries that it may load."""

WORDS = {"show": ["posts"], "receipt": ["a"], "explain": ["posts", "1"]}
"""What a command is given besides the repository. Whether the answer is no does not matter here."""

SLOW = {
    "asyncio",
    "concurrent.futures",
    "ctypes",
    "difflib",
    "email.utils",
    "html",
    "json",
    "logging",
    "random",
    "tempfile",
}
"""Modules of Python that take milliseconds to load, and that closing a frame does without."""

REMOTE = {
    "dreamcatcherd.git.access",
    "dreamcatcherd.git.http_answers",
    "dreamcatcherd.git.own_clone",
    "dreamcatcherd.git.remote",
}
"""What speaks to other repositories."""

SCRIPT = """
import sys
before = set(sys.modules)
from dreamcatcherd.cli import invoke
invoke(sys.argv[1:])
print(*sorted(set(sys.modules) - before), file=sys.stderr)
"""


def loaded_by(words: list[str]) -> set[str]:
    """The modules that a command has loaded at its end."""
    done = subprocess.run([sys.executable, "-c", SCRIPT, *words], capture_output=True, text=True, check=True)
    return set(done.stderr.splitlines()[-1].split())


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """The words of each command, on a new repository."""
    folder: Path = tmp_path_factory.mktemp("loading")
    repository, delta = folder / "fleet.git", folder / "delta.json"
    delta.write_text('{"frame": 1, "utc": "2026-01-31T12:00:00Z", "stream_id": "a", "observations": [1]}', "utf-8")
    subprocess.run([sys.executable, "-m", "dreamcatcherd", "init", str(repository)], capture_output=True, check=True)
    words = {name: [name, "--repo", str(repository), *WORDS.get(name, ())] for name in LOADS}
    return words | {"validate": ["validate", str(delta)]}


@pytest.mark.parametrize("command", LOADS)
def test_a_command_loads_what_it_needs(command: str, named: dict[str, list[str]]) -> None:
    """A command that runs once loads no server, no timers, no log, no metrics, and no library of another command."""
    loaded = loaded_by(named[command])
    own = {name.removeprefix("dreamcatcherd.") for name in loaded if name.startswith("dreamcatcherd.")}
    libraries = {name.partition(".")[0] for name in loaded} - set(sys.stdlib_module_names) - {"dreamcatcherd"}
    packages, wanted = LOADS[command]
    assert {name.partition(".")[0] for name in own} <= packages
    assert {name for name in own if name.startswith(("daemon", "observe"))} <= CLOSING
    assert libraries <= wanted


@pytest.mark.parametrize("command", ["merge", "close"])
def test_closing_a_frame_loads_no_slow_module_of_python(command: str, named: dict[str, list[str]]) -> None:
    """The commands for cron and CI do without the modules of Python that are slow to load; for a path they load no code
    for remote repositories."""
    assert not loaded_by(named[command]) & (SLOW | REMOTE)


def test_the_shapes_of_a_ledger_load_no_merge() -> None:
    """Whoever reads ledgers loads the shapes of data and the codec, no module that merges, compiles or lays out."""
    script = "import sys, dreamcatcherd.core.ledger; print(*sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    core = "dreamcatcherd.core"
    assert {name.removeprefix(core) for name in loaded if name.startswith(core)} == SHAPES
