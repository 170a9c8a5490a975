"""The exception tree. Owns how a failure names its cause and remedy. A rejected delta is a value and not an
exception."""

from __future__ import annotations


class DreamcatcherError(Exception):
    """A failure that a person can repair: `cause` says what happened, `remedy` what to do about it."""

    exit_code = 3

    def __init__(self, cause: str, remedy: str) -> None:
        super().__init__(cause, remedy)
        self.cause = cause
        self.remedy = remedy

    @property
    def kind(self) -> str:
        """The part of the cause that stays the same each time this failure happens, so that it is reported once."""
        return self.cause

    def __str__(self) -> str:
        return f"{self.cause}; {self.remedy}"


class FatalError(DreamcatcherError):
    """The repository cannot be worked on until somebody repairs it; nothing was published."""


class FormatError(FatalError):
    """The repository has snapshots of a format that this version does not continue."""


class UnreadableError(FatalError):
    """An object that anybody can push cannot be read as the kind that it is used as, or only at a cost beyond every
    bound.

    Code that reads objects of others records it and continues without it."""

    def __init__(self, cause: str) -> None:
        super().__init__(cause, "delete the ref that brings it, or push a history without it")


class RetryableError(DreamcatcherError):
    """The repository, its disk or the network failed for now: a later cycle tries again.

    `retry_after_s` is how long the server asked to be left alone, or None if it did not."""

    def __init__(self, cause: str, remedy: str, *, kind: str = "", retry_after_s: float | None = None) -> None:
        super().__init__(cause, remedy)
        self._kind = kind
        self.retry_after_s = retry_after_s

    @property
    def kind(self) -> str:
        return self._kind or self.cause


class OvertakenError(RetryableError):
    """Others moved the shared branch each time that a close was about to publish; `races` is how many times."""

    def __init__(self, cause: str, remedy: str, races: int) -> None:
        super().__init__(cause, remedy)
        self.races = races


class PushRefusedError(RetryableError):
    """The server's hook, branch protection or limits declined the push; `said` is its complete message."""

    def __init__(self, cause: str, remedy: str, said: str, *, kind: str = "") -> None:
        super().__init__(cause, remedy, kind=kind)
        self.said = said


class GuardError(RetryableError):
    """A publication would lack something that was published before: nothing is published until somebody checks it."""


class UsageError(DreamcatcherError):
    """The command or its configuration is wrong (exit 2)."""

    exit_code = 2


class MissingRepositoryError(UsageError):
    """Nothing, or no repository, is at the path that names the repository. It may be there again later."""


class RefusedError(DreamcatcherError):
    """The answer is no: damaged file, unknown frame, repository not empty (exit 1)."""

    exit_code = 1
