"""A second implementation of the merge, deliberately simple: all deltas at once, sorted, folded into plain dicts.

It shares no code with the package. Where the two agree on generated deltas, each checks the other."""

from __future__ import annotations

import hashlib
import json
import re
from datetime import datetime
from typing import Any, NamedTuple

from tests.law.books import library

KEYS: dict[str, list[list[str]]] = {
    "posts": [["discussion_number", "number", "discussion"]],
    "comments": [["discussion_number", "number", "discussion"], ["author", "agent"]],
    "chapters": [["book"], ["chapter", "number"], ["author", "agent"]],
    "books": [["book"]],
    "agents": [["agent"]],
    "reactions": [["node", "target"], ["agent"], ["type"]],
    "counters": [["name"]],
    "claims": [["resource"]],
    "scores": [["player"]],
    "tags": [["page"]],
}
RULE = {
    "posts": "lww",
    "comments": "earliest",
    "chapters": "lww",
    "books": "lww",
    "agents": "lww",
    "reactions": "earliest",
    "counters": "sum",
    "claims": "earliest",
    "scores": "max",
    "tags": "union",
    "observations": "append",
}
SECTIONS = [
    ("posts_created", "posts"),
    ("comments_added", "comments"),
    ("chapters_added", "chapters"),
    ("chapters_written", "chapters"),
    ("books_started", "books"),
    ("profile_updates", "agents"),
    ("agent_updates", "agents"),
    ("agents_updated", "agents"),
    ("reactions_added", "reactions"),
    ("counters", "counters"),
    ("observations", "observations"),
    ("claims", "claims"),
    ("scores", "scores"),
    ("tags", "tags"),
]
SETTINGS = b"""
[collections.claims]
section = "claims"
key = ["resource"]
rule = "first"
[collections.scores]
key = ["player"]
rule = "max"
[collections.tags]
key = ["page"]
rule = "union"
"""


class Sent(NamedTuple):
    """A delta as a worker sends it: its bytes, and the attachments beside it by name."""

    raw: bytes
    files: tuple[tuple[str, bytes], ...] = ()


def blob_id(raw: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(raw) + raw).hexdigest()


def text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def content_id(sent: Sent) -> str:
    named = [refs for refs in _refs(json.loads(sent.raw)) if refs in dict(sent.files)]
    if not named:
        return blob_id(sent.raw)
    ids = [blob_id(sent.raw)] + [blob_id(dict(sent.files)[name]) for name in dict.fromkeys(named)]
    return hashlib.sha1("".join(one + "\n" for one in ids).encode()).hexdigest()


def _refs(value: Any) -> list[str]:
    if isinstance(value, dict):
        out: list[str] = []
        for name, inner in value.items():
            out += [inner] if name.endswith("_ref") and isinstance(inner, str) else _refs(inner)
        return out
    if isinstance(value, list):
        return [ref for inner in value for ref in _refs(inner)]
    return []


def _fill(value: Any, files: dict[str, bytes]) -> None:
    if isinstance(value, dict):
        for name, inner in list(value.items()):
            if name.endswith("_ref") and isinstance(inner, str):
                if inner in files and value.get(name[:-4]) is None:
                    value[name[:-4]] = files[inner].decode()
            else:
                _fill(inner, files)
    elif isinstance(value, list):
        for inner in value:
            _fill(inner, files)


def stamped(sent: Sent) -> tuple[tuple[int, int, str, str], dict[str, Any]]:
    """A delta's stamp, and its document with attachments filled in."""
    document = json.loads(sent.raw)
    _fill(document, dict(sent.files))
    utc = datetime.fromisoformat(document[_utc_name(document)])
    seconds = (utc.replace(microsecond=0, tzinfo=None) - datetime(1970, 1, 1)).total_seconds()
    offset = utc.utcoffset()
    assert offset is not None
    micros = int(seconds - offset.total_seconds()) * 1_000_000 + utc.microsecond
    return (int(document["frame"]), micros, document["stream_id"], content_id(sent)), document


def model(deltas: list[Sent]) -> dict[str, Any]:
    """The `state` and `merged` of an export of these deltas."""
    loaded = {}
    for sent in deltas:
        stamp, document = stamped(sent)
        loaded[stamp[0], stamp[3]] = (stamp, document)
    state: dict[str, dict[str, Any]] = {}
    replayed = [(stamp, _records(document)) for stamp, document in sorted(loaded.values(), key=lambda one: one[0])]
    for stamp, records in replayed:
        for name, record, position in records:
            _join(state.setdefault(name, {}), name, record, stamp, position)
    merged: dict[str, list[str]] = {}
    for frame, cid in sorted(loaded):
        merged.setdefault(str(frame), []).append(cid)
    out = {
        name: [entity for _, entity in sorted(found.values(), key=lambda one: one[0])] for name, found in state.items()
    }
    return {"state": {**out, **library(replayed, out)}, "merged": merged}


def key_of(name: str, record: Any) -> Any:
    """A record's key as people see it."""
    parts = [record[names[0]] for names in KEYS[name]]
    if name == "comments":
        plain = {field: value for field, value in record.items() if field not in ("_stamp", "_stamps")}
        body = plain.get("body")
        parts.append(body if isinstance(body, str) and body else plain)
    return parts[0] if len(parts) == 1 else parts


def conflicts(before: list[Sent], new: list[Sent]) -> list[dict[str, Any]]:
    """The rows of a ledger whose frame merges `new` (none of it merged before) upon `before`."""
    standing: dict[str, Any] = {}
    for name, records in model(before)["state"].items():
        if name in KEYS:
            standing |= {text([name, key_of(name, record)]): record for record in records}
    claims: dict[str, list[tuple[Any, Any]]] = {}
    kinds: dict[str, tuple[str, Any]] = {}
    for stamp, document in sorted(map(stamped, new), key=lambda one: one[0]):
        for name, record, _ in _records(document):
            if RULE.get(name) in ("lww", "earliest"):
                at = text([name, key_of(name, record)])
                kinds[at] = (name, key_of(name, record))
                claims.setdefault(at, []).append((stamp, record))
    rows = []
    for at, brought in claims.items():
        name, key = kinds[at]
        for frame in sorted({stamp[0] for stamp, _ in brought}):
            mine = [(stamp, record) for stamp, record in brought if stamp[0] == frame]
            for field, winner, loser, value in _lost(name, standing.get(at), mine, frame):
                row = {"collection": name, "key": key, "field": field, "winner": winner, "loser": loser}
                rows.append({**row, "value": value})
    return rows


def _lost(name: str, old: Any, mine: list[tuple[Any, Any]], frame: int) -> list[tuple[str, Any, Any, Any]]:
    """(field, winner, loser, value) for each stream that lost a field of one entity in one frame."""
    marks = {names[0] for names in KEYS[name]} | {"_stamp", "_stamps"}
    by_field = RULE[name] == "lww"
    bids: dict[str, dict[str, tuple[Any, Any]]] = {}
    for stamp, record in mine if by_field else mine[::-1]:
        for field in record if by_field else [""]:
            bids.setdefault(field, {})[stamp[2]] = (list(stamp), record[field] if by_field else record)
    stands = dict.fromkeys(old or (), (old or {}).get("_stamp")) | (old or {}).get("_stamps", {}) if old else {}
    for field, stamp in stands.items() if by_field else [("", (old or {}).get("_stamp"))] if old else []:
        if stamp and stamp[0] == frame and field in bids:
            other = bids[field].get(stamp[2])
            if other is None or (stamp > other[0] if by_field else stamp < other[0]):
                bids[field][stamp[2]] = (stamp, old[field] if by_field else old)
    found = []
    for field, streams in bids.items():
        winner, best = (max if by_field else min)(streams.values(), key=lambda bid: bid[0])
        for loser, value in streams.values():
            if by_field:
                pairs = [(field, value, best)] if field not in marks else []
            else:
                pairs = [(part, value[part], best.get(part, best)) for part in value if part not in marks]
            found += [(part, winner, loser, lost) for part, lost, won in pairs if text(lost) != text(won)]
    return found


def _utc_name(document: dict[str, Any]) -> str:
    return next(name for name in ("utc", "completed_at", "timestamp") if isinstance(document.get(name), str))


def _records(document: dict[str, Any]) -> list[tuple[str, Any, int]]:
    """(collection, record, position) of a delta: misfits under `extra/<section>`."""
    head = ("frame", "stream_id", _utc_name(document))
    body = {k: v for k, v in document.items() if k not in head and v is not None}
    known = dict(SECTIONS)
    order = [section for section, _ in SECTIONS if section in body] + [name for name in body if name not in known]
    found: list[tuple[str, Any, int]] = []
    for section in order:
        value = body[section]
        collection = known.get(section)
        for item in _items(collection, value):
            fit = _fit(collection, item) if collection else None
            if fit is not None:
                name = str(collection)
                record = fit
            else:
                name = f"extra/{section}"
                reserved = isinstance(item, dict) and ("_stamp" in item or "_stamps" in item)
                record = item if isinstance(item, dict) and not reserved else {"value": item}
            found.append((name, record, sum(1 for other, _, _ in found if other == name)))
    return found


def _items(collection: str | None, value: Any) -> list[Any]:
    if isinstance(value, list):
        return value
    if isinstance(value, dict) and collection in ("agents", "counters"):
        field = KEYS[collection][0][0]

        def right(inner: Any) -> bool:
            return isinstance(inner, dict) if collection == "agents" else type(inner) is int

        if all(map(right, value.values())) or _key(value.get(field)) is None:
            inside = "fields" if collection == "agents" else "value"
            return [{field: k, inside: v} if right(v) else {k: v} for k, v in value.items()]
    return [value]


def _key(value: Any) -> Any:
    if isinstance(value, str):
        return int(value) if re.fullmatch(r"0|-?[1-9][0-9]*", value) else value
    return value if type(value) is int else None


def _fit(collection: str, item: Any) -> Any:
    if collection == "observations":
        reserved = isinstance(item, dict) and ("_stamp" in item or "_stamps" in item)
        return None if reserved else item if isinstance(item, dict) else {"value": item}
    keys = KEYS[collection]
    if not isinstance(item, dict):
        if len(keys) != 1 or _key(item) is None:
            return None
        item = {keys[0][0]: item}
    if "_stamp" in item or "_stamps" in item:
        return None
    record = dict(item)
    if collection == "agents" and isinstance(record.get("fields"), dict):
        fields = record.pop("fields")
        for name, value in fields.items():
            if name in ("_stamp", "_stamps") or (name in record and text(record[name]) != text(value)):
                return None
        record = {**fields, **record}
    for names in keys:
        given = [name for name in names if record.get(name) is not None]
        if not given or _key(record[given[0]]) is None:
            return None
        value = record.pop(given[0])
        record[names[0]] = _key(value)
    if collection == "counters":
        record.setdefault("value", 0)
    if RULE[collection] == "sum" and any(type(v) is not int for k, v in record.items() if k != "name"):
        return None
    return record


def _place(value: Any) -> tuple[Any, ...]:
    return (0, value) if isinstance(value, int) else (1, value) if isinstance(value, str) else (2, text(value))


def _join(found: dict[str, Any], name: str, record: Any, stamp: Any, position: int) -> None:
    rule = RULE.get(name, "append")
    if rule == "append":
        found[text([stamp, position])] = ((stamp, position), {**record, "_stamp": list(stamp)})
        return
    keys = [names[0] for names in KEYS[name]]
    key = [record[field] for field in keys]
    if name == "comments":
        body = record.get("body")
        key.append(body if isinstance(body, str) and body else record)
    order = tuple(map(_place, key))
    at = text(key)
    old = found[at][1] if at in found else None
    fields = {k: v for k, v in record.items() if k not in keys}
    if rule == "earliest":
        new = old or {**record, "_stamp": list(stamp)}
    elif rule == "sum":
        before = old or dict.fromkeys(fields, 0)
        new = {**before, **record, **{k: before.get(k, 0) + v for k, v in fields.items()}, "_stamp": list(stamp)}
    elif rule == "union":
        new = dict(old or {k: record[k] for k in keys})
        for k, v in fields.items():
            every = new.get(k, []) + (v if isinstance(v, list) else [v])
            new[k] = [json.loads(one) for one in sorted({_compact(one) for one in every})]
        new["_stamp"] = list(stamp)
    else:
        new = {**(old or {k: record[k] for k in keys}), "_stamps": dict((old or {}).get("_stamps", {}))}
        for k, v in fields.items():
            if rule == "lww" or k not in new["_stamps"] or _rank(v) > _rank(new[k]):
                new[k] = v
                new["_stamps"][k] = list(stamp)
    found[at] = (order, new)


def _compact(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def _rank(value: Any) -> tuple[Any, ...]:
    if value is None or isinstance(value, bool):
        return (0 if value is None else 1, bool(value))
    if isinstance(value, int | float):
        return (2, value, _compact(value))
    if isinstance(value, str):
        return (3, value)
    return (4 if isinstance(value, list) else 5, _compact(value))
