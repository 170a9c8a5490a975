"""A TCP proxy on 127.0.0.1 that fails on demand: it forwards, refuses, stalls or cuts. Owns its threads and sockets.

Also owns how tests get a port: one that stays theirs while nothing listens on it, so that a server can be stopped and
started again on the same port while other tests look for free ones."""

from __future__ import annotations

import contextlib
import socket
import threading
from types import TracebackType

HOST = "127.0.0.1"
CHUNK = 65536


def hold_port() -> socket.socket:
    """A socket bound to a free port that never listens: nobody else is given the port while it is open.

    Connecting to it is refused. A server that binds with SO_REUSEADDR, as all of ours do, can listen there."""
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind((HOST, 0))
    return held


def port_of(held: socket.socket) -> int:
    port: int = held.getsockname()[1]
    return port


def shut(end: socket.socket) -> None:
    """Wake whoever blocks on a socket, in any thread, and tell the peer; closing alone would leave it blocked."""
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)


class Proxy:
    """Forwards connections to a port of this machine, from the start and until told otherwise; use it in `with`."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.held = hold_port()
        self.port = port_of(self.held)
        self.connections = 0
        self._flow = threading.Event()
        self._listener: socket.socket | None = None
        self._acceptor: threading.Thread | None = None
        self._lock = threading.Lock()
        self._ends: set[socket.socket] = set()
        self._carriers: list[threading.Thread] = []
        self.forward()

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.refuse()
        self._flow.set()
        while any(carrier.is_alive() for carrier in self._carriers):
            self.cut()  # again and again, since one may just be opening its second socket
            for carrier in self._carriers:
                carrier.join(0.1)
        self.held.close()

    def forward(self) -> None:
        """Be a good network; what stalled goes on."""
        self._listen()
        self._flow.set()

    def stall(self) -> None:
        """Accept connections and carry nothing, on old ones neither."""
        self._flow.clear()
        self._listen()

    def refuse(self) -> None:
        """Refuse new connections; old ones live on until `cut`."""
        if self._listener and self._acceptor:
            shut(self._listener)
            self._acceptor.join()
            self._listener.close()
            self._listener = self._acceptor = None

    def cut(self) -> None:
        """End every connection that is open now."""
        with self._lock:
            for end in self._ends:
                shut(end)

    def _listen(self) -> None:
        if self._listener is None:
            listener = socket.create_server((HOST, self.port), backlog=128)
            self._listener = listener
            self._acceptor = threading.Thread(target=self._accept, args=(listener,), name=f"proxy-{self.port}")
            self._acceptor.start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            self.connections += 1
            carrier = threading.Thread(target=self._carry, args=(client,), name=f"proxy-{self.port}-{self.connections}")
            self._carriers.append(carrier)
            with self._lock:
                self._ends.add(client)
            carrier.start()

    def _carry(self, client: socket.socket) -> None:
        """One connection, from its first byte to its last; closes both of its sockets."""
        with client:
            with contextlib.suppress(OSError), socket.create_connection((HOST, self.target)) as server:
                with self._lock:
                    self._ends.add(server)
                back = threading.Thread(target=self._pump, args=(server, client))
                back.start()
                self._pump(client, server)
                back.join()
                with self._lock:
                    self._ends.discard(server)
            with self._lock:
                self._ends.discard(client)

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        """Carry bytes one way. When the source has no more, the sink is told; a broken end breaks both."""
        try:
            while chunk := source.recv(CHUNK):
                self._flow.wait()
                sink.sendall(chunk)
            self._flow.wait()
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            shut(source)
            shut(sink)
