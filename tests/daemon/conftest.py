"""Daemons that are stepped by hand, and put away after the test."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from dreamcatcherd.config import Config
from tests.daemon.tools import CONFIG, Clock, Daemon, Scripted, new_store, signals_kept
from tests.daemon.web import Served

Start = Callable[..., Daemon]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def start(clock: Clock) -> Iterator[Start]:
    """Makes a daemon on a store in memory (by default one with frame 1 open); its port is freed afterwards."""
    made: list[Daemon] = []

    def make(store: Scripted | None = None, config: Config = CONFIG) -> Daemon:
        made.append(Daemon(store or new_store(), clock, config))
        return made[-1]

    with signals_kept():
        yield make
        for one in made:
            if one.service.http._thread.ident is None:
                one.service.http.start()
            one.service.http.stop()


@pytest.fixture
def served() -> Iterator[Served]:
    """A server over an empty repository that nobody has looked at yet."""
    one = Served()
    yield one
    one.server.stop()
