"""`run`: options that override the file, and log lines alone outside a terminal (docs/protocol.md#commands)."""

from __future__ import annotations

import json
import shlex
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.harm import on_a_disk_of
from tests.e2e.ports import taken_port
from tests.e2e.test_terminal import on_terminal
from tests.e2e.tools import DREAMCATCHERD, Daemon, dc, environment, primary_toml, rewrite, wait_for


@pytest.fixture
def fleet(tmp_path: Path) -> Path:
    """A folder with an empty repository, `fleet.git`."""
    dc("init", "fleet.git", cwd=tmp_path)
    return tmp_path


@pytest.fixture
def taken() -> Iterator[int]:
    """A port of 127.0.0.1 that something else listens on."""
    with taken_port() as found:
        yield found


def test_the_options_override_the_file_and_the_environment(
    fleet: Path, taken: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--listen` and `--interval` count, although the file and the environment name a taken port and an hour."""
    config = fleet / "primary.toml"
    config.write_text(f'[http]\nlisten = "127.0.0.1:{taken}"\n[frames]\ninterval = 3600\n')
    monkeypatch.setenv("DREAMCATCHERD_HTTP_LISTEN", "0.0.0.0:80")
    monkeypatch.setenv("DREAMCATCHERD_FRAMES_INTERVAL", "7200")
    words = ["--config", str(config), "--listen", "127.0.0.1:0", "--interval", "0.2"]
    with Daemon(fleet, *words) as daemon:
        wait_for(lambda: len(daemon.logged("frame closed")) > 1)
        assert daemon.url() != f"http://127.0.0.1:{taken}"
        assert daemon.get("/healthz") == "alive\n"


def test_the_options_go_on_overriding_a_file_that_is_read_again(fleet: Path, taken: int) -> None:
    """A reload applies the rest of the file; the address and the interval stay those of the options."""
    config = primary_toml(fleet, "interval", 3600.0)
    with Daemon(fleet, "--config", str(config), "--listen", "127.0.0.1:0", "--interval", "0.5") as daemon:
        at = daemon.url()
        lines = f'[http]\nlisten = "127.0.0.1:{taken}"\n[frames]\ninterval = 3600\nskip_empty = true\n'
        rewrite(config, lines)
        wait_for(lambda: daemon.logged("configuration applied"))
        assert daemon.url() == at
        state = json.loads(daemon.get("/api/v1/status"))
        assert state["troubles"] == []
        # A rule that the option cannot apply to is refused as a whole.
        rewrite(config, '[frames]\nclose = "manual"\n')
        (refused,) = wait_for(lambda: daemon.logged("configuration refused, the old one stays"))
        assert refused["cause"] == "--interval 0.5 has no effect, since [frames] close is 'manual'"
        assert daemon.get("/healthz") == "alive\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--listen", "9465"], "--listen '9465' is not host:port; write it as 127.0.0.1:9464"),
        (["--listen", ":9465"], "--listen ':9465' is not host:port; write it as 127.0.0.1:9464"),
        (["--listen", "127.0.0.1:65536"], "--listen '127.0.0.1:65536' is not host:port; write it as 127.0.0.1:9464"),
        (["--listen", "http://127.0.0.1:80"], "--listen 'http://127.0.0.1:80' is not host:port; write it as"),
        (["--listen", "[::1]"], "--listen '[::1]' is not host:port; write it as"),
        (["--listen", ""], "--listen '' is not host:port; write it as"),
        (["--listen", "0.0.0.0:0"], "--listen '0.0.0.0:0' lets other machines read without a token and without TLS;"),
        (["--interval", "0.05"], "--interval 0.05: expected seconds >= 0.1;"),
        (["--interval", "nan"], "--interval nan: expected seconds >= 0.1;"),
        (["--interval", "inf"], "--interval inf: expected seconds <= 31536000.0;"),
        (["--interval", "10s"], "invalid value for '--interval': '10s' is not a number of seconds; see"),
        (["--config", "manual.toml", "--interval", "5"], "--interval 5 has no effect, since [frames] close is "),
    ],
)  # fmt: skip
def test_a_wrong_value_is_refused_by_the_name_of_its_option(words: list[str], said: str, fleet: Path) -> None:
    """The error is the file's, with the option in place of the key; nothing starts."""
    (fleet / "manual.toml").write_text('[frames]\nclose = "manual"\n')
    assert dc("run", *words, cwd=fleet, code=2).startswith(f"dreamcatcherd: {said}")


def test_a_mistake_in_the_file_is_not_blamed_on_the_options(fleet: Path) -> None:
    """With both options, a wrong key of the file is reported as the file's."""
    (fleet / "bad.toml").write_text("[frames]\ngrace = -1\n")
    said = dc("run", "--config", "bad.toml", "--listen", "127.0.0.1:0", "--interval", "5", cwd=fleet, code=2)
    assert said.startswith("dreamcatcherd: bad.toml: ")
    assert "[frames] grace is -1" in said


def test_a_port_in_use_is_answered_with_the_option_and_a_free_port(fleet: Path, taken: int) -> None:
    """On the start the remedy is an option that works when it is pasted."""
    said = dc("run", "--listen", f"127.0.0.1:{taken}", cwd=fleet, code=2)
    cause, _, remedy = said.strip().partition("; ")
    assert cause == f"dreamcatcherd: 127.0.0.1:{taken} cannot be listened on: Address already in use"
    assert remedy.startswith("stop what uses it, or choose another address, such as --listen 127.0.0.1:")
    with Daemon(fleet, *remedy.split()[-2:]) as daemon:
        assert daemon.url() == f"http://{remedy.split()[-1]}"


def test_a_start_that_fails_leaves_no_repository_behind(tmp_path: Path, taken: int) -> None:
    """Where ./fleet.git is missing and the port is taken, nothing is made: the folder may be the wrong one."""
    dc("run", "--listen", f"127.0.0.1:{taken}", cwd=tmp_path, code=2)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("what", ["a file", "a folder"])
def test_a_fleet_git_that_is_no_repository_is_left_alone(what: str, tmp_path: Path) -> None:
    """The error says what it is not, and how to go on with it or without it."""
    place = tmp_path / "fleet.git"
    if what == "a folder":
        place.mkdir()
    (place / "notes" if what == "a folder" else place).write_text("mine")
    said = dc("run", "--listen", "127.0.0.1:0", cwd=tmp_path, code=2)
    assert said == (
        "dreamcatcherd: fleet.git is not a git repository; "
        "name another with --repo, or move it away and make one: dreamcatcherd init fleet.git\n"
    )
    assert (place / "notes" if what == "a folder" else place).read_text() == "mine"


def test_a_disk_without_room_leaves_no_half_of_a_repository(tmp_path: Path) -> None:
    """The error says to make room, and the next start makes the repository as if there had been none before."""
    words = on_a_disk_of("64k", tmp_path)
    command = [*DREAMCATCHERD, "run", "--listen", "127.0.0.1:0"]
    line = [*words, "sh", "-c", f"{shlex.join(command)}; code=$?; ls; exit $code"]
    done = subprocess.run(line, env=environment(), capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stdout) == (3, "")
    assert "No space left on device" in done.stderr
    assert done.stderr.endswith("; make room on the disk of fleet.git\n")


def test_an_address_of_another_machine_is_not_called_taken(fleet: Path) -> None:
    """The remedy fits the cause: nothing can be stopped where the address is not this machine's."""
    (fleet / "open.toml").write_text("[http]\ninsecure = true\n")
    words = ["run", "--config", "open.toml", "--listen"]
    said = dc(*words, "192.0.2.1:9470", cwd=fleet, code=2)
    assert said == (
        "dreamcatcherd: 192.0.2.1:9470 cannot be listened on: Cannot assign requested address; "
        "choose another address, such as --listen 127.0.0.1:9470\n"
    )
    assert "; choose another address, such as --listen 127.0.0.1:9470" in dc(
        *words, "no.invalid:9470", cwd=fleet, code=2
    )


def test_a_port_in_use_on_a_reload_is_answered_with_the_key(fleet: Path, taken: int) -> None:
    """A daemon that runs cannot be given an option any more."""
    config = primary_toml(fleet)
    with Daemon(fleet, "--config", str(config)) as daemon:
        daemon.url()
        rewrite(config, config.read_text().replace("127.0.0.1:0", f"127.0.0.1:{taken}"))
        (refused,) = wait_for(lambda: daemon.logged("configuration refused, the old one stays"))
        assert refused["cause"] == f"127.0.0.1:{taken} cannot be listened on: Address already in use"
        assert 'such as [http] listen = "127.0.0.1:' in refused["remedy"]


def has_ipv6() -> bool:
    """Whether the loopback interface of this machine has the address ::1."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize("at", ["[::1]:0", "localhost:0"])
def test_it_listens_on_an_ipv6_address_and_on_a_name(at: str, fleet: Path) -> None:
    """The log has the address as a URL writes it, with the port that was free."""
    if at.startswith("[") and not has_ipv6():
        pytest.skip("no IPv6: give the loopback interface the address ::1")
    with Daemon(fleet, "--listen", at) as daemon:
        assert daemon.get("/healthz") == "alive\n"
        (line,) = daemon.logged("started")
        assert line["page"] == f"http://{line['http']}/"


def test_outside_a_terminal_it_writes_json_lines_on_stderr_and_nothing_else(fleet: Path) -> None:
    """stdout stays empty, and every line of stderr is one JSON object, whatever clients send to its port."""
    out, log = fleet / "out", fleet / "log"
    command = [*DREAMCATCHERD, "run", "--listen", "127.0.0.1:0", "--interval", "0.2"]
    with out.open("wb") as to_out, log.open("wb") as to_log:
        process = subprocess.Popen(command, cwd=fleet, env=environment(), stdout=to_out, stderr=to_log)
    try:
        wait_for(lambda: "\n" in log.read_text())
        started = json.loads(log.read_text().partition("\n")[0])
        assert started["event"] == "started"
        host, _, port = started["http"].rpartition(":")
        for garbage in (b"\x16\x03\x01 no HTTP\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", b"GET /\0"):
            with socket.create_connection((host, int(port)), 60) as client:
                client.sendall(garbage)
                client.shutdown(socket.SHUT_WR)
                while client.recv(65536):
                    pass
        closed = log.read_text().count('"frame closed"')
        wait_for(lambda: log.read_text().count('"frame closed"') > closed + 1)
        process.terminate()
        assert process.wait(timeout=60) == 0
    finally:
        process.kill()
        process.wait()
    assert out.read_bytes() == b""
    for line in log.read_text().splitlines():
        assert isinstance(json.loads(line), dict), line


def test_a_terminal_is_shown_where_it_serves_and_how_to_push(fleet: Path) -> None:
    """On a terminal the address, the closing rule and the commands of a first delta come before the log."""
    said = on_terminal(["run", "--listen", "127.0.0.1:0", "--interval", "5"], fleet, until="started", columns=100)
    assert "dreamcatcherd serves fleet.git: frame 1 is open, frames close every 5 s" in said
    assert "git clone -q" in said
    assert said.index("status page: http://127.0.0.1:") < said.index("started")
