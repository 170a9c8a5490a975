"""What systemd is told, and when."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from dreamcatcherd.daemon.systemd import EXTEND_MICROS, SystemdNotifier


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[socket.socket]:
    """The other end of the notification socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.bind(str(tmp_path / "notify"))
        end.setblocking(False)
        yield end


def told(systemd: socket.socket) -> list[str]:
    """The first line of each message since the last call."""
    lines = []
    while True:
        try:
            lines.append(systemd.recv(4096).decode().splitlines()[0])
        except BlockingIOError:
            return lines


def test_a_reload_before_the_first_good_look_does_not_make_it_ready(systemd: socket.socket) -> None:
    """READY comes from a good look alone; after that each reload is begun and ended, and a status told once."""
    notifier = SystemdNotifier({"NOTIFY_SOCKET": systemd.getsockname()})
    notifier.reloading()
    notifier.reloaded()
    assert told(systemd) == []
    notifier.status("frame 1 open")
    notifier.status("frame 1 open")
    notifier.ready()
    notifier.ready()
    notifier.reloading()
    notifier.reloaded()
    notifier.stopping()
    assert told(systemd) == ["STATUS=frame 1 open", "READY=1", "RELOADING=1", "READY=1", "STOPPING=1"]


def test_a_refused_configuration_stays_in_the_status(systemd: socket.socket) -> None:
    """It follows whatever else is shown, on one line, until the note ends."""
    notifier = SystemdNotifier({"NOTIFY_SOCKET": systemd.getsockname()})
    notifier.status("frame 1 open")
    notifier.note("the file\nis refused")
    notifier.status("frame 2 open")
    notifier.note("")
    assert told(systemd) == [
        "STATUS=frame 1 open",
        "STATUS=frame 1 open; the file is refused",
        "STATUS=frame 2 open; the file is refused",
        "STATUS=frame 2 open",
    ]


def test_the_watchdog_is_fed_only_where_it_is_this_process_that_is_watched(systemd: socket.socket) -> None:
    """WATCHDOG_PID names whose watchdog it is; git's processes inherit the rest of the environment."""
    asked = {"NOTIFY_SOCKET": systemd.getsockname(), "WATCHDOG_USEC": "3000000"}
    other = SystemdNotifier({**asked, "WATCHDOG_PID": "1"})
    other.ready()
    other.alive()
    assert told(systemd) == ["READY=1"]
    notifier = SystemdNotifier({**asked, "WATCHDOG_PID": str(os.getpid())})
    notifier.ready()
    notifier.alive()
    assert notifier.watchdog_s == 3
    assert told(systemd) == ["READY=1", "WATCHDOG=1"]


def test_systemd_waits_longer_while_the_first_look_makes_progress(
    systemd: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before readiness progress asks for more time, every few seconds, and says how long it took; after it, no more."""
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    notifier = SystemdNotifier({"NOTIFY_SOCKET": systemd.getsockname()})
    for moment in (100.0, 101.0, 104.9, 105.0, 109.0, 111.0):
        now = moment
        notifier.progress()
    more = f"EXTEND_TIMEOUT_USEC={EXTEND_MICROS}"
    status = "STATUS=reading the repository for the first time, {} s so far"
    assert told(systemd) == [more, more, status.format(5), more, status.format(11)]
    notifier.ready()
    now = 200.0
    notifier.progress()
    assert told(systemd) == ["READY=1"]


def test_a_path_that_is_no_utf_8_can_be_said(systemd: socket.socket) -> None:
    """A status with such a path is sent, with the odd bytes escaped."""
    notifier = SystemdNotifier({"NOTIFY_SOCKET": systemd.getsockname()})
    notifier.status("not ready: /srv/\udcff is gone")
    assert told(systemd) == ["STATUS=not ready: /srv/\\udcff is gone"]
