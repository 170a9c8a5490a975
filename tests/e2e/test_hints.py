"""Hints from a forge to a daemon as a process, on a repository behind a web server (docs/hints.md)."""

from __future__ import annotations

import hashlib
import hmac
import re
import signal
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from dreamcatcherd.core.frames import Closing
from dreamcatcherd.git.local import LocalStore
from dreamcatcherd.imports.new_repository import create
from tests.e2e.front import Answer, Front, front
from tests.e2e.primaries import events, metric
from tests.e2e.processes import Processes
from tests.e2e.proxy import HOST, hold_port, port_of
from tests.e2e.test_docs import ROOT, blocks, shell
from tests.e2e.tools import Daemon, environment, program, rewrite, wait_for
from tests.law.fleet import NOW, commit_files
from tests.stages.tools import FOLDER, text

PAGE = "docs/hints.md"
SECRET = "c0ffee" * 8
POLL_S = 3_600
"""No poll comes during a test: only a hint can explain a look."""


class Fleet(NamedTuple):
    """A repository behind a web server, and a daemon on it that polls once an hour."""

    shared: LocalStore
    server: Front
    daemon: Daemon
    folder: Path

    def push(self, name: str) -> None:
        commit_files(self.shared, f"refs/heads/dc/{name}", {f"{FOLDER}/1/{name}.json": text(stream=name)}, orphan=True)

    def hint(self, body: bytes, **headers: str) -> int:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(self.daemon.url() + "/hooks/push", body, named, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=90) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as refused:
            with refused:
                return refused.code

    def looks(self) -> float:
        return metric(self.daemon, 'polls_total{result="ok"}')

    def pending(self) -> float:
        return metric(self.daemon, "pending_deltas")


def signature(body: bytes, secret: str = SECRET) -> str:
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def configuration(folder: Path, url: str, secret: Path) -> Path:
    file = folder / "config" / "primary.toml"  # a folder of its own: what is written beside it wakes the daemon
    file.parent.mkdir()
    file.write_text(
        f'[repository]\nurl = "{url}"\nclone = "{folder / "clone.git"}"\npoll = {POLL_S}\n'
        f'[http]\nlisten = "127.0.0.1:0"\n[frames]\nclose = "manual"\n[log]\nformat = "json"\n'
        f'[hint]\nsecret_file = "{secret}"\n'
    )
    return file


class Moody:
    """Serves, unless it is told to answer in another way."""

    answer: Answer = None

    def __call__(self, *_: object) -> Answer:
        return self.answer


@pytest.fixture
def mood() -> Moody:
    return Moody()


@pytest.fixture
def fleet(tmp_path: Path, mood: Moody) -> Iterator[Fleet]:
    shared = create(tmp_path / "served" / "fleet.git", 1, NOW, Closing("manual"), hook=False)
    subprocess.run(["git", "-C", str(shared.folder), "config", "http.receivepack", "true"], check=True)
    (tmp_path / "secret").write_text(f"{SECRET}\n")
    with front(shared.folder.parent, mood) as server:
        file = configuration(tmp_path, server.url, tmp_path / "secret")
        with Daemon(tmp_path, "--config", str(file)) as daemon:
            found = Fleet(shared, server, daemon, tmp_path)
            wait_for(lambda: found.looks() == 1)
            yield found


@pytest.mark.parametrize("forge", ["GitHub", "Gitea", "Forgejo", "GitLab"])
def test_a_hint_shows_a_push_that_no_poll_would(fleet: Fleet, forge: str) -> None:
    """A delta that was pushed is pending after the forge's hint, though the next poll is an hour away."""
    fleet.push("alice")
    body = b'{"ref": "refs/heads/dc/alice", "after": "0123"}'
    headers = {
        "GitHub": {"X_GitHub_Event": "push", "X_Hub_Signature_256": f"sha256={signature(body)}"},
        "Gitea": {"X_Gitea_Event": "push", "X_Gitea_Signature": signature(body)},
        "Forgejo": {"X_Forgejo_Event": "push", "X_Forgejo_Signature": signature(body)},
        "GitLab": {"X_Gitlab_Event": "Push Hook", "X_Gitlab_Token": SECRET},
    }[forge]
    assert fleet.hint(body, **headers) == 202
    wait_for(lambda: fleet.pending() == 1)
    assert fleet.looks() == 2


def test_a_hint_without_a_valid_signature_is_no_look(fleet: Fleet) -> None:
    """Unsigned, signed with another secret, by SHA-1, or too long: the repository is not asked, until a valid one."""
    fleet.push("alice")
    asked = len(fleet.server.seen)
    assert fleet.hint(b"{}") == 401
    assert fleet.hint(b"{}", X_Gitea_Signature=signature(b"{}", "other")) == 401
    assert fleet.hint(b"{}", X_Hub_Signature="sha1=" + hmac.new(SECRET.encode(), b"{}", "sha1").hexdigest()) == 401
    large = b"x" * (2**20 + 1)
    assert fleet.hint(large, X_Gitea_Signature=signature(large)) == 413
    # A refused one would have been a look before this one, which is answered after all of them.
    assert fleet.hint(b"{}", X_Gitea_Signature=signature(b"{}")) == 202
    wait_for(lambda: fleet.pending() == 1)
    assert fleet.looks() == 2
    assert {target for target in fleet.server.targets()[asked:] if "info/refs" in target} <= {
        "GET /fleet.git/info/refs?service=git-upload-pack"
    }


def test_a_burst_of_replays_costs_a_look_a_second_and_shows_the_last_push(fleet: Fleet) -> None:
    """Two hundred times the same signed hint: no more looks than seconds that it took and one; and a push right before
    the last of them is seen, since a look begins after it."""
    signed = {"X_Gitea_Signature": signature(b"{}")}
    begun = time.monotonic()
    codes = {fleet.hint(b"{}", **signed) for _ in range(199)}
    fleet.push("alice")
    codes.add(fleet.hint(b"{}", **signed))
    assert codes == {202}
    wait_for(lambda: fleet.pending() == 1)
    looks, took_s = fleet.looks() - 1, time.monotonic() - begun
    assert 1 <= looks <= took_s + 1


def test_a_hint_does_not_disturb_a_server_that_wants_to_be_left_alone(fleet: Fleet, mood: Moody) -> None:
    """While `Retry-After` runs, hints are answered and the server is not asked."""
    mood.answer = (429, {"Retry-After": "600"})
    signed = {"X_Gitea_Signature": signature(b"{}")}
    assert fleet.hint(b"{}", **signed) == 202
    wait_for(lambda: metric(fleet.daemon, "remote_retry_after_seconds") > 0)
    asked = len(fleet.server.seen)
    mood.answer = None
    fleet.push("alice")
    until = time.monotonic() + 2.5  # more than two of the seconds in which a hint would be a look
    while time.monotonic() < until:
        assert fleet.hint(b"{}", **signed) == 202
        time.sleep(0.1)
    assert (len(fleet.server.seen), fleet.pending()) == (asked, 0)


def test_a_new_secret_counts_from_a_reload(fleet: Fleet) -> None:
    """Both are valid while both are in the file, and the old one is not once it is gone."""
    assert fleet.hint(b"{}", X_Gitlab_Token="second") == 401
    for lines, first, code in ((f"{SECRET}\nsecond\n", "second", 202), ("second\n", SECRET, 401)):
        rewrite(fleet.folder / "secret", lines)
        fleet.daemon.process.send_signal(signal.SIGHUP)
        # A change of the file may be seen before the signal, so that one line in the log says nothing of this reload.
        wait_for(lambda sent=first, want=code: fleet.hint(b"{}", X_Gitlab_Token=sent) == want)  # type: ignore[misc]
        assert fleet.hint(b"{}", X_Gitlab_Token="second") == 202
        assert fleet.hint(b"{}", X_Gitlab_Token=SECRET) == code
    assert "second" not in fleet.daemon.text


@pytest.mark.needs("curl", "openssl")
def test_the_commands_of_the_page_are_hints(fleet: Fleet, tmp_path: Path) -> None:
    """What docs/hints.md says to paste makes a secret that only its owner reads, and hints in each form."""
    run = blocks(PAGE)
    assert list(run) == ["secret", "github", "gitea", "gitlab"]
    places = {"/etc/dreamcatcherd/hint_secret": str(tmp_path / "secret"), "http://127.0.0.1:9464": fleet.daemon.url()}
    for name, script in run.items():
        for before, after in places.items():
            script = script.replace(before, after)
        if name == "secret":
            (tmp_path / "secret").unlink()
            shell(script, tmp_path)
            assert (tmp_path / "secret").stat().st_mode & 0o777 == 0o600
            fleet.daemon.process.send_signal(signal.SIGHUP)
            wait_for(lambda: events(fleet.daemon, "configuration applied"))
            continue
        assert shell(script, tmp_path) == '{"hint":"taken"}'


@pytest.mark.needs("nginx", "openssl")
def test_the_web_server_of_the_page_passes_hints_on_and_nothing_else(fleet: Fleet, tmp_path: Path) -> None:
    """nginx with the block of docs/hints.md: a hint under the public name is taken, every other path is not there."""
    (block,) = re.findall(r"^```nginx\n(.*?)^```", (ROOT / PAGE).read_text(), re.MULTILINE | re.DOTALL)
    held, folder = hold_port(), tmp_path / "nginx"
    port = port_of(held)
    folder.mkdir()
    for before, after in {
        "listen 443 ssl": f"listen {HOST}:{port} ssl",
        "/etc/nginx": str(folder),
        "http://127.0.0.1:9464": fleet.daemon.url(),
    }.items():
        assert before in block
        block = block.replace(before, after)
    kept = "".join(
        f"{name}_temp_path {folder}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"daemon off; pid {folder}/pid; error_log stderr; events {{}}\nhttp {{ access_log off; {kept}\n{block}\n}}\n"
    )
    words = f"openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=x -keyout {folder}/dreamcatcher.key"
    subprocess.run([*words.split(), "-out", f"{folder}/dreamcatcher.pem"], check=True, capture_output=True)
    trusting = ssl._create_unverified_context()  # who it is does not matter here
    processes = Processes(tmp_path / "nginx.log")

    def answered(path: str, method: str, **headers: str) -> int:
        named = {"Host": "dreamcatcher.example.org"} | {key.replace("_", "-"): value for key, value in headers.items()}
        url = f"https://{HOST}:{port}{path}"
        body = b"{}" if method == "POST" else None
        try:
            request = urllib.request.Request(url, body, named, method=method)
            with urllib.request.urlopen(request, timeout=90, context=trusting) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as refused:
            with refused:
                return refused.code
        except OSError:
            return 0

    nginx = str(program("nginx"))
    try:
        processes.start([nginx, "-p", str(folder), "-c", str(folder / "nginx.conf")], folder, environment())
        wait_for(lambda: answered("/", "GET"))
        assert answered("/hooks/push", "POST", X_Gitea_Signature=signature(b"{}")) == 202
        assert answered("/hooks/push", "POST") == 401
        assert [answered(path, "GET") for path in ("/", "/metrics", "/api/v1/status", "/healthz")] == [404] * 4
    finally:
        processes.stop()
        held.close()
