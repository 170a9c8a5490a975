"""Deliveries beside the loop: what comes while a receiver is down, and which store they read."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar, cast

import pytest

from dreamcatcherd.config_tables import EventsConfig
from dreamcatcherd.core.errors import RetryableError
from dreamcatcherd.daemon.cycle import poll
from dreamcatcherd.daemon.event_cursor import Cursor
from dreamcatcherd.daemon.event_delivery import Delivery
from dreamcatcherd.daemon.event_receivers import Subscription
from dreamcatcherd.daemon.subscriptions import Subscriptions
from dreamcatcherd.daemon.webhook import Webhook
from dreamcatcherd.git.protocols import QueryReader
from tests.daemon.test_event_backlog import edit_frame_file, look_of
from tests.daemon.tools import Lines
from tests.e2e.tools import wait_for
from tests.law.fleet import new_primary
from tests.stages.tools import close


class Receiver:
    """Takes events while it is up."""

    shown = "a receiver"

    def __init__(self) -> None:
        self.is_down = True
        self.got: list[str] = []
        self.asked = 0

    def send(self, event_id: str, _: bytes) -> None:
        self.asked += 1
        if self.is_down:
            raise RetryableError("it is down", "start it")
        self.got.append(event_id)

    def close(self) -> None:
        """Nothing is kept."""

    def abort(self) -> None:
        """Nothing is broken off."""


class Taking(BaseHTTPRequestHandler):
    """Takes every event."""

    got: ClassVar[list[bytes]] = []

    def do_POST(self) -> None:
        self.got.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def subscription(folder: Path, receiver: Receiver) -> Subscription:
    class Fake(Subscription, frozen=True):
        def receiver(self) -> Any:
            return receiver

    return Fake(EventsConfig(exec=["x"], retry=0.3), receiver.shown, folder / "cursor.json", "fleet", "/fleet")


def test_what_came_while_a_receiver_was_down_is_delivered_once_it_is_back(tmp_path: Path) -> None:
    """Nothing else has to happen in the repository for that."""
    primary = new_primary(b"")
    close(primary)
    receiver, idle = Receiver(), threading.Event()
    idle.set()
    delivery = Delivery(subscription(tmp_path, receiver), lambda: cast(QueryReader, primary.store), Lines(), idle)
    delivery._file.save(Cursor(1))
    delivery.look(look_of(primary))
    delivery.start()
    try:
        wait_for(lambda: receiver.asked >= 2)
        edit_frame_file(primary)
        assert poll(primary, restore=True)[0].restored
        asked = receiver.asked
        delivery.look(look_of(primary))
        wait_for(lambda: receiver.asked > asked)
        receiver.is_down = False
        wait_for(lambda: any("restored" in one for one in receiver.got))
    finally:
        delivery.stop()
        delivery.join(60)


def test_an_address_that_nobody_answers_at_leaves_time_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host with two addresses, of which the first takes no connections: events are taken at the second."""
    with HTTPServer(("127.0.0.1", 0), Taking) as server, ExitStack() as stack:
        port = server.server_port  # hardly anybody else uses a port of the other address
        stack.enter_context(socket.create_server(("127.0.0.2", port), backlog=0))
        for _ in range(4):  # nobody accepts them, so the next ones get no answer
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(("127.0.0.2", port))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (f"127.0.0.{number}", port)) for number in (2, 1)]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        webhook = Webhook(f"http://hooks.example:{port}/x", "a receiver", None, None, 8.0)
        try:
            webhook.send("1-0-frame.closed", b"{}")
        finally:
            webhook.close()
            server.shutdown()
    assert Taking.got == [b"{}"]


def test_a_delivery_reads_the_store_that_is_in_force(tmp_path: Path) -> None:
    """A reload that names another clone of the same repository begins the delivery again from its cursor; one that
    changes nothing of that lets it go on."""
    receiver = Receiver()
    every, one = Subscriptions(threading.Event()), subscription(tmp_path, receiver)
    old, new = (cast(Callable[[], QueryReader], lambda number=number: number) for number in (1, 2))
    every.take_over([one], old, Lines())
    first = every._running[one.cursor]
    every.take_over([one], old, Lines())
    assert every._running[one.cursor] is first
    every.take_over([one], new, Lines())
    assert every._running[one.cursor].reads(new)
