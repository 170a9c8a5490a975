"""Claims: which stream holds a resource, decided once by the close that merges the claim (docs/protocol.md#claims).

Unlike every other rule this one is no join: who asks first in the frame that merges the claim gets it, and what was
decided stays, whatever arrives later. So a decision depends on the frame that made it, which the ledger records."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from dreamcatcherd.core.ledger import ClaimOutcome
from dreamcatcherd.core.model import Json, Record, Stamp
from dreamcatcherd.core.rules import Entity

OPERATIONS = ("claim", "renew", "release")


class ClaimDecision(NamedTuple):
    """What became of one claim. `holder` holds the resource afterwards, through frame `until`; None if nobody does."""

    collection: str
    key: Json
    stamp: Stamp
    outcome: ClaimOutcome
    holder: str | None
    until: int | None


class Claimed(NamedTuple):
    """One record of a claim: the frame whose close merges it, its stamp, and the record."""

    frame: int
    stamp: Stamp
    record: Record


Decided = tuple[Stamp, ClaimOutcome, str | None, int | None]
"""A decision without the collection and the key."""


def decide_claims(
    entity: Entity | None, brought: Sequence[Claimed], keys: frozenset[str], ttl: int
) -> tuple[Entity, list[Decided]]:
    """The entity after claims, in the order in which they are decided, and each decision: its stamp, outcome, holder
    and last frame."""
    decisions: list[Decided] = []
    outcome: ClaimOutcome
    for frame, stamp, record in brought:
        operation = record.get("op") or "claim"
        holder, until = held(entity, frame)
        if operation == "claim" and holder is None:
            entity = _granted(record, stamp, frame, ttl)
            outcome = "granted"
        elif operation == "renew" and entity is not None and holder == stamp.stream_id:
            entity = Entity({**entity.record, "until": frame + ttl}, stamp)
            outcome = "renewed"
        elif operation == "release" and entity is not None and holder == stamp.stream_id:
            entity = Entity({name: entity.record[name] for name in keys}, stamp, stamp)
            outcome = "released"
        else:
            outcome = "refused"
            # A claim of nothing leaves a trace all the same: each record belongs to an entity.
            entity = entity or Entity({name: record[name] for name in keys}, stamp, stamp)
        holder, until = held(entity, frame)
        decisions.append((stamp, outcome, holder, until))
    if entity is None:
        raise AssertionError("a change brings at least one claim")
    return entity, decisions


def _granted(record: Record, stamp: Stamp, frame: int, ttl: int) -> Entity:
    fields = {name: value for name, value in record.items() if name != "op"}
    return Entity({**fields, "holder": stamp.stream_id, "since": frame, "until": frame + ttl}, stamp)


def held(entity: Entity | None, frame: int) -> tuple[str | None, int | None]:
    """Who holds a resource in a frame and through which one, or (None, None)."""
    if entity is None or entity.deleted is not None or entity.record["until"] < frame:
        return None, None
    return entity.record["holder"], entity.record["until"]
