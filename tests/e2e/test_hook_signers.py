"""The server-side check where the settings name signers: real pushes, real keys."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.e2e.servers import serve
from tests.e2e.tools import clone, dc, dc_json, delta, git, push, try_git

pytestmark = pytest.mark.needs("ssh-keygen")


def key(folder: Path, name: str) -> tuple[Path, str]:
    """A new key: its private file, and its allowed-signers line for the name."""
    path = folder / name
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(path)], check=True)
    return path, f"{name} {path.with_suffix('.pub').read_text().strip()}"


def signing(worker: Path, key_file: Path | None) -> None:
    """From now on sign the clone's commits with a key, or with none."""
    git(worker, "config", "gpg.format", "ssh")
    git(worker, "config", "user.signingKey", str(key_file))
    git(worker, "config", "commit.gpgSign", "true" if key_file else "false")


def stage(worker: Path, files: dict[str, str]) -> None:
    """Take the clone to what main is, and stage files on it."""
    git(worker, "fetch", "-q")
    git(worker, "reset", "-q", "--hard", "origin/main")
    for name, content in files.items():
        (worker / name).parent.mkdir(parents=True, exist_ok=True)
        (worker / name).write_text(content)
    git(worker, "add", "-A")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A shared repository with the check."""
    dc("init", str(tmp_path / "served" / "fleet.git"))
    return tmp_path / "served" / "fleet.git"


def test_where_signers_are_set_only_their_pushes_enter(repository: Path, tmp_path: Path) -> None:
    """Unsigned deltas and settings are refused at the door, with the reason; signed ones enter and merge."""
    alice, alice_line = key(tmp_path, "alice")
    ops, ops_line = key(tmp_path, "ops")
    text = f"[security]\nallowed_signers = [{alice_line!r}, {ops_line!r}]\noperators = ['ops']\n"
    worker = clone(repository, tmp_path / "worker")
    push(worker, {"state/dreamcatcher.toml": text})

    def attempt(files: dict[str, str], target: str) -> str:
        """Commit on what main is and push; returns what git said, and takes the commit back where it was refused."""
        stage(worker, files)
        git(worker, "commit", "-q", "-m", "try")
        return try_git(worker, "push", "-q", "origin", f"HEAD:{target}").stderr

    file = {"state/stream_deltas/1/alice.json": delta(1, "alice", observations=["mine"])}
    for target in ("main", "refs/heads/dc/alice"):
        assert "wrong-stream at $.stream_id" in attempt(file, target)
    signing(worker, ops)
    assert "wrong-stream at $.stream_id" in attempt(file, "refs/heads/dc/alice")
    signing(worker, alice)
    assert attempt(file, "refs/heads/dc/alice") == ""
    changed = {"state/dreamcatcher.toml": text + "[limits]\ndepth = 9\n"}
    assert "no operator's key signed the change" in attempt(changed, "main")
    signing(worker, ops)
    assert attempt(changed, "main") == ""
    (closed,) = dc_json("merge", "--repo", str(repository))
    assert (closed["deltas"], closed["quarantined"]) == (1, 0)
    assert git(repository, "show", "main:state/dreamcatcher.toml").endswith("depth = 9")


@pytest.mark.parametrize("kind", ["path", "git"])
def test_a_replacement_takes_nothing_over(kind: str, repository: Path, tmp_path: Path) -> None:
    """`refs/replace/F` names a commit that alice, the operator or the primary signed, and F is unsigned: F stays what
    it is, on a lane, for the settings and for a publication. The push of such a ref is refused, too."""
    alice, alice_line = key(tmp_path, "alice")
    ops, ops_line = key(tmp_path, "ops")
    text = f"[security]\nallowed_signers = [{alice_line!r}, {ops_line!r}]\noperators = ['ops']\n"
    with serve(kind, repository, tmp_path / "server") as served:
        worker = clone(served.url, tmp_path / "worker")
        push(worker, {"state/dreamcatcher.toml": text})
        dc("merge", "--repo", str(repository))

        def forged(files: dict[str, str], by: Path) -> str:
            """An unsigned commit of these files, with a replacement on the server that is the same commit signed."""
            stage(worker, files)
            made = {}
            for signed_by in (by, None):
                signing(worker, signed_by)
                git(worker, "reset", "-q", "--soft", "origin/main")
                git(worker, "commit", "-q", "-m", "try")
                made[signed_by] = git(worker, "rev-parse", "HEAD")
            refused = try_git(worker, "push", "-q", "origin", f"{made[by]}:refs/replace/{made[None]}")
            assert "refs/replace/" in refused.stderr
            git(repository, "fetch", "-q", str(worker), f"{made[by]}")
            git(repository, "update-ref", f"refs/replace/{made[None]}", made[by])
            return made[None]

        file = {"state/stream_deltas/2/alice.json": delta(2, "alice", observations=["forged"])}
        fake = forged(file, alice)
        assert "wrong-stream" in try_git(worker, "push", "-q", "origin", f"{fake}:refs/heads/dc/alice").stderr
        fake = forged({"state/dreamcatcher.toml": text + "[limits]\ndepth = 9\n"}, ops)
        assert "no operator's key signed" in try_git(worker, "push", "-q", "origin", f"{fake}:main").stderr
        (repository / "primaries").write_text(ops_line.replace("ops ", "primary ", 1) + "\n")
        git(repository, "config", "dreamcatcher.primaryKey", "primaries")
        fake = forged({"state/frame.json": "{}"}, ops)
        specs = (f"{fake}:refs/heads/main", f"{fake}:refs/dreamcatcher/published")
        refused = try_git(worker, "push", "-q", "--atomic", "origin", *specs)
        assert "neither the account nor a signature is the primary's" in refused.stderr
    hook = repository / "hooks" / "pre-receive"
    hook.rename(hook.with_name("away"))
    fake = forged_in_place(repository, worker, file, alice)
    dc("merge", "--repo", str(repository))
    ledger = json.loads(git(repository, "show", "main:state/ledger/0/2.json"))
    assert [(row["reason"], row["commit"]) for row in ledger["quarantined"]] == [("wrong-stream", fake)]
    assert dc_json("verify", "--repo", str(repository))["ok"]
    assert "refs/replace/" in dc("doctor", "--repo", str(repository), code=1)


def forged_in_place(repository: Path, worker: Path, files: dict[str, str], by: Path) -> str:
    """The same on a lane of a server without the check: unsigned commit and replacement both enter."""
    git(worker, "fetch", "-q", str(repository), "main")
    git(worker, "checkout", "-q", "--detach", "FETCH_HEAD")
    for name, content in files.items():
        (worker / name).parent.mkdir(parents=True, exist_ok=True)
        (worker / name).write_text(content)
    git(worker, "add", "-A")
    signing(worker, None)
    git(worker, "commit", "-q", "-m", "forged")
    fake = git(worker, "rev-parse", "HEAD")
    signing(worker, by)
    git(worker, "commit", "-q", "--amend", "-m", "forged")
    good = git(worker, "rev-parse", "HEAD")
    git(worker, "push", "-q", str(repository), f"{good}:refs/replace/{fake}", f"{fake}:refs/heads/dc/alice")
    return fake
