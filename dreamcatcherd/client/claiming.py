"""Claiming a resource: a delta that this side makes (docs/protocol.md#claims)."""

from __future__ import annotations

import time
from urllib.parse import unquote

from dreamcatcherd.client.given import read_given
from dreamcatcherd.client.outcomes import Pushed
from dreamcatcherd.client.pace import persist
from dreamcatcherd.client.pushing import Progress, push_ready
from dreamcatcherd.client.ready import make_ready
from dreamcatcherd.client.session import Named, Sight, connect
from dreamcatcherd.core.claims import OPERATIONS
from dreamcatcherd.core.codec import utc_text
from dreamcatcherd.core.collections import Collection
from dreamcatcherd.core.errors import UsageError
from dreamcatcherd.core.keys import key_part
from dreamcatcherd.core.model import Json
from dreamcatcherd.core.settings import Settings

_ADD_ONE = (
    'let an operator add one to state/dreamcatcher.toml: [collections.tasks] with section = "claims", '
    'key = ["resource"] and rule = "claim" (docs/protocol.md#collections)'
)


def claim(
    repository: Named,
    resource: str,
    stream_id: str,
    *,
    operation: str = "claim",
    collection: str | None = None,
    wait_s: float | None = None,
    progress: Progress = lambda sight, left_s: None,
) -> Pushed:
    """Claim a resource for a stream, or `renew` or `release` it, in the open frame and at the present time.

    `resource` is the key; the parts of a key with several are joined by slashes, each percent-encoded. `collection` is
    needed only if several collections have the rule `claim`. With `wait_s`, the row's `claims` hold the decision if the
    frame closes in time. UsageError: there is no such collection. Other errors are those of `push`."""
    if operation not in OPERATIONS:
        raise UsageError(f"{operation!r} is not an operation on a claim", f"use one of {', '.join(OPERATIONS)}")
    with connect(repository) as session:
        sight = persist(session.look)
        row = _claimed(sight.settings, collection)
        record: dict[str, Json] = _keyed(row, resource) | ({"op": operation} if operation != "claim" else {})
        delta = _with_header(sight, stream_id)
        _put(delta, row.sections[0], [record])
        given = read_given(delta, (), sight.settings.limits, f"the claim on {resource}")
        prepared = make_ready(given, sight.settings, sight.frame.frame, stream_id)
        (pushed,) = push_ready(session, sight, [prepared], wait_s, progress)
        return pushed


def _claimed(settings: Settings, collection: str | None) -> Collection:
    """The collection in which a resource is claimed."""
    rows = {name: row for name, row in settings.table.items() if row.rule == "claim" and row.sections}
    if collection is not None and collection in rows:
        return rows[collection]
    known = ", ".join(rows)
    if not rows:
        cause = "the repository's settings have no collection with the rule claim"
        raise UsageError(cause, _ADD_ONE)
    if collection is not None:
        raise UsageError(f"{collection!r} is not a collection with the rule claim", f"use one of {known}")
    if len(rows) > 1:
        raise UsageError("several collections have the rule claim", f"name the one: {known}")
    return next(iter(rows.values()))


def _keyed(row: Collection, resource: str) -> dict[str, Json]:
    """A record with the key fields of a resource."""
    parts = [key_part(unquote(part)) for part in resource.split("/")]
    for choice in row.choices:
        if len(choice.names) == len(parts):
            return dict(zip(choice.names, parts, strict=True))
        if len(choice.names) == 1:
            return {choice.names[0]: key_part(unquote(resource))}
    names = " or ".join("/".join(choice.names) for choice in row.choices)
    raise UsageError(f"{resource!r} is not a key of {row.name}", f"give {names}, each part percent-encoded")


def _with_header(sight: Sight, stream_id: str) -> dict[str, Json]:
    """A delta of the open frame and the present time, its header where the repository's settings look for it first."""
    intake, document = sight.settings.intake, dict[str, Json]()
    _put(document, intake.frame[0], sight.frame.frame)
    _put(document, intake.utc[0], utc_text(time.time_ns() // 1000))
    _put(document, intake.stream_id[0], stream_id)
    return document


def _put(document: dict[str, Json], path: str, value: Json) -> None:
    """Set the value at a dotted path, making the objects on the way."""
    *folders, name = path.split(".")
    for folder in folders:
        document = document.setdefault(folder, {})
    document[name] = value
