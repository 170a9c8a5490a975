"""Text from a repository never drives a terminal: every command, on a terminal and in a pipe, with hostile content."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.terminals import in_terminal
from tests.e2e.tools import DREAMCATCHERD, clone, dc, dc_json, delta, environment, git, invoke, try_git

EVIL = "\x1b]0;title\x07\x1b[8m\x9b31m\x7f\u202e\u2066\x85\x08"
FORBIDDEN = re.compile("\x1b\\]|\x1b\\[8m|[\x00-\x08\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""What hostile content has and no command writes: line feed, tab, carriage return and colours are a terminal's due."""
Runner = Callable[[list[str], Path], str]
FOLDER = "state/stream_deltas/1"
BOOK = "b" + EVIL
TEXT = f"# {EVIL}\r\n{EVIL}\r\ttab שלום\u200e"


def on_terminal(words: list[str], cwd: Path, columns: int = 200, until: str = "") -> str:
    """Run a command whose three streams are a terminal of that width; returns what that terminal received.

    One that does not end by itself is ended once it has written `until`."""
    environ = environment() | {"TERM": "xterm-256color"}
    environ.pop("COLUMNS")  # it would override the terminal's own width
    return in_terminal([*DREAMCATCHERD, *words], cwd, environ, until, columns=columns)[1]


def in_pipe(words: list[str], cwd: Path) -> str:
    done = invoke(*words, cwd=cwd)
    return (done.stdout + done.stderr).decode("utf-8", "surrogateescape")


def deltas() -> dict[str, str]:
    """Records, keys, sections, references and streams that hold control characters, some in conflict, some unusable."""
    stream = "s" + "\u202e\u2066"
    chapter = {"book": BOOK, "chapter": 1, "author": "x" + EVIL, "title": EVIL, "content": TEXT}
    odd: Any = {f"x{EVIL}": [1]}
    page = {"book": BOOK, "title": "t" + EVIL, "author": EVIL, "blurb": EVIL, "subtitle": EVIL, "target_chapters": 1}
    return {
        f"{FOLDER}/one.json": delta(
            1, stream, books_started=[page], chapters_added=[chapter, {**chapter, "chapter": EVIL}],
            profile_updates={EVIL: {EVIL: EVIL}}, observations=[EVIL], posts_created=[{"body": EVIL}],
            comments_added=[{"discussion_number": 1, "author": EVIL, "body_ref": f"no{EVIL}.md"}], **odd,
        ),
        f"{FOLDER}/two{EVIL}.json": delta(1, "other", profile_updates={EVIL: {EVIL: "2"}}),
        f"{FOLDER}/two\u202e.json": delta(1, "third", "2026-01-01T00:00:01Z", profile_updates={EVIL: {EVIL: "3"}}),
        f"{FOLDER}/bad.json": delta(1, EVIL),
        f"{FOLDER}/key.json": '{"frame": 1, "' + "\u009b" + '": 1, "' + "\u009b" + '": 2}',
    }  # fmt: skip


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Without a check, with hostile names, authors, branches and edits: two frames closed, a third open."""
    folder = tmp_path_factory.mktemp("hostile")
    repository = folder / "fleet.git"
    dc("init", str(repository), "--no-hook")
    worker = clone(repository, folder / "worker")
    for number, files in enumerate(
        (deltas(), {f"{FOLDER}/late.json": delta(1, "late", profile_updates={EVIL: {"x": EVIL}})})
    ):
        for name, text in files.items():
            (worker / name).parent.mkdir(parents=True, exist_ok=True)
            (worker / name).write_text(text)
        git(worker, "add", "-A")
        author = {"GIT_AUTHOR_NAME": f"a{EVIL}", "GIT_COMMITTER_NAME": f"c{EVIL}", "GIT_AUTHOR_EMAIL": "a\x9b\u202e@b"}
        done = try_git(worker, "commit", "-q", "-m", f"m{EVIL}", env=author)
        assert done.returncode == 0, done.stderr
        git(worker, "push", "-q", "origin", "HEAD:main")
        if number == 0:
            dc("merge", "--repo", str(repository))
            git(worker, "pull", "-q", "--rebase", "origin", "main")
    dc("merge", "--repo", str(repository))
    git(worker, "pull", "-q", "--rebase", "origin", "main")
    (worker / "state/frame.json").write_text("{}")
    (worker / f"state/stream_deltas/3/open{EVIL}.json").parent.mkdir()
    (worker / f"state/stream_deltas/3/open{EVIL}.json").write_text(delta(3, "o\u202e", observations=[EVIL]))
    (worker / "state/stream_deltas/3/op\u202een.json").write_text(delta(3, "o\u202e", observations=[EVIL]))
    git(worker, "add", "-A")
    try_git(worker, "commit", "-q", "-m", "edit", env={"GIT_AUTHOR_NAME": f"a{EVIL}"})
    git(
        worker,
        "push",
        "-q",
        "origin",
        "HEAD:main",
        "HEAD:refs/heads/\u009btopic\u202e",
        "HEAD:refs/heads/dc/\u009blane",
    )
    odd: Any = {f"o{EVIL}": 1}
    (folder / f"file{EVIL}.json").write_text(delta(1, "a", **odd, note_ref=EVIL))
    (folder / "crafted.json").write_text(json.dumps({"digest": EVIL, "format": EVIL, "frame": 1, "state": {EVIL: 1}}))
    return folder


def commands(book: str) -> list[list[str]]:
    shown = [
        "extra/posts_created",
        "comments",
        "chapters",
        "books",
        "agents",
        "observations",
        "library",
        "book_progress",
    ]
    key = "".join(f"%{byte:02X}" for byte in EVIL.encode())
    found = [["show", name] for name in (*shown, f"extra/x{EVIL}", f"none{EVIL}")]
    found += [
        ["show", "agents", EVIL],
        ["show", "agents", key],
        ["explain", "agents", key],
        ["explain", "agents", EVIL],
    ]
    found += [["diff", "0", "2"], ["diff", "1", "2"], ["log"], ["status"], ["plan"], ["doctor"], ["verify"]]
    found += [
        ["receipt", f"{FOLDER}/{name}.json"] for name in ("one", f"two{EVIL}", "two\u202e", "bad", "key", f"n{EVIL}")
    ]
    found += [["books"], ["books", "show", book], ["books", "export", book]]
    found += [["bisect", "--good", "1", "--bad", "2", "--", "sh", "-c", 'test "$DREAMCATCHER_FRAME" = 1']]
    return found


@pytest.mark.parametrize("run", [in_pipe, on_terminal], ids=["pipe", "terminal"])
def test_no_command_writes_control_characters_of_a_repository(run: Runner, fleet: Path) -> None:
    """What commands show for people and for programs, of good and of refused things, has none of them raw."""
    book = "b" + "".join(f"%{byte:02X}" for byte in EVIL.encode())
    asked: set[str] = set()
    for words in commands(book):
        # On a terminal, where each command is a new process, JSON is asked for once of each command.
        json_too = run is in_pipe or words[0] not in asked
        asked.add(words[0])
        for more in ([], ["--json"]) if json_too else ([],):
            cut = words.index("--") if "--" in words else len(words)
            line = [*words[:cut], *more, "--repo", "fleet.git", *words[cut:]]
            said = run(line, fleet)
            assert said, line
            assert not FORBIDDEN.search(said), (line, FORBIDDEN.findall(said), said[:2000])
    for line in (
        ["books", "catalogue", "--repo", "fleet.git"],
        ["validate", f"file{EVIL}.json"],
        ["validate", f"file{EVIL}.json", "--json"],
        ["validate", f"none{EVIL}.json"],
        ["import", "crafted.json", "--repo", "new.git"],
        ["import", f"n{EVIL}.json", "--repo", "new.git"],
        ["verify", "--archive", f"none{EVIL}"],
        ["verify", "--archive", "crafted.json"],
        ["config", "check", f"n{EVIL}"],
        ["status", "--repo", f"gone{EVIL}.git"],
        [f"no{EVIL}"],
    ):
        said = run(line, fleet)
        assert said, line
        assert not FORBIDDEN.search(said), (line, FORBIDDEN.findall(said), said[:2000])


@pytest.mark.parametrize("form", ["json", "ndjson"])
def test_an_export_to_a_terminal_is_the_same_state_in_escapes(form: str, fleet: Path) -> None:
    """On a terminal an export has them as JSON escapes, and is still what import reads; a file has them as they are."""
    said = on_terminal(["export", "--format", form, "--repo", "fleet.git"], fleet)
    assert not FORBIDDEN.search(said), FORBIDDEN.findall(said)
    raw = dc("export", "--format", form, "--repo", "fleet.git", cwd=fleet)
    assert "\x9b" in raw
    texts = [[text] if form == "json" else text.strip("\r\n").split("\n") for text in (said, raw)]
    assert [json.loads(line) for line in texts[0]] == [json.loads(line) for line in texts[1]]
    assert not FORBIDDEN.search(on_terminal(["replay", "--repo", "fleet.git"], fleet))


@pytest.mark.parametrize("words", [["--format", "tar"], ["--zstd"]])
def test_what_is_no_text_is_not_written_to_a_terminal(words: list[str], fleet: Path) -> None:
    """A tar or a compressed export wants a file or a pipe, and says so on one line."""
    said = on_terminal(["export", *words, "--repo", "fleet.git"], fleet)
    assert said.count("\n") == 1
    assert "name a file: -o FILE" in said


def test_markdown_of_a_book_keeps_lines_and_letters_and_drops_controls(fleet: Path) -> None:
    """Line ends become line feeds; tabs, letters of every script and their marks stay; what drives a terminal goes."""
    book = "b" + "".join(f"%{byte:02X}" for byte in EVIL.encode())
    words = ["books", "export", book, "--format", "markdown", "--repo", "fleet.git"]
    said = dc(*words, cwd=fleet)
    shown = "]0;title[8m31m\u2066"
    assert said.startswith(f"# t{shown} \n\n*{shown} *\n\nby {shown} \n\n> {shown} \n\n### 1. {shown} \n\n")
    assert said.endswith(f"\n\n# {shown}\n\n{shown}\n\n\ttab שלום\u200e\n")
    assert on_terminal(words, fleet).replace("\r", "") == said
    (chapter,) = dc_json("books", "show", book, "--repo", "fleet.git", cwd=fleet)["object"]["chapters"]
    assert chapter["content"] == TEXT
