"""The API of a real daemon: the very JSON of the commands, held to its description by a fuzzer, and the door's keys."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.e2e.primaries import await_ready
from tests.e2e.tools import Daemon, clone, dc, dc_json, delta, environment, git, primary_toml, push, rewrite, wait_for

FRAMES = 4
WAITING = f"state/stream_deltas/{FRAMES + 1}"
SLOW = ("--suppress-health-check", "too_slow")
"""The fuzzer would complain of a slow machine."""


@pytest.fixture
def grown(tmp_path: Path) -> Path:
    """A repository with some frames: conflicts, a late delta, a published book, and one delta that waits."""
    repository = tmp_path / "fleet.git"
    dc("init", str(repository))
    worker = clone(repository, tmp_path / "worker")
    for frame in range(1, FRAMES + 1):
        for stream in ("a", "b é"):
            sections: dict[str, Any] = {
                "posts_created": [{"number": 1, "title": f"{stream} in {frame}"}],
                "comments_added": [{"discussion_number": 1, "author": stream, "body": f"said in {frame}"}],
                "chapters_added": [{"book": "tides", "chapter": frame, "author": stream, "content": "a b c"}],
                "books_started": [{"book": "tides", "target_chapters": 2}],
            }
            push(
                worker, {f"state/stream_deltas/{frame}/{stream}.json": delta(frame, stream, **sections)}, "main", "add"
            )
        if frame > 2:
            push(worker, {f"state/stream_deltas/1/late-{frame}.json": delta(1, "late", observations=[frame])})
        dc("merge", "--repo", str(repository))
        git(worker, "pull", "-q", "--rebase", "origin", "main")
    push(worker, {f"state/stream_deltas/{FRAMES + 1}/a.json": delta(FRAMES + 1, "a", observations=[1])})
    return repository


@pytest.fixture
def served(grown: Path, tmp_path: Path) -> Iterator[Daemon]:
    config = primary_toml(tmp_path)
    with Daemon(tmp_path, "--repo", str(grown), "--config", str(config)) as daemon:
        await_ready(daemon)
        yield daemon


def test_the_api_and_the_commands_print_the_same(served: Daemon, grown: Path) -> None:
    """status, log, explain, diff and books: equal value for value."""
    at = ("--repo", str(grown))

    def asked(path: str) -> object:
        return json.loads(served.get(f"/api/v1/{path}"))

    status, printed = asked("status"), dc_json("status", *at)
    assert isinstance(status, dict)
    assert status | {"behind_s": 0} == printed | {"behind_s": 0}
    assert asked("log") == dc_json("log", *at)
    assert asked("log?limit=2&before=4") == dc_json("log", *at)[1:3]
    key = dc_json("show", "comments", *at)[0]
    for collection, words in (
        ("posts", ("1",)),
        ("posts", ("1", "title")),
        ("chapters", ("tides/1/b%20%C3%A9",)),
        ("books", ("tides",)),
    ):
        path = f"explain?collection={collection}&key={quote(words[0])}" + "".join(f"&field={one}" for one in words[1:])
        assert asked(path) == dc_json("explain", collection, *words, *at)
        assert asked(f"{path}&frame=2") == dc_json("explain", collection, *words, "--frame", "2", *at)
    assert key["author"] in ("a", "b é")
    for first, second in ((1, 2), (1, FRAMES), (FRAMES, 1), (2, 2)):
        assert asked(f"diff?from={first}&to={second}") == dc_json("diff", str(first), str(second), *at)
    assert asked("books") == dc_json("books", *at)
    for collection in ("posts", "comments", "chapters", "observations", "library"):
        for frame in (None, 2):
            query = f"?frame={frame}" if frame else ""
            at_frame = ["--frame", str(frame)] if frame else []
            records = dc_json("show", collection, *at_frame, *at)
            assert asked(f"collections/{collection}{query}") == {"records": records, "next": None}
    assert (
        asked("entity?collection=chapters&key=tides/1/b%2520%25C3%25A9")
        == dc_json("show", "chapters", "tides/1/b%20%C3%A9", *at)[0]
    )
    for name in ("state/stream_deltas/1/a.json", "state/stream_deltas/1/late-3.json", f"{WAITING}/a.json"):
        assert asked(f"receipt?delta={name}") == dc_json("receipt", name, *at)
    assert asked("frames/2") == json.loads(git(grown, "show", "main:state/ledger/0/2.json"))
    assert {hit["collection"] for hit in asked("search?q=SAID%20in")} == {"comments"}  # type: ignore[attr-defined]


def test_a_delta_is_validated_as_by_the_command(served: Daemon, grown: Path, tmp_path: Path) -> None:
    """POST and `validate -` print the same row, under the repository's settings and open frame."""
    for number, body in enumerate(
        (delta(FRAMES + 1, "x"), delta(FRAMES + 3, "x"), "{", delta(1, "x", pots_created=[1]))
    ):
        file = tmp_path / f"{number}.json"
        file.write_text(body)
        request = urllib.request.Request(served.url() + "/api/v1/validate", file.read_bytes(), method="POST")
        with urllib.request.urlopen(request, timeout=90) as answer:
            row = json.loads(answer.read())
        code = 0 if row["ok"] else 1
        printed = json.loads(dc("validate", str(file), "--json", "--repo", str(grown), code=code))
        assert [row] == [printed[0] | {"path": "-"}]


def test_a_fuzzer_finds_nothing_that_is_not_described(served: Daemon, tmp_path: Path) -> None:
    """schemathesis asks every path in hundreds of ways: no server error, no code, type or body but those described."""
    document = json.loads(served.get("/api/v1/openapi.json"))
    del document["paths"]["/api/v1/events"]  # it has no end to wait for
    file = tmp_path / "openapi.json"
    file.write_text(json.dumps(document))
    run = [sys.executable, "-m", "schemathesis.cli", "run", str(file), "--url", served.url()]
    done = subprocess.run(
        [*run, "--max-examples", "40", "--seed", "1", "--no-color", "--request-timeout", "90", *SLOW],
        cwd=tmp_path,
        env=environment() | {"SCHEMATHESIS_HOOKS": ""},
        capture_output=True,
        text=True,
        check=False,
        timeout=1500,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "17 tested" in done.stdout or re.search(r"Operations:.*17", done.stdout), done.stdout[-3000:]
    await_ready(served)  # on a machine that is busy enough a poll can fail, and the next one succeeds
    assert "request failed" not in served.text


def code_of(url: str, token: str = "") -> int:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})
    try:
        with urllib.request.urlopen(request, timeout=90) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_a_new_token_counts_from_the_next_reload(grown: Path, tmp_path: Path) -> None:
    """SIGHUP reads the file anew, on the same port; a token that cannot be read is refused and the old one stays."""
    token = tmp_path / "token"
    token.write_text("alpha-7f3\n")
    config = primary_toml(tmp_path)
    config.write_text(config.read_text().replace("[frames]", f'token_file = "{token}"\n[frames]'))
    with Daemon(tmp_path, "--repo", str(grown), "--config", str(config)) as daemon:
        url = daemon.url()
        wait_for(lambda: "started" in daemon.text)
        assert [code_of(f"{url}/metrics"), code_of(f"{url}/metrics", "alpha-7f3")] == [401, 200]
        rewrite(token, "")
        daemon.process.send_signal(signal.SIGHUP)
        wait_for(lambda: "holds no token" in daemon.text)
        assert code_of(f"{url}/metrics", "alpha-7f3") == 200
        rewrite(token, "beta-91c\n")
        daemon.process.send_signal(signal.SIGHUP)
        wait_for(lambda: "configuration applied" in daemon.text)
        assert [code_of(f"{url}/metrics", "alpha-7f3"), code_of(f"{url}/metrics", "beta-91c")] == [401, 200]
        assert "alpha-7f3" not in daemon.text
        assert "beta-91c" not in daemon.text
        assert daemon.stop()[0] == 0


def test_other_machines_are_not_answered_by_accident(grown: Path, tmp_path: Path) -> None:
    """A wide address without token and TLS ends the start with code 2, and one line that says what to do."""
    config = tmp_path / "primary.toml"
    config.write_text('[http]\nlisten = "0.0.0.0:0"\n')
    said = dc("run", "--repo", str(grown), "--config", str(config), code=2)
    assert "insecure = true" in said
    assert "insecure = true" in dc("config", "check", str(config), code=2)
