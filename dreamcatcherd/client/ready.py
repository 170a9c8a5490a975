"""A worker's delta as it will be in the repository: its path, its files, and how the primary would judge it.

The path follows from the content, so that the same delta always has the same one (docs/decisions/0030)."""

from __future__ import annotations

import re
from collections.abc import Mapping

from msgspec import Struct

from dreamcatcherd.client.given import Given
from dreamcatcherd.core.advice import advise
from dreamcatcherd.core.codec import calendar_text, read_document
from dreamcatcherd.core.header import read_header
from dreamcatcherd.core.model import Delta, Fault, Reject, Version
from dreamcatcherd.core.settings import Settings
from dreamcatcherd.core.tree import FILE, Entry, edit, object_id
from dreamcatcherd.git.protocols import Commit
from dreamcatcherd.stages.delta_reader import read_delta
from dreamcatcherd.testing.memory import MemoryStore

_NAME = re.compile(r"[^A-Za-z0-9_.-]")
_STREAM_SHOWN = 64
_ID_SHOWN = 12


class Ready(Struct, frozen=True):
    """A delta that would merge: `files` are the bytes to commit, by path in the repository, its own among them.

    `lateness` warns that its frame is closed: true until it is merged, unlike the other `warnings`."""

    name: str
    path: str
    blob: str
    frame: int
    stream_id: str
    content_id: str
    files: Mapping[str, bytes]
    lateness: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


class Unfit(Struct, frozen=True):
    """A delta that would be quarantined, with the first reason that holds. `blob` is the id that its bytes have."""

    name: str
    blob: str
    stream_id: str | None
    fault: Fault


def make_ready(given: Given, settings: Settings, open_frame: int, stream_id: str | None = None) -> Ready | Unfit:
    """Judge a delta as the primary would under these settings; `stream_id` is the one that it must have, if given."""
    blob = object_id("blob", given.raw)
    document = given.fault or read_document(given.raw, settings.limits)
    if isinstance(document, Fault):
        return Unfit(given.name, blob, None, document)
    header = read_header(document, None, settings.intake)
    frame = 0 if isinstance(header, Fault) else header.frame
    stream = None if isinstance(header, Fault) else header.stream_id
    root = settings.intake.roots[0]
    # The content id comes with the judgement and does not depend on the path, so the judgement is under another name.
    store = MemoryStore()
    judged = read_delta(store, _committed(store, given, f"{root}/{frame}/delta.json"), settings)
    if isinstance(judged, Reject):
        # Without a frame the path names none either; of the header's faults only the first counts.
        known = isinstance(header, Fault) and judged.fault.reason != "too-many-records"
        return Unfit(given.name, blob, stream, header if known and isinstance(header, Fault) else judged.fault)
    if stream_id is not None and judged.stream_id != stream_id:
        detail = f"the delta's stream is {judged.stream_id!r}, not {stream_id!r}"
        return Unfit(given.name, blob, stream, Fault("wrong-stream", detail, judged.stream_at))
    ahead = judged.frame - open_frame
    if ahead > settings.limits.frames_ahead:
        detail = f"its frame is {ahead} ahead of the open frame {open_frame}, the limit is "
        return Unfit(given.name, blob, stream, Fault("too-far-ahead", f"{detail}{settings.limits.frames_ahead}"))
    # By content and not by the file's name: two workers' delta.json never meet, and a repeat finds itself.
    path = _path_of(judged, root)
    files = {path: given.raw} | {f"{path.removesuffix('.json')}/{name}": raw for name, raw in given.attached.items()}
    return Ready(
        name=given.name,
        path=path,
        blob=blob,
        frame=judged.frame,
        stream_id=judged.stream_id,
        content_id=judged.content_id,
        files=files,
        lateness=_lateness(judged, open_frame),
        warnings=tuple(advise(judged, settings, open_frame)),
    )


def _committed(store: MemoryStore, given: Given, path: str) -> Version:
    """The delta and its attachments as a version in a commit of their own, in memory."""
    folder = path.removesuffix(".json")
    files = {path: given.raw} | {f"{folder}/{name}": raw for name, raw in given.attached.items()}
    entries = {name: Entry(FILE, store.write("blob", raw)) for name, raw in files.items()}
    tree = edit(store, None, entries)
    if tree is None:
        raise AssertionError("a tree with a delta is not empty")
    return Version(path, entries[path].oid, FILE, store.write_commit(Commit(tree, (), "", 0, "")))


def _path_of(delta: Delta, root: str) -> str:
    """A path that names stream and time for people, and is the delta's alone by its content id."""
    stream = _NAME.sub("_", delta.stream_id)[:_STREAM_SHOWN].lstrip(".-") or "_"
    time = (calendar_text(delta.utc) or str(delta.utc)).replace("-", "").replace(":", "")
    return f"{root}/{delta.frame}/{stream}-{time}-{delta.content_id[:_ID_SHOWN]}.json"


def _lateness(delta: Delta, open_frame: int) -> tuple[str, ...]:
    if delta.frame >= open_frame:
        return ()
    return (f"frame {delta.frame} is closed (open is {open_frame}): the delta is merged late, at the next close",)
