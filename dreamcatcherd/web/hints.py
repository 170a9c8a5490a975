"""Hints of a forge that something was pushed: `POST /hooks/push` (docs/protocol.md#hints).

Owns which requests are taken for hints: those with a signature or a token that only who has the secret can send."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response

from dreamcatcherd.core.errors import RefusedError
from dreamcatcherd.web.bodies import Bodies
from dreamcatcherd.web.responses import json_response

HINT_BYTES = 2**20
"""The largest body of a hint. Nothing in it is read: it is only what the signature is about."""

_SIGNATURES = {"x-hub-signature-256": "sha256=", "x-gitea-signature": "", "x-forgejo-signature": ""}
"""The headers with an HMAC-SHA256 of the body in hex, each with what comes before the digits. `X-Hub-Signature`, which
GitHub sends as well, is SHA-1 and does not count."""

_TOKEN = "x-gitlab-token"  # noqa: S105 (the name of a header)


class Hints:
    """The handler. `hinted` is called for each valid hint, in the server's thread.

    `secrets` are those in force, any of which is valid; the daemon replaces them as a whole."""

    def __init__(self, hinted: Callable[[], None]) -> None:
        self._hinted = hinted
        self.secrets: tuple[bytes, ...] = ()

    async def answer(self, bodies: Bodies, request: Request) -> Response:
        """202 for a valid hint, 401 for any other request; 404 if no secret is configured."""
        secrets = self.secrets
        if not secrets:
            raise RefusedError("hints are not configured", "set [hint] secret_file")
        async with bodies.read(request, HINT_BYTES, "nothing to do: the next poll sees what was pushed") as body:
            valid = is_signed(request.headers, body, secrets)
        if not valid:
            remedy = "sign the body with the secret of [hint] secret_file, by HMAC-SHA256, or send it as X-Gitlab-Token"
            return json_response({"error": "the hint has no valid signature", "remedy": remedy}, 401)
        self._hinted()
        return json_response({"hint": "taken"}, 202)


def is_signed(headers: Headers, body: bytes, secrets: tuple[bytes, ...]) -> bool:
    """Whether one of the headers proves that the sender has one of the secrets."""
    found = False
    for secret in secrets:
        digits = hmac.new(secret, body, hashlib.sha256).hexdigest()
        proofs = {name: (before + digits).encode() for name, before in _SIGNATURES.items()} | {_TOKEN: secret}
        for name, proof in proofs.items():
            for given in headers.getlist(name):
                # All of them, each in constant time: how long the answer takes says nothing about a guess.
                found |= hmac.compare_digest(given.strip().encode("latin-1"), proof)
    return found
