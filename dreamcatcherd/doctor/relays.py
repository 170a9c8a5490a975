"""The checks of a relay: whether its upstream can be reached, and knows it. Nothing is fetched or pushed."""

from __future__ import annotations

import time
from collections.abc import Iterator

from dreamcatcherd.config_tables import Config
from dreamcatcherd.core import paths
from dreamcatcherd.core.errors import DreamcatcherError
from dreamcatcherd.core.report import Check
from dreamcatcherd.daemon.relay import upstream_of
from dreamcatcherd.git.protocols import GitStore
from dreamcatcherd.stages.fetch import Fetcher


def check_relay(config: Config, store: GitStore) -> Iterator[Check]:
    """What keeps a relay from forwarding; nothing without `[relay]`."""
    if config.relay.upstream is None:
        return
    try:
        start = time.perf_counter()
        upstream = upstream_of(config, store)
        refs = upstream.listed()
        took_ms = 1000 * (time.perf_counter() - start)
        view = Fetcher(f"refs/heads/{config.repository.branch}").fetch(store, time.time_ns() // 1000)
    except DreamcatcherError as error:
        yield Check("upstream", False, error.cause, error.remedy)
        return
    if refs.main is None:
        remedy = "let [relay] upstream name a repository that dreamcatcherd init made or prepared"
        yield Check("upstream", False, f"{upstream.where} has no {config.repository.branch}", remedy)
        return
    yield Check("upstream", True, f"{upstream.where} answers in {took_ms:.0f} ms")
    name, listed = config.relay.name, view.settings.relays
    if name in listed:
        yield Check("relay", True, f"{name} is listed: it forwards to {paths.short_ref(upstream.lane)}")
    elif view.head is None:
        yield Check("relay", True, "nothing is copied yet: dreamcatcherd run makes the copy")
    else:
        remedy = f'add it upstream to {paths.SETTINGS}: [lanes] relays = ["{name}"]'
        yield Check("relay", False, f"upstream does not list the relay {name}", remedy)
