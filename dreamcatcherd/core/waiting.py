"""Early deltas: they wait for their frame in a file next to the ledgers, at no cost to the frames in between
(docs/protocol.md#publishing).

    state/ledger/waiting.jsonl | waiting/     [[frame, content id], row]: each early delta until its frame closes

A ledger lists only those that began or ended waiting in its frame. Owns the complete folder of ledgers: its content
after a frame follows from the ledger alone, so that `verify` can compare the two."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from dreamcatcherd.core.codec import canonical, canonical_each
from dreamcatcherd.core.ledger import HeldRow, Ledger
from dreamcatcherd.core.paths import ledger_path
from dreamcatcherd.core.shards import (
    SUFFIX,
    Layout,
    line_of,
    parts_of,
    remove_lines,
    scan_below,
    sorted_changes,
    update,
)
from dreamcatcherd.core.snapshot import MergedId, id_path, id_path_of, ids_among, number_path
from dreamcatcherd.core.tree import FILE, TREE, Entry, Objects, Reader, edit, format_tree, read_tree

NAME = "waiting"
_A_FILE = 256

_row = msgspec.json.Decoder(HeldRow)


_LAYOUT: Layout[None] = Layout(_A_FILE, id_path_of, None)


def id_of(row: HeldRow) -> MergedId:
    """The id of an early delta: its frame and content id."""
    return (row.frame, row.content_id or row.blob)


def next_ledgers(objects: Objects, ledgers: str | None, ledger: Ledger, oid: str) -> str:
    """The folder of ledgers after a frame: the ledger, of blob `oid`, is added, and the waiting deltas are updated from
    it."""
    folder = dict(read_tree(objects, ledgers))
    # First the deltas whose wait ended: a close that is in a hurry may defer one, which begins to wait again then.
    if ledger.ended:
        ended = sorted((id_path(merged_id), canonical(merged_id)) for merged_id in map(id_of, ledger.ended))
        remove_lines(objects, folder, NAME, ended, _A_FILE)
    if began := list(began_in(ledger)):
        ids = [id_of(row) for row in began]
        lines = zip(ids, canonical_each(ids), canonical_each(began), strict=True)
        changes = [(id_path(merged_id), key, line_of(key, raw), None) for merged_id, key, raw in lines]
        update(objects, folder, NAME, sorted_changes(changes), _LAYOUT)
    tree = objects.write("tree", format_tree(folder)) if folder else None
    after = edit(objects, tree, {ledger_path(ledger.frame): Entry(FILE, oid)})
    if after is None:
        raise AssertionError("the folder of ledgers holds at least this one")
    return after


def began_in(ledger: Ledger) -> Iterator[HeldRow]:
    """The early deltas that began to wait in a frame, also those that are too far ahead."""
    yield from ledger.held
    for row in ledger.quarantined:
        if row.reason == "too-far-ahead" and row.frame is not None and row.utc is not None:
            stream_id = row.stream_id or ""
            yield HeldRow(
                row.path, row.blob, row.frame, row.utc, stream_id, row.source, row.commit, row.since, row.content_id
            )


def due_rows(objects: Reader, ledgers: str | None, frame: int) -> list[HeldRow]:
    """The early deltas whose wait ends with a frame, in order of their keys; only the files of those frames are
    read."""
    folder = read_tree(objects, ledgers)
    rows = _rows(scan_below(objects, folder, NAME, number_path(frame + 1)))
    return sorted((row for row in rows if row.frame <= frame), key=id_of)


def waiting_files(objects: Reader, ledgers: str | None) -> Iterator[str]:
    """The blobs that hold the waiting deltas."""
    files = (NAME, NAME + SUFFIX)
    todo = [entry for name, entry in read_tree(objects, ledgers).items() if name in files]
    while todo:
        entry = todo.pop()
        if entry.mode == TREE:
            todo += read_tree(objects, entry.oid).values()
        else:
            yield entry.oid


def read_rows(raw: bytes) -> Iterator[HeldRow]:
    """The early deltas in one of these blobs."""
    return _rows(line for line in raw.split(b"\n") if line)


def _rows(lines: Iterable[bytes]) -> Iterator[HeldRow]:
    return (_row.decode(parts_of(line)[1]) for line in lines)


def all_rows(objects: Reader, ledgers: str | None) -> Iterator[HeldRow]:
    """Every early delta that waits."""
    for oid in waiting_files(objects, ledgers):
        yield from read_rows(objects.read(oid))


def already_waiting(objects: Reader, ledgers: str | None, ids: Iterable[MergedId]) -> set[MergedId]:
    """Those of the given content ids that wait already."""
    return ids_among(objects, read_tree(objects, ledgers), NAME, ids)
