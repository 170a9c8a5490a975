"""A primary's own configuration file: strict, with every key named (docs/protocol.md#configuration)."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dreamcatcherd.config import ConfigError, load_config
from dreamcatcherd.config_files import credential_file, events_secret_file, is_same_repository, repository_path
from dreamcatcherd.config_rules import listen_address
from dreamcatcherd.config_tables import Config
from dreamcatcherd.core.errors import UsageError
from dreamcatcherd.core.frames import Closing
from tests.e2e.tools import git


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
        ("[frame]\n", "[frame] is unknown; did you mean 'frames'?"),
        ("poll = 1\n", "poll is unknown; it is a key of [repository] and of [relay]: write it below that line"),
        ("[frames]\nintervall = 1\n", "intervall"),
        ("[frames]\ninterval = '10'\n", "[frames] interval is text: it takes a number from 0.1 to 31536000"),
        ("[frames]\ninterval = 0\n", "[frames] interval is 0: it takes a number from 0.1 to 31536000"),
        ("[frames]\ninterval = nan\n", "[frames] interval is nan"),
        ("[frames]\ninterval = inf\n", "[frames] interval is inf"),
        ("[frames]\ngrace = -1\n", "[frames] grace is -1: it takes a number from 0 to 31536000"),
        (
            "[frames]\nclose = 'hourly'\n",
            '[frames] close is "hourly": it takes "counter", "cron", "interval", "manual", ',
        ),
        ("[repository]\npoll = 0\n", "[repository] poll is 0: it takes a number from 0.05 to 3600"),
        ("[repository]\nurl = ''\n", "[repository] url is empty"),
        ("[repository]\nbranch = 'a b'\n", "'a b'"),
        ("[retention]\nlanes_keep = true\n", "[retention] lanes_keep is true: it takes a number"),
        (
            "[log]\nlevel = 'wanring'\n",
            '[log] level is "wanring": it takes "debug", "error", "info" or "warning"; did you mean \'warning\'?',
        ),
        ("[http]\nlisten = 'localhost'\n", "'localhost'"),
        ("[links]\ncommit = 'https://forge.example/x'\n", "URL with {commit} in its path"),
        ("[links]\nfile = 'ftp://forge.example/{commit}/{path}'\n", "[links] file is not an http:// or https:// URL"),
        ("http = 1\n", "[http] is a number: it takes a table of keys"),
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
    ('url = "https://hooks.example/private"\nsecret_file = "/no/such/file"', "is not a file"),
    ('url = "http://127.0.0.1/"\ntypes = ["frame.close"]', "did you mean 'frame.closed'?"),
    ('url = "http://127.0.0.1/"\ntypes = ["nonsense"]', 'it takes "book.published", '),
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


MANY = """
poll = 1
[frames]
close = "cron"
intervall = 3
grace = -1
[http]
listen = "0.0.0.0:80"
tls_cert = "/no/such/certificate"
cors_origins = ["*", "fleet.example", 3]
[[events]]
exec = ["true"]
secret_file = "x"
[[events]]
url = "https://a.example/private"
types = ["frame.close"]
[[events]]
url = "https://b.example/private"
timeout = 0
[repository]
branch = "a b"
urll = "private"
"""


def test_every_mistake_is_found_at_once_and_once(file: Path) -> None:
    """In the order of the file, then values that do not go together. What follows from another mistake is left out: a
    certificate that is missing, and an unknown key that may be the one that is needed."""
    file.write_text(MANY)
    with pytest.raises(ConfigError) as found:
        load_config(file, {})
    assert [one.where for one in found.value.mistakes] == [
        "poll",
        "[frames] intervall",
        "[frames] grace",
        "[http] cors_origins item 2",
        "[http] cors_origins item 3",
        "[[events]] table 2 types item 1",
        "[[events]] table 3 timeout",
        "[repository] urll",
        "[repository] branch",
        "[frames] close",
        "[http] tls_cert",
        "[[events]] table 1",
        "[[events]] table 2",
        "[[events]] table 3",
    ]
    assert all(str(one).startswith(f"{file}: {one.where} ") for one in found.value.mistakes)
    assert "private" not in str(found.value.mistakes)


def test_several_mistakes_are_one_line_that_names_the_command_for_all(file: Path) -> None:
    """The first one, how many more there are, and how to see them."""
    file.write_text("[frames]\ngrace = -1\nclose = 'x'\n[log]\nlevel = 1\n")
    with pytest.raises(ConfigError) as found:
        load_config(file, {})
    line = str(found.value)
    assert line.startswith(
        f"{file}: [frames] grace is -1: it takes a number from 0 to 31536000 (and 2 more mistakes); "
    )
    assert line.endswith(f"`dreamcatcherd config check {file}` lists them")


def test_a_mistake_in_a_variable_is_named_by_the_variable(file: Path) -> None:
    """The file is not blamed for it, and its own mistakes are listed beside."""
    file.write_text("[frames]\ngrace = 1\n[log]\nlevel = 'x'\n")
    variables = {
        "DREAMCATCHERD_FRAMES_GRACE": "soon",
        "DREAMCATCHERD_FRAMES_CRONN": "x",
        "DREAMCATCHERD_HTTP_TLS_KEY": "/no/such/key",
        "DREAMCATCHERD_EVENTS": '[{url = "http://127.0.0.1/", types = ["x"]}, {}]',
        "DREAMCATCHERD_EVENTS_URL": "x",
    }
    with pytest.raises(ConfigError) as found:
        load_config(file, variables)
    assert [(one.source, one.where) for one in found.value.mistakes] == [
        ("", "DREAMCATCHERD_EVENTS_URL"),
        ("", "DREAMCATCHERD_FRAMES_GRACE"),
        ("", "DREAMCATCHERD_FRAMES_CRONN"),
        (str(file), "[log] level"),
        ("", "DREAMCATCHERD_EVENTS table 1 types item 1"),
        ("", "DREAMCATCHERD_HTTP_TLS_KEY"),
        ("", "DREAMCATCHERD_EVENTS table 2"),
    ]


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ('scheduler = "tcp://127.0.0.1:8786"', '[engine] scheduler goes with kind = "dask"'),
        ('kind = "dask"\nscheduler = "tcp://10.0.0.1:8786"', "is on another machine: Dask runs what it is sent"),
        ('kind = "dask"\nscheduler = "10.0.0.1:8786"', "is not an address such as tls://scheduler.example.org:8786"),
        ('kind = "dask"\nscheduler = "tls://10.0.0.1:8786"', "[engine] ca_file is missing: ca_file, tls_cert, tls_key"),
        ('kind = "dask"\ntls_cert = "/no/such"', "[engine] tls_cert names /no/such, which is not a file"),
        ('kind = "dusk"', "did you mean 'dask'?"),
        ('kind = "dask"\nscheduler = "tcp://127.0.0.1:99999"', "has a port that is not 1 to 65535"),
        ('kind = "dask"\nscheduler = "tcp://127.0.0.1:0"', "has a port that is not 1 to 65535"),
        ("workers = 4", '[engine] workers has no effect with kind = "inline"'),
        (
            'kind = "dask"\nworkers = 4\nscheduler = "tcp://127.0.0.1:8786"',
            "[engine] workers has no effect with scheduler, which has workers of its own",
        ),
    ],
)
def test_an_engine_that_cannot_work_or_is_not_safe_is_refused(file: Path, keys: str, said: str) -> None:
    """A scheduler goes with Dask, and needs TLS and its files unless it is on this machine."""
    assert said in refused(file, f"[engine]\n{keys}\n")


@pytest.mark.parametrize("scheduler", ["", 'scheduler = "tcp://127.0.0.1:8786"'])
def test_certificates_go_with_a_scheduler_over_tls(file: Path, scheduler: str) -> None:
    """Without one, on a cluster of this machine or at tcp://, they would not be used."""
    keys = "".join(f'{key} = "{__file__}"\n' for key in ("ca_file", "tls_cert", "tls_key"))
    said = refused(file, f'[engine]\nkind = "dask"\n{keys}{scheduler}\n')
    assert "[engine] ca_file has no effect without a scheduler at tls://" in said


def test_a_relay_has_no_engine(file: Path) -> None:
    """It merges nothing, so that each key of the table is a mistake."""
    file.write_text(
        '[repository]\nurl = "r.git"\n[relay]\nupstream = "u.git"\nname = "north"\n'
        '[engine]\nkind = "processes"\nworkers = 2\nthreshold = 10\n'
    )
    with pytest.raises(ConfigError) as found:
        load_config(file)
    assert [one.where for one in found.value.mistakes] == [
        f"[engine] {key}" for key in ("kind", "workers", "threshold")
    ]
    first = found.value.mistakes[0]
    assert first.what == "has no effect in a relay: frames are closed upstream"
    assert first.remedy == "leave it out; replay and verify take --engine"


def test_a_scheduler_on_this_machine_needs_no_certificates(file: Path) -> None:
    """tcp:// on loopback, by name and by both kinds of addresses."""
    for host in ("localhost", "127.0.0.1", "[::1]"):
        file.write_text(f'[engine]\nkind = "dask"\nscheduler = "tcp://{host}:8786"\n')
        assert load_config(file).engine.scheduler == f"tcp://{host}:8786"


WRONG: dict[tuple[str, str], str] = {
    ("repository", "url"): '"ext::x"',
    ("repository", "branch"): '"a b"',
    ("repository", "clone"): '"-x"',
    ("frames", "counter"): '"/x"',
    ("http", "listen"): '"x"',
    ("http", "token_file"): '"/no/such/file"',
    ("otel", "endpoint"): '"ftp://x"',
}
"""Values of the right type that are mistakes all the same."""
KEYS = [
    (table, key)
    for table in Config.__struct_fields__
    if table not in ("events", "mirrors")
    for key in type(getattr(Config(), table)).__struct_fields__
]


@given(
    st.sets(st.sampled_from(KEYS), max_size=8),
    st.sets(st.sampled_from(sorted(WRONG)), max_size=8),
    st.integers(0, 3),
    st.integers(0, 3),
)
def test_independent_mistakes_are_all_found_each_once(
    by_type: set[tuple[str, str]], by_value: set[tuple[str, str]], unknown: int, receivers: int
) -> None:
    """Whichever keys have a value of no type that they take, or of the right type that is refused, beside unknown keys
    and receivers of events that are none: so many mistakes are found, one for each."""
    by_value -= by_type
    lines: dict[str, list[str]] = {table: [] for table, _ in KEYS}
    for table, key in by_type:
        lines[table].append(f"{key} = 1979-05-27")
    for table, key in by_value:
        lines[table].append(f"{key} = {WRONG[table, key]}")
    lines["log"] += [f"zzz_{number} = 1" for number in range(unknown)]
    text = "\n".join(f"[{table}]\n" + "\n".join(rows) for table, rows in lines.items())
    text += "\n[[events]]\nexec = []" * receivers
    wanted = sorted([f"[{table}] {key}" for table, key in by_type | by_value])
    wanted += [f"[log] zzz_{number}" for number in range(unknown)]
    wanted += [f"[[events]] table {number + 1}" for number in range(receivers)]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "primary.toml"
        file.write_text(text)
        try:
            load_config(file, {})
        except ConfigError as error:
            found = [one.where for one in error.mistakes]
        else:
            found = []
    assert sorted(found) == sorted(wanted)


def test_what_is_left_of_a_wrong_file_is_what_is_right_in_it(file: Path) -> None:
    """Keys with mistakes have their defaults in it, so that a caller can go on looking."""
    file.write_text("[frames]\ngrace = -1\ninterval = 3\n[[events]]\n[[events]]\nexec = ['true']\ntimeout = 0\n[nn]\n")
    with pytest.raises(ConfigError) as found:
        load_config(file, {})
    assert found.value.valid is not None
    assert (found.value.valid.frames.grace, found.value.valid.frames.interval) == (0.0, 3.0)
    assert [one.exec for one in found.value.valid.events] == [None, ["true"]]
    file.write_text("[frames\n")
    with pytest.raises(ConfigError) as broken:
        load_config(file, {})
    assert (broken.value.valid, len(broken.value.mistakes)) == (None, 1)


def test_credentials_that_cannot_be_looked_for_are_a_mistake(file: Path) -> None:
    """Where the operating system refuses to look, as for a folder of another user or here for a name that is too long,
    that is said, and nothing that follows from it."""
    file.write_text('[http]\nlisten = "0.0.0.0:80"\n')
    with pytest.raises(ConfigError) as found:
        load_config(file, {"CREDENTIALS_DIRECTORY": "/x" * 3000})
    assert [one.where for one in found.value.mistakes] == ["[http] token_file", "[http] tls_cert", "[http] tls_key"]
    assert all("which cannot be read: File name too long" in one.line for one in found.value.mistakes)


RELAY = '[relay]\nupstream = "https://git.example.org/fleet.git"\nname = "north"\n'


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('[relay]\nname = "north"\n', "[relay] name goes with upstream"),
        ('[relay]\nupstream = "up.git"\n', "[relay] upstream goes with name"),
        (RELAY.replace("north", "no/rth"), "[relay] name 'no/rth' is not 1 to 40 letters, digits, - and _"),
        (
            RELAY + '[repository]\nurl = "git://host/fleet.git"\n',
            "[repository] url is on another machine: a relay works",
        ),
        ('[relay]\nupstream = "fleet.git"\nname = "north"\n', "[relay] upstream is the relay's own repository"),
        (RELAY + '[frames]\nclose = "manual"\n', "[frames] close has no effect in a relay: frames are closed upstream"),
        (RELAY + "[frames]\ninterval = 5\n", "[frames] interval has no effect in a relay"),
        (RELAY + '[publish]\nrestore = "close"\n', "[publish] restore has no effect in a relay"),
        (RELAY + "[retention]\ndeltas_frames = 9\n", "[retention] deltas_frames has no effect in a relay"),
        (RELAY + 'ssh_key = "/nowhere"\n', "[relay] ssh_key names /nowhere, which is not a file"),
        ("[relay]\npoll = 5\n", "[relay] poll has no effect without upstream"),
        ('[relay]\ntoken_file = "/nowhere"\n', "[relay] token_file has no effect without upstream"),
    ],
)
def test_what_a_relay_cannot_be_configured_to_do_is_a_mistake(file: Path, text: str, named: str) -> None:
    """A relay has an upstream, a name and a repository on its own disk, and closes and publishes nothing."""
    assert named in refused(file, text)


def test_a_relay_keeps_the_secrets_of_its_upstream_apart(file: Path, tmp_path: Path) -> None:
    """Its credentials are files of their own names; a password in the URL is not shown."""
    (tmp_path / "relay_token").write_text("secret\n")
    file.write_text(RELAY)
    config = load_config(file, {})
    named = credential_file("relay", "token_file", None, {"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert (config.relay.name, named) == ("north", tmp_path / "relay_token")
    assert credential_file("repository", "token_file", None, {"CREDENTIALS_DIRECTORY": str(tmp_path)}) is None


@pytest.mark.parametrize(
    ("tables", "where"),
    [
        ('name = "a"\nurl = "fleet.git"', "[[mirrors]] table 1 url"),
        ('name = "a"\nurl = "ext::x"', "[[mirrors]] table 1 url"),
        ('name = "a"\nurl = "x"\n[[mirrors]]\nname = "a"\nurl = "y"', "[[mirrors]] table 2 name"),
        ('name = "a"\nurl = "x"\n[[mirrors]]\nname = "b"\nurl = "x"', "[[mirrors]] table 2 url"),
        ('name = "a b"\nurl = "x"', "[[mirrors]] table 1 name"),
        ('name = "a"', "[[mirrors]] table 1"),
        ('name = "a"\nurl = "x"\ntoken_file = "/no/such/file"', "[[mirrors]] table 1"),
        ('name = "a"\nurl = "x"\nintake = false\npublish = false', "[[mirrors]] table 1"),
        ('name = "a"\nurl = "./fleet.git/"', "[[mirrors]] table 1 url"),
        ('name = "a"\nurl = "x"\n[[mirrors]]\nname = "b"\nurl = "y/../x"', "[[mirrors]] table 2 url"),
    ],
)
def test_a_mirror_that_cannot_be_one_is_refused(file: Path, tables: str, where: str) -> None:
    """Each is another repository than the one that decides, is named once, and has files that exist."""
    file.write_text(f"[[mirrors]]\n{tables}\n")
    with pytest.raises(ConfigError) as found:
        load_config(file, {})
    assert [one.where for one in found.value.mistakes] == [where]


def test_a_variable_of_all_mirrors_names_itself_in_its_mistakes(file: Path) -> None:
    """What is wrong with one of its tables follows the name of the variable, as a sentence."""
    with pytest.raises(ConfigError) as found:
        load_config(None, {"DREAMCATCHERD_MIRRORS": '[{name = "north"}]'})
    assert str(found.value.mistakes[0]) == "DREAMCATCHERD_MIRRORS table 1 needs url"


SPELLINGS = [
    "fleet.git", "./fleet.git", "fleet.git/", "x/../fleet.git", "fleet", "file://{folder}/fleet.git",
    "{folder}/fleet.git", "link.git", "link.git/", "linked", "tree", "tree/.git",
]  # fmt: skip


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_repository_is_the_same_one_under_any_spelling(tmp_path: Path, spelling: str) -> None:
    """A relay is never its own upstream, and the repository that decides is no mirror, however they are spelled: as git
    finds a repository by a path, links and work trees included."""
    git(tmp_path, "init", "-q", "--bare", "fleet.git")
    git(tmp_path, "init", "-q", "--bare", "other.git")
    (tmp_path / "x").mkdir()
    (tmp_path / "link.git").symlink_to("fleet.git")
    (tmp_path / "linked").symlink_to(tmp_path / "fleet.git")
    empty = git(tmp_path / "fleet.git", "hash-object", "-w", "-t", "tree", "/dev/null")
    commit = git(tmp_path / "fleet.git", "-c", "user.name=w", "-c", "user.email=w@x", "commit-tree", "-m", "x", empty)
    git(tmp_path / "fleet.git", "worktree", "add", "-q", "--detach", str(tmp_path / "tree"), commit)
    url = spelling.format(folder=tmp_path)
    with contextlib.chdir(tmp_path):
        assert is_same_repository(url, "fleet.git")
        assert is_same_repository(str(tmp_path / "fleet.git"), url)
        assert not is_same_repository(url, "other.git")
        file = tmp_path / "primary.toml"
        assert "own repository" in refused(file, f'[relay]\nupstream = "{url}"\nname = "north"\n')
        assert "the same repository" in refused(file, f'[[mirrors]]\nurl = "{url}"\nname = "north"\n')


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("https://git.example.org/fleet.git", "https://user:pw@GIT.example.org:443/fleet/", True),
        ("git@git.example.org:/srv/fleet.git", "ssh://git@git.example.org/srv/fleet.git", True),
        ("git@git.example.org:fleet.git", "ssh://git@git.example.org/~/fleet", True),
        ("https://git.example.org/fleet.git", "https://git.example.org:8443/fleet.git", False),
        ("https://git.example.org/fleet.git", "https://git.example.org/fleet2.git", False),
        ("https://git.example.org/fleet.git", "fleet.git", False),
        ("https://[x/fleet.git", "https://[y/fleet.git", False),
    ],
)
def test_urls_that_differ_in_their_spelling_alone_name_the_same_repository(one: str, other: str, same: bool) -> None:
    """Credentials, letter case of the host, default ports, and `.git` make no difference; another port or path does."""
    assert is_same_repository(one, other) is same
    assert is_same_repository(other, one) is same


def test_one_variable_overrides_all_mirrors(file: Path) -> None:
    """A list of tables in TOML."""
    file.write_text('[[mirrors]]\nname = "north"\nurl = "x"\n')
    found = load_config(file, {"DREAMCATCHERD_MIRRORS": '[{name = "south", url = "y", intake = false}]'})
    assert [(one.name, one.intake, one.publish) for one in found.mirrors] == [("south", False, True)]
