"""The tools that only read: frame, validate, receipt, show, explain. Each is a function of the repository and its
arguments, and gives what the command of the same name prints as JSON (docs/protocol.md#commands)."""

from __future__ import annotations

import json
import re
from typing import Annotated, Any, TypeAlias

from msgspec import Meta, Struct

from dreamcatcherd.core.codec import MAX_FRAME, canonical, decode_exact, utc_text
from dreamcatcherd.core.errors import RefusedError, UsageError
from dreamcatcherd.core.export import public_record
from dreamcatcherd.core.model import Json
from dreamcatcherd.core.report import promised
from dreamcatcherd.core.validation import NO_PATH, check_delta, validation_row
from dreamcatcherd.daemon.primary import Primary
from dreamcatcherd.history import queries
from dreamcatcherd.history.receipts import known_receipts
from dreamcatcherd.stages.attribution import pending_streams

RECORDS = 50
"""How many records one answer of `show` has at most."""

RECORDS_BYTES = 48 * 1024
"""How many bytes of records one answer of `show` has; the first record is shown whatever its size, within bounds."""

_NEXT = re.compile(r"([0-9]{1,16}):([0-9]{1,12})")

Text: TypeAlias = Annotated[str, Meta(min_length=1, max_length=4_096)]
DeltaArgument: TypeAlias = Annotated[
    dict[str, Any] | str,
    Meta(
        description=(
            "The delta: a JSON object, or its JSON text. Required are `frame` (an integer), `utc` (RFC 3339 with an "
            "offset) and `stream_id` (the name of your stream); every other member is a section of records. Nothing "
            "is filled in."
        )
    ),
]


class NoArguments(Struct, frozen=True, forbid_unknown_fields=True):
    """No arguments."""


class ValidateArguments(Struct, frozen=True, forbid_unknown_fields=True):
    """A delta to judge."""

    delta: DeltaArgument


class ReceiptArguments(Struct, frozen=True, forbid_unknown_fields=True):
    """A delta that was pushed."""

    delta: Annotated[
        Text,
        Meta(
            description=(
                "The delta's path in the repository, its blob id, or its order key: frame, utc, stream_id and content "
                "id joined by `/`, each percent-encoded, the last two optional."
            )
        ),
    ]


class ShowArguments(Struct, frozen=True, forbid_unknown_fields=True):
    """Entities of a collection."""

    collection: Annotated[Text, Meta(description="The collection's name, such as posts or extra/<section>.")]
    key: Annotated[
        Text | None,
        Meta(
            description=(
                "The entity's key; several parts are joined by `/`, each percent-encoded. The first parts alone select "
                "all keys that begin with them. Left out: all entities."
            )
        ),
    ] = None
    after: Annotated[
        Text | None, Meta(description="The `next` of the previous answer, for the records that follow.")
    ] = None


class ExplainArguments(Struct, frozen=True, forbid_unknown_fields=True):
    """One entity."""

    collection: Annotated[Text, Meta(description="The collection's name, such as posts.")]
    key: Annotated[
        Text, Meta(description="The entity's complete key; several parts are joined by `/`, each percent-encoded.")
    ]


def delta_bytes(delta: dict[str, Any] | str) -> bytes:
    """The bytes of a delta's file; UsageError for what JSON cannot hold.

    An object is written in the one canonical form, so that the same delta sent twice is the same delta."""
    try:
        if isinstance(delta, str):
            return delta.encode()
        # The canonical form has null for them, and nothing may change silently.
        json.dumps(delta, allow_nan=False)
        return canonical(delta)
    except (ValueError, RecursionError) as error:
        what = "a number that is not finite" if "JSON compliant" in str(error) else f"{error}"[:200]
        raise UsageError(f"the delta is not JSON: {what}", "write numbers and texts that JSON has") from error


def answer_frame(primary: Primary, given: NoArguments) -> Json:
    """The open frame, the time by which deltas are stamped, where a delta's header is, and what fills a collection."""
    del given
    inbox = primary.read_inbox()
    state, intake, now = inbox.published.state, inbox.settings.intake, primary.clock()
    return {
        "frame": state.frame,
        "opened_at": state.opened_at,
        "closes_at": promised(state.closes_at, now),
        "last_closed": state.last_closed,
        "digest": inbox.published.snapshot,
        "now": utc_text(now),
        "pending": sum(pending_streams(inbox.arrivals).values()),
        "roots": list(intake.roots),
        "header": {"frame": list(intake.frame), "utc": list(intake.utc), "stream_id": list(intake.stream_id)},
        "collections": {
            name: {
                "sections": list(row.sections),
                "keys": [[field.name for field in choice] for choice in row.key],
                "rule": row.rule,
                "delete": row.delete,
            }
            for name, row in inbox.settings.table.items()
            if row.sections  # the others are made by the merge and cannot be written
        },
    }


def answer_validate(primary: Primary, given: ValidateArguments) -> Json:
    """Whether a delta would merge now, in the form of `validate --json`."""
    inbox = primary.read_inbox()
    raw = delta_bytes(given.delta)
    # Nothing is attached to what an agent pushes, so no reference of it resolves.
    found = check_delta(raw, NO_PATH, inbox.settings, inbox.published.state.frame, lambda named: named)
    return plain_json(validation_row(NO_PATH, found))


def answer_receipt(primary: Primary, given: ReceiptArguments) -> Json:
    """What became of a delta, in the form of `receipt --json`; RefusedError if none has arrived."""
    return plain_json(known_receipts(primary.store, primary.read_inbox(), given.delta))


def answer_show(primary: Primary, given: ShowArguments) -> Json:
    """A page of records as `{"records", "next"}`, as `show --json` has them. `next` is null after the last page.

    The pages of one question are of one snapshot, whatever is published meanwhile. RefusedError if there is no such
    collection or key."""
    base = primary.load_published(primary.store.refs())
    at, skip = base.state.last_closed, 0
    if given.after is not None:
        if (found := _NEXT.fullmatch(given.after)) is None or int(found[1]) > MAX_FRAME:
            raise UsageError(f"{given.after!r} is not the `next` of an answer", "give `next` as it was answered")
        at, skip = int(found[1]), int(found[2])
    # Before the first close there can be an imported snapshot, which no ledger names; it has no later pages then.
    seen = queries.view(primary.store, base, at if given.after is not None else None)
    every = queries.entities(primary.store, seen, given.collection, given.key)
    if not every and given.key is not None:
        raise RefusedError(f"{given.collection} has no {given.key!r}", "show the collection without a key to see them")
    records: list[Json] = []
    size = 0
    for item in every[skip : skip + RECORDS]:
        raw = canonical(public_record(item))
        size += len(raw)
        if records and size > RECORDS_BYTES:
            break
        records.append(decode_exact(raw))
    reached = skip + len(records)
    rest = reached < len(every) and at is not None
    return {"records": records, "total": len(every), "next": f"{at}:{reached}" if rest else None}


def answer_explain(primary: Primary, given: ExplainArguments) -> Json:
    """Who set each field of an entity, in the form of `explain --json`; RefusedError if there is no such entity."""
    base = primary.load_published(primary.store.refs())
    return plain_json(queries.explain_entity(primary.store, base, given.collection, given.key))


def plain_json(value: object) -> Json:
    """The JSON that a command prints of a value."""
    return decode_exact(canonical(value))
