"""The table in docs/servers.md, cell by cell: each server, each policy, both transports."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import NamedTuple

import pytest

from dreamcatcherd.core import paths
from dreamcatcherd.core.frames import Closing
from dreamcatcherd.git.local import LocalStore
from dreamcatcherd.imports.new_repository import create
from tests.e2e.primaries import config_for
from tests.e2e.servers import HttpServer, Server, install_hook, serve
from tests.e2e.test_policies import OFFENDER, POLICIES, hook, offence, sign
from tests.e2e.tools import clone, dc_json, git, invoke, push, try_git
from tests.law.fleet import MAIN, NOW, commit_files
from tests.stages.test_linear import LINEAR
from tests.stages.tools import FOLDER, text

TABLE = Path(__file__).parents[2] / "docs" / "servers.md"
KINDS = ("git", "http", "ssh")
NOTHING = "—"


class Bed(NamedTuple):
    """A repository with frame 1 open and one lane that waits, served; and where the test may write."""

    shared: LocalStore
    server: Server
    folder: Path


def lanes(bed: Bed, policy: str) -> None:
    """A lane that offends, beside one that does not, before a server that looks at what `main` gets."""
    if policy == "unsigned commits":
        sign(bed.shared, "refs/heads/dc/honest")
    commit_files(bed.shared, f"refs/heads/dc/{OFFENDER}", offence(policy, OFFENDER, 7), orphan=True)
    install_hook(bed.shared.folder, hook(*POLICIES[policy], names=False))


def no_merges(bed: Bed) -> None:
    found = 'test "$ref" = refs/heads/main && test -n "$(git rev-list --min-parents=2 "$old..$new")"'
    refused = 'echo "merge commits are not allowed" >&2; exit 1'
    install_hook(bed.shared.folder, f"while read -r old new ref; do if {found}; then {refused}; fi; done")


def linear(bed: Bed) -> None:
    commit_files(bed.shared, MAIN, {paths.SETTINGS: LINEAR})
    no_merges(bed)


def rewound(bed: Bed) -> None:
    """After a publication, somebody puts `main` back to where it was."""
    before = bed.shared.refs()[MAIN]
    assert "frame 1" in run(bed, "merge")
    git(bed.shared.folder, "update-ref", MAIN, before)


def blocked(bed: Bed) -> None:
    """A worker pushes below the lane that another one has."""
    worker = clone(bed.server.url, bed.folder / "worker", env=bed.server.git_env)
    push(worker, {f"{FOLDER}/1/s.json": text(1, "s", 1).decode()}, "refs/heads/dc/s", env=bed.server.git_env)
    done = try_git(worker, "push", "origin", "HEAD:refs/heads/dc/s/1", env=bed.server.git_env)
    assert done.returncode == 1
    (bed.folder / "said").write_text(done.stderr)


def read_only(bed: Bed) -> None:
    """What takes pushes here is switched off; over ssh, an account whose shell serves readers alone."""
    git(bed.shared.folder, "config", "daemon.receivepack", "false")
    git(bed.shared.folder, "config", "http.receivepack", "false")
    if bed.server.kind == "ssh":
        install_hook(bed.shared.folder, "echo this account may not push >&2; exit 1")


def shallow(bed: Bed) -> None:
    folder = bed.shared.folder
    commit_files(bed.shared, MAIN, {"README": b"x"})
    whole = folder.rename(folder.with_name("whole.git"))
    git(whole, "clone", "-q", "--bare", "--depth", "1", f"file://{whole}", str(folder))
    git(folder, "config", "http.receivepack", "true")


def sha256(bed: Bed) -> None:
    folder = bed.shared.folder
    folder.rename(folder.with_name("whole.git"))
    git(folder.parent, "init", "-q", "--bare", "--object-format=sha256", "-b", "main", str(folder))
    git(folder, "config", "http.receivepack", "true")
    tree = git(folder, "hash-object", "-t", "tree", "-w", "/dev/null")
    who = {f"GIT_{role}_{what}": "x@x" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    git(folder, "update-ref", MAIN, git(folder, "commit-tree", "-m", "x", tree, env=who))


def nginx_says(lines: str) -> Callable[[Bed], None]:
    """nginx answers every push so."""

    def arrange(bed: Bed) -> None:
        server = bed.server
        assert isinstance(server, HttpServer)
        server.stop()
        file = server.folder / "nginx.conf"
        file.write_text(
            file.read_text().replace("location / {", f"location ~ git-receive-pack$ {{ {lines} }}\n    location / {{")
        )
        server.start()

    return arrange


def body_limit(bed: Bed) -> None:
    """A limit on the size of a request, smaller than what a frame needs to be pushed."""
    assert isinstance(bed.server, HttpServer)
    limit(bed.server, "100")


def limit(server: HttpServer, size: str) -> None:
    server.stop()
    file = server.folder / "nginx.conf"
    file.write_text(re.sub(r"client_max_body_size \w+;", f"client_max_body_size {size};", file.read_text()))
    server.start()


ROWS: dict[str, Callable[[Bed], None]] = {
    "takes all": lambda bed: None,
    "finds a secret in one lane": lambda bed: lanes(bed, "a token"),
    "finds a file over its limit in one lane": lambda bed: lanes(bed, "a large file"),
    "finds an unsigned commit in one lane": lambda bed: lanes(bed, "unsigned commits"),
    "refuses merge commits on `main`": no_merges,
    'the same, with `[publish] history = "linear"`': linear,
    "holds a lane `dc/s`, and a worker pushes `dc/s/1`": blocked,
    "has its `main` rewound after a publication": rewound,
    "takes no pushes": read_only,
    "has changed its credentials": lambda bed: bed.server.lock_out(),
    "is a shallow repository": shallow,
    "has SHA-256 object ids": sha256,
    "is down": lambda bed: bed.server.stop(),
    "hangs": lambda bed: bed.server.freeze(),
    "redirects to another URL": nginx_says("return 301 http://127.0.0.1:1/fleet.git/git-receive-pack;"),
    "limits how often it is asked": nginx_says("add_header Retry-After 60 always; return 429;"),
    "limits the size of a push": body_limit,
}


def run(bed: Bed, *words: str) -> str:
    """What a command of the operator's says, whatever its exit code."""
    done = invoke(*words, "--config", str(bed.folder / "primary" / "primary.toml"))
    assert b"Traceback" not in done.stderr
    return (done.stdout + done.stderr).decode()


def cells() -> dict[str, dict[str, str]]:
    """The table: by row, the cell of each kind of server."""
    rows = re.findall(r"^\| (.+?) \| (.+?) \| (.+?) \| (.+?) \|$", TABLE.read_text(), re.MULTILINE)
    return {row[0]: dict(zip(KINDS, row[1:], strict=True)) for row in rows[2:]}


def test_the_table_has_the_rows_that_are_tested() -> None:
    """No row without a test, and no test without a row; a cell says what happens, and most what is read."""
    assert list(cells()) == list(ROWS)
    for row in cells().values():
        assert all(cell == NOTHING or cell.startswith(("goes on", "waits")) for cell in row.values())


@pytest.mark.parametrize("transport", ["pygit2", "git"])
@pytest.mark.parametrize(
    ("row", "kind"), [(row, kind) for row in ROWS for kind in KINDS if cells().get(row, {}).get(kind) != NOTHING]
)
def test_a_cell_of_the_table(tmp_path: Path, row: str, kind: str, transport: str) -> None:
    """Frames go on, or wait, as the cell says, and the operator reads its words in `merge`, `status` or `doctor`."""
    cell = cells()[row][kind]
    shared = create(tmp_path / "served" / "fleet.git", 1, NOW, Closing("manual"))
    commit_files(shared, "refs/heads/dc/honest", {f"{FOLDER}/1/honest.json": text(1, "honest", 1)}, orphan=True)
    with serve(kind, shared.folder, tmp_path / "server") as server:
        assert isinstance(server, Server)
        bed = Bed(shared, server, tmp_path)
        config_for(server, tmp_path / "primary", "manual", timeout=3 if row == "hangs" else 60, transport=transport)
        ROWS[row](bed)
        read = run(bed, "merge") + run(bed, "merge") + run(bed, "status") + run(bed, "doctor")
        read += (tmp_path / "said").read_text() if (tmp_path / "said").exists() else ""
        server.thaw()
    published = try_git(shared.folder, "cat-file", "-e", "main:state/ledger/0/1.json").returncode == 0
    assert published == cell.startswith("goes on"), read
    for words in re.findall(r"`([^`]+)`", cell):
        assert words in read


MAP = '[[files]]\npath = "agents.json"\nat = "agents"\nsection = "profile_updates"\n'


@pytest.mark.parametrize("transport", ["pygit2", "git"])
def test_an_adopted_state_needs_a_limit_above_it(tmp_path: Path, transport: str) -> None:
    """A state of 3 MB as frame 0, over a server that takes 1 MB: the cause is named, nothing is there; then it goes."""
    repository = tmp_path / "served" / "fleet.git"
    repository.parent.mkdir()
    git(tmp_path, "init", "-q", "--bare", "--initial-branch=main", str(repository))
    (tmp_path / "state").mkdir()
    chance = Random(1)
    agents = {f"agent-{number}": {"bio": chance.randbytes(500).hex()} for number in range(3_000)}
    (tmp_path / "state" / "agents.json").write_text(json.dumps({"agents": agents}))
    (tmp_path / "map.toml").write_text(MAP)
    with serve("http", repository, tmp_path / "server") as server:
        assert isinstance(server, HttpServer)
        git(repository, "config", "http.receivepack", "true")
        bed = Bed(LocalStore(repository), server, tmp_path)
        config_for(server, tmp_path / "primary", "manual", transport=transport)
        words = ("import", str(tmp_path / "state"), "--map", str(tmp_path / "map.toml"))
        limit(server, "1m")
        said = run(bed, *words)
        assert "takes no push of this size (413): 413 Request Entity Too Large nginx/" in said
        assert "client_max_body_size" in said
        assert git(repository, "for-each-ref") == ""
        limit(server, "0")
        assert "3000 in agents" in run(bed, *words)
        assert dc_json("verify", "--repo", str(repository))["ok"]
