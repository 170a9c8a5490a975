"""What all tests share: which programs a test needs, and which of the markers `e2e`, `root` and `slow` it has."""

from __future__ import annotations

import pytest

from tests.e2e.tools import close_warm, need
from tests.slow import SLOW, SLOW_FIXTURES

ROOT_FIXTURES = frozenset({"host", "image", "small_disk"})
"""Fixtures of the end-to-end tests that only root can set up: a booted guest, a built image, a mounted disk."""


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test marked `needs("program", …)` without them; in CI it fails: there a missing part is a mistake."""
    for mark in item.iter_markers("needs"):
        need(*mark.args)


def pytest_unconfigure() -> None:
    """End what the tests of this process share."""
    close_warm()


def function_of(item: pytest.Item) -> str:
    """The node id of a test without its parameters and without the group that xdist adds."""
    path, _, name = item.nodeid.partition("::")
    return f"{path}::{name.partition('[')[0].partition('@')[0]}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give every test its markers, so that `-m "not e2e and not slow"` is a quick run."""
    for item in items:
        fixtures = set(getattr(item, "fixturenames", ()))
        if item.nodeid.startswith("tests/e2e/"):
            item.add_marker("e2e")
            if fixtures & ROOT_FIXTURES:
                item.add_marker("root")
        if function_of(item) in SLOW or fixtures & SLOW_FIXTURES:
            item.add_marker("slow")
