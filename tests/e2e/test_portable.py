"""Snapshots in every form, and a platform's plain state, in and out (docs/protocol.md#commands)."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.tools import DREAMCATCHERD, clone, dc, dc_json, delta, environment, export_of, git, push


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with some of everything in its snapshot. Not to be changed."""
    folder = tmp_path_factory.mktemp("portable")
    repository = folder / "fleet.git"
    dc("init", str(repository))
    sections: dict[str, Any] = {
        "posts_created": [{"number": 7, "title": "é\u2028"}],
        "comments_added": [{"discussion": 7, "author": "x", "body": "line\nbreak"}, {"discussion": 7, "author": "x"}],
        "observations": [1, "two"],
        "a/b c": ["odd"],
        "counters": {"n": 3},
    }
    files = {
        "state/dreamcatcher.toml": "[limits]\ndepth = 99\n",
        "state/stream_deltas/1/a.json": delta(1, "a", **sections),
    }
    push(clone(repository, folder / "worker"), files)
    dc("merge", "--repo", str(repository))
    return repository


@pytest.mark.parametrize("form", ["json", "ndjson", "tar"])
@pytest.mark.parametrize("zstd", [(), ("--zstd",)], ids=["plain", "zstd"])
def test_every_form_of_export_imports_to_the_same_digest(
    fleet: Path, tmp_path: Path, form: str, zstd: tuple[str, ...]
) -> None:
    """Written as object, lines or tar, compressed or not, a snapshot is the same elsewhere."""
    file = tmp_path / "snapshot"
    dc("export", "--format", form, *zstd, "-o", str(file), "--repo", str(fleet))
    elsewhere = tmp_path / "elsewhere.git"
    dc("import", str(file), "--repo", str(elsewhere))
    assert export_of(elsewhere) == export_of(fleet)
    assert dc_json("verify", "--repo", str(elsewhere))["ok"]
    raw = file.read_bytes()
    if zstd:
        file.write_bytes(raw[:-5])
    else:
        file.write_bytes(raw.replace(b"odd", b"even" if form != "tar" else b"evn"))
    dc("import", str(file), "--repo", str(tmp_path / "third.git"), code=1)


def test_lines_and_files_are_what_other_tools_read(fleet: Path) -> None:
    """Each line of ndjson is an object; the tar holds a file for each collection, the same bytes every time."""
    lines = [json.loads(line) for line in dc("export", "--format", "ndjson", "--repo", str(fleet)).split("\n")[:-1]]
    assert lines[0]["frame"] == 1
    assert {"collection": "counters", "record": export_of(fleet)["state"]["counters"][0]} in lines
    words = [*DREAMCATCHERD, "export", "--format", "tar", "--repo", str(fleet)]
    first, second = (subprocess.run(words, capture_output=True, env=environment(), check=True).stdout for _ in "ab")
    assert first == second
    with tarfile.open(fileobj=io.BytesIO(first)) as tar:
        assert {"snapshot.json", "state/posts.ndjson", "state/extra%2Fa%2Fb%20c.ndjson"} <= set(tar.getnames())


def test_without_zstd_the_error_says_what_to_install(fleet: Path, tmp_path: Path) -> None:
    """Where no zstd module can be imported, --zstd is a usage error with its remedy."""
    (tmp_path / "zstandard.py").write_text("raise ImportError\n")
    if sys.version_info >= (3, 14):
        pytest.skip("no Python without zstd: run with Python 3.11, 3.12 or 3.13")
    done = subprocess.run(
        [*DREAMCATCHERD, "export", "--zstd", "--repo", str(fleet)],
        capture_output=True,
        env=environment() | {"PYTHONPATH": str(tmp_path)},
        check=False,
    )
    assert done.returncode == 2
    assert b"dreamcatcherd[zstd]" in done.stderr


MAP = """
[[files]]
path = "agents.json"
at = "agents"
section = "profile_updates"

[[files]]
path = "posts/*.json"
section = "posts_created"
name = "discussion_number"
one = true
rename = { heading = "title" }

[[files]]
path = "claims.json"
by = "resource"
section = "claims"
"""


def test_a_platforms_plain_state_becomes_frame_zero(tmp_path: Path) -> None:
    """Mapped files are merged as deltas of frame 0: explained, verified; what workers pushed goes on from there."""
    repository = tmp_path / "fleet.git"
    git(tmp_path, "init", "-q", "--bare", "--initial-branch=main", str(repository))
    platform = clone(repository, tmp_path / "platform")
    state = {
        "agents.json": {"_meta": {"version": 1}, "agents": {"zion": {"mood": "calm"}, "x": {"mood": "odd"}}},
        "posts/13.json": {"heading": "Thirteen"},
        "posts/14.json": {"heading": "Fourteen", "discussion_number": 14},
        "claims.json": {"door": {"by": "zion"}, "odd": 5},
    }
    files = {f"state/{name}": json.dumps(value) for name, value in state.items()}
    table = '[collections.claims]\nkey = ["resource"]\nrule = "first"\n'
    files["state/dreamcatcher.toml"] = table
    files["state/stream_deltas/405/w.json"] = delta(405, "w", posts_created=[{"number": 13, "title": "New"}])
    push(platform, files)
    mapping = tmp_path / "map.toml"
    mapping.write_text(MAP)
    words = ("import", str(platform / "state"), "--map", str(mapping), "--repo", str(repository))
    found = dc_json(*words, "--open", "405")
    assert (found["frame"], found["open"], found["misfits"]) == (0, 405, 0)
    assert found["entities"] == {"agents": 2, "claims": 2, "posts": 2}
    assert [post["title"] for post in dc_json("show", "posts", "--repo", str(repository))] == ["Thirteen", "Fourteen"]
    assert dc_json("show", "claims", "odd", "--repo", str(repository))[0]["value"] == 5
    origin = dc_json("explain", "agents", "zion", "mood", "--repo", str(repository))["fields"]["mood"]
    assert (origin["value"], origin["frame"]) == ("calm", 0)
    assert origin["path"].startswith("state/stream_deltas/0/import/")
    dc("merge", "--repo", str(repository))
    assert dc_json("show", "posts", "13", "--repo", str(repository))[0]["title"] == "New"
    assert git(repository, "show", "main:state/posts/13.json") == files["state/posts/13.json"]
    assert dc_json("verify", "--repo", str(repository)) == {"frames": 2, "ok": True, "first_bad": None, "why": None}
    assert dc_json("replay", "--repo", str(repository))["digest"] == export_of(repository)["digest"]
    assert "closed frames already" in dc(*words, code=1)
    elsewhere = tmp_path / "elsewhere.git"
    again = dc_json(*words[:-1], str(elsewhere))
    assert (again["open"], again["entities"]) == (1, {"agents": 2, "extra": 2, "posts": 2})


VIEWS = """
[views.agents]
collection = "agents"
path = "state/agents.json"
shape = "map"
under = "agents"
meta = "_meta"

[views.channels]
collection = "channels"
path = "state/channels.json"
shape = "map"
inside = true

[views.log]
collection = "observations"
path = "api/log.jsonl"
shape = "lines"
"""


def test_views_are_read_backwards_and_write_the_same_value_back(tmp_path: Path) -> None:
    """The branch's own files become frame 0; the snapshot commit writes them back, and from then on they follow."""
    repository = tmp_path / "fleet.git"
    git(tmp_path, "init", "-q", "--bare", "--initial-branch=main", str(repository))
    platform = clone(repository, tmp_path / "platform")
    state: dict[str, Any] = {
        "state/agents.json": {"_meta": {"v": 1}, "agents": {"zion": {"mood": "calm"}, "007": {"fields": {"x": 1.5}}}},
        "state/channels.json": {"7": {"id": 7, "name": "é"}, "a/b": {"id": "a/b"}},
    }
    files = {name: json.dumps(value) for name, value in state.items()}
    files["api/log.jsonl"] = '{"n": 1}\n{"n": 0}\n'
    files["state/dreamcatcher.toml"] = '[collections.channels]\nkey = ["id"]\n' + VIEWS
    push(platform, files)
    mapping = tmp_path / "map.toml"
    mapping.write_text(VIEWS)
    words = ("import", "--map", str(mapping), "--repo", str(repository))
    before = git(repository, "for-each-ref")
    plan = dc_json(*words, "--dry-run")
    assert (plan["notes"], [one["same"] for one in plan["files"]]) == ([], [True, True, True])
    assert plan["files"][0]["lands"] == {"agents": 2}
    assert "2 records: 2 to channels; the view channels gives the same value back" in dc(*words, "--dry-run")
    assert git(repository, "for-each-ref") == before
    assert dc_json(*words, "--open", "9")["entities"] == {"agents": 2, "channels": 2, "observations": 2}
    for name, value in state.items():
        found = json.loads(git(repository, "show", f"main:{name}"))
        assert found.pop("_meta", {"count": 2})["count"] == 2
        assert found == {one: inner for one, inner in value.items() if one != "_meta"}
    assert git(repository, "show", "main:api/log.jsonl") == '{"n":1}\n{"n":0}'
    git(platform, "pull", "-q")
    push(platform, {"state/stream_deltas/9/w.json": delta(9, "w", profile_updates={"zion": {"mood": "odd"}})})
    dc("merge", "--repo", str(repository))
    assert json.loads(git(repository, "show", "main:state/agents.json"))["agents"]["zion"] == {"mood": "odd"}
    assert dc_json("verify", "--repo", str(repository))["ok"]


def test_a_view_that_would_write_another_value_is_not_imported(tmp_path: Path) -> None:
    """Nothing is written, not even a new repository; the place and the remedy are named, and --force imports it."""
    folder, repository = tmp_path / "platform", tmp_path / "fleet.git"
    folder.mkdir()
    (folder / "agents.json").write_text('{"agents": {"zion": {"agent": "zion"}}, "_meta": {}}')
    mapping = tmp_path / "map.toml"
    text = '[views.agents]\ncollection = "agents"\npath = "agents.json"\nshape = "map"\nunder = "agents"\n'
    mapping.write_text(text)
    words = ("import", str(folder), "--map", str(mapping), "--repo", str(repository))
    refused = dc(*words, code=1)
    assert "agents.json would not come back the same: $._meta" in refused
    assert 'set meta = "_meta"' in refused
    mapping.write_text(text + 'meta = "_meta"\n')
    assert "set inside = true" in dc(*words, code=1)
    (difference,) = [one["difference"] for one in dc_json(*words, "--dry-run")["files"]]
    assert (difference["at"], difference["remedy"]) == ("$.agents.zion.agent", "set inside = true")
    assert "will not be written until it is committed there" in dc(*words, "--dry-run")
    assert not repository.exists()
    dc("import", "--map", str(mapping), "--repo", str(repository), code=1)
    for option in ("--dry-run", "--force"):
        dc("import", str(folder), option, "--repo", str(repository), code=2)
    assert dc_json(*words, "--force")["entities"] == {"agents": 1}


def test_workers_merge_a_mapped_import_to_the_same_digest(tmp_path: Path) -> None:
    """With an engine that is named, the deltas of the import are merged by its workers; an exported snapshot has no
    deltas, so an engine goes with --map."""
    folder, mapping = tmp_path / "platform", tmp_path / "map.toml"
    folder.mkdir()
    agents = {f"agent-{number}": {"mood": f"mood {number}"} for number in range(50)}
    (folder / "agents.json").write_text(json.dumps(agents))
    mapping.write_text('[[files]]\npath = "agents.json"\nsection = "profile_updates"\n')
    words = ("import", str(folder), "--map", str(mapping), "--repo")
    found = [
        dc_json(*words, str(tmp_path / f"{name}.git"), *more)
        for name, more in (("here", ()), ("there", ("--engine", "processes", "--workers", "2")))
    ]
    assert found[0] == found[1]
    assert found[0]["entities"] == {"agents": 50}
    assert dc_json("verify", "--repo", str(tmp_path / "there.git"))["ok"]
    said = dc("import", "export.json", "--engine", "processes", "--repo", str(tmp_path / "new.git"), code=2)
    assert "--engine goes with --map" in said


def test_a_mapping_that_does_not_fit_says_so(tmp_path: Path) -> None:
    """Unknown keys, missing files and members, and files that are no JSON are named; nothing is imported."""
    folder = tmp_path / "state"
    folder.mkdir()
    (folder / "a.json").write_text('{"x": [1]}')
    (folder / "b.json").write_text("{")
    mapping = tmp_path / "map.toml"
    words = ("import", str(folder), "--map", str(mapping), "--repo", str(tmp_path / "fleet.git"))
    for text, code, cause in (
        ('[[files]]\npath = "a.json"\nsection = "p"\nwrong = 1\n', 2, "wrong"),
        ('utc = "now"\n[[files]]\npath = "a.json"\nsection = "p"\n', 2, "malformed"),
        ('[[files]]\npath = "none.json"\nsection = "p"\n', 1, "none.json"),
        ('[[files]]\npath = "a.json"\nsection = "p"\nat = "y"\n', 1, "'y'"),
        ('[[files]]\npath = "a.json"\nat = "x"\nby = "k"\nsection = "p"\n', 1, "'k'"),
        ('[[files]]\npath = "b.json"\nsection = "p"\n', 1, "cannot be imported"),
    ):
        mapping.write_text(text)
        assert cause in dc(*words, code=code)
    mapping.write_text('[[files]]\npath = "a.json"\nsection = "p"\n')
    dc(*words, "--open", "0", code=2)
    assert dc_json(*words)["entities"] == {"extra": 1}


@pytest.mark.parametrize(
    "raw",
    [
        b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
        b"[" * 100_000 + b"]" * 100_000,
        bytes(range(256)) * 100,
        b'{"format":"dreamcatcher-snapshot/1","frame":"x","digest":5,"settings":7,"state":[],"merged":1}',
        b'{"format": "x"}\n' + b'{"a":' * 50_000,
    ],
    ids=["deep object", "deep list", "bytes", "types", "deep line"],
)
def test_a_crafted_export_is_refused(tmp_path: Path, raw: bytes) -> None:
    """Whatever the file holds, import says that it is no export, without a traceback, and nothing is written."""
    dc("init", str(tmp_path / "fleet.git"))
    file = tmp_path / "crafted.json"
    file.write_bytes(raw)
    before = git(tmp_path / "fleet.git", "for-each-ref")
    assert "not an exported snapshot" in dc("import", str(file), "--repo", str(tmp_path / "fleet.git"), code=1)
    assert git(tmp_path / "fleet.git", "for-each-ref") == before


@pytest.mark.parametrize("words", [("export",), ("archive",), ("replay",)], ids=" ".join)
def test_an_output_that_is_no_file_is_written_to_and_stays(words: tuple[str, ...], tmp_path: Path) -> None:
    """A pipe gets the bytes and is a pipe afterwards, as /dev/null stays a device; a link stays one, and leads to
    them."""
    dc("init", "fleet.git", cwd=tmp_path)
    dc("merge", "--repo", "fleet.git", cwd=tmp_path)
    dc(*words, "-o", "plain", "--repo", "fleet.git", cwd=tmp_path)
    expected = (tmp_path / "plain").read_bytes()
    pipe, link = tmp_path / "pipe", tmp_path / "link"
    os.mkfifo(pipe)
    link.symlink_to("linked")
    (tmp_path / "linked").write_bytes(b"before")
    with subprocess.Popen(["cat", pipe], stdout=subprocess.PIPE) as reader:
        try:
            dc(*words, "-o", "pipe", "--repo", "fleet.git", cwd=tmp_path)
            assert reader.communicate(timeout=60)[0] == expected
        finally:
            reader.kill()
    assert pipe.is_fifo()
    dc(*words, "-o", "link", "--repo", "fleet.git", cwd=tmp_path)
    assert (link.is_symlink(), (tmp_path / "linked").read_bytes()) == (True, expected)
