"""A view read backwards: the file of a platform as records of its collection (docs/time-travel.md).

Owns the way from a file to records and the comparison of the file with what the view writes back; `planned_state` makes
deltas of the records and merges them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from msgspec import Struct, structs

from dreamcatcherd.core.codec import Exact, canonical, decode_exact, read_document
from dreamcatcherd.core.collections import Collection
from dreamcatcherd.core.decimals import doubles, doubles_but_sums
from dreamcatcherd.core.errors import RefusedError
from dreamcatcherd.core.export import in_order
from dreamcatcherd.core.keyed_records import read_record
from dreamcatcherd.core.keys import natural_key, sort_key
from dreamcatcherd.core.model import Fault, Json, Record
from dreamcatcherd.core.platform_views import renamed, without_stamps
from dreamcatcherd.core.settings import DEFAULT
from dreamcatcherd.core.snapshot import Item
from dreamcatcherd.core.view_keys import fields_named, names_in_map, place_in_map
from dreamcatcherd.core.view_settings import ViewFile

_WHOLE = structs.replace(DEFAULT.limits, delta_bytes=2**31, records=2**31, depth=512)
"""A platform's file is not a delta: the bounds of one delta do not apply."""
_FORCE = "correct the file, the map or the collection's rule; --force imports it all the same"


class Mismatch(Struct, frozen=True):
    """The first place where a file is not what its view writes back, as a JSON path, and what to do about it."""

    at: str
    why: str
    remedy: str


def read_plain(raw: bytes, path: str) -> Json:
    """The JSON value of a platform's file; RefusedError if it has none."""
    # Wrapped into an object, since a document must be one and a platform's file may be anything.
    document = read_document(b'{"_":%b\n}' % raw, _WHOLE)
    if isinstance(document, Fault) or len(document) != 1:
        detail = document.detail if isinstance(document, Fault) else "it is not one JSON value"
        raise RefusedError(f"{path} cannot be imported: {detail}", "correct the file")
    return document["_"]


def read_view_file(raw: bytes, path: str, view: ViewFile, row: Collection) -> Json:
    """The value of a view's file, the lines of JSON lines as a list; numbers that are added up keep their digits."""
    lines = [line for line in raw.split(b"\n") if line.strip()] if view.shape == "lines" else [raw]
    values = []
    for number, line in enumerate(lines, 1):
        value = read_plain(line, f"{path} line {number}" if view.shape == "lines" else path)
        values.append(decode_exact(line) if row.adds else value)
    return values if view.shape == "lines" else values[0]


def records_of_view(document: Json, path: str, view: ViewFile, row: Collection) -> list[Json]:
    """The records of a view's file, as the first section of its collection takes them."""
    content = _content(document, path, view)
    names = {new: name for name, new in view.rename.items()}
    if view.shape != "map":
        return [_as_sent(_here(item, view, names), row) for item in content]
    members = [(name, inner) for name, inner in content.items() if view.under is not None or name != view.meta]
    members.sort(key=lambda member: place_in_map(member[0]))
    return [_as_sent(_of_member(name, inner, view, row, names), row) for name, inner in members]


def _content(document: Json, path: str, view: ViewFile) -> Json:
    content = document
    if view.under is not None:
        if type(document) is not dict or view.under not in document:
            raise RefusedError(f"{path} has no member {view.under!r}", "correct `under` in the map")
        content = document[view.under]
    if view.shape == "map" and type(content) is not dict:
        raise RefusedError(f"{path} holds no object of records", 'correct `under`, or set shape = "list"')
    if view.shape == "list" and type(content) is not list:
        raise RefusedError(f"{path} holds no list of records", 'correct `under`, or set shape = "map"')
    return content


def _here(item: Json, view: ViewFile, names: Mapping[str, str]) -> Json:
    """A record with the names that its fields have in the collection."""
    item = without_stamps(item) if view.stamps else item
    return renamed(item, names) if type(item) is dict else item


def _of_member(name: str, inner: Json, view: ViewFile, row: Collection, names: Mapping[str, str]) -> Json:
    fields = fields_named(row, name)
    if fields is not None and row.form == "counters" and type(inner) in (int, float, Exact):
        return {**fields, "value": inner}
    if fields is None or type(inner) is not dict:
        return {"value": {name: inner}}  # it fits nowhere, and is kept
    record = _here(inner, view, names)
    return {**fields, **record} if view.inside else {**record, **fields}


def _as_sent(record: Json, row: Collection) -> Json:
    """A record with doubles where nothing is added up; a profile in the form whose fields cannot be mistaken."""
    if type(record) is not dict:
        return doubles(record)
    if row.adds:
        record = doubles_but_sums(row, record)
    if row.form != "profiles" or record.get(field := row.key[0][0].name) is None:
        return record
    return {field: record[field], "fields": {name: value for name, value in record.items() if name != field}}


# What the view writes back --------------------------------------------------------------------------------------------


def first_difference(
    document: Json, written: Json, view: ViewFile, row: Collection, sent: Sequence[Json], found: Sequence[Item]
) -> Mismatch | None:
    """The first difference between a file and what its view writes back of the records that were `sent`; None if it is
    the same JSON value. Lists are compared in key order, `meta` and the stamps of a view are left out."""
    if view.meta is not None:
        document, written = (
            {name: value for name, value in one.items() if name != view.meta} if type(one) is dict else one
            for one in (document, written)
        )
    at = "$"
    if view.under is not None:
        for name in document:
            if name != view.under:
                remedy = f"set meta = {canonical(name).decode()}" if view.meta is None else _FORCE
                return Mismatch(_member(at, name), "the view does not write it back", remedy)
        at = _member(at, view.under)
        document, written = document[view.under], written[view.under]
    if view.shape == "map":
        return next(_of_map(document, written, view, row, at), None)
    if row.rule == "append":
        if len(document) != len(written):
            return Mismatch(at, f"the view writes {len(written)} records, and the file has {len(document)}", _FORCE)
        pairs = zip(document, written, strict=True)
        return next((why for i, pair in enumerate(pairs) if (why := _of_record(*pair, view, row, f"{at}[{i}]"))), None)
    return next(_of_list(document, written, view, row, at, sent, found), None)


def _of_map(document: Record, written: Record, view: ViewFile, row: Collection, at: str) -> Iterator[Mismatch]:
    for name, value in document.items():
        where = _member(at, name)
        if name not in written:
            yield Mismatch(where, "the view does not write it back: it is a misfit, or has another name there", _FORCE)
        elif why := _of_record(value, written[name], view, row, where):
            yield why
    for name in written:
        if name not in document:
            yield Mismatch(_member(at, name), "the view writes it, and the file does not have it", _FORCE)


def _of_list(
    document: list[Json],
    written: list[Json],
    view: ViewFile,
    row: Collection,
    at: str,
    sent: Sequence[Json],
    found: Sequence[Item],
) -> Iterator[Mismatch]:
    """Records are matched by their keys."""
    stored = [read_record(row, item, lambda *_: None) for item in sent]
    for i, (_, _, misfit) in enumerate(stored):
        if misfit is not None:
            yield Mismatch(f"{at}[{i}]", f"it is a misfit: {misfit}", _FORCE)
    order = sorted(range(len(stored)), key=lambda i: sort_key(natural_key(row, stored[i][1])))
    names = dict(zip(order, names_in_map(row, [stored[i][1] for i in order]), strict=True))
    known = names_in_map(row, [item.record for item in in_order(list(found), row)])
    back = dict(zip(known, written, strict=True))
    seen: dict[str, int] = {}
    for i, value in enumerate(document):
        other = seen.setdefault(names[i], i)
        if other != i:
            yield Mismatch(f"{at}[{i}]", f"it has the same key as {at}[{other}]", _FORCE)
        elif names[i] not in back:
            yield Mismatch(f"{at}[{i}]", "the view does not write it back", _FORCE)
        elif why := _of_record(value, back[names[i]], view, row, f"{at}[{i}]"):
            yield why
    for name in back:
        if name not in seen:
            yield Mismatch(at, f"the view writes {name!r}, and the file does not have it", _FORCE)


def _of_record(value: Json, back: Json, view: ViewFile, row: Collection, at: str) -> Mismatch | None:
    if view.stamps:
        value, back = without_stamps(value), without_stamps(back)
    found = next(_differing(value, back, at), None)
    if found is None or type(value) is not dict or type(back) is not dict:
        return found
    keys = {view.rename.get(name, name) for name in row.key_names}
    more, less = value.keys() - back.keys(), back.keys() - value.keys()
    if view.shape == "map" and not view.inside and more & keys and not less:
        return structs.replace(found, remedy="set inside = true")
    if view.inside and less & keys and not more:
        return structs.replace(found, remedy="leave inside out")
    for name in sorted(more):
        twin = next((other for other in sorted(less) if same_json(value[name], back[other])), None)
        if twin is not None:
            names = f"{canonical(twin).decode()} = {canonical(name).decode()}"
            return Mismatch(_member(at, name), f"the view writes it as {twin!r}", f"set rename = {{ {names} }}")
    return found


def _differing(one: Json, other: Json, at: str) -> Iterator[Mismatch]:
    """The places where two JSON values differ."""
    if type(one) is dict and type(other) is dict:
        for name in {**one, **other}:
            where = _member(at, name)
            if name not in other:
                yield Mismatch(where, "the view does not write it back", _FORCE)
            elif name not in one:
                yield Mismatch(where, "the view writes it, and the file does not have it", _FORCE)
            else:
                yield from _differing(one[name], other[name], where)
    elif type(one) is list and type(other) is list and len(one) == len(other):
        for i, pair in enumerate(zip(one, other, strict=True)):
            yield from _differing(*pair, f"{at}[{i}]")
    elif not same_json(one, other):
        yield Mismatch(at, f"the view writes {_short(other)} instead of {_short(one)}", _FORCE)


def same_json(one: Json, other: Json) -> bool:
    """Whether two values are the same JSON: numbers by size, whatever their text, and never a boolean."""
    if type(one) is dict and type(other) is dict:
        return one.keys() == other.keys() and all(same_json(one[name], other[name]) for name in one)
    if type(one) is list and type(other) is list:
        return len(one) == len(other) and all(map(same_json, one, other))
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, Exact) or isinstance(other, Exact):
        one, other = (Exact(repr(value)) if type(value) is float else value for value in (one, other))
    return bool(one == other)


def _short(value: Json) -> str:
    text = canonical(value).decode()
    return text if len(text) <= 60 else f"{text[:57]}…"


def _member(at: str, name: str) -> str:
    return f"{at}.{name}" if name.isidentifier() else f"{at}[{canonical(name).decode()}]"
