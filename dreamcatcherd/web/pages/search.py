"""What the search box finds: a frame by its number, streams, collections, books, and an entity by its key."""

from __future__ import annotations

from dreamcatcherd.core.errors import RefusedError
from dreamcatcherd.core.keys import natural_key
from dreamcatcherd.core.model import Record
from dreamcatcherd.core.report import Pending
from dreamcatcherd.history import queries
from dreamcatcherd.web.pages.display import clip, entity_link, key_text, link, stream_link
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
    return [{"name": clip(name, 64), "page": stream_link(name)} for name in found[:FOUND_SHOWN]]


def read_search(reading: Reading, text: str) -> Record:
    """A frame, collections, and entities whose key is the text, in every collection."""
    wanted = text.strip()
    pages: list[Record] = []
    if wanted.isdecimal() and len(wanted) <= 16:
        try:
            queries.closed_head(reading.store, reading.base, int(wanted))
            pages.append({"kind": "frame", "name": wanted, "page": f"frames/{int(wanted)}"})
        except RefusedError:
            pass
    table = reading.base.settings.table
    pages += [
        {"kind": "collection", "name": clip(name), "page": link("collection", {"name": name})}
        for name in table
        if wanted and wanted.casefold() in name.casefold()
    ]
    return {"pages": pages, "entities": list(_entities(reading, wanted)) if wanted else [], "q": clip(text, 200)}


def _entities(reading: Reading, wanted: str) -> list[Record]:
    """The entities that the text names completely: each is read from the one file that can hold it."""
    store, base = reading.store, reading.base
    seen = queries.view(store, base)
    found = []
    for name, row in base.settings.table.items():
        # A key of several parts is searched by its beginning: all of the collection would be read.
        if row.rule == "append" or not any(len(choice.names) == 1 and choice.content is None for choice in row.choices):
            continue
        if any(choice.content is not None or len(choice.names) > 1 for choice in row.choices):
            continue
        for item in queries.entities(store, seen, name, key_text(wanted)):
            key = natural_key(row, item.record)
            found.append({"collection": clip(name, 60), "key": clip(key), "page": entity_link(name, key)})
    return found[:FOUND_SHOWN]
