"""What all tests share: a test that needs a program says so, and is skipped, with its name, where that is missing."""

from __future__ import annotations

import pytest

from tests.e2e.tools import do_without, program


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test marked `needs("program", …)` without them; in CI it fails: there a missing part is a mistake."""
    for mark in item.iter_markers("needs"):
        missing = [name for name in mark.args if program(name) is None]
        if missing:
            do_without(f"no {', '.join(missing)}: run make packages as root")
