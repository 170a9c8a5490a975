"""What the search box finds: a frame by its number, streams, collections, and texts and keys of entities."""

from __future__ import annotations

import contextlib

from dreamcatcherd.core.errors import RefusedError
from dreamcatcherd.core.keys import names_entity
from dreamcatcherd.core.model import Record
from dreamcatcherd.core.report import Pending
from dreamcatcherd.core.settings import Settings
from dreamcatcherd.history import queries
from dreamcatcherd.history.search import Hit, search_texts
from dreamcatcherd.web.pages.display import clip, clip_key, clip_name, entity_link, link, stream_link
from dreamcatcherd.web.query_executor import Reading

FOUND_SHOWN = 50


def streams_like(pending: Pending | None, text: str) -> list[Record]:
    """Streams whose id contains a text, those that begin with it first."""
    wanted = text.strip().casefold()
    if pending is None or not wanted:
        return []
    names = {**pending.seen, **pending.streams}
    found = [name for name in names if wanted in name.casefold()]
    found.sort(key=lambda name: (not name.casefold().startswith(wanted), name))
    return [{"name": clip_name(name, 64), "page": stream_link(name)} for name in found[:FOUND_SHOWN]]


def read_search(reading: Reading, text: str, after: str | None, frame: int | None) -> Record:
    """A frame and collections by name, and the texts and keys that contain the text. With `after` and `frame`, which
    the link to more has, only more of these texts, of the same snapshot."""
    wanted = text.strip()
    if not wanted:
        return {"pages": [], "hits": [], "q": "", "older": "", "first": True}
    store, base = reading.store, reading.base
    found = search_texts(store, queries.view(store, base, frame), wanted, FOUND_SHOWN, after)
    pinned = frame if frame is not None else base.state.last_closed
    older = link("search", {"q": wanted, "after": found.after, "frame": pinned}) if found.after is not None else ""
    pages = _pages(reading, wanted) if after is None else []
    hits = [_hit(one, base.settings) for one in found.hits]
    return {"pages": pages, "hits": hits, "q": clip(wanted, 200), "older": older, "first": after is None}


def _hit(hit: Hit, settings: Settings) -> Record:
    row = settings.table.get(hit.collection)
    named = hit.key is not None and row is not None and names_entity(row, hit.key)
    return {
        "collection": clip(hit.collection, 60),
        "key": clip_key(hit.key, 80) if hit.key is not None else "",
        "page": entity_link(hit.collection, hit.key) if named else "",
        "field": clip(hit.field, 60),
        "snippet": clip(hit.snippet, 200),
    }


def _pages(reading: Reading, wanted: str) -> list[Record]:
    """The frame of that number, and the collections whose names contain the text."""
    pages: list[Record] = []
    if wanted.isdecimal() and len(wanted) <= 16:
        with contextlib.suppress(RefusedError):
            queries.closed_head(reading.store, reading.base, int(wanted))
            pages.append({"kind": "frame", "name": wanted, "page": f"frames/{int(wanted)}"})
    pages += [
        {"kind": "collection", "name": clip(name), "page": link("collection", {"name": name})}
        for name in reading.base.settings.table
        if wanted.casefold() in name.casefold()
    ]
    return pages
