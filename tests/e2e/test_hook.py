"""The server-side check, by real pushes of real git into a repository that `init` made.

Contract: docs/protocol.md#violations."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.tools import clone, dc, dc_json, delta, environment, export_of, git, push

FOLDER = "state/stream_deltas"
PUBLISHED = "refs/dreamcatcher/published"


def pushed(folder: Path, *refs: str, **variables: str) -> str:
    """Push to origin and return what git said; the first word is `ok` or `refused`."""
    done = subprocess.run(
        ["git", "push", "--atomic", "origin", *refs],
        cwd=folder,
        env=environment() | variables,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert "Traceback" not in done.stderr
    return ("refused " if done.returncode else "ok ") + done.stderr


def commit(folder: Path, files: dict[str, str | None], message: str = "work") -> str:
    for name, text in files.items():
        path = folder / name
        if text is None:
            path.unlink()
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", message)
    return git(folder, "rev-parse", "HEAD")


@pytest.fixture
def fleet(tmp_path: Path) -> Path:
    """A repository with the check, one delta merged in frame 1, and frame 2 open."""
    repository = tmp_path / "fleet.git"
    dc("init", str(repository))
    first = clone(repository, tmp_path / "first")
    push(first, {f"{FOLDER}/1/first.json": delta(1, "first", profile_updates={"a": {"mood": "calm"}})})
    dc("merge", "--repo", str(repository))
    return repository


@pytest.fixture
def worker(fleet: Path, tmp_path: Path) -> Path:
    """A fresh clone of it."""
    return clone(fleet, tmp_path / "worker")


@pytest.mark.parametrize("unpack_limit", ["1", "1000"], ids=["pack", "loose"])
def test_good_pushes_pass_and_land(fleet: Path, worker: Path, unpack_limit: str) -> None:
    """A lane, the shared branch, a branch and a tag enter, as a pack or as loose objects, and the deltas merge."""
    git(fleet, "config", "receive.unpackLimit", unpack_limit)
    commit(worker, {f"{FOLDER}/2/w.json": delta(2, "w", posts_created=[{"number": 1, "body_ref": "b.md"}])})
    commit(worker, {f"{FOLDER}/2/w.json": delta(2, "w", observations=[1]), f"{FOLDER}/2/b.md": "text"})
    assert pushed(worker, "HEAD:refs/heads/dc/w").startswith("ok")
    commit(worker, {f"{FOLDER}/2/main-{i}.json": delta(2, f"m{i}", observations=[i]) for i in range(40)})
    commit(worker, {"README": "ours", "state/frame_counter.json": "{}", "state/dreamcatcher.toml": ""})
    assert pushed(worker, "HEAD:main", "HEAD:refs/heads/topic", "HEAD:refs/tags/v1").startswith("ok")
    git(fleet, "config", "dreamcatcher.counter", "state/clock.json")
    commit(worker, {"state/clock.json": "{}"})
    assert pushed(worker, "HEAD:main").startswith("ok")
    (closed,) = dc_json("merge", "--repo", str(fleet))
    assert (closed["deltas"], closed["quarantined"]) == (42, 0)
    git(fleet, "fsck", "--full", "--strict", "--no-dangling")


@pytest.mark.parametrize("by_hand", [False, True], ids=["init", "by hand"])
def test_garbage_is_refused_with_its_reason_and_place(fleet: Path, worker: Path, by_hand: bool) -> None:
    """The pusher reads path, reason and JSON path of each bad file once, and what to do; no ref moves."""
    if by_hand:
        (fleet / "hooks/pre-receive").write_text(
            f"#!/bin/sh\nexec {sys.executable} -m dreamcatcherd hook pre-receive\n"
        )
    before = git(fleet, "for-each-ref")
    bad = {
        f"{FOLDER}/2/broken.json": '{"frame": 2,',
        f"{FOLDER}/2/late.json": delta(1, "w"),
        f"{FOLDER}/2/bell\x07.json": delta(2, "w"),
        f"{FOLDER}/2/good.json": delta(2, "w"),
    }
    commit(worker, dict(bad))
    commit(worker, {f"{FOLDER}/2/broken.json": "[]"})
    for target in ("main", "refs/heads/dc/w"):
        said = pushed(worker, f"HEAD:{target}")
        assert said.startswith("refused")
        assert f"{FOLDER}/2/late.json: frame-mismatch at $.frame: frame is 1, the path says 2" in said
        assert said.count("broken.json: ") == 1
        assert "broken.json: not-json: " in said
        assert "bell\\x07.json: bad-name: " in said
        assert "good.json" not in said
        assert said.count("dreamcatcherd refused this push, nothing was changed: correct the file") == 1
    assert git(fleet, "for-each-ref") == before


def test_the_incident_is_refused(fleet: Path, worker: Path, tmp_path: Path) -> None:
    """What `git pull --rebase` with autostash leaves behind stays out when it is committed, markers and all."""
    (worker / "state/frame.json").write_text('{"agents": {}}\n')
    (worker / "state/snapshot/state/agents.jsonl").write_text('{"agents": {}}\n')
    path = worker / FOLDER / "2/w.json"
    path.parent.mkdir(parents=True)
    path.write_text(delta(2, "w"))
    git(worker, "add", FOLDER)
    git(worker, "commit", "-q", "-m", "w: frame 2")
    push(clone(fleet, tmp_path / "other"), {f"{FOLDER}/2/o.json": delta(2, "o", observations=[1])})
    dc("merge", "--repo", str(fleet))
    git(worker, "-c", "rebase.autoStash=true", "pull", "-q", "--rebase", "origin", "main", check=False)
    assert "<<<<<<<" in (worker / "state/frame.json").read_text()
    git(worker, "add", "-A")
    git(worker, "commit", "-q", "-m", "sync")
    said = pushed(worker, "HEAD:main")
    assert said.startswith("refused")
    assert "state/frame.json: frame-edited: changed" in said
    assert "state/snapshot/state/agents.jsonl: snapshot-edited: changed" in said
    assert "git checkout origin/main -- PATH" in said
    git(worker, "fetch", "-q")
    git(worker, "checkout", "-q", "origin/main", "--", "state/frame.json", "state/snapshot")
    git(worker, "commit", "-q", "-m", "as main has it")
    assert pushed(worker, "HEAD:main").startswith("ok")


def test_deletions_renames_and_other_state_are_refused(worker: Path) -> None:
    """What stands below `state/` stays: no deletion, no rename, no file of somebody's own."""
    git(worker, "mv", f"{FOLDER}/1/first.json", f"{FOLDER}/1/second.json")
    commit(worker, {"state/snapshot/format": None, "state/mine.json": "{}"})
    said = pushed(worker, "HEAD:main")
    assert f"{FOLDER}/1/first.json: delta-deleted: " in said
    assert "state/snapshot/format: snapshot-edited: deleted" in said
    assert "state/mine.json: state-edited: added" in said
    git(worker, "reset", "-q", "--hard", "origin/main")
    commit(worker, {f"{FOLDER}/1/first.json": delta(1, "other")})
    assert f"{FOLDER}/1/first.json: delta-changed at $.stream_id: it was the stream 'first'" in pushed(
        worker, "HEAD:main"
    )


def test_a_merge_that_turns_the_snapshot_back_is_refused(fleet: Path, worker: Path) -> None:
    """`git merge -s ours` of the new state into an old one is a fast-forward for git, and refused."""
    commit(worker, {f"{FOLDER}/2/w.json": delta(2, "w")})
    dc("merge", "--repo", str(fleet))
    git(worker, "fetch", "-q")
    git(worker, "merge", "-q", "-s", "ours", "-m", "ours", "origin/main")
    said = pushed(worker, "HEAD:main")
    assert "state/frame.json: frame-edited" in said
    assert "state/ledger/0/2.json: ledger-edited: deleted" in said


def test_a_lane_speaks_for_its_own_stream(worker: Path) -> None:
    """A delta of another stream on a lane is refused, and so is a lane whose name no stream can have."""
    commit(worker, {f"{FOLDER}/2/w.json": delta(2, "w")})
    said = pushed(worker, "HEAD:refs/heads/dc/v/2-x")
    assert f"{FOLDER}/2/w.json: wrong-stream at $.stream_id: the lane dc/v/2-x is not the stream 'w'" in said
    assert "refs/heads/dc/xx" in pushed(worker, "HEAD:refs/heads/dc/" + "x" * 129)
    assert pushed(worker, "HEAD:refs/heads/dc/w/2-x").startswith("ok")
    commit(worker, {"state/dreamcatcher.toml": '[lanes]\nprefix = "refs/lanes/"\n'})
    git(worker, "tag", "-a", "-m", "v1", "v1")
    assert "refs/lanes/w: not-a-commit: " in pushed(worker, "HEAD:main", "v1:refs/lanes/w")
    assert pushed(worker, "HEAD:main", "HEAD:refs/lanes/v").startswith("ok")


def test_a_lane_is_deleted_only_once_it_is_merged(fleet: Path, worker: Path) -> None:
    """Where git allows deletions, a lane goes after its deltas are in a snapshot, and `main` never."""
    git(fleet, "config", "receive.denyDeletes", "false")
    commit(worker, {f"{FOLDER}/2/w.json": delta(2, "w")})
    pushed(worker, "HEAD:refs/heads/dc/w")
    refused = pushed(worker, ":refs/heads/dc/w")
    assert "refs/heads/dc/w: lane-unmerged: not in any snapshot yet: 1 of its commits" in refused
    dc("merge", "--repo", str(fleet))
    assert pushed(worker, ":refs/heads/dc/w").startswith("ok")
    assert "main-deleted" in pushed(worker, ":main")


class Mirror:
    """A primary's own copy of the repository, which closes a frame there and pushes what came of it."""

    def __init__(self, fleet: Path, folder: Path) -> None:
        self.folder = folder
        git(fleet.parent, "clone", "-q", "--mirror", str(fleet), str(folder))
        git(folder, "config", "--unset", "remote.origin.mirror")

    def close(self) -> str:
        """Close a frame and return its snapshot commit."""
        git(self.folder, "fetch", "-q", "origin", "+refs/*:refs/*")
        dc("merge", "--repo", str(self.folder))
        return git(self.folder, "rev-parse", "main")

    def remake(self, *words: str, parent: str | None = None) -> str:
        """Make the snapshot commit again, signed or upon another parent."""
        message = git(self.folder, "log", "-1", "--format=%B", "main")
        made = git(
            self.folder, *words[:-1], "commit-tree", "main^{tree}", "-p", parent or "main^", "-m", message, *words[-1:]
        )
        for ref in ("refs/heads/main", PUBLISHED):
            git(self.folder, "update-ref", ref, made)
        return made

    def publish(self, **variables: str) -> str:
        return pushed(self.folder, "main", PUBLISHED, **variables)


def test_the_primary_publishes_by_push_and_a_forger_does_not(fleet: Path, worker: Path, tmp_path: Path) -> None:
    """Without settings a whole frame enters; one that hides a delta, or `main` alone, is refused."""
    primary = Mirror(fleet, tmp_path / "primary.git")
    primary.close()
    assert "frame-edited" in pushed(primary.folder, "main")
    assert primary.publish().startswith("ok")
    hidden = commit(worker, {f"{FOLDER}/2/hidden.json": delta(2, "w", observations=["hidden"])})
    git(worker, "pull", "-q", "--no-rebase", "--no-edit", "origin", "main")
    assert pushed(worker, "HEAD:main").startswith("ok")
    before = git(fleet, "rev-parse", "main")
    primary.close()
    whole = git(primary.folder, "rev-parse", "main")
    tree = git(primary.folder, "rev-parse", "main^{tree}")
    ledger = json.loads(git(primary.folder, "show", "main:state/ledger/0/3.json"))
    ledger["deltas"] = []
    blob = subprocess.run(
        ["git", "hash-object", "-w", "--stdin"],
        cwd=primary.folder, input=json.dumps(ledger).encode(), capture_output=True, check=True,
    ).stdout.decode().strip()  # fmt: skip
    index = {"GIT_INDEX_FILE": str(tmp_path / "index")}
    for words in (["read-tree", tree], ["update-index", "--cacheinfo", f"100644,{blob},state/ledger/0/3.json"]):
        subprocess.run(["git", *words], cwd=primary.folder, env=environment() | index, check=True)
    done = subprocess.run(
        ["git", "write-tree"], cwd=primary.folder, env=environment() | index, capture_output=True, text=True, check=True
    )
    message = git(primary.folder, "log", "-1", "--format=%B", "main")
    forged = git(primary.folder, "commit-tree", done.stdout.strip(), "-p", "main^", "-m", message)
    said = pushed(primary.folder, f"{forged}:refs/heads/main", f"{forged}:{PUBLISHED}")
    assert f"{PUBLISHED}: not-the-primary: it does not close frame 3" in said
    assert git(fleet, "rev-parse", "main") == before
    assert git(primary.folder, "merge-base", "--is-ancestor", hidden, whole) == ""
    assert primary.publish().startswith("ok")
    assert "hidden" in [row["value"] for row in export_of(fleet)["state"]["observations"]]


def test_only_the_account_that_is_named_publishes(fleet: Path, tmp_path: Path) -> None:
    """With `dreamcatcher.primaryUser` the name that the server gives the pusher decides; workers push as ever."""
    git(fleet, "config", "--add", "dreamcatcher.primaryUser", "standby")
    git(fleet, "config", "--add", "dreamcatcher.primaryUser", "primary")
    primary = Mirror(fleet, tmp_path / "primary.git")
    primary.close()
    said = primary.publish(REMOTE_USER="forger", GL_USER="primary")
    assert f"{PUBLISHED}: not-the-primary: neither the account nor a signature is the primary's" in said
    assert "state/frame.json: frame-edited" in said
    assert "not-the-primary" in primary.publish(LOGNAME="somebody", USER="primary")
    assert primary.publish(GL_USER="primary", LOGNAME="git").startswith("ok")
    primary.close()
    assert primary.publish(REMOTE_USER="standby").startswith("ok")


@pytest.mark.needs("ssh-keygen")
def test_only_a_commit_that_the_primarys_key_signed_is_published(fleet: Path, tmp_path: Path) -> None:
    """With `dreamcatcher.primaryKey` an unsigned frame and another key's are refused; either setting suffices."""
    keys = {name: tmp_path / name for name in ("good", "evil")}
    for path in keys.values():
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
    public = keys["good"].with_suffix(".pub").read_text()
    (fleet / "signers").write_text(f"primary@localhost {public}")
    git(fleet, "config", "dreamcatcher.primaryKey", "signers")
    primary = Mirror(fleet, tmp_path / "primary.git")
    primary.close()

    def sign(name: str) -> None:
        primary.remake("-c", "gpg.format=ssh", "-c", f"user.signingKey={keys[name]}", "-S")

    assert "not-the-primary" in primary.publish()
    sign("evil")
    assert "not-the-primary" in primary.publish()
    sign("good")
    (fleet / "signers").write_text(f'primary@localhost valid-before="20200101" {public}')
    assert "not-the-primary" in primary.publish(), "the key is no longer valid, whatever date the commit bears"
    (fleet / "signers").write_text(f'primary@localhost valid-after="20200101" {public}')
    assert primary.publish().startswith("ok")
    primary.close()
    git(fleet, "config", "dreamcatcher.primaryUser", "primary")
    sign("evil")
    assert "not-the-primary" in primary.publish(REMOTE_USER="worker")
    assert primary.publish(REMOTE_USER="primary").startswith("ok")


def test_without_its_file_of_keys_no_check_is_made_and_nothing_is_published(fleet: Path, tmp_path: Path) -> None:
    """The refusal says which setting names a file that is missing; an account that is named publishes all the same."""
    git(fleet, "config", "dreamcatcher.primaryKey", "signers")
    git(fleet, "config", "dreamcatcher.primaryUser", "primary")
    primary = Mirror(fleet, tmp_path / "primary.git")
    primary.close()
    said = primary.publish(REMOTE_USER="worker")
    assert "cannot check this push: git config dreamcatcher.primaryKey names" in said
    assert primary.publish(REMOTE_USER="primary").startswith("ok")


def test_an_empty_repository_is_opened_by_a_push(fleet: Path, tmp_path: Path) -> None:
    """Into an empty repository with the check the first frame may be pushed, but no closed one."""
    empty = tmp_path / "empty.git"
    git(tmp_path, "init", "-q", "--bare", "--initial-branch=trunk", str(empty))
    (empty / "hooks/pre-receive").write_bytes((fleet / "hooks/pre-receive").read_bytes())
    (empty / "hooks/pre-receive").chmod(0o755)
    opened = git(fleet, "rev-list", "--max-parents=0", "main")
    git(fleet, "remote", "add", "origin", str(empty))
    assert "frame-edited" in pushed(fleet, "main")
    assert pushed(fleet, f"{opened}:refs/heads/main", f"{opened}:{PUBLISHED}").startswith("ok")
    assert "state/ledger/0/1.json: ledger-edited" in pushed(fleet, "main")


def test_the_branch_that_head_names_is_the_shared_one(tmp_path: Path) -> None:
    """In a repository whose branch has another name that one is checked, and `main` is a branch like others."""
    repository = tmp_path / "fleet.git"
    config = tmp_path / "primary.toml"
    config.write_text('[repository]\nbranch = "trunk"\n')
    dc("init", str(repository), "--config", str(config))
    worker = clone(repository, tmp_path / "worker")
    commit(worker, {"state/frame.json": "{}"})
    assert "state/frame.json: frame-edited" in pushed(worker, "HEAD:trunk")
    assert pushed(worker, "HEAD:main").startswith("ok")


def test_the_command_judges_what_git_writes_to_it(fleet: Path, worker: Path) -> None:
    """`hook pre-receive` reads updates from stdin, names the first offence of each file, and ends with 1."""
    old = git(fleet, "rev-parse", "main")
    first = commit(worker, {f"{FOLDER}/2/a.json": "[]", f"{FOLDER}/2/b.json": "<<<<<<< HEAD\n"})
    new = commit(worker, {f"{FOLDER}/2/a.json": "{", f"{FOLDER}/2/b.json": delta(2, "w")})
    assert pushed(worker, "HEAD:refs/heads/topic").startswith("ok")
    lines = f"{old} {new} refs/heads/main\n".encode()
    *named, remedy = dc("hook", "pre-receive", cwd=fleet, code=1, stdin=lines).splitlines()
    assert [line.partition(": ")[0] for line in named] == [f"{FOLDER}/2/a.json", f"{FOLDER}/2/b.json"]
    assert (
        named[0] == f"{FOLDER}/2/a.json: not-an-object at $: the delta is a list, not an object (commit {first[:10]})"
    )
    assert remedy.startswith("dreamcatcherd refused this push")
    assert dc("hook", "pre-receive", cwd=fleet, stdin=lines.replace(b"heads/main", b"heads/topic")) == ""
    assert "standard input is empty" in dc("hook", "pre-receive", cwd=fleet, code=1)
    assert "cannot check this push" in dc("hook", "pre-receive", cwd=worker.parent, code=1, stdin=lines)
    missing = f"{old} {'1' * 40} refs/heads/main\n".encode()
    assert "cannot check this push" in dc("hook", "pre-receive", cwd=fleet, code=1, stdin=missing)


def test_without_dreamcatcherd_a_push_says_what_to_do(fleet: Path, worker: Path) -> None:
    """Where the interpreter or the package is gone, the push fails with one line that says so."""
    script = fleet / "hooks/pre-receive"
    text = script.read_text()
    assert os.access(script, os.X_OK)
    assert f"python={sys.executable}\n" in text
    commit(worker, {"README": "x"})
    bare = worker.parent / "bare python"
    bare.write_text(f'#!/bin/sh\nshift\nexec {sys.executable} -S -P "$@"\n')
    bare.chmod(0o755)
    for python in ("/nowhere/python", f"'{bare}'"):
        script.write_text(text.replace(f"python={sys.executable}", f"python={python}"))
        said = pushed(worker, "HEAD:main")
        (line,) = [line for line in said.splitlines() if line.startswith(("remote", "refused remote"))]
        assert "dreamcatcherd is gone from" in line
        assert "delete hooks/pre-receive" in line
    script.write_text(text)
    assert pushed(worker, "HEAD:main").startswith("ok")


_EARLIER = {
    "refusal": "told = refusal(os.environ, sys.stdin.buffer); sys.stderr.writelines(told); sys.exit(bool(told))",
    "main": "sys.exit(main(os.environ, sys.stdin.buffer, sys.stderr))",
}
"""What the hooks of earlier versions import from `dreamcatcherd.store.incoming`, and how they call it."""


@pytest.mark.parametrize("name", _EARLIER)
def test_a_hook_that_an_earlier_version_installed_still_checks_pushes(fleet: Path, worker: Path, name: str) -> None:
    """An upgrade of the package leaves installed hooks alone, and what they import is still there."""
    code = f"import os, sys; from dreamcatcherd.store.incoming import {name}; {_EARLIER[name]}"
    (fleet / "hooks/pre-receive").write_text(f"#!/bin/sh\nexec {sys.executable} -P -c '{code}'\n")
    commit(worker, {f"{FOLDER}/2/good.json": delta(2, "w")})
    assert pushed(worker, "HEAD:main").startswith("ok")
    commit(worker, {f"{FOLDER}/2/broken.json": '{"frame": 2,'})
    assert "broken.json: not-json: " in pushed(worker, "HEAD:main")


def test_every_command_that_makes_a_repository_installs_the_check(fleet: Path, tmp_path: Path) -> None:
    """`init` and `import` install it, `--no-hook` does not; a primary in place publishes whatever a hook says."""
    file = tmp_path / "snapshot.json"
    dc("export", "-o", str(file), "--repo", str(fleet))
    dc("import", str(file), "--repo", str(tmp_path / "imported.git"))
    dc("init", str(tmp_path / "plain.git"), "--no-hook")
    assert (tmp_path / "imported.git/hooks/pre-receive").read_bytes() == (fleet / "hooks/pre-receive").read_bytes()
    assert not (tmp_path / "plain.git/hooks/pre-receive").exists()
    (fleet / "hooks/pre-receive").write_text("#!/bin/sh\nexit 1\n")
    dc("merge", "--repo", str(fleet))
    assert dc_json("status", "--repo", str(fleet))["last_closed"] == 2


def test_the_check_loads_none_of_the_commands_libraries() -> None:
    """Each push pays for its start: the hook loads msgspec, and of ours neither the merge nor what publishes."""
    script = "import sys, dreamcatcherd.hook.pre_receive; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "msgspec" in loaded
    assert not loaded & {"pygit2", "click", "rich", "structlog", "uvicorn", "concurrent.futures"}
    assert not loaded & {
        f"dreamcatcherd.{name}" for name in ("cli", "core.merge", "stages.published", "hook.publication_check")
    }
