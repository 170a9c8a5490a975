"""Fixtures that the tests of the stages have as well."""

from __future__ import annotations

from tests.stages.conftest import primary as primary
