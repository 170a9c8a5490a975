"""Wrong usage: one line that names what was probably meant (docs/protocol.md#commands)."""

from __future__ import annotations

import json
from pathlib import Path

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dreamcatcherd.cli import cli
from dreamcatcherd.cli.usage import nearest
from tests.e2e.tools import dc, dc_json, invoke


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("stauts", "no such command 'stauts'; did you mean 'status'? see dreamcatcherd --help"),
        ("ver", "no such command 'ver'; did you mean 'verify' or 'version'? see dreamcatcherd --help"),
        ("frobnicate", "no such command 'frobnicate'; see dreamcatcherd --help"),
        ("books shwo", "no such command 'shwo'; did you mean 'show'? see dreamcatcherd books --help"),
        ("config chekc", "no such command 'chekc'; did you mean 'check'? see dreamcatcherd config --help"),
        ("hook pre", "no such command 'pre'; did you mean 'pre-receive'? see dreamcatcherd hook --help"),
        ("status --jsn", "no such option '--jsn'; did you mean '--json'? see dreamcatcherd status --help"),
        ("books show --jsno", "no such option '--jsno'; did you mean '--json'? see dreamcatcherd books show --help"),
        ("--verison", "no such option '--verison'; did you mean '--version'? see dreamcatcherd --help"),
        (
            "--json status",
            "no such option '--json' before the command: write it after the command; see dreamcatcherd --help",
        ),
        ("run --listen", "option '--listen' requires an argument; see dreamcatcherd run --help"),
        ("log -n 0", "invalid value for '-n' / '--limit': 0 is less than 1; see dreamcatcherd log --help"),
        ("diff 1 b", "invalid value for 'B': 'b' is not a whole number; see dreamcatcherd diff --help"),
        ("demo --workers 65", "invalid value for '--workers': 65 is more than 64; see dreamcatcherd demo --help"),
    ],
)
def test_wrong_words_are_one_line_that_names_the_nearest(line: str, said: str, tmp_path: Path) -> None:
    """Commands, sub-commands and options that do not exist, and numbers that do not fit, end with 2 and one line."""
    assert dc(*line.split(), cwd=tmp_path, code=2) == f"dreamcatcherd: {said}\n"


@pytest.mark.parametrize("words", [[], ["config"], ["hook"]])
def test_no_command_shows_the_help_and_one_line(words: list[str], tmp_path: Path) -> None:
    """Without a command the help is on stdout, and stderr has one line: it is an error for whoever wrote a script."""
    done = invoke(*words, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout.decode() == dc(*words, "--help")
    said = " ".join(["dreamcatcherd", *words])
    assert done.stderr.decode() == f"dreamcatcherd: no command is given; see {said} --help\n"


def every_group(group: click.Group) -> list[click.Group]:
    """A group and the groups below it."""
    context = click.Context(group)
    below = [group.get_command(context, name) for name in group.list_commands(context)]
    return [group, *(one for found in below if isinstance(found, click.Group) for one in every_group(found))]


def test_each_command_is_described_in_one_complete_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """At 80 columns the list of commands has a sentence for each, none of them cut."""
    monkeypatch.setenv("COLUMNS", "80")
    for words in ([], ["books"], ["config"], ["hook"]):
        listed = dc(*words, "--help").split("Commands:\n")[1].split("\n\n")[0].splitlines()
        assert len(listed) == len({line.split()[0] for line in listed})
        assert [line for line in listed if not line.endswith(".") or line.endswith("..")] == []


SILENT = {"run", "mcp", "hook", "hook pre-receive", "completion", "config"}
"""Commands without output that a program would read as JSON."""


def test_every_command_with_output_has_json() -> None:
    """`--json` is an option of each command, except for those that write a log, a script or nothing."""
    without = set()
    for group in every_group(cli):
        context = click.Context(group)
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            assert command is not None
            if not any("--json" in param.opts for param in command.params):
                without.add(name if group is cli else f"{group.name} {name}")
    assert without - SILENT == set()


def test_json_of_what_wrote_no_json_before(tmp_path: Path) -> None:
    """`config check`, `export -o` and the catalogue answer programs as well."""
    dc("init", "fleet.git", cwd=tmp_path)
    dc("merge", cwd=tmp_path)
    (tmp_path / "primary.toml").write_text("[frames]\ngrace = 1\n")
    (tmp_path / "dreamcatcher.toml").write_text(
        '[collections.x]\nsection = "posts_created"\nkey = ["id"]\nrule = "lww"\n'
    )
    found = dc_json("config", "check", "primary.toml", "--repo", "fleet.git", cwd=tmp_path)
    assert found == [
        {"path": "primary.toml", "ok": True, "warnings": [], "mistakes": []},
        {"path": "state/dreamcatcher.toml", "ok": True, "warnings": [], "mistakes": []},
    ]
    (row,) = dc_json("config", "check", "dreamcatcher.toml", cwd=tmp_path)
    assert "posts_created" in row["warnings"][0]
    said = dc_json("export", "-o", "one.json", cwd=tmp_path)
    assert said == {"file": "one.json", "frame": 1, "digest": dc_json("status", cwd=tmp_path)["digest"]}
    assert dc_json("export", cwd=tmp_path)["format"] == "dreamcatcher-snapshot/2"
    assert dc_json("books", "catalogue", cwd=tmp_path) == json.loads(dc("books", "catalogue", cwd=tmp_path))


def test_settings_that_are_refused_are_not_called_valid_first(tmp_path: Path) -> None:
    """`config check` of a broken dreamcatcher.toml has the reason as its only output."""
    (tmp_path / "dreamcatcher.toml").write_text("[limits\n")
    assert "valid\n" not in dc("config", "check", "dreamcatcher.toml", cwd=tmp_path, code=2)


def test_every_command_is_found_from_a_slip() -> None:
    """Two letters swapped, in any command of any group: the command is among those that are offered."""
    for group in every_group(cli):
        names = group.list_commands(click.Context(group))
        assert names
        for name in names:
            for at in range(1, len(name) - 1):
                slip = name[:at] + name[at + 1] + name[at] + name[at + 2 :]
                assert slip in names or name in nearest(slip, names), (slip, nearest(slip, names))


NAMES = st.text("abr-é", max_size=8)
"""Few letters, so that names are often alike."""


@given(NAMES, st.lists(NAMES, max_size=9))
def test_only_known_names_are_offered_and_at_most_three(word: str, known: list[str]) -> None:
    """Whatever was typed, what is offered exists, and a name that the word begins is preferred to a similar one."""
    found = nearest(word, known)
    assert set(found) <= set(known)
    assert len(found) <= 3
    begun = {name for name in known if word and name.startswith(word)}
    assert not begun or set(found) <= begun
