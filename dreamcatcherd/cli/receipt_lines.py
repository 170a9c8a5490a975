"""A receipt for people: what of a delta was lost, did not fit, or was decided. Loads no libgit2."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from dreamcatcherd.core.codec import canonical, plain
from dreamcatcherd.core.ledger import ClaimRow, MisfitRow
from dreamcatcherd.core.model import Conflict, Json
from dreamcatcherd.core.report import plural


class Notes(Protocol):
    """The parts of a receipt that are shown below its first line."""

    @property
    def lost(self) -> Sequence[Conflict]:
        """The fields in which another stream won."""

    @property
    def misfits(self) -> Sequence[MisfitRow]:
        """The records without a usable key, by section."""

    @property
    def claims(self) -> Sequence[ClaimRow]:
        """The decisions about its claims."""

    @property
    def collapsed(self) -> int:
        """How many records added nothing to an existing one."""

    @property
    def unresolved(self) -> Sequence[str]:
        """References that named no file."""

    @property
    def unknown(self) -> Sequence[str]:
        """Sections that no collection has."""


def receipt_lines(row: Notes) -> Iterator[str]:
    """What a receipt says besides the outcome, one line each, fit for a terminal."""
    for lost in row.lost:
        fields = lost.field if lost.field is not None else plural(len(lost.value), "field")
        what = f"{lost.collection} {_text(lost.key)} {plain(fields)}"
        yield f"lost {plain(what)} to {plain(lost.winner.stream_id)}: {plain(_text(lost.value))}"
    for misfit in row.misfits:
        where = f"extra/{misfit.section}"
        yield f"{plural(misfit.records, 'misfit')} in {plain(where)}: {plain(misfit.why)}"
    for claim in row.claims:
        yield plain(claim_line(claim))
    if row.collapsed:
        yield f"{plural(row.collapsed, 'record')} collapsed: the key existed already and the record added nothing"
    if row.unresolved:
        yield f"unresolved references: {plain(', '.join(row.unresolved))}"
    if row.unknown:
        yield f"unknown sections, kept in extra/…: {plain(', '.join(row.unknown))}"


def claim_line(row: ClaimRow) -> str:
    """A decision in one line."""
    holder = f", held by {row.holder} through frame {row.until}" if row.holder is not None else ", held by nobody"
    return f"claim on {row.collection} {_text(row.key)}: {row.outcome}{holder}"


def _text(value: Json) -> str:
    return canonical(value).decode()
