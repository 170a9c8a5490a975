"""A daemon without threads of its own: stepped by hand, over the store in memory, with a clock that the test sets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from dreamcatcherd.config_tables import Config, FramesConfig, HttpConfig
from dreamcatcherd.core.frames import Closing
from dreamcatcherd.daemon.bootstrap import Runtime
from dreamcatcherd.daemon.opening import closing_of, primary_of
from dreamcatcherd.daemon.service import Service
from dreamcatcherd.git.protocols import Move
from dreamcatcherd.stages.first_frame import open_first
from dreamcatcherd.testing.memory import MemoryStore
from dreamcatcherd.web.server import read_listening
from tests.law.fleet import MAIN, NOW

INTERVAL_S = 10
CONFIG = Config(frames=FramesConfig(interval=INTERVAL_S), http=HttpConfig("127.0.0.1:0"))


class Clock:
    """The wall's clock in microseconds UTC, and seconds that never step; as the test has them."""

    def __init__(self) -> None:
        self.now = NOW
        self.steady_s = 0.0

    def __call__(self) -> int:
        return self.now

    def steady(self) -> float:
        return self.steady_s

    def at(self, seconds: float) -> None:
        """Let time go on until so many seconds after the first frame opened."""
        self.steady_s += NOW / 1e6 + seconds - self.now / 1e6
        self.now = NOW + round(seconds * 1e6)

    def step(self, seconds: float) -> None:
        """Set the wall's clock forward, or back, while no time goes by."""
        self.now += round(seconds * 1e6)

    def go_on(self, seconds: float) -> None:
        """Let so many seconds go by."""
        self.steady_s += seconds
        self.step(seconds)


class Lines:
    """A logger that collects what it is told, as (level, event, the rest)."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str, dict[str, object]]] = []

    def debug(self, event: str, **rest: object) -> None:
        self.told.append(("debug", event, rest))

    def info(self, event: str, **rest: object) -> None:
        self.told.append(("info", event, rest))

    def warning(self, event: str, **rest: object) -> None:
        self.told.append(("warning", event, rest))

    def error(self, event: str, **rest: object) -> None:
        self.told.append(("error", event, rest))

    def events(self, *levels: str) -> list[str]:
        return [event for level, event, _ in self.told if level in levels]


class Scripted(MemoryStore):
    """A store in memory that the daemon takes for a folder, and to which things happen at its next calls."""

    folder: Path = Path("/nonexistent")
    signing_key: Path | None = None
    loose_refs: int = 0

    def __init__(self, shared: MemoryStore | None = None) -> None:
        super().__init__(shared)
        self.progress: Callable[[], None] = lambda: None
        self.at_refs: list[Callable[[], None]] = []
        self.at_move: list[Callable[[], None]] = []

    def refs(self) -> dict[str, str]:
        if self.at_refs:
            self.at_refs.pop(0)()
        return super().refs()

    def move_refs(self, moves: list[Move], reason: str) -> bool:
        if self.at_move:
            self.at_move.pop(0)()
        return super().move_refs(moves, reason)


def new_store(closing: Closing | None = None) -> Scripted:
    """A repository in memory with frame 1 open since NOW, by default for a close after the interval."""
    store = Scripted()
    open_first(store, 1, NOW, closing or Closing("interval", INTERVAL_S), MAIN)
    return store


class Daemon:
    """A service that is stepped by hand; `log` is what it told."""

    def __init__(self, store: Scripted, clock: Clock, config: Config = CONFIG) -> None:
        self.log = Lines()
        self.store = store
        self.clock = clock
        closing = closing_of(config)
        primary = primary_of(config, store, closing)
        self.service = Service(Runtime(config, store, primary, closing, read_listening(config.http)), self.log)
        self.service.primary.clock = clock
        self.service.primary._steady = clock.steady
        self.metrics = self.service.metrics

    def step(self, seconds: float | None = None) -> float:
        """One step of the loop, at so many seconds after NOW; returns the wait that it asks for."""
        if seconds is not None:
            self.clock.at(seconds)
        return self.service._step()

    def closed(self) -> list[int]:
        """The frames that this daemon closed, in order."""
        return [int(str(rest["frame"])) for _, event, rest in self.log.told if event == "frame closed"]

    def series(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(f"dreamcatcher_{name}", labels)
