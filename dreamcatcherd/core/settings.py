"""The settings that the merge depends on: `state/dreamcatcher.toml` as a frozen struct, strict
(docs/protocol.md#configuration).

Owns the reading and the refusal of settings; callers decide where they come from and which ones count."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from dreamcatcherd.core.collections import (
    DEFAULT_TABLE,
    DERIVED,
    EXTRA,
    RESERVED_SECTIONS,
    Collection,
    RuleName,
    Table,
)
from dreamcatcherd.core.model import Limits as Limits
from dreamcatcherd.core.signers import Signers, read_signers, speaks_for

LANES = "refs/heads/dc/"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,63}")
_PREFIX = re.compile(
    r"refs/(?:heads/|(?!heads/|tags/|remotes/|notes/|dreamcatcher/))[A-Za-z0-9_-]+(?:/[A-Za-z0-9_-]+)*/"
)


class SettingsError(ValueError):
    """The settings cannot count; the message names the key and the cause."""


class Lanes(Struct, frozen=True, forbid_unknown_fields=True):
    """Where lanes live."""

    prefix: Annotated[str, Meta(description="a ref prefix that ends in a slash")] = LANES


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
        str | None, Meta(description="the section of a delta that brings its records; else its own name")
    ] = None
    aliases: Annotated[list[str] | None, Meta(description="further sections")] = None
    key: Annotated[
        list[str] | None, Meta(description="the fields that make an entity; cannot change while it has entities")
    ] = None
    key_aliases: Annotated[
        dict[str, list[str]], Meta(description="other names of a key field in records, by field")
    ] = {}
    content: Annotated[
        str | None, Meta(description="the field whose text counts as part of the key, under `dedup` and `first`")
    ] = None
    rule: Annotated[
        RuleName | None, Meta(description="how records come together; else `lww` with a key and `append` without")
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
    collections: dict[str, Row] = {}


class Settings(Struct, frozen=True):
    """The settings that a frame is merged under. `blob` is the file that they were read from, if any."""

    table: Mapping[str, Collection]
    limits: Limits = Limits()
    lane_prefix: str = LANES
    signers: Signers = Signers()
    blob: str | None = None
    linear: bool = False


DEFAULT = Settings({**DEFAULT_TABLE, **DERIVED})


def read_settings(raw: bytes, blob: str | None = None) -> Settings:
    """Settings from TOML; SettingsError if they cannot count."""
    try:
        parsed = msgspec.convert(tomllib.loads(raw.decode("utf-8")), SettingsFile)
    except (ValueError, RecursionError, msgspec.ValidationError) as error:
        raise SettingsError(str(error)) from error
    if not _PREFIX.fullmatch(parsed.lanes.prefix):
        raise SettingsError(f"[lanes] prefix {parsed.lanes.prefix!r} is no ref prefix such as {LANES!r}")
    # Collections of the protocol stay although the file does not name them; the file changes or adds.
    table = dict(DEFAULT_TABLE)
    for name, row in parsed.collections.items():
        table[name] = _collection(name, row, table.get(name))
    _check_sections(table)
    linear = parsed.publish.history == "linear"
    return Settings({**table, **DERIVED}, parsed.limits, parsed.lanes.prefix, _signers(parsed.security), blob, linear)


def _signers(security: Security) -> Signers:
    given = security.allowed_signers
    text = given if isinstance(given, str) else "\n".join(given)
    try:
        signers = read_signers(text.splitlines(), security.operators)
    except ValueError as error:
        raise SettingsError(f"[security] allowed_signers: {error}") from error
    known = [name for name in signers.operators if any(speaks_for(signers, key, name) for key in _keys(signers))]
    # Without an operator nobody could ever change the file again, not even to remove the signers.
    if signers and not known:
        raise SettingsError("[security] operators must name one of allowed_signers: nobody could change this file")
    if signers.operators and not signers:
        raise SettingsError("[security] operators goes with allowed_signers")
    return signers


def _keys(signers: Signers) -> set[str]:
    return {signer.fingerprint for signer in signers.signers}


def why_refused(new: Settings, old: Settings, has_entities: frozenset[str]) -> str | None:
    """Why `new` must not follow `old`, or None: the key and rule of a collection cannot change while it has entities
    (docs/protocol.md#configuration)."""
    for name in sorted(has_entities & old.table.keys()):
        if name not in new.table:
            return f"collection {name} has entities and cannot be taken away"
        if new.table[name].identity != old.table[name].identity:
            return f"collection {name} has entities: its key fields and rule cannot change"
    return None


def _collection(name: str, row: Row, base: Collection | None) -> Collection:
    if not _NAME.fullmatch(name) or name == EXTRA:
        raise SettingsError(f"[collections.{name}]: a name is 1 to 64 of A-Z a-z 0-9 _ - and not {EXTRA!r}")
    where = f"[collections.{name}]"
    if name in DERIVED:
        raise SettingsError(f"{where}: {name} is made out of chapters and books, choose another name")
    sections = base.sections if base else (name,)
    if row.section is not None or row.aliases is not None:
        sections = (
            row.section if row.section is not None else sections[0],
            *(row.aliases if row.aliases is not None else sections[1:]),
        )
    aliases = {names[0]: names[1:] for names in base.key} if base else {}
    fields = row.key if row.key is not None else list(aliases)
    for field, others in row.key_aliases.items():
        if field not in fields:
            raise SettingsError(f"{where} key_aliases names {field!r}, which is no key field")
        aliases[field] = tuple(others)
    key = tuple((field, *aliases.get(field, ())) for field in fields)
    content = row.content or (base.content if base and row.key is None else None)
    rule = row.rule or (base.rule if base else "lww" if key or content else "append")
    names = [name for names in key for name in names] + ([content] if content else [])
    if len(set(names)) != len(names) or not all(names) or {"_stamp", "_stamps"} & set(names):
        raise SettingsError(f"{where} key: field names must be distinct, not empty and not reserved")
    if (rule == "append") != (not names):
        raise SettingsError(f"{where}: rule {rule!r} " + ("takes no key" if rule == "append" else "needs a key"))
    if content and rule not in ("dedup", "first"):
        raise SettingsError(f"{where}: content goes with the rules 'dedup' and 'first'")
    if row.shard is not None and row.shard not in fields:
        raise SettingsError(f"{where} shard {row.shard!r} is no key field")
    shard = fields.index(row.shard) if row.shard is not None else (base.shard if base and row.key is None else 0)
    return Collection(name, sections, key, rule, content, base.form if base and row.key is None else "records", shard)


def _check_sections(table: Table) -> None:
    owner: dict[str, str] = {}
    for row in table.values():
        for section in row.sections:
            if section in RESERVED_SECTIONS or not section:
                raise SettingsError(f"[collections.{row.name}]: {section!r} cannot be a section")
            if owner.setdefault(section, row.name) != row.name:
                raise SettingsError(f"section {section!r} belongs to both {owner[section]} and {row.name}")
        if len(set(row.sections)) != len(row.sections):
            raise SettingsError(f"[collections.{row.name}]: a section is named twice")
