"""A platform's plain JSON state as deltas of one frame, so that a running fleet can adopt the protocol
(docs/protocol.md#commands).

A mapping says which files' records go to which section of a delta. From there on they are read, keyed and merged like
any worker's records, malformed ones included, so imported data can be explained, replayed and verified like the
rest."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from dreamcatcherd.core.codec import MAX_FRAME, canonical, is_stream_id, utc_micros, utc_text
from dreamcatcherd.core.errors import RefusedError, UsageError
from dreamcatcherd.core.intake import Intake
from dreamcatcherd.core.model import Json, Record
from dreamcatcherd.core.view_settings import ViewFile

CHUNK_BYTES = 4 * 2**20
"""The size at which the records of a file are split into several deltas, in bytes of canonical JSON."""


class FileMap(Struct, frozen=True, forbid_unknown_fields=True):
    """`[[files]]` of a mapping: a glob of files, and where their records are.

    `at` is the place of the records in the file: member names with dots between them. With `by`, the records are the
    values of an object, and each key becomes the field of this name. With `name`, the file's name without `.json`
    becomes a field. `rename` gives fields other names. `one` says that the place holds a single record."""

    path: str
    section: str
    at: str | None = None
    by: str | None = None
    name: str | None = None
    rename: dict[str, str] = {}
    one: bool = False


class StateMap(Struct, frozen=True, forbid_unknown_fields=True):
    """The mapping file: the files, or views to be read backwards, and the frame, stream and time (RFC 3339) of the
    deltas that are made of them."""

    files: list[FileMap] = []
    views: dict[str, ViewFile] = {}
    frame: Annotated[int, Meta(ge=0, le=MAX_FRAME)] = 0
    stream_id: str = "import"
    utc: str = "1970-01-01T00:00:00Z"


def read_map(raw: bytes, where: str) -> StateMap:
    """Parse a mapping in TOML; UsageError, with `where` as the file's name, says what is wrong with it."""
    remedy = "correct it; docs/time-travel.md shows one"
    try:
        found = msgspec.convert(tomllib.loads(raw.decode("utf-8")), StateMap)
    except (ValueError, msgspec.ValidationError) as error:
        raise UsageError(f"{where}: {error}", remedy) from error
    if not is_stream_id(found.stream_id) or utc_micros(found.utc) is None:
        raise UsageError(f"{where}: stream_id or utc is malformed", remedy)
    if not found.files and not found.views:
        raise UsageError(f"{where} names no file", "add [views.<name>] or [[files]]; docs/time-travel.md shows both")
    return found


def records_of(document: Json, mapped: FileMap, path: str) -> list[Json] | Record:
    """The records of one decoded file, for its section; RefusedError if they are not where the mapping says.

    An object stays an object if the mapping does not say how to read it: some sections are objects by name, such as
    agents."""
    for name in mapped.at.split(".") if mapped.at else ():
        if type(document) is not dict or name not in document:
            raise RefusedError(f"{path} has no {mapped.at!r}", "correct `at` in the mapping")
        document = document[name]
    if mapped.by is not None:
        if type(document) is not dict:
            raise RefusedError(f"{path} holds no object of records by {mapped.by!r}", "leave `by` out, or correct `at`")
        records = [_with(inner, mapped.by, key) for key, inner in document.items()]
    elif type(document) is list and not mapped.one:
        records = document
    elif type(document) is dict and not mapped.one and mapped.name is None:
        return document
    else:
        records = [document]
    if mapped.name is not None:
        stem = path.rpartition("/")[2].removesuffix(".json")
        records = [_with(record, mapped.name, stem) for record in records]
    return [_renamed(record, mapped.rename) for record in records] if mapped.rename else records


def _with(record: Json, field: str, value: str) -> Json:
    """A record with a field added, unless it has that field; a value that is not a record becomes its `value`."""
    if type(record) is not dict:
        record = {"value": record}
    return record if field in record else {field: value, **record}


def _renamed(record: Json, names: dict[str, str]) -> Json:
    if type(record) is not dict:
        return record
    return {names[name] if name in names and names[name] not in record else name: record[name] for name in record}


MappedRecords = tuple[FileMap, str, list[Json] | Record]
"""The result of a mapping for one file: the entry of the mapping, the file's path, and the records."""


def deltas_of(mapping: StateMap, found: Iterable[MappedRecords], intake: Intake) -> Iterator[tuple[int, str, bytes]]:
    """Deltas as (number of the file, path, bytes), each with a file's records or part of them; the same files give the
    same bytes.

    Their times rise in the order of the mapping, by a microsecond each: if two files set one field, the later one wins.
    """
    utc = utc_micros(mapping.utc) or 0
    count = 0
    for at, (mapped, path, records) in enumerate(found):
        for part in _chunks(records):
            body: Record = {mapped.section: part}
            _put(body, intake.frame[0], mapping.frame)
            _put(body, intake.utc[0], utc_text(utc + count))
            _put(body, intake.stream_id[0], mapping.stream_id)
            # The name says where the records came from; the number makes it unique and gives the order.
            stem = "".join(char if char.isascii() and char.isalnum() else "-" for char in path.removesuffix(".json"))
            name = f"{intake.roots[0]}/{mapping.frame}/import/{count:05}-{stem[:60]}.json"
            yield at, name, canonical(body) + b"\n"
            count += 1


def _put(body: Record, path: str, value: Json) -> None:
    """Set a header field at its dotted path."""
    *folders, last = path.split(".")
    for name in folders:
        body = body.setdefault(name, {})
    body[last] = value


def _chunks(records: list[Json] | Record) -> Iterator[list[Json] | Record]:
    """The records in runs of at most CHUNK_BYTES, since deltas have a size limit; a larger record is its own run."""
    if isinstance(records, dict):
        for run in _runs(list(records.items())):
            yield dict(run)
    else:
        yield from _runs(records)


def _runs(records: list[Any]) -> Iterator[list[Any]]:
    run: list[Any] = []
    size = 0
    for record in records:
        length = len(canonical(record))
        if run and size + length > CHUNK_BYTES:
            yield run
            run, size = [], 0
        run.append(record)
        size += length
    if run:
        yield run
