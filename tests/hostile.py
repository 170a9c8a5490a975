"""Objects that no honest git makes, and pushes of them by hand: straight to `git receive-pack`, as an attacker would.

`HOSTILE` is one history for each kind, as (the commit's id, all objects)."""

from __future__ import annotations

import hashlib
import json
import struct
import subprocess
import zlib
from collections.abc import Sequence
from pathlib import Path

Obj = tuple[str, bytes]
"""An object to be pushed: its kind and its bytes."""

FOLDER, FILE = 0o40000, 0o100644
ZERO = "0" * 40
WHO = b"Mallory <mallory@localhost> 1700000000 +0000"
TAIL = b"author " + WHO + b"\ncommitter " + WHO + b"\n\nm\n"
_KINDS = {"commit": 1, "tree": 2, "blob": 3}


def oid_of(obj: Obj) -> str:
    """The id that git gives to an object."""
    kind, data = obj
    return hashlib.sha1(b"%s %d\0" % (kind.encode(), len(data)) + data).hexdigest()


def pack_of(objects: Sequence[Obj]) -> bytes:
    """A pack of whole objects."""
    out = [b"PACK" + struct.pack(">II", 2, len(objects))]
    for kind, data in objects:
        size = len(data)
        first = (_KINDS[kind] << 4) | (size & 15)
        size >>= 4
        header = bytearray()
        while size:
            header.append(first | 0x80)
            first = size & 0x7F
            size >>= 7
        header.append(first)
        out.append(bytes(header) + zlib.compress(data))
    raw = b"".join(out)
    return raw + hashlib.sha1(raw).digest()


def push_raw(repository: Path, ref: str, objects: Sequence[Obj], old: str = ZERO, new: str = "") -> str | None:
    """Push objects, the first of them the new commit, as a client of its own. Returns why the server refuses."""
    line = f"{old} {new or oid_of(objects[0])} {ref}\0report-status".encode()
    asked = b"%04x" % (len(line) + 4) + line + b"0000" + pack_of(list(dict.fromkeys(objects)))
    done = subprocess.run(["git", "receive-pack", str(repository)], input=asked, capture_output=True, check=False)
    if f"ok {ref}".encode() in done.stdout:
        return None
    return (done.stderr + done.stdout[-300:]).decode("utf-8", "replace")


def plant(repository: Path, ref: str, objects: Sequence[Obj]) -> None:
    """Put objects into a repository past every check, as a server that checks nothing would."""
    git = ["git", "-C", str(repository)]
    raw = pack_of(list(dict.fromkeys(objects)))
    subprocess.run([*git, "index-pack", "--stdin"], input=raw, capture_output=True, check=True)
    file = repository / ref
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(oid_of(objects[0]) + "\n")


def tree(*entries: tuple[int, bytes, str]) -> Obj:
    """A tree of (mode, name, id), in the order given."""
    return ("tree", b"".join(b"%o %s\0" % (mode, name) + bytes.fromhex(oid) for mode, name, oid in entries))


def nested(objects: Sequence[Obj], names: Sequence[bytes], mode: int = FOLDER) -> list[Obj]:
    """The first object below folders of these names, the root first."""
    found = list(objects)
    for name in reversed(names):
        found.insert(0, tree((mode, name, oid_of(found[0]))))
        mode = FOLDER
    return found


def commit(objects: Sequence[Obj], *parents: str, tail: bytes = TAIL) -> list[Obj]:
    """A commit of the first object as its tree."""
    header = f"tree {oid_of(objects[0])}\n" + "".join(f"parent {oid}\n" for oid in parents)
    return [("commit", header.encode() + tail), *objects]


def blob(stream: str = "mallory", frame: int = 1, **sections: object) -> Obj:
    """A delta's blob."""
    return (
        "blob",
        json.dumps({"frame": frame, "utc": "2026-11-28T12:00:00Z", "stream_id": stream, **sections}).encode(),
    )


FRAME = (b"state", b"stream_deltas", b"1")
_DELTA = blob(observations=["bad"])
_ID = oid_of(_DELTA)
_GOOD = nested([_DELTA], [*FRAME, b"mallory.json"], FILE)
_ROOT = oid_of(_GOOD[0]).encode()


def _raw(header: bytes) -> list[Obj]:
    return [("commit", header), *_GOOD]


def _dated(committer: bytes) -> bytes:
    """The rest of a commit with a committer line of its own."""
    return b"author " + WHO + b"\ncommitter " + committer + b"\n\nm\n"


def _in_frame(*objects: Obj) -> list[Obj]:
    """A commit that has the first object as the folder of frame 1."""
    return commit([*nested(objects, FRAME), _DELTA])


def _tree_of_trees(levels: int = 10, names: int = 10) -> list[Obj]:
    found = [tree((FILE, b"a.json", _ID))]
    for _ in range(levels):
        oid = oid_of(found[0])
        found.insert(0, tree(*((FOLDER, b"%02d" % number, oid) for number in range(names))))
    return found


UNREADABLE: dict[str, list[Obj]] = {
    "parent of no hex": _raw(b"tree " + _ROOT + b"\nparent zzzz\n" + TAIL),
    "parent of 40 letters": _raw(b"tree " + _ROOT + b"\nparent " + b"z" * 40 + b"\n" + TAIL),
    "no tree": _raw(TAIL),
    "nothing": _raw(b""),
    "text": _raw(b"hello"),
    "cut off": _raw(b"tree " + _ROOT),
    "a blob as tree": [("commit", b"tree " + _ID.encode() + b"\n" + TAIL), _DELTA],
    "a folder of garbage": _in_frame(("tree", b"garbage")),
    "a folder cut off": _in_frame(("tree", tree((FILE, b"a.json", _ID))[1][:-3])),
    "a name of no bytes": _in_frame(tree((FILE, b"", _ID))),
    "a folder that is a blob": _in_frame(tree((FOLDER, b"x", _ID))),
    "2,200 folders deep": _in_frame(*nested([_DELTA], [*[b"d"] * 2200, b"a.json"], FILE)),
    "a tree of trees": _in_frame(*_tree_of_trees()),
    **{
        f"a date that git cannot count with, {name}": _raw(b"tree " + _ROOT + b"\n" + _dated(line))
        for name, line in {
            "10^30": b"Mallory <m@localhost> 1" + b"0" * 30 + b" +0000",
            "before 1970": b"Mallory <m@localhost> -5 +0000",
            "in a name": b"Mal> -5 <m@localhost> 1700000000 +0000",
            "on the next line": b"Mallory\nx> 99999999999999999999 +0000",
            "after a line that ends": b"Mallory <m@localhost>\n99999999999999999999 +0000",
        }.items()
    },
    "a huge commit": [("commit", b"tree " + _ROOT + b"\n" + TAIL + b"x" * (17 * 2**20)), *_GOOD],
}
"""Histories that cannot be read: the delta in them is not merged."""

ODD: dict[str, list[Obj]] = {
    "a parent after the author": _raw(
        b"tree " + _ROOT + b"\nauthor " + WHO + b"\nparent zzzz\ncommitter " + WHO + b"\n\nm\n"
    ),
    "no author": _raw(b"tree " + _ROOT + b"\n\nm\n"),
    "no date": _raw(b"tree " + _ROOT + b"\nauthor A <a@b>\ncommitter A <a@b>\n\nm\n"),
    "a zero byte": _raw(b"tree " + _ROOT + b"\n" + TAIL.replace(b"Mallory", b"Mal\0lory")),
    "a header of its own": _raw(b"tree " + _ROOT + b"\njunk x\n" + TAIL),
    "an entry twice": _in_frame(tree((FILE, b"mallory.json", _ID), (FILE, b"mallory.json", _ID))),
    "entries out of order": _in_frame(tree((FILE, b"b.json", _ID), (FILE, b"a.json", _ID))),
}
"""Histories that are odd and can be read all the same: the delta in them is merged, once."""

NAMES = [b"git~1", b".git ", b".GIT", b".g\xe2\x80\x8cit", b".git::$INDEX_ALLOCATION", b"..", b"x\\.git\\y", b"n" * 300]
"""Names of folders that no clone can hold."""

UNSAFE: dict[str, list[Obj]] = {
    f"a folder {name[:30]!r}": _in_frame(*nested([_DELTA], [name, b"a.json"], FILE)) for name in NAMES
} | {
    "a path of 5,000 bytes": _in_frame(*nested([_DELTA], [*[b"n" * 250] * 20, b"a.json"], FILE)),
    "65 folders below the frame": _in_frame(*nested([_DELTA], [*[b"d"] * 65, b"a.json"], FILE)),
}
"""Histories whose delta is quarantined for its name."""
