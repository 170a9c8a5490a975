"""The vectors find mistakes: each change of one rule makes at least one case fail."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import msgspec
import pytest

from dreamcatcherd.conformance import values
from dreamcatcherd.conformance.running import run_cases
from dreamcatcherd.conformance.vectors import Case, read_vectors
from dreamcatcherd.core import (
    claims,
    codec,
    decimals,
    entities,
    entity_lines,
    fold,
    header,
    keyed_records,
    keys,
    merge,
    plan,
    rules,
    shards,
    snapshot,
    tree,
)
from dreamcatcherd.core.books import compile as books
from dreamcatcherd.stages import delta_reader
from tests.conformance.build import FOLDER

Changes = Iterator[tuple[object, str, Any]]
"""The places that a mutant changes: owner, name, new value."""


def names_in_their_order() -> Changes:
    """Canonical JSON does not sort names."""
    encoder = msgspec.json.Encoder(enc_hook=codec._write_exact)
    yield codec, "_encode", encoder.encode
    yield codec, "_encode_lines", encoder.encode_lines


def folders_sort_as_files() -> Changes:
    """A tree's folder sorts without a slash."""

    def format_tree(entries: dict[str, tree.Entry]) -> bytes:
        found = sorted((name.encode("utf-8", "surrogateescape"), entry) for name, entry in entries.items())
        return b"".join(b"%o %b\0%b" % (one.mode, name, bytes.fromhex(one.oid)) for name, one in found)

    for module in (tree, shards, snapshot, values):
        yield module, "format_tree", format_tree


def decimal_strings_stay_strings() -> Changes:
    """A key "7" is not the key 7."""
    yield keyed_records, "key_part", lambda value: value if type(value) in (int, str) else None


def strings_before_integers() -> Changes:
    """Natural order has strings first."""
    order = keys._part_order
    yield keys, "_part_order", lambda part: (-1, part) if type(part) is str else order(part)


def files_of_any_size() -> Changes:
    """A file of the snapshot has no bound in bytes."""
    yield snapshot, "APPENDED", snapshot.APPENDED._replace(most_bytes=None)
    yield merge, "APPENDED", snapshot.APPENDED._replace(most_bytes=None)


def files_of_257_lines() -> Changes:
    """A file of the snapshot holds one line more."""
    yield shards.Layout, "fits", lambda self, lines, size: lines <= self.limit + 1 and size <= snapshot.FILE_BYTES


def letters_from_a() -> Changes:
    """The letter that counts digits begins elsewhere."""
    yield snapshot, "_LETTERS", "abcdefghijklmnop"


def times_are_rounded() -> Changes:
    """Digits after the sixth are rounded."""

    def utc_micros(text: str) -> int | None:
        found = codec.utc_micros(text)
        return found + 1 if found is not None and text[26:27] in tuple("56789") else found

    yield header, "utc_micros", utc_micros
    yield values, "utc_micros", utc_micros


def attachments_do_not_count() -> Changes:
    """The content id is the blob id, whatever the attachments are."""
    attach = delta_reader._attach

    def without_ids(*given: Any) -> tuple[Any, ...]:
        return ((), *attach(*given)[1:])

    yield delta_reader, "_attach", without_ids


def the_latest_record_counts() -> Changes:
    """Under dedup the latest record counts."""
    latest = {**rules.FOLDS, "dedup": lambda old, brought, keys: rules.FOLDS["first"](None, brought[-1:], keys)}
    yield entities, "FOLDS", latest


def conflicts_are_not_recorded() -> Changes:
    """Nobody learns who lost."""
    yield merge, "find_conflicts", lambda *given: []


def sums_of_doubles() -> Changes:
    """Sums are rounded to doubles."""
    yield rules, "add", lambda one, other: decimals.exact(float(one) + float(other))


def lanes_before_main() -> Changes:
    """Of two equal deltas the one on a lane is merged."""
    yield plan, "_preference", lambda arrival: (arrival.source == "main", *plan._place(arrival))


def claims_end_a_frame_early() -> Changes:
    """In frame `until` a resource is free."""

    def held(entity: Any, frame: int) -> tuple[Any, Any]:
        if entity is None or entity.deleted is not None or entity.record["until"] <= frame:
            return None, None
        return entity.record["holder"], entity.record["until"]

    yield claims, "held", held


def writes_win_over_deletions() -> Changes:
    """With equal stamps an entity lives."""
    for module in (entities, merge):
        yield module, "is_alive", lambda entity: entity.deleted is None or entities.last_write(entity) >= entity.deleted


def each_stamp_is_written() -> Changes:
    """Equal stamps of fields are written one by one."""
    yield entity_lines, "_written", lambda record, stamps: stamps


def any_target_counts() -> Changes:
    """A book is complete once it has as many chapters as its last target says."""

    def completed(marks: books.Marks) -> Any:
        done = marks.target is not None and len(marks.numbers) >= marks.target
        return max([*marks.numbers.values(), *marks.targets]) if done else None

    from dreamcatcherd.core.books import library

    yield library, "completed", completed


def one_record_of_each_section() -> Changes:
    """Of the records that a delta appends only the first is kept."""
    plain = fold.append_changes
    yield fold, "append_changes", lambda row, section, stamp, first, some: plain(row, section, stamp, first, some[:1])


MUTANTS: list[Callable[[], Changes]] = [
    names_in_their_order,
    folders_sort_as_files,
    decimal_strings_stay_strings,
    strings_before_integers,
    files_of_any_size,
    files_of_257_lines,
    letters_from_a,
    times_are_rounded,
    attachments_do_not_count,
    the_latest_record_counts,
    conflicts_are_not_recorded,
    sums_of_doubles,
    lanes_before_main,
    claims_end_a_frame_early,
    writes_win_over_deletions,
    each_stamp_is_written,
    any_target_counts,
    one_record_of_each_section,
]


@cache
def cases() -> list[Case]:
    """All cases, the cheapest first: most mutants fail one of those."""
    return sorted(read_vectors(FOLDER), key=lambda case: (case.kind == "history", len(str(case.given))))


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_a_changed_rule_fails_a_vector(mutant: Callable[[], Changes], monkeypatch: pytest.MonkeyPatch) -> None:
    """With one rule changed, some case has another outcome."""
    for owner, name, value in mutant():
        monkeypatch.setattr(owner, name, value)
    assert any(one.deviation is not None for one in run_cases(cases()))
