"""What the tests of events work with: receivers as processes and programs, and what they were given."""

from __future__ import annotations

import base64
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cloudevents.core.bindings.http import HTTPMessage, from_http_event
from cloudevents.core.formats.json import JSONFormat
from standardwebhooks import Webhook

from tests.e2e.proxy import HOST, hold_port, port_of
from tests.e2e.tools import environment, primary_toml, rewrite, wait_for

KEY = b"a key of twenty-four byt"
SECRET = "whsec_" + base64.b64encode(KEY).decode()


def accepts(port: int) -> bool:
    with socket.socket() as found:
        return found.connect_ex((HOST, port)) == 0


class Receiver:
    """The process of `receiver.py`: it can be killed, and started again on its port, which stays its own until `close`.
    `tls` is a certificate with its key, with which it speaks https."""

    def __init__(self, folder: Path, tls: Sequence[Path] = ()) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.tls = tls
        self._held = hold_port()
        self.port = port_of(self._held)
        self.url = f"http{'s' if tls else ''}://{HOST}:{self.port}/hooks/dreams?team=a"
        self.mode("ok")
        self._process: subprocess.Popen[bytes] | None = None

    def mode(self, mode: str) -> None:
        """How it answers from now on."""
        rewrite(self.folder / "mode", mode)

    def start(self) -> None:
        script = Path(__file__).with_name("receiver.py")
        command = [sys.executable, str(script), str(self.port), str(self.folder), *map(str, self.tls)]
        self._process = subprocess.Popen(command, env=environment())
        wait_for(lambda: accepts(self.port))

    def kill(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def close(self) -> None:
        """End it, and give the port away."""
        self.kill()
        self._held.close()

    @property
    def got(self) -> list[dict[str, Any]]:
        """Every request, answered or not."""
        file = self.folder / "got.jsonl"
        lines = file.read_text().splitlines(keepends=True) if file.exists() else []
        return [json.loads(line) for line in lines if line.endswith("\n")]

    @property
    def events(self) -> list[dict[str, Any]]:
        """The events that it took, each at its first arrival. A flood begins with a 200, so the event was taken."""
        return first_of(json.loads(one["body"]) for one in self.got if one["mode"] in ("ok", "flood"))


@contextmanager
def receiving(folder: Path, tls: Sequence[Path] = ()) -> Iterator[Receiver]:
    """A receiver that runs, and is gone at the end."""
    found = Receiver(folder, tls)
    try:
        found.start()
        yield found
    finally:
        found.close()


def first_of(events: Iterator[dict[str, Any]]) -> list[dict[str, Any]]:
    """Events without those whose id came before: what a receiver that drops doubles works on."""
    found: dict[str, dict[str, Any]] = {}
    for event in events:
        found.setdefault(event["id"], event)
    return list(found.values())


def verified(request: dict[str, Any], key: str | bytes = SECRET) -> Any:
    """The event of a request, read by the libraries of Standard Webhooks and of CloudEvents."""
    headers, body = request["headers"], request["body"]
    Webhook(key).verify(body, headers)
    event = from_http_event(HTTPMessage(headers, body.encode()), JSONFormat())
    assert event.get_id() == headers["webhook-id"]
    assert event.get_specversion() == "1.0"
    return event


def configured(folder: Path, repository: Path, events: str, close: str = "interval", interval: float = 0.3) -> Path:
    """A primary's configuration with tables of events; quick about everything."""
    folder.mkdir(parents=True, exist_ok=True)
    about = f'[repository]\nurl = "{repository}"\npoll = 0.2\n[log]\nformat = "json"\n'
    return primary_toml(folder, close, interval, about + events)


def closed(events: list[dict[str, Any]]) -> list[int]:
    """The frames whose close was reported, in the order of arrival."""
    return [event["data"]["frame"] for event in events if event["type"] == "frame.closed"]
