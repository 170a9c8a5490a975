"""What all tests share: their state folder, what a test may not leave changed, which programs it needs, which of the
markers `e2e`, `root` and `slow` it has, and how Hypothesis draws."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.as_found import changed, process_state
from tests.e2e.tools import close_warm, need
from tests.slow import SLOW, SLOW_FIXTURES

# Hypothesis' own profile: an example may take any time, since the machine may be busy, and the examples are the same
# each time, so that a test which begins to fail does so because of a change. `make explore` and `make law` draw others.
settings.load_profile("ci")
settings.register_profile("explore", settings.get_profile("ci"), derandomize=False)

ROOT_FIXTURES = frozenset({"host", "image", "small_disk"})
"""Fixtures of the end-to-end tests that only root can set up: a booted guest, a built image, a mounted disk."""


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test marked `needs("program", …)` without them; in CI it fails: there a missing part is a mistake."""
    for mark in item.iter_markers("needs"):
        need(*mark.args)


@pytest.fixture(scope="session", autouse=True)
def _own_state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep what a primary remembers out of the folder of whoever runs the tests: a later run may use the same paths."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(autouse=True)
def _as_found() -> Iterator[None]:
    """Fail a test that leaves the process changed, rather than another one that comes to run after it."""
    before = process_state()
    yield
    assert changed(before, process_state()) == []


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
