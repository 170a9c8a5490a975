"""The server-side check where the settings name signers: real pushes, real keys."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.e2e.tools import clone, dc, dc_json, delta, git, push, try_git


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


def test_where_signers_are_set_only_their_pushes_enter(tmp_path: Path) -> None:
    """Unsigned deltas and settings are refused at the door, with the reason; signed ones enter and merge."""
    repository = tmp_path / "fleet.git"
    dc("init", str(repository))
    alice, alice_line = key(tmp_path, "alice")
    ops, ops_line = key(tmp_path, "ops")
    text = f"[security]\nallowed_signers = [{alice_line!r}, {ops_line!r}]\noperators = ['ops']\n"
    worker = clone(repository, tmp_path / "worker")
    push(worker, {"state/dreamcatcher.toml": text})

    def attempt(files: dict[str, str], target: str) -> str:
        """Commit on what main is and push; returns what git said, and takes the commit back where it was refused."""
        git(worker, "fetch", "-q")
        git(worker, "reset", "-q", "--hard", "origin/main")
        for name, content in files.items():
            (worker / name).parent.mkdir(parents=True, exist_ok=True)
            (worker / name).write_text(content)
        git(worker, "add", "-A")
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
