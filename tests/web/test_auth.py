"""Who is let in over HTTP, and what every answer carries (docs/protocol.md#metrics)."""

from __future__ import annotations

import base64
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from dreamcatcherd.config import load_config
from dreamcatcherd.config_tables import HttpConfig
from dreamcatcherd.core.errors import UsageError
from dreamcatcherd.web.auth import AuthPolicy, has_token, is_address_or_localhost
from dreamcatcherd.web.server import Listening, read_listening
from tests.e2e.tools import need
from tests.web.served import Served

PATHS = ("/", "/metrics", "/readyz", "/api/v1/status", "/api/v1/events", "/static/page.css", "/nothing")


@contextmanager
def serving(listening: Listening) -> Iterator[Served]:
    one = Served(listening=listening)
    try:
        yield one
    finally:
        one.server.stop()


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text("s3cret\n")
    return path


def test_every_answer_forbids_what_a_page_could_be_made_to_do(served: Served) -> None:
    """The policy allows the daemon's own files and nothing inline; errors and refusals carry it as well."""
    served.look()
    for path, method in [(path, "GET") for path in PATHS if "events" not in path] + [("/", "POST")]:
        headers = served.get(path, method).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["server"] is None


def test_a_token_is_asked_for_everywhere_but_at_healthz() -> None:
    """Without it 401, with a wrong one too; as Bearer and as a password of any user it opens every path."""
    with serving(Listening("127.0.0.1", 0, AuthPolicy("s3cret"))) as served:
        served.look()
        basic = base64.b64encode(b"anybody:s3cret").decode()
        for path in PATHS:
            assert served.get(path).code == 401
            assert served.get(path, Authorization="Bearer s3cre").code == 401
        refused = served.get("/")
        assert refused.json["remedy"]
        assert refused.headers["www-authenticate"].startswith("Basic ")
        for right in ("Bearer s3cret", "bearer  s3cret", f"Basic {basic}"):
            assert served.get("/api/v1/status", Authorization=right).code == 200
        assert served.get("/metrics", Authorization="Bearer s3cret").code == 200
        assert served.ask("/healthz") == (200, "alive\n")
        assert served.get("/healthz", "POST").code == 405


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"Bearer",
        b"Bearer ",
        b"Basic",
        b"Basic !!!",
        b"Basic czNjcmV0",
        b"Digest s3cret",
        b"s3cret",
        b"Bearer \xff",
    ],
)
def test_what_is_no_token_opens_nothing(header: bytes) -> None:
    """Half a header, another scheme, bytes that are no base64, and a password without a user."""
    assert not has_token(header, "s3cret")


def test_only_this_machine_is_answered_where_nothing_else_protects(served: Served) -> None:
    """By another name than an address or localhost nothing is told: a web site could make that name point here."""
    with serving(Listening("127.0.0.1", 0, AuthPolicy(local_names_only=True))) as own:
        assert own.get("/api/v1/status", Host="evil.example").code == 421
        assert own.get("/", Host="evil.example:9464").json["remedy"]
        for host in ("localhost", "LOCALHOST:1", "127.0.0.1:80", "[::1]:80", "10.0.0.7"):
            assert own.get("/healthz", Host=host).code == 200
        for host in ("localhost:1@evil", "localhost:1:2", "127.0.0.1:x", "[::1]evil", "localhost:"):
            assert own.get("/healthz", Host=host).code == 421
    assert served.get("/healthz", Host="fleet.example").code == 200


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1.evil.example", "localhost.evil", "", "[", "]", "[evil]", "0x7f000001.x", "localhost.", "127.1"),
        *(
            "localhost:1@evil",
            "localhost:1:2",
            "localhost:",
            "localhost:x",
            "localhost:123456",
            "localhost/",
            "a@localhost",
        ),
        *("127.0.0.1:x", "127.0.0.1:", "127.0.0.256", "127.0.0.1@evil", "127.0.0.1 ", "127.0.0.1\n", "1\u0662.0.0.1"),
        *("[::1]evil", "[::1]:x", "[::1]:1@evil", "[::1", "::1", "[127.0.0.1]", "[::1%evil]", "[]", "lo\u017falhost"),
        "localho\u017ft",
    ],
)
def test_a_name_that_looks_like_an_address_is_none(host: str) -> None:
    """Only localhost and whole addresses count, with nothing behind them but a port of digits."""
    assert not is_address_or_localhost(host)


def test_two_hosts_in_one_request_are_refused() -> None:
    """Whichever of them comes first, and an empty one as well."""
    with serving(Listening("127.0.0.1", 0, AuthPolicy(local_names_only=True))) as own:
        for hosts, codes in ((("localhost", "evil"), b"4"), (("evil", "localhost"), b"4"), (("",), b"421")):
            with closing(socket.create_connection(("127.0.0.1", own.server.port), timeout=60)) as one:
                one.sendall(("GET / HTTP/1.1\r\n" + "".join(f"Host: {host}\r\n" for host in hosts) + "\r\n").encode())
                assert one.recv(4096).startswith(b"HTTP/1.1 " + codes)


@pytest.mark.parametrize("listen", ["0.0.0.0:0", "[::]:0", "192.168.1.5:0", "fleet.example:0"])
def test_other_machines_need_a_token_or_tls(
    listen: str, tmp_path: Path, token_file: Path, pair: tuple[Path, Path]
) -> None:
    """Listening for them without either is refused with a remedy, unless it is said to be meant so."""
    file = tmp_path / "primary.toml"
    lines = f'[http]\nlisten = "{listen}"\n'
    file.write_text(lines)
    with pytest.raises(UsageError, match="other machines") as found:
        load_config(file, {})
    assert "insecure = true" in found.value.remedy
    for more in (f'token_file = "{token_file}"', f'tls_cert = "{pair[0]}"\ntls_key = "{pair[1]}"', "insecure = true"):
        file.write_text(lines + more + "\n")
        assert load_config(file, {}).http.listen == listen
    given = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    file.write_text(lines)
    (tmp_path / "http_token").write_text("x\n")
    assert load_config(file, given).http.listen == listen


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"tls_cert": "CERT"}, "go together"),
        ({"tls_key": "KEY"}, "go together"),
        ({"token_file": "missing"}, "is not a file"),
        ({"tls_cert": "missing", "tls_key": "KEY"}, "is not a file"),
    ],
)
def test_half_a_protection_is_refused(keys: dict[str, str], said: str, tmp_path: Path, pair: tuple[Path, Path]) -> None:
    """A certificate without its key, and files that are not there, are told with the configuration."""
    paths = {"CERT": str(pair[0]), "KEY": str(pair[1]), "missing": str(tmp_path / "missing")}
    file = tmp_path / "primary.toml"
    file.write_text("[http]\n" + "".join(f'{name} = "{paths[value]}"\n' for name, value in keys.items()))
    with pytest.raises(UsageError, match=said):
        load_config(file, {})


def test_files_that_cannot_be_used_are_refused_at_the_start(tmp_path: Path, pair: tuple[Path, Path]) -> None:
    """An empty token, a certificate that is none, and a key with a passphrase, which nobody is asked for."""
    empty, locked = tmp_path / "empty", tmp_path / "locked.key"
    empty.write_text("\n")
    with pytest.raises(UsageError, match="holds no token"):
        read_listening(HttpConfig(token_file=str(empty)))
    need("openssl")
    words = ["openssl", "rsa", "-aes256", "-passout", "pass:x", "-in", str(pair[1]), "-out", str(locked)]
    subprocess.run(words, check=True, capture_output=True, timeout=60)
    for key in (empty, locked):
        with pytest.raises(UsageError, match="cannot be used"):
            read_listening(HttpConfig(tls_cert=str(pair[0]), tls_key=str(key)))


def test_https_is_spoken_with_a_certificate(pair: tuple[Path, Path], token_file: Path) -> None:
    """The certificate is the one that was named; plain http is not answered on that port."""
    http = HttpConfig("127.0.0.1:0", str(token_file), str(pair[0]), str(pair[1]))
    with serving(read_listening(http)) as served:
        assert served.server.url.startswith("https://127.0.0.1:")
        context = ssl.create_default_context(cafile=str(pair[0]))
        assert served.get("/healthz", context=context).text == "alive\n"
        assert served.get("/metrics", context=context, Authorization="Bearer s3cret").code == 200
        with pytest.raises(OSError, match="certificate verify failed"):
            served.get("/healthz", context=ssl.create_default_context())


def test_secrets_do_not_show_in_what_is_printed(token_file: Path) -> None:
    """Whatever prints these values for debugging tells no token."""
    found = read_listening(HttpConfig("127.0.0.1:0", str(token_file)))
    assert found.auth_policy.token == "s3cret"
    assert "s3cret" not in repr(found) + str(found) + repr(found.auth_policy)
