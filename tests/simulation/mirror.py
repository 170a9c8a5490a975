"""A mirror of the simulated fleet, and the part of each primary's machine that looks at it.

The keeper, its intake and its copier are the real ones, asked to look by hand instead of in a thread of their own;
git's requests, and the refs that keep what a mirror brought, are simulated."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dreamcatcherd.config_remotes import MirrorConfig
from dreamcatcherd.core.errors import DreamcatcherError, RetryableError
from dreamcatcherd.core.paths import MIRRORS
from dreamcatcherd.daemon.mirror_config import MirrorSite
from dreamcatcherd.daemon.mirror_keeper import MirrorBase, MirrorKeeper
from dreamcatcherd.daemon.service import Service
from dreamcatcherd.git.access import Access
from dreamcatcherd.git.protocols import Move
from dreamcatcherd.git.remote import RemoteStore
from dreamcatcherd.testing import MemoryStore
from tests.law.fleet import MAIN
from tests.simulation.server import Server, transfer
from tests.simulation.stores import Host, Wire

NAME = "second"
URL = "git://simulated/mirror.git"
IN_CLONE = "refs/primary/mirrors/"


class MirrorWireTwin:
    """The way to the mirror, from the repository in `here`."""

    def __init__(self, mirror: Server, host: Host, here: MemoryStore) -> None:
        self.refused: dict[str, str] = {}
        self._mirror = mirror
        self._here = here
        self._wire = Wire(mirror, host, here, atomic=True)

    def heads(self, patterns: Sequence[str]) -> dict[str, str]:
        """The refs of the mirror that match a pattern."""
        starts = tuple(one[:-1] for one in patterns if one.endswith("*"))
        found = self._wire.heads(None, ())
        return {ref: oid for ref, oid in found.items() if ref in patterns or ref.startswith(starts)}

    def fetch(self, heads: Mapping[str, str]) -> dict[str, str]:
        """Fetch what some heads reach; a head that moved since it was listed is left out."""
        self._wire.ask("fetch")
        found = {ref: oid for ref, oid in heads.items() if self._mirror.heads.get(ref) == oid}
        transfer(self._mirror.store, self._here, found.values())
        return found

    def push(self, moves: list[Move]) -> RetryableError | None:
        """Ask for all moves together."""
        return self._wire.push(moves)


class KeptTwin:
    """The refs that keep what mirrors brought: in the shared repository, or in a clone beside those that follow it."""

    def __init__(self, here: MemoryStore, is_clone: bool) -> None:
        self._heads = here.heads
        self._root = IN_CLONE if is_clone else MIRRORS

    def read(self) -> dict[str, str]:
        """All of them, by their names in `paths.mirrored_ref`."""
        kept = {ref: oid for ref, oid in self._heads.items() if ref.startswith(self._root)}
        return {f"{MIRRORS}{ref.removeprefix(self._root)}": oid for ref, oid in kept.items()}

    def change(self, add: Mapping[str, str], drop: Iterable[str] = ()) -> None:
        """Add and drop refs."""
        for ref, oid in add.items():
            self._heads[self._root + ref.removeprefix(MIRRORS)] = oid
        for ref in drop:
            self._heads.pop(self._root + ref.removeprefix(MIRRORS), None)


def watch_mirror(service: Service, mirror: Server, host: Host, here: MemoryStore, keep_s: float) -> None:
    """Let a daemon have a mirror, which it looks at when `look_at_mirror` is called. `here` is its repository."""
    kept: Any = KeptTwin(here, is_clone=isinstance(service.primary.store, RemoteStore))
    site = MirrorSite(MirrorConfig(name=NAME, url=URL), Access(URL))
    base = MirrorBase(MAIN, keep_s, kept, lambda: MemoryStore(here))
    companion = service.companions.mirrors
    # The folder of `KeptRefs` is only passed on, to the wire that is replaced.
    kept.folder = here
    companion.take_over((site,), base, service.primary.store.recall, service._log)
    wire: Any = MirrorWireTwin(mirror, host, here)
    for keeper in companion._running.values():
        keeper._wire = keeper._intake._wire = keeper._copier._wire = wire


def look_at_mirror(service: Service) -> None:
    """One look of a daemon's keeper at its mirror, as its thread makes it."""
    for keeper in service.companions.mirrors._running.values():
        try:
            _look(keeper)
        except DreamcatcherError as error:
            keeper._failed(error)


def _look(keeper: MirrorKeeper) -> None:
    if keeper._task is None:
        keeper._hand_over(keeper._intake.kept_heads())
        return
    keeper._look_at_it(keeper._task)
    keeper._succeeded()
