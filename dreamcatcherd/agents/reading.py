"""The tools that only read: frame, validate, receipt, show, explain. Each is a function of the repository and its
arguments, and gives what the command of the same name prints as JSON (docs/protocol.md#commands)."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

from msgspec import Meta, Struct

from dreamcatcherd.agents.repository import SharedView
from dreamcatcherd.client.given import object_bytes
from dreamcatcherd.core.codec import canonical, decode_exact, utc_text
from dreamcatcherd.core.errors import RefusedError, UsageError
from dreamcatcherd.core.export import public_record
from dreamcatcherd.core.key_order import place_of_item
from dreamcatcherd.core.model import Json
from dreamcatcherd.core.report import promised
from dreamcatcherd.core.snapshot import Item
from dreamcatcherd.core.validation import NO_PATH, check_delta, validation_row
from dreamcatcherd.history import queries
from dreamcatcherd.history.ledger_index import ledger_index
from dreamcatcherd.history.listing import ListingPage, listed_row
from dreamcatcherd.history.queries import SnapshotView
from dreamcatcherd.history.receipts import known_receipts
from dreamcatcherd.stages.attribution import pending_streams
from dreamcatcherd.stages.published import PublishedState

RECORDS = 50
"""How many records one answer of `show` has at most."""

RECORDS_BYTES = 48 * 1024
"""How many bytes of records one answer of `show` has; the first record is shown whatever its size, within bounds."""

Text: TypeAlias = Annotated[str, Meta(min_length=1, max_length=4_096)]
KeyText: TypeAlias = Annotated[str, Meta(max_length=4_096)]  # a worker may give an entity the empty text as its key
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
        KeyText | None,
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
        KeyText, Meta(description="The entity's complete key; several parts are joined by `/`, each percent-encoded.")
    ]


def delta_bytes(delta: dict[str, Any] | str) -> bytes:
    """The bytes of a delta's file, given as JSON text or as an object; UsageError for what JSON cannot hold."""
    if not isinstance(delta, str):
        return object_bytes(delta)
    try:
        return delta.encode()
    except UnicodeEncodeError as error:  # half of a surrogate pair
        raise UsageError(f"the delta is not JSON: {error}"[:200], "write numbers and texts that JSON has") from error


def answer_frame(view: SharedView, given: NoArguments) -> Json:
    """The open frame, the time by which deltas are stamped, where a delta's header is, and what fills a collection."""
    del given
    inbox = view.primary.read_inbox()
    state, intake, now = inbox.published.state, inbox.settings.intake, view.primary.clock()
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


def answer_validate(view: SharedView, given: ValidateArguments) -> Json:
    """Whether a delta would merge now, in the form of `validate --json`."""
    inbox = view.primary.read_inbox()
    raw = delta_bytes(given.delta)
    # Nothing is attached to what an agent pushes, so no reference of it resolves.
    found = check_delta(raw, NO_PATH, inbox.settings, inbox.published.state.frame, lambda named: named)
    return plain_json(validation_row(NO_PATH, found))


def answer_receipt(view: SharedView, given: ReceiptArguments) -> Json:
    """What became of a delta, in the form of `receipt --json`; RefusedError if none has arrived."""
    store = view.primary.store
    return plain_json(known_receipts(store, view.primary.read_inbox(), given.delta, ledger_index(store)))


def answer_show(view: SharedView, given: ShowArguments) -> Json:
    """A page of records in key order as `{"records", "next"}`, as `show --json` has them. `next` is null after the last
    page; it is the place of a key, so it fits every snapshot, and is the API's `after` too.

    RefusedError if there is no such collection or key."""
    store, base = view.primary.store, _published(view)
    seen = queries.view(store, base)
    place = _place(given.after) if given.after is not None else None
    if given.key is None:
        page = view.listings.page(store, seen, given.collection, RECORDS, place, RECORDS_BYTES)
    else:
        page = _page_below(seen, queries.entities(store, seen, given.collection, given.key), given, place)
    following = page.after.hex() if page.after is not None else None
    return {"records": plain_json([public_record(item) for item in page.items]), "next": following}


def _page_below(seen: SnapshotView, found: list[Item], given: ShowArguments, place: bytes | None) -> ListingPage:
    """A page of the records whose keys begin alike: usually there is one, and seldom more than a page."""
    if not found:
        raise RefusedError(f"{given.collection} has no {given.key!r}", "leave the key out to see what there is")
    row = listed_row(seen, given.collection)
    rest = [item for item in found if place is None or place_of_item(row, item) > place]
    kept: list[Item] = []
    size = 0
    for item in rest[:RECORDS]:
        size += len(canonical(public_record(item)))
        if kept and size > RECORDS_BYTES:
            break
        kept.append(item)
    return ListingPage(kept, place_of_item(row, kept[-1]) if len(kept) < len(rest) else None)


def _place(after: str) -> bytes:
    try:
        return bytes.fromhex(after)
    except ValueError as error:
        raise UsageError(f"{after!r} is not the `next` of an answer", "give `next` as it was answered") from error


def answer_explain(view: SharedView, given: ExplainArguments) -> Json:
    """Who set each field of an entity, in the form of `explain --json`; RefusedError if there is no such entity."""
    store, base = view.primary.store, _published(view)
    return plain_json(queries.explain_entity(store, base, given.collection, given.key, index=ledger_index(store)))


def _published(view: SharedView) -> PublishedState:
    """The published state as of now."""
    return view.primary.load_published(view.primary.store.refs())


def plain_json(value: object) -> Json:
    """The JSON that a command prints of a value."""
    return decode_exact(canonical(value))
