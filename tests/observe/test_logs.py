"""What the log says of cycles, and in which form (docs/protocol.md#metrics)."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dreamcatcherd.core.errors import FatalError, RetryableError
from dreamcatcherd.core.report import CycleReport
from dreamcatcherd.observe.logs import CycleLog, set_up_logs
from tests.as_found import log_put_back
from tests.observe.reports import closed, conflict, pending, published, quarantined, violation

Lines = list[dict[str, Any]]
FULL = RetryableError("the disk is full", "make room")
LOCKED = RetryableError("main is locked", "wait")


@pytest.fixture(autouse=True)
def _untouched() -> Iterator[None]:
    """Logging is set up for the process: each test leaves it as it was."""
    with log_put_back():
        yield


def json_log() -> CycleLog:
    """A log at level debug, one JSON object a line, on what stderr is now."""
    return CycleLog(set_up_logs("json", "debug"))


def lines(capsys: pytest.CaptureFixture[str]) -> Lines:
    told = capsys.readouterr()
    assert told.out == ""
    return [json.loads(line) for line in told.err.splitlines()]


def events(found: Lines) -> list[tuple[str, str]]:
    return [(line["level"], line["event"]) for line in found]


# Cycles -----------------------------------------------------------------------------------------------------------


def test_a_cycle_that_changed_nothing_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """Polls, even with deltas waiting, leave no line."""
    log = json_log()
    log.cycle(CycleReport(pending(streams={"a": 3})))
    log.cycle(CycleReport(pending()))
    assert lines(capsys) == []


def test_settings_without_effect_are_logged_once_for_each_file(capsys: pytest.CaptureFixture[str]) -> None:
    """With the blob, the warning and a remedy; again when another file brings it, and nothing for a good one."""
    log = json_log()
    for blob in ("a" * 40, "a" * 40, "b" * 40, None, "a" * 40):
        warned = () if blob is None else ("[collections.x] can never match: …",)
        log.cycle(CycleReport(pending(settings=blob, settings_warnings=warned)))
    found = lines(capsys)
    assert events(found) == [("warning", "setting without effect")] * 3
    assert [line["blob"][0] for line in found] == ["a", "b", "a"]
    assert found[0]["cause"].startswith("[collections.x]")
    assert "correct or remove" in found[0]["remedy"]


def test_a_closed_frame_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Frame, deltas, streams, digest, commit and milliseconds, and of the rest what there was."""
    log = json_log()
    log.cycle(published(closed(deltas=3, streams=2), phases={"merge": 0.25, "publish": 0.5}))
    (line,) = lines(capsys)
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "level": "info",
        "event": "frame closed",
        "frame": 7,
        "deltas": 3,
        "streams": 2,
        "digest": "e" * 40,
        "commit": "a" * 40,
        "ms": 750,
    }


def test_what_was_out_of_the_ordinary_stands_in_the_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Late, duplicate and held deltas, misfits and conflicts are numbers of the same line, where there are any."""
    log = json_log()
    log.cycle(published(closed(late=1, duplicates=2, held=3, misfits=4, conflicts=[conflict("posts")] * 5)))
    (line,) = lines(capsys)
    names = ("late", "duplicates", "held", "misfits", "conflicts")
    assert [line[name] for name in names] == [1, 2, 3, 4, 5]


def test_each_quarantined_delta_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    """A warning names reason, detail and where it came from; a ledger that lists it again does not repeat it."""
    log = json_log()
    far = quarantined("far", "too-far-ahead", since=7)
    log.cycle(published(closed(7, quarantined=[far])))
    log.cycle(published(closed(8, quarantined=[far, quarantined("new", "not-json", since=8)])))
    warnings = [line for line in lines(capsys) if line["level"] == "warning"]
    assert [(line["event"], line["frame"], line["reason"]) for line in warnings] == [
        ("delta quarantined", 7, "too-far-ahead"),
        ("delta quarantined", 8, "not-json"),
    ]
    assert {name: warnings[1][name] for name in ("path", "blob", "source", "commit", "detail")} == {
        "path": "state/stream_deltas/7/new.json",
        "blob": "b" * 40,
        "source": "dc/s",
        "commit": "f" * 40,
        "detail": "why new",
    }


def test_each_violation_is_told_with_who_did_it(capsys: pytest.CaptureFixture[str]) -> None:
    """Kind, path, commit and author, as in the ledger."""
    log = json_log()
    log.cycle(published(closed(violations=[violation("snapshot-edited"), violation("delta-deleted", author=None)])))
    _, first, second = lines(capsys)
    assert {name: first[name] for name in ("level", "event", "frame", "kind", "path", "commit", "author")} == {
        "level": "warning",
        "event": "violation",
        "frame": 7,
        "kind": "snapshot-edited",
        "path": "state/snapshot",
        "commit": "c" * 40,
        "author": "w <w@localhost>",
    }
    assert (second["kind"], second["author"]) == ("delta-deleted", None)


def test_a_frame_lost_to_another_primary_is_for_debugging(capsys: pytest.CaptureFixture[str]) -> None:
    """That another primary was first is ordinary: told at level debug, and not above."""
    report = CycleReport(pending(), lost=True)
    CycleLog(set_up_logs("json", "debug")).cycle(report)
    assert events(lines(capsys)) == [("debug", "another primary was faster")]
    CycleLog(set_up_logs("json", "info")).cycle(report)
    assert lines(capsys) == []


def test_under_the_journal_each_line_has_its_priority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`journalctl -p err` finds errors: a line begins with its syslog priority where stderr is the journal."""
    path = tmp_path / "journal"
    with path.open("w") as journal:
        monkeypatch.setattr(sys, "stderr", journal)
        set_up_logs("json", "info").info("before")
        found = path.stat()
        monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino}")
        log = set_up_logs("json", "info")
        log.error("broken")
        log.warning("odd")
    assert [line.partition("{")[0] for line in path.read_text().splitlines()] == ["", "<3>", "<4>"]


# Failures ---------------------------------------------------------------------------------------------------------


def test_a_failure_is_told_once_and_its_end_once(capsys: pytest.CaptureFixture[str]) -> None:
    """However often the same cause comes, it is one line with its remedy; the first good cycle says it is over."""
    log = json_log()
    for _ in range(5):
        log.failure(FULL)
    (line,) = lines(capsys)
    assert {name: line[name] for name in ("level", "event", "cause", "remedy")} == {
        "level": "error",
        "event": "cycle failed",
        "cause": "the disk is full",
        "remedy": "make room",
    }
    log.cycle(CycleReport(pending()))
    log.cycle(CycleReport(pending()))
    (line,) = lines(capsys)
    assert (line["level"], line["event"], line["after"]) == ("info", "recovered", "the disk is full")


def test_another_cause_is_another_failure(capsys: pytest.CaptureFixture[str]) -> None:
    """A new cause is told though the old one was not over, and the recovery names both."""
    log = json_log()
    for error in (FULL, LOCKED, LOCKED):
        log.failure(error)
    log.cycle(published(closed()))
    found = lines(capsys)
    assert events(found) == [
        ("error", "cycle failed"),
        ("error", "cycle failed"),
        ("info", "recovered"),
        ("info", "frame closed"),
    ]
    assert found[2]["after"] == "the disk is full, main is locked"


def test_a_failure_that_comes_again_is_told_again(capsys: pytest.CaptureFixture[str]) -> None:
    """After a recovery the same cause is news."""
    log = json_log()
    for _ in range(2):
        log.failure(FatalError("gone", "restore it"))
        log.cycle(CycleReport(pending()))
    assert [event for _, event in events(lines(capsys))] == ["cycle failed", "recovered"] * 2


# Forms ------------------------------------------------------------------------------------------------------------


def test_the_log_is_json_where_nobody_watches(capsys: pytest.CaptureFixture[str]) -> None:
    """`auto` without a terminal is one object a line on stderr, keys sorted; stdout stays free for output."""
    set_up_logs("auto", "info").info("started", zebra=1, ant=["é", {"b": None}])
    told = capsys.readouterr()
    assert (told.out, told.err.count("\n")) == ("", 1)
    line = json.loads(told.err)
    assert list(line) == sorted(line)
    assert (line["ant"], line["zebra"], line["level"]) == (["é", {"b": None}], 1, "info")


@pytest.mark.parametrize(("level", "told"), [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)])
def test_a_level_leaves_out_what_is_below(capsys: pytest.CaptureFixture[str], level: str, told: int) -> None:
    """Each level of the configuration shows itself and what is more severe."""
    logger = set_up_logs("json", level)
    for say in (logger.debug, logger.info, logger.warning, logger.error):
        say("something")
    assert len(lines(capsys)) == told


def test_a_console_line_is_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    """Time of day, level, event and fields on one line, without colours where it is no terminal."""
    CycleLog(set_up_logs("console", "info")).cycle(published(closed(deltas=3)))
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "frame closed" in told
    assert "deltas=3" in told
    assert "\x1b" not in told


@pytest.mark.parametrize("form", ["console", "json"])
@pytest.mark.parametrize(
    "evil", ["\x1b[2Jowned\x07", "\x1b]0;owned\r\n2026 [info] all is well", "owned\x9b1m\udcff\u202e"]
)
def test_what_others_call_their_files_cannot_steer_a_terminal(
    form: Any, evil: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Escape sequences, line feeds and lone surrogates in paths and names come out as escapes, on one line."""
    ledger = closed(quarantined=[quarantined(evil, "bad-name")], violations=[violation("delta-deleted", author=evil)])
    CycleLog(set_up_logs(form, "info")).cycle(published(ledger))
    told = capsys.readouterr().err
    assert told.count("\n") == 3
    assert all(line.isprintable() for line in told.split("\n"))
    assert told.count("owned") == 3


def test_what_a_library_logs_is_a_line_of_the_same_form(capsys: pytest.CaptureFixture[str]) -> None:
    """Warnings and errors of libraries are JSON lines on one line each, also after the log was set up again."""
    set_up_logs("json", "info")
    set_up_logs("json", "info")
    logging.getLogger("apscheduler.executors").warning("job %s was\nmissed", "poll")
    try:
        raise ValueError("no\nline")
    except ValueError:
        logging.getLogger("asyncio").exception("a task failed")
    logging.getLogger("asyncio").info("using a selector")
    found = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [(line["event"], line["level"], line["library"], line["cause"]) for line in found] == [
        ("library message", "warning", "apscheduler.executors", "job poll was missed"),
        ("library message", "error", "asyncio", "a task failed: ValueError: no line"),
    ]


def test_requests_that_are_no_http_do_not_fill_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    """What a stranger can cause with each connection is not logged; what fails in the server is."""
    set_up_logs("json", "info")
    logging.getLogger("uvicorn.error").warning("Invalid HTTP request received.")
    logging.getLogger("uvicorn.error").error("Exception in ASGI application")
    (line,) = capsys.readouterr().err.splitlines()
    assert json.loads(line)["cause"] == "Exception in ASGI application"
