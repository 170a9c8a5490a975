"""The reference of all settings, out of the structs that read them: Markdown for people, JSON Schema for editors."""

from __future__ import annotations

import inspect
import json
from typing import Any

import msgspec

from dreamcatcherd.config import Config
from dreamcatcherd.core.settings import SettingsFile

PRIMARY = """\
# Configuration

<!-- Written by `dreamcatcherd config reference` out of the structs that read the files: `make reference`. -->

How a primary works is its own TOML file ([an example](../config/dreamcatcherd.toml) with every key); what the merge
depends on is [in the repository](#the-repositorys-settings). Both are strict: a key that is not here is refused, with
the one that was perhaps meant. Every key may be left out. A variable such as `DREAMCATCHERD_FRAMES_INTERVAL=5` stands
above the primary's file, for every key of the same form; `dreamcatcherd config show` prints what counts in the end.
The same as JSON Schema, for an editor: `dreamcatcherd config reference --json`.

## The primary's file

Changed on disk or on SIGHUP it is checked, and applied between two cycles; one that is wrong is refused and the old
one stays.
"""

REPOSITORY = """\
## The repository's settings

`state/dreamcatcher.toml` on the shared branch. A change counts from the next close, and the ledger of each frame
names the blob that it was merged with. One that cannot be read, or that would change the key, rule or shard of a
collection that has entities, is refused: the last good settings stay.
"""


def schemas() -> dict[str, Any]:
    """JSON Schemas of a primary's file and of `state/dreamcatcher.toml`, by what they are for."""
    found = {"primary": msgspec.json.schema(Config), "repository": msgspec.json.schema(SettingsFile)}
    for schema in found.values():
        for table in schema["$defs"].values():
            table["description"] = inspect.cleandoc(table["description"])
    return found


def reference() -> str:
    """The page on all settings, Markdown."""
    parts = [
        f"{head}\n{_tables(schema)}" for head, schema in zip((PRIMARY, REPOSITORY), schemas().values(), strict=True)
    ]
    return "\n".join(parts)


def _tables(schema: dict[str, Any]) -> str:
    tables = schema["$defs"]
    found = []
    for name, table in tables[schema["$ref"].rpartition("/")[2]]["properties"].items():
        named = "$ref" in table
        ref = (table if named else table["additionalProperties"])["$ref"].rpartition("/")[2]
        rows = [_row(key, what) for key, what in tables[ref]["properties"].items()]
        head = f"### `[{name}]`" if named else f"### `[{name}.<name>]`"
        columns = ["| key | default | takes | |", "| --- | --- | --- | --- |"]
        found.append("\n".join([head, "", tables[ref]["description"], "", *columns, *rows, ""]))
    return "\n".join(found)


def _row(key: str, what: dict[str, Any]) -> str:
    default = "" if what["default"] is None else f"`{json.dumps(what['default'])}`"
    cells = (f"`{key}`", default, _takes(what), what["description"])
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _takes(what: dict[str, Any]) -> str:
    """What a value may be, in words."""
    if "anyOf" in what:
        return " or ".join(_takes(one) for one in what["anyOf"] if one != {"type": "null"})
    if "enum" in what:
        return ", ".join(f"`{json.dumps(value)}`" for value in what["enum"] if value is not None)
    kind = what["type"]
    if kind in ("integer", "number"):
        return f"{'whole number' if kind == 'integer' else 'number'}{_bounds(what)}"
    if kind == "array":
        return f"list of {_takes(what['items'])}s"
    return {"string": "text", "boolean": "`true`, `false`", "object": "table of lists of texts"}[kind]


def _bounds(what: dict[str, Any]) -> str:
    if "maximum" not in what:
        return f" from {what['minimum']}"
    return f", {what['minimum']} to {what['maximum']}"
