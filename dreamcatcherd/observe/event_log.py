"""What the daemon needs of a logger: a method for each level, which takes an event and its fields."""

from __future__ import annotations

from typing import Any, Protocol


class EventLog(Protocol):
    """A logger of structured events. Fields are JSON values."""

    def debug(self, event: str, **fields: Any) -> Any:
        """Log what only a search for a fault needs."""

    def info(self, event: str, **fields: Any) -> Any:
        """Log what happens in normal operation."""

    def warning(self, event: str, **fields: Any) -> Any:
        """Log what somebody should know, though nothing is stopped by it."""

    def error(self, event: str, **fields: Any) -> Any:
        """Log what stops frames or loses a request of an operator."""
