"""Notifications to systemd: ready, a status line, watchdog, reloading, stopping (sd_notify(3)).

Without systemd every call does nothing."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Mapping

EXTEND_EVERY_S = 5.0
EXTEND_MICROS = 60_000_000
"""How much longer systemd waits for readiness, from each time that progress was made before it."""


class SystemdNotifier:
    """The notification socket that the environment names, if any."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        address = environment.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._ready = False
        self._status = self._text = self._note = ""
        self._begun_s = time.monotonic()
        self._extended_s = float("-inf")
        own = environment.get("WATCHDOG_PID") in (None, str(os.getpid()))
        micros = environment.get("WATCHDOG_USEC", "")
        self.watchdog_s = int(micros) / 1e6 if own and micros.isdigit() and self._address else None

    def ready(self) -> None:
        """The first good look is over."""
        if not self._ready:
            self._ready = True
            self._send("READY=1")

    def status(self, text: str) -> None:
        """The line that `systemctl status` shows."""
        self._text = text
        self._show()

    def note(self, text: str) -> None:
        """What is added to the line until another note takes its place; an empty one ends it."""
        self._note = text
        self._show()

    def _show(self) -> None:
        line = " ".join("; ".join(filter(None, (self._text, self._note))).split())
        if line != self._status:
            self._status = line
            self._send(f"STATUS={line}")

    def alive(self) -> None:
        """The loop has got something done since the last call."""
        if self.watchdog_s is not None:
            self._send("WATCHDOG=1")

    def progress(self) -> None:
        """A long step goes on. Before the first good poll, which may fetch the entire history and read everything that
        waits, systemd is also asked for more time to start."""
        self.alive()
        now = time.monotonic()
        # At most every few seconds: a fetch reports progress thousands of times.
        if not self._ready and now - self._extended_s >= EXTEND_EVERY_S:
            self._extended_s = now
            self._send(f"EXTEND_TIMEOUT_USEC={EXTEND_MICROS}")
            if now - self._begun_s >= EXTEND_EVERY_S:
                self.status(f"reading the repository for the first time, {now - self._begun_s:.0f} s so far")

    def reloading(self) -> None:
        """The configuration is being read again; `reloaded` ends it. Both do nothing before the first good poll."""
        if self._ready:
            self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def reloaded(self) -> None:
        if self._ready:
            self._send("READY=1")

    def stopping(self) -> None:
        self._send("STOPPING=1")

    def _send(self, text: str) -> None:
        if not self._address:
            return
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
            out.sendto(text.encode("utf-8", "backslashreplace"), self._address)  # a path need not be UTF-8
