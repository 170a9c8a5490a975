"""`doctor` goes on after a mistake in the configuration, and checks all that the configuration names."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.event_tools import Receiver
from tests.e2e.proxy import HOST, hold_port, port_of
from tests.e2e.tools import Daemon, dc, dc_json, wait_for


@pytest.fixture
def fleet(tmp_path: Path) -> Path:
    repository = tmp_path / "fleet.git"
    dc("init", str(repository), "--no-hook")
    return repository


def findings(folder: Path, text: str, *words: str) -> list[tuple[str, bool, str]]:
    """What doctor finds with a configuration: each check, whether it is well, and its detail with the remedy."""
    file = folder / "primary.toml"
    file.write_text(text)
    rows: list[dict[str, Any]] = dc_json("doctor", "--config", str(file), *words, code=1)
    return [(row["check"], row["ok"], f"{row['detail']}; {row['remedy']}") for row in rows]


def test_wrong_keys_do_not_hide_the_repository(fleet: Path, tmp_path: Path) -> None:
    """Each mistake is a finding with its key; what can be checked without these keys is checked."""
    text = (
        f'[frames]\nintervall = 1\ncron = "x"\n[http]\nlisten = 1\n[repository]\nurl = "{fleet}"\nsigning_key = "/no"\n'
    )
    found = findings(tmp_path, text)
    wrong = [detail for check, ok, detail in found if check == "configuration" and not ok]
    assert [next(key for key in ("interval", "listen", "cron", "signing_key") if key in one) for one in wrong] == [
        "interval", "listen", "cron", "signing_key",
    ]  # fmt: skip
    assert {"git", "reachable", "branch", "rights", "space"} <= {check for check, ok, _ in found if ok}
    assert "http" not in {check for check, _, _ in found}
    assert "hook" in {check for check, ok, _ in found if not ok}


def test_no_other_repository_is_checked_in_place_of_one_that_is_not_named_well(fleet: Path, tmp_path: Path) -> None:
    """Neither with a wrong branch nor with broken TOML is `./fleet.git` looked at; what --repo names is."""
    for text in ("[repository]\nbranch = 'a b'\n", "[repository\n"):
        found = findings(tmp_path, text)
        assert next(detail for check, _, detail in found if check == "repository").startswith("not checked")
        assert "reachable" not in {check for check, _, _ in found}
    found = findings(tmp_path, "[repository\n", "--repo", str(fleet))
    assert [detail for check, ok, detail in found if check == "reachable" and ok]


def test_files_and_programs_that_cannot_be_used_are_found_together(fleet: Path, tmp_path: Path) -> None:
    """A missing key and a missing program, an empty secret and a header that is none: four findings, each with what to
    do."""
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "headers").write_text("a token alone\n")
    text = (
        f'[repository]\nurl = "{fleet}"\n[http]\nlisten = "127.0.0.1:0"\ntls_key = "/no/such"\n'
        f'[hint]\nsecret_file = "{tmp_path}/empty"\n[[events]]\nexec = ["/no/such/program"]\n'
        f'[otel]\nendpoint = "http://127.0.0.1:1"\nheaders_file = "{tmp_path}/headers"\n'
    )
    wrong = [detail for check, ok, detail in findings(tmp_path, text) if check == "configuration" and not ok]
    for wanted, one in zip(
        ("tls_key names /no/such", "[hint]: ", "no header", "table 1 exec: /no/such/program"), wrong, strict=True
    ):
        assert wanted in one
        assert not one.endswith("None")


def test_receivers_and_the_collector_are_reached_and_sent_nothing(
    fleet: Path, tmp_path: Path, receiver: Receiver
) -> None:
    """One that listens takes a connection and no request; ones that do not are named, without the path of the URL."""
    held = hold_port()
    nobody = port_of(held)
    text = (
        f'[repository]\nurl = "{fleet}"\n[http]\nlisten = "127.0.0.1:0"\n[otel]\nendpoint = "http://127.0.0.1:{nobody}"\n'
        f'[[events]]\nurl = "{receiver.url}"\n[[events]]\nurl = "http://127.0.0.1:{nobody}/private"\n'
        f'[[events]]\nexec = ["true"]\n[[events]]\nurl = "https://127.0.0.1:{receiver.port}/private"\ntimeout = 1\n'
    )
    with held:
        found = {check: (ok, detail) for check, ok, detail in findings(tmp_path, text)}
    assert found["configuration"][0]
    assert found["events 1"] == (
        True,
        f"http://127.0.0.1:{receiver.port}/… takes connections; it was sent nothing; None",
    )
    assert found["events 2"][0] is found["otel"][0] is found["events 4"][0] is False
    assert f"127.0.0.1:{nobody}/… cannot be reached: Connection refused; look at the receiver" in found["events 2"][1]
    assert f"127.0.0.1:{nobody}/v1/traces cannot be reached: Connection refused" in found["otel"][1]
    assert found["events 3"][0]
    assert "private" not in str(found)
    assert receiver.got == []


def test_a_taken_port_is_found_unless_a_daemon_has_it(fleet: Path, tmp_path: Path) -> None:
    """Another program on the port is a fault; the daemon of this configuration is none."""
    with hold_port() as held:
        text = f'[repository]\nurl = "{fleet}"\n[http]\nlisten = "{HOST}:{port_of(held)}"\n'
        with socket.create_server((HOST, port_of(held))):
            port = {check: (ok, detail) for check, ok, detail in findings(tmp_path, text)}["port"]
        assert port[0] is False
        assert "cannot be listened on: Address already in use; stop what uses it" in port[1]
        file = tmp_path / "primary.toml"
        with Daemon(tmp_path, "--config", str(file)) as daemon:
            wait_for(lambda: daemon.logged("started"))
            port = {check: (ok, detail) for check, ok, detail in findings(tmp_path, text)}["port"]
            assert port == (True, f"a daemon answers at {daemon.url().removeprefix('http://')}; None")


@pytest.mark.skipif(os.geteuid() != 0, reason="no root: run as root to give a file to another user")
def test_a_secret_of_events_that_everybody_can_read_is_found(fleet: Path, tmp_path: Path, reachable: Path) -> None:
    """As are those of the repository and of HTTP."""
    secret = reachable / "secret"
    secret.write_text("secret\n")
    secret.chmod(0o644)
    text = f'[repository]\nurl = "{fleet}"\n[http]\nlisten = "127.0.0.1:0"\n[[events]]\nurl = "http://127.0.0.1:1/"\n'
    found = findings(tmp_path, f'{text}secret_file = "{secret}"\n')
    assert next(detail for check, _, detail in found if check == "[events] secret_file").startswith(f"{secret} can be")


def test_a_scheduler_that_does_not_answer_is_a_finding(fleet: Path, tmp_path: Path) -> None:
    """Before the first large frame needs it; with a mistake in [engine] that alone is reported."""
    text = f'[repository]\nurl = "{fleet}"\n[http]\nlisten = "127.0.0.1:0"\n[engine]\nkind = "dask"\n'
    found = findings(tmp_path, f'{text}scheduler = "tcp://127.0.0.1:1"\n')
    (said,) = [detail for check, ok, detail in found if check == "engine" and not ok]
    assert said.startswith("the scheduler tcp://127.0.0.1:1 is lost or cannot be reached: ")
    found = findings(tmp_path, f'{text}scheduler = "tcp://127.0.0.1:99999"\n')
    assert "engine" not in {check for check, _, _ in found}
    assert ["has a port that" in detail for check, ok, detail in found if check == "configuration" and not ok] == [True]
