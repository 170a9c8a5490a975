"""Whom a primary talks to: a certificate or host key that is unknown, or another one, is refused, and said so."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.primaries import config_for
from tests.e2e.servers import HttpsServer, SshServer
from tests.e2e.tools import dc

UNTRUSTED = "cannot be trusted: its host key or certificate is unknown or another one"
TRANSPORTS = ("pygit2", "git")


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("server", ["https"], indirect=True)
def test_a_certificate_of_an_unknown_authority_is_refused(server: HttpsServer, transport: str, tmp_path: Path) -> None:
    """Without `ca_file` nothing is read nor sent; with it frames close."""
    authority, server.ca_file = server.ca_file, None
    config = config_for(server, tmp_path / "primary", "manual", transport=transport)
    assert UNTRUSTED in dc("merge", "--config", str(config), code=3)
    server.ca_file = authority
    config = config_for(server, tmp_path / "primary", "manual", transport=transport)
    assert dc("merge", "--config", str(config)).startswith("frame 1:")


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("server", ["ssh"], indirect=True)
def test_an_unknown_or_changed_host_key_is_refused(server: SshServer, transport: str, tmp_path: Path) -> None:
    """A host that known_hosts does not name, or names with another key, is not talked to; the right one is."""
    assert server.known_hosts
    right = server.known_hosts.read_text()
    kind, key, _ = (server.folder / "user_key.pub").read_text().split()
    config = str(config_for(server, tmp_path / "primary", "manual", transport=transport))
    for wrong in ("", f"[127.0.0.1]:{server.port} {kind} {key}\n"):
        server.known_hosts.write_text(wrong)
        assert UNTRUSTED in dc("merge", "--config", config, code=3)
    server.known_hosts.write_text(right)
    assert dc("merge", "--config", config).startswith("frame 1:")
