"""Rows of the table of collections from the settings (docs/protocol.md#collections).

Owns which combinations of section, key and rule make sense, and which of them can never match anything."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from msgspec import structs

from dreamcatcherd.core.collections import (
    BY_RECORD,
    DEFAULT_TABLE,
    DERIVED,
    EXTRA,
    MARKS,
    Collection,
    KeyChoice,
    KeyField,
)
from dreamcatcherd.core.intake import Intake
from dreamcatcherd.core.keyed_records import bare_patterns
from dreamcatcherd.core.keys import choice_of
from dreamcatcherd.core.settings_schema import Row, SettingsError

TTL = 3
"""For how many frames a claim holds where the settings do not say."""

CLAIMED = ("op", "holder", "since", "until")
"""Fields of a claim that mean something, and so cannot be its key."""

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,63}")
_PATTERN = re.compile(r"\{([^{}]+)\}")


def read_table(rows: Mapping[str, Row]) -> dict[str, Collection]:
    """The table that the settings make: their rows first, then those of the protocol that they do not name.
    SettingsError if a row contradicts itself."""
    # The rows of the settings come first, so that a section which they claim is theirs.
    table = {name: _collection(name, row, DEFAULT_TABLE.get(name)) for name, row in rows.items()}
    return table | {name: row for name, row in DEFAULT_TABLE.items() if name not in table}


def _collection(name: str, row: Row, base: Collection | None) -> Collection:
    where = f"[collections.{name}]"
    if not _NAME.fullmatch(name) or name == EXTRA:
        raise SettingsError(f"{where}: a name is 1 to 64 of A-Z a-z 0-9 _ - and not {EXTRA!r}")
    if name in DERIVED:
        raise SettingsError(f"{where}: {name} is made out of chapters and books, choose another name")
    kept = base if row.key is None else None
    key = _key(where, row, base)
    content = row.content or (kept.content if kept else None)
    rule = row.rule or (base.rule if base else "lww" if key or content else "append")
    if content and not key:
        key = ((),)  # the text alone
    names = [field.name for choice in key for field in choice]
    if (rule == "append") != (not key):
        raise SettingsError(f"{where}: rule {rule!r} " + ("takes no key" if rule == "append" else "needs a key"))
    if content and rule not in ("dedup", "first"):
        raise SettingsError(f"{where}: content goes with the rules 'dedup' and 'first'")
    if row.ttl is not None and rule != "claim":
        raise SettingsError(f"{where}: ttl goes with the rule 'claim'")
    if row.delete is not None and rule in ("append", "claim"):
        raise SettingsError(f"{where}: the rule {rule!r} has no deletions")
    fields = row.fields or (dict(kept.fields) if kept else {})
    if fields and rule in BY_RECORD:
        raise SettingsError(f"{where}: the rule {rule!r} keeps complete records, so fields have no rules of their own")
    if row.shard is not None and (len(key) != 1 or row.shard not in names):
        raise SettingsError(f"{where} shard {row.shard!r} is not a field of the only key")
    _check_names(where, key, content, fields, CLAIMED if rule == "claim" else ())
    found = Collection(
        name=name,
        sections=_sections(where, name, row, base),
        key=key,
        rule=rule,
        content=content,
        form=row.form or (kept.form if kept else "records"),
        shard=names.index(row.shard) if row.shard is not None else kept.shard if kept else 0,
        scalar=_scalar(where, row, key, kept),
        fields=tuple(sorted(fields.items())),
        delete=row.delete or (base.delete if base else None),
        ttl=(row.ttl or TTL) if rule == "claim" else 0,
    )
    _check_scalar(where, found)
    return found


def _key(where: str, row: Row, base: Collection | None) -> tuple[KeyChoice, ...]:
    """The alternatives of a key, with the aliases of their fields."""
    known = {field.name: field for choice in base.key for field in choice} if base else {}
    given = row.key
    if given is None:
        choices = [[field.name for field in choice] for choice in base.key] if base else []
    else:
        listed = [isinstance(part, list) for part in given]
        if any(listed) and not all(listed):
            raise SettingsError(f"{where} key: field names, or lists of field names, but not both")
        choices = [[*part] for part in given] if any(listed) else [[str(part) for part in given]] if given else []
    names = {name for choice in choices for name in choice}
    for name, others in row.key_aliases.items():
        if name not in names:
            raise SettingsError(f"{where} key_aliases names {name!r}, which is not a key field")
        known[name] = known.get(name, KeyField(name))._replace(aliases=tuple(others))
    key = tuple(tuple(known.get(name, KeyField(name)) for name in choice) for choice in choices)
    if not all(key):
        raise SettingsError(f"{where} key: an alternative without a field")
    if len({frozenset(field.name for field in choice) for choice in key}) < len(key):
        raise SettingsError(f"{where} key: two alternatives have the same fields")
    return key


def _check_names(
    where: str, key: tuple[KeyChoice, ...], content: str | None, fields: Mapping[str, str], taken: tuple[str, ...]
) -> None:
    """The names and aliases of different fields are distinct, also of fields in different alternatives; nothing has a
    reserved name."""
    distinct = dict.fromkeys(field for choice in key for field in choice)
    names = [name for field in distinct for name in (field.name, *field.aliases)] + ([content] if content else [])
    once = len({*names}) == len(names) and all(len({*choice}) == len(choice) for choice in key)
    if not once or not all(names) or {*MARKS, *taken} & {*names}:
        raise SettingsError(f"{where} key: field names must be distinct, not empty and not reserved")
    if {*MARKS, ""} & {*fields} or {field.name for field in distinct} & {*fields}:
        raise SettingsError(f"{where} fields: a rule is for a field that is neither a key field nor reserved")


def _sections(where: str, name: str, row: Row, base: Collection | None) -> tuple[str, ...]:
    sections = base.sections if base else (name,)
    if isinstance(row.section, list):
        sections = tuple(row.section)
    elif row.section is not None:
        sections = (row.section, *sections[1:])
    if row.aliases is not None:
        sections = (*(sections[:1] if not isinstance(row.section, list) else sections), *row.aliases)
    every = (*sections, row.delete) if row.delete else sections
    if not all(every):
        raise SettingsError(f"{where}: a section has a name")
    if len(set(every)) != len(every):
        raise SettingsError(f"{where}: a section is named twice")
    return sections


def _scalar(where: str, row: Row, key: tuple[KeyChoice, ...], kept: Collection | None) -> tuple[str, ...]:
    if row.scalar is None:
        return kept.scalar if kept else ()
    patterns = (row.scalar,) if isinstance(row.scalar, str) else tuple(row.scalar)
    for pattern in patterns:
        named = _PATTERN.findall(pattern)
        apart = _PATTERN.split(pattern)[2:-1:2]  # the texts between two fields
        if not named or len(set(named)) < len(named) or not all(apart):
            raise SettingsError(f"{where} scalar {pattern!r}: fields in braces, each once, with text between them")
        if not any({*named} <= {field.name for field in choice} for choice in key):
            raise SettingsError(f"{where} scalar {pattern!r} names fields that no key has together")
    return patterns


def _check_scalar(where: str, row: Collection) -> None:
    """What a bare string is read as has the same key when it is read as a record."""
    for pattern, (_, named, choice) in zip(row.scalar, bare_patterns(row), strict=True):
        if choice_of(row, {**dict.fromkeys(choice.names), **dict.fromkeys(named, "")}) != choice:
            raise SettingsError(f"{where} scalar {pattern!r} leaves out fields, and what it names is another key too")


# What can never match ---------------------------------------------------------------------------------------------


def claimed_once(table: Mapping[str, Collection]) -> tuple[dict[str, Collection], list[str]]:
    """The table with each section at the first row that claims it, and a warning for each claim that lost."""
    owner: dict[str, str] = {}
    found: dict[str, Collection] = {}
    lost: list[str] = []
    for name, row in table.items():
        claimed = (*row.sections, *([row.delete] if row.delete else []))
        where = f"[collections.{name}] can never match: section"
        taken = [section for section in claimed if owner.setdefault(section, name) != name]
        lost += [f"{where} {section!r} belongs to {owner[section]}" for section in taken]
        mine = tuple(section for section in row.sections if owner[section] == name)
        delete = row.delete if row.delete and owner[row.delete] == name else None
        found[name] = structs.replace(row, sections=mine, delete=delete)
    return found, lost


def unmatched(table: Mapping[str, Collection], intake: Intake) -> Iterator[str]:
    """A warning for each part of a row that can never match what a delta holds."""
    for name, row in table.items():
        where = f"[collections.{name}] can never match:"
        for section in (*row.sections, *([row.delete] if row.delete else [])):
            head = next((path for path in intake.header if section == path or section.startswith(path + ".")), None)
            if head is not None:
                yield f"{where} section {section!r} is the header field {head!r}, or below it"
        needed = [{field.name for field in choice} for choice in row.key]
        gives = {"name", "value"} if row.form == "counters" else None
        if gives is not None and not any(names <= gives for names in needed):
            yield f"{where} its key names a field that the section {row.sections[0]!r} cannot give"
        if row.rule == "sum" and row.key and all("value" in names for names in needed) and row.form == "counters":
            yield f"{where} its key names the field 'value', which is added up"
        if row.form == "map" and row.key and not row.key[0]:
            yield f"{where} a map gives a key field, and its key is the text of {row.content!r} alone"
