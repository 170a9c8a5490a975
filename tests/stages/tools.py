"""What the store tests say of a repository and ask of it."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest

from dreamcatcherd.core.ledger import Ledger
from dreamcatcherd.core.tree import Entry, blob_at, edit, lookup
from dreamcatcherd.daemon.cycle import close_frame
from dreamcatcherd.daemon.primary import Primary
from dreamcatcherd.git.local import LocalStore
from dreamcatcherd.git.protocols import Commit, Move, Store
from dreamcatcherd.testing import MemoryStore
from tests.law.fleet import MAIN, NOW, primary_on

FOLDER = "state/stream_deltas"
WHO = "worker <worker@localhost>"


def text(frame: int = 1, stream: str = "s", number: int = 0, **sections: Any) -> bytes:
    """A delta's bytes; `number` is its second."""
    body = {"frame": frame, "utc": f"2026-01-01T00:00:{number:02}Z", "stream_id": stream}
    return json.dumps({**body, **(sections or {"observations": [number]})}).encode()


def put(
    store: Store,
    ref: str,
    entries: dict[str, Entry | None],
    parents: tuple[str, ...] | None = None,
    old: str | None = None,
) -> str:
    """Commit entries on top of the first parent (by default what the ref names) and move the ref there."""
    old = old or store.refs().get(ref)
    if parents is None:
        parents = (old,) if old else ()
    tree = edit(store, store.commit(parents[0]).tree if parents else None, entries)
    assert tree is not None
    commit = store.write_commit(Commit(tree, parents, WHO, NOW // 1_000_000, "work\n"))
    store.flush()
    assert store.move_refs([Move(ref, commit, old)], "push")
    return commit


def other(store: Store) -> Primary:
    """A second primary on the same repository."""
    if isinstance(store, MemoryStore):
        return primary_on(MemoryStore(store))
    assert isinstance(store, LocalStore)
    return primary_on(LocalStore(store.folder))


def close(primary: Primary) -> Ledger:
    """Close the open frame and return its ledger."""
    ledger = close_frame(primary, "test").ledger
    assert ledger is not None
    return ledger


def content(store: Store, path: str, ref: str = MAIN) -> bytes | None:
    """What a file on a ref holds, or None."""
    oid = blob_at(store, store.commit(store.refs()[ref]).tree, path)
    return store.read(oid) if oid else None


def stands(store: Store, path: str) -> Entry | None:
    return lookup(store, store.commit(store.refs()[MAIN]).tree, path)


def reasons(ledger: Ledger) -> dict[str, str]:
    return {row.path.rpartition("/")[2]: row.reason for row in ledger.quarantined}


def merged(ledger: Ledger) -> list[str]:
    return sorted(row.path.rpartition("/")[2] for row in ledger.deltas)


def counting_reads(store: Store, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each object is read from stores of this kind, from now on."""
    reads: Counter[str] = Counter()
    plain = type(store).read

    def counted(self: Store, oid: str) -> bytes:
        reads[oid] += 1
        return plain(self, oid)

    monkeypatch.setattr(type(store), "read", counted)
    return reads
