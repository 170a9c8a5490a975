"""The exception tree. Owns how a failure names its cause and remedy; a rejected delta is a value, no exception."""

from __future__ import annotations


class DreamcatcherError(Exception):
    """A failure that a person can mend: `cause` says what happened, `remedy` what to do about it."""

    exit_code = 3

    def __init__(self, cause: str, remedy: str) -> None:
        super().__init__(cause, remedy)
        self.cause = cause
        self.remedy = remedy

    @property
    def kind(self) -> str:
        """What stays the same of the cause each time that the same happens: each is told once."""
        return self.cause

    def __str__(self) -> str:
        return f"{self.cause}; {self.remedy}"


class FatalError(DreamcatcherError):
    """The repository cannot be worked on until somebody mends it; nothing was published."""


class UnreadableError(FatalError):
    """An object that anybody can push cannot be read as what it is used as, or only at a cost beyond every bound.

    Whoever reads what others pushed records it and passes it by."""

    def __init__(self, cause: str) -> None:
        super().__init__(cause, "delete the ref that brings it, or push a history without it")


class RetryableError(DreamcatcherError):
    """The repository, its disk or the network failed for now: a later cycle tries again.

    `retry_after_s` is how long a server wants to be left alone, where it said so; None where a later cycle may come as
    soon as it likes."""

    def __init__(self, cause: str, remedy: str, *, kind: str = "", retry_after_s: float | None = None) -> None:
        super().__init__(cause, remedy)
        self._kind = kind
        self.retry_after_s = retry_after_s

    @property
    def kind(self) -> str:
        return self._kind or self.cause


class OvertakenError(RetryableError):
    """Others moved the shared branch each time that a close was about to publish; `races` says how many times."""

    def __init__(self, cause: str, remedy: str, races: int) -> None:
        super().__init__(cause, remedy)
        self.races = races


class GuardError(RetryableError):
    """What would be published lacks something that was published before: nothing is, until somebody looks."""


class UsageError(DreamcatcherError):
    """The command or its configuration is wrong (exit 2)."""

    exit_code = 2


class RefusedError(DreamcatcherError):
    """What was asked for is not so: damaged file, unknown frame, repository not empty (exit 1)."""

    exit_code = 1
