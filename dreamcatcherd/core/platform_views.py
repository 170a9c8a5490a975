"""Views: the live entities of a collection as a whole file in a platform's own shape (docs/protocol.md#views).

Pure: the file follows from the entities, the view's settings, and the snapshot that it names. One record is one line,
so that `git diff` shows the records that changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from dreamcatcherd.core.codec import Exact, canonical
from dreamcatcherd.core.collections import Collection
from dreamcatcherd.core.export import in_order, public_record
from dreamcatcherd.core.model import Json, Record
from dreamcatcherd.core.snapshot import Item
from dreamcatcherd.core.view_keys import key_names, names_in_map
from dreamcatcherd.core.view_settings import ViewFile

BYTES_MOST, RECORDS_MOST = 10 * 2**20, 100_000
"""A larger view is written all the same, and reported: each change of its collection writes all of it again."""

_STAMPS = ("_stamp", "_stamps")


class ViewOrigin(NamedTuple):
    """The snapshot that a view was made of: what stands under its `meta`, besides the number of entities."""

    frame: int
    digest: str


def view_bytes(found: Sequence[Item], row: Collection, view: ViewFile, origin: ViewOrigin) -> bytes:
    """The file of a view; `found` are the live entities of its collection."""
    ordered = in_order(list(found), row)
    lines = list(_lines(ordered, row, view))
    if view.shape == "lines":
        return b"".join(line + b"\n" for line in lines)
    about = {"frame": origin.frame, "count": len(ordered), "digest": origin.digest}
    meta = [] if view.meta is None else [b"%b:%b" % (canonical(view.meta), canonical(about))]
    if view.under is not None:
        inner = _wrapped(lines, view)
        return b"{\n%b\n}\n" % b",\n".join([*meta, b"%b:%b" % (canonical(view.under), inner)])
    return _wrapped([*meta, *lines], view) + b"\n"


def _wrapped(lines: Sequence[bytes], view: ViewFile) -> bytes:
    begin, end = (b"{", b"}") if view.shape == "map" else (b"[", b"]")
    return b"%b\n%b\n%b" % (begin, b",\n".join(lines), end) if lines else begin + end


def _lines(ordered: list[Item], row: Collection, view: ViewFile) -> Iterator[bytes]:
    """Each record as JSON; in a map with its name before it."""
    if view.shape != "map":
        for item in ordered:
            yield canonical(renamed(_shown(item, view), view.rename))
        return
    # What readers take for the view's own account of itself must not be a record that somebody named like it.
    hidden = view.meta if view.under is None else None
    for name, item in zip(names_in_map(row, [item.record for item in ordered]), ordered, strict=True):
        if name != hidden:
            yield b"%b:%b" % (canonical(name), canonical(_member(item, row, view)))


def _shown(item: Item, view: ViewFile) -> Record:
    if not view.stamps:
        return item.record
    return {name: value for name, value in public_record(item).items() if name != "_deleted"}


def _member(item: Item, row: Collection, view: ViewFile) -> Json:
    """An entity as a member of a map: its record, or a counter's number alone."""
    shown = _shown(item, view)
    if not view.inside:
        left_out = key_names(row, item.record)
        shown = {name: value for name, value in shown.items() if name not in left_out}
        if row.form == "counters" and shown.keys() == {"value"} and type(shown["value"]) in (int, float, Exact):
            return shown["value"]
    return renamed(shown, view.rename)


def renamed(record: Record, names: Mapping[str, str]) -> Record:
    """A record with other names for some fields. A field keeps its name where a field that stays has the other one: no
    value is ever lost."""
    moves = {name: names[name] for name in record if name in names}
    while taken := [name for name, new in moves.items() if new in record and new not in moves]:
        for name in taken:
            del moves[name]
    return {moves.get(name, name): value for name, value in record.items()} if moves else record


def without_stamps(record: Json) -> Json:
    """A record of a view without the stamps that the view adds."""
    if type(record) is not dict:
        return record
    return {name: value for name, value in record.items() if name not in _STAMPS}
