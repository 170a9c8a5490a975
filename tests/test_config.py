"""A primary's own configuration file: strict, with every key named (docs/protocol.md#configuration)."""

from __future__ import annotations

from pathlib import Path

import pytest

from dreamcatcherd.config import events_secret_file, listen_address, load_config, repository_path
from dreamcatcherd.config_tables import Config
from dreamcatcherd.core.errors import UsageError
from dreamcatcherd.core.frames import Closing


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "primary.toml"


def refused(file: Path, text: str | bytes) -> str:
    """What is said of a file that cannot be read as configuration: one line, cause and remedy."""
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UsageError) as found:
        load_config(file)
    assert found.value.exit_code == 2
    assert found.value.remedy
    assert "\n" not in str(found.value)
    return found.value.cause


def test_without_a_file_the_defaults_count(file: Path) -> None:
    """No file, and an empty one, serve ./fleet.git, a frame every 10 s, metrics on loopback."""
    file.write_text("")
    assert load_config(None) == load_config(file) == Config()
    config = Config()
    assert (config.repository.url, config.repository.branch, config.repository.poll) == ("fleet.git", "main", 1.0)
    assert config.closing == Closing("interval", 10.0, 0.0, streams=10)
    assert (config.http.listen, config.retention.lanes_keep) == ("127.0.0.1:9464", 3600.0)
    assert (config.log.format, config.log.level) == ("auto", "info")


def test_what_is_given_counts_and_the_rest_keeps_its_default(file: Path) -> None:
    """Tables and keys may be left out one by one; seconds may be integers."""
    file.write_text('[frames]\nclose = "manual"\ninterval = 3\n[repository]\nbranch = "release/2.0"\n')
    config = load_config(file)
    assert config.closing == Closing("manual", 3.0, 0.0, streams=10)
    assert (config.repository.branch, config.repository.url) == ("release/2.0", "fleet.git")
    assert config.http == Config().http


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[frame]\n", "frame"),
        ("poll = 1\n", "poll"),
        ("[frames]\nintervall = 1\n", "intervall"),
        ("[frames]\ninterval = '10'\n", "frames.interval"),
        ("[frames]\ninterval = 0\n", "frames.interval"),
        ("[frames]\ninterval = nan\n", "frames.interval"),
        ("[frames]\ninterval = inf\n", "frames.interval"),
        ("[frames]\ngrace = -1\n", "frames.grace"),
        ("[frames]\nclose = 'hourly'\n", "frames.close"),
        ("[repository]\npoll = 0\n", "repository.poll"),
        ("[repository]\nurl = ''\n", "repository.url"),
        ("[repository]\nbranch = 'a b'\n", "'a b'"),
        ("[retention]\nlanes_keep = true\n", "retention.lanes_keep"),
        ("[log]\nlevel = 'loud'\n", "log.level"),
        ("[http]\nlisten = 'localhost'\n", "'localhost'"),
        ("[links]\ncommit = 'https://forge.example/x'\n", "URL with {commit} in its path"),
        ("[links]\nfile = 'ftp://forge.example/{commit}/{path}'\n", "[links] file is not an http:// or https:// URL"),
        ("http = 1\n", "http"),
    ],
)
def test_a_mistake_is_named_by_its_key(file: Path, text: str, named: str) -> None:
    """Unknown names, wrong types and values out of bounds are refused, and the message says which."""
    assert named in refused(file, text)


@pytest.mark.parametrize(
    "text",
    [
        "[frames",
        b"\xff\xfe",
        "[frames]\ninterval = 1\ninterval = 2\n",
        "[repository]\npoll = " + "9" * 5000,
        "x = " + "[" * 5000,
    ],
    ids=["half a table", "not UTF-8", "a key twice", "an endless number", "endless nesting"],
)
def test_what_is_no_toml_is_refused_with_the_files_name(file: Path, text: str | bytes) -> None:
    """Whatever overwhelms the parser ends in the same one-line error as a missing bracket."""
    assert refused(file, text).startswith(str(file))


def test_a_variable_stands_above_the_file(file: Path) -> None:
    """Every table has its variables; they are TOML values or else plain texts, and a wrong one is refused by name."""
    file.write_text("[frames]\ninterval = 3\ngrace = 1\n")
    said = {
        "DREAMCATCHERD_FRAMES_INTERVAL": "5",
        "DREAMCATCHERD_REPOSITORY_URL": "ssh://git@host/fleet.git",
        "DREAMCATCHERD_HTTP_INSECURE": "true",
        "DREAMCATCHERD_RETENTION_LANES_KEEP": "7",
        "DREAMCATCHERD_FRAMES_STREAMS": '["a"]',
        "DREAMCATCHERD_LOG_LEVEL": "debug",
        "DREAMCATCHERD_UNKNOWN_TABLE": "1",
    }
    found = load_config(file, said)
    assert (found.frames.interval, found.frames.grace) == (5.0, 1.0)
    assert (found.repository.url, found.http.insecure) == ("ssh://git@host/fleet.git", True)
    assert (found.retention.lanes_keep, found.closing.streams, found.log.level) == (7.0, ("a",), "debug")
    with pytest.raises(UsageError, match=r"did you mean 'interval'"):
        load_config(None, {"DREAMCATCHERD_FRAMES_INTERVALL": "5"})


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """A missing file and a folder in its place are usage errors, not tracebacks."""
    for path in (tmp_path / "missing.toml", tmp_path):
        with pytest.raises(UsageError, match=str(path)):
            load_config(path)


@pytest.mark.parametrize(
    "branch", ["", "-x", "/x", "x/", "a//b", "a..b", "a.", "x.lock", "x.lock/y", ".x", "a/.b", "a~b"]
)
def test_a_branch_that_git_cannot_have_is_refused(file: Path, branch: str) -> None:
    """What git would refuse as a ref later is refused at once."""
    refused(file, f'[repository]\nbranch = "{branch}"\n')


@pytest.mark.parametrize("branch", ["main", "a/b", "v1.2", "x.locked", "x_y-z", "0"])
def test_ordinary_branches_are_allowed(file: Path, branch: str) -> None:
    """Dots, slashes and dashes inside are fine."""
    file.write_text(f'[repository]\nbranch = "{branch}"\n')
    assert load_config(file).repository.branch == branch


@pytest.mark.parametrize(
    ("listen", "address"),
    [
        ("127.0.0.1:9464", ("127.0.0.1", 9464)),
        ("localhost:0", ("localhost", 0)),
        ("[::1]:80", ("::1", 80)),
        ("0.0.0.0:65535", ("0.0.0.0", 65535)),
    ],
)
def test_where_to_listen_is_host_and_port(listen: str, address: tuple[str, int]) -> None:
    """IPv6 addresses stand in brackets; port 0 takes any free one."""
    assert listen_address(listen) == address


@pytest.mark.parametrize(
    "listen", ["", "9464", ":9464", "[]:80", "host:", "host:x", "host:-1", "host:65536", "host:٣", "host:" + "9" * 5000]
)
def test_what_is_no_address_is_refused(listen: str) -> None:
    """Without a host, without a port, or with one that no socket has."""
    with pytest.raises(UsageError, match="listen"):
        listen_address(listen)


def test_a_repository_is_named_by_path_or_file_url(tmp_path: Path) -> None:
    """Both name the same folder, also where a colon is in the name of one that exists."""
    odd = tmp_path / "a:b"
    odd.mkdir()
    assert repository_path(str(odd)) == repository_path(f"file://{odd}") == odd
    assert repository_path("fleet.git") == Path("fleet.git")


EVENTS = [
    ("", "needs url or exec"),
    ('url = "http://127.0.0.1/"\nexec = ["true"]', "needs url or exec"),
    ("exec = []", "not a program"),
    ('exec = [""]', "not a program"),
    ('exec = ["true"]\nsecret_file = "x"', "go with url"),
    ('url = "ftp://127.0.0.1/private"', "not http"),
    ('url = "http:///private"', "not http"),
    ('url = "http://127.0.0.1:99999/private"', "not http"),
    ('url = "http://127.0.0.1/private with space"', "not http"),
    ('url = "http://user:private@127.0.0.1/"', "user or password"),
    ('url = "https://hooks.example/private"', "signs nothing"),
    ('url = "https://hooks.example/private"\nsecret_file = "/no/such/file"', "is no file"),
    ('url = "http://127.0.0.1/"\ntypes = ["frame.close"]', "did you mean 'frame.closed'?"),
    ('url = "http://127.0.0.1/"\ntypes = ["nonsense"]', "known are frame.closed, "),
    ('urll = "http://127.0.0.1/"', "did you mean 'url'?"),
    ('url = "http://127.0.0.1/"\n[[events]]\nurl = "http://127.0.0.1/"', "the same receiver"),
]


@pytest.mark.parametrize(("keys", "named"), EVENTS)
def test_a_receiver_of_events_that_cannot_be_one_is_refused(file: Path, keys: str, named: str) -> None:
    """The cause is named, and no part of a URL that may be a secret."""
    cause = refused(file, f"[[events]]\n{keys}\n")
    assert named in cause
    assert "private" not in cause


def test_one_variable_overrides_all_receivers_of_events(file: Path) -> None:
    """It is a list of tables in TOML; a variable for one key is refused, since it names no table."""
    file.write_text('[[events]]\nexec = ["one"]\n[[events]]\nexec = ["two"]\n')
    found = load_config(file, {"DREAMCATCHERD_EVENTS": '[{exec = ["three"], timeout = 2}]'})
    assert [(table.exec, table.timeout) for table in found.events] == [(["three"], 2.0)]
    with pytest.raises(UsageError, match="DREAMCATCHERD_EVENTS_TIMEOUT sets one key of several tables"):
        load_config(file, {"DREAMCATCHERD_EVENTS_TIMEOUT": "2"})


def test_secrets_of_events_are_found_among_the_credentials(file: Path, tmp_path: Path) -> None:
    """A name without a slash, and `events_secret` where none is named, are files of $CREDENTIALS_DIRECTORY."""
    for name in ("events_secret", "other"):
        (tmp_path / name).write_text("secret\n")
    file.write_text(
        '[[events]]\nurl = "https://a.example/"\n[[events]]\nurl = "https://b.example/"\nsecret_file = "other"\n'
    )
    environment = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    tables = load_config(file, environment).events
    found = [events_secret_file(table, environment) for table in tables]
    assert found == [tmp_path / "events_secret", tmp_path / "other"]
    with pytest.raises(UsageError):
        load_config(file, {})
