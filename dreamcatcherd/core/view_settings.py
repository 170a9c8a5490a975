"""The views that settings declare: whole files in a platform's own shape (docs/protocol.md#views).

Owns the rules of `[views]`; `platform_views` makes the files."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping
from typing import Annotated, Literal

from msgspec import Meta, Struct

from dreamcatcherd.core import paths
from dreamcatcherd.core.collections import MARKS, Table
from dreamcatcherd.core.intake import Intake, is_plain_path, overlap

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


def why_bad_views(views: Views, table: Table, intake: Intake) -> str | None:
    """Why the views cannot count, or None."""
    used: dict[str, str] = {}
    for name, view in views.items():
        where = f"[views.{name}]"
        if view.collection not in table:
            return f"{where}: there is no collection {view.collection!r}"
        if view.shape == "map" and table[view.collection].rule == "append":
            return f"{where}: {view.collection} has no key, so its shape cannot be a map"
        if (why := _why_bad_path(view.path, intake)) is not None:
            return f"{where} path: {why}"
        if view.meta is not None and (view.shape == "lines" or (view.under is None and view.shape == "list")):
            return f"{where}: meta needs an object to stand in: wrap the list by a key in `under`"
        if view.under is not None and view.shape == "lines":
            return f"{where}: the shape lines cannot be wrapped"
        if view.under is not None and view.under == view.meta:
            return f"{where}: under and meta are the same key"
        if view.inside and view.shape != "map":
            return f"{where}: inside goes with the shape map"
        if len({*view.rename.values()}) < len(view.rename) or {*MARKS} & {*view.rename, *view.rename.values()}:
            return f"{where} rename: names must be distinct and not reserved"
        path = _compared(view.path)
        if (other := next((other for other in used if overlap(path, other)), None)) is not None:
            return f"{where}: its path is that of [views.{used[other]}]"
        used[path] = name
    return None


def _why_bad_path(path: str, intake: Intake) -> str | None:
    if not is_plain_path(path) or path.endswith("/"):
        return f"{path!r} is not a relative path without empty names, `.` and `..`"
    folders: Iterable[str] = (paths.SNAPSHOT, paths.LEDGER, paths.FRAME, paths.SETTINGS, *intake.roots)
    taken = next((folder for folder in folders if overlap(_compared(path), _compared(folder))), None)
    return f"{path!r} is taken by {taken}" if taken else None


def _compared(path: str) -> str:
    """A path as file systems compare it that ignore letter case and normalise Unicode."""
    return unicodedata.normalize("NFC", path).casefold()
