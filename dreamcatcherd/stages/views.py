"""Collections as one JSON file each, next to the snapshot, for dashboards that want one file (off by default).

A view is not state: nothing is read from it. It is rewritten with every frame that changed its collection, at a cost
that follows the state."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from dreamcatcherd.core.books.shelf import catalogue
from dreamcatcherd.core.codec import canonical
from dreamcatcherd.core.collections import BOOKS, EXTRA, LIBRARY, Table
from dreamcatcherd.core.export import in_order, public_record
from dreamcatcherd.core.shards import SUFFIX
from dreamcatcherd.core.snapshot import Folders, file_name, items, open_snapshot
from dreamcatcherd.core.tree import FILE, Entry, lookup
from dreamcatcherd.git.protocols import Store
from dreamcatcherd.stages.canonical_files import view_path
from dreamcatcherd.stages.inbox import Inbox


def view_files(store: Store, inbox: Inbox, snapshot: str, collections: Iterable[str]) -> dict[str, Entry]:
    """The view of each collection after a snapshot, by path. One whose collection did not change is not made again; a
    name that no collection has gives none. The view of `library` has the form of the platform's own `library.json`."""
    base, table = inbox.published, inbox.settings.table
    before, after = open_snapshot(store, base.snapshot).state, open_snapshot(store, snapshot)
    published = store.commit(base.commit).tree if base.commit else None
    found: dict[str, Entry] = {}
    for name in collections:
        if name not in table and name != LIBRARY and not name.startswith(EXTRA + "/"):
            continue
        path = view_path(name)
        stems = [LIBRARY, BOOKS] if name == LIBRARY else [file_name(name) if name in table else EXTRA]
        existing = lookup(store, published, path)
        # Unchanged files of the collection mean an unchanged view: its cost follows the changes, not the frames.
        if existing and all(before.get(one) == after.state.get(one) for stem in stems for one in (stem, stem + SUFFIX)):
            found[path] = existing
        else:
            found[path] = Entry(FILE, store.write("blob", _view(store, after, table, name)))
    return found


def _view(store: Store, after: Folders, table: Table, name: str) -> bytes:
    if name == LIBRARY:
        return msgspec.json.format(canonical(catalogue(store, after.state, table)), indent=1) + b"\n"
    found = in_order(list(items(store, after, table, name)), table.get(name))
    rows = [canonical(public_record(item)) for item in found]
    return b"[\n" + b",\n".join(rows) + b"\n]\n" if rows else b"[]\n"
