"""Every mistake in a configuration, found by its schema (docs/protocol.md#configuration).

Owns the way from a document and the struct that reads it to a list of mistakes: where each is, what the key takes, and
the nearest name. The library that converts the document stops at the first one, so it is asked key by key. Both files
are read so: a primary's own and the settings of a repository."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Annotated, Any, get_args, get_origin

import msgspec
from msgspec import Struct, structs

from dreamcatcherd.core.errors import UsageError

Path = tuple[str | int, ...]
"""The keys that lead to a value, as the document has them. Lists of tables are counted from 0."""

MISTAKES_MOST = 100
"""Mistakes that are looked for. Each costs a comparison with all known names, and others write the settings."""
SHOWN_MOST = 20
"""Mistakes that one text lists."""
_TEXT_MOST = 60


class Mistake(Struct, frozen=True):
    """One mistake: `where` is the key as a reader finds it, such as `[frames] close`, and `what` continues that.

    `source` is the file, if it is known. `at` are the keys that are wrong, the first one being that of `where`; `needs`
    are others that it was judged by: it may only follow if one of them is wrong."""

    where: str
    what: str
    remedy: str = ""
    at: tuple[Path, ...] = ()
    needs: tuple[Path, ...] = ()
    source: str = ""

    def __str__(self) -> str:
        text = f"{self.where} {self.what}".strip()
        return f"{self.source}: {text}" if self.source else text

    @property
    def line(self) -> str:
        """The mistake with its remedy."""
        return f"{self}; {self.remedy}" if self.remedy else str(self)


class MistakesError(UsageError):
    """A configuration that is refused, with all its mistakes. As one line it has the first of several, and the command
    that lists the others."""

    def __init__(self, mistakes: Sequence[Mistake], check: str) -> None:
        first, *others = mistakes
        remedy = first.remedy or "correct it; `dreamcatcherd config reference` lists every key"
        more = f" (and {len(others)} more mistake{'s' if len(others) > 1 else ''})" if others else ""
        super().__init__(f"{first}{more}", f"`{check}` lists them" if others else remedy)
        self.mistakes = tuple(mistakes)


def listed(mistakes: Iterable[Mistake]) -> str:
    """Mistakes as one text; of many the first ones, and how many more there are."""
    texts = [str(one) for one in mistakes]
    more = f"; and {len(texts) - SHOWN_MOST} more" if len(texts) > SHOWN_MOST else ""
    return "; ".join(texts[:SHOWN_MOST]) + more


def independent(found: Iterable[Mistake], known: Iterable[Mistake] = ()) -> list[Mistake]:
    """Mistakes without those that may only follow from another one: from a `known` one, or one before it."""
    bad = [path for one in known for path in one.at]
    kept = []
    for one in islice(found, MISTAKES_MOST):
        if not any(_meet(path, other) for path in (*one.at, *one.needs) for other in bad):
            kept.append(one)
            bad += one.at
    return kept


def _meet(one: Path, other: Path) -> bool:
    """Whether two paths are the same, or one leads to the other."""
    shorter = min(len(one), len(other))
    return one[:shorter] == other[:shorter]


def mistakes_in(document: object, schema: type[Struct]) -> list[Mistake]:
    """The mistakes of a document by the struct that reads it, in the order of the document; none in one that it
    accepts. At most MISTAKES_MOST are looked for."""
    return list(islice(_in_table(document, schema, "", ()), MISTAKES_MOST))


def without_mistakes(document: Mapping[str, Any], mistakes: Iterable[Mistake]) -> dict[str, Any]:
    """The document without the keys that have mistakes, so that what remains can be judged."""
    kept: dict[str, Any] = _copied(document)
    for one in mistakes:
        if one.at:
            _remove(kept, one.at[0])
    return kept


def _copied(value: Any) -> Any:
    """A copy of tables and lists, deep enough for tables in lists and tables of tables; no value is copied."""
    if isinstance(value, Mapping):
        return {
            name: {key: _copied_list(inner) for key, inner in one.items()}
            if isinstance(one, Mapping)
            else _copied_list(one)
            for name, one in value.items()
        }
    return value


def _copied_list(value: Any) -> Any:
    if isinstance(value, list):
        return [dict(one) if isinstance(one, Mapping) else one for one in value]
    return dict(value) if isinstance(value, Mapping) else value


def _remove(document: Any, path: Path) -> None:
    *above, last = path
    for key in above:
        try:
            document = document[key]
        except (LookupError, TypeError):  # removed with another mistake
            return
    if isinstance(document, list) and isinstance(last, int):
        document[last] = {}  # the tables after it keep their numbers
    elif isinstance(document, dict):
        document.pop(last, None)


# The walk ---------------------------------------------------------------------------------------------------------


def _in_table(value: object, schema: type[Struct], where: str, path: Path) -> Iterator[Mistake]:
    """The mistakes of one table. `where` is its heading, empty for the document."""
    known = {field.encode_name: field for field in structs.fields(schema)}
    listed = bool(path) and isinstance(path[-1], int)
    # A list is not judged with a table that lacks what it needs, nor without it: the others' numbers would change.
    judged = path[:-1] if listed and any(field.required for field in known.values()) else path
    if not isinstance(value, dict):
        yield Mistake(where, f"is {_kind(value)}: it takes a table of keys", at=(judged,))
        return
    for key, given in value.items():
        field = known.get(key)
        if field is None:
            yield _unknown(key, given, known, where, path)
        else:
            for one in _in_key(given, field.type, key, where, (*path, key)):
                # Without a key that it needs, nothing of the table can be judged.
                yield structs.replace(one, at=(judged,)) if field.required else one
    for name in known.keys() - value.keys():
        if known[name].required:
            yield Mistake(where, f"needs {name}", at=(judged,))


def _unknown(key: str, given: object, known: Mapping[str, Any], where: str, path: Path) -> Mistake:
    # The sections of the document are tables, and its keys are the names of sections.
    named = (
        f"[{shortened(key)}]" if not where and isinstance(given, dict | list) else f"{where} {shortened(key)}".strip()
    )
    near = most_like(key, known)
    hint = f"did you mean {near!r}?" if near else f"known are {', '.join(sorted(known))}"
    if not where and not isinstance(given, dict | list) and (owners := _owners(key, known)):
        hint = f"it is a key of {' and of '.join(owners)}: write it below that line"
    # What the nearest name would set is probably not missing.
    return Mistake(named, f"is unknown; {hint}", at=((*path, key), *([(*path, near)] if near else [])))


def _owners(key: str, known: Mapping[str, Any]) -> list[str]:
    """The tables that have a key."""
    tables = {name: field.type for name, field in known.items() if _is_table(field.type)}
    return [f"[{name}]" for name, table in tables.items() if key in {one.encode_name for one in structs.fields(table)}]


def _in_key(value: object, kind: Any, key: str, where: str, path: Path) -> Iterator[Mistake]:
    """The mistakes of the value of one key, or of the tables below it."""
    bare = get_args(kind)[0] if get_origin(kind) is Annotated else kind
    inner = get_args(bare)
    if _is_table(bare):
        yield from _in_table(value, bare, f"[{key}]", path)
    elif get_origin(bare) is list and _is_table(inner[0]):
        if not isinstance(value, list):
            yield Mistake(f"[[{key}]]", f"is {_kind(value)}: it takes tables, each as [[{key}]]", at=(path,))
            return
        for number, one in enumerate(value):
            yield from _in_table(one, inner[0], f"[[{key}]] table {number + 1}", (*path, number))
    elif get_origin(bare) is dict and _is_table(inner[1]):
        if not isinstance(value, dict):
            yield Mistake(f"[{key}]", f"is {_kind(value)}: it takes tables, each as [{key}.NAME]", at=(path,))
            return
        for name, one in value.items():
            yield from _in_table(one, inner[1], f"[{key}.{shortened(name)}]", (*path, name))
    else:
        yield from _in_value(value, kind, bare, f"{where} {key}".strip(), path)


def _is_table(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Struct)


def _in_value(value: object, kind: Any, bare: Any, where: str, path: Path) -> Iterator[Mistake]:
    """The mistakes of a value: of each item, if it is a list or a table of values, else of all of it."""
    item = get_args(bare)[-1 if get_origin(bare) is dict else 0] if get_origin(bare) in (list, tuple, dict) else None
    single: Iterable[tuple[object, object]] = ()
    if get_origin(bare) is dict and isinstance(value, dict):
        single = value.items()
    elif get_origin(bare) in (list, tuple) and isinstance(value, list):
        single = enumerate(value, 1)
    found = False
    for name, one in single:
        if not _converts(one, item):
            found = True
            at = f"item {name}" if isinstance(name, int) else shortened(str(name))
            yield Mistake(f"{where} {at}", why_not(one, item), at=(path,))
    if not found and not _converts(value, kind):
        yield Mistake(where, why_not(value, kind), at=(path,))


def _converts(value: object, kind: Any) -> bool:
    try:
        msgspec.convert(value, kind)
    except (msgspec.ValidationError, RecursionError):
        return False
    return True


# The words --------------------------------------------------------------------------------------------------------


def why_not(value: object, kind: Any) -> str:
    """Why a value is not one that a key of this type takes. Text is shown only where it should be one of a few names:
    it may be a secret elsewhere."""
    schema = msgspec.json.schema(kind)
    branches = [one for one in schema.get("anyOf", [schema]) if one.get("type") != "null"]
    for one in branches:
        if "title" in one:  # a form of text, which its pattern would not explain
            return f"is not {one['title']}"
    names = [str(name) for one in branches for name in one.get("enum", ()) if name is not None]
    shown = _shown(value) if names or not isinstance(value, str) else "empty" if not value else "text"
    near = most_like(value, names) if isinstance(value, str) else None
    hint = f"; did you mean {near!r}?" if near else ""
    return f"is {shown}: it takes {_either(wanted(one) for one in branches)}{hint}"


def wanted(schema: Mapping[str, Any]) -> str:
    """What a JSON Schema of one type takes, in words."""
    if "enum" in schema:
        return _either(f'"{name}"' for name in schema["enum"] if name is not None)
    kind = schema.get("type")
    if kind in ("integer", "number"):
        name = "a whole number" if kind == "integer" else "a number"
        least, most = schema.get("minimum"), schema.get("maximum")
        return name if least is None else f"{name} from {least:g}" + ("" if most is None else f" to {most:.12g}")
    if kind == "string":
        return "text that is not empty" if schema.get("minLength") else "text"
    if kind == "array":
        return "a list" + (" that is not empty" if schema.get("minItems") else f" of {_several(schema['items'])}")
    return {"boolean": "true or false", "object": "a table"}.get(str(kind), "another value")


def _several(schema: Mapping[str, Any]) -> str:
    if "anyOf" in schema:
        return " or ".join(_several(one) for one in schema["anyOf"])
    if "enum" in schema:
        return wanted(schema)
    return {"string": "texts", "array": "lists"}.get(schema.get("type", ""), "values")


def most_like(name: str, known: Iterable[str]) -> str | None:
    """The known name that is most like another one, if there is any."""
    if len(name) > _TEXT_MOST:
        return None
    from difflib import get_close_matches  # only a mistake needs it

    return next(iter(get_close_matches(name.lower(), sorted(known), n=1)), None)


def _either(texts: Iterable[str]) -> str:
    """Texts as a choice of one of them."""
    *others, last = texts
    return f"{', '.join(others)} or {last}" if others else last


def _shown(value: object) -> str:
    if isinstance(value, str):
        import json  # only a mistake needs it

        return json.dumps(shortened(value), ensure_ascii=False)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value) if abs(value) < 10**15 else "a number of more than 15 digits"
    return repr(value) if isinstance(value, float) else _kind(value)


def _kind(value: object) -> str:
    """What kind of value something is, in TOML's words."""
    if value == []:
        return "an empty list"
    kinds: dict[type, str] = {str: "text", bool: "true or false", int: "a number", float: "a number"}
    kinds |= {list: "a list", dict: "a table"}
    return kinds.get(type(value), "a date or a time")


def shortened(text: str) -> str:
    """A text that somebody wrote, short enough for a line."""
    return text if len(text) <= _TEXT_MOST else text[:_TEXT_MOST] + "…"
