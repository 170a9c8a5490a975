"""One simulated primary: the real daemon, stepped by hand, with a clock, a disk and a network of its own."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

from dreamcatcherd.config_tables import Config, FramesConfig, HttpConfig, RetentionConfig
from dreamcatcherd.daemon.bootstrap import Runtime
from dreamcatcherd.daemon.opening import closing_of, primary_of
from dreamcatcherd.daemon.service import Service
from dreamcatcherd.testing import MemoryStore
from dreamcatcherd.web.server import Listening, read_listening
from tests.simulation.actions import Setting
from tests.simulation.mirror import watch_mirror
from tests.simulation.region import relay_on
from tests.simulation.server import Server
from tests.simulation.simulated_time import Time
from tests.simulation.stores import CloneTwin, Host, PathTwin


class Servers(NamedTuple):
    """The shared repository, and those of the region and the mirror if there are any."""

    shared: Server
    region: Server | None = None
    mirror: Server | None = None


class Crashed(BaseException):
    """The process of a primary was killed at this instant. No `except` of the code may stop it."""


class Log:
    """A logger that counts what the daemon says, by level and event."""

    def __init__(self, say: Callable[[str, str], None]) -> None:
        self._say = say

    def debug(self, event: str, **rest: object) -> None:
        pass

    def info(self, event: str, **rest: object) -> None:
        self._say(event, "")

    def warning(self, event: str, **rest: object) -> None:
        self._say(event, str(rest.get("cause", "")))

    def error(self, event: str, **rest: object) -> None:
        self._say(event, str(rest.get("cause", "")))


class Node:
    """A machine with a primary on it. What survives a crash is its disk, its clock, and what fails on it."""

    def __init__(self, number: int, servers: Servers, setting: Setting, host: Host, log: Log) -> None:
        self.number = number
        self.kind = setting.primaries[number] if number < len(setting.primaries) else "relay"
        self.host = host
        self.ahead_us = 0
        self.disk = MemoryStore()
        servers.shared.accounts.disks.append(self.disk)
        self.service: Service | None = None
        self._servers = servers
        self._setting = setting
        self._log = log

    def start(self, time: Time) -> Service:
        """The running daemon, started if it is not running."""
        if self.service is None:
            config, store = config_of(self._setting), self._store()
            closing = closing_of(config)
            primary = primary_of(config, store, closing)
            primary.clock = lambda: time.wall() + self.ahead_us
            primary._steady = time.steady
            runtime = Runtime(config, store, primary, closing, listening())
            if self.kind == "relay":
                assert self._servers.region is not None
                relay = relay_on(
                    primary, self._servers.shared, self._servers.region, self.host, self._setting.atomic, time
                )
                runtime = runtime._replace(relay=relay)
            self.service = Service(runtime, self._log)
            if self._servers.mirror is not None and self.kind != "relay":
                here = self.disk if self.kind == "remote" else self._servers.shared.store
                watch_mirror(self.service, self._servers.mirror, self.host, here, self._setting.lanes_keep_s)
        return self.service

    def _store(self) -> Any:
        shared, region, _ = self._servers
        if self.kind == "remote":
            return CloneTwin(shared, self.host, self.disk, self._setting.atomic)
        return PathTwin(shared if region is None or self.kind == "path" else region, self.host)

    def lose_disk(self) -> None:
        """Lose the clone, with all that it alone held."""
        self.crash()
        self.disk.objects.clear()
        self.disk.heads.clear()
        self.disk._commits.clear()
        self._servers.shared.accounts.lose_unreachable()

    def crash(self) -> None:
        """Kill the process."""
        self.service = None


@cache
def config_of(setting: Setting) -> Config:
    """The configuration of every primary in a world."""
    return Config(
        frames=FramesConfig(interval=setting.interval_s),
        http=HttpConfig("127.0.0.1:0"),
        retention=RetentionConfig(lanes_keep=setting.lanes_keep_s, deltas_frames=setting.deltas_frames),
    )


@cache
def listening() -> Listening:
    """Where the page would be served: no port is ever bound."""
    return read_listening(HttpConfig("127.0.0.1:0"))
