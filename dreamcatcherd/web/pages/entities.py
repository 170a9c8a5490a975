"""Collections, their entities, one entity with who set its fields, and one book, for display."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from urllib.parse import unquote

from dreamcatcherd.core.books.shelf import chapter_entries, shelf
from dreamcatcherd.core.collections import EXTRA
from dreamcatcherd.core.errors import RefusedError, UsageError
from dreamcatcherd.core.keys import key_part, names_entity, natural_key
from dreamcatcherd.core.model import Record, Stamp
from dreamcatcherd.core.snapshot import Item, open_snapshot
from dreamcatcherd.history import queries
from dreamcatcherd.history.entity_history import EntityChange, entity_history
from dreamcatcherd.history.provenance import Field
from dreamcatcherd.web.pages.display import NOTHING, clip, clip_key, clip_name, entity_link, link
from dreamcatcherd.web.pages.lists import book_row, stamp_row
from dreamcatcherd.web.query_executor import Reading

ENTITIES_SHOWN = 50
ENTITIES_BYTES = 2 * 2**20
COLLECTIONS_SHOWN = 500
FIELDS_SHOWN = 4
ENTITY_FIELDS = 200
CHANGES_SHOWN = 20
LOSERS_SHOWN = 10
CHAPTERS_SHOWN = 500


def read_collections(reading: Reading) -> Record:
    """Every collection with its rule and the number of its entities."""
    base = reading.base
    counts = base.ledger.counts.entities if base.ledger else {}
    rows = [
        {"name": clip(name, 80), "page": link("collection", {"name": name}), "rule": row.rule,
         "key": " or ".join(", ".join(choice.names) for choice in row.choices) if row.rule != "append" else "none",
         "count": counts.get(name, 0)}
        for name, row in base.settings.table.items()
    ]  # fmt: skip
    sections = reading.listings.sections(reading.store, queries.view(reading.store, base))
    for section, count in sections.items():
        name = f"{EXTRA}/{section}"
        rows.append({"name": clip(name, 80), "page": link("collection", {"name": name}), "rule": "append",
                     "key": "none", "count": count})  # fmt: skip
    more = max(0, len(rows) - COLLECTIONS_SHOWN)
    rows.sort(key=lambda one: (not one["count"], one["name"]))
    return {"rows": rows[:COLLECTIONS_SHOWN], "more": more}


def read_collection(reading: Reading, name: str, after: str | None) -> Record:
    """Some entities of a collection in key order, behind a place. RefusedError if there is no such collection."""
    base = reading.base
    seen = queries.view(reading.store, base)
    found = reading.listings.page(reading.store, seen, name, ENTITIES_SHOWN, _place(after), ENTITIES_BYTES)
    row = base.settings.table.get(name)
    older = {"name": name, "after": urlsafe_b64encode(found.after).decode()} if found.after is not None else None
    return {
        "name": clip(name, 80),
        "rule": row.rule if row is not None else "append",
        "rows": [_row(reading, item) for item in found.items],
        "newer": link("collection", {"name": name}) if after is not None else "",
        "older": link("collection", older) if older else "",
        "count": base.ledger.counts.entities.get(name) if base.ledger else None,
    }


def _place(after: str | None) -> bytes | None:
    try:
        return urlsafe_b64decode(after) if after is not None else None
    except ValueError as error:
        raise UsageError("the parameter 'after' is from no link of this page", "follow the link as it is") from error


def _row(reading: Reading, item: Item) -> Record:
    row = reading.base.settings.table.get(item.collection)
    stamp = _latest(item)
    keyed = row is not None and row.rule != "append"
    key = natural_key(row, item.record) if keyed and row is not None else None
    names = [name for name in item.record if not (row and keyed and name in {n for c in row.choices for n in c.names})]
    return {
        "key": clip_key(key, 80) if keyed else f"{stamp.frame}" if stamp else NOTHING,
        "page": entity_link(item.collection, key) if row is not None and keyed and names_entity(row, key) else "",
        "section": clip(item.collection, 60),
        "fields": [(clip(name, 40), clip(item.record[name], 80)) for name in names[:FIELDS_SHOWN]],
        "more": max(0, len(names) - FIELDS_SHOWN),
        "stamp": stamp_row(stamp) if stamp else None,
    }


def _latest(item: Item) -> Stamp | None:
    """The latest stamp of a record."""
    if isinstance(item.stamps, Stamp):
        return item.stamps
    # Stamps of fields with the rule `deep` are nested to any depth.
    todo: list[object] = list((item.stamps or {}).values())
    stamps = []
    while todo:
        one = todo.pop()
        if isinstance(one, Stamp):
            stamps.append(one)
        elif isinstance(one, dict):
            todo += one.values()
    return max(stamps, default=item.latest)


def entity_page(reading: Reading, collection: str, key: str, before: int | None) -> Record:
    """One entity: its fields with who set each and who lost, and its changes. RefusedError if there is none."""
    store, base, chain = reading.store, reading.base, reading.chain
    explained = queries.explain_entity(store, base, collection, key, index=reading.ledger_index)
    found = queries.entities(store, queries.view(store, base), collection, key, tombstones=True)
    row = base.settings.table[collection]
    item = next(one for one in found if natural_key(row, one.record) == explained.key)
    past = entity_history(store, base, chain, row, item, CHANGES_SHOWN, before)
    fields = list(explained.fields.items())
    return {
        "collection": clip(collection, 80),
        "collection_page": link("collection", {"name": collection}),
        "named": {"collection": collection, "key": key},
        "key": clip_key(explained.key, 200),
        "fields": [_field(name, one) for name, one in fields[:ENTITY_FIELDS]],
        "more": max(0, len(fields) - ENTITY_FIELDS),
        "deleted": explained.deleted,
        "deleted_by": stamp_row(explained.deleted.stamp) if explained.deleted else None,
        "changes": [_change(one) for one in past.changes],
        "first": past.first,
        "before": past.before,
        "book": link("book", {"key": key}) if collection in ("books", "library") else "",
    }


def _field(name: str, one: Field) -> Record:
    return {
        "name": clip(name, 80),
        "value": clip(one.value, 400),
        "rule": one.rule,
        "by": stamp_row(one.stamp) if one.stamp else None,
        "frame": one.frame,
        "path": clip_name(one.path, 160) if one.path is not None else "",
        "file": one.path or "",
        "commit": one.commit,
        "author": clip(one.author, 80) if one.author is not None else "",
        "losers": [
            {"value": clip(loser.value), "by": stamp_row(loser.stamp), "frame": loser.frame}
            for loser in one.losers[-LOSERS_SHOWN:][::-1]
        ],
        "more": max(0, len(one.losers) - LOSERS_SHOWN),
    }


def _change(one: EntityChange) -> Record:
    fields = list(one.fields.items())
    return {
        "frame": one.frame,
        "commit": one.commit,
        "kind": one.kind,
        "fields": [{"name": clip(name, 60), "old": clip(old), "new": clip(new)} for name, (old, new) in fields[:12]],
        "more": max(0, len(fields) - 12),
    }


def read_book(reading: Reading, key: str) -> Record:
    """One book: its progress and its chapters. RefusedError if nobody started it."""
    store, base = reading.store, reading.base
    state = open_snapshot(store, base.snapshot).state
    book = key_part(unquote(key))
    found = shelf(store, state, base.settings.table, [book])
    if not found:
        raise RefusedError(f"there is no book {clip(book, 80)!r}", "see the list of books")
    chapters = chapter_entries(store, state, base.settings.table, book)
    entry = found[0]
    return {
        "book": book_row(entry),
        "title_page": entity_link("books", entry.book),
        "chapters": [
            {"number": one.number, "title": clip(one.title), "author": clip_name(one.author, 60),
             "words": one.word_count, "page": entity_link("chapters", [entry.book, one.number, one.author]),
             "by": stamp_row(one.stamp) if one.stamp else None,
             "alternates": [clip_name(other, 60) for other in one.alternates[:6]]}
            for one in chapters[:CHAPTERS_SHOWN]
        ],
        "more": max(0, len(chapters) - CHAPTERS_SHOWN),
    }  # fmt: skip
