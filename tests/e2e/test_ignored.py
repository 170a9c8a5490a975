"""Deltas that a platform's own .gitignore hides from `git add`: `doctor` and `init` name the pattern and what helps."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from dreamcatcherd.core.paths import DELTAS
from dreamcatcherd.git.local import LocalStore
from dreamcatcherd.stages.ignored_deltas import ignored_deltas
from tests.e2e.tools import clone, dc, dc_json, delta, environment, git, push, try_git

HIDING: dict[str, tuple[dict[str, str], str, str]] = {
    "the flat form": ({".gitignore": "*.tmp\nstate/stream_deltas/frame-*.json\n"}, ".gitignore", "2"),
    "the folder": ({".gitignore": "state/stream_deltas/\n"}, ".gitignore", "1"),
    "its content": ({".gitignore": "# generated\nstate/stream_deltas/*\n"}, ".gitignore", "2"),
    "all of state": ({".gitignore": "state/\n"}, ".gitignore", "1"),
    "everything but": ({".gitignore": "/*\n!/README\n!.gitignore\n"}, ".gitignore", "1"),
    "by a file below": ({"state/.gitignore": "stream_deltas\n"}, "state/.gitignore", "1"),
    "by its own file": ({"state/stream_deltas/.gitignore": "*\n!.gitignore\n"}, "state/stream_deltas/.gitignore", "1"),
    "every JSON": ({".gitignore": "*.json"}, ".gitignore", "1"),
}


def repository_with(folder: Path, files: dict[str, str]) -> Path:
    """A bare repository, prepared without the check, whose branch has these files."""
    repository = folder / "platform.git"
    git(folder, "init", "-q", "--bare", "-b", "main", str(repository))
    owner = clone(repository, folder / "owner")
    for name, text in {"README": "a platform\n", **files}.items():
        (owner / name).parent.mkdir(parents=True, exist_ok=True)
        (owner / name).write_text(text)
    git(owner, "add", "-f", ".")
    git(owner, "commit", "-q", "-m", "files")
    git(owner, "push", "-q", "origin", "HEAD:main")
    return repository


def ignored(repository: Path, code: int) -> list[dict[str, Any]]:
    """The findings of `doctor` about this; nothing else is wrong."""
    found = dc_json("doctor", "--repo", str(repository), code=code)
    assert {row["check"] for row in found if not row["ok"]} <= {"ignored deltas"}
    return [row for row in found if row["check"] == "ignored deltas"]


def staged(worker: Path, *words: str) -> list[str]:
    """What `git add` of the folder stages of a delta in each form."""
    for name in ("1/w.json", "frame-1-w.json"):
        (worker / DELTAS / name).parent.mkdir(parents=True, exist_ok=True)
        (worker / DELTAS / name).write_text(delta(1, "w", observations=[name]))
    try_git(worker, "add", *words, "state")
    found = git(worker, "diff", "--cached", "--name-only", "--", DELTAS).split()
    git(worker, "reset", "-q")
    return [name for name in found if name.endswith("w.json")]


BOTH = [f"{DELTAS}/1/w.json", f"{DELTAS}/frame-1-w.json"]


@pytest.mark.parametrize("how", HIDING)
def test_the_pattern_is_named_and_the_remedy_helps(how: str, tmp_path: Path) -> None:
    """File, line and pattern are named; `git add -f`, and the lines that the remedy names, bring the deltas in."""
    files, file, line = HIDING[how]
    repository = repository_with(tmp_path, files)
    noted = dc("init", str(repository), both=True)
    (found,) = ignored(repository, 1)
    pattern = files[file].splitlines()[int(line) - 1]
    assert found["detail"].startswith(f"{file}, line {line}: the pattern {pattern} hides deltas such as {DELTAS}/")
    assert f"dreamcatcherd: note: {found['detail']}; {found['remedy']}\n" in noted
    worker = clone(repository, tmp_path / "worker")
    assert staged(worker) != BOTH
    assert "git add -f" in found["remedy"]
    assert staged(worker, "-f") == BOTH
    lines = re.findall("`(.*?)`", found["remedy"].partition("at the end of")[0])
    assert lines
    with (worker / file).open("a") as opened:
        opened.write("\n" + "\n".join(lines) + "\n")
    assert staged(worker) == BOTH
    git(worker, "commit", "-q", "-a", "-m", "take deltas")
    aside = "move hooks/pre-receive aside" in found["remedy"]
    assert (try_git(worker, "push", "-q", "origin", "HEAD:main").returncode != 0) is aside
    if aside:
        (repository / "hooks/pre-receive").rename(repository / "hooks/aside")
        git(worker, "push", "-q", "origin", "HEAD:main")
        (repository / "hooks/aside").rename(repository / "hooks/pre-receive")
    assert [row["ok"] for row in ignored(repository, 0)] == [True]


def test_a_remedy_lets_in_deltas_alone(tmp_path: Path) -> None:
    """Where all of `state` is ignored, the lines of the remedy go on ignoring the rest of it."""
    repository = repository_with(tmp_path, {".gitignore": "state/\n"})
    dc("init", str(repository))
    (found,) = ignored(repository, 1)
    worker = clone(repository, tmp_path / "worker")
    (worker / ".gitignore").write_text("state/\n" + "\n".join(re.findall("`(.*?)`", found["remedy"])) + "\n")
    (worker / "state/cache.bin").write_text("generated")
    assert staged(worker) == BOTH
    git(worker, "add", "-A")
    assert "state/cache.bin" not in git(worker, "diff", "--cached", "--name-only").split()


@pytest.mark.parametrize(
    "files",
    [
        {},
        {".gitignore": "*.tmp\n/stream_deltas/\nstate/stream_deltas/*.md\n"},
        {".gitignore": "*.json\n!state/stream_deltas/**\n"},
        {"docs/.gitignore": "*\n"},
    ],
)
def test_patterns_that_hide_no_delta_are_no_finding(files: dict[str, str], tmp_path: Path) -> None:
    """No file, other patterns, an exception that is there already, and other folders' files are well."""
    repository = repository_with(tmp_path, files)
    assert "note" not in dc("init", str(repository), both=True)
    assert [row["ok"] for row in ignored(repository, 0)] == [True]


def test_a_user_s_own_excludes_do_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the operator's git ignores for that user says nothing about the workers."""
    (tmp_path / "home/.config/git").mkdir(parents=True)
    (tmp_path / "home/.config/git/ignore").write_text("*.json\n")
    (tmp_path / "home/template/info").mkdir(parents=True)
    (tmp_path / "home/template/info/exclude").write_text("*.json\n")
    (tmp_path / "home/.gitconfig").write_text(f"[init]\ntemplateDir = {tmp_path}/home/template\n")
    repository = repository_with(tmp_path, {".gitignore": "*.tmp\n"})
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    assert environment()["HOME"] == str(tmp_path / "home")
    assert found_in(repository) == []


def found_in(repository: Path, *words: Any) -> list[str]:
    store = LocalStore(repository)
    return [one.what for one in ignored_deltas(store, store.commit(store.refs()["refs/heads/main"]).tree, *words)]


def test_every_delta_folder_is_asked_about(tmp_path: Path) -> None:
    """With several folders of deltas each pattern is named for the folder that it hides; other names are safe."""
    files = {".gitignore": "inbox/*.json\n", "inbox/.gitignore": "7/\n"}
    repository = repository_with(tmp_path, files)
    roots: Sequence[str] = (DELTAS, "inbox", "../outside", ".git")
    flat, folder = sorted(found_in(repository, 7, roots))
    assert "the pattern inbox/*.json hides deltas such as inbox/frame-7-x.json" in flat
    assert "inbox/.gitignore, line 1: the pattern 7/ hides deltas such as inbox/7/x.json" in folder
    assert len(found_in(repository, 8, roots)) == 1
    assert found_in(repository) == []


def test_hostile_ignore_files_are_passed_over(tmp_path: Path) -> None:
    """A link, a folder and a huge file of that name say nothing; control characters in a pattern are shown escaped."""
    repository = repository_with(tmp_path, {"state/.gitignore": "#" * (2**20 + 1), ".gitignore/x": "*"})
    assert found_in(repository) == []
    owner = tmp_path / "owner"
    git(owner, "rm", "-q", "-r", ".gitignore")
    (owner / ".gitignore").symlink_to("/etc/passwd")
    git(owner, "add", "-f", ".")
    push(owner, {"x": "y"})
    assert found_in(repository) == []
    (owner / ".gitignore").unlink()
    push(owner, {".gitignore": "state/stream_deltas/*\x1b[3[1m]*\n[\n*.json\n"})
    (what,) = found_in(repository)
    assert "\x1b" not in what
