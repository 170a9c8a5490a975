"""Values as text for people: clipped, dated, counted. All text from deltas passes `clip` before it is rendered."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote, urlencode

from dreamcatcherd.core.codec import calendar_text, canonical, short_name
from dreamcatcherd.core.model import Json

CLIP = 140
LABEL = 18
"""Characters of a name beside a bar: what the style has room for."""

NOTHING = "\N{EN DASH}"


# An unmatched one would end the isolation by <bdi>, or swallow its end, and so reorder what is beside the text.
_DIRECTION = {code: f"\\u{code:04x}" for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))}


def clip(value: Json, most: int = CLIP) -> str:
    """A value as text for people, of at most `most` characters; controls of direction are written out."""
    text = (value if isinstance(value, str) else canonical(value).decode())[: most + 1].translate(_DIRECTION)
    return text if len(text) <= most else text[: most - 1] + "…"


def clip_name(name: Json, most: int = 48) -> str:
    """A name as text for people, of at most `most` characters: of a long one its beginning and its end."""
    text = name if isinstance(name, str) else canonical(name).decode()
    # Of a megabyte only what may be shown is looked at.
    return short_name(short_name(text, 2 * most).translate(_DIRECTION), most)


def clip_key(key: Json, most: int = CLIP) -> str:
    """An entity's key as text for people: its parts with slashes between them. The empty text is written `""`: nobody
    sees a link without text."""
    parts = key if isinstance(key, list) else [key]
    return " / ".join(clip_name(part, most) or '""' for part in parts)


def plural_words(count: int, noun: str, many: str = "") -> str:
    """A count with its noun: `1 frame`, `2,000 frames`; `many` is a plural that is not made with an s."""
    return f"{number(count)} {noun if count == 1 else many or noun + 's'}"


def time_text(text: str | None) -> str:
    """An RFC 3339 time in UTC for people: `2026-01-31 12:00:00`."""
    return text[:19].replace("T", " ") if text else NOTHING


def short_time(text: str | None) -> str:
    """An RFC 3339 time in UTC where there is little room, without the year: `01-31 12:00:00`."""
    return time_text(text)[5:] if text else NOTHING


def micros_text(micros: int | None) -> str | None:
    """Microseconds since 1970 as RFC 3339, None where the calendar has no such time."""
    return calendar_text(micros) if micros is not None else None


def duration(seconds: float | None) -> str:
    """Seconds for people: `250 ms`, `1.5 s`, `3 min`."""
    if seconds is None:
        return NOTHING
    if seconds < 1:
        return f"{1000 * seconds:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def number(value: float) -> str:
    """A number with separated thousands; fractions keep one digit."""
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.1f}"


def key_text(key: Json) -> str:
    """An entity's key in the form of the command line and of `?key=`: parts percent-encoded and joined by slashes;
    an object where alternatives could be confused."""
    if isinstance(key, dict):
        return canonical(key).decode()
    parts = key if isinstance(key, list) else [key]
    return "/".join(quote(part if isinstance(part, str) else canonical(part).decode(), safe="") for part in parts)


def link(path: str, parameters: Mapping[str, object] | None = None) -> str:
    """A page's address below the root: text of deltas is in parameters, since browsers resolve `..` in a path."""
    given = {name: value for name, value in (parameters or {}).items() if value is not None}
    return f"{path}?{urlencode(given)}" if given else path


def entity_link(collection: str, key: Json) -> str:
    """The page of an entity."""
    return link("entity", {"collection": collection, "key": key_text(key)})


def stream_link(stream_id: str) -> str:
    """The page of a stream."""
    return link("stream", {"id": stream_id})
