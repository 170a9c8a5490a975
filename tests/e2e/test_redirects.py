"""Credentials are sent to the configured scheme, host and port alone; a URL never becomes an option or a command."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
from pygit2.enums import CredentialType

from dreamcatcherd.config import load_config
from dreamcatcherd.config_tables import RepositoryConfig
from dreamcatcherd.core.errors import RetryableError, UsageError
from dreamcatcherd.core.frames import Closing
from dreamcatcherd.daemon.opening import open_store
from dreamcatcherd.git import access as access_module
from dreamcatcherd.git import libgit2
from dreamcatcherd.git.access import Access
from dreamcatcherd.git.http_answers import parted
from dreamcatcherd.git.libgit2 import Callbacks, read_by_git
from dreamcatcherd.git.local import LocalStore
from dreamcatcherd.git.protocols import Move
from dreamcatcherd.git.redirects import RedirectedError, redirected, shown_url
from dreamcatcherd.git.remote import RemoteStore
from dreamcatcherd.git.signatures import sign
from dreamcatcherd.imports.new_repository import create
from tests.e2e.front import SECRET, Answer, Front, front, greedy, sending, serving
from tests.e2e.servers import HttpsServer
from tests.e2e.tools import DREAMCATCHERD, environment
from tests.git.wires import git_daemon
from tests.law.fleet import MAIN, NOW

Transport = Literal["pygit2", "git"]
TRANSPORTS: list[Transport] = ["pygit2", "git"]
STATUSES = (301, 302, 307, 308)
REQUESTS = {
    "the refs of a fetch": "/info/refs?service=git-upload-pack",
    "the pack of a fetch": "POST /fleet.git/git-upload-pack",
    "the refs of a push": "/info/refs?service=git-receive-pack",
    "the pack of a push": "POST /fleet.git/git-receive-pack",
}
KINDS = ("a token", "a password in the URL", "a user in the URL")
COMMANDS = ("doctor", "status", "merge", "export", "log", "plan", "verify")


@pytest.fixture(autouse=True)
def nobodys_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No proxy and no configuration of git's but what a test writes into its home."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    for name in ("GIT_CONFIG_GLOBAL", "XDG_CONFIG_HOME", "http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")
    return home


@pytest.fixture(params=TRANSPORTS)
def transport(request: pytest.FixtureRequest) -> Transport:
    found: Transport = request.param
    return found


@pytest.fixture
def shared(tmp_path: Path) -> LocalStore:
    store = create(tmp_path / "served" / "fleet.git", 1, NOW, Closing("manual"), hook=False)
    subprocess.run(["git", "-C", str(store.folder), "config", "http.receivepack", "true"], check=True)
    return store


@pytest.fixture
def second(shared: LocalStore) -> Iterator[Front]:
    """Where callers are sent: it asks for credentials, whatever it is given."""
    with front(shared.folder.parent, greedy) as server:
        yield server


def settings(url: str, folder: Path, kind: str, transport: Transport, ca_file: Path | None = None) -> RepositoryConfig:
    """The configuration of one who holds credentials of a kind for a URL."""
    folder.mkdir(exist_ok=True)
    token = folder / "token"
    token.write_text(SECRET + "\n")
    given = {"a token": "", "a password in the URL": f"me:{SECRET}@", "a user in the URL": f"{SECRET}@"}[kind]
    return RepositoryConfig(
        url=url.replace("://", f"://{given}"),
        clone=str(folder / "clone.git"),
        timeout=60,
        transport=transport,
        user="me" if kind == "a token" else None,
        token_file=str(token) if kind == "a token" else None,
        ca_file=str(ca_file) if ca_file else None,
    )


def opened(config: RepositoryConfig) -> RemoteStore:
    store = open_store(config, config.url)
    assert isinstance(store, RemoteStore)
    return store


def tried(store: RemoteStore, request: str) -> RetryableError:
    """What a look fails with, or, where it is a push that is sent elsewhere, a push."""
    if "fetch" in request:
        with pytest.raises(RetryableError) as caught:
            store.refs()
        return caught.value
    head = store.refs()[MAIN]
    with pytest.raises(RetryableError) as caught:
        store.move_refs([Move("refs/heads/new", head, None)], "test")
    return caught.value


def assert_told(failure: RetryableError, first: Front, where: str, status: int) -> None:
    """The failure names both URLs, how long the redirect holds, and the remedy."""
    how = "permanently" if status in (301, 308) else "temporarily"
    assert failure.cause == f"{first.url} redirects {how} ({status}) to {where}, and redirects are not followed"
    assert failure.remedy == "set [repository] url to it, if you trust it"


# Redirects --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("request_", REQUESTS)
@pytest.mark.parametrize("status", STATUSES)
def test_a_redirect_gets_no_credentials_and_is_named(
    shared: LocalStore, second: Front, tmp_path: Path, transport: Transport, status: int, request_: str
) -> None:
    """Whatever is asked and however it is redirected, to another port, the server there sees no login; the failure
    names its URL, with both transports, also where the first server let the caller in before."""
    before = shared.refs()
    for asks in (True, False):
        send = sending(REQUESTS[request_], f"http://127.0.0.1:{second.server_port}{{}}", status, asks)
        with front(shared.folder.parent, send) as first:
            failure = tried(opened(settings(first.url, tmp_path / str(asks), "a token", transport)), request_)
            assert f"me:{SECRET}" in first.logins or not asks
        assert_told(failure, first, second.url, status)
    assert second.logins == []
    assert shared.refs() == before


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("request_", ["the refs of a fetch", "the refs of a push"])
def test_no_kind_of_credentials_goes_along(
    shared: LocalStore, second: Front, tmp_path: Path, transport: Transport, kind: str, request_: str
) -> None:
    """A token, a password in the URL and a user alone, which may be a token, stay with the first server; the second
    is another port or another name of the same machine."""
    for host in ("127.0.0.1", "localhost"):
        send = sending(REQUESTS[request_], f"http://{host}:{second.server_port}{{}}", 302, asks=True)
        with front(shared.folder.parent, send) as first:
            failure = tried(opened(settings(first.url, tmp_path / host, kind, transport)), request_)
            assert any(SECRET in login for login in first.logins)
        assert_told(failure, first, second.url.replace("127.0.0.1", host), 302)
        assert SECRET not in str(failure)
    assert second.logins == []


@pytest.mark.needs("openssl")
@pytest.mark.parametrize("request_", ["the refs of a fetch", "the refs of a push"])
def test_no_credentials_go_from_https_to_http(
    shared: LocalStore, second: Front, tmp_path: Path, transport: Transport, request_: str
) -> None:
    """A server with a certificate that sends its callers to one without is not followed, and the failure says so."""
    keys = HttpsServer(shared.folder, tmp_path / "keys")
    keys.close()
    send = sending(REQUESTS[request_], f"http://127.0.0.1:{second.server_port}{{}}", 301, asks=True)
    with front(shared.folder.parent, send, tls=keys.folder) as first:
        config = settings(first.url, tmp_path / "mine", "a token", transport, keys.ca_file)
        failure = tried(opened(config), request_)
        assert f"me:{SECRET}" in first.logins
    assert_told(failure, first, second.url, 301)
    assert second.targets() == []


def test_a_url_that_looks_like_the_configured_one_gets_no_credentials(
    shared: LocalStore, second: Front, tmp_path: Path, transport: Transport
) -> None:
    """A login in the Location that imitates the first server's URL, decoded, does not win its credentials."""
    location = f"http://127.0.0.1:PORT%2Ffleet.git@127.0.0.1:{second.server_port}{{}}"

    def send(server: Front, target: str, _: object) -> Answer:
        path = target.partition(" ")[2]
        return 302, {"Location": location.replace("{}", path).replace("PORT", str(server.server_port))}

    with front(shared.folder.parent, send) as first:
        failure = tried(opened(settings(first.url, tmp_path / "mine", "a token", transport)), "fetch")
    assert_told(failure, first, second.url, 302)
    assert not [login for login in second.logins if SECRET in login]


@pytest.mark.parametrize(
    ("told", "user"),
    [
        ("http://e:8080/x.git", None),
        ("https://e/x.git", None),
        ("http://f/x.git", None),
        ("http://e/x.git?.f/", None),
        ("http://e/x.git/", None),
        ("http://e/x.git", "me"),
        ("http://e/@f/x.git", "e"),
    ],
)
def test_libgit2_is_given_credentials_for_the_whole_url_alone(told: str, user: str | None) -> None:
    """Another scheme, host, port or path, and a user where the URL has none, gets an error in place of them."""
    access = Access(url="http://e/x.git", user="me", password=SECRET)
    with pytest.raises(RedirectedError, match="sent no credentials") as caught:
        Callbacks(access).credentials(told, user, CredentialType.USERPASS_PLAINTEXT)
    assert SECRET not in str(caught.value)
    for url, asking in (
        ("http://e:80/x.git", "http://e/x.git"),
        ("https://e:443", "https://e/"),
        ("http://e/@f/x",) * 2,
    ):
        assert Callbacks(Access(url=url, password=SECRET)).credentials(asking, None, CredentialType.USERPASS_PLAINTEXT)


def test_an_older_libgit2_is_not_asked_over_http(
    shared: LocalStore, second: Front, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before 1.9.5 it does not say who asks for credentials, so git reads over http; over other protocols it reads."""
    monkeypatch.setattr(libgit2, "libgit2_version", lambda: (1, 9, 4))
    assert not read_by_git(Access(url="git://e/x"))
    assert not read_by_git(Access(url="ssh://git@e/x"))
    send = sending("", f"http://127.0.0.1:{second.server_port}{{}}", 302, asks=False)
    with front(shared.folder.parent, send) as first:
        failure = tried(opened(settings(first.url, tmp_path / "mine", "a token", "pygit2")), "fetch")
    assert_told(failure, first, second.url, 302)
    assert second.targets() == []
    with front(shared.folder.parent, serving) as good:
        assert opened(settings(good.url, tmp_path / "good", "a token", "pygit2")).refs() == shared.refs()
    monkeypatch.undo()
    assert [read_by_git(Access(url=url)) for url in ("http://[::1]/x", "https://e/x?a=b", "https://e/x")] == [
        True,
        True,
        False,
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_without_a_redirect_all_kinds_of_credentials_reach_the_server(
    shared: LocalStore, tmp_path: Path, transport: Transport, kind: str
) -> None:
    """Fetch and push work where the configured server itself answers."""
    with front(shared.folder.parent, serving) as server:
        store = opened(settings(server.url, tmp_path / "mine", kind, transport))
        head = store.refs()[MAIN]
        assert store.try_push() is None
        assert store.move_refs([Move("refs/heads/new", head, None)], "test")
    assert shared.refs()["refs/heads/new"] == head


def test_a_clone_from_before_is_told_to_follow_no_redirects(shared: LocalStore, second: Front, tmp_path: Path) -> None:
    """The setting that keeps libgit2 on the host is written into a clone that lacks it."""
    send = sending("", f"http://localhost:{second.server_port}{{}}", 302, asks=False)
    with front(shared.folder.parent, send) as first:
        config = settings(first.url, tmp_path / "mine", "a token", "pygit2")
        clone = opened(config).folder
        subprocess.run(["git", "-C", str(clone), "config", "--unset", "http.followRedirects"], check=True)
        tried(opened(config), "fetch")
    assert second.targets() == []


# Commands ---------------------------------------------------------------------------------------------------------


def command(*words: str) -> subprocess.CompletedProcess[str]:
    """Run dreamcatcherd; no traceback may be on its stderr."""
    variables = {name: value for name, value in environment().items() if name != "GIT_CONFIG_GLOBAL"}
    done = subprocess.run([*DREAMCATCHERD, *words], env=variables, capture_output=True, text=True, timeout=300)
    assert "Traceback" not in done.stderr, done.stderr
    return done


def written(config: RepositoryConfig, folder: Path) -> Path:
    file = folder / "primary.toml"
    names = ("url", "clone", "transport", "user", "token_file")
    lines = [f'{name} = "{value}"' for name in names if (value := getattr(config, name)) is not None]
    file.write_text("[repository]\n" + "\n".join(lines) + "\n")
    return file


@pytest.mark.parametrize("kind", KINDS)
def test_commands_send_nothing_along_and_name_the_new_url(
    shared: LocalStore, second: Front, tmp_path: Path, transport: Transport, kind: str
) -> None:
    """Every command that reads a remote fails in one line with the new URL; no secret is shown."""
    with front(shared.folder.parent, sending("", f"http://localhost:{second.server_port}{{}}", 308, False)) as first:
        file = written(settings(first.url, tmp_path / "mine", kind, transport), tmp_path)
        for name in COMMANDS if kind == "a token" else COMMANDS[:2]:
            done = command(name, "--config", str(file))
            assert f"permanently (308) to http://localhost:{second.server_port}/fleet.git" in done.stdout + done.stderr
            assert "set [repository] url to it, if you trust it" in done.stdout + done.stderr
            assert SECRET not in done.stdout + done.stderr
            assert done.returncode == (1 if name == "doctor" else 3)
    assert second.targets() == []


def test_doctor_finds_a_push_that_is_sent_elsewhere(
    shared: LocalStore, second: Front, tmp_path: Path, transport: Transport
) -> None:
    """Where only pushes are redirected `doctor` says so, and the other server sees no login."""
    send = sending(REQUESTS["the refs of a push"], f"http://127.0.0.1:{second.server_port}{{}}", 307, asks=True)
    with front(shared.folder.parent, send) as first:
        done = command(
            "doctor", "--config", str(written(settings(first.url, tmp_path, "a token", transport), tmp_path))
        )
    assert done.returncode == 1
    assert f"FIX  push: {first.url} redirects temporarily (307) to {second.url}" in done.stdout
    assert second.logins == []


def test_doctor_takes_the_time_from_the_configured_server(shared: LocalStore, second: Front, tmp_path: Path) -> None:
    """The request that compares clocks follows no redirect either."""
    answers = sending("HEAD /fleet.git/info/refs?service=git-upload-pack", second.url, 302, asks=False)
    with front(shared.folder.parent, answers) as first:
        done = command("doctor", "--config", str(written(settings(first.url, tmp_path, "a token", "git"), tmp_path)))
    assert "ok   clock: this clock is" in done.stdout
    assert second.targets() == []


# What is shown ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("location", "where"),
    [
        ("https://e/x.git/info/refs?service=git-upload-pack", "https://e/x.git"),
        ("https://me:s3cr@e/x.git/info/refs?service=git-upload-pack", "https://e/x.git"),
        ("https://e/login?next=%2Fx&token=s3cr#s3cr", "https://e/login"),
        ("/new/x.git/git-receive-pack", "http://old/new/x.git"),
        ("//e/x.git", "http://e/x.git"),
        ("https://e/\x1b[2J\u202ex\x07", "https://e/\\x1b[2J\\u202ex\\x07"),
        ("https://e/" + "x" * 5000, "https://e/" + "x" * 190 + "…"),
    ],
)
def test_the_new_url_is_shown_without_secrets_on_one_line(location: str, where: str) -> None:
    """Logins, queries and the name of git's service go, what drives a terminal is escaped, length is bounded."""
    head = "12:00:00.000001 http.c:684              <= Recv header: "
    trace = f"{head}HTTP/1.1 401 No\n{head}HTTP/2 308\n{head}LOCATION: {location}\nfatal: failed\n"
    found = redirected("http://old/x.git", parted(trace)[1])
    assert found is not None
    assert found.cause == f"http://old/x.git redirects permanently (308) to {where}, and redirects are not followed"


def test_what_is_no_redirect_names_none() -> None:
    """A Location without a redirect, one that a server has its users' words say, and one that is no URL, count not."""
    head = "12:00:00.000001 http.c:684              <= Recv header: "
    for trace in (
        f"{head}HTTP/1.1 200 OK\n{head}Location: http://e/\n",
        f"remote: {head}HTTP/1.1 301\nremote: {head}Location: http://e/\n",
        f"remote: x\u2028{head}HTTP/1.1 301\u2028{head}Location: http://e/\n",
        f"{head}HTTP/1.1 301\n{head}Location: http://[e/\n",
    ):
        assert redirected("http://old/x", parted(trace)[1]) is None
    assert shown_url("mailto:x") is None


def test_a_redirect_to_nowhere_and_one_in_a_circle_are_refused(
    shared: LocalStore, tmp_path: Path, transport: Transport
) -> None:
    """Where no new URL can be named the failure still tells of a redirect; a circle ends."""
    with front(shared.folder.parent, lambda *_: (302, {})) as first:
        failure = tried(opened(settings(first.url, tmp_path / "none", "a token", transport)), "fetch")
    assert failure.cause == f"{first.url} redirects elsewhere, and redirects are not followed"
    with front(shared.folder.parent, sending("", "{}", 302, asks=False)) as first:
        failure = tried(opened(settings(first.url, tmp_path / "circle", "a token", transport)), "fetch")
    assert_told(failure, first, first.url, 302)


# Who else asks ----------------------------------------------------------------------------------------------------


def proxy(_: Front, __: str, ___: object) -> Answer:
    return 407, {"Proxy-Authenticate": 'Basic realm="proxy"'}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_asks_gets_no_credentials_of_the_repository(
    tmp_path: Path, transport: Transport, kind: str, scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a proxy that asks nor one whose URL has a user is answered with the token; pushes go by git always."""
    url = f"{scheme}://git.invalid/fleet.git"
    with front(tmp_path, proxy) as asking:
        for user in ("", "who@"):
            for name in ("http_proxy", "https_proxy"):
                monkeypatch.setenv(name, f"http://{user}127.0.0.1:{asking.server_port}")
            store = opened(settings(url, tmp_path / f"mine{user}", kind, transport))
            with pytest.raises(RetryableError):
                store.refs()
            with pytest.raises(RetryableError) as caught:
                store._wire.git("ls-remote", "--", url)
            assert "proxy" in caught.value.cause or "refused the credentials" in caught.value.cause
        assert asking.seen == [] or all(SECRET not in login for login in asking.logins)


def test_a_server_that_asks_like_a_proxy_gets_none(tmp_path: Path, transport: Transport) -> None:
    """An answer 407 of the server itself is no reason to log in."""
    with front(tmp_path, proxy) as server:
        failure = tried(opened(settings(server.url, tmp_path / "mine", "a token", transport)), "fetch")
        assert server.logins == []
    assert "the proxy on the way asks for credentials" in failure.cause


def asked_helper(config: RepositoryConfig, question: str) -> str:
    """What git, as it is run for a remote, answers a question for credentials with."""
    store = opened(config)
    variables = access_module.git_environment(store._access) | {"GIT_TERMINAL_PROMPT": "0", "GIT_ASKPASS": ""}
    words = ["git", "credential", "fill"]
    return subprocess.run(
        words, input=question, env=os.environ | variables, capture_output=True, text=True, check=False
    ).stdout


@pytest.mark.parametrize("kind", KINDS)
def test_the_helper_answers_for_one_scheme_host_and_port(tmp_path: Path, kind: str) -> None:
    """git is given the credentials for the configured server; for another scheme, host or port there are none, and the
    helper itself, which git might be made to ask, answers for that server alone."""
    config = settings("http://e.invalid:8080/x.git", tmp_path / "mine", kind, "git")
    assert SECRET in asked_helper(config, "protocol=http\nhost=e.invalid:8080\n\n")
    others = [("https", "e.invalid:8080"), ("http", "e.invalid"), ("http", "f.invalid:8080"), ("http", "e.invalid:80")]
    for protocol, host in others:
        question = f"protocol={protocol}\nhost={host}\n\n"
        assert SECRET not in asked_helper(config, question)
        helper = access_module._HELPER.removeprefix("!") + " get"
        variables = access_module.git_environment(opened(config)._access)
        told = subprocess.run(
            ["sh", "-c", helper], input=question, env=os.environ | variables, capture_output=True, text=True
        )
        assert told.stdout == ""


def program(folder: Path, name: str) -> tuple[Path, Path]:
    """A program that notes that it was run, and hangs; and its note."""
    file, note = folder / name, folder / f"{name}-ran"
    file.write_text(f"#!/bin/sh\ntouch {note}\nexec sleep 600\n")
    file.chmod(0o755)
    return file, note


def test_no_program_that_asks_people_is_run(
    shared: LocalStore, nobodys_home: Path, tmp_path: Path, transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GIT_ASKPASS, SSH_ASKPASS and core.askPass, which may wait for ever for a person, are never started."""
    ask, note = program(tmp_path, "ask")
    (nobodys_home / ".gitconfig").write_text(f"[core]\n\taskPass = {ask}\n")
    for name in ("GIT_ASKPASS", "SSH_ASKPASS"):
        monkeypatch.setenv(name, str(ask))
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setenv("SSH_ASKPASS_REQUIRE", "force")
    start = time.monotonic()
    with front(shared.folder.parent, greedy) as server:
        store = RemoteStore(Access(url=server.url, timeout_s=300, transport=transport), tmp_path / "clone.git")
        with pytest.raises(RetryableError, match="credentials"):
            store.refs()
        with pytest.raises(RetryableError, match="refused the credentials"):
            store._wire.git("push", "--porcelain", "--", server.url, ":refs/heads/x")
    assert time.monotonic() - start < 150
    assert not note.exists()


@pytest.mark.needs("ssh-keygen")
def test_no_program_is_asked_for_the_passphrase_of_a_signing_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signing key with a passphrase is refused at once, and nobody is asked for it."""
    ask, note = program(tmp_path, "ask")
    monkeypatch.setenv("SSH_ASKPASS", str(ask))
    monkeypatch.setenv("SSH_ASKPASS_REQUIRE", "force")
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "secret", "-f", str(key)], check=True)
    with pytest.raises(RetryableError, match="cannot be signed"):
        sign(b"commit\n\n", key)
    assert not note.exists()


# URLs and configuration that would run programs -------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "--upload-pack=touch {};x:y",
        "-oProxyCommand=touch {}@e:x",
        "ssh://-oProxyCommand=touch$IFS{}/x",
        "git@-oProxyCommand=touch:x",
        "ext::sh -c touch% {}",
        "fd::17",
        "ftp://e/x",
    ],
)
def test_a_url_that_would_be_a_command_is_refused(
    tmp_path: Path, nobodys_home: Path, transport: Transport, url: str
) -> None:
    """In the file, as a variable and with `--repo` it is wrong usage; and handed to git all the same it runs nothing,
    though the user's configuration allows it."""
    note = tmp_path / "ran"
    given = url.format(note)
    (nobodys_home / ".gitconfig").write_text('[protocol]\n\tallow = always\n[protocol "ext"]\n\tallow = always\n')
    file = tmp_path / "primary.toml"
    file.write_text(f"[repository]\nurl = '{given}'\ntransport = \"{transport}\"\n")
    for words in ([f"--repo={given}"], ["--config", str(file)]):
        done = command("status", *words)
        assert done.returncode == 2, done
        assert len(done.stderr.splitlines()) == 1
    with pytest.raises(UsageError, match="begins with"):
        load_config(None, {"DREAMCATCHERD_REPOSITORY_URL": given})
    store = RemoteStore(Access(url=given, timeout_s=10, transport=transport), tmp_path / "clone.git")
    with pytest.raises(RetryableError):
        store.refs()
    with pytest.raises(RetryableError):
        store._wire.git("push", "--porcelain", "--", given, ":refs/heads/x")
    assert not note.exists()


@pytest.mark.parametrize(
    ("key", "value"), [("clone", "-c"), ("branch", "-b"), ("branch", "--upload-pack=x"), ("branch", "a/-b")]
)
def test_names_that_would_be_options_are_refused(key: str, value: str) -> None:
    """A clone and a branch that begin with a hyphen are wrong in the configuration."""
    variable = f"DREAMCATCHERD_REPOSITORY_{key.upper()}"
    with pytest.raises(UsageError, match=f"{variable} "):
        load_config(None, {variable: value})


def test_a_path_with_colons_is_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that is there is opened, whatever its name looks like."""
    monkeypatch.chdir(tmp_path)
    create(Path("ext::x"), 1, NOW, Closing("manual"), hook=False)
    assert load_config(None, {"DREAMCATCHERD_REPOSITORY_URL": "ext::x"}).repository.url == "ext::x"
    assert MAIN in open_store(RepositoryConfig(), "ext::x").refs()


def test_hooks_and_commands_of_the_users_configuration_do_not_run_in_the_own_clone(
    shared: LocalStore, tmp_path: Path, transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hooks by core.hooksPath, a file system monitor, and a clone's core.sshCommand: none is run."""
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    notes = [program(hooks, name)[1] for name in ("pre-push", "reference-transaction", "post-index-change", "monitor")]
    with git_daemon(shared.folder.parent) as daemon:  # which reads the configuration of its own home
        mine = tmp_path / "mine"
        mine.mkdir()
        monkeypatch.setenv("HOME", str(mine))
        (mine / ".gitconfig").write_text(f"[core]\n\thooksPath = {hooks}\n\tfsmonitor = {hooks}/monitor\n")
        access = Access(url=f"{daemon}/fleet.git", timeout_s=60, transport=transport)
        store = RemoteStore(access, tmp_path / "clone.git")
        head = store.refs()[MAIN]
        assert store.move_refs([Move("refs/heads/new", head, None)], "test")
    command, note = program(hooks, "ssh")
    far = RemoteStore(Access(url="ssh://git@127.0.0.1:1/x", timeout_s=5, transport="git"), tmp_path / "far.git")
    subprocess.run(["git", "-C", str(far.folder), "config", "core.sshCommand", str(command)], check=True)
    with pytest.raises(RetryableError):
        far.refs()
    assert [path for path in (*notes, note) if path.exists()] == []
