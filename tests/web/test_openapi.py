"""The description of the API is true: every path is in it, and every answer is as it says."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

import jsonschema_rs
import pytest
from starlette.routing import Route

from dreamcatcherd import web
from dreamcatcherd.core.codec import canonical
from dreamcatcherd.web import live_api, params
from dreamcatcherd.web.openapi import openapi_json
from tests.stages.tools import FOLDER
from tests.web.served import Served, serve_history

DOCUMENT: dict[str, Any] = json.loads(resources.files(web).joinpath("openapi.json").read_bytes())
ASKED = (
    "status",
    "log",
    "log?limit=1",
    "log?before=2",
    "explain?collection=posts&key=1",
    "explain?collection=posts&key=1&field=title&frame=1",
    "explain?collection=books&key=b",
    "diff?from=1&to=3",
    "diff?from=3&to=1",
    "diff?from=1&to=3&limit=1",
    "streams",
    "quarantine",
    "conflicts",
    "books",
    "collections",
    "collections?limit=2",
    "collections/posts",
    "collections/posts?limit=1&frame=2",
    "collections/observations",
    "collections/extra/nothing",
    "entity?collection=posts&key=1",
    "search?q=again",
    "search?q=o&limit=1",
    "frames/1",
    "frames/2",
    f"receipt?delta={FOLDER}/1/bad.json",
    "openapi.json",
)
PARTS = {"collections": "name", "frames": "frame"}
WRONG = (
    "collections/nothing",
    "collections/posts?after=!",
    "collections?after=%FF",
    "frames/404",
    "frames/x",
    "search",
    "search?q=a&after=AA",
    "entity?collection=posts&key=404",
    "receipt?delta=nothing",
    "log?limit=0",
    "explain?collection=posts&key=404",
    "diff?from=1&to=404",
    "diff?from=1",
)


def check(value: Any, schema: dict[str, Any]) -> None:
    jsonschema_rs.Draft202012Validator({**schema, "components": DOCUMENT["components"]}).validate(value)


def answers_of(path: str) -> dict[str, Any]:
    name = path.partition("?")[0]
    kind, _, part = name.partition("/")
    name = f"{kind}/{{{PARTS[kind]}}}" if part else name
    (operation,) = DOCUMENT["paths"][f"/api/v1/{name}"].values()
    found: dict[str, Any] = operation["responses"]
    return found


def schema_of(answer: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in answer:
        answer = DOCUMENT["components"]["responses"][answer["$ref"].rpartition("/")[2]]
    (content,) = answer["content"].values()
    schema: dict[str, Any] = content["schema"]
    return schema


def test_the_description_is_the_one_of_the_types() -> None:
    """openapi.json is what `make openapi` writes."""
    assert resources.files(web).joinpath("openapi.json").read_text() == openapi_json()


def test_every_path_is_described_and_none_else(served: Served) -> None:
    """What the application routes below /api is what the description has."""
    paths = {route.path.replace(":path", "") for route in served.server._app.routes if isinstance(route, Route)}
    assert {path for path in paths if path.startswith("/api")} == set(DOCUMENT["paths"])


@pytest.mark.parametrize("path", ASKED)
def test_an_answer_is_as_described(served: Served, path: str) -> None:
    """Every answer of a history with late deltas, conflicts, quarantine and a book validates, extra keys refused."""
    serve_history(served)
    found = served.get(f"/api/v1/{path}")
    assert found.code == 200
    assert found.headers["content-type"] == "application/json"
    described = answers_of(path)["200"].get("headers", {})
    assert ("ETag" in described) == ("etag" in found.headers)
    assert "Link" in described or "link" not in found.headers
    check(found.json, schema_of(answers_of(path)["200"]))


@pytest.mark.parametrize("path", WRONG)
def test_a_refusal_is_as_described(served: Served, path: str) -> None:
    """Its code is among those of the path, and its body is an error with a remedy."""
    serve_history(served)
    found = served.get(f"/api/v1/{path}")
    check(found.json, schema_of(answers_of(path)[str(found.code)]))


def test_an_event_is_as_described(served: Served) -> None:
    """Before the first look and after it."""
    event = {"$ref": "#/components/schemas/Event"}
    check(json.loads(canonical(live_api.status_event(served.live_status))), event)
    serve_history(served)
    check(json.loads(canonical(live_api.status_event(served.live_status))), event)
    with pytest.raises(jsonschema_rs.ValidationError):
        check({"ready": "yes"}, event)


def test_bounds_are_those_of_the_code() -> None:
    """The limits that the description names are the ones that count."""
    parameters = DOCUMENT["components"]["parameters"]
    assert parameters["limit"]["schema"]["maximum"] == params.ROWS
    assert parameters["limit"]["schema"]["default"] == params.DEFAULT_ROWS
    diff = {one["name"]: one["schema"] for one in DOCUMENT["paths"]["/api/v1/diff"]["get"]["parameters"]}
    assert (diff["limit"]["maximum"], diff["limit"]["default"]) == (params.DIFF_ROWS, params.ROWS)
