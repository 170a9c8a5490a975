"""Cases of one value or one file: canonical JSON, ids, times, paths, keys, deltas, settings, exports.

Each function takes what a case gives and returns what this implementation finds, in the form of `expect`."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from dreamcatcherd.conformance.vectors import bytes_of
from dreamcatcherd.core import paths
from dreamcatcherd.core.books.compile import fingerprint
from dreamcatcherd.core.codec import canonical, decode, decode_exact, frame_number, utc_micros
from dreamcatcherd.core.errors import RefusedError
from dreamcatcherd.core.export import read_portable, restore
from dreamcatcherd.core.keys import sort_key
from dreamcatcherd.core.model import Json, Record, Reject, Version
from dreamcatcherd.core.settings import DEFAULT, SettingsError, read_settings
from dreamcatcherd.core.tree import FILE, Entry, edit, format_tree, object_id
from dreamcatcherd.git.protocols import Commit
from dreamcatcherd.stages.delta_reader import read_delta
from dreamcatcherd.testing import MemoryStore

REFUSED = {"refused": True}


def canonical_json(given: Record) -> Json:
    """`json` in its canonical form; with `exact`, numbers keep all their digits."""
    try:
        value = (decode_exact if given.get("exact") else decode)(bytes_of(given["json"]))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return REFUSED
    return {"canonical": canonical(value).decode()}


def book_fingerprint(given: Record) -> Json:
    """The fingerprint of a compiled book, given as JSON text."""
    return {"fingerprint": fingerprint(decode(bytes_of(given["object"])))}


def git_object(given: Record) -> Json:
    """The id of a blob or a tree; of a tree also its bytes, in hex."""
    if "blob" in given:
        return {"id": object_id("blob", bytes_of(given["blob"]))}
    raw = format_tree({one["name"]: Entry(int(one["mode"], 8), one["id"]) for one in given["tree"]})
    return {"bytes": raw.hex(), "id": object_id("tree", raw)}


def content_id(given: Record) -> Json:
    """The content id of a delta with attachments beside it."""
    found = read_file({"path": "state/stream_deltas/1/d.json", **given})
    return {name: found[name] for name in ("blob", "content_id", "unresolved")}


def utc(given: Record) -> Json:
    """A time as microseconds since 1970, in decimals since they may be beyond what a double holds; null if it is
    none."""
    micros = utc_micros(given["text"])
    return {"micros": None if micros is None else str(micros)}


def frame_value(given: Record) -> Json:
    """A frame, given as JSON text, in decimals; null if the value is none."""
    number = frame_number(decode(bytes_of(given["json"])))
    return {"frame": None if number is None else str(number)}


def path(given: Record) -> Json:
    """The frame that a delta's path names, in decimals; or that it is a bad name."""
    name = bytes_of(given["path"]).decode("utf-8", "surrogateescape")
    roots = tuple(given.get("roots", paths.ROOTS))
    if paths.bad_name(name, roots) is not None:
        return {"reason": "bad-name"}
    return {"frame": str(paths.frame_of(name, roots))}


def attachment(given: Record) -> Json:
    """The paths at which a reference of a delta is looked up, in order."""
    number = paths.frame_of(given["delta"])
    return {"paths": paths.attachment_paths(given["delta"], number or 0, given["reference"])}


def key_order(given: Record) -> Json:
    """Keys, each as JSON text, in their natural order."""
    return {"sorted": [canonical(key).decode() for key in sorted(map(decode, given["keys"]), key=sort_key)]}


def read_file(given: Record) -> Json:
    """What a file is: a delta with its header and ids, or the reason why not.

    `files` are the other files of its commit, by path; `mode` is 100644 unless it is given."""
    store = MemoryStore()
    settings = read_settings(given["settings"].encode()) if "settings" in given else DEFAULT
    name = bytes_of(given["path"]).decode("utf-8", "surrogateescape")
    blob = store.write("blob", bytes_of(given["delta"]))
    mode = int(given.get("mode", "100644"), 8)
    files = {at: Entry(FILE, store.write("blob", bytes_of(raw))) for at, raw in given.get("files", {}).items()}
    tree = edit(store, None, files) or store.write("tree", b"")
    commit = store.write_commit(Commit(tree, (), "worker <worker@example.org>", 0, "add\n"))
    found = read_delta(store, Version(name, blob, mode, commit), settings)
    if isinstance(found, Reject):
        at = {} if found.fault.at is None else {"at": found.fault.at}
        return {"reason": found.fault.reason, **at}
    return {
        "frame": str(found.frame),
        "utc": str(found.utc),
        "stream_id": found.stream_id,
        "blob": found.version.blob,
        "content_id": found.content_id,
        "unresolved": list(found.unresolved),
    }


def settings_file(given: Record) -> Json:
    """Whether settings are accepted."""
    try:
        read_settings(given["settings"].encode())
    except SettingsError:
        return REFUSED
    return {"accepted": True}


def imported(given: Record) -> Json:
    """The digest of the snapshot that an export describes, or that it is refused."""
    raw = bytes_of(given["export"])
    store = MemoryStore()
    try:
        portable = read_portable(raw)
        blob = object_id("blob", portable.settings.encode()) if portable.settings else None
        return {"digest": restore(store, portable, blob).tree}
    except RefusedError:
        return REFUSED


VALUE_RUNNERS: dict[str, Callable[[Record], Json]] = {
    "canonical-json": canonical_json,
    "fingerprint": book_fingerprint,
    "git-object": git_object,
    "content-id": content_id,
    "utc": utc,
    "frame": frame_value,
    "path": path,
    "attachment": attachment,
    "key-order": key_order,
    "delta": read_file,
    "settings": settings_file,
    "import": imported,
}
"""The kinds of cases of one value or file, by name."""
