"""`doctor` finds nothing on a healthy set-up, and on a broken one the thing that is broken, with its remedy."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dreamcatcherd.doctor.checks import check_remote
from dreamcatcherd.git.remote import RemoteStore
from tests.e2e.harm import close_in_the_future, many_packs
from tests.e2e.primaries import config_for, primary_on
from tests.e2e.servers import GitServer, Served, Server, serve
from tests.e2e.tools import clone, dc, dc_json, delta, git, primary_toml, push
from tests.hostile import FILE, UNREADABLE, commit, nested, oid_of, plant


def findings(served: Served, folder: Path, code: int) -> dict[str, dict[str, Any]]:
    config = config_for(served, folder, "manual", timeout=60)
    return {row["check"]: row for row in dc_json("doctor", "--config", str(config), code=code)}


def assert_to_mend(found: dict[str, dict[str, Any]], check: str, detail: str) -> None:
    """This check alone is not well, and it says how to mend it."""
    assert [name for name, row in found.items() if not row["ok"]] == [check], found
    assert detail in found[check]["detail"]
    assert found[check]["remedy"]


def test_a_healthy_repository_has_nothing_to_mend(served: Served, tmp_path: Path) -> None:
    """By path and over each transport, with a frame closed and a lane pushed, every check is well."""
    worker = clone(served.url, tmp_path / "worker", env=served.git_env)
    text = delta(1, "worker", observations=[1])
    push(worker, {"state/stream_deltas/1/a.json": text}, "refs/heads/dc/worker", env=served.git_env)
    dc("merge", "--config", str(config_for(served, tmp_path / "primary", "manual")))
    found = findings(served, tmp_path / "primary", 0)
    assert all(row["ok"] for row in found.values())
    assert {"reachable", "branch", "lanes", "hook" if served.kind == "path" else "push"} <= set(found)
    assert found["lanes"]["detail"] == "1 lane"


def test_lanes_of_both_forms_are_listed(tmp_path: Path) -> None:
    """`dc/a` beside `dc/b/1`: doctor says which there are, since one stream cannot have both."""
    dc("init", str(tmp_path / "fleet.git"))
    worker = clone(tmp_path / "fleet.git", tmp_path / "worker")
    for stream, lane in (("a", "dc/a"), ("b", "dc/b/1")):
        text = delta(1, stream, observations=[1])
        push(worker, {f"state/stream_deltas/1/{stream}.json": text}, f"refs/heads/{lane}")
        git(worker, "reset", "--hard", "HEAD~1")
    found = {row["check"]: row for row in dc_json("doctor", "--repo", str(tmp_path / "fleet.git"))}
    assert found["lanes"]["detail"].startswith("2 lanes, 1 as dc/<stream>, such as dc/a, and others as dc/<stream>/")


@pytest.mark.parametrize("server", ["http", "https", "ssh"], indirect=True)
def test_wrong_credentials_are_found(server: Server, tmp_path: Path) -> None:
    """Where the server lets the primary in no more, `reachable` says so and names the credentials' files."""
    server.lock_out()
    assert_to_mend(findings(server, tmp_path / "primary", 1), "reachable", "refused the credentials")


def test_a_server_that_is_down_is_found(server: Server, tmp_path: Path) -> None:
    """Where nothing listens, `reachable` says so."""
    server.stop()
    assert_to_mend(findings(server, tmp_path / "primary", 1), "reachable", "cannot be reached")


class ReadOnly(GitServer):
    """git daemon that takes no pushes."""

    def _commands(self) -> list[list[str]]:
        return [[word for word in command if word != "--enable=receive-pack"] for command in super()._commands()]


def test_missing_rights_to_push_are_found_with_git_daemon(tmp_path: Path) -> None:
    """A git daemon without receive-pack is read from, and `push` says what it lacks."""
    dc("init", str(tmp_path / "served" / "fleet.git"))
    server = ReadOnly(tmp_path / "served" / "fleet.git", tmp_path / "server")
    try:
        server.start()
        assert_to_mend(findings(server, tmp_path / "primary", 1), "push", "does not serve this repository")
    finally:
        server.close()


@pytest.mark.parametrize("server", ["http"], indirect=True)
def test_missing_rights_to_push_are_found_over_http(server: Server, tmp_path: Path) -> None:
    """A web server that serves reads only answers a push with 403, and `push` says so."""
    git(server.repository, "config", "http.receivepack", "false")
    assert_to_mend(findings(server, tmp_path / "primary", 1), "push", "refused the credentials")


def test_a_rewound_branch_is_found(served: Served, tmp_path: Path) -> None:
    """Where `main` holds the published commit no more, `branch` says so."""
    config = str(config_for(served, tmp_path / "primary", "manual"))
    dc("merge", "--config", config)
    git(served.repository, "update-ref", "refs/heads/main", "main~1")
    assert_to_mend(findings(served, tmp_path / "primary", 1), "branch", "was rewound")


def break_python(repository: Path) -> None:
    hook = repository / "hooks" / "pre-receive"
    hook.write_text(re.sub(r"^python=.*$", "python=/nowhere/bin/python", hook.read_text(), flags=re.MULTILINE))


def break_silently(repository: Path) -> None:
    (repository / "hooks" / "pre-receive").write_text("#!/bin/sh\n# dreamcatcherd\nexit 7\n")


def move_hooks(repository: Path) -> None:
    elsewhere = repository / "elsewhere"
    elsewhere.mkdir()
    shutil.copy(repository / "hooks" / "reference-transaction", elsewhere)
    git(repository, "config", "core.hooksPath", str(elsewhere))


def leave_lock(repository: Path) -> None:
    lock = repository / "objects" / "maintenance.lock"
    lock.touch()
    os.utime(lock, (1, 1))


def shorten_reflogs(repository: Path) -> None:
    git(repository, "config", "core.logAllRefUpdates", "true")


BROKEN: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "no hook": (lambda repo: (repo / "hooks/pre-receive").unlink(), "hook", "no pre-receive check"),
    "a hook that git passes over": (lambda repo: (repo / "hooks/pre-receive").chmod(0o644), "hook", "not executable"),
    "a hook whose Python is gone": (break_python, "hook", "every push is refused: dreamcatcherd is gone from /nowhere"),
    "a hook that ends without a word": (break_silently, "hook", "every push is refused: it ended with 7"),
    "hooks elsewhere": (move_hooks, "hook", "elsewhere/pre-receive"),
    "another HEAD": (lambda repo: git(repo, "symbolic-ref", "HEAD", "refs/heads/master"), "HEAD", "refs/heads/master"),
    "packs that nobody joins": (lambda repo: many_packs(repo, 201), "packs", "202 packs"),
    "a lock of maintenance": (leave_lock, "locks", "maintenance.lock is left over"),
    "reflogs of some refs alone": (shorten_reflogs, "core.logAllRefUpdates", "true"),
    "a frame of the future": (close_in_the_future, "frame time", "in the future, by this clock"),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_what_is_broken_in_a_repository_on_this_disk_is_found(broken: str, tmp_path: Path) -> None:
    """One thing is wrong, and the check of it alone says so and how to mend it."""
    repository = tmp_path / "fleet.git"
    dc("init", str(repository))
    harm, check, detail = BROKEN[broken]
    harm(repository)
    with serve("path", repository, tmp_path / "server") as served:
        assert_to_mend(findings(served, tmp_path / "primary", 1), check, detail)


def test_the_remedies_for_head_and_hook_mend_them(tmp_path: Path) -> None:
    """What doctor prints can be pasted, and afterwards it has nothing to say."""
    repository = tmp_path / "fleet.git"
    dc("init", str(repository))
    break_python(repository)
    git(repository, "symbolic-ref", "HEAD", "refs/heads/master")
    with serve("path", repository, tmp_path / "server") as served:
        found = findings(served, tmp_path / "primary", 1)
        dc("init", str(tmp_path / "model.git"))
        lines = [found["HEAD"]["remedy"], found["hook"]["remedy"].partition("then ")[2]]
        for line in lines:
            subprocess.run(line.replace("/tmp/model.git", str(tmp_path / "model.git")), shell=True, check=True)
        findings(served, tmp_path / "primary", 0)


@pytest.mark.needs("ssh-keygen")
def test_a_key_that_cannot_sign_is_found(tmp_path: Path) -> None:
    """`signing` names the key before a frame fails on it, and is well with one that signs."""
    repository = tmp_path / "fleet.git"
    dc("init", str(repository))
    key = tmp_path / "key"
    key.write_text("no key")
    config = primary_toml(tmp_path, more=f'[repository]\nurl = "{repository}"\nsigning_key = "{key}"\n')
    found = {row["check"]: row for row in dc_json("doctor", "--config", str(config), code=1)}
    assert_to_mend(found, "signing", "cannot be signed")
    key.unlink()
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    assert {row["check"]: row["ok"] for row in dc_json("doctor", "--config", str(config))}["signing"]


def clock_off_by(offset: int) -> Callable[[], float]:
    return lambda: time.time() + offset


@pytest.mark.parametrize("server", ["http", "https"], indirect=True)
def test_a_clock_that_is_wrong_is_found(server: Server, tmp_path: Path) -> None:
    """A clock a minute off the web server's is told of, in either direction; one that agrees is well."""
    store = primary_on(server, tmp_path / "primary").store
    assert isinstance(store, RemoteStore)
    store.refs()
    for offset, well, said in ((0, True, "this clock is"), (60, False, "s ahead of"), (-60, False, "s behind")):
        clock = {row.check: row for row in check_remote(store, clock_off_by(offset))}["clock"]
        assert clock.ok is well
        assert said in clock.detail


def test_lanes_in_the_way_of_a_stream_are_found(tmp_path: Path) -> None:
    """A lane that brings no delta of its stream is named with its head's author, before and after it is merged; one of
    a stream that delivers is not."""
    repository = tmp_path / "fleet.git"
    dc("init", str(repository), "--no-hook")
    worker = clone(repository, tmp_path / "worker")
    git(worker, "commit", "-q", "--allow-empty", "-m", "squat")
    git(worker, "push", "-q", "origin", "HEAD:refs/heads/dc/alice/x")
    git(worker, "reset", "-q", "--hard", "origin/main")
    push(worker, {"state/stream_deltas/1/b.json": delta(1, "bob", observations=[1])}, "refs/heads/dc/bob")
    for _ in range(2):
        found = dc_json("doctor", "--repo", str(repository), code=1)
        bad = [row for row in found if row["check"] == "lane owners"]
        assert len(bad) == 1
        assert bad[0]["detail"].startswith("dc/alice/x ")
        assert "no delta of the stream 'alice'" in bad[0]["detail"]
        assert "worker <worker@localhost>" in bad[0]["detail"]
        assert "git push --delete origin dc/alice/x" in bad[0]["remedy"]
        dc("merge", "--repo", str(repository))


def test_names_that_no_clone_can_hold_and_commits_that_cannot_be_read_are_found(tmp_path: Path) -> None:
    """Both stand in a repository without the check, and doctor names path and reason, ref and commit."""
    repository = tmp_path / "fleet.git"
    dc("init", str(repository), "--no-hook")
    head = git(repository, "rev-parse", "main")
    text = ("blob", b"hi")
    plant(repository, "refs/heads/main", commit(nested([text], [b"src", b"git~1", b"x"], FILE), head))
    unreadable = UNREADABLE["2,200 folders deep"]
    plant(repository, "refs/heads/dc/mallory", unreadable)
    found = {row["check"]: row for row in dc_json("doctor", "--repo", str(repository), code=1) if not row["ok"]}
    assert found["names"]["detail"].startswith("src/git~1: ")
    assert oid_of(unreadable[0]) in found["refs"]["detail"]
    assert "dc/mallory" in found["refs"]["detail"]
