"""What a remote store may find at the other end of a connection: git's own daemon, or something that is no git."""

from __future__ import annotations

import base64
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.e2e.proxy import hold_port, port_of


@contextmanager
def git_daemon(folder: Path) -> Iterator[str]:
    """git's own daemon over the repositories below a folder, pushes allowed; gives `git://` and the address."""
    held = hold_port()
    port = port_of(held)
    words = ["git", "daemon", "--reuseaddr", "--listen=127.0.0.1", f"--port={port}", f"--base-path={folder}"]
    words += ["--export-all", "--enable=receive-pack", str(folder)]
    with held, subprocess.Popen(words, stderr=subprocess.DEVNULL) as process:
        try:
            while True:
                assert process.poll() is None, "git daemon has ended"
                try:
                    socket.create_connection(("127.0.0.1", port), 60).close()
                    break
                except ConnectionRefusedError:
                    time.sleep(0.01)
            yield f"git://127.0.0.1:{port}"
        finally:
            process.terminate()


class Answers(BaseHTTPRequestHandler):
    """Answers with the status that the path begins with; 401 becomes 403 for who logs in. Keeps what is sent."""

    seen: list[str]

    def do_GET(self) -> None:
        given = base64.b64decode(self.headers.get("Authorization", "").removeprefix("Basic ")).decode()
        self.seen.append(given)
        status = int(self.path.split("/")[1])
        if status == 401 and given.partition(":")[2]:
            status = 403
        self.send_response(status)
        if status == 401:
            self.send_header("WWW-Authenticate", 'Basic realm="x"')
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the library calls it so)
        """Say nothing."""


@contextmanager
def http_server() -> Iterator[tuple[str, list[str]]]:
    """A server that is no git's; gives its URL, and the credentials that it was sent, `user:password` each time."""
    seen: list[str] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Seen", (Answers,), {"seen": seen}))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", seen
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def silent_server() -> Iterator[str]:
    """A server that takes connections and never says a word; gives its address."""
    with socket.create_server(("127.0.0.1", 0)) as one:
        yield f"127.0.0.1:{one.getsockname()[1]}"


@contextmanager
def slowly(address: str, piece: int, pause_s: float) -> Iterator[str]:
    """A way to a server that carries so many bytes of what it sends, and then pauses; gives its address."""
    host, _, port = address.rpartition(":")
    ended = threading.Event()

    def carry(client: socket.socket) -> None:
        with client, socket.create_connection((host, int(port))) as server:
            threading.Thread(target=forward, args=(client, server), daemon=True).start()
            while raw := server.recv(piece):
                client.sendall(raw)
                if ended.wait(pause_s):
                    break

    def forward(client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while raw := client.recv(65536):
                server.sendall(raw)

    def quietly(client: socket.socket) -> None:
        with suppress(OSError):
            carry(client)

    def serve(listening: socket.socket) -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=quietly, args=(listening.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=serve, args=(listening,), daemon=True).start()
        try:
            yield f"127.0.0.1:{listening.getsockname()[1]}"
        finally:
            ended.set()
