"""Others read what the daemon writes: DuckDB and pandas, an export and the API, by the lines of docs/operations.md."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pytest

from tests.e2e.primaries import await_ready
from tests.e2e.test_docs import ROOT, blocks, shell
from tests.e2e.tools import Daemon, clone, dc, delta, environment, primary_toml, push

STREAMS = ("north", "south")


def grown(folder: Path, **more: Any) -> Path:
    """A repository with one closed frame of every kind of record."""
    dc("init", str(folder / "fleet.git"))
    worker = clone(folder / "fleet.git", folder / "worker")
    for number, stream in enumerate(STREAMS):
        sections: dict[str, Any] = {
            "posts_created": [
                {"number": 2 * at + number, "title": f"title {at % 3}", "tags": ["a", 1]} for at in range(9)
            ],
            "comments_added": [{"discussion_number": 1, "author": stream, "body": "said"}],
            "profile_updates": {stream: {"bio": "x", "traits": {"calm": 0.5}}},
            "counters": {"visits": 1.25},
            "observations": [stream, 1, None, {"nested": {"deep": [1]}}],
            "oddity": [{"value": stream}],
            **more,
        }
        push(worker, {f"state/stream_deltas/1/{stream}.json": delta(1, stream, **sections)})
    dc("merge", "--repo", str(folder / "fleet.git"))
    return folder


def rows(query: str, **tables: pd.DataFrame) -> list[Any]:
    """The rows of a query, over files and over tables that pandas has."""
    with duckdb.connect() as connection:
        for name, table in tables.items():
            connection.register(name, table)
        return connection.execute(query).fetchall()


def test_the_lines_of_the_document_work_when_pasted(tmp_path: Path) -> None:
    """An export, and a page of a running daemon, through pandas and DuckDB."""
    grown(tmp_path)
    shell(blocks("docs/operations.md")["reading"], tmp_path)
    (script,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/operations.md").read_text(), re.DOTALL)
    with Daemon(tmp_path, "--repo", str(tmp_path / "fleet.git"), "--config", str(primary_toml(tmp_path))) as daemon:
        await_ready(daemon)
        assert "http://127.0.0.1:9464" in script
        done = subprocess.run(
            [sys.executable, "-c", script.replace("http://127.0.0.1:9464", daemon.url())],
            cwd=tmp_path,
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("title 2") >= 3


def test_every_collection_of_an_export_is_a_table(tmp_path: Path) -> None:
    """DuckDB unnests each, with as many rows as the export has records, and finds the same values and stamps."""
    grown(tmp_path)
    file = tmp_path / "export.json"
    dc("export", "--repo", str(tmp_path / "fleet.git"), "-o", str(file))
    export = json.loads(file.read_text())
    for name, records in export["state"].items():
        found = rows(f"SELECT unnest(state.\"{name}\") AS one FROM '{file}'")
        assert len(found) == len(records), name
        frame = pd.DataFrame(records)
        assert len(frame) == len(records)
    posts = rows(
        f"SELECT post.discussion_number, post.title, post._stamps.title[1]::INT, post._stamps.title[3]->>'$'"
        f" FROM (SELECT unnest(state.posts) AS post FROM '{file}') ORDER BY 1"
    )
    assert posts == [(at, f"title {at // 2 % 3}", 1, STREAMS[at % 2]) for at in range(18)]
    assert rows(f"SELECT frame, digest FROM '{file}'") == [(1, export["digest"])]
    total = rows(f"SELECT one.value FROM (SELECT unnest(state.counters) AS one FROM '{file}')")
    assert total == [(2.5,)]


def test_pages_of_the_api_are_tables(tmp_path: Path) -> None:
    """Page by page, by `next`; pandas has all records, and DuckDB queries what pandas has."""
    grown(tmp_path)
    with Daemon(tmp_path, "--repo", str(tmp_path / "fleet.git"), "--config", str(primary_toml(tmp_path))) as daemon:
        await_ready(daemon)
        frames, after = [], ""
        while True:
            page = json.loads(daemon.get(f"/api/v1/collections/posts?limit=5{after}"))
            frames.append(pd.DataFrame(page["records"]))
            if page["next"] is None:
                break
            after = f"&after={page['next']}"
        posts = pd.concat(frames, ignore_index=True)
        hits = pd.DataFrame(json.loads(daemon.get("/api/v1/search?q=said")))
    assert list(posts["discussion_number"]) == list(range(18))
    assert rows("SELECT count(DISTINCT title) FROM posts", posts=posts) == [(3,)]
    assert list(hits["collection"]) == ["comments", "comments"]


def test_names_that_differ_by_case_alone_are_kept_and_can_be_read(tmp_path: Path) -> None:
    """DuckDB refuses to take them for columns, and reads them as the document says; pandas takes them as they are."""
    grown(tmp_path, posts_created=[{"number": 7, "Title": "upper", "title": "lower"}])
    file = tmp_path / "export.json"
    dc("export", "--repo", str(tmp_path / "fleet.git"), "-o", str(file))
    with pytest.raises(duckdb.Error, match="Duplicate name"):
        rows(f"SELECT state FROM '{file}'")
    (query,) = re.findall(r"```sql\n(.*?)```", (ROOT / "docs/operations.md").read_text(), re.DOTALL)
    assert rows(query.replace("export.json", str(file))) == [("lower",)]
    upper = rows(query.replace("export.json", str(file)).replace("'title'", "'Title'"))
    assert upper == [("upper",)]
    assert list(pd.DataFrame(json.loads(file.read_text())["state"]["posts"])["Title"]) == ["upper"]


def test_a_large_export_is_read_with_the_limit_that_the_document_names(tmp_path: Path) -> None:
    """Beyond 16 MiB DuckDB says so, and the option of the document helps."""
    file = tmp_path / "export.json"
    records = [{"number": at, "body": "x" * 1_000} for at in range(18_000)]
    file.write_text(json.dumps({"state": {"posts": records}}))
    query = "SELECT count(*) FROM (SELECT unnest(state.posts) FROM read_json('export.json'))".replace(
        "export.json", str(file)
    )
    with pytest.raises(duckdb.Error, match="maximum_object_size"):
        rows(query)
    option = "maximum_object_size = 1000000000"
    assert option in (ROOT / "docs/operations.md").read_text()
    assert rows(query.replace("json')", f"json', {option})")) == [(18_000,)]
