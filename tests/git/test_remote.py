"""Repositories on other machines: what is said of failures, where secrets go, and what counts as published (§7)."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
from msgspec import structs
from rich.pretty import pretty_repr

from dreamcatcherd.config_files import clone_folder, credential_file, repository_path
from dreamcatcherd.config_tables import RepositoryConfig
from dreamcatcherd.core import paths
from dreamcatcherd.core.errors import PushRefusedError, RetryableError, UsageError
from dreamcatcherd.core.frames import Closing
from dreamcatcherd.core.settings_schema import LANES
from dreamcatcherd.daemon.cycle import close_frame, poll
from dreamcatcherd.daemon.opening import open_store
from dreamcatcherd.git import remote as remote_module
from dreamcatcherd.git.access import Access, git_environment, without_secrets
from dreamcatcherd.git.failures import UnclearError, failure_of
from dreamcatcherd.git.local import LocalStore
from dreamcatcherd.git.protocols import Move
from dreamcatcherd.git.remote import RemoteStore
from dreamcatcherd.imports.new_repository import create
from dreamcatcherd.stages.lane_cleanup import remove_lanes
from tests.e2e.proxy import hold_port, port_of
from tests.git.wires import git_daemon, http_server, silent_server, slowly
from tests.law.fleet import MAIN, NOW, commit_files, primary_on
from tests.stages.tools import FOLDER, close, merged, put, text

SECRET = "s3cr/t"
Transport = Literal["pygit2", "git"]
TRANSPORTS: list[Transport] = ["pygit2", "git"]


@pytest.fixture(params=TRANSPORTS)
def transport(request: pytest.FixtureRequest) -> Transport:
    found: Transport = request.param
    return found


def failure(tmp_path: Path, access: Access) -> RetryableError:
    """What a poll of an empty clone fails with."""
    store = RemoteStore(access, tmp_path / "clone.git")
    with pytest.raises(RetryableError) as caught:
        store.refs()
    return caught.value


# Failures ---------------------------------------------------------------------------------------------------------

UNREACHABLE, UNTRUSTED, REFUSED = "cannot be reached", "cannot be trusted", "refused the credentials"
SLOW, NO_GIT, OTHER = "did not answer", "is no git repository", "does not speak the protocol"


@pytest.mark.needs("ssh")
@pytest.mark.parametrize(
    ("url", "cause"),
    [
        ("http://{closed}/fleet.git", UNREACHABLE),
        ("git://{closed}/fleet.git", UNREACHABLE),
        ("ssh://git@{closed}/fleet.git", UNREACHABLE),
        ("http://nowhere.invalid/fleet.git", UNREACHABLE),
        ("git://nowhere.invalid/fleet.git", UNREACHABLE),
        ("{http}/404/fleet.git", NO_GIT),
        ("{git}/none.git", "does not serve this repository"),
        ("{http}/403/fleet.git", REFUSED),
        ("{http}/500/timeout.git", "failed by itself (500)"),
        ("{http}/503/certificate.git", "is not available for now (503)"),
        ("{https}/200/fleet.git", OTHER),
    ],
)
def test_the_same_cause_is_named_whatever_the_transport_says(
    tmp_path: Path, transport: Transport, url: str, cause: str
) -> None:
    """What git and libgit2 really say of a failure is told by the same few causes, each with the URL and a remedy."""
    with http_server() as (http, _), git_daemon(tmp_path) as daemon, hold_port() as held:
        closed = f"127.0.0.1:{port_of(held)}"
        full = url.format(closed=closed, http=http, git=daemon, https=http.replace("http:", "https:"))
        found = failure(tmp_path, Access(url=full, timeout_s=120, transport=transport))
    assert found.cause.startswith(f"{full} {cause}"), found.cause
    assert "\n" not in str(found)
    assert found.remedy


@pytest.mark.needs("ssh")
@pytest.mark.parametrize("scheme", ["http", "git", "ssh"])
def test_a_server_that_says_nothing_is_given_up_at_the_time_limit(
    tmp_path: Path, transport: Transport, scheme: str
) -> None:
    """A connection that is taken and never answered ends with a cause that names the URL, not the clone."""
    with silent_server() as address:
        url = f"{scheme}://{address}/fleet.git"
        found = failure(tmp_path, Access(url=url, timeout_s=0.5, transport=transport))
    assert found.cause.startswith(f"{url} {SLOW}"), found.cause


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        ("Host key verification failed. fatal: Could not read from remote repository.", UNTRUSTED),
        ("user rejected certificate for example.org", UNTRUSTED),
        ("fatal: unable to access 'https://e/x/': SSL certificate problem: self-signed certificate", UNTRUSTED),
        ("git@e: Permission denied (publickey). fatal: Could not read from remote repository.", REFUSED),
        ("remote: Permission to a/b.git denied to c. fatal: The requested URL returned error: 403", REFUSED),
        ("fatal: Authentication failed for 'https://e/x/'", REFUSED),
        ("unexpected http status code: 401", REFUSED),
        ("ssh: Could not resolve hostname timeout-403.example: Name or service not known", UNREACHABLE),
        ("fatal: unable to access 'http://e:40312/403/': Failed to connect to e port 40312: refused", UNREACHABLE),
        ("fatal: the remote end hung up unexpectedly", UNREACHABLE),
        ("error: RPC failed; curl 28 Operation too slow. Less than 1 bytes/sec transferred", SLOW),
        ("fatal: https://e/x/info/refs not valid: is this a git repository?", NO_GIT),
        ("ERROR: Repository not found.", NO_GIT),
        ("fatal: 'certificate.git' does not appear to be a git repository", NO_GIT),
        ("gnutls_handshake() failed: An unexpected TLS packet was received.", OTHER),
    ],
)
def test_what_servers_are_known_to_say_is_told_apart(said: str, cause: str) -> None:
    """Words and numbers of the URL itself, a port 40312 or a host called timeout, decide nothing."""
    access = Access(url="https://example.org/403/certificate.git")
    found = failure_of(access, f"{said} {access.url}")
    assert found.cause.startswith(f"{access.url} {cause}"), found.cause
    assert not isinstance(found, (UnclearError, PushRefusedError))


def test_a_server_that_sends_slowly_is_not_listened_to_for_ever(
    tmp_path: Path, transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pack that takes too long is given up after the time limit of the fetch, although something comes all along."""
    monkeypatch.setattr(remote_module, "FIRST_FETCH", 2)
    store = create(tmp_path / "fleet.git", 1, NOW, Closing("manual"))
    commit_files(store, "refs/heads/dc/s", {"large.txt": random.Random(1).randbytes(10_000_000)}, orphan=True)
    with git_daemon(tmp_path) as server, slowly(server.removeprefix("git://"), 30_000, 0.1) as slow:
        access = Access(url=f"git://{slow}/fleet.git", timeout_s=1.5, transport=transport)
        with pytest.raises(RetryableError, match="did not answer within the time limit"):
            RemoteStore(access, tmp_path / "own.git").refs()


def test_what_nobody_has_met_yet_is_passed_on_in_one_line() -> None:
    """An unknown message is cut to a length that a log line bears."""
    found = failure_of(Access(url="https://example.org/x"), "the moon\nis full " + "x" * 1000)
    assert isinstance(found, UnclearError)
    assert found.cause.startswith("https://example.org/x failed: the moon is full")
    assert len(found.cause) < 350


# Publishing -------------------------------------------------------------------------------------------------------


@pytest.fixture
def shared(tmp_path: Path) -> LocalStore:
    return create(tmp_path / "served" / "fleet.git", 1, NOW, Closing("manual"))


@pytest.fixture
def url(shared: LocalStore) -> Iterator[str]:
    """The shared repository's URL at git's daemon. Lanes may be deleted there, and no check of ours runs."""
    (shared.folder / "hooks" / "pre-receive").unlink(missing_ok=True)
    subprocess.run(["git", "-C", str(shared.folder), "config", "receive.denyDeletes", "false"], check=True)
    with git_daemon(shared.folder.parent) as daemon:
        yield f"{daemon}/fleet.git"


def remote(url: str, clone: Path, transport: Transport = "pygit2") -> RemoteStore:
    return RemoteStore(Access(url=url, timeout_s=120, transport=transport), clone)


def hook(shared: LocalStore, name: str, script: str) -> None:
    file = shared.folder / "hooks" / name
    file.parent.mkdir(exist_ok=True)
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)


def test_a_frame_is_published_over_the_wire_and_lanes_are_fetched(
    shared: LocalStore, url: str, tmp_path: Path, transport: Transport
) -> None:
    """Lanes come in, also under another prefix; both refs stand at the remote; what went there goes here."""
    store = remote(url, tmp_path / "clone.git", transport)
    primary = primary_on(store)
    commit_files(shared, "refs/heads/dc/s", {f"{FOLDER}/1/a.json": text(number=1)}, orphan=True)
    ledger = close(primary)
    refs = shared.refs()
    assert (merged(ledger), refs[MAIN]) == (["a.json"], refs[paths.PUBLISHED])
    assert store.refs() == refs
    assert store.move_refs([Move("refs/heads/dc/s", None, refs["refs/heads/dc/s"])], "merged")
    assert "refs/heads/dc/s" not in shared.refs()
    commit_files(shared, "refs/heads/dc/s/1", {f"{FOLDER}/1/b.json": text(number=2)}, orphan=True)
    commit_files(shared, MAIN, {paths.SETTINGS: b'[lanes]\nprefix = "refs/lanes/"\n'})
    commit_files(shared, "refs/lanes/s", {f"{FOLDER}/1/c.json": text(number=3)}, orphan=True)
    assert merged(close(primary)) == ["c.json"]


def test_a_push_that_another_one_overtook_is_lost_and_not_forced(
    shared: LocalStore, url: str, tmp_path: Path, transport: Transport
) -> None:
    """A stale expectation, of either ref or of a new one, moves nothing; a matching one does."""
    store = remote(url, tmp_path / "clone.git", transport)
    old = store.refs()[MAIN]
    mine = commit_files(store, "refs/heads/mine", {"a": b"1"}, orphan=True)
    theirs = commit_files(shared, MAIN, {"b": b"2"})
    foreign = commit_files(shared, "refs/heads/foreign", {"c": b"3"}, orphan=True)
    for moves in (
        [Move(MAIN, mine, old), Move(paths.PUBLISHED, mine, old)],
        [Move(MAIN, mine, None)],
        [Move("refs/heads/mine", None, old)],
    ):
        assert not store.move_refs(moves, "test")
    assert shared.refs() == {
        MAIN: theirs,
        paths.PUBLISHED: old,
        "refs/heads/mine": mine,
        "refs/heads/foreign": foreign,
    }
    assert shared.move_refs([Move(paths.PUBLISHED, foreign, old)], "force")
    store.refs()
    upon = put(store, "refs/heads/upon", {}, (theirs, mine))
    assert store.move_refs([Move(MAIN, upon, theirs), Move(paths.PUBLISHED, upon, foreign)], "test")
    refs = shared.refs()
    assert (refs[MAIN], refs[paths.PUBLISHED]) == (upon, upon)


def test_two_primaries_at_a_distance_close_each_frame_once(shared: LocalStore, url: str, tmp_path: Path) -> None:
    """Each with a clone of its own: the second sees the frame closed and goes on from there."""
    one, two = (primary_on(remote(url, tmp_path / name, how)) for name, how in zip("ab", TRANSPORTS, strict=True))
    for primary in (one, two):
        poll(primary)
    commit_files(shared, MAIN, {f"{FOLDER}/1/a.json": text(number=1)})
    first = close(one)
    report = close_frame(two, "test", 1)
    assert (report.lost, report.ledger, report.pending.digest) == (True, None, first.snapshot)
    assert (close(two).frame, close(one).frame) == (2, 3)


def test_a_server_without_atomic_pushes_gets_no_second_chain(shared: LocalStore, url: str, tmp_path: Path) -> None:
    """A primary whose lease on `main` is stale moves nothing at all; the other one publishes on what came."""
    subprocess.run(["git", "-C", str(shared.folder), "config", "receive.advertiseAtomic", "false"], check=True)
    one, two = (primary_on(remote(url, tmp_path / name)) for name in "ab")
    stale = one.read_inbox()
    start = shared.refs()[paths.PUBLISHED]
    commit_files(shared, MAIN, {f"{FOLDER}/1/a.json": text(number=1)})
    fresh = two.read_inbox()
    made = put(one.store, "refs/heads/made", {}, (start,))
    assert not one.store.move_refs([Move(MAIN, made, stale.head), Move(paths.PUBLISHED, made, start)], "test")
    assert shared.refs()[paths.PUBLISHED] == start
    report = close_frame(two, "test", 1, fresh)
    assert (report.lost, report.races) == (False, 0)
    refs = shared.refs()
    assert refs[MAIN] == refs[paths.PUBLISHED] == report.commit
    assert [close(one).frame, close(two).frame] == [2, 3]


def test_a_publication_on_a_branch_that_was_moved_back_under_another_one_is_lost(
    shared: LocalStore, url: str, tmp_path: Path
) -> None:
    """Without atomic pushes the lease on `main` alone holds: a primary with an old view does not say that it closed the
    frame which another one has closed, and goes on from what that one published."""
    subprocess.run(["git", "-C", str(shared.folder), "config", "receive.advertiseAtomic", "false"], check=True)
    one, two = (primary_on(remote(url, tmp_path / name)) for name in "ab")
    commit_files(shared, MAIN, {f"{FOLDER}/1/a.json": text(number=1)})
    start = shared.refs()[MAIN]
    old_view = one.read_inbox()
    commit_files(shared, f"{LANES}b", {f"{FOLDER}/1/b.json": text(number=2)}, orphan=True)
    first = close(two)
    subprocess.run(["git", "-C", str(shared.folder), "update-ref", MAIN, start], check=True)
    report = close_frame(one, "test", 1, old_view)
    assert (report.lost, report.ledger, report.pending.frame) == (True, None, 2)
    assert report.pending.digest == first.snapshot
    ledger = close(one)
    assert (ledger.frame, ledger.previous, merged(ledger)) == (2, first.snapshot, [])
    assert [close(two).frame, close(one).frame] == [3, 4]


def test_a_branch_that_is_gone_after_a_push_holds_nothing(
    shared: LocalStore, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever deletes `main` between a push and the look at it undoes the push."""
    store = remote(url, tmp_path / "clone.git")
    start = store.refs()[MAIN]
    made = put(store, "refs/heads/made", {}, (start,))
    monkeypatch.setattr(store, "_heads", dict)
    assert not store.move_refs([Move(MAIN, made, start), Move(paths.PUBLISHED, made, start)], "test")


def test_a_server_without_atomic_pushes_removes_no_lane_that_moved(
    shared: LocalStore, url: str, tmp_path: Path
) -> None:
    """Of merged lanes, those alone are reported as removed that the server no longer has."""
    subprocess.run(["git", "-C", str(shared.folder), "config", "receive.advertiseAtomic", "false"], check=True)
    lanes = [f"{LANES}{name}/1" for name in "abc"]
    heads = {lane: commit_files(shared, lane, {f"{FOLDER}/1/{lane[-3]}.json": text(number=1)}) for lane in lanes}
    store = remote(url, tmp_path / "clone")
    store.refs()
    commit_files(shared, lanes[1], {f"{FOLDER}/1/more.json": text(number=2)})
    assert remove_lanes(store, heads) == [lanes[0], lanes[2]]
    assert [lane for lane in lanes if lane in shared.refs()] == [lanes[1]]


def test_a_push_that_lands_though_git_was_given_up_counts(
    shared: LocalStore, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only what is read back decides: the push went through and its answer was lost."""
    store = remote(url, tmp_path / "clone.git")
    primary = primary_on(store)
    push = store._wire.push

    def answer_lost(moves: list[Move]) -> RetryableError:
        assert push(moves) is None
        return failure_of(store._access, "timed out")

    monkeypatch.setattr(store._wire, "push", answer_lost)
    assert close(primary).frame == 1
    monkeypatch.undo()
    assert close(primary).frame == 2


def test_a_push_that_did_not_land_though_git_said_so_does_not_count(
    shared: LocalStore, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that reports success and moves nothing is not believed."""
    store = remote(url, tmp_path / "clone.git")
    before = shared.refs()
    monkeypatch.setattr(store._wire, "push", lambda _: None)
    new = store.write_commit(structs.replace(store.commit(before[MAIN]), message="new"))
    store.flush()
    assert not store.move_refs([Move(MAIN, new, before[MAIN])], "test")
    assert shared.refs() == before


def test_a_hook_that_declines_is_named_with_its_words(shared: LocalStore, url: str, tmp_path: Path) -> None:
    """The cause has what the server's hook said, the remedy says what to do; nothing moved."""
    hook(shared, "pre-receive", "echo 'not on a Sunday' >&2; exit 1")
    before = shared.refs()
    with pytest.raises(PushRefusedError, match=r"fleet\.git refused the push: not on a Sunday") as caught:
        close(primary_on(remote(url, tmp_path / "clone.git")))
    assert "hook" in caught.value.remedy
    assert shared.refs() == before


def test_an_update_hook_that_declines_one_ref_keeps_the_other(shared: LocalStore, url: str, tmp_path: Path) -> None:
    """Both refs move together or neither does."""
    hook(shared, "update", f'test "$1" != {paths.PUBLISHED} || exit 1')
    before = shared.refs()
    with pytest.raises(PushRefusedError):
        close(primary_on(remote(url, tmp_path / "clone.git")))
    assert shared.refs() == before


def test_what_a_primary_remembers_is_kept_beside_the_remotes_refs(shared: LocalStore, url: str, tmp_path: Path) -> None:
    """The memory stands in the clone alone: it is neither shown as a ref of the remote nor pushed there."""
    store = remote(url, tmp_path / "clone.git")
    assert store.recall() is None
    head = store.refs()[MAIN]
    store.remember(head)
    store.remember("1" * 40)
    assert (store.recall(), remote(url, tmp_path / "clone.git").recall()) == (head, head)
    assert store.refs() == shared.refs()


# Secrets ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kept", ["in a file", "in a file, the user in the URL", "in the URL"])
def test_credentials_reach_the_server_and_nothing_else(
    tmp_path: Path, transport: Transport, kept: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server is sent them; no command line, message, repr, traceback or clone has them, nor, from a file, the
    environment of git."""
    record = tmp_path / "record"
    (tmp_path / "bin").mkdir()
    fake = tmp_path / "bin" / "git"
    fake.write_text(f'#!/bin/sh\n{{ echo "argv: $*"; env; }} >> {record}\nexec {shutil.which("git")} "$@"\n')
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}:{os.environ['PATH']}")
    token = tmp_path / "token"
    token.write_text(f"{SECRET}\nsecond line\n")
    with http_server() as (http, seen):
        where = f"{http}/401/fleet.git"
        given, file = where, str(token)
        if kept == "in the URL":
            given, file = where.replace("http://", "http://me:s3cr%2Ft@"), ""
        elif kept != "in a file":
            given = where.replace("http://", "http://me@")
        user = "me" if given == where else None
        config = RepositoryConfig(
            url=given, clone=str(tmp_path / "clone.git"), user=user, token_file=file or None, transport=transport
        )
        store = open_store(config, given)
        assert isinstance(store, RemoteStore)
        with pytest.raises(RetryableError, match=REFUSED) as caught:
            store.refs()
        with pytest.raises(RetryableError):
            store.move_refs([Move(MAIN, None, "1" * 40)], "test")
        assert f"me:{SECRET}" in seen
    told = "".join(traceback.format_exception(caught.value)) + repr(caught.value) + str(caught.value)
    access = store._access
    told += f"{access!r} {access} {pretty_repr(access)} {store.where} {vars(store)}"
    told += "".join(file.read_text(errors="replace") for file in store.folder.rglob("*") if file.is_file())
    lines = record.read_text().splitlines()
    assert any(line.startswith("argv: ") and " push " in line for line in lines)
    told += "".join(line for line in lines if not line.startswith("DREAMCATCHERD_PASSWORD="))
    assert "s3cr" not in told
    assert (kept == "in the URL") == ("s3cr" in record.read_text())


def test_a_token_in_the_place_of_a_user_logs_in_and_is_not_shown(tmp_path: Path, transport: Transport) -> None:
    """`https://TOKEN@host/…`, as forges allow it: the server gets it with an empty password, and nobody else does."""
    with http_server() as (http, seen):
        given = f"{http}/401/fleet.git".replace("http://", "http://s3cr@")
        store = open_store(RepositoryConfig(url=given, clone=str(tmp_path / "clone.git"), transport=transport), given)
        with pytest.raises(RetryableError, match=REFUSED) as caught:
            store.refs()
        assert "s3cr:" in seen
    told = "".join(traceback.format_exception(caught.value)) + f"{store.where} {vars(store)}"
    told += "".join(file.read_text(errors="replace") for file in store.folder.rglob("*") if file.is_file())
    assert "s3cr" not in told


def test_a_token_is_read_anew_at_each_use_and_its_absence_is_told(tmp_path: Path, transport: Transport) -> None:
    """A rotated token counts at once; a file that went away fails the cycle, with its path, until it is back."""
    token = tmp_path / "token"
    with http_server() as (http, seen):
        store = RemoteStore(
            Access(url=f"{http}/401/x.git", user="me", token_file=token, transport=transport), tmp_path / "clone"
        )
        for secret in ("one", "two"):
            token.write_text(f"{secret}\n")
            with pytest.raises(RetryableError, match=REFUSED):
                store.refs()
            assert f"me:{secret}" in seen
        token.unlink()
        with pytest.raises(RetryableError) as caught:
            store.refs()
    assert str(token) in caught.value.cause if transport == "pygit2" else REFUSED in caught.value.cause


def test_without_credentials_a_server_that_asks_is_named(tmp_path: Path) -> None:
    """Nobody is prompted: the cause says that none are configured."""
    with http_server() as (http, _):
        found = failure(tmp_path, Access(url=f"{http}/401/x.git"))
    assert "none are configured" in found.cause
    assert "token_file" in found.remedy


@pytest.mark.parametrize(
    ("url", "plain", "user", "password"),
    [
        ("https://example.org/x.git", "https://example.org/x.git", None, ""),
        ("https://me@example.org/x.git", "https://example.org/x.git", "me", ""),
        ("https://me:pw@example.org:8443/x.git", "https://example.org:8443/x.git", "me", "pw"),
        ("https://:pw@example.org/x", "https://example.org/x", None, "pw"),
        ("https://me:@example.org/x", "https://example.org/x", "me", ""),
        ("https://me:p@ss@example.org/x", "https://example.org/x", "me", "p@ss"),
        ("https://a%40b:p%2Fw%25@example.org/x", "https://example.org/x", "a@b", "p/w%"),
        ("http://me:pw@[::1]:8080/x", "http://[::1]:8080/x", "me", "pw"),
        ("ssh://git@example.org:22/x.git", "ssh://git@example.org:22/x.git", "git", ""),
        ("ssh://git:pw@example.org/x.git", "ssh://git@example.org/x.git", "git", "pw"),
        ("git@example.org:a/x.git", "git@example.org:a/x.git", "git", ""),
        ("example.org:a/x@y.git", "example.org:a/x@y.git", None, ""),
        ("git://example.org/x.git", "git://example.org/x.git", None, ""),
    ],
)
def test_secrets_are_taken_out_of_a_url(url: str, plain: str, user: str | None, password: str) -> None:
    """URLs of all forms are parted into what may be shown, the user and the password."""
    assert without_secrets(url) == (plain, user, password)


@pytest.mark.parametrize("url", ["https://me:s3/cr@example.org/x", "https://me:s3#cr@example.org/x", "http://[s3/x"])
def test_a_url_that_cannot_be_parted_is_refused_without_being_repeated(url: str) -> None:
    """What may hold a password somewhere is not shown; the remedy says how to write it."""
    with pytest.raises(UsageError, match="is no URL") as caught:
        without_secrets(url)
    assert "s3" not in "".join(traceback.format_exception(caught.value)).partition("is no URL")[2]
    assert "token_file" in caught.value.remedy


def test_gits_environment_names_files_and_forbids_what_asks_people(tmp_path: Path) -> None:
    """ssh never prompts and trusts no unknown host; a path that a shell would take apart is refused."""
    access = Access(url="ssh://git@e/x", ssh_key=tmp_path / "key", known_hosts=tmp_path / "hosts", timeout_s=5)
    ssh = git_environment(access)["GIT_SSH_COMMAND"]
    for part in ("BatchMode=yes", "StrictHostKeyChecking=yes", "ConnectTimeout=5", f"-i {tmp_path}/key", "hosts"):
        assert part in ssh
    assert "credential.helper" not in git_environment(access).values()
    for path in (tmp_path / "a b", tmp_path / "$(x)", tmp_path / "it's"):
        with pytest.raises(UsageError, match="cannot be handed to ssh"):
            git_environment(Access(url="ssh://git@e/x", ssh_key=path))


# Configuration ----------------------------------------------------------------------------------------------------


def test_a_credential_is_the_named_file_else_systemds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is named must be a file; else the credentials directory is looked into; else there is none."""
    given, folder = tmp_path / "mine", tmp_path / "credentials"
    folder.mkdir()
    given.write_text("x")
    for name in ("token", "ssh_key", "signing_key"):
        (folder / name).write_text("x")
    systemd = {"CREDENTIALS_DIRECTORY": str(folder)}
    assert credential_file("repository", "token_file", str(given), systemd) == given
    assert credential_file("repository", "token_file", None, systemd) == folder / "token"
    assert credential_file("repository", "ssh_key", None, systemd) == folder / "ssh_key"
    assert credential_file("repository", "known_hosts", None, systemd) is None
    assert credential_file("repository", "token_file", None, {}) is None
    with pytest.raises(UsageError, match=r"\[repository\] ssh_key names .*none, which is not a file"):
        credential_file("repository", "ssh_key", str(tmp_path / "none"), systemd)
    monkeypatch.chdir(tmp_path)
    assert credential_file("repository", "ssh_key", "mine", {}) == given
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(folder))
    assert credential_file("repository", "signing_key", None) == folder / "signing_key"


def test_an_own_clone_has_a_folder_of_its_own(tmp_path: Path) -> None:
    """As configured; else in systemd's state directory, or the user's, by a readable name and the URL's digest."""
    plain = RepositoryConfig()
    url = "https://example.org/a/fleet.git"
    assert clone_folder(RepositoryConfig(clone=str(tmp_path / "c")), url, {}) == tmp_path / "c"
    state = clone_folder(plain, url, {"STATE_DIRECTORY": f"{tmp_path}/one:{tmp_path}/two"})
    assert (state.parent, state.name[:6], state.suffix) == (tmp_path / "one", "fleet-", ".git")
    assert clone_folder(plain, url, {"XDG_STATE_HOME": str(tmp_path)}).parent == tmp_path / "dreamcatcherd"
    assert clone_folder(plain, url, {}).parent == Path("~/.local/state/dreamcatcherd").expanduser()
    names = {clone_folder(plain, other, {}).name for other in (url, url + "/", "https://example.org/b/fleet.git")}
    assert len(names) == 3
    assert clone_folder(plain, "git@example.org:..", {}).name.startswith("git-example-org---")
    assert len(clone_folder(plain, "https://example.org/" + "x" * 500, {}).name) < 70


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("/srv/fleet.git", "/srv/fleet.git"),
        ("fleet.git", "fleet.git"),
        ("./a:b/fleet.git", "./a:b/fleet.git"),
        ("file:///srv/fleet.git", "/srv/fleet.git"),
        ("https://example.org/fleet.git", None),
        ("ssh://git@example.org/fleet.git", None),
        ("git@example.org:fleet.git", None),
        ("example.org:srv/fleet.git", None),
    ],
)
def test_what_lies_on_this_disk_is_told_from_what_does_not(url: str, path: str | None) -> None:
    """Paths and file URLs are opened in place; URLs and ssh's short form go through a clone."""
    assert repository_path(url) == (Path(path) if path else None)


def test_a_repository_on_this_disk_is_opened_in_place_and_signs_with_the_configured_key(tmp_path: Path) -> None:
    """`open_store` gives the plain store for a path, a file URL too, with the key that is configured."""
    create(tmp_path / "fleet.git", 1, NOW, Closing("manual"))
    key = tmp_path / "key"
    key.write_text("x")
    for url in (str(tmp_path / "fleet.git"), f"file://{tmp_path}/fleet.git"):
        store = open_store(RepositoryConfig(signing_key=str(key)), url)
        assert not isinstance(store, RemoteStore)
        assert store.signing_key == key
    subprocess.run(["git", "-C", str(tmp_path / "fleet.git"), "fsck"], check=True, capture_output=True)
