"""Whom a primary talks to: a certificate or host key that is unknown, or another one, is refused, and said so."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.e2e.primaries import await_failures, await_frames, await_ready, config_for
from tests.e2e.servers import HttpsServer, Server, SshServer
from tests.e2e.tools import Daemon, dc, dc_json, need

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


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("named", ["SSL_CERT_FILE", "SSL_CERT_DIR", "http.sslCAInfo"])
@pytest.mark.parametrize("server", ["https"], indirect=True)
def test_certificates_are_found_where_others_find_them(
    server: HttpsServer, transport: str, named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without `ca_file` the environment counts, then git's configuration, for fetch and push and by either transport;
    `doctor` says which."""
    authority, server.ca_file = server.ca_file, None
    assert authority is not None
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
    if named == "SSL_CERT_FILE":
        monkeypatch.setenv(named, str(authority))
    elif named == "SSL_CERT_DIR":
        folder = tmp_path / "certificates"
        folder.mkdir()
        (folder / "fleet.pem").write_bytes(authority.read_bytes())
        need("openssl")
        subprocess.run(["openssl", "rehash", str(folder)], check=True, capture_output=True)
        monkeypatch.setenv(named, str(folder))
    else:
        (home / ".gitconfig").write_text(f'[http "{server.url}"]\nsslCAInfo = {authority}\n')
    config = str(config_for(server, tmp_path / "primary", "manual", transport=transport))
    assert dc("merge", "--config", config).startswith("frame 1:")
    checks = {row["check"]: row for row in dc_json("doctor", "--config", config)}
    assert named in checks["certificates"]["detail"]


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("server", ["https", "ssh"], indirect=True)
def test_secrets_that_are_replaced_are_read_again(server: Server, transport: str, tmp_path: Path) -> None:
    """Behind a link that is moved on, as Kubernetes does it, and whose old target is gone: keys, tokens, known hosts,
    and certificates are those of now, for a daemon that runs on."""
    mounted = tmp_path / "secrets"
    mounted.mkdir()
    names = [name for name in ("token_file", "ssh_key", "known_hosts", "ca_file") if getattr(server, name)]

    def mount(version: str, wrong: bool) -> None:
        folder = mounted / f"..{version}"
        folder.mkdir()
        for name in names:
            raw = originals[name].read_bytes()
            (folder / name).write_bytes(b"wrong\n" if wrong and name in ("token_file", "known_hosts") else raw)
            (folder / name).chmod(0o600)
        fresh = mounted / "..data_tmp"
        fresh.symlink_to(folder.name)
        old = (mounted / "..data").resolve() if (mounted / "..data").exists() else None
        fresh.replace(mounted / "..data")
        if old:
            shutil.rmtree(old)

    originals = {name: Path(getattr(server, name)) for name in names}
    mount("1", wrong=True)
    for name in names:
        (mounted / name).symlink_to(f"..data/{name}")
        setattr(server, name, mounted / name)
    config = config_for(server, tmp_path / "primary", transport=transport)
    with Daemon(tmp_path / "primary", "--config", str(config)) as daemon:
        await_failures(daemon)
        mount("2", wrong=False)
        await_ready(daemon)
        mount("3", wrong=False)
        await_frames(daemon, 3)
        assert daemon.stop()[0] == 0
