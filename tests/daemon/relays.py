"""Regions with relays, stepped by hand: real repositories on this disk, and an upstream whose primary a test steps."""

from __future__ import annotations

from pathlib import Path

from dreamcatcherd.config_remotes import RelayConfig
from dreamcatcherd.core import paths
from dreamcatcherd.core.frames import Closing
from dreamcatcherd.core.ledger import Ledger
from dreamcatcherd.core.report import CycleReport
from dreamcatcherd.core.tree import FILE, Entry
from dreamcatcherd.daemon.relay import Relay
from dreamcatcherd.git.access import Access
from dreamcatcherd.git.local import LocalStore
from dreamcatcherd.git.upstream import Upstream
from dreamcatcherd.history.receipts import receipts
from dreamcatcherd.imports.new_repository import create, create_empty
from dreamcatcherd.stages.server_policy import ServerPolicy
from tests.daemon.tools import Clock
from tests.law.fleet import MAIN, NOW, primary_on
from tests.stages.tools import FOLDER, close, put, text

LISTED = '[lanes]\nrelays = ["north", "south"]\n'


class Deciding:
    """The repository upstream, with its primary."""

    def __init__(self, folder: Path, *, hook: bool = False, settings: str = LISTED) -> None:
        self.bare = folder / "upstream.git"
        self.store = create(self.bare, 1, NOW, Closing("manual"), hook=hook)
        self.primary = primary_on(self.store)
        if settings:
            commit_settings(self.store, settings)

    def close(self) -> Ledger:
        return close(self.primary)

    def lane(self, name: str = "north") -> str | None:
        return self.store.refs().get(f"refs/heads/dc-relay/{name}")


class Region:
    """A relay and its repository. Each `look` looks at upstream, whatever time it is."""

    def __init__(self, folder: Path, upstream: Path | str, name: str = "north", *, hook: bool = False) -> None:
        self.bare = folder / f"region-{name}.git"
        if not self.bare.exists():
            create_empty(self.bare)
            if not hook:
                (self.bare / "hooks" / "pre-receive").unlink()
        self.clock = Clock()
        self.store = LocalStore(self.bare)
        self.primary = primary_on(self.store)
        self.primary.policy = ServerPolicy(self.store.folder)
        at = Upstream(Access(url=str(upstream), timeout_s=120), self.store.folder, "main", name, lambda: None)
        self.relay = Relay(RelayConfig(upstream=str(upstream), name=name), at, self.primary, self.clock.steady)

    def look(self) -> CycleReport:
        """One look, long after the one before; it must go well."""
        report = self.try_look()
        assert self.relay.failure is None, self.relay.failure
        return report

    def try_look(self) -> CycleReport:
        self.clock.go_on(3600)
        return self.relay.look()[0]

    def push(self, stream: str, number: int = 0, frame: int = 1, ref: str = "") -> str:
        """One delta, pushed to the stream's lane or to another ref; returns its path."""
        return push(self.store, stream, number, frame, ref)

    def outcome(self, path: str) -> list[tuple[str, int | None]]:
        """What a worker's receipt says in this region."""
        inbox = self.primary.read_inbox()
        return [(one.outcome, one.frame) for one in receipts(self.store, inbox.published, inbox.arrivals, path)]


def push(store: LocalStore, stream: str, number: int = 0, frame: int = 1, ref: str = "") -> str:
    """Commit one delta, as a worker does who pushes to a lane or to the shared branch; returns its path."""
    path = f"{FOLDER}/{frame}/{stream}-{number}.json"
    put(store, ref or f"refs/heads/dc/{stream}", {path: Entry(FILE, store.write("blob", text(frame, stream, number)))})
    return path


def commit_settings(store: LocalStore, settings: str) -> None:
    put(store, MAIN, {paths.SETTINGS: Entry(FILE, store.write("blob", settings.encode()))})


def digest_of_flat(folder: Path, pushes: list[list[tuple[str, int, int]]]) -> str:
    """The digest where the same workers push to one repository: for each frame the (stream, number, frame) of its
    deltas."""
    flat = folder / "flat"
    flat.mkdir()
    one = Deciding(flat)
    ledger = None
    for deltas in pushes:
        for stream, number, frame in deltas:
            push(one.store, stream, number, frame)
        ledger = one.close()
    assert ledger is not None
    return ledger.snapshot
