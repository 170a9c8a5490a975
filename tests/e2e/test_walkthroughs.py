"""The pages that one walks through from top to bottom: the quick start and time travel; and the settings' reference."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import click
import jsonschema_rs
import pytest

from dreamcatcherd.cli import cli
from dreamcatcherd.cli.reference import reference, schemas
from tests.e2e.test_docs import PAGES, ROOT, blocks, shell
from tests.e2e.tools import clone, dc, dc_json, delta, export_of, push

ELSEWHERE = {
    ".github/CONTRIBUTING.md": 1,  # the commands that run this very suite
    "README.md": 1,  # `make run` and `make test`
    "docs/operations.md": 1,  # the wheel, which the guest's maker builds
    "docs/releasing.md": 1,  # the upload
    "docs/quick-start.md": 2,  # `make run`, and the PATH
    "docs/mirrors.md": 1,  # what the reader's repository is called
    "docs/runbook.md": 1,  # what the reader's repository is called
}
"""Shell blocks without a name, by page."""


@pytest.mark.parametrize("page", PAGES)
def test_every_shell_block_has_a_name_by_which_a_test_runs_it(page: str) -> None:
    """A block that nothing runs would have to be counted here."""
    shells = (ROOT / page).read_text().count("```sh\n")
    assert shells - len(blocks(page)) == ELSEWHERE.get(page, 0)


@pytest.mark.parametrize("page", PAGES)
def test_every_command_that_a_page_names_exists(page: str) -> None:
    """No line, in a block or in the text, names a command or an option that this version does not have."""
    text = (ROOT / page).read_text()
    lines = [line for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]
    lines += [" ".join(found.split()) for found in re.findall(r"`(dreamcatcherd [^`]+)`", text)]
    named = re.compile(r"(?:^|[ |(/])(?<!beside )dreamcatcherd ((?!dreamcatcherd[:/])[a-z][^|)#&>\\]*)")
    for words in [words for line in lines for words in named.findall(line)]:
        assert_exists(words)


def assert_exists(words: str) -> None:
    group, (name, *rest) = cli, shlex.split(words)
    command = group.get_command(click.Context(cli), name)
    while isinstance(command, click.Group) and rest:
        command = command.get_command(click.Context(command), rest.pop(0))
    assert command is not None, words
    known = {option for param in command.params for option in param.opts}
    ours = rest[: rest.index("--")] if "--" in rest else rest
    assert {word for word in ours if word.startswith("-") and word != "-"} <= known | {"--help"}, words


def test_the_quick_start_goes_from_nothing_to_a_proof(tmp_path: Path) -> None:
    """Its blocks in their order: two workers push, a frame closes, a conflict's loser is named, verify agrees."""
    run = blocks("docs/quick-start.md")
    assert list(run) == ["push", "pending", "close", "read", "explain", "prove"]
    dc("init", "fleet.git", cwd=tmp_path)
    said = shell("\n".join(f"echo '== {name}'\n{text}" for name, text in run.items()), tmp_path)
    told = dict(re.findall(r"^== (\w+)\n(.*?)(?=^== |\Z)", said, re.MULTILINE | re.DOTALL))
    assert "stream\tdeltas\nada\t1\nbob\t1\n" in told["pending"]
    assert told["close"].splitlines()[-1] == "frame 1: 2 deltas from 2 streams"
    assert '{"discussion_number":1,"title":"as bob sees it"}\n{"name":"pushes","value":2}\n' in told["read"]
    assert 'lost in frame 1: "as ada sees it"' in told["explain"]
    assert "ada.json 4" not in told["push"]
    assert "1 frame computed again: all as published" in told["prove"]
    assert not re.search(r"^(?!ok )\w+ +\S+: ", told["prove"].partition("published\n")[2], re.MULTILINE)
    assert json.loads((tmp_path / "snapshot.json").read_text())["frame"] == 1


def test_time_travel_works_as_it_is_told(tmp_path: Path) -> None:
    """Every block of docs/time-travel.md, on a history of six frames in place of a thousand."""
    run = {name: text.replace("1000", "6").replace("900", "3") for name, text in blocks("docs/time-travel.md").items()}
    assert set(run) == {"verify", "bisect", "adopt", "unpack"}
    dc("init", "fleet.git", cwd=tmp_path)
    worker = clone(tmp_path / "fleet.git", tmp_path / "worker")
    for frame in range(1, 7):
        text = delta(frame, "w", f"2026-01-01T00:00:0{frame}Z", counters={"n": 1})
        push(worker, {f"state/stream_deltas/{frame}/w.json": text}, "refs/heads/dc/w")
        dc("merge", cwd=tmp_path)
    dc("archive", "-o", "2026.tar", cwd=tmp_path)
    for _ in range(2):  # the second one resumes
        assert shell(run["verify"], tmp_path).count("computed again: all as published") == 5
    check = "import json, sys\nsys.exit(json.load(open(sys.argv[1]))['state']['counters'][0]['value'] > 3)\n"
    (tmp_path / "check.py").write_text(check)
    assert re.search(r"\b4\b.*first|first.*\b4\b", shell(run["bisect"], tmp_path))
    exported = shell(run["unpack"], tmp_path)
    assert json.loads(exported[exported.index("{") :]) == export_of(tmp_path / "fleet.git")


def test_plain_state_is_adopted_by_the_documented_mapping(tmp_path: Path) -> None:
    """The mapping of docs/time-travel.md fits the files that its comments show, and the fleet goes on at frame 405."""
    text = (ROOT / "docs/time-travel.md").read_text()
    (mapping,) = re.findall(r"^```toml\n(frame = .*?)^```", text, re.MULTILINE | re.DOTALL)
    (tmp_path / "map.toml").write_text(mapping)
    books = tmp_path / "state" / "books"
    books.mkdir(parents=True)
    (books.parent / "agents.json").write_text('{"agents": {"zion": {"mood": "calm"}}}')
    (books.parent / "posts.json").write_text('{"13": {"heading": "Frames"}}')
    (books / "tides.json").write_text('{"title": "The Book of Tides"}')
    dc("init", "fleet.git", cwd=tmp_path)
    shell(blocks("docs/time-travel.md")["adopt"], tmp_path)
    (post,) = dc_json("show", "posts", cwd=tmp_path)
    assert (post["discussion_number"], post["title"]) == (13, "Frames")
    assert [row["mood"] for row in dc_json("show", "agents", cwd=tmp_path)] == ["calm"]
    assert [row["title"] for row in dc_json("show", "books", cwd=tmp_path)] == ["The Book of Tides"]
    assert dc_json("status", cwd=tmp_path)["frame"] == 405


def test_the_reference_of_settings_is_what_the_code_reads() -> None:
    """docs/configuration.md is what `config reference` prints, and each key has a line that says what it does."""
    assert (ROOT / "docs/configuration.md").read_text() == reference() == dc("config", "reference")
    tables = [table for schema in schemas().values() for table in schema["$defs"].values()]
    keys = [what for table in tables for what in table["properties"].values() if "$ref" not in what]
    assert len(keys) > 40
    assert [
        what
        for what in keys
        if not {"description", "additionalProperties"} & {*what} and "$ref" not in what.get("items", {})
    ] == []


def test_the_schemas_of_settings_tell_good_from_bad() -> None:
    """`config reference --json` accepts what is documented, and refuses a wrong key and a number out of bounds."""
    found = dc_json("config", "reference")
    assert found == json.loads(json.dumps(schemas())), "defaults that are tuples are lists in JSON"
    primary = jsonschema_rs.validator_for(found["primary"])
    assert primary.is_valid({"frames": {"close": "quorum", "streams": ["a"], "deadline": 60}})
    assert not primary.is_valid({"frames": {"closes": "quorum"}})
    assert not primary.is_valid({"repository": {"poll": 0}})
    repository = jsonschema_rs.validator_for(found["repository"])
    assert repository.is_valid({"collections": {"claims": {"key": ["resource"], "rule": "first"}}})
    assert not repository.is_valid({"collections": {"claims": {"rule": "last"}}})


def test_config_show_tells_what_counts_and_no_secret(tmp_path: Path) -> None:
    """The file stands above the defaults, and what a URL holds of password or token is left out, in both forms."""
    file = tmp_path / "primary.toml"
    file.write_text('[repository]\nurl = "https://me:s3cr@example.org/x.git"\n[frames]\ninterval = 60\n')
    shown = dc_json("config", "show", "--config", str(file))
    assert (shown["repository"]["url"], shown["frames"]["interval"]) == ("https://example.org/x.git", 60)
    assert "s3cr" not in dc("config", "show", "--config", str(file))
