"""gzip for those who ask for it, pages of other sites where they are allowed, and what neither may change."""

from __future__ import annotations

import gzip
import http.client
import json
from contextlib import closing
from typing import Any

import pytest

from dreamcatcherd.config import load_config
from dreamcatcherd.config_tables import HttpConfig
from dreamcatcherd.core.errors import UsageError
from dreamcatcherd.web.auth import AuthPolicy
from dreamcatcherd.web.compression import takes_gzip
from dreamcatcherd.web.server import Listening, read_listening
from tests.stages.tools import text
from tests.web.crowd import asking, connect, fill_status
from tests.web.served import Answer, Served, serve_history

SITE = "https://fleet.example"


def raw_get(served: Served, path: str, method: str = "GET", **headers: str) -> tuple[int, Any, bytes]:
    client = http.client.HTTPConnection("127.0.0.1", served.server.port, timeout=60)
    with closing(client):
        client.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        found = client.getresponse()
        return found.status, found.headers, found.read()


def test_long_answers_are_compressed_for_those_who_ask(served: Served) -> None:
    """The very same JSON, page and metrics, with their headers, for HEAD too; a short answer is sent as it is."""
    serve_history(served)
    fill_status(served, 1_000)
    for path in ("/api/v1/status", "/api/v1/openapi.json", "/api/v1/streams?limit=1000", "/", "/metrics"):
        _, plain_headers, plain = raw_get(served, path)
        code, headers, packed = raw_get(served, path, Accept_Encoding="br, gzip;q=0.5")
        assert (code, headers["content-encoding"]) == (200, "gzip")
        assert len(packed) == int(headers["content-length"]) < len(plain) / 2
        if path.startswith("/api"):
            assert gzip.decompress(packed) == plain
        assert plain_headers["content-encoding"] is None
        assert "Accept-Encoding" in headers["vary"]
        assert "Accept-Encoding" in plain_headers["vary"]
    _, head, nothing = raw_get(served, "/api/v1/openapi.json", "HEAD", Accept_Encoding="gzip")
    _, full, _ = raw_get(served, "/api/v1/openapi.json", Accept_Encoding="gzip")
    assert nothing == b""
    assert {**head, "date": ""} == {**full, "date": ""}
    _, headers, short = raw_get(served, "/healthz", Accept_Encoding="gzip")
    assert (headers["content-encoding"], short) == (None, b"alive\n")


def test_compressed_and_plain_answers_share_a_tag(served: Served) -> None:
    """A client that changes its mind gets 304 as well; a 304 has no body and the headers that caches need."""
    serve_history(served)
    _, headers, _ = raw_get(served, "/api/v1/frames/1", Accept_Encoding="gzip")
    assert headers["content-encoding"] == "gzip"
    for wanted in ("gzip", "identity"):
        code, again, body = raw_get(served, "/api/v1/frames/1", If_None_Match=headers["etag"], Accept_Encoding=wanted)
        assert (code, body, again["etag"], again["vary"]) == (304, b"", headers["etag"], headers["vary"])


def test_events_are_not_compressed(served: Served) -> None:
    """They arrive one by one."""
    served.look()
    with closing(connect(served, asking("/api/v1/events", "Accept-Encoding: gzip\r\n"))) as one:
        lines = iter(one.makefile("rb"))
        head = b"".join(line for line in iter(lambda: next(lines), b"\r\n"))
        assert b"content-encoding" not in head.lower()
        assert json.loads(next(line for line in lines if line.startswith(b"data: "))[6:])["total"] == 0


@pytest.mark.parametrize(
    ("accepted", "taken"),
    [
        ("gzip", True),
        ("GZIP", True),
        ("deflate, gzip;q=1.0", True),
        ("gzip; q=0.001", True),
        ("*", True),
        ("br;q=1, *;q=0.1", True),
        ("", False),
        ("br", False),
        ("gzip;q=0", False),
        ("gzip; q=0.000", False),
        ("*;q=0", False),
        ("gzip;q=0, *", False),
        ("xgzip", False),
    ],
)
def test_what_a_client_takes_is_read_as_it_is_meant(accepted: str, taken: bool) -> None:
    """With qualities, of which 0 means never."""
    assert takes_gzip([accepted]) is taken


# Pages of other sites ---------------------------------------------------------------------------------------------


def asked(served: Served, path: str, method: str = "GET", body: bytes | None = None, **headers: str) -> Answer:
    return served.get(path, method, None, body, **headers)


def cors_of(found: Answer) -> list[str]:
    return [name.lower() for name in found.headers if name.lower().startswith("access-control")]


def test_no_page_reads_anything_unless_it_is_allowed(served: Served) -> None:
    """Off by default: no header for any origin, and a browser that asks for leave is told no."""
    served.look()
    for path in ("/api/v1/status", "/metrics", "/"):
        assert cors_of(asked(served, path, Origin=SITE)) == []
    leave = asked(served, "/api/v1/status", "OPTIONS", Origin=SITE, Access_Control_Request_Method="GET")
    assert (leave.code, cors_of(leave)) == (405, [])


def serving(*origins: str, token: str | None = None) -> Served:
    return Served(listening=Listening("127.0.0.1", 0, AuthPolicy(token, cors_origins=origins)))


def test_an_allowed_page_reads_the_api_and_nothing_else() -> None:
    """Its origin alone is named, with the headers that it may read; errors carry them too, and metrics never."""
    served = serving(SITE, "http://localhost:3000")
    served.look()
    for path in ("/api/v1/status", "/api/v1/nothing", "/api/v1/log?x", "/api/v1"):
        found = asked(served, path, Origin=SITE)
        assert found.headers["access-control-allow-origin"] == SITE
        assert "ETag" in found.headers["access-control-expose-headers"]
        assert "Origin" in found.headers["vary"]
        assert found.headers["access-control-allow-credentials"] is None
    for other in ("https://evil.example", "null", SITE + ".evil.example", SITE.upper(), SITE + ":443"):
        assert asked(served, "/api/v1/status", Origin=other).headers["access-control-allow-origin"] is None
    for path in ("/metrics", "/", "/healthz"):
        assert cors_of(asked(served, path, Origin=SITE)) == []
    served.server.stop()


def test_a_page_is_given_leave_without_the_token_and_read_with_it() -> None:
    """A browser sends no token with its question; what it asks for then needs it, and 401 can be read by the page."""
    served = serving(SITE, token="s3cret")
    served.look()
    words = {"Access_Control_Request_Method": "GET", "Access_Control_Request_Headers": "authorization,if-none-match"}
    leave = asked(served, "/api/v1/status", "OPTIONS", None, Origin=SITE, **words)
    assert leave.code == 200
    assert leave.headers["access-control-allow-origin"] == SITE
    assert "Authorization" in leave.headers["access-control-allow-headers"]
    assert asked(served, "/api/v1/status", "OPTIONS", None, Origin="https://evil.example", **words).code == 400
    assert asked(served, "/metrics", "OPTIONS", None, Origin=SITE, **words).code == 405
    refused = asked(served, "/api/v1/status", Origin=SITE)
    assert (refused.code, refused.headers["access-control-allow-origin"]) == (401, SITE)
    assert asked(served, "/api/v1/status", Origin=SITE, Authorization="Bearer s3cret").code == 200
    served.server.stop()


def test_an_allowed_page_validates_and_sends_no_hints() -> None:
    """POST is for allowed pages below the API alone."""
    served = serving(SITE)
    served.look()
    assert asked(served, "/api/v1/validate", "POST", text(1), Origin=SITE).json["ok"]
    assert asked(served, "/api/v1/validate", "POST", text(1), Origin="https://evil.example").code == 403
    assert asked(served, "/hooks/push", "POST", b"", Origin=SITE).code == 403
    served.server.stop()


def test_any_page_may_be_allowed() -> None:
    """`*` names no origin, and so no answer differs by it."""
    served = serving("*")
    served.look()
    found = asked(served, "/api/v1/status", Origin="https://anybody.example")
    assert found.headers["access-control-allow-origin"] == "*"
    assert asked(served, "/api/v1/validate", "POST", text(1), Origin="https://anybody.example").json["ok"]
    served.server.stop()


def test_origins_are_read_from_the_configuration(tmp_path: Any) -> None:
    """They are part of how the daemon listens, so a reload applies them; what is no origin is refused by name."""
    file = tmp_path / "primary.toml"
    file.write_text(f'[http]\ncors_origins = ["{SITE}", "http://[::1]:3000"]\n')
    assert read_listening(load_config(file).http).auth_policy.cors_origins == (SITE, "http://[::1]:3000")
    assert read_listening(HttpConfig()) != read_listening(HttpConfig(cors_origins=[SITE]))
    for wrong in (SITE + "/", "fleet.example", "https://Fleet.example", "null", "https://*.example", "file://x", ""):
        file.write_text(f'[http]\ncors_origins = ["{wrong}"]\n')
        with pytest.raises(UsageError, match="cors_origins"):
            load_config(file)
