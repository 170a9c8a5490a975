"""The files of test vectors: their shape, and how they are read (conformance/README.md).

Owns the format `dreamcatcher-vectors/1`. What a case means is in `values` and `histories`."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import NamedTuple

import msgspec
from msgspec import Struct

from dreamcatcherd.core.codec import read_as
from dreamcatcherd.core.errors import UsageError
from dreamcatcherd.core.model import Json, Record

VECTORS_FORMAT = "dreamcatcher-vectors/1"


class VectorFile(Struct, frozen=True, forbid_unknown_fields=True):
    """One file: cases of one kind about one section of docs/protocol.md, which is named by its anchor.

    A case has `name`, `about`, what it gives, and `expect`."""

    format: str
    section: str
    kind: str
    about: str
    cases: list[dict[str, Json]]


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
        try:
            cases += cases_of(read_as(file.read_bytes(), VectorFile), file.stem)
        except (msgspec.DecodeError, KeyError, ValueError) as error:
            raise UsageError(f"{file} is not a file of test vectors: {error}", f"see {folder}/README.md") from error
    if not cases:
        raise UsageError(f"{folder} holds no test vectors", "name a folder with files of dreamcatcher-vectors/1")
    return cases


def cases_of(file: VectorFile, stem: str) -> list[Case]:
    """The cases of one file; ValueError if this version does not read its format, or a case has no name."""
    if file.format != VECTORS_FORMAT:
        raise ValueError(f"its format is {file.format!r}, this version reads {VECTORS_FORMAT!r}")
    for case in file.cases:
        if type(case.get("name")) is not str or "expect" not in case:
            raise ValueError("a case lacks name or expect")
    return [
        Case(f"{file.section}/{stem}/{one['name']}", file.section, file.kind, one, one["expect"]) for one in file.cases
    ]


def bytes_of(given: Json) -> bytes:
    """The bytes that a vector gives: a string is UTF-8 text, `{"base64": …}` any bytes, `{"repeat": …, "times": n}` a
    text as often."""
    if isinstance(given, str):
        return given.encode()
    if "repeat" in given:
        raw: bytes = given["repeat"].encode() * given["times"]
        return raw
    return base64.b64decode(given["base64"], validate=True)


def bytes_as(raw: bytes) -> Json:
    """Bytes in the form of a vector: as text where they are UTF-8."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(raw).decode()}
