"""What explain and receipt answer on generated conflicts is what the simple model says (docs/protocol.md#the-merge)."""

from __future__ import annotations

import json
import random
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from dreamcatcherd.core.codec import canonical
from dreamcatcherd.core.export import public_record
from dreamcatcherd.core.snapshot import items, open_snapshot
from dreamcatcherd.history.provenance import explain_item
from dreamcatcherd.history.receipts import receipts
from tests.law.deep import stamped_leaves
from tests.law.deltas import colliding_deltas, sets_of_deltas, sets_with_deletions
from tests.law.fleet import close, new_primary, send
from tests.law.losses import RESERVED
from tests.law.model import KEYS, Sent, conflicts, content_id, key_fields, key_of, model, read, text
from tests.law.rows import ROWS
from tests.law.sent import stamped
from tests.law.test_law import EXAMPLES

GENERATED = settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))


def sent(frame: int, second: int, stream: str, title: str) -> Sent:
    body = {"frame": frame, "utc": f"2026-01-01T00:00:0{second}Z", "stream_id": stream}
    return Sent(json.dumps({**body, "posts_created": [{"number": 1, "title": title}]}).encode())


THREE = [sent(1, 1, "a", "x"), sent(1, 2, "b", "y"), sent(1, 3, "a", "z"), sent(2, 1, "b", "w")]


def sorted_rows(rows: list[dict[str, Any]]) -> list[str]:
    return sorted(map(text, rows))


@GENERATED
@given(
    st.one_of(colliding_deltas, colliding_deltas, sets_of_deltas, sets_with_deletions),
    st.randoms(use_true_random=False),
)
@example(THREE, random.Random(3))
def test_explain_and_receipt_agree_with_the_model(deltas: list[Sent], chance: random.Random) -> None:
    """For every entity: each field's value, stamp, delta and losers; for every delta: its outcome, frame and losses."""
    primary = new_primary()
    store = primary.store
    frame_of: dict[tuple[int, str], int] = {}
    path_of: dict[str, str] = {}
    rows: list[tuple[int, dict[str, Any]]] = []
    merged: list[Sent] = []
    waiting: list[Sent] = []
    for frame, batch in enumerate(batches(deltas, chance), 1):
        for number, one in enumerate(batch):
            send(store, one, f"{frame}-{number}", lane=False)
            stamp, _ = stamped(one)
            path_of.setdefault(text(stamp), f"state/stream_deltas/{stamp[0]}/{frame}-{number}.json")
        waiting += [one for one in batch if one not in waiting]
        new = [one for one in waiting if stamped(one)[0][0] <= frame and key(one) not in frame_of]
        rows += [(frame, row) for row in conflicts(merged, new)]
        frame_of.update({key(one): frame for one in new})
        merged += new
        close(primary)
    base = primary.load_published(store.refs())
    state = model(merged, frame_of)["state"]
    for name, table_row in base.settings.table.items():
        if name not in KEYS:
            continue
        for item in items(store, open_snapshot(store, base.snapshot), base.settings.table, name):
            told = read(canonical(explain_item(store, base.ledgers, table_row, item)))
            natural = key_of(name, item.record)
            assert (told["collection"], text(told["key"])) == (name, text(natural))
            public = text(read(canonical(public_record(item))))
            entity = next(one for one in state[name] if text(one) == public)
            keys = key_fields(name, entity)
            leaves = leaves_of(name, entity)
            lost = [
                (frame, row) for frame, row in rows if (row["collection"], text(row["key"])) == (name, text(natural))
            ]
            losses = [(frame, one) for frame, row in lost for one in by_field(row, entity, keys)]
            fields = leaves.keys() - keys
            assert set(told["fields"]) == (fields or keys) | {row["field"] for _, row in losses}
            for field, one in told["fields"].items():
                value, stamp = leaves.get(field, (None, entity.get("_stamp")))
                assert (text(one["value"]), one["stamp"]) == (text(value), stamp)
                assert one["rule"] == ROWS[name].rule_of(field.partition(".")[0])
                if stamp is None:  # it was deleted since, or nobody wrote but the key
                    assert (one["path"], one["author"]) == (None, None)
                    continue
                assert (one["path"], one["frame"]) == (path_of[text(stamp)], frame_of[stamp[0], stamp[3]])
                assert one["author"] == "worker <worker@localhost>"
                wanted = [{**row, "frame": frame} for frame, row in losses if row["field"] == field]
                found = [
                    {"collection": name, "key": natural, "field": field}
                    | {part: row[part] for part in ("winner", "loser", "value", "frame") if part in row}
                    | {"loser": row["stamp"]}
                    for row in one["losers"]
                ]
                assert sorted_rows(found) == sorted_rows(wanted)
                assert all(row["path"] == path_of[text(row["stamp"])] for row in one["losers"])
    inbox = primary.read_inbox()
    for one in merged:
        stamp = stamped(one)[0]
        path = path_of[text(stamp)]
        (row,) = receipts(store, base, inbox.arrivals, path)
        late = frame_of[key(one)] > stamp[0]
        assert (row.outcome, row.frame, row.stream_id) == ("late" if late else "merged", frame_of[key(one)], stamp[2])
        wanted = [row for _, row in rows if row["loser"] == list(stamp)]
        assert sorted_rows(json.loads(canonical(row.lost))) == sorted_rows(wanted)
        by_key = receipts(store, base, inbox.arrivals, text(list(stamp)))
        assert [one for one in by_key if one.outcome != "duplicate"] == [row]
        by_time = receipts(store, base, inbox.arrivals, f"{stamp[0]}/{stamp[1]}/{stamp[2].replace(' ', '%20')}")
        assert row in by_time


def leaves_of(name: str, entity: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The fields of an exported record with their stamps, an object under `deep` by its leaves."""
    found: dict[str, tuple[Any, Any]] = {}
    for field, value in entity.items():
        stamps = entity.get("_stamps", {})
        if field in RESERVED:
            continue
        if ROWS[name].rule_of(field) == "deep" and field in stamps:
            for path, leaf, stamp in stamped_leaves(value, stamps[field]):
                found[".".join((field, *path))] = (leaf, stamp)
        elif "_stamp" in entity:
            found[field] = (value, entity["_stamp"])
        else:
            found[field] = (value, stamps.get("" if field in key_fields(name, entity) else field))
    return found


def by_field(row: dict[str, Any], entity: dict[str, Any], keys: set[str]) -> list[dict[str, Any]]:
    """A conflict as one for each field: of a record that lost, the fields in which it is not what stands."""
    if row["field"] is not None:
        return [row]
    unlike = {
        field: value
        for field, value in row["value"].items()
        if field not in keys and (field not in entity or text(entity[field]) != text(value))
    }
    return [{**row, "field": field, "value": value} for field, value in unlike.items()]


def key(one: Sent) -> tuple[int, str]:
    return stamped(one)[0][0], content_id(one)


def batches(deltas: list[Sent], chance: random.Random) -> list[list[Sent]]:
    """The deltas as they arrive over four frames, some of them twice."""
    arriving = list({key(one): one for one in deltas}.values())
    chance.shuffle(arriving)
    found: list[list[Sent]] = [[], [], [], []]
    for one in arriving:
        found[chance.randrange(4)].append(one)
    return found
