"""A receiver of events over HTTP: one POST for each event, signed as in Standard Webhooks (docs/protocol.md#events).

Owns secrets and signatures, the limit of time, and what an answer means. No proxy is used and no redirect followed: the
event goes to the host that is configured, or nowhere."""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import hmac
import http.client
import io
import socket
import ssl
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

from dreamcatcherd import __version__
from dreamcatcherd.core.errors import RetryableError, UsageError
from dreamcatcherd.git.http_answers import HttpAnswer, cut, one_line, retry_after_s

PREFIX = "whsec_"
"""How a secret begins that is written in base64; any other is taken as it is."""
ANSWER_MOST = 65_536
"""Bytes of an answer that are read; a longer one costs the connection."""
CONTENT_TYPE = "application/cloudevents+json; charset=utf-8"

_CUT = "the answer ended early"
_REMEDY = "look at the receiver; events wait in git, and are sent in order when it takes them"


def read_keys(file: Path | None) -> list[bytes]:
    """The keys of a file of secrets, one per line; none without a file. UsageError names the file, never a secret."""
    if file is None:
        return []
    remedy = "write one secret per line: whsec_ and base64, or any text"
    try:
        lines = [line.strip() for line in file.read_text("utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not UTF-8"
        raise UsageError(f"the secrets of [[events]] in {file} cannot be read: {why}", remedy) from error
    try:
        keys = [_key(line) for line in lines]
    except (binascii.Error, ValueError):
        raise UsageError(f"{file} has a line that begins with {PREFIX} and is not base64", remedy) from None
    if not keys or not all(keys):
        raise UsageError(f"{file} has no secret", remedy)
    return keys


def _key(line: str) -> bytes:
    if not line.startswith(PREFIX):
        return line.encode()
    text = line.removeprefix(PREFIX)
    return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)  # some write it without padding


def signature(keys: list[bytes], event_id: str, seconds: int, body: bytes) -> str:
    """The value of `webhook-signature`: one signature for each key, so that a receiver may know the old or the new
    one."""
    signed = f"{event_id}.{seconds}.".encode() + body
    made = (base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode() for key in keys)
    return " ".join(f"v1,{text}" for text in made)


class _Lines(io.BufferedReader):
    """The lines of an answer: one that the connection ends in is an error, and none that is missing is an empty one."""

    _began = False

    def readline(self, size: int | None = -1, /) -> bytes:
        line = super().readline(size)
        if not line.endswith(b"\n") and len(line) != size and (line or self._began):
            raise http.client.HTTPException(_CUT)
        self._began = True
        return line


class _Answer(http.client.HTTPResponse):
    """An answer whose headers are complete: the library takes the end of a connection for their end."""

    def begin(self) -> None:
        self.fp = _Lines(self.fp.detach())
        super().begin()


class Webhook:
    """One URL. A thread delivers to it; another one may `abort` what it waits for."""

    def __init__(self, url: str, shown: str, secrets: Path | None, ca_file: Path | None, timeout_s: float) -> None:
        """UsageError if a secret or certificate cannot be read."""
        self._parts = urlsplit(url)
        self.shown = shown
        self._secrets = secrets
        self._timeout_s = timeout_s
        self._ca_file = ca_file
        self._context = _trust(ca_file) if self._parts.scheme == "https" else None
        self._socket: socket.socket | None = None
        self._connection: http.client.HTTPConnection | None = None
        self._aborted = False
        read_keys(secrets)

    def reach(self) -> None:
        """Connect, with TLS if the URL says so, and let go again; RetryableError if that fails. Nothing is sent."""
        try:
            self._connection = self._open(time.monotonic() + self._timeout_s)
        except OSError as error:
            raise RetryableError(f"{self.shown} cannot be reached: {_words(error)}", _REMEDY) from error
        finally:
            self.close()

    def send(self, event_id: str, body: bytes) -> None:
        """Deliver one event; RetryableError if it was not."""
        try:
            keys = read_keys(self._secrets)  # at each use, so that a secret can be replaced while events are sent
        except UsageError as error:
            raise RetryableError(error.cause, error.remedy) from error
        used = self._connection is not None
        until = time.monotonic() + self._timeout_s
        # The limit is of the complete exchange. A socket's own limit ends silence alone, and not a byte now and then.
        limit = threading.Timer(self._timeout_s, self._shut)
        limit.daemon = True
        limit.start()
        try:
            try:
                answer = self._exchange(event_id, body, keys, until)
            except (OSError, http.client.HTTPException, ValueError):
                self.close()
                if not used or time.monotonic() > until or self._aborted:
                    raise
                # A server may close a connection that it kept at any time: that says nothing about it.
                answer = self._exchange(event_id, body, keys, until)
            # An answer without a length ends with its connection, so one that was shut here would look complete.
            if self._aborted or time.monotonic() >= until:
                raise TimeoutError
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.close()
            late = time.monotonic() >= until - 0.001
            why = f"no answer within {self._timeout_s:g} s" if late else _words(error)
            raise RetryableError(f"{self.shown} took no event: {why}", _REMEDY, kind=self.shown) from error
        finally:
            limit.cancel()
        if not 200 <= answer.status < 300:
            raise _refused(self.shown, answer)

    def _exchange(self, event_id: str, body: bytes, keys: list[bytes], until: float) -> HttpAnswer:
        connection = self._connection = self._connection or self._open(until)
        seconds = int(time.time())
        headers = {
            "Content-Type": CONTENT_TYPE,
            "User-Agent": f"dreamcatcherd/{__version__}",
            "webhook-id": event_id,
            "webhook-timestamp": str(seconds),
        }
        if keys:
            headers["webhook-signature"] = signature(keys, event_id, seconds, body)
        target = (self._parts.path or "/") + (f"?{self._parts.query}" if self._parts.query else "")
        connection.request("POST", target, body, headers)
        found = connection.getresponse()
        read = found.read(ANSWER_MOST + 1)
        if len(read) <= ANSWER_MOST and found.length:  # the library takes the end of a connection for that of the body
            raise http.client.HTTPException(_CUT)
        fields = {name.lower(): value for name, value in found.getheaders()}
        if len(read) > ANSWER_MOST or found.will_close:
            self.close()
        return HttpAnswer(found.status, fields, read[:4096].decode("utf-8", "replace"))

    def _open(self, until: float) -> http.client.HTTPConnection:
        host = self._parts.hostname or ""
        secure = self._context is not None
        port = self._parts.port or (443 if secure else 80)
        plain = self._connected(host, port, until)
        if self._context is None:
            connection = http.client.HTTPConnection(host, port)
            connection.sock = plain
        else:
            if self._ca_file is not None:
                self._context = _trust(self._ca_file)  # it may have been replaced
            connection = http.client.HTTPSConnection(host, port, context=self._context)
            connection.sock = self._context.wrap_socket(plain, server_hostname=host)
            self._socket = connection.sock
        connection.response_class = _Answer
        return connection

    def _connected(self, host: str, port: int, until: float) -> socket.socket:
        failed: OSError = OSError("the name has no address")
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        for at, (family, kind, protocol, _, address) in enumerate(addresses):
            found = socket.socket(family, kind, protocol)
            self._socket = found
            try:
                if self._aborted:
                    raise TimeoutError("stopped")
                # Each address gets its share of the time: the first may be one that nobody answers at.
                found.settimeout(max(0.01, (until - time.monotonic()) / (len(addresses) - at)))
                found.connect(address)
                found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                # From here on the timer alone ends what takes too long; this is its net.
                found.settimeout(self._timeout_s + 1)
            except OSError as error:
                found.close()
                failed = error
            else:
                return found
        raise failed

    def close(self) -> None:
        """Let the connection go; the next event opens another one."""
        if self._connection is not None:
            self._connection.close()
        elif self._socket is not None:
            self._socket.close()
        self._connection = self._socket = None

    def abort(self) -> None:
        """Break off what another thread waits for in `send`, and all that it would wait for later."""
        self._aborted = True
        self._shut()

    def _shut(self) -> None:
        found = self._socket
        if found is not None:
            # The plain socket's own shutdown: that of a TLS socket takes away what the other thread reads with.
            with contextlib.suppress(OSError, ValueError):
                socket.socket.shutdown(found, socket.SHUT_RDWR)


def _trust(ca_file: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
    except (OSError, ssl.SSLError) as error:
        raise UsageError(f"[[events]] ca_file {ca_file} cannot be used: {error}", "name certificates in PEM") from error


def _words(error: Exception) -> str:
    """What went wrong, on one line; a certificate's fault in OpenSSL's words."""
    text = getattr(error, "verify_message", "") or getattr(error, "strerror", None) or str(error)
    return cut(one_line(str(text))) or type(error).__name__


def _refused(shown: str, answer: HttpAnswer) -> RetryableError:
    asked_s = retry_after_s(answer, time.time()) if answer.status in (429, 503) else None
    said = cut(one_line(answer.body)) if "html" not in answer.fields.get("content-type", "") else ""
    cause = f"{shown} answered {answer.status}" + (f": {said}" if said else "")
    remedy = _REMEDY
    if 300 <= answer.status < 400:
        remedy = (
            "redirects are not followed: give its table in [[events]] a name and reload, then the URL that it leads to"
        )
    elif answer.status == 410:
        remedy = "it wants no more events: take its table out of the configuration"
    elif answer.status in (401, 403):
        remedy = "compare the secret in secret_file with the receiver's, and the two clocks"
    return RetryableError(cause, remedy, kind=f"{shown} {answer.status}", retry_after_s=asked_s)
