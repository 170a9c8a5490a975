"""The log on stderr: readable lines on a terminal, one JSON object per line elsewhere.

Owns the lines about a cycle. Processors are plain functions in a list."""

from __future__ import annotations

import logging
import os
import sys
import threading
import traceback
from collections.abc import Iterable
from typing import Any, Literal, Protocol, TextIO

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor

from dreamcatcherd.core.errors import DreamcatcherError
from dreamcatcherd.core.ledger import Violation
from dreamcatcherd.core.report import CycleReport, Pending
from dreamcatcherd.core.troubles import LARGE_VIEW_REMEDY, UNMATCHED


class EventLogger(Protocol):
    """What the daemon asks of a logger: an event, and its values by name."""

    def debug(self, event: str, **values: Any) -> Any:
        """Log an event of interest to somebody who looks for a fault."""

    def info(self, event: str, **values: Any) -> Any:
        """Log an event of ordinary work."""

    def warning(self, event: str, **values: Any) -> Any:
        """Log an event that somebody should know of."""

    def error(self, event: str, **values: Any) -> Any:
        """Log a failure."""


def set_up_logs(form: Literal["auto", "console", "json"], level: str) -> FilteringBoundLogger:
    """Configure structlog and return the logger."""
    console = form == "console" or (form == "auto" and sys.stderr.isatty())
    processors: list[Processor] = [structlog.processors.add_log_level]
    if console:
        processors += [
            escape_controls,
            structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False),
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()),
        ]
    else:
        processors += [
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(sort_keys=True),
        ]
    # journald reads the priority from the line; a terminal or a file would show it.
    if reaches_journal(sys.stderr, os.environ.get("JOURNAL_STREAM", "")):
        processors.append(with_priority)
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    logger: FilteringBoundLogger = structlog.get_logger()
    _take_library_logs(logger)
    return logger


class LibraryLog(logging.Handler):
    """Passes what libraries log with `logging` on to the daemon's log, so that its lines have one form."""

    def __init__(self, logger: EventLogger) -> None:
        super().__init__(logging.WARNING)
        self._logger = logger

    def emit(self, record: logging.LogRecord) -> None:
        """Log a record in one line; of an exception its type and text."""
        cause = record.getMessage()
        if record.exc_info and (error := record.exc_info[1]) is not None:
            cause += f": {type(error).__name__}: {error}"
        report = self._logger.error if record.levelno >= logging.ERROR else self._logger.warning
        report("library message", library=record.name, cause=" ".join(cause.split()))


def _take_library_logs(logger: EventLogger) -> None:
    """Send the logs of libraries to a logger, in place of the one before it."""
    for handler in [one for one in logging.root.handlers if isinstance(one, LibraryLog)]:
        logging.root.removeHandler(handler)
    logging.root.addHandler(LibraryLog(logger))
    # Its warnings are about requests that are no HTTP: anybody who reaches the port could fill the log with them.
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)


def take_stray_messages() -> None:
    """Send to the log what Python would print on stderr: warnings, and errors in threads and where nobody can catch
    them. So the log of a daemon holds nothing but lines of its own form."""
    logging.captureWarnings(True)
    python = logging.getLogger("python")

    def in_thread(what: threading.ExceptHookArgs) -> None:
        if what.exc_value is not None and not isinstance(what.exc_value, SystemExit):
            name = what.thread.name if what.thread else "unknown"
            python.error("the thread %s ended%s", name, _place(what.exc_value), exc_info=what.exc_value)

    def unraisable(what: sys.UnraisableHookArgs) -> None:
        if what.exc_value is not None:
            python.error("%s%s", what.err_msg or "ignored", _place(what.exc_value), exc_info=what.exc_value)

    threading.excepthook = in_thread
    sys.unraisablehook = unraisable


def _place(error: BaseException) -> str:
    """Where an error was raised, for a line that has no room for the stack."""
    frames = traceback.extract_tb(error.__traceback__)
    return f" at {frames[-1].filename}:{frames[-1].lineno}" if frames else ""


_PRIORITY = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}


def reaches_journal(file: TextIO, journal_stream: str) -> bool:
    """Whether a file is the journal's: $JOURNAL_STREAM has its device and inode (systemd.exec(5))."""
    try:
        found = os.fstat(file.fileno())
    except OSError:
        return False
    return journal_stream == f"{found.st_dev}:{found.st_ino}"


def with_priority(_logger: object, method: str, text: Any) -> str:
    """Prefix a line with its syslog priority, which journald reads (sd-daemon(3)), so that `journalctl -p err`
    works."""
    return f"<{_PRIORITY.get(method, 6)}>{text}"


def escape_controls(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Escape control characters: file names and authors are chosen by others, and a terminal would obey them."""
    for name, value in event.items():
        if isinstance(value, str) and not value.isprintable():
            event[name] = value.encode("unicode_escape").decode()
    return event


_COUNTS = ("late", "duplicates", "held", "misfits", "unresolved", "collapsed", "unknown", "conflicts")
"""The counts in the line of a closed frame, if they are not 0."""


class CycleLog:
    """One line for each cycle that changed something. A failure is logged when it starts and when it is over."""

    def __init__(self, logger: EventLogger) -> None:
        self.logger = logger
        self._failures: dict[str, str] = {}  # causes by kind
        self._hitches: set[str] = set()  # causes of failed housekeeping
        self._settings: object = None  # the settings whose warnings are logged
        self._violations: set[tuple[str, str, str | None]] = set()  # logged already, before a ledger lists them
        self._views: set[str] = set()  # the large ones

    def cycle(self, report: CycleReport) -> None:
        """Log a successful cycle."""
        if self._failures:
            self.logger.info("recovered", after=", ".join(self._failures.values()))
            self._failures.clear()
        self._unmatched(report.pending)
        if report.ledger is None:
            self._violated(report.pending.frame, report.pending.violations)
        if report.restored is not None:
            self.logger.warning("canonical files restored", frame=report.pending.frame, commit=report.restored)
        for lane, why in report.lanes_refused:
            remedy = "nothing of it is merged until its owner pushes another history, or the server accepts this one"
            self.logger.warning("lane left out", lane=lane, cause=why, remedy=remedy)
        if (pushed := report.forwarded) is not None:
            brought = {"commits": pushed.commits, "deltas": pushed.deltas, "lanes": pushed.lanes}
            self.logger.info("deltas forwarded", **brought, commit=pushed.commit)
        self._large(report.pending)
        if report.lost:
            self.logger.debug("another primary was faster", frame=report.pending.last_closed)
        ledger = report.ledger
        if ledger is None:
            return
        counts = ledger.counts
        logged = {name: getattr(counts, name) for name in _COUNTS}
        self.logger.info(
            "frame closed",
            frame=ledger.frame,
            deltas=counts.deltas,
            streams=counts.streams,
            **{name: count for name, count in logged.items() if count},
            digest=ledger.snapshot,
            commit=report.commit,
            ms=round(1000 * sum(report.phases.values())),
        )
        if ledger.settings_change is not None:
            change = ledger.settings_change
            self.logger.warning(
                "settings changed", frame=ledger.frame, blob=change.blob, commit=change.commit, author=change.author
            )
        for book in ledger.books:
            of = {"chapters": book.chapters, "target": book.target}
            seal = {"fingerprint": book.fingerprint} if book.fingerprint else {}
            for event in book.events:
                self.logger.info(f"book {event}", frame=ledger.frame, book=book.book, **of, **seal)
        for row in ledger.quarantined:
            if row.since == ledger.frame:
                where = {"path": row.path, "blob": row.blob, "source": row.source, "commit": row.commit}
                self.logger.warning(
                    "delta quarantined", frame=ledger.frame, reason=row.reason, detail=row.detail, **where
                )
        self._violated(ledger.frame, ledger.violations)
        self._violations.clear()

    def _unmatched(self, pending: Pending) -> None:
        """Log what in the settings can never match, once for each file of settings."""
        if pending.settings != self._settings:
            self._settings = pending.settings
            for warning in pending.settings_warnings:
                self.logger.warning("setting without effect", blob=pending.settings, cause=warning, remedy=UNMATCHED)

    def _large(self, pending: Pending) -> None:
        """Log each view that became large, once."""
        for view in pending.large_views:
            if view.name not in self._views:
                sizes = {"bytes": view.size, "records": view.records}
                self.logger.warning("view is large", view=view.name, path=view.path, **sizes, remedy=LARGE_VIEW_REMEDY)
        self._views = {view.name for view in pending.large_views}

    def _violated(self, frame: int, violations: Iterable[Violation]) -> None:
        """Log each violation once: when a poll finds it, or else when its frame closes."""
        for row in violations:
            known = (row.kind, row.path, row.commit)
            if known not in self._violations:
                self._violations.add(known)
                what = {"path": row.path, "commit": row.commit, "author": row.author}
                self.logger.warning("violation", frame=frame, kind=row.kind, detail=row.detail, **what)

    def failure(self, error: DreamcatcherError) -> None:
        """Log a failed cycle, once for each kind of cause until a cycle succeeds."""
        if error.kind not in self._failures:
            self.logger.error("cycle failed", cause=error.cause, remedy=error.remedy)
            self._failures[error.kind] = error.cause

    def hitch(self, error: DreamcatcherError) -> None:
        """Log failed housekeeping, which is not urgent, once for each kind of cause."""
        if error.kind not in self._hitches and len(self._hitches) < 100:
            self.logger.warning("housekeeping failed", cause=error.cause, remedy=error.remedy)
            self._hitches.add(error.kind)
