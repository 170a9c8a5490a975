"""`dreamcatcherd push` as a process: over every transport, without libgit2, and its exit codes beside the script's."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.client.tools import commit_on, files, refs, stored
from tests.e2e.conftest import served_as
from tests.e2e.front import front, serving
from tests.e2e.servers import Served, Server, hooked
from tests.e2e.tools import (
    DREAMCATCHERD,
    Daemon,
    dc,
    dc_json,
    delta,
    environment,
    export_of,
    git,
    primary_toml,
    wait_for,
)

SCRIPT = Path(__file__).parents[2] / "config/worker/push-delta.sh"


def worker_config(served: Served, folder: Path, more: str = "") -> Path:
    """A worker's configuration: how the repository is reached, and with what."""
    path = folder / "worker.toml"
    path.write_text(f"[repository]\n{served.config_lines}{more}")
    return path


def written(folder: Path, name: str, text: str) -> str:
    (folder / name).write_text(text)
    return str(folder / name)


def push_all(*words: str, cwd: Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command and return what became of it."""
    return subprocess.run(
        [*DREAMCATCHERD, "push", *words],
        cwd=cwd, env=environment() | (env or {}), capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


# Transports ---------------------------------------------------------------------------------------------------------


def test_a_delta_lands_over_every_transport(served: Served, tmp_path: Path) -> None:
    """With an attachment, waiting for a daemon that closes frames: merged, exit 0, and the text is in the snapshot."""
    config = worker_config(served, tmp_path)
    (tmp_path / "body.md").write_text("the text")
    file = written(tmp_path, "d.json", delta(1, "w", posts_created=[{"number": 1, "body_ref": "body.md"}]))
    (first,) = dc_json("push", file, "--config", str(config))
    assert (first["outcome"], first["ref"]) == ("pending", "refs/heads/dc/w")
    assert stored(served.repository, f"{first['commit']}:{first['path']}") == (tmp_path / "d.json").read_bytes()
    with Daemon(tmp_path, "--config", str(primary_toml(tmp_path, "interval", 0.5)), "--repo", str(served.repository)):
        (again,) = dc_json("push", "--wait", "120", file, "--config", str(config))
    assert (again["outcome"], again["frame"], again["path"]) == ("duplicate", 1, first["path"])
    assert export_of(served.repository)["state"]["posts"][0]["body"] == "the text"


@pytest.mark.parametrize("filters", ["allowed", "only blob:none", "none"])
@pytest.mark.parametrize("protocol", ["2", "0"])
def test_a_second_push_needs_no_filters_and_no_new_protocol(
    git_or_http: Server, tmp_path: Path, filters: str, protocol: str
) -> None:
    """A lane that is continued, with frames closed before, whatever the server can filter and both protocols."""
    repository = git_or_http.repository
    git(repository, "config", "uploadpack.allowFilter", "false" if filters == "none" else "true")
    if filters == "only blob:none":
        git(repository, "config", "uploadpackfilter.allow", "false")
        git(repository, "config", "uploadpackfilter.blob:none.allow", "true")
    config = str(worker_config(git_or_http, tmp_path))
    written(tmp_path, ".gitconfig", f"[protocol]\n version = {protocol}\n")
    user = {"HOME": str(tmp_path)}
    for number in (1, 2, 3):
        if number == 3:
            dc("close", "--repo", str(repository))
        file = written(tmp_path, f"{number}.json", delta(1, "w", f"2026-01-01T00:00:0{number}Z", observations=[number]))
        done = push_all(file, "--config", config, cwd=tmp_path, env=user)
        assert (done.returncode, "pending" in done.stdout) == (0, True), done.stderr
    dc("close", "--repo", str(repository))
    done = push_all("1.json", "3.json", "--json", "--config", config, cwd=tmp_path, env=user)
    rows = json.loads(done.stdout)
    assert [(row["outcome"], row["frame"]) for row in rows] == [("duplicate", 1), ("duplicate", 2)]
    assert git(repository, "rev-list", "--count", "refs/heads/dc/w") == "3"


def test_a_long_history_is_not_fetched(git_server: Server, tmp_path: Path) -> None:
    """The repository holds 3 MB that no push needs: none of it comes over the wire."""
    git(git_server.repository, "config", "uploadpack.allowFilter", "true")
    noise = os.urandom(1_500_000).hex()
    main = git(git_server.repository, "rev-parse", "main")
    commit_on(
        git_server.repository, "refs/heads/main", {"state/agents.json": noise, "docs/a/b.txt": noise[::-1]}, (main,)
    )
    file = written(tmp_path, "d.json", delta(1, "w", observations=[1]))
    with git_server.proxied() as proxy:
        carried: list[int] = []
        pump = proxy._pump

        def counted(source: Any, sink: Any) -> None:
            try:
                while chunk := source.recv(65536):
                    carried.append(len(chunk))
                    sink.sendall(chunk)
                sink.shutdown(1)
            except OSError:
                pump(source, sink)

        proxy._pump = counted  # type: ignore[method-assign]
        dc("push", file, "--repo", git_server.url)
    assert 0 < sum(carried) < 100_000


# Without libgit2 ----------------------------------------------------------------------------------------------------

BLOCKED = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("pygit2", "_pygit2"):
            raise ImportError(name + " is blocked")
sys.meta_path.insert(0, Block())
"""


def test_the_command_and_the_library_need_no_pygit2(git_server: Server, tmp_path: Path) -> None:
    """With its import blocked, push waits for the merge, claims, and asks, by URL and by path."""
    file = written(tmp_path, "d.json", delta(1, "w", observations=[1]))
    command = f"{BLOCKED}\nfrom dreamcatcherd.cli import invoke\nsys.exit(invoke(sys.argv[1:]))"
    library = f"{BLOCKED}\nfrom dreamcatcherd.client import *\nprint(frame(sys.argv[1]).frame)\n"
    library += f"print(receipt(sys.argv[1], {file!r}).outcome)"

    def run(script: str, *words: str) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-c", script, *words]
        return subprocess.run(line, env=environment(), capture_output=True, text=True, timeout=300, check=False)

    assert "pygit2 is blocked" in run(command, "status", "--repo", str(git_server.repository)).stderr
    # Frame 1 waits for the push, however long it takes to arrive.
    config = primary_toml(tmp_path, "quorum", more='streams = ["w"]\ndeadline = 600\n')
    with Daemon(tmp_path, "--config", str(config), "--repo", str(git_server.repository)):
        done = run(command, "push", file, "--repo", git_server.url, "--wait", "100")
        assert (done.returncode, "merged in frame 1" in done.stdout) == (0, True), (done.stdout, done.stderr)
    for where in (git_server.url, str(git_server.repository)):
        assert run(library, where).stdout.split()[1:] == ["merged"]


# An answer that is lost ---------------------------------------------------------------------------------------------


def test_a_cut_connection_after_the_push_landed_is_found_out(git_server: Server, tmp_path: Path) -> None:
    """The hook lets the push through and the connection is cut before the answer: the command looks again, exit 0, and
    one commit is there."""
    file = written(tmp_path, "d.json", delta(1, "w", observations=[1]))
    hook = git_server.repository / "hooks" / "post-receive"
    hook.write_text("#!/bin/sh\ntouch asked\nuntil [ -e cut ]; do sleep 0.05; done\n")
    hook.chmod(0o755)
    with git_server.proxied() as proxy:
        line = [*DREAMCATCHERD, "push", file, "--json", "--repo", git_server.url]
        process = subprocess.Popen(line, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        with process:
            try:
                wait_for((git_server.repository / "asked").exists)
                proxy.cut()
                (git_server.repository / "cut").touch()
                out, said = process.communicate(timeout=120)
            finally:
                process.kill()
    assert process.returncode == 0, said
    (row,) = json.loads(out)
    assert (row["outcome"], refs(git_server.repository)) == ("pending", {"refs/heads/dc/w": row["commit"]})
    assert git(git_server.repository, "rev-list", "--count", row["commit"]) == "1"


# Secrets ------------------------------------------------------------------------------------------------------------


def test_a_secret_of_the_url_is_in_no_message_file_or_command_line(tmp_path: Path) -> None:
    """The password reaches the server and nothing else: not stderr, not JSON, not the arguments of any git."""
    dc("init", str(tmp_path / "fleet.git"))
    git(tmp_path / "fleet.git", "config", "http.receivepack", "true")
    file = written(tmp_path, "d.json", delta(1, "w", observations=[1]))
    log = tmp_path / "lines"
    real = subprocess.run(["sh", "-c", "command -v git"], capture_output=True, text=True, check=True).stdout.strip()
    (tmp_path / "bin").mkdir()
    wrapper = tmp_path / "bin/git"
    wrapper.write_text(f'#!/bin/sh\necho "$@" >>{log}\nexec {real} "$@"\n')
    wrapper.chmod(0o755)
    path = {"PATH": f"{wrapper.parent}:{os.environ['PATH']}", "TMPDIR": str(tmp_path)}
    with front(tmp_path, serving) as shown:
        url = shown.url.replace("http://", "http://fleet:s3cr.t@")
        done = push_all(file, "--json", "--repo", url, cwd=tmp_path, env=path)
        assert done.returncode == 0, done.stderr
        assert "fleet:s3cr.t" in shown.logins
        wrong = push_all(file, "--json", "--repo", url.replace("fleet.git", "other.git"), cwd=tmp_path, env=path)
        assert wrong.returncode == 3
    said = done.stdout + done.stderr + wrong.stdout + wrong.stderr + log.read_text()
    assert "push --porcelain" in said
    assert "s3cr.t" not in said
    assert not list(tmp_path.glob("dreamcatcherd-*"))


def test_credentials_of_the_users_own_git_are_used(http_server: Server, tmp_path: Path) -> None:
    """A credential helper in the user's configuration lets the command in, as it does plain git."""
    file = written(tmp_path, "d.json", delta(1, "w", observations=[1]))
    secret = f"password=$(cat {http_server.token_file})"
    helper = f'!f() {{ if [ "$1" = get ]; then echo username=fleet; echo "{secret}"; fi; }}; f'
    git(tmp_path, "config", "--file", str(tmp_path / ".gitconfig"), "credential.helper", helper)
    done = push_all(file, "--repo", http_server.url, cwd=tmp_path, env={"HOME": str(tmp_path)})
    assert done.returncode == 0, done.stderr


def test_the_ssh_command_of_the_environment_is_used(tmp_path: Path) -> None:
    """Where no key is configured, GIT_SSH_COMMAND finds the way, as for plain git; without it nobody gets in."""
    file = written(tmp_path, "d.json", delta(1, "w", observations=[1]))
    for served in served_as("ssh", tmp_path):
        bare = {"HOME": str(tmp_path), "SSH_AUTH_SOCK": ""}
        assert push_all(file, "--repo", served.url, cwd=tmp_path, env=bare).returncode == 3
        done = push_all(file, "--repo", served.url, cwd=tmp_path, env=bare | served.git_env)
        assert done.returncode == 0, done.stderr


# The command line ---------------------------------------------------------------------------------------------------


@pytest.fixture
def fleet(tmp_path: Path) -> Path:
    """A repository on this disk, with the check."""
    dc("init", str(tmp_path / "fleet.git"))
    return tmp_path / "fleet.git"


def test_the_rows_have_the_keys_of_the_contract(fleet: Path, tmp_path: Path) -> None:
    """`push --json` is a list of path, blob, ref, commit, outcome and the fields of a receipt; a refused file too."""
    both = [written(tmp_path, "a.json", delta(1, "w")), written(tmp_path, "b.json", "{")]
    rows = json.loads(push_all(*both, "--json", "--repo", str(fleet), cwd=tmp_path).stdout)
    keys = {"path", "blob", "ref", "commit", "outcome", "stream_id", "frame", "digest", "reason", "lost", "misfits"}
    keys |= {"collapsed", "unresolved", "unknown", "claims"}
    assert [keys - row.keys() for row in rows] == [set(), set()]
    assert [(row["outcome"], row["reason"]) for row in rows] == [("pending", None), ("refused", "not-json")]


@pytest.mark.parametrize("order", ["first", "last"])
def test_wait_needs_no_number_wherever_it_stands(fleet: Path, tmp_path: Path, order: str) -> None:
    """`push --wait FILE` waits for the default time; a number after it is its value, also a short one that runs out:
    exit 3, outcome pending."""
    file = written(tmp_path, "d.json", delta(1, "w"))
    words = ["--wait", "0.2", file] if order == "first" else [file, "--wait", "0.2"]
    done = push_all(*words, "--json", "--repo", str(fleet), cwd=tmp_path)
    assert (done.returncode, json.loads(done.stdout)[0]["outcome"]) == (3, "pending")
    blob = json.loads(done.stdout)[0]["blob"][:12]
    assert f"not final after 0.2 s; the delta is safe: dreamcatcherd receipt {blob} says" in done.stderr
    with Daemon(tmp_path, "--config", str(primary_toml(tmp_path, "interval", 0.5)), "--repo", str(fleet)):
        words = ["--wait", file] if order == "first" else [file, "--wait"]
        done = push_all(*words, "--repo", str(fleet), cwd=tmp_path)
    assert (done.returncode, "in frame 1" in done.stdout) == (0, True), done.stderr


def test_stdin_is_a_delta_too(fleet: Path, tmp_path: Path) -> None:
    """`-` reads it, with attachments by name."""
    (tmp_path / "a.md").write_text("A")
    body = delta(1, "w", posts_created=[{"number": 1, "body_ref": "a.md"}])
    out = dc("push", "-", "--attach", str(tmp_path / "a.md"), "--repo", str(fleet), stdin=body.encode())
    assert "pending" in out
    assert sum(path.endswith("/a.md") for path in files(fleet, "refs/heads/dc/w")) == 1
    assert "stdin can be read once" in dc("push", "-", "-", "--repo", str(fleet), code=2)


@pytest.mark.parametrize("command", ["push", "validate", "import"])
@pytest.mark.parametrize("given", ["<&-", "0>out"])
def test_standard_input_that_cannot_be_read_is_wrong_usage(command: str, given: str, tmp_path: Path) -> None:
    """A closed descriptor, or one that is only written to: one line that says so, with exit code 2."""
    dc("init", str(tmp_path / "fleet.git"))
    line = f"exec {' '.join(DREAMCATCHERD)} {command} - --repo fleet.git {given}"
    done = subprocess.run(
        ["sh", "-c", line], cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False
    )
    said = done.stdout + done.stderr
    assert done.returncode == 2, said
    assert "standard input " in said
    assert "internal error" not in said
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--claim", "x"], "needs the stream"),
        (["--claim", "x", "--stream", "w"], "no collection with the rule claim"),
        (["d.json", "--claim", "x", "--stream", "w"], "makes the delta itself"),
        (["d.json", "--collection", "x"], "goes with --claim"),
        (["d.json", "--wait=-1"], "not in the range"),
        (["d.json", "--wait=soon"], "not a valid float"),
    ],
)
def test_wrong_usage_is_one_line(fleet: Path, tmp_path: Path, words: list[str], said: str) -> None:
    """Exit 2, before anything is pushed."""
    written(tmp_path, "d.json", delta(1, "w"))
    assert said in dc("push", *words, "--repo", str(fleet), cwd=tmp_path, code=2)
    assert refs(fleet) == {}


def test_a_delta_of_another_stream_is_refused_with_what_to_change(fleet: Path, tmp_path: Path) -> None:
    """The remedy is about --stream, and not about keys, which the repository does not ask for."""
    written(tmp_path, "d.json", delta(1, "w"))
    said = dc("push", "d.json", "--stream", "v", "--repo", str(fleet), cwd=tmp_path, code=1)
    assert "the delta's stream is 'w', not 'v'; name its own stream with --stream, or correct the delta" in said
    assert "key" not in said
    assert refs(fleet) == {}


def test_a_claim_waits_for_its_decision(fleet: Path, tmp_path: Path) -> None:
    """Granted: exit 0. Refused, with the holder: exit 1. Without --wait the claim is only acknowledged."""
    toml = '[collections.tasks]\nsection = "claims"\nkey = ["resource"]\nrule = "claim"\nttl = 9999\n'
    commit_on(fleet, "refs/heads/main", {"state/dreamcatcher.toml": toml}, (git(fleet, "rev-parse", "main"),))
    with Daemon(tmp_path, "--config", str(primary_toml(tmp_path, "interval", 0.5)), "--repo", str(fleet)):
        (granted,) = dc_json("push", "--claim", "build", "--stream", "a", "--wait", "--repo", str(fleet))
        assert [(row["outcome"], row["holder"]) for row in granted["claims"]] == [("granted", "a")]
        said = dc("push", "--claim", "build", "--stream", "b", "--wait", "--repo", str(fleet), code=1)
        assert 'claim on tasks "build": refused, held by a through frame' in said
        assert "dreamcatcherd: the claim on build: refused: held by a" in said
        assert "pending" in dc("push", "--claim", "build", "--stream", "b", "--repo", str(fleet))


def test_text_from_deltas_and_servers_cannot_drive_a_terminal(fleet: Path, tmp_path: Path) -> None:
    """Escape sequences in a stream's name, a warning or a hook's message are shown escaped."""
    hook = "printf 'remote \\033[31mred\\n' >&2; exit 1"
    body = json.dumps({"frame": 1, "utc": "2026-01-01T00:00:00Z", "stream_id": "w", "odd\x1b[2J": [1]})
    done = push_all(written(tmp_path, "d.json", body), "--repo", str(fleet), cwd=tmp_path)
    with hooked(fleet, hook):
        refused = push_all(written(tmp_path, "e.json", delta(1, "v")), "--repo", str(fleet), cwd=tmp_path)
    assert (done.returncode, refused.returncode) == (0, 1)
    assert "red" in refused.stderr
    assert "\x1b" not in done.stdout + done.stderr + refused.stdout + refused.stderr


def shown_until(master: int, text: bytes) -> bytes:
    """What a terminal received until it has a text."""
    shown = b""
    while text not in shown:
        assert select.select([master], [], [], 60)[0], shown
        shown += os.read(master, 4096)
    return shown


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupt_ends_it_with_130_and_leaves_nothing(number: signal.Signals, fleet: Path, tmp_path: Path) -> None:
    """Ctrl-C, `kill` or a closed terminal while it waits: the delta stays pushed, the temporary folder goes, one line
    is said."""
    master, slave = pty.openpty()
    try:
        process = subprocess.Popen(
            [*DREAMCATCHERD, "push", written(tmp_path, "d.json", delta(1, "w")), "--wait", "--repo", str(fleet)],
            env=environment() | {"TMPDIR": str(tmp_path)}, stdout=subprocess.DEVNULL, stderr=slave,
            preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),  # a test in the background inherits others
        )  # fmt: skip
        with process:
            try:
                shown = shown_until(master, b"waiting for frame 1 to close")
                process.send_signal(number)
                assert process.wait(timeout=60) == 130
                if b"interrupted" not in shown:
                    shown_until(master, b"interrupted")
            finally:
                process.kill()
    finally:
        os.close(master)
        os.close(slave)
    assert refs(fleet).keys() == {"refs/heads/dc/w"}
    assert not list(tmp_path.glob("dreamcatcherd-*"))
