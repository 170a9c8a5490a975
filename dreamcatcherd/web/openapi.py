"""The OpenAPI description, generated from the types that the API reads and answers with: `make openapi`.

The result is kept in the package as openapi.json, so that a running daemon generates nothing."""

from __future__ import annotations

import json
import sys
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct

from dreamcatcherd.core.books.shelf import ShelfEntry
from dreamcatcherd.core.ledger import QuarantinedRow
from dreamcatcherd.core.troubles import Trouble
from dreamcatcherd.core.validation import ValidationRow
from dreamcatcherd.history.provenance import Deleted, Explanation, Field, Loser
from dreamcatcherd.history.queries import LostConflict
from dreamcatcherd.web import answers, params

Schema = dict[str, Any]

_TYPES: tuple[type[Struct], ...] = (
    answers.Error, answers.Status, answers.Waiting, answers.LastSeen, Trouble, answers.Event, answers.Frame,
    Explanation, Deleted, Field, Loser, answers.DiffAnswer, answers.ChangedEntity, answers.Stream, answers.Quarantine,
    QuarantinedRow, answers.Conflicts, LostConflict, ShelfEntry, ValidationRow,
)  # fmt: skip
"""Every struct that occurs in an answer."""

_TROUBLES = (
    "Searches 1,000 frames; `before` is the frame to ask before for more, `truncated` says that one frame alone had"
    " more than `limit`."
)


class Endpoint(NamedTuple):
    """What is said of one path. `answer` is the 200's schema; `paged` answers may have a Link header."""

    summary: str
    answer: Any
    parameters: type[Struct] = params.NoParams
    description: str = ""
    paged: bool = False
    not_found: bool = False
    reads: bool = True
    media: str = "application/json"
    body: str = ""
    """What is posted; empty for a path that is read with GET."""


ENDPOINTS = {
    "status": Endpoint("The open frame, the pending deltas by stream, and the last snapshot.", answers.Status),
    "log": Endpoint("Closed frames, newest first.", list[answers.Frame], params.FrameParams, paged=True),
    "explain": Endpoint(
        "Who set each field of an entity, when, in which delta, and who lost.",
        Explanation,
        params.ExplainParams,
        not_found=True,
    ),
    "diff": Endpoint(
        "Entities added and fields changed between two closed frames.",
        answers.DiffAnswer,
        params.DiffParams,
        "At most `limit` entities and about 4 MiB of them; `truncated` is true if there are more.",
        not_found=True,
    ),
    "streams": Endpoint(
        "Every stream with pending deltas or deltas in the last 100 frames: the silent ones first, then the latest.",
        list[answers.Stream],
        params.RowParams,
        paged=True,
    ),
    "quarantine": Endpoint(
        "Deltas that could not be merged, by the frame that first listed them, newest first.",
        answers.Quarantine,
        params.FrameParams,
        _TROUBLES,
    ),
    "conflicts": Endpoint(
        "Fields that two streams set to different values in one frame: winner, loser and the lost value, newest first.",
        answers.Conflicts,
        params.FrameParams,
        _TROUBLES,
    ),
    "books": Endpoint(
        "The shelf: every book, its progress, and when it was published.",
        list[ShelfEntry],
        params.RowParams,
        paged=True,
    ),
    "events": Endpoint(
        "Server-sent events: `status` at every change, at most four a second, each with an Event as its data.",
        str,
        media="text/event-stream",
    ),
    "validate": Endpoint(
        "Whether the body would merge as a delta; if not, with the reason and the JSON path.",
        ValidationRow,
        params.ValidateParams,
        "By the settings and open frame that the last poll found. Nothing is stored. Attachments are not looked up.",
        body="The bytes of one delta: no more than `delta_bytes` of the settings, nor than 32 MiB.",
    ),
    "openapi.json": Endpoint("This description.", dict[str, Any], reads=False),
}
"""The paths below `/api/v1/`."""

_ERRORS = {
    "Wrong": "A parameter is unknown, missing or wrong, or the answer would have more than 8 MiB.",
    "Unauthorized": "The daemon has a token, and the request does not have it.",
    "NotThere": "There is no such frame, collection, entity or field.",
    "Foreign": "A browser sends it for a page of another site.",
    "Slow": "The body took longer than 30 s.",
    "TooLarge": "The body is larger than the path takes.",
    "Encoded": "The body has a Content-Encoding.",
    "NotHere": "The daemon answers its own machine only, and the request names another host.",
    "Later": "Nothing was read yet, the answer took too long, or there are too many requests: ask again.",
}


def openapi() -> Schema:
    """The complete document."""
    shared = _shared_parameters()
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "dreamcatcherd",
            "version": "1",
            "description": "What the commands of the same names print with --json, as of the last published commit."
            " Read-only: any other method than those described, and HEAD in the place of GET, is 405.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "security": [{}, {"token": []}, {"password": []}],
        "paths": {
            f"/api/v1/{name}": {"post" if one.body else "get": _operation(one, shared)}
            for name, one in ENDPOINTS.items()
        },
        "components": {
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "password": {
                    "type": "http",
                    "scheme": "basic",
                    "description": "The token as the password of any user, so that a browser can ask for it.",
                },
            },
            "parameters": {one["name"]: one for one in shared},
            "responses": {
                name: {"description": text, "content": {"application/json": {"schema": _ref("schemas", "Error")}}}
                for name, text in _ERRORS.items()
            },
            "schemas": _schemas(),
        },
    }


def _ref(kind: str, name: str) -> Schema:
    return {"$ref": f"#/components/{kind}/{name}"}


def _schemas() -> dict[str, Schema]:
    """The schema of every struct, as strict as the answers are: no other key, and no key is left out by chance."""
    _, components = msgspec.json.schema_components(_TYPES, ref_template="#/components/schemas/{name}")
    types = {one.__name__: one for one in _TYPES}
    stamp = components.pop("Stamp")  # a named tuple: an array in JSON
    stamp.pop("title")
    for name, schema in components.items():
        config = types[name].__struct_config__
        optional = {
            field.encode_name
            for field in msgspec.structs.fields(types[name])
            if field.default is msgspec.UNSET or (config.omit_defaults and not field.required)
        }
        # msgspec describes what it would read: a field with a default may be missing. Here it is what is written.
        schema["required"] = [key for key in schema["properties"] if key not in optional]
        schema["additionalProperties"] = False
        # Docstrings are for readers of the code, and change for other reasons than the API.
        schema.pop("description", None)
        schema.pop("title")
        for rule in schema["properties"].values():
            rule.pop("default", None)
    return components | {"Stamp": {**stamp, "description": "[frame, utc in microseconds, stream_id, content id]"}}


def _parameters(shape: type[Struct]) -> list[Schema]:
    (_,), components = msgspec.json.schema_components([shape])
    schema = components[shape.__name__]
    found = []
    for name, rule in schema["properties"].items():
        described = {"name": name, "in": "query", "required": name in schema["required"]}
        found.append({**described, "description": rule.pop("description"), "schema": rule})
    return found


def _shared_parameters() -> list[Schema]:
    """Parameters that several paths have in the same form."""
    every = [one for endpoint in ENDPOINTS.values() for one in _parameters(endpoint.parameters)]
    return [one for at, one in enumerate(every) if every.count(one) > 1 and every.index(one) == at]


def _operation(endpoint: Endpoint, shared: list[Schema]) -> Schema:
    (schema,), _ = msgspec.json.schema_components([endpoint.answer], ref_template="#/components/schemas/{name}")
    answer: Schema = {"description": "The answer.", "content": {endpoint.media: {"schema": schema}}}
    if endpoint.paged:
        text = '`<?…>; rel="next"` leads to the next rows, if there are more.'
        answer["headers"] = {"Link": {"description": text, "schema": {"type": "string"}}}
    names = {"400": "Wrong", "401": "Unauthorized", "421": "NotHere"}
    names |= {"404": "NotThere"} if endpoint.not_found else {}
    names |= {"503": "Later"} if endpoint.reads else {}
    names |= {"403": "Foreign", "408": "Slow", "413": "TooLarge", "415": "Encoded"} if endpoint.body else {}
    found: Schema = {"summary": endpoint.summary}
    if endpoint.description:
        found["description"] = endpoint.description
    if parameters := _parameters(endpoint.parameters):
        found["parameters"] = [_ref("parameters", one["name"]) if one in shared else one for one in parameters]
    if endpoint.body:
        content: Schema = {"application/octet-stream": {"schema": {}}, "application/json": {"schema": {}}}
        found["requestBody"] = {"description": endpoint.body, "required": True, "content": content}
    found["responses"] = {"200": answer} | {code: _ref("responses", name) for code, name in sorted(names.items())}
    return found


def openapi_json() -> str:
    """The text of openapi.json."""
    return json.dumps(openapi(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(openapi_json())
