"""A shared repository with signers, with real keys and real git."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from dreamcatcherd.core import paths
from dreamcatcherd.core.frames import Closing
from dreamcatcherd.core.ledger import Ledger
from dreamcatcherd.imports.new_repository import create
from tests.e2e.tools import need
from tests.law.fleet import MAIN, NOW, primary_on
from tests.stages.tools import FOLDER, close, text

NAMES = ("ops", "alice", "worker-1", "mallory")


def git(folder: Path, *words: str, given: bytes | None = None) -> str:
    """Run git as a worker whose own configuration says nothing."""
    env = {"PATH": os.environ["PATH"], "HOME": str(folder), "GIT_CONFIG_NOSYSTEM": "1"}
    done = subprocess.run(["git", *words], cwd=folder, env=env, input=given, capture_output=True, check=True)
    return done.stdout.decode().strip()


def make_keys(folder: Path) -> Path:
    """Write a key pair for each name into a folder; returns the folder."""
    need("ssh-keygen")
    for name in NAMES:
        kind = "ecdsa" if name == "worker-1" else "ed25519"
        words = ["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", name, "-f", str(folder / name)]
        subprocess.run(words, check=True, capture_output=True)
    return folder


class Fleet:
    """A shared repository, and what workers do to it with plain git."""

    def __init__(self, folder: Path, keys: Path) -> None:
        self.folder = folder
        self.keys = keys
        self.bare = folder / "fleet.git"
        self.primary = primary_on(create(self.bare, 1, NOW, Closing("manual"), hook=False))

    def public(self, name: str) -> str:
        return " ".join((self.keys / f"{name}.pub").read_text().split()[:2])

    def security(self, *lines: str, operators: str = '["ops"]') -> bytes:
        allowed = "\n".join([f"ops {self.public('ops')}", *lines])
        return f"[security]\nallowed_signers = '''\n{allowed}\n'''\noperators = {operators}\n".encode()

    def push(self, files: dict[str, bytes | None], ref: str = MAIN, signed_by: str = "", author: str = "w") -> str:
        """Commit files upon `main`, or upon nothing for a lane, sign with a key if one is named, and push."""
        work = self.folder / "work"
        shutil.rmtree(work, ignore_errors=True)
        git(self.folder, "init", "-q", "-b", "work", str(work))
        if ref == MAIN:
            git(work, "fetch", "-q", str(self.bare), MAIN)
            git(work, "reset", "-q", "--hard", "FETCH_HEAD")
        for path, raw in files.items():
            file = work / path
            file.parent.mkdir(parents=True, exist_ok=True)
            if raw is None:
                file.unlink()
            else:
                file.write_bytes(raw)
        git(work, "add", "--all")
        who = ("-c", f"user.name={author}", "-c", f"user.email={author}@localhost", "-c", "gpg.format=ssh")
        sign = (f"--gpg-sign={self.keys / signed_by}",) if signed_by else ()
        git(work, *who, "commit", "-q", "-m", "work", *sign)
        git(work, "push", "-q", str(self.bare), f"HEAD:{ref}")
        return git(work, "rev-parse", "HEAD")

    def deliver(self, stream: str, number: int, signed_by: str = "", ref: str = "", frame: int = 1) -> str:
        files: dict[str, bytes | None] = {f"{FOLDER}/{frame}/{stream}-{number}.json": text(frame, stream, number)}
        return self.push(files, ref or f"refs/heads/dc/{stream}/{number}", signed_by, stream)

    def secure(self, *lines: str) -> Ledger:
        """Set signers: the operator, and alice where no lines are given."""
        self.push({paths.SETTINGS: self.security(*(lines or (f"alice {self.public('alice')}",)))}, signed_by="ops")
        return close(self.primary)
