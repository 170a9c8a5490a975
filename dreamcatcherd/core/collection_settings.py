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
from dreamcatcherd.core.mistakes import Mistake, shortened
from dreamcatcherd.core.settings_schema import Row

TTL = 3
"""For how many frames a claim holds where the settings do not say."""

CLAIMED = ("op", "holder", "since", "until")
"""Fields of a claim that mean something, and so cannot be its key."""

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,63}")
_PATTERN = re.compile(r"\{([^{}]+)\}")


def read_table(rows: Mapping[str, Row]) -> tuple[dict[str, Collection], list[Mistake]]:
    """The table that the settings make: their rows first, then those of the protocol that they do not name. And the
    mistakes of rows that contradict themselves; such a row is left out."""
    # The rows of the settings come first, so that a section which they claim is theirs.
    table: dict[str, Collection] = {}
    mistakes: list[Mistake] = []
    for name, row in rows.items():
        wrong: list[Mistake] = []
        made = _collection(name, row, DEFAULT_TABLE.get(name), wrong)
        mistakes += wrong
        if not wrong:
            table[name] = made
    return table | {name: row for name, row in DEFAULT_TABLE.items() if name not in table}, mistakes


def _mistake(row: str, what: str, key: str, *others: str) -> Mistake:
    """A mistake at a key of a row, judged by other keys of that row."""
    at, *needs = (("collections", row, name) for name in (key, *others))
    return Mistake(f"[collections.{row}]", what, at=(at,), needs=tuple(needs))


def _collection(name: str, row: Row, base: Collection | None, wrong: list[Mistake]) -> Collection:
    """A row of the settings as one of the table; its mistakes are added to `wrong`."""
    if not _NAME.fullmatch(name) or name == EXTRA:
        what = f"has another name than collections can: a name is 1 to 64 of A-Z a-z 0-9 _ - and not {EXTRA!r}"
        wrong.append(Mistake(f"[collections.{shortened(name)}]", what))
    elif name in DERIVED:
        wrong.append(Mistake(f"[collections.{name}]", f"{name} is made out of chapters and books, choose another name"))
    kept = base if row.key is None else None
    key = _key(name, row, base, wrong)
    content = row.content or (kept.content if kept else None)
    rule = row.rule or (base.rule if base else "lww" if key or content else "append")
    if content and not key:
        key = ((),)  # the text alone
    names = [field.name for choice in key for field in choice]
    fields = row.fields or (dict(kept.fields) if kept else {})
    wrong += _by_rule(name, row, rule, key, content, fields)
    if row.shard is not None and (len(key) != 1 or row.shard not in names):
        wrong.append(_mistake(name, f"shard {row.shard!r} is not a field of the only key", "shard", "key"))
    wrong += _names(name, key, content, fields, CLAIMED if rule == "claim" else ())
    found = Collection(
        name=name,
        sections=_sections(name, row, base, wrong),
        key=key,
        rule=rule,
        content=content,
        form=row.form or (kept.form if kept else "records"),
        shard=names.index(row.shard) if row.shard in names else kept.shard if kept else 0,
        scalar=_scalar(name, row, key, kept, wrong),
        fields=tuple(sorted(fields.items())),
        delete=row.delete or (base.delete if base else None),
        ttl=(row.ttl or TTL) if rule == "claim" else 0,
    )
    if not wrong:  # bare strings are read by a row that makes sense
        wrong += _ambiguous_scalar(found)
    return found


def _by_rule(
    name: str, row: Row, rule: str, key: tuple[KeyChoice, ...], content: str | None, fields: Mapping[str, str]
) -> Iterator[Mistake]:
    """What a row has and its rule does not take, or the other way round."""
    if (rule == "append") != (not key):
        what = f"rule {rule!r} " + ("takes no key" if rule == "append" else "needs a key")
        yield _mistake(name, what, "key", "rule", "content")
    if content and rule not in ("dedup", "first"):
        yield _mistake(name, "content goes with the rules 'dedup' and 'first'", "content", "rule")
    if row.ttl is not None and rule != "claim":
        yield _mistake(name, "ttl goes with the rule 'claim'", "ttl", "rule")
    if row.delete is not None and rule in ("append", "claim"):
        yield _mistake(name, f"the rule {rule!r} has no deletions", "delete", "rule", "key")
    if fields and rule in BY_RECORD:
        what = f"the rule {rule!r} keeps complete records, so fields have no rules of their own"
        yield _mistake(name, what, "fields", "rule", "key")


def _key(name: str, row: Row, base: Collection | None, wrong: list[Mistake]) -> tuple[KeyChoice, ...]:
    """The alternatives of a key, with the aliases of their fields; mistakes are added to `wrong`."""
    known = {field.name: field for choice in base.key for field in choice} if base else {}
    given = row.key
    if given is None:
        choices = [[field.name for field in choice] for choice in base.key] if base else []
    else:
        listed = [isinstance(part, list) for part in given]
        if any(listed) and not all(listed):
            wrong.append(_mistake(name, "key: field names, or lists of field names, but not both", "key"))
        choices = [[*part] for part in given if isinstance(part, list)]
        if not any(listed) and given:
            choices = [[str(part) for part in given]]
    names = {field for choice in choices for field in choice}
    for field, others in row.key_aliases.items():
        if field not in names:
            what = f"key_aliases names {field!r}, which is not a key field"
            wrong.append(_mistake(name, what, "key_aliases", "key"))
        known[field] = known.get(field, KeyField(field))._replace(aliases=tuple(others))
    key = tuple(tuple(known.get(field, KeyField(field)) for field in choice) for choice in choices)
    if not all(key):
        wrong.append(_mistake(name, "key: an alternative without a field", "key"))
    elif len({frozenset(field.name for field in choice) for choice in key}) < len(key):
        wrong.append(_mistake(name, "key: two alternatives have the same fields", "key"))
    return key


def _names(
    name: str, key: tuple[KeyChoice, ...], content: str | None, fields: Mapping[str, str], taken: tuple[str, ...]
) -> Iterator[Mistake]:
    """The names and aliases of different fields are distinct, also of fields in different alternatives; nothing has a
    reserved name."""
    distinct = dict.fromkeys(field for choice in key for field in choice)
    names = [name for field in distinct for name in (field.name, *field.aliases)] + ([content] if content else [])
    once = len({*names}) == len(names) and all(len({*choice}) == len(choice) for choice in key)
    if not once or not all(names) or {*MARKS, *taken} & {*names}:
        what = "key: field names must be distinct, not empty and not reserved"
        yield _mistake(name, what, "key", "key_aliases", "content")
    if {*MARKS, ""} & {*fields} or {field.name for field in distinct} & {*fields}:
        yield _mistake(name, "fields: a rule is for a field that is neither a key field nor reserved", "fields", "key")


def _sections(name: str, row: Row, base: Collection | None, wrong: list[Mistake]) -> tuple[str, ...]:
    sections = base.sections if base else (name,)
    if isinstance(row.section, list):
        sections = tuple(row.section)
    elif row.section is not None:
        sections = (row.section, *sections[1:])
    if row.aliases is not None:
        sections = (*(sections[:1] if not isinstance(row.section, list) else sections), *row.aliases)
    every = (*sections, row.delete) if row.delete else sections
    if not all(every):
        wrong.append(_mistake(name, "a section has a name", "section", "aliases"))
    elif len(set(every)) != len(every):
        wrong.append(_mistake(name, "a section is named twice", "section", "aliases", "delete"))
    return sections


def _scalar(
    name: str, row: Row, key: tuple[KeyChoice, ...], kept: Collection | None, wrong: list[Mistake]
) -> tuple[str, ...]:
    if row.scalar is None:
        return kept.scalar if kept else ()
    patterns = (row.scalar,) if isinstance(row.scalar, str) else tuple(row.scalar)
    for pattern in patterns:
        named = _PATTERN.findall(pattern)
        apart = _PATTERN.split(pattern)[2:-1:2]  # the texts between two fields
        if not named or len(set(named)) < len(named) or not all(apart):
            what = f"scalar {pattern!r}: fields in braces, each once, with text between them"
            wrong.append(_mistake(name, what, "scalar"))
        elif not any({*named} <= {field.name for field in choice} for choice in key):
            what = f"scalar {pattern!r} names fields that no key has together"
            wrong.append(_mistake(name, what, "scalar", "key"))
    return patterns


def _ambiguous_scalar(row: Collection) -> Iterator[Mistake]:
    """What a bare string is read as has the same key when it is read as a record."""
    for pattern, (_, named, choice) in zip(row.scalar, bare_patterns(row), strict=True):
        if choice_of(row, {**dict.fromkeys(choice.names), **dict.fromkeys(named, "")}) != choice:
            what = f"scalar {pattern!r} leaves out fields, and what it names is another key too"
            yield _mistake(row.name, what, "scalar", "key")


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
