"""Hints over HTTP: what is taken for one, and what is not (docs/protocol.md#hints)."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import http.client
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import Headers

from dreamcatcherd.web.auth import AuthPolicy
from dreamcatcherd.web.bodies import DISCARDED_BYTES
from dreamcatcherd.web.hints import HINT_BYTES, Hints, is_signed
from dreamcatcherd.web.server import Listening
from tests.web.crowd import connect
from tests.web.served import Answer, Served

HOOK = "/hooks/push"
SECRET = b"hunter2"
BODY = b'{"ref": "refs/heads/dc/alice"}'


def digits(body: bytes = BODY, secret: bytes = SECRET, kind: str = "sha256") -> str:
    return hmac.new(secret, body, kind).hexdigest()


class Forge(Served):
    """A server with hints; `hints` counts the valid ones."""

    def __init__(self, listening: Listening | None = None) -> None:
        self.hints = 0
        self.handler = Hints(self._hinted)
        self.handler.secrets = (SECRET,)
        super().__init__(listening=listening or Listening("127.0.0.1", 0), hints=self.handler)

    def _hinted(self) -> None:
        self.hints += 1

    def hint(self, body: bytes = BODY, **headers: str) -> Answer:
        return self.get(HOOK, "POST", None, body, **headers)


@pytest.fixture
def forge(patient: None) -> Iterator[Forge]:
    found = Forge()
    yield found
    found.server.stop()


FORMS = {
    "GitHub": {"X-Hub-Signature-256": f"sha256={digits()}", "X-Hub-Signature": f"sha1={digits(kind='sha1')}"},
    "Gitea": {"X-Gitea-Signature": digits()},
    "Forgejo": {"X-Forgejo-Signature": digits(), "X-Gitea-Signature": digits()},
    "GitLab": {"X-Gitlab-Token": SECRET.decode()},
}


@pytest.mark.parametrize("form", FORMS.values(), ids=list(FORMS))
def test_a_hint_in_the_form_of_each_forge_is_taken(forge: Forge, form: dict[str, str]) -> None:
    """202 for the signature or token of each forge, whatever the body says; each is handed on once."""
    found = forge.hint(BODY, **form)
    assert (found.code, found.json) == (202, {"hint": "taken"})
    assert forge.hints == 1


@pytest.mark.parametrize(
    "form",
    [
        {},
        {"X-Hub-Signature": f"sha1={digits(kind='sha1')}"},
        {"X-Hub-Signature-256": digits()},
        {"X-Hub-Signature-256": f"sha1={digits()}"},
        {"X-Hub-Signature-256": "sha256="},
        {"X-Hub-Signature-256": f"sha256={digits(secret=b'other')}"},
        {"X-Hub-Signature-256": f"sha256={digits(BODY + b' ')}"},
        {"X-Hub-Signature-256": f"sha256={digits()[:-1]}"},
        {"X-Hub-Signature-256": f"sha256={SECRET.decode()}"},
        {"X-Gitea-Signature": f"sha256={digits()}"},
        {"X-Forgejo-Signature": ""},
        {"X-Gitlab-Token": "hunter"},
        {"X-Gitlab-Token": "\xfc"},
        {"X-Gitlab-Token": digits()},
        {"Authorization": f"Bearer {SECRET.decode()}"},
    ],
    ids=repr,
)
def test_anything_else_is_401_and_no_hint(forge: Forge, form: dict[str, str]) -> None:
    """No signature, SHA-1 alone, another secret or body, a wrong prefix, a cut one: refused, with the remedy."""
    found = forge.hint(BODY, **form)
    assert (found.code, forge.hints) == (401, 0)
    assert "secret_file" in found.json["remedy"]
    assert SECRET.decode() not in found.text


def test_each_line_of_the_secret_is_valid_and_a_replaced_one_is_not(forge: Forge) -> None:
    """Old and new secret are both valid while both are configured, so that a forge can change at its own time."""
    forge.handler.secrets = (b"new", SECRET)
    for secret in (b"new", SECRET):
        assert forge.hint(X_Gitea_Signature=digits(secret=secret)).code == 202
    forge.handler.secrets = (b"new",)
    assert forge.hint(X_Gitea_Signature=digits()).code == 401


def test_without_a_secret_there_are_no_hints(forge: Forge) -> None:
    """404 says which key is missing: an empty secret would be known to everybody."""
    forge.handler.secrets = ()
    found = forge.hint(X_Gitea_Signature=digits(secret=b""))
    assert (found.code, forge.hints) == (404, 0)
    assert found.json["remedy"] == "set [hint] secret_file"


def test_a_body_over_one_mebibyte_is_refused(forge: Forge) -> None:
    """One of exactly that size is taken; one byte more is 413, also with a valid signature, and is no hint.

    The client reads the answer although it sends all first, up to several times the limit."""
    for size, code in ((HINT_BYTES, 202), (HINT_BYTES + 1, 413), (6 * HINT_BYTES, 413)):
        body = b"x" * size
        found = forge.hint(body, X_Gitea_Signature=digits(body))
        assert found.code == code
    assert "next poll" in found.json["remedy"]
    assert forge.hints == 1
    assert HINT_BYTES == 2**20


def test_a_body_without_end_is_not_taken_in_for_ever(forge: Forge) -> None:
    """Beyond what is discarded, the connection is closed with the answer."""
    head = f"POST {HOOK} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {2**40}\r\n\r\n".encode()
    sent = 0
    with contextlib.closing(connect(forge, head)) as client, contextlib.suppress(ConnectionError):
        while sent < 64 * HINT_BYTES:
            sent += client.send(b"x" * 2**16)
    assert DISCARDED_BYTES < sent < 64 * HINT_BYTES
    assert forge.hints == 0


def test_a_chunked_body_is_limited_by_what_arrives(forge: Forge) -> None:
    """A body without a length is 413 as soon as it is too long."""
    client = http.client.HTTPConnection("127.0.0.1", forge.server.port, timeout=60)
    with contextlib.closing(client):
        client.request("POST", HOOK, iter([b"x" * 2**16] * 17), encode_chunked=True)
        assert client.getresponse().status == 413
    assert forge.hints == 0


def test_a_hint_needs_no_token_and_opens_nothing_else() -> None:
    """With `[http] token_file` a forge, which has no token, can still send hints; the API stays closed to it."""
    forge = Forge(Listening("127.0.0.1", 0, AuthPolicy("t0ken")))
    assert forge.hint(X_Gitea_Signature=digits()).code == 202
    assert forge.get("/api/v1/status", X_Gitea_Signature=digits()).code == 401
    forge.server.stop()


@given(st.binary(max_size=40), st.binary(min_size=1, max_size=20), st.binary(min_size=1, max_size=20))
def test_a_signature_is_valid_for_its_secret_and_body_alone(body: bytes, secret: bytes, other: bytes) -> None:
    """What one secret signs is valid with it, and with another secret or body it is not."""
    headers = Headers({"X-Hub-Signature-256": f"sha256={hmac.new(secret, body, hashlib.sha256).hexdigest()}"})
    assert is_signed(headers, body, (b"unused", secret))
    same = digits(body, other) == digits(body, secret)  # a key and the same one followed by zeros are one to HMAC
    assert is_signed(headers, body, (other,)) == same
    assert not is_signed(headers, body + b"x", (secret,))


def test_any_of_several_signatures_counts(forge: Forge) -> None:
    """A forge that sends several forms is believed if one is right; a proxy may have added another header."""
    assert forge.hint(X_Gitea_Signature="0" * 64, X_Hub_Signature_256=f"sha256={digits()}").code == 202
