"""The HTTP server: the socket, TLS, and the thread in which the application runs."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import ssl
import threading
from functools import partial

import uvicorn
from msgspec import Struct

from dreamcatcherd.config_files import credential_file
from dreamcatcherd.config_rules import is_loopback, listen_address
from dreamcatcherd.config_tables import HttpConfig
from dreamcatcherd.core.errors import UsageError
from dreamcatcherd.web.app import WebApp
from dreamcatcherd.web.auth import AuthPolicy
from dreamcatcherd.web.connections import IDLE_S, Connection

ACCEPTED_AT_ONCE = 64
"""How many connections asyncio accepts in one round of the event loop. Until they are counted, each needs a file
descriptor beyond the limit of `connections`."""

BACKLOG = 1_024
"""How many connections the kernel keeps until they are accepted. The clients of further ones retry after a second."""

TICK_S = 1.0
"""How often the server wakes up while nobody asks for anything: the Date header has seconds."""


class Listening(Struct, frozen=True):
    """Where and how to listen, with the contents of all files: two equal values need no new socket.

    `certificate` and `key` are (path, content)."""

    host: str
    port: int
    auth_policy: AuthPolicy = AuthPolicy()
    certificate: tuple[str, bytes] | None = None
    key: tuple[str, bytes] | None = None

    def __repr__(self) -> str:
        return f"Listening({self.host}:{self.port})"


def read_listening(http: HttpConfig) -> Listening:
    """`[http]` with the contents of its files; UsageError if one of them cannot be used."""
    host, port = listen_address(http.listen)
    token = _token(http)
    files = []
    for name, named in (("tls_cert", http.tls_cert), ("tls_key", http.tls_key)):
        path = credential_file("http", name, named)
        try:
            files.append((str(path), path.read_bytes()) if path else None)
        except OSError as error:
            cause = f"{path} ({name}) cannot be read: {error.strerror}"
            raise UsageError(cause, "let the daemon's user read it") from error
    local_only = is_loopback(host) and token is None and not http.insecure
    found = Listening(host, port, AuthPolicy(token, local_only, tuple(http.cors_origins)), *files)
    _context(found)
    return found


def _token(http: HttpConfig) -> str | None:
    path = credential_file("http", "token_file", http.token_file)
    if path is None:
        return None
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not UTF-8"
        raise UsageError(f"{path} (token_file) cannot be read: {why}", "let the daemon's user read it") from error
    token = lines[0].strip() if lines else ""
    if not token or not token.isprintable():
        raise UsageError(f"{path} holds no token on its first line", "write one: openssl rand -hex 32")
    return token


def _context(listening: Listening) -> ssl.SSLContext | None:
    """The TLS context, or None without a certificate. A key with a passphrase is refused: nobody is there to enter
    it."""
    if listening.certificate is None or listening.key is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(listening.certificate[0], listening.key[0], lambda: "")
    except (ssl.SSLError, OSError, ValueError) as error:
        cause = f"{listening.certificate[0]} and {listening.key[0]} cannot be used: {error}"
        remedy = "name a PEM certificate (with its chain) and its key without passphrase in [http] tls_cert and tls_key"
        raise UsageError(cause, remedy) from error
    return context


class _Server(uvicorn.Server):
    """uvicorn, which asks ten times a second whether it should end, and here is told: a daemon that nobody asks for
    anything sleeps."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._running: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None

    async def main_loop(self) -> None:
        self._running = (asyncio.get_running_loop(), ended := asyncio.Event())
        while not await self.on_tick(0):  # it also makes the Date header of the next second
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(ended.wait(), TICK_S)

    def end(self) -> None:
        """Stop listening; can be called from any thread."""
        self.should_exit = True
        if self._running is not None:
            loop, ended = self._running
            with contextlib.suppress(RuntimeError):  # the loop has ended already
                loop.call_soon_threadsafe(ended.set)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for one in sockets or ():
            one.listen(BACKLOG)  # asyncio uses one number for this and for how many it accepts in one round


class HttpServer:
    """The application with its socket and its thread."""

    def __init__(self, app: WebApp, listening: Listening) -> None:
        host, port = listening.host, listening.port
        context = _context(listening)
        self._app = app
        self._secure = context is not None
        config = uvicorn.Config(
            app, log_config=None, access_log=False, lifespan="on", timeout_graceful_shutdown=1, ws="none", http="h11",
            loop="asyncio", proxy_headers=False, server_header=False, timeout_keep_alive=IDLE_S,
            backlog=ACCEPTED_AT_ONCE,
        )  # fmt: skip
        config.load()
        self.opened: set[Connection] = set()
        config.http_protocol_class = partial(Connection, self.opened)  # type: ignore[assignment]
        config.ssl = context
        self._host, self._asked_port = host, port
        self._socket: socket.socket | None = None
        self._thread: threading.Thread | None = None
        self._server = _Server(config)

    @property
    def address(self) -> str:
        """Host and port, once it listens; an IPv6 address in brackets."""
        host, port = self._bound().getsockname()[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    @property
    def port(self) -> int:
        """The port, once it listens."""
        return int(self._bound().getsockname()[1])

    @property
    def url(self) -> str:
        """The address as a URL, once it listens."""
        return f"{'https' if self._secure else 'http'}://{self.address}"

    def start(self) -> None:
        """Bind the port and answer, in a thread of its own; NotListeningError if the port cannot be bound."""
        self._socket = _listening_socket(self._host, self._asked_port)
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],), name="http", daemon=True)
        self._thread.start()

    def stop(self, wait_s: float = 0.5) -> None:
        """Stop listening, and wait up to `wait_s` for the thread. If it is still busy, it ends by itself later."""
        self._server.end()
        self._app.stop()
        if self._thread is None or self._socket is None:
            return
        self._thread.join(timeout=wait_s)
        if not self._thread.is_alive():  # else the thread closes the socket itself; another thread must not
            self._socket.close()

    def _bound(self) -> socket.socket:
        if self._socket is None:
            raise AssertionError("the server does not listen yet")
        return self._socket


def check_port(listening: Listening) -> None:
    """NotListeningError if the port cannot be bound now; for what should not begin in vain."""
    _listening_socket(listening.host, listening.port).close()


class NotListeningError(UsageError):
    """A host and port that cannot be listened on. `advice` is what to do besides choosing another one, and `instead`
    what to choose."""

    def __init__(self, host: str, port: int, error: OSError) -> None:
        name = f"[{host}]" if ":" in host else host
        self.advice, self.instead = "", f"{name}:{port}"
        why = f"{error.strerror or error}".partition(" (while ")[0]  # Python adds the address, which is there already
        match error.errno:
            case errno.EADDRINUSE:
                self.advice, self.instead = "stop what uses it, or ", f"{name}:{_free_port(host, port)}"
            case errno.EACCES:
                self.advice, self.instead = "let the daemon's user bind it, or ", f"{name}:9464"
            case _:  # no address of this machine
                self.instead = f"127.0.0.1:{port}"
        super().__init__(f"{name}:{port} cannot be listened on: {why}", self.remedy_by("[http] listen = "))

    def remedy_by(self, option: str) -> str:
        """What to do, with the option or key that chooses the address."""
        value = f'"{self.instead}"' if option.endswith("= ") else self.instead
        return f"{self.advice}choose another address, such as {option}{value}"


def _bound_to(host: str, port: int) -> socket.socket:
    return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)


def _listening_socket(host: str, port: int) -> socket.socket:
    try:
        bound = _bound_to(host, port)
        # Connections inherit it. asyncio sets it only on sockets that were made with a protocol, and this one was not;
        # then each answer on a kept connection waits 40 ms for the client's acknowledgement.
        bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except OSError as error:
        raise NotListeningError(host, port, error) from error
    return bound


def _free_port(host: str, taken: int) -> int:
    """A port that can be bound now, of those next above one that is taken; else 0, which stands for any free one."""
    for port in range(taken + 1, min(taken + 21, 65536)):
        with contextlib.suppress(OSError), _bound_to(host, port):
            return port
    return 0
