"""The OpenAPI description, generated from the types that the API reads and answers with: `make openapi`.

The result is kept in the package as openapi.json, so that a running daemon generates nothing."""

from __future__ import annotations

import json
import sys

import msgspec
from msgspec import Struct

from dreamcatcherd.core.books.shelf import ShelfEntry
from dreamcatcherd.core.ledger import ClaimRow, MisfitRow, QuarantinedRow
from dreamcatcherd.core.model import Conflict
from dreamcatcherd.core.troubles import Trouble
from dreamcatcherd.core.validation import ValidationRow
from dreamcatcherd.history.provenance import Deleted, Explanation, Field, Loser
from dreamcatcherd.history.queries import LostConflict
from dreamcatcherd.history.receipts import Receipt
from dreamcatcherd.history.search import Hit
from dreamcatcherd.web import answers
from dreamcatcherd.web.endpoints import ENDPOINTS, Endpoint, Schema

_TYPES: tuple[type[Struct], ...] = (
    answers.Error, answers.Index, answers.CollectionRow, answers.Records, answers.Status, answers.Waiting,
    answers.LastSeen, Trouble, answers.Event, answers.Frame, Explanation, Deleted, Field, Loser, answers.DiffAnswer,
    answers.ChangedEntity, answers.Stream, answers.Quarantine, QuarantinedRow, answers.Conflicts, LostConflict,
    ShelfEntry, ValidationRow, Hit, Receipt, Conflict, MisfitRow, ClaimRow,
)  # fmt: skip
"""Every struct that occurs in an answer."""

_HEADERS = {
    "Link": '`<?…>; rel="next"` leads to the next rows, if there are more.',
    "ETag": "The digests of the snapshots that the answer follows from, and what else it depends on. Weak.",
}

_UNCHANGED = "The request's If-None-Match has the ETag of the answer: it is the one that the client has."

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
            f"/api/v1{path}": {"post" if one.body else "get": _operation(one, shared)}
            for path, one in ENDPOINTS.items()
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
            "headers": {name: {"description": text, "schema": {"type": "string"}} for name, text in _HEADERS.items()},
            "responses": {"Unchanged": {"description": _UNCHANGED, "headers": {"ETag": _ref("headers", "ETag")}}}
            | {
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
    headers = {name: _ref("headers", name) for name in _HEADERS if name != "ETag" or endpoint.tagged}
    if not endpoint.paged:
        headers.pop("Link")
    if headers:
        answer["headers"] = headers
    names = {"304": "Unchanged"} if endpoint.tagged else {}
    names |= {"400": "Wrong", "401": "Unauthorized", "421": "NotHere"}
    names |= {"404": "NotThere"} if endpoint.not_found else {}
    names |= {"503": "Later"} if endpoint.reads else {}
    names |= {"403": "Foreign", "408": "Slow", "413": "TooLarge", "415": "Encoded"} if endpoint.body else {}
    found: Schema = {"summary": endpoint.summary}
    if endpoint.description:
        found["description"] = endpoint.description
    inside: list[Schema] = [
        {"name": name, "in": "path", "required": True, "schema": rule} for name, rule in endpoint.path.items()
    ]
    if parameters := inside + _parameters(endpoint.parameters):
        found["parameters"] = [_ref("parameters", one["name"]) if one in shared else one for one in parameters]
    if endpoint.body:
        content: Schema = {"application/octet-stream": {"schema": {}}, "application/json": {"schema": {}}}
        found["requestBody"] = {"description": endpoint.body, "required": False, "content": content}
    found["responses"] = {"200": answer} | {code: _ref("responses", name) for code, name in sorted(names.items())}
    return found


def openapi_json() -> str:
    """The text of openapi.json."""
    return json.dumps(openapi(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(openapi_json())
