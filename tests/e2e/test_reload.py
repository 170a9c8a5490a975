"""Another configuration takes effect whole or not at all, under a running daemon (docs/protocol.md#configuration)."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError

from tests.e2e.primaries import events, metric
from tests.e2e.tools import Daemon, clone, dc, delta, push, wait_for

POLL_S = 600
MANUAL = '[frames]\nclose = "manual"\n'


def write(file: Path, url: Path, more: str) -> None:
    """A configuration, put in place whole: a daemon never reads half of it."""
    text = (
        f'[http]\nlisten = "127.0.0.1:0"\n[repository]\nurl = "{url}"\npoll = {POLL_S}\n[log]\nformat = "json"\n{more}'
    )
    new = file.with_suffix(".new")
    new.write_text(text)
    new.replace(file)


def two_repositories(folder: Path) -> list[Path]:
    """One whose open frame is 1, and one whose open frame is 40."""
    found = []
    for name, frame in (("one", 1), ("other", 40)):
        dc("init", str(folder / f"{name}.git"), "--frame", str(frame))
        found.append(folder / f"{name}.git")
    return found


@contextmanager
def served(folder: Path) -> Iterator[tuple[Daemon, Path, Path]]:
    """A daemon that serves one of two repositories, its configuration, and the other repository."""
    one, other = two_repositories(folder)
    file = folder / "config" / "primary.toml"
    (file.parent / "deep" / "below").mkdir(parents=True)
    write(file, one, MANUAL)
    with Daemon(folder, "--config", str(file)) as daemon:
        wait_for(lambda: frame_of(daemon) == 1)
        yield daemon, file, other


def frame_of(daemon: Daemon) -> int | None:
    """The open frame; None before the first look."""
    try:
        return int(json.loads(daemon.get("/api/v1/status"))["frame"])
    except HTTPError:
        return None


def reload(daemon: Daemon, event: str, count: int) -> None:
    """Ask for the configuration to be read, until this was logged so often; a change of the file may ask as well."""
    daemon.process.send_signal(signal.SIGHUP)
    wait_for(lambda: len(events(daemon, event)) >= count)


def test_a_refused_configuration_leaves_no_trace_in_the_next(tmp_path: Path) -> None:
    """Another repository with a schedule that is none is refused; with that put right, it is served."""
    with served(tmp_path) as (daemon, file, other):
        write(file, other, '[frames]\nclose = "cron"\ncron = "never at all"\n')
        reload(daemon, "configuration refused, the old one stays", 1)
        assert frame_of(daemon) == 1
        applied = len(events(daemon, "configuration applied"))
        write(file, other, MANUAL)
        reload(daemon, "configuration applied", applied + 1)
        assert events(daemon, "configuration applied")[-1]["repository"] == str(other)
        wait_for(lambda: frame_of(daemon) == 40)
        assert metric(daemon, "config_refused") == 0


SECRET = '[[events]]\nurl = "http://127.0.0.1:1/hooks/private-{0}"\nretry = {1}\n'


def test_a_reload_says_what_changed_and_shows_no_secret(tmp_path: Path) -> None:
    """Each key with its old and its new value, and each key whose file holds something else; passwords, users and the
    paths of receivers are not shown."""
    token = tmp_path / "token"
    token.write_text("private-1\n")
    one, other = two_repositories(tmp_path)
    file = tmp_path / "config" / "primary.toml"
    file.parent.mkdir()
    http = f'[frames]\nclose = "manual"\n[hint]\nsecret_file = "{token}"\n'
    write(file, one, f"{http}{SECRET.format(1, 1)}")
    with Daemon(tmp_path, "--config", str(file)) as daemon:
        wait_for(lambda: frame_of(daemon) == 1)
        token.write_text("private-2\n")
        more = '[[events]]\nexec = ["true", "private-3"]\n[links]\ncommit = ""\n'
        grace = http.replace('"manual"', '"manual"\ngrace = 2')
        write(file, other, f"{grace}{SECRET.format(4, 2)}{more}")
        reload(daemon, "configuration applied", 1)
        (line,) = events(daemon, "configuration applied")[:1]
        assert line["changed"] == {
            "[repository] url": [str(one), str(other)],
            "[frames] grace": [0.0, 2.0],
            "[links] commit": [None, ""],
            "[[events]] table 1 url": ["(not shown)", "(not shown)"],
            "[[events]] table 1 retry": [1.0, 2.0],
            "[[events]] table 2": [None, ["true", "…"]],
        }
        assert line["files"] == ["[hint] secret_file"]
        assert "private" not in daemon.text
        reload(daemon, "configuration applied", len(events(daemon, "configuration applied")) + 1)
        assert (events(daemon, "configuration applied")[-1]["changed"], line["level"]) == ({}, "info")


def test_a_refused_configuration_is_reported_with_every_mistake(tmp_path: Path) -> None:
    """In the log, in /readyz and as a metric, for as long as it is on the disk."""
    with served(tmp_path) as (daemon, file, other):
        write(file, other, '[frames]\ngrace = -1\nclose = "cron"\n[[events]]\nexec = ["/no/such/program"]\n')
        reload(daemon, "configuration refused, the old one stays", 1)
        mistakes = events(daemon, "configuration refused, the old one stays")[0]["mistakes"]
        for wanted, one in zip(("[frames] grace", "needs cron", "/no/such/program"), mistakes, strict=True):
            assert wanted in one
            assert wanted in daemon.get("/readyz")
        assert metric(daemon, "config_refused") == 1
        write(file, other, MANUAL)
        reload(daemon, "configuration applied", 1)
        assert "refused" not in daemon.get("/readyz")
        assert metric(daemon, "config_refused") == 0


def test_the_file_watch_goes_over_to_another_repository(tmp_path: Path) -> None:
    """A push to the repository that is served by now is seen at once, and not only by the next poll."""
    with served(tmp_path) as (daemon, file, other):
        write(file, other, MANUAL)
        reload(daemon, "configuration applied", 1)
        wait_for(lambda: frame_of(daemon) == 40)
        worker = clone(other, tmp_path / "worker")
        push(worker, {"state/stream_deltas/40/a.json": delta(40, "a", observations=[1])}, "refs/heads/dc/a")
        wait_for(lambda: metric(daemon, "pending_deltas") == 1, POLL_S / 10)


def test_what_is_written_below_the_configurations_folder_asks_for_no_look(tmp_path: Path) -> None:
    """Files in its sub-folders, such as another program's, wake nobody; the configuration is read as it changes."""
    with served(tmp_path) as (daemon, file, other):
        time.sleep(1)  # until the watch is there
        before = metric(daemon, 'polls_total{result="ok"}')
        for number in range(20):
            (file.parent / "deep" / "below" / f"{number}").write_text("x")
            time.sleep(0.1)
        assert metric(daemon, 'polls_total{result="ok"}') <= before + 1
        write(file, other, MANUAL)
        wait_for(lambda: frame_of(daemon) == 40, POLL_S / 10)
