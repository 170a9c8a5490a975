"""What `place` says of the records of a delta, for tests to compare."""

from __future__ import annotations

from collections import Counter
from itertools import chain, islice, repeat

from dreamcatcherd.core.collections import DEFAULT_TABLE, Collection, Table
from dreamcatcherd.core.delta_sections import known_sections
from dreamcatcherd.core.model import Delta, Json, Record, Version
from dreamcatcherd.core.records import place

HEADER: Record = {"frame": 7, "utc": "2026-01-31T12:00:00Z", "stream_id": "s"}


def delta(body: Record, utc_name: str = "utc") -> Delta:
    version = Version("state/stream_deltas/7/a.json", "b" * 40, 0o100644, "c" * 40)
    return Delta(version, 7, 0, "s", "b" * 40, body, ("frame", utc_name, "stream_id"))


def one_by_one(
    given: Delta, table: Table
) -> list[tuple[Collection | None, str, list[Json] | None, Record, str | None]]:
    """What `place` says of each record of a delta, taken apart; the reasons of a section's misfits in any order."""
    return [
        (row, section, key, record, why)
        for row, section, keys, records, misfits in place(given, known_sections(table))
        for key, record, why in zip(
            keys or repeat(None, len(records)),
            records,
            islice(chain(Counter(misfits).elements(), repeat(None)), len(records)),
            strict=True,
        )
    ]


def everything(body: Record, utc_name: str = "utc", table: Table = DEFAULT_TABLE) -> list[tuple[str, Json, Record]]:
    """Where each record of the body goes: collection or extra section, key, record; misfits are marked by `!`."""
    found = []
    for row, section, key, record, why in one_by_one(delta({**HEADER, **body}, utc_name), table):
        assert why is None or (why and row is None)
        assert row is None or section in (*row.sections, row.delete)
        found.append((row.name if row else f"extra/{section}" + "!" * (why is not None), key, record))
    return found


def only(section: str, value: Json) -> tuple[str, Json, Record]:
    (found,) = everything({section: value})
    return found


def comment_key(record: Record) -> str:
    name, key, _ = only("comments_added", [record])
    assert name == "comments"
    return str(key)
