"""A case of kind `history` as the simple model reads it: the deltas that its ledgers name, with attachments."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from tests.law.sent import Sent, blob_id


class Frame(NamedTuple):
    """A closed frame: its number, digest, rows by table, the settings in force, and the deltas that it merged."""

    number: int
    digest: str
    rows: dict[str, list[Any]]
    settings: bytes
    deltas: list[Sent]


def raw_of(given: Any) -> bytes:
    """The bytes that a vector gives."""
    if isinstance(given, str):
        return given.encode()
    if "repeat" in given:
        raw: bytes = given["repeat"].encode() * given["times"]
        return raw
    return raw_of(given["bytes"]) if "mode" in given else base64.b64decode(given["base64"])


def frames_of(case: dict[str, Any]) -> Iterator[Frame]:
    """The frames that a case closes, as its expectation says, with the bytes of the deltas that they merge."""
    steps = {step["commit"]: step["files"] for step in case["steps"] if "commit" in step}
    texts = [one for files in steps.values() for one in files.values() if isinstance(one, str)]
    texts.append(case["settings"] or "")
    blobs = {blob_id(one.encode()): one.encode() for one in texts}
    for frame in case["expect"]["frames"]:
        rows = {name: list(map(json.loads, some)) for name, some in frame["ledger"].items() if isinstance(some, list)}
        merged = [_sent(row, steps, blobs) for row in rows.get("deltas", [])]
        settings = blobs[frame["ledger"]["settings"]] if frame["ledger"]["settings"] else b""
        yield Frame(int(frame["frame"]), frame["digest"], rows, settings, merged)


def _sent(row: dict[str, Any], steps: dict[str, Any], blobs: dict[str, bytes]) -> Sent:
    raw = blobs[row["blob"]]
    return Sent(raw, beside(row["path"], steps[row["commit"]])) if "content_id" in row else Sent(raw)


def beside(path: str, files: dict[str, Any]) -> tuple[tuple[str, bytes], ...]:
    """The attachments that a delta at a path finds among files, by the names that it would call them."""
    found: dict[str, bytes] = {}
    # The delta's own folder counts where both have a file.
    for folder in (path.rpartition("/")[0] + "/", path.removesuffix(".json") + "/"):
        for other, raw in files.items():
            if other.startswith(folder) and not other.endswith(".json"):
                found[other[len(folder) :]] = raw_of(raw)
    return tuple(found.items())


def versions_of(steps: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    """Each version of a delta that the commits of some steps bring against all their parents, as (commit, blob)."""
    trees: dict[str, dict[str, str]] = {}
    heads: dict[str, str] = {}
    for step in steps:
        if "move" in step:
            heads[step["move"]] = step["to"]
        if "commit" not in step:
            continue
        parents = step.get("parents", [heads[step["ref"]]] if heads.get(step["ref"]) else [])
        befores = [trees[parent] for parent in parents]
        tree = dict(befores[0]) if befores else {}
        for path, raw in step["files"].items():
            tree.pop(path, None)
            if raw is not None:
                tree[path] = blob_id(raw_of(raw))
        trees[step["commit"]], heads[step["ref"]] = tree, step["commit"]
        for path, blob in tree.items():
            is_delta = path.startswith("state/stream_deltas/") and path.endswith(".json")
            if is_delta and all(before.get(path) != blob for before in befores):
                yield step["commit"], blob
