"""The folder of real deltas and books that some tests read: it is no part of the project."""

from __future__ import annotations

import os

import pytest

CORPUS = os.environ.get("DREAMCATCHER_CORPUS")

needs_corpus = pytest.mark.skipif(
    CORPUS is None, reason="no corpus: set DREAMCATCHER_CORPUS to a folder of real deltas and books"
)
