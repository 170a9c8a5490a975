"""Objects that are merged leaf by leaf, each leaf with its stamp: the rule `deep` of a field (docs/protocol.md#fields).

At each path the latest write counts. A value that is no object also hides what was written below it before, and must be
remembered for that, even while a later write below it is shown: it is a *barrier*. An empty object is a value like any
other, but hides nothing.

The stamps of a field have the form of its value: a stamp for a leaf, an object of stamps by member for an object. Where
a barrier or an empty object must be remembered at an object, it is `[barrier or null, {…}]`, with the stamp of the
empty object as a third item."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from dreamcatcherd.core.codec import stamp_of
from dreamcatcherd.core.model import Json, Stamp


class _Node(msgspec.Struct):
    """What was written at one path and below it."""

    barrier: Stamp | None = None
    value: Json = None
    empty: Stamp | None = None
    members: dict[str, _Node] = {}


def deep(old: tuple[Json, Json] | None, brought: Sequence[tuple[Json, Stamp]]) -> tuple[Json, Json]:
    """The value of a field and its stamps after more writes, in order of their stamps."""
    node = _read(*old) if old is not None else _Node()
    for value, stamp in brought:
        _write(node, value, stamp)
    shown = _shown(node)
    if shown is None:
        raise AssertionError("a write leaves a value")
    return shown


def without(value: Json, stamps: Json, deleted: Stamp) -> tuple[Json, Json] | None:
    """The value and its stamps without what was written up to a deletion; None if nothing is left."""
    node = _read(value, stamps)
    _drop(node, deleted)
    return _shown(node)


def all_stamps(stamps: Json) -> Iterator[Stamp]:
    """Every stamp in the stamps of a field."""
    if isinstance(stamps, Stamp):
        yield stamps
    elif isinstance(stamps, dict):
        for inner in stamps.values():
            yield from all_stamps(inner)
    else:
        barrier, members, *empty = stamps
        yield from (stamp for stamp in (barrier, *empty) if stamp is not None)
        yield from all_stamps(members)


def has_form_of(value: Json, stamps: Json) -> bool:
    """Whether stamps have the form of their value, so that nothing else is remembered in them."""
    if isinstance(stamps, dict):
        return all(has_form_of(value[name], inner) for name, inner in stamps.items())
    return isinstance(stamps, Stamp)


def leaves(value: Json, stamps: Json, path: str) -> Iterator[tuple[str, Json, Stamp]]:
    """Each leaf that is shown, with its path (members joined by dots) and stamp."""
    if isinstance(stamps, Stamp):
        yield path, value, stamps
        return
    _, members, *empty = (None, stamps) if isinstance(stamps, dict) else stamps
    for name, inner in members.items():
        yield from leaves(value[name], inner, f"{path}.{name}")
    if not members and empty:
        yield path, value, empty[0]


def leaves_written(value: Json, path: str) -> Iterator[tuple[str, Json]]:
    """Each leaf that a write brings, with its path (members joined by dots)."""
    if type(value) is dict and value:
        for name, inner in value.items():
            yield from leaves_written(inner, f"{path}.{name}")
    else:
        yield path, value


def stamps_from(raw: Json) -> Json:
    """The stamps of a field from their JSON."""
    if isinstance(raw, dict):
        return {name: stamps_from(inner) for name, inner in raw.items()}
    if isinstance(raw, list) and len(raw) > 1 and isinstance(raw[1], dict):
        barrier, members, *empty = raw
        return [stamp_of(barrier) if barrier else None, stamps_from(members), *map(stamp_of, empty)]
    return stamp_of(raw)


def uniform(value: Json, stamp: Stamp) -> Json:
    """The stamps of a value whose leaves all have one stamp."""
    return {name: uniform(inner, stamp) for name, inner in value.items()} if type(value) is dict and value else stamp


def _read(value: Json, stamps: Json) -> _Node:
    if isinstance(stamps, Stamp):
        return _Node(empty=stamps) if value == {} and type(value) is dict else _Node(barrier=stamps, value=value)
    barrier, members, *empty = (None, stamps) if isinstance(stamps, dict) else stamps
    found = {name: _read(value[name], inner) for name, inner in members.items()}
    return _Node(barrier, None, empty[0] if empty else None, found)


def _write(node: _Node, value: Json, stamp: Stamp) -> None:
    if node.barrier is not None and stamp < node.barrier:
        return
    if type(value) is dict and value:
        for name, inner in value.items():
            member = node.members.get(name)
            if member is None:
                member = node.members[name] = _Node()
            _write(member, inner, stamp)
    elif type(value) is dict:
        node.empty = max(stamp, node.empty or stamp)
    else:
        _drop(node, stamp)
        node.barrier, node.value = stamp, value


def _drop(node: _Node, until: Stamp) -> None:
    """Forget what was written at a path and below it up to a stamp."""
    for name, member in list(node.members.items()):
        _drop(member, until)
        if not (member.members or member.barrier or member.empty):
            del node.members[name]
    if node.barrier is not None and node.barrier <= until:
        node.barrier = None
    if node.empty is not None and node.empty <= until:
        node.empty = None


def _shown(node: _Node) -> tuple[Json, Json] | None:
    """A node as its value and stamps; None if nothing was written."""
    members = {name: shown for name, member in node.members.items() if (shown := _shown(member)) is not None}
    value = {name: shown[0] for name, shown in members.items()}
    stamps = {name: shown[1] for name, shown in members.items()}
    # An empty object only shows once all its members are hidden, so it is forgotten where one of them is later.
    empty = node.empty if node.empty is not None and all(node.empty > one for one in all_stamps(stamps)) else None
    if members and node.barrier is None and empty is None:
        return value, stamps
    if members or (empty is not None and node.barrier is not None):
        return value, [node.barrier, stamps] + ([empty] if empty is not None else [])
    if empty is not None:
        return {}, empty
    return (node.value, node.barrier) if node.barrier is not None else None
