"""Events reach real receivers at least once, in order, whatever becomes of them (docs/protocol.md#events)."""

from __future__ import annotations

import json
import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.event_tools import SECRET, Receiver, closed, configured, first_of, receiving, verified
from tests.e2e.primaries import await_ready, close_by_hand, metric, readiness
from tests.e2e.primaries import events as logged
from tests.e2e.processes import read
from tests.e2e.servers import certify
from tests.e2e.tools import Daemon, clone, dc, dc_json, delta, git, push, rewrite, wait_for

SETTINGS = '[collections.tasks]\nsection = "claims"\nkey = ["resource"]\nrule = "claim"\nttl = 2\n'
CHAPTERS = [{"book": "tides", "chapter": 1, "author": "ann", "title": "Ebb", "content": "Low water."}]


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state folder of the test's own, where cursors are kept."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "dreamcatcherd" / "events"


@pytest.fixture
def fleet(tmp_path: Path) -> Path:
    repository = tmp_path / "fleet.git"
    dc("init", str(repository), "--no-hook")
    return repository


def started(folder: Path, file: Path) -> Daemon:
    """A daemon with a log of its own: that says where it answers."""
    number = len(list(folder.glob("daemon-*")))
    (folder / f"daemon-{number}").mkdir()
    return Daemon(folder / f"daemon-{number}", "--config", str(file))


def table(receiver: Receiver, more: str = "") -> str:
    return f'[[events]]\nurl = "{receiver.url}"\nretry = 0.2\n{more}'


def open_frame(daemon: Daemon) -> int:
    frame: int = json.loads(daemon.get("/api/v1/status"))["frame"]
    return frame


def apply(daemon: Daemon, folder: Path, repository: Path, tables: str) -> None:
    """Give a running daemon other tables of events, and wait until they are in force."""
    before = len(logged(daemon, "configuration applied"))
    configured(folder, repository, tables)
    daemon.process.send_signal(signal.SIGHUP)
    # The file is seen to change as well: one of two lines may be about the tables of before, and changes nothing.
    wait_for(lambda: any(line["changed"] for line in logged(daemon, "configuration applied")[before:]))


def await_frames(daemon: Daemon, number: int) -> int:
    """Wait until so many more frames are closed; returns the open one."""
    wait_for(lambda: readiness(daemon)[0] == 200)  # before its first look there is no status
    until = open_frame(daemon) + number
    wait_for(lambda: open_frame(daemon) >= until)
    return open_frame(daemon)


def test_every_type_arrives_signed_and_is_read_by_other_libraries(
    fleet: Path, tmp_path: Path, receiver: Receiver
) -> None:
    """A frame with a quarantine, a loss, claims, a book and edited canonical files: one event for each, in the order of
    the protocol, read and verified by the libraries of CloudEvents and Standard Webhooks."""
    secret = tmp_path / "secret"
    secret.write_text(f"{SECRET}\n")
    worker = clone(fleet, tmp_path / "worker")
    push(worker, {"state/dreamcatcher.toml": SETTINGS})
    file = configured(tmp_path / "p", fleet, table(receiver, f'secret_file = "{secret}"\n'), close="manual")
    with started(tmp_path, file) as daemon:
        wait_for(lambda: closed_frames(daemon) == 0)
        daemon.process.send_signal(signal.SIGUSR1)
        wait_for(lambda: closed(receiver.events) == [1])
        git(worker, "pull", "-q", "--rebase", "origin", "main")
        push(worker, {"state/frame.json": "{}"})
        wait_for(lambda: metric(daemon, "restores_total") == 1)
        git(worker, "pull", "-q", "--rebase", "origin", "main")
        files: dict[str, dict[str, Any]] = {
            "a": {"posts_created": [{"number": 1, "title": "mine"}], "claims": [{"resource": "build"}]},
            "b": {"posts_created": [{"number": 1, "title": "ours"}], "claims": [{"resource": "build"}]},
            "c": {"books_started": [{"book": "tides", "target_chapters": 1}], "chapters_written": CHAPTERS},
        }
        folder = "state/stream_deltas/2"
        deltas = {f"{folder}/{name}.json": delta(2, name, **sections) for name, sections in files.items()}
        push(worker, deltas | {f"{folder}/bad.json": "{"})
        wait_for(lambda: metric(daemon, "pending_deltas") == 3)
        daemon.process.send_signal(signal.SIGUSR1)
        wait_for(lambda: "book.published" in [event["type"] for event in receiver.events])
        wait_for(lambda: metric(daemon, "events_undelivered") == 0)
        found = [verified(one) for one in receiver.got]
        types = [event.get_type() for event in found]
        assert types == [
            "frame.closed",
            "canonical.restored",
            "frame.closed",
            "delta.quarantined",
            "delta.lost",
            "claim.decided",
            "claim.decided",
            "book.published",
        ]
        data = [event.get_data() for event in found]
        assert [one["frame"] for one in data] == [1, 2, 2, 2, 2, 2, 2, 2]
        assert [one.get("ordinal") for one in data] == [0, None, 0, 1, 2, 3, 4, 5]
        assert data[1]["paths"] == ["state/frame.json"]
        assert (data[3]["path"], data[3]["reason"]) == (f"{folder}/bad.json", "not-json")
        assert (data[4]["stream_id"], data[4]["path"]) == ("a", f"{folder}/a.json")
        assert [(row["field"], row["value"]) for row in data[4]["lost"]] == [("title", "mine")]
        assert sorted((one["stream_id"], one["outcome"]) for one in data[5:7]) == [("a", "granted"), ("b", "refused")]
        assert (data[7]["book"], data[7]["chapters"]) == ("tides", 1)
        assert {event.get_source() for event in found} == {str(fleet)}
        ledger = json.loads(daemon.get("/api/v1/log?limit=1"))[0]
        assert (data[2]["digest"], data[2]["commit"]) == (ledger["digest"], ledger["commit"])
        assert {one["path"] for one in receiver.got} == {"/hooks/dreams?team=a"}


def close_next(daemon: Daemon) -> None:
    """Let a daemon close its open frame."""
    await_ready(daemon)
    close_by_hand(daemon, open_frame(daemon))


def closed_frames(daemon: Daemon) -> float:
    return metric(daemon, 'publishes_total{result="ok"}')


def test_a_receiver_that_fails_hangs_and_dies_gets_everything_in_order(
    fleet: Path, tmp_path: Path, receiver: Receiver
) -> None:
    """Through refusals, a hang, deaths of the receiver and of the daemon, frames go on closing, and in the end every
    event has arrived, in order and without a gap."""
    file = configured(tmp_path / "p", fleet, table(receiver, "timeout = 1\n"))
    with started(tmp_path, file) as daemon:
        wait_for(lambda: len(closed(receiver.events)) >= 2)
        for mode in ("500", "hang", "drip", "flood", "redirect", "410"):
            receiver.mode(mode)
            wait_for(lambda mode=mode: mode in [one["mode"] for one in receiver.got])  # type: ignore[misc]
            await_frames(daemon, 2)
            if mode != "flood":  # status and length were right: the event was taken
                wait_for(lambda: metric(daemon, "events_undelivered") >= 1)
            receiver.mode("ok")
            last = open_frame(daemon)
            wait_for(lambda last=last: closed(receiver.events)[-1] >= last)  # type: ignore[misc]
        receiver.kill()
        await_frames(daemon, 12)
        wait_for(lambda: metric(daemon, "events_undelivered") >= 12)
        daemon.process.kill()
        daemon.process.wait()
    with started(tmp_path, file) as daemon:
        last = await_frames(daemon, 3)
        wait_for(lambda: metric(daemon, "events_undelivered") >= 12)
        receiver.start()
        wait_for(lambda: closed(receiver.events)[-1] >= last)
        wait_for(lambda: metric(daemon, "events_undelivered") == 0)
        assert daemon.stop()[0] == 0
    frames = closed(receiver.events)
    assert frames == list(range(1, frames[-1] + 1))
    assert len(frames) >= 30
    assert [row["frame"] for row in dc_json("log", "--repo", str(fleet))][::-1][: len(frames)] == frames


@pytest.mark.parametrize("mode", ["hang", "drip", "500"])
def test_a_daemon_whose_receiver_does_not_answer_ends_in_time(
    fleet: Path, tmp_path: Path, receiver: Receiver, mode: str
) -> None:
    """SIGTERM ends it with 0 within 2 s, though a delivery is under way; the next start delivers what was broken
    off."""
    receiver.mode(mode)
    file = configured(tmp_path / "p", fleet, table(receiver, "timeout = 600\n"))
    with started(tmp_path, file) as daemon:
        wait_for(lambda: receiver.got)
        await_frames(daemon, 2)
        code, seconds = daemon.stop()
        assert logged(daemon, "events delivered again") == []
    assert code == 0
    assert seconds < 2
    receiver.mode("ok")
    with started(tmp_path, file) as daemon:
        wait_for(lambda: len(closed(receiver.events)) >= 3)
    frames = closed(receiver.events)
    assert frames == list(range(1, frames[-1] + 1))


def test_a_server_that_asks_for_a_pause_gets_one(fleet: Path, tmp_path: Path, receiver: Receiver) -> None:
    """After a 429 with Retry-After no request comes before that time, whatever `retry` says."""
    receiver.mode("429")
    file = configured(tmp_path / "p", fleet, table(receiver))
    with started(tmp_path, file) as daemon:
        wait_for(lambda: len(receiver.got) >= 3)
        times = [int(one["headers"]["webhook-timestamp"]) for one in receiver.got[:3]]
        assert times[2] - times[0] >= 2
        assert len({one["headers"]["webhook-id"] for one in receiver.got[:3]}) == 1
        receiver.mode("ok")
        wait_for(lambda: closed(receiver.events)[:3] == [1, 2, 3])
        assert daemon.stop()[0] == 0


# Programs ---------------------------------------------------------------------------------------------------------

PROGRAM = """#!/bin/sh
# Writes the event down, and misbehaves as the file `mode` says.
folder=$1
mode=$(cat "$folder/mode")
event=$(cat)
case $mode in
    ok) printf '%s\\n' "$event" >> "$folder/got" ;;
    hang) echo $$ > "$folder/pid"; sleep 600 & wait ;;
    chatter) exec yes ;;
    deaf) exec 0<&-; printf '%s\\n' "$event" >> "$folder/got" ;;
    *) echo "no room, really" >&2; env > "$folder/env.new"; mv "$folder/env.new" "$folder/env"; exit 3 ;;
esac
"""


class Script:
    """A program that takes events, as it is told."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        self.path = folder / "on-event"
        self.path.write_text(PROGRAM)
        self.path.chmod(0o755)
        self.mode("ok")

    def mode(self, mode: str) -> None:
        rewrite(self.folder / "mode", mode)

    @property
    def table(self) -> str:
        return f'[[events]]\nexec = ["{self.path}", "{self.folder}"]\nretry = 0.2\ntimeout = 1\n'

    @property
    def events(self) -> list[dict[str, Any]]:
        file = self.folder / "got"
        text = file.read_text() if file.exists() else ""
        return first_of(json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n"))


@pytest.fixture
def script(tmp_path: Path) -> Script:
    return Script(tmp_path / "script")


def test_a_program_that_fails_hangs_and_chatters_gets_everything_in_order(
    fleet: Path, tmp_path: Path, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 0 alone is a delivery; what takes too long is killed with all that it started; the daemon's own
    variables are not passed on; what the program said is in the log."""
    monkeypatch.setenv("DREAMCATCHERD_SPARE", "private")
    monkeypatch.setenv("HTTP_TOKEN", "private")
    file = configured(tmp_path / "p", fleet, script.table)
    with started(tmp_path, file) as daemon:
        wait_for(lambda: len(closed(script.events)) >= 2)
        for mode in ("fail", "hang", "chatter"):
            failing = len(logged(daemon, "events not delivered"))
            script.mode(mode)
            wait_for(lambda failing=failing: len(logged(daemon, "events not delivered")) > failing)  # type: ignore[misc]
            if mode == "hang":
                wait_for(lambda: file_text(script.folder / "pid"))
            await_frames(daemon, 2)
            script.mode("ok")
            last = open_frame(daemon)
            wait_for(lambda last=last: closed(script.events)[-1] >= last)  # type: ignore[misc]
        script.mode("fail")
        wait_for(lambda: any("no room, really" in one["cause"] for one in logged(daemon, "events not delivered")))
        environment = (script.folder / "env").read_text()
        assert "PATH=" in environment
        assert "private" not in environment
        hung = Path("/proc", (script.folder / "pid").read_text().strip(), "cmdline")
        assert b"on-event" not in read(hung)
        daemon.process.kill()
        daemon.process.wait()
    script.mode("ok")
    with started(tmp_path, file) as daemon:
        last = await_frames(daemon, 2)
        wait_for(lambda: closed(script.events)[-1] >= last)
        assert daemon.stop()[0] == 0
    frames = closed(script.events)
    assert frames == list(range(1, frames[-1] + 1))


def test_a_program_that_is_running_ends_with_the_daemon(fleet: Path, tmp_path: Path, script: Script) -> None:
    """It is killed, with what it started, so that nothing works on an event that will be delivered again."""
    script.mode("hang")
    file = configured(tmp_path / "p", fleet, script.table.replace("timeout = 1", "timeout = 600"))
    with started(tmp_path, file) as daemon:
        pid = int(wait_for(lambda: file_text(script.folder / "pid")))
        code, seconds = daemon.stop()
    assert (code, seconds < 2) == (0, True)
    wait_for(lambda: b"on-event" not in read(Path(f"/proc/{pid}/cmdline")))


def file_text(path: Path) -> str:
    return path.read_text() if path.exists() else ""


# Configuration ----------------------------------------------------------------------------------------------------


def test_subscriptions_come_and_go_with_the_configuration(
    fleet: Path, tmp_path: Path, receiver: Receiver, script: Script
) -> None:
    """A table that is added begins with the open frame; one that is removed and put back goes on where it was; one
    whose other keys change keeps its cursor. A refused configuration changes nothing."""
    file = configured(tmp_path / "p", fleet, table(receiver))
    with started(tmp_path, file) as daemon:
        wait_for(lambda: len(closed(receiver.events)) >= 2)
        apply(daemon, tmp_path / "p", fleet, table(receiver) + script.table)
        wait_for(lambda: len(closed(script.events)) >= 2)
        apply(daemon, tmp_path / "p", fleet, script.table)
        stopped = len(receiver.got)
        await_frames(daemon, 3)
        assert len(receiver.got) <= stopped + 1
        configured(tmp_path / "p", fleet, '[[events]]\nexec = ["/no/such/program"]\n')
        daemon.process.send_signal(signal.SIGHUP)
        wait_for(lambda: logged(daemon, "configuration refused, the old one stays"))
        last = await_frames(daemon, 2)
        wait_for(lambda: closed(script.events)[-1] >= last - 1)
        tables = table(receiver, 'types = ["frame.closed", "delta.lost"]\n') + script.table
        apply(daemon, tmp_path / "p", fleet, tables)
        last = await_frames(daemon, 1)
        wait_for(lambda: closed(receiver.events)[-1] >= last - 1)
        assert daemon.stop()[0] == 0
    frames = closed(receiver.events)
    assert frames == list(range(1, frames[-1] + 1))
    added = closed(script.events)
    assert added[0] > 2
    assert added == list(range(added[0], added[-1] + 1))


def test_types_choose_and_ordinals_count_all(fleet: Path, tmp_path: Path, receiver: Receiver, script: Script) -> None:
    """A subscription to one type gets nothing else; its events have the ordinals and ids that all others see."""
    tables = table(receiver) + script.table + 'types = ["delta.quarantined"]\n'
    file = configured(tmp_path / "p", fleet, tables, close="manual")
    worker = clone(fleet, tmp_path / "worker")
    push(worker, {f"state/stream_deltas/1/{name}.json": "{" for name in "ab"})
    with started(tmp_path, file) as daemon:
        wait_for(lambda: closed_frames(daemon) == 0)
        daemon.process.send_signal(signal.SIGUSR1)
        wait_for(lambda: len(receiver.events) == 3)
        wait_for(lambda: len(script.events) == 2)
        assert script.events == [event for event in receiver.events if event["type"] == "delta.quarantined"]
        assert [event["data"]["ordinal"] for event in script.events] == [1, 2]
        wait_for(lambda: metric(daemon, "events_undelivered") == 0)


def test_a_secret_can_be_replaced_while_events_are_sent(fleet: Path, tmp_path: Path, receiver: Receiver) -> None:
    """With two lines each event has two signatures; the file is read for each event, so no reload is needed. No secret
    is ever in a log, nor the path of the URL, nor either of them in the cursor's file."""
    secret = tmp_path / "secret"
    secret.write_text(f"{SECRET}\n")
    file = configured(tmp_path / "p", fleet, table(receiver, f'secret_file = "{secret}"\n'))
    with started(tmp_path, file) as daemon:
        wait_for(lambda: receiver.events)
        rewrite(secret, f"a plain text\n{SECRET}\n")
        wait_for(lambda: " " in receiver.got[-1]["headers"]["webhook-signature"])
        verified(receiver.got[-1])
        verified(receiver.got[-1], b"a plain text")
        rewrite(secret, "a plain text\n")
        wait_for(lambda: " " not in receiver.got[-1]["headers"]["webhook-signature"])
        verified(receiver.got[-1], b"a plain text")
        rewrite(secret, "whsec_***\n")
        wait_for(lambda: logged(daemon, "events not delivered"))
        receiver.kill()
        rewrite(secret, "a plain text\n")
        wait_for(lambda: len(logged(daemon, "events not delivered")) >= 2)
        text = daemon.text + "".join(path.read_text() for path in tmp_path.glob("state/*/events/*.json"))
        for private in (SECRET, SECRET.removeprefix("whsec_"), "a plain text", "whsec_***", "hooks/dreams", "team="):
            assert private not in text


def test_the_verification_in_the_documents_works(fleet: Path, tmp_path: Path, receiver: Receiver) -> None:
    """The Python of docs/events.md accepts what a daemon sends, with both forms of a secret, and nothing else."""
    page = (Path(__file__).parents[2] / "docs/events.md").read_text()
    (block,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names: dict[str, Any] = {}
    exec(block, names)
    read_event = names["read_event"]
    secret = tmp_path / "secret"
    secret.write_text(f"a plain text\n{SECRET}\n")
    file = configured(tmp_path / "p", fleet, table(receiver, f'secret_file = "{secret}"\n'))
    with started(tmp_path, file):
        wait_for(lambda: receiver.events)
    headers, body = receiver.got[0]["headers"], receiver.got[0]["body"].encode()
    assert read_event(SECRET, headers, body) == read_event("a plain text", headers, body) == receiver.events[0]
    for wrong in (
        ("another text", headers, body),
        (SECRET, headers, body + b" "),
        (SECRET, headers | {"webhook-timestamp": "1"}, body),
    ):
        with pytest.raises(ValueError, match="not signed"):
            read_event(*wrong)


def test_a_receiver_that_takes_nothing_for_long_is_a_trouble(fleet: Path, tmp_path: Path, receiver: Receiver) -> None:
    """It is named with its remedy by `status` and `/readyz`, which stays 200; once it takes events the trouble is
    gone, and the log has one line for each of the two."""
    file = configured(tmp_path / "p", fleet, table(receiver))
    with started(tmp_path, file) as daemon:
        wait_for(lambda: receiver.events)
        receiver.mode("503")
        wait_for(lambda: "answered 503" in readiness(daemon)[1])
        assert readiness(daemon)[0] == 200
        found = [one for one in json.loads(daemon.get("/api/v1/status"))["troubles"] if "503" in one["what"]]
        assert len(found) == 1
        assert found[0]["remedy"]
        assert "not delivered" in found[0]["what"]
        receiver.mode("ok")
        wait_for(lambda: "503" not in readiness(daemon)[1])
        assert len(logged(daemon, "events not delivered")) == len(logged(daemon, "events delivered again")) == 1


# Several daemons, and histories that go back ----------------------------------------------------------------------


def test_two_primaries_send_the_same_events_under_the_same_ids(
    fleet: Path, tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each with its own state folder sends all; what both send is equal but for its attempt, so a receiver that drops
    ids it knows has each event once, in order."""
    file = configured(tmp_path / "p", fleet, table(receiver), close="manual")
    with started(tmp_path, file) as one:
        close_next(one)
        wait_for(lambda: closed(receiver.events) == [1])
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "other"))
        with started(tmp_path, file) as other:
            for number in range(2, 6):
                for daemon in (one, other):
                    await_ready(daemon)
                    wait_for(lambda daemon=daemon, number=number: open_frame(daemon) == number)  # type: ignore[misc]
                close_next((one, other)[number % 2])
                # Of two that send at the same time, either may be the first.
                wait_for(lambda number=number: len(receiver.got) >= 1 + 2 * (number - 1))  # type: ignore[misc]
            assert other.stop()[0] == 0
        assert one.stop()[0] == 0
    bodies: dict[str, set[str]] = {}
    for request in receiver.got:
        bodies.setdefault(request["headers"]["webhook-id"], set()).add(request["body"])
    assert all(len(found) == 1 for found in bodies.values())
    frames = closed(receiver.events)
    assert frames == list(range(1, frames[-1] + 1))


def test_of_daemons_with_one_state_folder_one_sends_and_another_takes_over(
    fleet: Path, tmp_path: Path, receiver: Receiver
) -> None:
    """While both run each event comes once; when the sender is killed the other goes on from its cursor."""
    file = configured(tmp_path / "p", fleet, table(receiver))
    with started(tmp_path, file) as one:
        wait_for(lambda: receiver.events)
        with started(tmp_path, file) as other:
            last = await_frames(other, 4)
            wait_for(lambda: closed(receiver.events)[-1] >= last - 1)
            ids = [one["headers"]["webhook-id"] for one in receiver.got]
            assert len(ids) == len(set(ids))
            one.process.kill()
            one.process.wait()
            last = await_frames(other, 4)
            wait_for(lambda: closed(receiver.events)[-1] >= last)
            assert other.stop()[0] == 0
    frames = closed(receiver.events)
    assert frames == list(range(1, frames[-1] + 1))


def test_after_a_backup_is_restored_new_frames_are_events_again(
    fleet: Path, tmp_path: Path, receiver: Receiver
) -> None:
    """The frames that are closed again, with other contents, have other ids and are all delivered; the log says from
    where events go on."""
    file = configured(tmp_path / "p", fleet, table(receiver), close="manual")

    def close_some(number: int, stream: str) -> None:
        await_ready(daemon)
        for _ in range(number):
            frame = open_frame(daemon)
            worker = clone(fleet, tmp_path / f"{stream}{frame}")
            path = f"state/stream_deltas/{frame}/{stream}.json"
            push(worker, {path: delta(frame, stream, observations=[1])}, f"refs/heads/dc/{stream}/{frame}")
            wait_for(lambda: metric(daemon, "pending_deltas") == 1)
            close_next(daemon)

    with started(tmp_path, file) as daemon:
        wait_for(lambda: closed_frames(daemon) == 0)
        close_some(3, "a")
        wait_for(lambda: closed(receiver.events) == [1, 2, 3])
        assert daemon.stop()[0] == 0
    shutil.copytree(fleet, tmp_path / "backup.git")
    with started(tmp_path, file) as daemon:
        close_some(3, "b")
        wait_for(lambda: closed(receiver.events) == [1, 2, 3, 4, 5, 6])
        assert daemon.stop()[0] == 0
    shutil.rmtree(fleet)
    shutil.copytree(tmp_path / "backup.git", fleet)
    with started(tmp_path, file) as daemon:
        wait_for(lambda: logged(daemon, "events moved"))
        close_some(1, "c")
        wait_for(lambda: closed(receiver.events) == [1, 2, 3, 4, 5, 6, 4])
        assert daemon.stop()[0] == 0


@pytest.mark.needs("openssl")
def test_over_tls_only_a_receiver_that_ca_file_vouches_for_gets_events(fleet: Path, tmp_path: Path) -> None:
    """With another authority nothing is sent and /readyz names the certificate; with the right one in the same file all
    arrives, signed, and `doctor` reaches the receiver."""
    (tmp_path / "tls").mkdir()
    (tmp_path / "other").mkdir()
    authority, *pair = certify(tmp_path / "tls")
    trusted, secret = tmp_path / "trusted.pem", tmp_path / "secret"
    shutil.copy(certify(tmp_path / "other")[0], trusted)
    secret.write_text(f"{SECRET}\n")
    with receiving(tmp_path / "receiver", pair) as receiver:
        keys = f'secret_file = "{secret}"\nca_file = "{trusted}"\n'
        file = configured(tmp_path / "p", fleet, table(receiver, keys))
        with started(tmp_path, file) as daemon:
            await_frames(daemon, 1)
            wait_for(lambda: "certificate" in daemon.get("/readyz"))
            refused = {row["check"]: row for row in dc_json("doctor", "--config", str(file), code=1)}
            assert "cannot be reached: " in refused["events 1"]["detail"]
            assert "certificate" in refused["events 1"]["detail"]
            assert receiver.got == []
            shutil.copy(authority, trusted)
            wait_for(lambda: 1 in closed(receiver.events))
            assert verified(receiver.got[0]).get_type() == "frame.closed"
            reached = {row["check"]: row for row in dc_json("doctor", "--config", str(file), code=1)}
            assert reached["events 1"]["ok"]
            assert {name for name, row in reached.items() if not row["ok"]} == {"hook", "push sync"}


def test_a_cursor_that_cannot_be_kept_is_refused_at_the_start(
    fleet: Path, tmp_path: Path, receiver: Receiver, state: Path
) -> None:
    """A state folder that is no folder: exit code 2, one line with the remedy, before anything runs."""
    state.parent.mkdir(parents=True)
    state.write_text("in the way")
    file = configured(tmp_path / "p", fleet, table(receiver))
    assert "cursors of [[events]] cannot be kept" in dc("run", "--config", str(file), code=2)


WRONG: list[tuple[Callable[[Path], str], str]] = [
    (lambda path: 'exec = ["/no/such/program"]', "is not a program"),
    (lambda path: f'url = "https://hooks.example/x"\nsecret_file = "{path}/empty"', "has no secret"),
    (lambda path: f'url = "https://hooks.example/x"\nsecret_file = "{path}/bad"', "is not base64"),
    (lambda path: f'url = "https://localhost/x"\nca_file = "{path}/bad"', "cannot be used"),
]


@pytest.mark.parametrize(("keys", "cause"), WRONG)
def test_a_receiver_that_cannot_be_one_is_refused_at_the_start(
    fleet: Path, tmp_path: Path, keys: Callable[[Path], str], cause: str
) -> None:
    """A missing program, a file without a usable secret, certificates that are none: exit code 2 and the cause, and
    never what the file holds."""
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "bad").write_text("whsec_hush!\n")
    file = configured(tmp_path / "p", fleet, f"[[events]]\n{keys(tmp_path)}\n")
    answer = dc("run", "--config", str(file), code=2)
    assert cause in answer
    assert "hush" not in answer
