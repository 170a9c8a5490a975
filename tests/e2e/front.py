"""A web server before git http-backend that asks for credentials, sends callers elsewhere, and keeps what it is sent.

Owns the threads and sockets of the server, which answers on 127.0.0.1 over http, or https with a given certificate."""

from __future__ import annotations

import base64
import os
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

SECRET = "s3cr.t"
Answer = tuple[int, dict[str, str]] | tuple[int, dict[str, str], bytes] | None


class Front(ThreadingHTTPServer):
    """`answers` maps a request's target to status, headers and body; for None repositories are served."""

    def __init__(self, root: Path, answers: Callable[[Front, str, Message], Answer]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.root = root
        self.answers = answers
        self.scheme = "http"
        self.seen: list[tuple[str, Message]] = []

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.server_port}/fleet.git"

    @property
    def logins(self) -> list[str]:
        """What callers logged in with, here and at a proxy, as text."""
        return [told(value) for _, sent in self.seen for name, value in sent.items() if "authorization" in name.lower()]

    def targets(self) -> list[str]:
        return [target for target, _ in self.seen]

    def encrypt(self, certificate: Path, key: Path) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self.socket = context.wrap_socket(self.socket, server_side=True)
        self.scheme = "https"

    def handle_error(self, request: object, client_address: object) -> None:
        """A caller that went away is none of the test's business."""


def told(value: str) -> str:
    kind, _, rest = value.partition(" ")
    return base64.b64decode(rest).decode() if kind == "Basic" else value


class Handler(BaseHTTPRequestHandler):
    server: Front

    def do_GET(self) -> None:
        body = self._body()
        self.server.seen.append((f"{self.command} {self.path}", self.headers))
        answer = self.server.answers(self.server, f"{self.command} {self.path}", self.headers)
        if answer is not None:
            self._say(answer[0], answer[1], answer[2] if len(answer) == 3 else b"")
            return
        head, _, content = self._backend(body).partition(b"\r\n\r\n")
        fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        self._say(int(fields.pop("Status", "200").split()[0]), fields, content)

    do_POST = do_HEAD = do_CONNECT = do_GET  # noqa: N815 (the library calls them so)

    def _say(self, status: int, fields: dict[str, str], content: bytes) -> None:
        self.send_response(status)
        for name, value in fields.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _backend(self, body: bytes) -> bytes:
        path, _, query = self.path.partition("?")
        variables = {"GIT_PROJECT_ROOT": str(self.server.root), "GIT_HTTP_EXPORT_ALL": "1", "REMOTE_USER": "me"}
        variables |= {"PATH_INFO": path, "QUERY_STRING": query, "REQUEST_METHOD": self.command}
        for variable, name in (
            ("CONTENT_TYPE", "Content-Type"),
            ("HTTP_CONTENT_ENCODING", "Content-Encoding"),
            ("GIT_PROTOCOL", "Git-Protocol"),
        ):
            variables[variable] = self.headers.get(name, "")
        words = ["git", "-c", "safe.directory=*", "http-backend"]
        done = subprocess.run(words, input=body, capture_output=True, env=os.environ | variables, check=False)
        return done.stdout

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the library calls it so)
        """Say nothing."""


@contextmanager
def front(root: Path, answers: Callable[[Front, str, Message], Answer], tls: Path | None = None) -> Iterator[Front]:
    """A server for as long as this lasts; `tls` is a folder with `server.pem` and `server.key`."""
    server = Front(root, answers)
    if tls is not None:
        server.encrypt(tls / "server.pem", tls / "server.key")
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


CHALLENGE = (401, {"WWW-Authenticate": 'Basic realm="x"'})


def greedy(_: Front, __: str, ___: Message) -> Answer:
    """Never satisfied with what callers log in with."""
    return CHALLENGE


def serving(_: Front, __: str, sent: Message) -> Answer:
    """Serves those who log in with the secret, as password or as user."""
    return None if SECRET in told(sent.get("Authorization", "")) else CHALLENGE


def sending(target: str, location: str, status: int, asks: bool) -> Callable[[Front, str, Message], Answer]:
    """Sends requests whose target ends so to a location, `{}` of which is the request's path, and serves the others.

    `asks` says whether callers must log in before they are sent on."""

    def answer(server: Front, wanted: str, sent: Message) -> Answer:
        refused = serving(server, wanted, sent)
        if wanted.endswith(target) and not (asks and refused):
            return status, {"Location": location.replace("{}", wanted.partition(" ")[2])}
        return refused

    return answer
