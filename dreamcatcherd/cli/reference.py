"""The reference of all settings, from the structs that read them: Markdown for people, JSON Schema for editors."""

from __future__ import annotations

import inspect
import json
from typing import Any

import msgspec

from dreamcatcherd.config_tables import Config
from dreamcatcherd.core.format_number import FORMAT_KEY
from dreamcatcherd.core.settings_schema import SettingsFile

PRIMARY = """\
# Configuration

<!-- Written by `dreamcatcherd config reference` from the structs that read the files: `make reference`. -->

Each primary has a TOML file ([an example](../config/dreamcatcherd.toml) with every key). The settings that the merge
depends on are [in the repository](#the-repositorys-settings). Both files are strict: an unknown key is refused.
`dreamcatcherd config check FILE` names every mistake, with the key, what it takes and the nearest known name. Every key
may be left out. A variable such as `DREAMCATCHERD_FRAMES_INTERVAL=5` overrides the primary's file, and every other key
has a variable of the same form; only `[[events]]` and `[[mirrors]]` have one for all tables. `dreamcatcherd config
show` prints the effective values, and `dreamcatcherd config reference --json` this reference as JSON Schema, for an
editor.

Both files may begin with `format = 1`, the number of their [format](compatibility.md), which is 1 where it is absent.

## The primary's file

A change on disk, or SIGHUP, makes the daemon check the file and apply it between two cycles. Every key takes effect
without a restart. A wrong file is refused and the old configuration stays in force.
"""

REPOSITORY = """\
## The repository's settings

`state/dreamcatcher.toml` on the shared branch. A change counts from the next close, and the ledger of each frame
names the blob of its settings. A file that cannot be read, or that would change the key, rule or shard of a
collection that has entities, is refused, and the last good settings stay in force.
"""


def schemas() -> dict[str, Any]:
    """JSON Schemas: `primary` for a primary's file, `repository` for `state/dreamcatcher.toml`."""
    found = {"primary": msgspec.json.schema(Config), "repository": msgspec.json.schema(SettingsFile)}
    for schema in found.values():
        for table in schema["$defs"].values():
            table["description"] = inspect.cleandoc(table["description"])
        properties = schema["$defs"][schema["$ref"].rpartition("/")[2]]["properties"]
        properties[FORMAT_KEY] = {"const": 1, "default": 1, "description": "the number of the file's format"}
    return found


def reference() -> str:
    """The page on all settings, in Markdown."""
    parts = [
        f"{head}\n{_tables(schema)}" for head, schema in zip((PRIMARY, REPOSITORY), schemas().values(), strict=True)
    ]
    return "\n".join(parts)


def _tables(schema: dict[str, Any]) -> str:
    tables = schema["$defs"]
    found = []
    for name, table in tables[schema["$ref"].rpartition("/")[2]]["properties"].items():
        if name == FORMAT_KEY:
            continue  # no table; the head of the page describes it
        shape = "one" if "$ref" in table else "several" if "items" in table else "named"
        inner = {"one": table, "several": table.get("items"), "named": table.get("additionalProperties")}[shape] or {}
        ref = inner["$ref"].rpartition("/")[2]
        rows = [_row(key, what) for key, what in tables[ref]["properties"].items()]
        head = {"one": f"### `[{name}]`", "several": f"### `[[{name}]]`", "named": f"### `[{name}.<name>]`"}[shape]
        columns = ["| key | default | takes | |", "| --- | --- | --- | --- |"]
        found.append("\n".join([head, "", tables[ref]["description"], "", *columns, *rows, ""]))
    return "\n".join(found)


def _row(key: str, what: dict[str, Any]) -> str:
    default = "" if what.get("default") is None else f"`{json.dumps(what['default'])}`"
    default = default if "default" in what else "(required)"
    cells = (f"`{key}`", default, _takes(what), what["description"])
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _takes(what: dict[str, Any], ending: str = "") -> str:
    """The values that a key takes, in words; with an `s` as the ending, of several."""
    if "anyOf" in what:
        return " or ".join(_takes(one, ending) for one in what["anyOf"] if one != {"type": "null"})
    if "enum" in what:
        return ", ".join(f"`{json.dumps(value)}`" for value in what["enum"] if value is not None)
    kind = what["type"]
    if kind in ("integer", "number"):
        return f"{'whole number' if kind == 'integer' else 'number'}{_bounds(what)}"
    if kind == "array":
        return f"list of {_several(what['items'])}"
    if kind == "object":
        return f"table of {_several(what['additionalProperties'])}"
    return {"string": "text", "boolean": "`true`, `false`"}[kind]


def _several(what: dict[str, Any]) -> str:
    """Several values of one kind, in words."""
    if "anyOf" in what:
        return " or ".join(_several(one) for one in what["anyOf"])
    if what.get("type") == "array":
        return f"lists of {_several(what['items'])}"
    return _takes(what) if "enum" in what else f"{_takes(what)}s"


def _bounds(what: dict[str, Any]) -> str:
    if "maximum" not in what:
        return f" from {what['minimum']}"
    return f", {what['minimum']} to {what['maximum']}"
