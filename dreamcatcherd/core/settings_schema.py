"""The schema of `state/dreamcatcher.toml`, strict (docs/protocol.md#configuration).

Owns the names, types and descriptions of its keys; `settings` gives them their meaning."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from dreamcatcherd.core.collections import FieldRule, RuleName
from dreamcatcherd.core.format_number import take_format
from dreamcatcherd.core.intake import Intake
from dreamcatcherd.core.mistakes import MISTAKES_MOST, Mistake, listed, mistakes_in, without_mistakes
from dreamcatcherd.core.model import Limits
from dreamcatcherd.core.view_settings import ViewFile

LANES = "refs/heads/dc/"


class Lanes(Struct, frozen=True, forbid_unknown_fields=True):
    """Where lanes live."""

    prefix: Annotated[str, Meta(description="a ref prefix that ends in a slash")] = LANES
    relays: Annotated[
        list[str],
        Meta(description="names of relays: the lane `dc-relay/<name>` of each may bring deltas of any stream"),
    ] = []


class Security(Struct, frozen=True, forbid_unknown_fields=True):
    """Who speaks for a stream, and who may change this file. Without signers nobody is asked."""

    allowed_signers: Annotated[
        str | list[str], Meta(description="git's allowed-signers lines, as one text or a list; principals are streams")
    ] = []
    operators: Annotated[
        list[str], Meta(description="principals among them whose signature a change of this file needs")
    ] = []


class Publish(Struct, frozen=True, forbid_unknown_fields=True):
    """What the history of the shared branch looks like."""

    history: Annotated[
        Literal["merge", "linear"],
        Meta(description="whether snapshot commits have merged lanes as parents, or `main`'s head alone"),
    ] = "merge"


class Row(Struct, frozen=True, forbid_unknown_fields=True):
    """A collection: a new one, or one of the protocol's, in which what is left out keeps its default."""

    section: Annotated[
        str | list[str] | None,
        Meta(description="the sections of a delta that bring its records, as names or dotted paths; else its own name"),
    ] = None
    aliases: Annotated[list[str] | None, Meta(description="further sections")] = None
    form: Annotated[
        Literal["records", "map"] | None,
        Meta(description="`map`: a section may also be an object of records by the first key field"),
    ] = None
    key: Annotated[
        list[str | list[str]] | None,
        Meta(
            description="the fields that make an entity, or a list of alternatives, of which the first counts whose "
            "fields are all present; cannot change while it has entities"
        ),
    ] = None
    key_aliases: Annotated[
        dict[str, list[str]], Meta(description="other names of a key field in records, by field")
    ] = {}
    content: Annotated[
        str | None,
        Meta(description="the field whose text is the last part of the (last) key, under `dedup` and `first`"),
    ] = None
    scalar: Annotated[
        str | list[str] | None,
        Meta(description="how a bare string is read, such as `{node}:{agent}`; the first pattern that matches counts"),
    ] = None
    rule: Annotated[
        RuleName | None, Meta(description="how records are merged; else `lww` with a key and `append` without")
    ] = None
    fields: Annotated[
        dict[str, FieldRule],
        Meta(description="the rules of single fields, under the rules `lww`, `sum`, `max`, `min` and `union`"),
    ] = {}
    delete: Annotated[
        str | None, Meta(description="the section that names entities to delete: keys, or records with the key fields")
    ] = None
    ttl: Annotated[
        Annotated[int, Meta(ge=1, le=2**31)] | None,
        Meta(description="for how many frames a claim holds, under the rule `claim`; else 3"),
    ] = None
    shard: Annotated[
        str | None, Meta(description="the key field by which entities are stored side by side; else the first")
    ] = None


class SettingsFile(Struct, frozen=True, forbid_unknown_fields=True):
    """The complete file as written; each table and key may be left out."""

    limits: Limits = Limits()
    lanes: Lanes = Lanes()
    security: Security = Security()
    publish: Publish = Publish()
    intake: Intake = Intake()
    collections: dict[str, Row] = {}
    views: dict[str, ViewFile] = {}


class SettingsError(ValueError):
    """The settings cannot count. `mistakes` are all that were found; the message lists them."""

    def __init__(self, found: str | Iterable[Mistake]) -> None:
        self.mistakes = (Mistake("", found),) if isinstance(found, str) else tuple(found)
        super().__init__(listed(self.mistakes))


def parse_settings(parsed: Mapping[str, object]) -> tuple[SettingsFile, list[Mistake]]:
    """The file from its decoded TOML, and its mistakes: what has one is left out of the file. SettingsError if nothing
    can be judged without it."""
    if isinstance(parsed, dict) and (why := take_format(parsed)) is not None:
        raise SettingsError(why)
    try:
        return msgspec.convert(parsed, SettingsFile), []
    except (RecursionError, msgspec.ValidationError) as error:
        mistakes = mistakes_in(parsed, SettingsFile) or [Mistake("", str(error))]
        if len(mistakes) >= MISTAKES_MOST:  # what is left may have further ones
            raise SettingsError(mistakes) from error
    try:
        return msgspec.convert(without_mistakes(parsed, mistakes), SettingsFile), mistakes
    except (RecursionError, msgspec.ValidationError) as error:
        raise SettingsError(mistakes) from error
