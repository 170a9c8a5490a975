"""A relay, or a mirror, comes with a configuration: what it may name, and when it takes effect (docs/relay.md)."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from msgspec import structs

from dreamcatcherd.config_remotes import MirrorConfig, RelayConfig
from dreamcatcherd.config_tables import Config, FramesConfig, HttpConfig, RepositoryConfig
from dreamcatcherd.core import paths
from dreamcatcherd.core.errors import FatalError, UsageError
from dreamcatcherd.core.refused_lanes import Refusal
from dreamcatcherd.daemon.bootstrap import Source, build_runtime
from dreamcatcherd.daemon.service import Service
from tests.as_found import log_put_back
from tests.daemon.relays import Deciding
from tests.daemon.tools import Lines
from tests.e2e.servers import Server, serve
from tests.e2e.tools import git
from tests.stages.tools import close


def config_of(repository: Path, relay: RelayConfig | None = None) -> Config:
    """What `run` reads for a repository, with a relay or without."""
    config = Config(repository=RepositoryConfig(url=str(repository)), http=HttpConfig(listen="127.0.0.1:0"))
    if relay is None:
        return structs.replace(config, frames=FramesConfig(close="manual"))
    return structs.replace(config, relay=relay)


@pytest.mark.parametrize("spelling", ["{0}", "{0}/", "file://{0}", "{0}/../link.git"])
def test_the_deciding_repository_is_neither_its_own_upstream_nor_its_own_mirror(tmp_path: Path, spelling: str) -> None:
    """Whatever names the repository, an option too: nothing is written to it before that is refused."""
    up = Deciding(tmp_path)
    (tmp_path / "link.git").symlink_to(up.bare)
    before = git(up.bare, "for-each-ref")
    url = spelling.format(up.bare)
    relayed = config_of(tmp_path / "named-by-nobody.git", RelayConfig(upstream=url, name="north"))
    with pytest.raises(UsageError, match="own repository"):
        build_runtime(relayed, str(up.bare))
    mirrored = structs.replace(config_of(tmp_path / "none.git"), mirrors=[MirrorConfig(name="north", url=url)])
    with pytest.raises(UsageError, match="the repository that decides"):
        build_runtime(mirrored, str(up.bare))
    assert git(up.bare, "for-each-ref") == before


def test_an_upstream_that_is_the_relay_itself_by_a_url_is_noticed_before_anything_is_written(tmp_path: Path) -> None:
    """No text shows that a server's URL leads back to the relay's own repository: the first look finds out, leaves no
    ref behind, and frames close there as before. Another repository with the same frames is accepted."""
    up = Deciding(tmp_path)
    close(up.primary)
    region = tmp_path / "copy.git"
    git(tmp_path, "clone", "-q", "--mirror", str(up.bare), str(region))
    before = git(up.bare, "for-each-ref")
    with serve("git", up.bare, tmp_path / "server") as server:
        assert isinstance(server, Server)
        for own in (up.bare, region):
            runtime = build_runtime(config_of(own, RelayConfig(upstream=server.url, name="north")), str(own))
            assert runtime.relay is not None
            if own == region:
                assert runtime.relay.look()[0].pending.frame == 2
                continue
            with pytest.raises(FatalError, match="own repository"):
                runtime.relay.look()
            assert git(up.bare, "for-each-ref") == before
    assert close(up.primary).frame == 2


def test_a_refused_reload_leaves_what_is_known_of_refused_lanes(tmp_path: Path) -> None:
    """The lanes that the server refuses stay known to the relay in force, until another configuration is in force."""
    up = Deciding(tmp_path)
    region = tmp_path / "region.git"
    git(tmp_path, "init", "-q", "--bare", "-b", "main", str(region))
    relayed = config_of(region, RelayConfig(upstream=str(up.bare), name="north"))
    wanted = [config_of(region)]
    service = Service(build_runtime(relayed, str(region)), Lines(), Source(lambda: (wanted[0], str(region)), None))
    service._listener.open()
    policy = service.primary.policy
    policy.known["refs/heads/dc/eve 0"] = Refusal(since=0, why="no", tries=1, again=2)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        wanted[0] = structs.replace(wanted[0], http=HttpConfig(listen=f"127.0.0.1:{port}"))
        service.reload()
    assert service.primary.policy is policy
    wanted[0] = config_of(region)
    with log_put_back():
        service.reload()
    assert service.primary.policy is not policy
    assert service.primary.policy.known == {}
    assert paths.UPSTREAM not in git(region, "for-each-ref")
    service.close()
