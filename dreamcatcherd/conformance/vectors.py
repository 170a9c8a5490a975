"""The files of test vectors: their shape, and how they are read (conformance/README.md).

Owns the format `dreamcatcher-vectors/1`. What a case means is in `values` and `histories`."""

from __future__ import annotations

import base64
from collections import Counter
from pathlib import Path
from typing import Annotated, NamedTuple

import msgspec
from msgspec import Meta, Struct

from dreamcatcherd.core.codec import read_as
from dreamcatcherd.core.errors import UsageError
from dreamcatcherd.core.model import Json, Record

VECTORS_FORMAT = "dreamcatcher-vectors/1"

REPEATED_BYTES_MOST = 2**30
"""How many bytes a text that is repeated may come to."""

_FORMAT = "the format is described in conformance/README.md of dreamcatcherd's source"


class VectorFile(Struct, frozen=True, forbid_unknown_fields=True):
    """One file: cases of one kind about one section of docs/protocol.md, which is named by its anchor.

    A case has `name`, `about`, what it gives, and `expect`."""

    format: str
    section: str
    kind: str
    about: str
    cases: list[dict[str, Json]]


class Encoded(Struct, frozen=True):
    """Bytes that are not given as text, or a file of a commit with its mode."""

    base64: str = ""
    repeat: str = ""
    times: Annotated[int, Meta(ge=0)] = 0
    mode: str = ""
    bytes: str | Encoded = ""


class EntryGiven(Struct, frozen=True):
    """One entry of a tree."""

    mode: str
    name: str
    id: str


class Step(Struct, frozen=True):
    """One step of a history."""

    commit: str = ""
    ref: str = ""
    files: dict[str, str | Encoded | None] = {}
    parents: list[str] = []
    author: str = ""
    signed_by: str = ""
    move: str = ""
    to: str | None = None
    close: Annotated[int, Meta(ge=0, le=100_000)] = 0


class Members(Struct, frozen=True):
    """What members of any kind hold. Which of them a case needs, its kind says."""

    json: str | Encoded = ""
    exact: bool = False
    object: str | Encoded = ""
    blob: str | Encoded = ""
    tree: list[EntryGiven] = []
    path: str | Encoded = ""
    delta: str | Encoded = ""
    files: dict[str, str | Encoded] = {}
    mode: str = ""
    roots: list[str] = []
    reference: str = ""
    text: str = ""
    keys: list[str] = []
    settings: str | None = None
    export: str | Encoded = ""
    now: str = ""
    first_frame: int = 1
    steps: list[Step] = []


class Case(NamedTuple):
    """One case: its full name `<section>/<file>/<name>`, its kind, what it gives, and what it expects."""

    name: str
    section: str
    kind: str
    given: Record
    expect: Json


def read_vectors(folder: Path) -> list[Case]:
    """The cases of all `*.json` files in a folder and the folders below it, by path; UsageError if there are none, or a
    file is not of the format."""
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder", "name a folder of test vectors, such as conformance")
    cases: list[Case] = []
    for file in sorted(folder.rglob("*.json")):
        if not file.is_file():
            raise UsageError(f"{file} is not a file that can be read", "take it out of the folder")
        try:
            cases += cases_of(read_as(file.read_bytes(), VectorFile), file.stem)
        except OSError as error:
            raise UsageError(f"{file} cannot be read: {error.strerror}", "let this user read it") from error
        except (msgspec.DecodeError, KeyError, ValueError) as error:
            raise UsageError(f"{file} is not a file of test vectors: {error}", _FORMAT) from error
    if not cases:
        raise UsageError(f"{folder} holds no test vectors", "name a folder with files of dreamcatcher-vectors/1")
    return cases


def cases_of(file: VectorFile, stem: str) -> list[Case]:
    """The cases of one file; ValueError if this version does not read its format, or a case has no name, or
    that of another one."""
    if file.format != VECTORS_FORMAT:
        raise ValueError(f"its format is {file.format!r}, this version reads {VECTORS_FORMAT!r}")
    for case in file.cases:
        if type(case.get("name")) is not str or "expect" not in case:
            raise ValueError("a case lacks name or expect")
    names = Counter(str(case["name"]) for case in file.cases)
    if twice := [name for name, count in names.items() if count > 1]:
        raise ValueError(f"several cases have the name {twice[0]!r}")
    return [
        Case(f"{file.section}/{stem}/{one['name']}", file.section, file.kind, one, one["expect"]) for one in file.cases
    ]


def bytes_of(given: Json) -> bytes:
    """The bytes that a vector gives: a string is UTF-8 text, `{"base64": …}` any bytes, `{"repeat": …, "times": n}` a
    text as often."""
    if isinstance(given, str):
        return given.encode()
    if "repeat" in given:
        if len(given["repeat"]) * given["times"] > REPEATED_BYTES_MOST:
            raise ValueError(f"{given['times']} times a text is more than {REPEATED_BYTES_MOST} bytes")
        raw: bytes = given["repeat"].encode() * given["times"]
        return raw
    return base64.b64decode(given["base64"], validate=True)


def bytes_as(raw: bytes) -> Json:
    """Bytes in the form of a vector: as text where they are UTF-8."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(raw).decode()}
