"""`init` on a repository that exists prepares it in place, as a new one is made, and touches nothing else."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from dreamcatcherd.core.errors import RetryableError
from dreamcatcherd.core.frames import Closing
from dreamcatcherd.git.local import LocalStore
from dreamcatcherd.git.protocols import Move
from dreamcatcherd.imports.existing_repository import prepare
from tests.e2e.test_docs import blocks, shell
from tests.e2e.tools import (
    DREAMCATCHERD,
    clone,
    dc,
    dc_json,
    delta,
    environment,
    git,
    primary_toml,
    push,
    try_git,
    unprivileged,
)

DOCS = blocks("docs/operations.md")
NOW = 1_700_000_000_000_000
SETTINGS = {
    "receive.denyNonFastForwards": "true",
    "receive.denyDeletes": "false",
    "core.logAllRefUpdates": "always",
    "receive.fsckObjects": "true",
    "commitGraph.generationVersion": "1",
    "core.fsync": "all",
    "uploadpack.allowFilter": "true",
}
HOOKS = ("hooks/pre-receive", "hooks/reference-transaction")
FILES = {"README": "a platform\n", "state/agents.json": '{"agents": {}}\n', "src/run.sh": "#!/bin/sh\n"}


def platform(folder: Path, files: dict[str, str] | None = None, branch: str = "main") -> Path:
    """A bare repository as others have it: a history, and nothing of the protocol."""
    repository = folder / "platform.git"
    git(folder, "init", "-q", "--bare", "-b", branch, str(repository))
    push(clone(repository, folder / "owner"), {**FILES, **(files or {})}, branch)
    return repository


def contents(folder: Path) -> dict[str, str]:
    """Every file and folder below a folder: its content's checksum, its mode, and when it was written."""
    found = {}
    for path in sorted(folder.rglob("*")):
        stat = path.lstat()
        digest = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        found[str(path.relative_to(folder))] = f"{digest} {stat.st_mode} {stat.st_mtime_ns}"
    return found


def whats(found: dict[str, Any]) -> list[str]:
    return [change["what"] for change in found["changes"]]


def failing(repository: Path, *words: str, code: int = 1) -> str:
    """What `init` says; it fails and changes nothing."""
    before = contents(repository)
    said = dc("init", str(repository), *words, code=code)
    assert contents(repository) == before
    return said


def test_a_repository_with_a_history_is_prepared_on_top_of_it(tmp_path: Path) -> None:
    """One commit by the primary adds `state/frame.json` alone; settings and hook are a new repository's; it works."""
    repository = platform(tmp_path)
    head = git(repository, "rev-parse", "main")
    said = dc("init", str(repository), "--frame", "405")
    assert f"prepared {repository}: frame 405 is open\n" in said
    assert "hooks/pre-receive: none → the server-side check\n" in said
    assert git(repository, "rev-parse", "main~1") == head
    assert git(repository, "diff", "--name-status", "main~1", "main") == "A\tstate/frame.json"
    assert git(repository, "log", "-1", "--format=%an <%ae> %s") == (
        "dreamcatcherd <dreamcatcherd@localhost> open frame 405"
    )
    dc("init", str(tmp_path / "new.git"))
    new, old = ((path / "config").read_text() for path in (tmp_path / "new.git", repository))
    assert new == old
    assert (repository / "hooks/pre-receive").read_bytes() == (tmp_path / "new.git/hooks/pre-receive").read_bytes()
    dc("doctor", "--repo", str(repository))
    worker = clone(repository, tmp_path / "worker")
    push(worker, {"state/stream_deltas/405/a.json": delta(405, "a", observations=["here"])}, "refs/heads/dc/a")
    assert dc_json("status", "--repo", str(repository))["troubles"] == []
    dc("merge", "--repo", str(repository))
    assert git(repository, "log", "-1", "--format=%s") == "frame 405: 1 delta from 1 stream"
    assert dc_json("verify", "--repo", str(repository))["ok"]
    assert {path: git(repository, "show", f"main:{path}") for path in FILES} == {
        path: text.strip() for path, text in FILES.items()
    }


def test_an_acknowledged_push_is_synced_to_the_disk_of_the_server(tmp_path: Path) -> None:
    """The objects and the ref of a small push; git by itself syncs neither, as a repository without `init` shows."""
    synced = {}
    for name in ("plain", "fleet"):
        repository = tmp_path / f"{name}.git"
        git(tmp_path, "init", "-q", "--bare", str(repository))
        if name == "fleet":
            shutil.rmtree(repository)
            dc("init", "--no-hook", str(repository))
        worker, trace = clone(repository, tmp_path / name), tmp_path / f"{name}.json"
        file = {f"state/stream_deltas/1/{name}.json": delta(1, name, observations=["x"])}
        push(worker, file, f"refs/heads/dc/{name}", env={**environment(), "GIT_TRACE2_EVENT": str(trace)})
        events = [json.loads(line) for line in trace.read_text().splitlines()]
        # The worker's own commands write their traces to the same file; the server's have a longer session id.
        pushed = [one["sid"] for one in events if one["event"] == "cmd_name" and one["name"] == "receive-pack"]
        flushes = [one for one in events if one.get("category") == "fsync" and one["sid"].startswith(tuple(pushed))]
        assert pushed
        synced[name] = sum(int(one["value"]) for one in flushes if one["key"] == "fsync/hardware-flush")
    assert synced["plain"] == 0
    assert synced["fleet"] >= 7  # a commit, four trees, a blob and the ref, each a file of its own


def test_a_dry_run_lists_the_changes_and_writes_nothing(tmp_path: Path) -> None:
    """Both forms list exactly what the real run then changes; no byte of the repository is another one."""
    repository = platform(tmp_path)
    git(repository, "config", "receive.denyDeletes", "yes")
    before = contents(repository)
    lines = dc("init", str(repository), "--dry-run").splitlines()
    listed = dc_json("init", str(repository), "--dry-run")
    assert contents(repository) == before
    assert "receive.denyDeletes: yes → false" in lines
    assert lines == [f"{one['what']}: {one['from'] or 'none'} → {one['to']}" for one in listed["changes"]]
    assert {"what": "state/frame.json", "from": None, "to": "frame 1"} in listed["changes"]
    assert {"what": "receive.denyDeletes", "from": "yes", "to": "false"} in listed["changes"]
    made = dc_json("init", str(repository))
    assert (set(made), made["path"], made["done"]) == ({"path", "changes", "done"}, str(repository), True)
    assert listed == {**made, "done": False}
    assert whats(made) == [*SETTINGS, *HOOKS, "state/frame.json"]


def test_a_second_run_changes_nothing_and_says_so(tmp_path: Path) -> None:
    """The same command again finds everything there, whether the repository was new, empty or had a history."""
    git(tmp_path, "init", "-q", "--bare", "-b", "main", "empty.git")
    for repository in (platform(tmp_path), tmp_path / "empty.git", tmp_path / "new.git"):
        dc("init", str(repository), "--frame", "7")
        before = contents(repository)
        for words in (("--frame", "7"), (), ("--dry-run",)):
            assert dc("init", str(repository), *words) == f"nothing to change in {repository}: frame 7 is open\n"
        assert dc_json("init", str(repository)) == {"path": str(repository), "changes": [], "done": True}
        assert contents(repository) == before


def test_a_path_that_does_not_exist_has_a_dry_run_too(tmp_path: Path) -> None:
    """It lists what a new repository gets, and makes none; `--json` of the real run lists the same."""
    new = tmp_path / "new.git"
    listed = dc_json("init", str(new), "--dry-run", "--frame", "3")
    assert not new.exists()
    assert f"{new}: none → a bare repository\n" in dc("init", str(new), "--dry-run")
    assert whats(listed) == [str(new), *SETTINGS, *HOOKS, "state/frame.json"]
    assert dc_json("init", str(new), "--frame", "3") == {**listed, "done": True}
    assert json.loads(git(new, "show", "main:state/frame.json"))["frame"] == 3


def test_what_is_no_repository_is_refused(tmp_path: Path) -> None:
    """A file, and a folder with files in it, are left as they are, also by a dry run; an empty folder is taken."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/notes").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for name in ("folder", "file"):
        for words in ((), ("--dry-run",)):
            assert "not an empty folder" in dc("init", str(tmp_path / name), *words, code=1)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "folder", "notes"]
    (tmp_path / "empty").mkdir()
    assert "made" in dc("init", str(tmp_path / "empty"))


def test_an_empty_bare_repository_is_prepared_like_a_new_one(tmp_path: Path) -> None:
    """HEAD, which names a branch that does not exist, becomes the shared branch; a worker clones, pushes, is merged."""
    repository = tmp_path / "empty.git"
    git(tmp_path, "init", "-q", "--bare", "-b", "master", str(repository))
    made = dc_json("init", str(repository))
    assert whats(made) == [*SETTINGS, "HEAD", *HOOKS, "state/frame.json"]
    worker = clone(repository, tmp_path / "worker")
    push(worker, {"state/stream_deltas/1/a.json": delta(1, "a", observations=[1])})
    dc("merge", "--repo", str(repository))
    dc("doctor", "--repo", str(repository))
    assert dc_json("verify", "--repo", str(repository))["ok"]


def test_a_checkout_is_refused_and_the_remedy_works(tmp_path: Path) -> None:
    """Pushes cannot reach the branch that is checked out: the bare copy that the remedy makes is prepared instead."""
    platform(tmp_path)
    checkout = tmp_path / "owner"
    for path in (checkout, checkout / ".git"):
        before = contents(checkout)
        said = dc("init", str(path), code=1)
        assert "git refuses pushes to the branch that is checked out" in said
        assert contents(checkout) == before
    copy, _, prepared = said.partition("prepare that: ")[2].strip().partition(", then ")
    shell(f"{copy}\n{prepared}", tmp_path)
    assert dc_json("status", "--repo", f"{checkout}.git")["frame"] == 1


def test_where_frames_are_closed_the_frame_file_stays(tmp_path: Path) -> None:
    """Settings and hook are repaired; `--frame` does not count, and a note says so."""
    repository = tmp_path / "fleet.git"
    dc("init", str(repository), "--no-hook")
    dc("merge", "--repo", str(repository))
    git(repository, "config", "--unset", "receive.fsckObjects")
    refs = git(repository, "for-each-ref")
    said = dc("init", str(repository), "--frame", "9", both=True)
    assert "frame 2 is open: --frame 9 does not count" in said
    assert "receive.fsckObjects: none → true\nhooks/pre-receive: none → the server-side check\n" in said
    assert "hooks/reference-transaction: none → the sync of refs\nprepared" in said
    assert git(repository, "for-each-ref") == refs
    dc("doctor", "--repo", str(repository))


def test_the_branch_is_the_configured_one(tmp_path: Path) -> None:
    """A repository without that branch gets no second root: the error names its branch, and with that it works."""
    repository = platform(tmp_path, branch="trunk")
    said = failing(repository)
    assert "has no branch main, but trunk" in said
    assert 'branch = "trunk"' in said
    config = primary_toml(tmp_path, more=f'[repository]\nurl = "{repository}"\nbranch = "trunk"\n')
    assert f"--config {config}" in dc("init", str(repository), "--config", str(config))
    assert git(repository, "for-each-ref", "--format=%(refname)") == "refs/heads/trunk"
    assert json.loads(git(repository, "show", "trunk:state/frame.json"))["frame"] == 1
    dc("doctor", "--config", str(config))


def test_only_a_primarys_configuration_promises_when_the_first_frame_closes(tmp_path: Path) -> None:
    """Without it `closes_at` is null, so that a primary with any interval serves the repository without a trouble."""

    def promise(name: str, *words: str) -> str | None:
        dc("init", str(tmp_path / name), *words)
        closes_at: str | None = json.loads(git(tmp_path / name, "show", "main:state/frame.json"))["closes_at"]
        return closes_at

    assert promise("new.git") is None
    config = primary_toml(tmp_path, "interval", 3600)
    assert promise("configured.git", "--config", str(config)) is not None
    platform(tmp_path)
    assert promise("platform.git") is None


FRAME_FILES: dict[str, tuple[str, int | None]] = {
    "a frame": ('{"frame": 405, "phase": "dawn"}', 405),
    "another file": ('{"tick": 405}', None),
    "a negative frame": ('{"frame": -1}', None),
}


@pytest.mark.parametrize("text", FRAME_FILES)
def test_a_frame_file_that_is_there_counts(text: str, tmp_path: Path) -> None:
    """One that names a frame is left as it is; one that names none is replaced only where `--frame` asks for it."""
    raw, frame = FRAME_FILES[text]
    repository = platform(tmp_path, {"state/frame.json": raw})
    head = git(repository, "rev-parse", "main")
    if frame is None:
        assert "--frame N replaces it" in failing(repository)
        assert "a file that names no frame → frame 7" in dc("init", str(repository), "--frame", "7")
    else:
        assert f"frame {frame} is open" in dc("init", str(repository))
        assert git(repository, "rev-parse", "main") == head
        assert f"state/frame.json: frame {frame} → frame 7" in dc("init", str(repository), "--frame", "7")
    assert git(repository, "rev-parse", "main~1") == head
    assert dc_json("status", "--repo", str(repository))["frame"] == 7


@pytest.mark.parametrize("files", [{"state": "a file"}, {"state/frame.json/x": "a folder"}])
def test_a_file_in_the_place_of_a_folder_is_never_replaced(files: dict[str, str], tmp_path: Path) -> None:
    """`state` as a file, and `state/frame.json` as a folder, are refused whatever `--frame` says."""
    repository = tmp_path / "platform.git"
    git(tmp_path, "init", "-q", "--bare", "-b", "main", str(repository))
    push(clone(repository, tmp_path / "owner"), files)
    assert "has no room for state/frame.json" in failing(repository, "--frame", "3")


def foreign(repository: Path, text: str = "exit 0\n") -> Path:
    hook = repository / "hooks/pre-receive"
    hook.write_text(f"#!/bin/sh\n{text}")
    hook.chmod(0o755)
    return hook


def test_a_hook_of_somebody_else_is_never_replaced(tmp_path: Path) -> None:
    """It is refused before anything changes, kept with `--no-hook`, and taken as it is once it calls the check."""
    repository = platform(tmp_path)
    hook = foreign(repository)
    said = failing(repository)
    assert f"{hook} is another hook" in said
    assert "--no-hook" in said
    failing(repository, "--dry-run")
    assert "hooks/pre-receive" not in whats(dc_json("init", str(repository), "--no-hook"))
    command = " ".join(DREAMCATCHERD)
    foreign(repository, f"updates=$(cat)\nprintf '%s\\n' \"$updates\" | {command} hook pre-receive || exit 1\n")
    assert whats(dc_json("init", str(repository))) == ["hooks/reference-transaction"]
    assert "nothing to change" in dc("init", str(repository))
    dc("doctor", "--repo", str(repository))
    worker = clone(repository, tmp_path / "worker")
    (worker / "state/stream_deltas/1").mkdir(parents=True)
    (worker / "state/stream_deltas/1/a.json").write_text("{")
    git(worker, "add", "-A")
    git(worker, "commit", "-q", "-m", "broken")
    assert "not-json" in try_git(worker, "push", "-q", "origin", "HEAD:main").stderr


def test_an_installed_check_that_does_not_work_is_renewed(tmp_path: Path) -> None:
    """One of another Python is replaced and kept beside it; one that git passes over runs again."""
    repository = tmp_path / "fleet.git"
    dc("init", str(repository))
    hook = repository / "hooks/pre-receive"
    good = hook.read_text()
    hook.write_text(good.replace("python=", "python=/nowhere", 1))
    assert "of another version or Python → the server-side check" in dc("init", str(repository))
    assert hook.read_text() == good
    assert "python=/nowhere" in (repository / "hooks/pre-receive.old").read_text()
    hook.chmod(0o644)
    assert "not executable → the server-side check" in dc("init", str(repository))
    dc("doctor", "--repo", str(repository))


@pytest.mark.parametrize("how", ["core.hooksPath", "a link"])
def test_hooks_that_other_repositories_may_share_are_left_alone(how: str, tmp_path: Path) -> None:
    """A folder of hooks outside the repository is named and not written to."""
    repository, shared = platform(tmp_path), tmp_path / "shared"
    shared.mkdir()
    if how == "a link":
        shutil.rmtree(repository / "hooks")
        (repository / "hooks").symlink_to(shared)
    else:
        git(repository, "config", "core.hooksPath", str(shared))
    assert "which other repositories may share" in failing(repository)
    assert list(shared.iterdir()) == []
    dc("init", str(repository), "--no-hook")


@pytest.mark.parametrize("place", [".", "hooks", "objects", "refs"])
def test_a_missing_permission_is_named_before_anything_changes(place: str, reachable: Path) -> None:
    """The error names the folder that the user may not write to, and what to do; nothing is half done."""
    repository = platform(reachable)
    as_owner = unprivileged()  # root may write anywhere
    if as_owner:
        subprocess.run(["chown", "-R", "65534:65534", str(repository)], check=True)
    (repository / place).chmod(0o555)
    before = contents(repository)
    words = [*as_owner, *DREAMCATCHERD, "init", str(repository)]
    at = {**environment(), "HOME": str(reachable)}
    done = subprocess.run(words, capture_output=True, text=True, env=at, check=False, timeout=300)
    after = contents(repository)
    (repository / place).chmod(0o755)
    assert done.returncode == 3, done
    assert f"nothing was changed: {(repository / place).resolve()} cannot be written to" in done.stderr
    assert "run as its owner" in done.stderr
    assert after == before


def test_a_lock_on_the_settings_is_named_and_another_run_continues(tmp_path: Path) -> None:
    """git cannot write its configuration: no hook and no commit is made; without the lock all of it is."""
    repository = platform(tmp_path)
    (repository / "config.lock").touch()
    assert "config.lock is there and no git runs, remove it" in failing(repository, code=3)
    (repository / "config.lock").unlink()
    assert "state/frame.json: none → frame 1" in dc("init", str(repository))


def test_a_push_in_between_is_not_overwritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commit goes on top of the head that was looked at or nowhere; another run goes on top of the new one."""
    repository = platform(tmp_path)
    move = LocalStore.move_refs

    def late(store: LocalStore, moves: list[Move], reason: str) -> bool:
        push(tmp_path / "owner", {"README": "newer\n"})
        return move(store, moves, reason)

    monkeypatch.setattr(LocalStore, "move_refs", late)
    with pytest.raises(RetryableError, match="was moved by a push"):
        prepare(LocalStore(repository), None, NOW, Closing("manual"))
    monkeypatch.undo()
    pushed = git(repository, "rev-parse", "main")
    assert git(repository, "show", "main:README") == "newer"
    done = prepare(LocalStore(repository), None, NOW, Closing("manual"))
    assert [change.what for change in done.changes] == ["state/frame.json"]
    assert git(repository, "rev-parse", "main~1") == pushed


def test_the_document_says_how_to_prepare_and_how_to_undo(tmp_path: Path) -> None:
    """The commands of docs/operations.md: after the undo, files, settings and hooks are what they were."""
    repository = platform(tmp_path)
    config, tree = (repository / "config").read_text(), git(repository, "rev-parse", "main^{tree}")

    def run(name: str) -> str:
        return shell(DOCS[name].replace("/srv/git/platform.git", str(repository)), tmp_path)

    printed = run("prepare")
    assert printed.count("state/frame.json: none → frame 1") == 2
    assert git(repository, "rev-parse", "main^{tree}") != tree
    run("undo")
    assert git(repository, "rev-parse", "main^{tree}") == tree
    assert git(repository, "config", "--list", "--local") == settings_in(config, tmp_path)
    assert not {"pre-receive", "reference-transaction"} & {hook.name for hook in (repository / "hooks").iterdir()}


def settings_in(text: str, folder: Path) -> str:
    (folder / "settings").write_text(text)
    return git(folder, "config", "--list", "--file", str(folder / "settings"))
