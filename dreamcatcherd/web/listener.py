"""Where the daemon listens: one HTTP server at a time, replaced by another one when the configuration changes."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import structs

from dreamcatcherd.core.errors import UsageError
from dreamcatcherd.web.app import WebApp
from dreamcatcherd.web.server import HttpServer, Listening


class Listener:
    """The server in use. `make` builds the application for a way of listening; nothing is bound before `open`."""

    def __init__(self, make: Callable[[Listening], WebApp], listening: Listening) -> None:
        self._make = make
        self.listening = listening
        self.server = HttpServer(make(listening), listening)

    def open(self) -> None:
        """Bind the port and answer; UsageError if the port cannot be bound."""
        self.server.start()

    def switch(self, listening: Listening) -> None:
        """Listen in another way; UsageError if that cannot be done, and then everything is as before.

        The new server is bound before the old one is stopped, unless both have the same port: two cannot have it."""
        if listening == self.listening:
            return
        port = self.server.port
        same = listening.host == self.listening.host and listening.port in (self.listening.port, port)
        if same:
            self.server.stop(wait_s=5.0)
        try:
            server = self._started(structs.replace(listening, port=port) if same else listening)
        except UsageError:
            if same:
                self.server = self._started(structs.replace(self.listening, port=port))
            raise
        if not same:
            self.server.stop()
        self.server, self.listening = server, listening

    def close(self) -> None:
        """Stop listening."""
        self.server.stop()

    def _started(self, listening: Listening) -> HttpServer:
        server = HttpServer(self._make(listening), listening)
        server.start()
        return server
