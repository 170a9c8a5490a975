"""What a web server answers reaches the operator: its status, its words, and how long it wants to be left alone."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from datetime import datetime
from email.message import Message
from email.utils import formatdate
from pathlib import Path
from typing import NamedTuple

import pytest

from dreamcatcherd.config import load_config
from dreamcatcherd.core.errors import RetryableError
from dreamcatcherd.core.frames import Closing
from dreamcatcherd.daemon.cycle import close_frame, poll
from dreamcatcherd.daemon.opening import open_configured
from dreamcatcherd.git.failures import LimitedError
from dreamcatcherd.git.local import LocalStore
from dreamcatcherd.imports.new_repository import create
from tests.e2e.front import Answer, Front, front
from tests.e2e.primaries import events, metric, readiness
from tests.e2e.tools import Daemon, dc, dc_json, wait_for
from tests.law.fleet import NOW, commit_files
from tests.stages.tools import FOLDER, text

TRANSPORTS = ("pygit2", "git")


class Way(NamedTuple):
    """What to look for in the cause and the remedy of a status, and whether the daemon is to wait."""

    cause: str
    remedy: str


STATUSES = {
    400: Way("does not understand the request (400)", "server's log"),
    403: Way("refused the credentials (403)", "account's rights"),
    411: Way("requires the length of a push in advance (411)", "http.postBuffer"),
    413: Way("takes no push of this size (413)", "client_max_body_size"),
    429: Way("is asked too often (429)", "raise [repository] poll"),
    500: Way("failed by itself (500)", "server's log"),
    502: Way("is behind a proxy that gets no good answer from it (502)", "behind the proxy"),
    503: Way("is not available for now (503)", "wait"),
    504: Way("is behind a proxy that it does not answer in time (504)", "behind the proxy"),
    418: Way("answers with an error (418)", "server's log"),
}
REQUESTS = {
    "the refs of a fetch": "/info/refs?service=git-upload-pack",
    "the pack of a fetch": "POST /fleet.git/git-upload-pack",
    "the refs of a push": "/info/refs?service=git-receive-pack",
    "the pack of a push": "POST /fleet.git/git-receive-pack",
}
WAIT_S = 4
"""How long a server asks to be left alone."""
CLOCKS_S = 0.1
"""How far a clock may be corrected meanwhile."""
OID = "0123456789abcdef0123456789abcdef01234567"


class Said(NamedTuple):
    """A server's words as it sends them."""

    kind: str
    body: bytes


WORDS = {
    "plain text": Said("text/plain", f"no room for {OID}".encode()),
    "a page": Said("text/html", f"<html><head><title>x</title></head><body>no room for <b>{OID}</b></body>".encode()),
    "JSON": Said("application/json", f'{{"message": "no room for {OID}"}}'.encode()),
}


@pytest.fixture(autouse=True)
def nobodys_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    for name in ("GIT_CONFIG_GLOBAL", "XDG_CONFIG_HOME", "http_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")


class Moody:
    """Serves, and answers requests whose target ends in `target` with `answer` once that is set. `asked_s` is when each
    request came, in seconds since 1970."""

    def __init__(self) -> None:
        self.target = ""
        self.answer: Answer = None
        self.asked_s: list[float] = []

    def __call__(self, server: Front, wanted: str, sent: Message) -> Answer:
        self.asked_s.append(time.time())
        return self.answer if self.target and wanted.endswith(self.target) else None


class Outpost(NamedTuple):
    server: Front
    mood: Moody
    shared: LocalStore


@pytest.fixture
def outpost(tmp_path: Path) -> Iterator[Outpost]:
    shared = create(tmp_path / "served" / "fleet.git", 1, NOW, Closing("manual"), hook=False)
    subprocess.run(["git", "-C", str(shared.folder), "config", "http.receivepack", "true"], check=True)
    mood = Moody()
    with front(shared.folder.parent, mood) as server:
        yield Outpost(server, mood, shared)


def config_of(outpost: Outpost, tmp_path: Path, transport: str, close: str = "manual", retry: float = 1.0) -> Path:
    file = tmp_path / "primary.toml"
    file.write_text(
        f'[repository]\nurl = "{outpost.server.url}"\nclone = "{tmp_path / "clone.git"}"\n'
        f'transport = "{transport}"\npoll = 0.2\nretry = {retry}\ntimeout = 60\n'
        f'[http]\nlisten = "127.0.0.1:0"\n[frames]\nclose = "{close}"\ninterval = 0.5\n'
    )
    return file


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("request_", REQUESTS)
@pytest.mark.parametrize("status", STATUSES)
def test_each_status_has_a_cause_and_a_remedy_of_its_own(
    outpost: Outpost, tmp_path: Path, transport: str, request_: str, status: int
) -> None:
    """Whatever is asked, by either transport, the failure names the status and what to do, and says what the server
    said, object ids whole; the frame is published as soon as the server lets it."""
    config = load_config(config_of(outpost, tmp_path, transport))
    primary = open_configured(config, config.repository.url)
    poll(primary)
    outpost.mood.target = REQUESTS[request_]
    outpost.mood.answer = (status, {"Content-Type": "text/plain"}, f"no room for {OID}".encode())
    if "fetch" in request_:
        commit_files(outpost.shared, "refs/heads/dc/x", {f"{FOLDER}/1/x.json": text(1, "x")}, orphan=True)
    with pytest.raises(RetryableError) as caught:
        close_frame(primary, "test")
    way = STATUSES[status]
    assert way.cause in caught.value.cause
    assert f"no room for {OID}" in caught.value.cause
    assert way.remedy in caught.value.remedy
    assert isinstance(caught.value, LimitedError) is (status == 429)
    outpost.mood.answer = None
    assert close_frame(primary, "test").ledger is not None


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("words", WORDS)
@pytest.mark.parametrize("request_", ["the refs of a fetch", "the pack of a push"])
def test_the_words_of_a_server_are_shown_whatever_their_type(
    outpost: Outpost, tmp_path: Path, transport: str, words: str, request_: str
) -> None:
    """Text, a page or JSON: what it says stands in the cause, on one line, without tags."""
    config = load_config(config_of(outpost, tmp_path, transport))
    primary = open_configured(config, config.repository.url)
    poll(primary)
    outpost.mood.target = REQUESTS[request_]
    outpost.mood.answer = (500, {"Content-Type": WORDS[words].kind}, WORDS[words].body)
    with pytest.raises(RetryableError, match=f"no room for {OID}") as caught:
        close_frame(primary, "test")
    assert "<" not in caught.value.cause
    assert "\n" not in caught.value.cause


def test_a_servers_words_are_bounded_and_drive_no_terminal(outpost: Outpost, tmp_path: Path) -> None:
    """Control characters are escaped, and a megabyte is cut."""
    config = load_config(config_of(outpost, tmp_path, "git"))
    primary = open_configured(config, config.repository.url)
    outpost.mood.target = REQUESTS["the refs of a fetch"]
    outpost.mood.answer = (500, {"Content-Type": "text/plain"}, b"\x1b[2J\x07red " + b"alert " * 200_000)
    with pytest.raises(RetryableError) as caught:
        poll(primary)
    assert caught.value.cause.isprintable()
    assert "alert" in caught.value.cause
    assert len(caught.value.cause) < 800


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("status", [403, 429, 503])
@pytest.mark.parametrize("form", ["seconds", "a date"])
def test_a_server_is_left_alone_for_as_long_as_it_asks(
    outpost: Outpost, tmp_path: Path, transport: str, status: int, form: str
) -> None:
    """`Retry-After` is honoured, whatever else wakes the daemon, and shown by a gauge; then it goes on."""
    with Daemon(tmp_path, "--config", str(config_of(outpost, tmp_path, transport, "interval"))) as daemon:
        wait_for(lambda: metric(daemon, "frame_last_closed") >= 1)
        date_s = int(time.time()) + WAIT_S + 2
        when = str(WAIT_S) if form == "seconds" else formatdate(date_s, usegmt=True)
        outpost.mood.answer = (status, {"Retry-After": when}, b"slow down")
        outpost.mood.target = REQUESTS["the refs of a fetch"]
        failed = wait_for(lambda: events(daemon, "cycle failed"))[0]
        (tmp_path / "primary.toml").touch()
        wait_for(lambda: 0 < metric(daemon, "remote_retry_after_seconds") <= WAIT_S + 2)
        assert "slow down" in failed["cause"]
        assert "refused the credentials" not in failed["cause"]
        assert "slow down" in readiness(daemon)[1]
        failed_s = datetime.fromisoformat(failed["timestamp"]).timestamp()
        asked_s = wait_for(lambda: [one for one in outpost.mood.asked_s if one > failed_s])[0]
        assert asked_s > (failed_s + WAIT_S if form == "seconds" else date_s) - CLOCKS_S
        outpost.mood.answer = None
        wait_for(lambda: readiness(daemon)[0] == 200)
        assert metric(daemon, "remote_retry_after_seconds") == 0


def test_without_a_time_a_server_that_limits_is_asked_less_and_less_often(outpost: Outpost, tmp_path: Path) -> None:
    """A 429 alone makes the daemon wait `retry` and then twice as long each time, not poll on."""
    with Daemon(tmp_path, "--config", str(config_of(outpost, tmp_path, "git", retry=0.5))) as daemon:
        wait_for(lambda: readiness(daemon)[0] == 200)
        outpost.mood.answer = (429, {})
        outpost.mood.target = REQUESTS["the refs of a fetch"]
        wait_for(lambda: events(daemon, "cycle failed"))
        begun = time.monotonic()
        waits: list[float] = []
        while time.monotonic() - begun < 90 and max(waits, default=0.0) <= 1.1:
            waits.append(metric(daemon, "remote_retry_after_seconds"))
            time.sleep(0.05)
        assert max(waits) > 1.1


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("status", [400, 411, 413, 429, 500, 503])
def test_doctor_finds_that_pushes_are_answered_so(
    outpost: Outpost, tmp_path: Path, transport: str, status: int
) -> None:
    """Where a server lets everything through but the push itself, `doctor` says so, with the cause; else it is well."""
    config = str(config_of(outpost, tmp_path, transport))
    assert {row["check"]: row["ok"] for row in dc_json("doctor", "--config", config)}["push"]
    outpost.mood.target = REQUESTS["the pack of a push"]
    outpost.mood.answer = (status, {"Content-Type": "text/plain"}, b"not today")
    rows = {row["check"]: row for row in dc_json("doctor", "--config", config, code=1)}
    assert not rows["push"]["ok"]
    assert STATUSES[status].cause in rows["push"]["detail"]
    assert "not today" in rows["push"]["detail"]
    assert "refs/dreamcatcher/doctor" not in dc("doctor", "--config", config, code=1)
    names = subprocess.run(
        ["git", "-C", str(outpost.shared.folder), "for-each-ref", "--format=%(refname)"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "doctor" not in names
