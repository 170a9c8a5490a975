"""The views that the settings declare, as files of the snapshot commit (docs/protocol.md#views).

A view is not state: nothing is read from it. It is written again by each frame that changed its collection, at a cost
that follows the collection, and costs nothing otherwise."""

from __future__ import annotations

from collections.abc import Iterator

from dreamcatcherd.core.platform_views import BYTES_MOST, RECORDS_MOST, ViewOrigin, view_bytes
from dreamcatcherd.core.settings import Settings
from dreamcatcherd.core.shards import SUFFIX
from dreamcatcherd.core.snapshot import file_name, items, open_snapshot
from dreamcatcherd.core.tree import FILE, Entry, Objects, lookup
from dreamcatcherd.core.troubles import LargeView
from dreamcatcherd.git.protocols import ObjectReader
from dreamcatcherd.stages.published import PublishedState


def view_files(
    store: ObjectReader, objects: Objects, base: PublishedState, settings: Settings, snapshot: str, frame: int
) -> dict[str, Entry]:
    """The view files of the snapshot that closes a frame, by path. A view of which nothing changed since the
    publication before, neither its collection nor its settings, is the same file; others are written to `objects`."""
    if not settings.views:
        return {}
    before, after = open_snapshot(objects, base.snapshot).state, open_snapshot(objects, snapshot)
    published = store.commit(base.commit).tree if base.commit else None
    known = {view.path: view for view in base.settings.views.values()}
    found: dict[str, Entry] = {}
    for view in settings.views.values():
        name = view.collection
        row = settings.table[name]
        existing = lookup(store, published, view.path)
        stem = file_name(name)
        same = known.get(view.path) == view and base.settings.table.get(name) == row
        if existing and same and all(before.get(one) == after.state.get(one) for one in (stem, stem + SUFFIX)):
            found[view.path] = existing
            continue
        entities = list(items(objects, after, settings.table, name))
        raw = view_bytes(entities, row, view, ViewOrigin(frame, snapshot))
        found[view.path] = Entry(FILE, objects.write("blob", raw))
    return found


def large_views(store: ObjectReader, base: PublishedState) -> list[LargeView]:
    """The published views that are too large to be written with every change of their collection."""
    return [one for one in view_sizes(store, base) if one.size > BYTES_MOST or one.records > RECORDS_MOST]


def view_sizes(store: ObjectReader, base: PublishedState) -> Iterator[LargeView]:
    """Each published view with its sizes."""
    if base.commit is None:
        return
    tree = store.commit(base.commit).tree
    entities = base.ledger.counts.entities if base.ledger else {}
    for name, view in base.settings.views.items():
        entry = lookup(store, tree, view.path)
        if entry is not None and entry.is_file:
            yield LargeView(name, view.path, store.size(entry.oid), entities.get(view.collection, 0))
