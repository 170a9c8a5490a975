"""The views that settings declare: whole files in a platform's own shape (docs/protocol.md#views).

Owns the rules of `[views]`; `platform_views` makes the files."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping
from typing import Annotated, Literal

from msgspec import Meta, Struct

from dreamcatcherd.core import paths
from dreamcatcherd.core.collections import MARKS, Table
from dreamcatcherd.core.intake import Intake, PathOwners, is_plain_path
from dreamcatcherd.core.mistakes import Mistake, most_like

Shape = Literal["map", "list", "lines"]


class ViewFile(Struct, frozen=True, forbid_unknown_fields=True):
    """One file: the live entities of a collection."""

    collection: Annotated[str, Meta(description="the collection whose entities it holds")]
    path: Annotated[str, Meta(description="the file, from then on a canonical one")]
    shape: Annotated[Shape, Meta(description="an object by key, a list in key order, or one JSON object a line")] = (
        "list"
    )
    under: Annotated[str | None, Meta(description="the key that wraps it; else it is the whole file")] = None
    stamps: Annotated[bool, Meta(description="whether records have their `_stamps` or `_stamp`")] = False
    meta: Annotated[
        str | None, Meta(description="the key of an object with `frame`, `count` and `digest`; else it is left out")
    ] = None
    inside: Annotated[
        bool, Meta(description="with the shape map, whether each record repeats its key field inside")
    ] = False
    rename: Annotated[dict[str, str], Meta(description="the names of fields in the file, by their name here")] = {}


Views = Mapping[str, ViewFile]
"""The views by their names in the settings."""


def view_mistakes(views: Views, table: Table, intake: Intake) -> Iterator[Mistake]:
    """Why the views cannot count: every mistake that their types do not show."""
    used, canonical, roots = PathOwners(), PathOwners(), PathOwners()
    for folder in (paths.FRAME, paths.SETTINGS, paths.LEDGER, paths.SNAPSHOT):
        canonical.add(_compared(folder), folder)
    for folder in intake.roots:
        roots.add(_compared(folder), folder)
    for name, view in views.items():
        for keys, what in _why_bad_view(view, table):
            at, *others = (("views", name, key) for key in keys)
            # A row of the collections that is wrong may be the one that it names.
            yield Mistake(f"[views.{name}]", what, at=(at,), needs=(*others, ("collections", view.collection)))
        at = ("views", name, "path")
        path = _compared(view.path)
        if not is_plain_path(view.path) or view.path.endswith("/"):
            what = f"path: {view.path!r} is not a relative path without empty names, `.` and `..`"
            yield Mistake(f"[views.{name}]", what, at=(at,))
        elif (other := canonical.overlapping(path)) is not None:
            yield Mistake(f"[views.{name}]", f"path: {view.path!r} is taken by {other}", at=(at,))
        elif (other := roots.overlapping(path)) is not None:
            what = f"path: {view.path!r} is taken by {other}"
            yield Mistake(f"[views.{name}]", what, at=(at,), needs=(("intake", "roots"),))
        elif (other := used.overlapping(path)) is not None:
            yield Mistake(f"[views.{name}]", f"its path is that of [views.{other}]", at=(at,))
        else:
            used.add(path, name)


def _why_bad_view(view: ViewFile, table: Table) -> Iterator[tuple[tuple[str, ...], str]]:
    """What is wrong with a view beside its path: the keys that it is about, and why."""
    if view.collection not in table:
        near = most_like(view.collection, table)
        hint = f"; did you mean {near!r}?" if near else ""
        yield ("collection",), f"there is no collection {view.collection!r}{hint}"
    elif view.shape == "map" and table[view.collection].rule == "append":
        yield ("collection", "shape"), f"{view.collection} has no key, so its shape cannot be a map"
    if view.meta is not None and (view.shape == "lines" or (view.under is None and view.shape == "list")):
        yield ("meta", "shape", "under"), "meta needs an object to stand in: wrap the list by a key in `under`"
    if view.under is not None and view.shape == "lines":
        yield ("under", "shape"), "the shape lines cannot be wrapped"
    if view.under is not None and view.under == view.meta:
        yield ("under", "meta"), "under and meta are the same key"
    if view.inside and view.shape != "map":
        yield ("inside", "shape"), "inside goes with the shape map"
    if len({*view.rename.values()}) < len(view.rename) or {*MARKS} & {*view.rename, *view.rename.values()}:
        yield ("rename",), "rename: names must be distinct and not reserved"


def _compared(path: str) -> str:
    """A path as file systems compare it that ignore letter case and normalise Unicode."""
    return unicodedata.normalize("NFC", path).casefold()
