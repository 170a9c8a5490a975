"""The sections of a delta: what is in its document besides the header, by name or by dotted path
(docs/protocol.md#a-delta)."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence
from typing import NamedTuple

from dreamcatcherd.core.collections import Collection, Table, sections_of
from dreamcatcherd.core.model import Json, Record


class Sections(NamedTuple):
    """The sections that a table knows."""

    known: dict[str, tuple[Collection, int]]
    """Each with its collection and its place among that collection's sections."""
    dotted: tuple[str, ...]
    """Those that may be paths, since they have a dot."""


class PlacedSections(Container[str]):
    """The sections of `extra` whose records a table may place: those that it knows, and those that hold one of them."""

    def __init__(self, sections: Sections) -> None:
        self._sections = sections

    def __contains__(self, section: object) -> bool:
        known, dotted = self._sections
        return section in known or any(name.startswith(f"{section}.") for name in dotted)


def known_sections(table: Table) -> Sections:
    """The sections of a table, prepared for many deltas."""
    known = sections_of(table)
    return Sections(known, tuple(name for name in known if "." in name))


def sections_in(body: Record, header: Sequence[str], dotted: Sequence[str] = ()) -> Iterable[tuple[str, Json]]:
    """Each section of a document with its value, in the document's order; those at dotted paths come last.

    The values that were used as header are left out, and so is an object that has nothing else. What a dotted path
    takes is not in its parent any more. `null` is no section."""
    # Nearly every delta has its header at the top, and nearly every fleet no section inside another.
    if not dotted and all(map(body.__contains__, header)):
        return [(name, value) for name, value in body.items() if value is not None and name not in header]
    return _at_paths(body, header, dotted)


def _at_paths(body: Record, header: Iterable[str], dotted: Iterable[str]) -> Iterator[tuple[str, Json]]:
    paths = [path.split(".") for path in header if path not in body]
    names = {path for path in header if path in body}
    at_paths: list[tuple[str, Json]] = []
    for section in dotted:
        path = section.split(".")
        parent = value_at(body, path[:-1])
        if section not in body and path not in paths and type(parent) is dict and path[-1] in parent:
            paths.append(path)
            if (value := parent[path[-1]]) is not None:
                at_paths.append((section, value))
    parents = {path[0] for path in paths}
    for name, value in body.items():
        if name in names or value is None:
            continue
        if name in parents:
            value = _without(value, [path[1:] for path in paths if path[0] == name])
            if value == {}:
                continue
        yield name, value
    # A section inside another one that is taken as well is in both documents, but in one section only.
    for section, value in at_paths:
        below = [path[section.count(".") + 1 :] for path in paths if ".".join(path).startswith(section + ".")]
        if (left := _without(value, below) if below else value) != {} or not below:
            yield section, left


def value_at(document: Json, path: Iterable[str]) -> Json:
    """The value at a path of member names; None if there is none."""
    for name in path:
        if type(document) is not dict:
            return None
        document = document.get(name)
    return document


def named_value(document: Record, name: str) -> Json:
    """The member of that very name, else the value at the dotted path that the name is; None if there is neither."""
    return document[name] if name in document else value_at(document, name.split("."))


def _without(value: Json, paths: list[list[str]]) -> Json:
    """An object without the members at some paths, and without objects that are empty then; anything else as it is."""
    if type(value) is not dict:
        return value
    kept: Record = {}
    for name, inner in value.items():
        below = [path[1:] for path in paths if path[:1] == [name]]
        if not below:
            kept[name] = inner
        elif all(below) and (left := _without(inner, below)) != {}:
            kept[name] = left
    return kept
