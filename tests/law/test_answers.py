"""What explain and receipt answer on generated conflicts is what the simple model says (docs/protocol.md#the-merge)."""

from __future__ import annotations

import json
import random
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from dreamcatcherd.core.codec import canonical
from dreamcatcherd.core.snapshot import items, open_snapshot
from dreamcatcherd.history.provenance import explain_item
from dreamcatcherd.history.receipts import receipts
from tests.law.deltas import colliding_deltas, sets_of_deltas
from tests.law.fleet import close, new_primary, send
from tests.law.model import KEYS, RULE, Sent, conflicts, content_id, key_of, model, stamped, text

GENERATED = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


def sent(frame: int, second: int, stream: str, title: str) -> Sent:
    body = {"frame": frame, "utc": f"2026-01-01T00:00:0{second}Z", "stream_id": stream}
    return Sent(json.dumps({**body, "posts_created": [{"number": 1, "title": title}]}).encode())


THREE = [sent(1, 1, "a", "x"), sent(1, 2, "b", "y"), sent(1, 3, "a", "z"), sent(2, 1, "b", "w")]


def sorted_rows(rows: list[dict[str, Any]]) -> list[str]:
    return sorted(map(text, rows))


@GENERATED
@given(st.one_of(colliding_deltas, colliding_deltas, sets_of_deltas), st.randoms(use_true_random=False))
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
            document = json.loads(one.raw)
            path_of.setdefault(text(stamped(one)[0]), f"state/stream_deltas/{document['frame']}/{frame}-{number}.json")
        waiting += [one for one in batch if one not in waiting]
        new = [one for one in waiting if stamped(one)[0][0] <= frame and key(one) not in frame_of]
        rows += [(frame, row) for row in conflicts(merged, new)]
        frame_of.update({key(one): frame for one in new})
        merged += new
        close(primary)
    base = primary.load_published(store.refs())
    state = model(merged)["state"]
    for name, table_row in base.settings.table.items():
        if name not in KEYS:
            continue
        keys = {names[0] for names in KEYS[name]}
        for item in items(store, open_snapshot(store, base.snapshot), base.settings.table, name):
            told = json.loads(canonical(explain_item(store, base.ledgers, table_row, item)))
            natural = key_of(name, item.record)
            assert (told["collection"], text(told["key"])) == (name, text(natural))
            entity = next(one for one in state[name] if text(key_of(name, one)) == text(natural))
            lost = [
                (frame, row) for frame, row in rows if (row["collection"], text(row["key"])) == (name, text(natural))
            ]
            fields = {field for field in entity if field not in keys | {"_stamp", "_stamps"}}
            assert set(told["fields"]) == (fields or keys) | {row["field"] for _, row in lost}
            for field, one in told["fields"].items():
                stamp = entity["_stamps"].get(field) if "_stamps" in entity else entity["_stamp"]
                assert (text(one["value"]), one["stamp"]) == (text(entity.get(field)), stamp)
                assert one["rule"] in (RULE[name], "dedup", "first")
                if stamp is None:  # a record with only a key under a rule by field: no field of it has a stamp
                    assert (field in keys, one["path"], one["author"]) == (True, None, None)
                    continue
                assert (one["path"], one["frame"]) == (path_of[text(stamp)], frame_of[stamp[0], stamp[3]])
                assert one["author"] == "worker <worker@localhost>"
                wanted = [{**row, "frame": frame} for frame, row in lost if row["field"] == field]
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
