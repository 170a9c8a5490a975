"""A region of the simulated fleet: a relay's repository, and the repository upstream as the relay reaches it.

The relay and its `Upstream` are the real ones; git's requests, and the refs that git would list, are simulated."""

from __future__ import annotations

from typing import Any

from dreamcatcherd.config_remotes import RelayConfig
from dreamcatcherd.core.paths import RELAYS
from dreamcatcherd.daemon.primary import Primary
from dreamcatcherd.daemon.relay import Relay
from dreamcatcherd.git.access import Access
from dreamcatcherd.git.upstream import Upstream, UpstreamRefs, known_upstream
from dreamcatcherd.testing import MemoryStore
from tests.simulation.server import Server, transfer
from tests.simulation.simulated_time import Time
from tests.simulation.stores import Host, Wire, unreachable

NAME = "north"


class UpstreamTwin(Upstream):
    """The repository upstream, asked from the region's."""

    def __init__(self, server: Server, host: Host, region: Server, atomic: bool) -> None:
        self.where = "git://simulated/upstream.git"
        self.lane = f"{RELAYS}{NAME}"
        self._access = Access(self.where)
        self._region = region.store
        followed = dict(zip(UpstreamRefs.__struct_fields__, self._followed("main"), strict=True))
        parts: dict[str, Any] = {
            "_names": followed,
            "_wire": Wire(server, host, region.store, atomic),
            "_requests": _Requests(server, host, region.store),
        }
        vars(self).update(parts)

    def _noted(self) -> UpstreamRefs:
        return known_upstream(self._region.heads)

    def _set(self, wanted: Any) -> None:
        for ref, oid in wanted.items():
            if oid is None:
                self._region.heads.pop(ref, None)
            else:
                self._region.heads[ref] = oid


class _Requests:
    """What git is asked of the repository upstream."""

    def __init__(self, server: Server, host: Host, disk: MemoryStore) -> None:
        self._server = server
        self._host = host
        self._disk = disk

    def heads(self, patterns: list[str]) -> dict[str, str]:
        self._host.hear("list")
        if self._host.fails("list"):
            raise unreachable()
        found = {ref: oid for ref, oid in self._server.heads.items() if ref in patterns}
        self._host.hear("listed")
        return found

    def git(self, *words: str, limit_s: float | None = None) -> bytes:
        """A fetch of refs, each with the ref of the region's repository that is to name what came."""
        self._host.hear("fetch")
        specs = [word.lstrip("+").partition(":") for word in words if word.lstrip("+").startswith("refs/")]
        if self._host.fails("fetch") or any(ref not in self._server.heads for ref, _, _ in specs):
            raise unreachable()
        self._host.write()
        found = {there: self._server.heads[ref] for ref, _, there in specs}
        transfer(self._server.store, self._disk, (self._server.heads[ref] for ref, _, _ in specs))
        self._disk.heads.update({ref: oid for ref, oid in found.items() if ref})
        return b""


def relay_on(primary: Primary, server: Server, region: Server, host: Host, atomic: bool, time: Time) -> Relay:
    """The relay of a region's repository."""
    upstream = UpstreamTwin(server, host, region, atomic)
    config = RelayConfig(upstream=upstream.where, name=NAME, poll=1.0)
    return Relay(config, upstream, primary, time.steady)
