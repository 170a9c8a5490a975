"""A server whose policy refuses what one lane brings holds nobody else up: over real servers, with real hooks."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from dreamcatcherd.config import load_config
from dreamcatcherd.core.errors import RetryableError
from dreamcatcherd.core.frames import Closing
from dreamcatcherd.core.ledger import Ledger
from dreamcatcherd.daemon.cycle import close_frame, poll
from dreamcatcherd.daemon.opening import open_configured
from dreamcatcherd.daemon.primary import Primary
from dreamcatcherd.git.local import LocalStore
from dreamcatcherd.imports.new_repository import create
from tests.e2e.primaries import config_for, events, metric, readiness
from tests.e2e.servers import SERVERS, Server, install_hook, remove_hook, serve
from tests.e2e.tools import Daemon, dc, dc_json, git, wait_for
from tests.law.fleet import MAIN, NOW, commit_files
from tests.stages.tools import FOLDER, text

STREAMS = 20
OFFENDER = "worker-07"
TOKEN = "ghx_0123456789abcdef"

_EACH = """
names=$1
while read -r old new ref; do
    [ "$ref" = refs/heads/main ] || continue
    for commit in $(git rev-list --reverse "$old..$new"); do
        %s
    done
done
"""
_NO = 'if [ -n "$names" ]; then echo "%s (commit $commit)" >&2; else echo "%s" >&2; fi; exit 1;'


def hook(rule: str, message: str, names: bool) -> str:
    """A pre-receive hook that looks at each new commit of `main`; `rule` is a shell condition on `$commit`."""
    no = _NO % (message, message)
    return f"set -- {'yes' if names else ''}\n" + _EACH % f"if {rule}; then {no} fi"


POLICIES = {
    "a token": (
        f'git diff-tree -r --root -m -p "$commit" | grep -q "^+.*{TOKEN}"',
        "push declined: a secret was found",
    ),
    "a large file": (
        "git ls-tree -r -l \"$commit\" | awk '$4 > 100000 && $5 ~ /txt$/ {found = 1} END {exit !found}'",
        "push declined: a file is larger than the limit of 100 kB",
    ),
    "unsigned commits": (
        '! git cat-file commit "$commit" | grep -Eq "^gpgsig|^author dreamcatcherd "',
        "push declined: commits must be signed",
    ),
}


def offence(policy: str, stream: str, number: int) -> dict[str, bytes]:
    """What the offender pushes."""
    path = f"{FOLDER}/1/{stream}"
    if policy == "a token":
        return {f"{path}.json": text(1, stream, number, observations=[f"my token is {TOKEN}"])}
    if policy == "a large file":
        return {f"{path}.json": text(1, stream, number), f"{path}/large.txt": b"x" * 200_000}
    return {f"{path}.json": text(1, stream, number)}


def deliver(shared: LocalStore, policy: str) -> None:
    """Twenty streams, each on its lane; one of them offends."""
    for number in range(STREAMS):
        stream = f"worker-{number:02}"
        files = {f"{FOLDER}/1/{stream}.json": text(1, stream, number)}
        if stream == OFFENDER:
            files = offence(policy, stream, number)
        lane = f"refs/heads/dc/{stream}"
        commit_files(shared, lane, files, orphan=True)
        if policy == "unsigned commits" and stream != OFFENDER:
            sign(shared, lane)


def sign(shared: LocalStore, ref: str) -> None:
    """Let a lane's commit look signed: the policy asks for a signature, not whose it is."""
    old = git(shared.folder, "rev-parse", ref)
    raw = shared.read(old).replace(b"\n\n", b"\ngpgsig -----BEGIN SSH SIGNATURE-----\n x\n\n", 1)
    new = subprocess.run(
        ["git", "-C", str(shared.folder), "hash-object", "-t", "commit", "-w", "--stdin"],
        input=raw,
        capture_output=True,
        check=True,
    ).stdout.decode()
    git(shared.folder, "update-ref", ref, new.strip())


@pytest.fixture
def shared(tmp_path: Path) -> LocalStore:
    return create(tmp_path / "served" / "fleet.git", 1, NOW, Closing("manual"))


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest, shared: LocalStore, tmp_path: Path) -> Iterator[Server]:
    with serve(request.param, shared.folder, tmp_path / "server") as found:
        assert isinstance(found, Server)
        yield found


@pytest.fixture
def daemon_server(shared: LocalStore, tmp_path: Path) -> Iterator[Server]:
    with serve("git", shared.folder, tmp_path / "server") as found:
        assert isinstance(found, Server)
        yield found


def primary_on(server: Server, tmp_path: Path, transport: str) -> Primary:
    config = load_config(config_for(server, tmp_path / "primary", "manual", transport=transport))
    return open_configured(config, config.repository.url)


def closed(primary: Primary) -> Ledger:
    ledger = close_frame(primary, "test").ledger
    assert ledger is not None
    return ledger


@pytest.mark.parametrize("names", [True, False], ids=["named", "not named"])
@pytest.mark.parametrize("policy", POLICIES)
def test_one_offender_among_twenty_streams_holds_nobody_up(
    shared: LocalStore, daemon_server: Server, tmp_path: Path, policy: str, names: bool
) -> None:
    """The other 19 are published in the next frame, in the same one where the server names the commit; the offender
    stays pending and is a trouble, and its delta is merged once the policy lets it."""
    deliver(shared, policy)
    primary = primary_on(daemon_server, tmp_path, "pygit2")
    install_hook(shared.folder, hook(*POLICIES[policy], names))
    first = closed(primary)
    second = closed(primary)
    merged = {row.stream_id for row in [*first.deltas, *second.deltas]}
    assert merged == {f"worker-{number:02}" for number in range(STREAMS)} - {OFFENDER}
    assert (len(first.deltas), len(second.deltas)) == ((19, 0) if names else (0, 19))
    pending = poll(primary)[0].pending
    assert pending.streams == {OFFENDER: 1}
    assert pending.lanes_refused == 1
    trouble = next(one for one in pending.troubles if "left out" in one.what)
    assert f"dc/{OFFENDER}" in trouble.what
    assert POLICIES[policy][1] in trouble.what
    remove_hook(shared.folder)
    deltas = [row.stream_id for _ in range(5) for row in closed(primary).deltas]
    assert deltas == [OFFENDER]
    assert poll(primary)[0].pending.lanes_refused == 0
    assert dc_json("verify", "--repo", str(shared.folder))["ok"]


@pytest.mark.parametrize("transport", ["pygit2", "git"])
def test_it_is_the_same_over_every_server(shared: LocalStore, server: Server, tmp_path: Path, transport: str) -> None:
    """Whatever carries the push: the frames go on, and the offender alone is left out."""
    deliver(shared, "a token")
    primary = primary_on(server, tmp_path, transport)
    install_hook(shared.folder, hook(*POLICIES["a token"], names=False))
    merged = [row.stream_id for _ in range(2) for row in closed(primary).deltas]
    assert len(merged) == STREAMS - 1
    assert OFFENDER not in merged


def test_what_is_known_outlives_the_primary(shared: LocalStore, daemon_server: Server, tmp_path: Path) -> None:
    """A restart, or the next `merge` from cron, does not ask the server again for what it refused just now."""
    deliver(shared, "a token")
    install_hook(shared.folder, hook(*POLICIES["a token"], names=False))
    config = config_for(daemon_server, tmp_path / "primary", "manual")
    for _ in range(2):
        dc("merge", "--config", str(config))
    pushes = tmp_path / "pushes"
    install_hook(shared.folder, f"echo push >> {pushes}\n" + hook(*POLICIES["a token"], names=False))
    dc("merge", "--config", str(config))
    assert pushes.read_text().count("push") == 1
    told = dc_json("status", "--config", str(config))["troubles"]
    assert any("left out" in one["what"] for one in told)


def test_a_lane_that_its_owner_mends_is_merged_at_once(
    shared: LocalStore, daemon_server: Server, tmp_path: Path
) -> None:
    """Another history on the lane is tried in the next frame, however often the old one was refused."""
    deliver(shared, "a token")
    primary = primary_on(daemon_server, tmp_path, "pygit2")
    install_hook(shared.folder, hook(*POLICIES["a token"], names=True))
    for _ in range(4):
        closed(primary)
    mended = {f"{FOLDER}/1/{OFFENDER}.json": text(1, OFFENDER, 7, observations=["no token"])}
    git(shared.folder, "update-ref", "-d", f"refs/heads/dc/{OFFENDER}")
    commit_files(shared, f"refs/heads/dc/{OFFENDER}", mended, orphan=True)
    assert [row.stream_id for row in closed(primary).deltas] == [OFFENDER]


def test_a_server_that_refuses_everything_is_no_lanes_fault(
    shared: LocalStore, daemon_server: Server, tmp_path: Path
) -> None:
    """Where a publication without any lane is refused too, the failure is told as before, and no lane is blamed."""
    deliver(shared, "unsigned commits")
    primary = primary_on(daemon_server, tmp_path, "pygit2")
    pushes = tmp_path / "pushes"
    install_hook(shared.folder, f"echo push >> {pushes}; echo no pushes at all >&2; exit 1")
    with pytest.raises(RetryableError, match="no pushes at all"):
        close_frame(primary, "test")
    assert pushes.read_text().count("push") == 2
    assert poll(primary)[0].pending.lanes_refused == 0
    remove_hook(shared.folder)
    assert len(closed(primary).deltas) == STREAMS


def test_the_daemon_says_which_lane_it_leaves_out(shared: LocalStore, daemon_server: Server, tmp_path: Path) -> None:
    """One line in the log, a gauge, the status page and /readyz name the lane; frames and readiness go on."""
    deliver(shared, "a token")
    install_hook(shared.folder, hook(*POLICIES["a token"], names=True))
    config = config_for(daemon_server, tmp_path / "primary", interval=0.5)
    with Daemon(tmp_path / "primary", "--config", str(config)) as daemon:
        wait_for(lambda: metric(daemon, "lanes_refused") == 1)
        wait_for(lambda: metric(daemon, "frame_last_closed") >= 4)
        status, told = readiness(daemon)
        assert status == 200
        assert f"dc/{OFFENDER} is left out until frame" in told
        state = json.loads(daemon.get("/api/v1/status"))
        assert any(f"dc/{OFFENDER} is left out until frame" in one["what"] for one in state["troubles"])
        lines = events(daemon, "lane left out")
        assert [line["lane"] for line in lines] == [f"dc/{OFFENDER}"]
        assert "a secret was found" in lines[0]["cause"]
        assert daemon.stop()[0] == 0
    assert MAIN in shared.refs()
