"""Daemons that are stepped by hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from dreamcatcherd.config_tables import Config
from tests.daemon.tools import CONFIG, Clock, Daemon, Scripted, new_store

Start = Callable[..., Daemon]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def start(clock: Clock) -> Start:
    """Makes a daemon on a store in memory (by default one with frame 1 open). It is never started, only stepped."""

    def make(store: Scripted | None = None, config: Config = CONFIG) -> Daemon:
        return Daemon(store or new_store(), clock, config)

    return make
