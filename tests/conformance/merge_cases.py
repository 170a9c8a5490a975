"""Vectors about the merge: rules, fields, deletions, claims, conflicts; histories of a few commits and closes."""

from __future__ import annotations

from tests.conformance.make import CLOSE, Given, case, commit, delta, send
from tests.law.rows import SETTINGS

ROWS = SETTINGS.decode()


def history(name: str, about: str, *steps: Given, settings: str | None = None, **more: object) -> Given:
    """A case of steps; the last one is a close, unless one is given."""
    steps = steps if "close" in steps[-1] else (*steps, CLOSE)
    return case(name, about, settings=settings, **more, steps=list(steps))


def both(name: str, about: str, *texts: str, settings: str | None = None) -> Given:
    """A case of deltas that one frame merges, each from the lane of its stream."""
    steps = [send(f"d{number}", text) for number, text in enumerate(texts, 1)]
    return history(name, about, *steps, settings=settings)


def _posts(second: int, stream: str, /, frame: int = 1, number: object = 7, **fields: object) -> str:
    return delta(second, stream, frame, posts_created=[{"number": number, **fields}])


RULES = [
    history("empty-frame", "a frame without deltas has the empty snapshot", CLOSE),
    both("one-delta", "one record", _posts(1, "alice", title="One")),
    both("two-fields-of-one-record", "each stream sets another field: no conflict, two stamps",
         _posts(1, "alice", title="One"), _posts(2, "bob", mood="calm")),
    both("later-utc-wins", "inside a frame the later time wins, and the loser is in the ledger",
         _posts(2, "alice", title="later"), _posts(1, "bob", title="earlier")),
    both("same-utc", "then the stream decides", _posts(1, "alice", title="a"), _posts(1, "bob", title="b")),
    both("same-utc-and-stream", "then the content id decides; one stream has no conflict with itself",
         _posts(1, "alice", title="a"), _posts(1, "alice", title="b")),
    both("stream-by-code-point", "streams are compared by code point: U+FFFF before U+1F600",
         _posts(1, "\uffff", title="a"), _posts(1, "😀", title="b")),
    both("later-record-of-one-delta", "wins under lww, field by field",
         delta(1, "alice", posts_created=[{"number": 7, "title": "a", "mood": 1}, {"number": 7, "title": "b"}])),
    both("equal-values", "are no conflict; the stamp is the later one", _posts(1, "alice", title="a"), _posts(2, "bob",
        title="a")),
    both("one-and-one-point-zero", "are different values", _posts(1, "alice", title=1), _posts(2, "bob", title=1.0)),
    both("true-and-one", "are different values", _posts(1, "alice", title=1), _posts(2, "bob", title=True)),
    both("order-of-names-is-no-difference", "objects are equal whatever the order of their names",
         _posts(1, "alice", title={"a": 1, "b": 2}), _posts(2, "bob", title={"b": 2, "a": 1})),
    both("null-is-a-value", "a later null wins", _posts(1, "alice", title="a"), _posts(2, "bob", title=None)),
    both("three-streams", "one row for each loser, with its last value", _posts(1, "alice", title="a"),
         _posts(2, "alice", title="b"), _posts(3, "bob", title="c"), _posts(4, "carol", title="d")),
    both("many-fields-lost", "more than 100 fields lost to one delta are one row",
         _posts(1, "alice", **{f"f{n:03}": 0 for n in range(101)}), _posts(2, "bob",
             **{f"f{n:03}": 1 for n in range(101)})),
    both("hundred-fields-lost", "100 are a row each",
         _posts(1, "alice", **{f"f{n:03}": 0 for n in range(100)}), _posts(2, "bob",
             **{f"f{n:03}": 1 for n in range(100)})),
    both("key-alone", "a write of nothing but the key has its stamp under the empty name",
         delta(1, "alice", posts_created=[7])),
    history("late-delta-loses-across-frames", "the later frame wins, whatever the clocks say",
            send("d1", _posts(1, "bob", frame=2, title="frame 2")), CLOSE, CLOSE,
            send("d2", _posts(50, "alice", title="frame 1, late")), CLOSE),
    history("late-delta-fills-a-field", "what nobody set later is set by a late one",
            send("d1", _posts(1, "bob", frame=2, title="x")), CLOSE, CLOSE,
            send("d2", _posts(50, "alice", mood="late")), CLOSE),
    history("late-delta-wins-in-its-frame", "it takes the place that its key gives it, and the conflict is listed then",
            send("d1", _posts(1, "bob", title="x")), CLOSE, send("d2", _posts(2, "alice", title="y")), CLOSE),
    both("dedup", "the earliest record counts, complete",
         delta(2, "alice", reactions_added=[{"node": 1, "type": "up", "agent": "x", "n": 2}]),
         delta(1, "bob", reactions_added=[{"node": 1, "type": "up", "agent": "x", "m": 1}])),
    both("dedup-in-one-delta", "the earlier record counts, the other one collapses",
         delta(1, "alice", reactions_added=[{"id": 1, "n": 1}, {"id": 1, "n": 2}])),
    history("dedup-late-and-earlier", "a late record replaces one of a later frame",
            send("d1", delta(1, "bob", 2, reactions_added=["n:up"])), CLOSE, CLOSE,
            send("d2", delta(9, "alice", 1, reactions_added=[{"node": "n", "type": "up", "agent": None,
                "by": "alice"}])), CLOSE),
    both("append", "every record, by stamp and position, equal ones too",
         delta(2, "alice", observations=[{"n": 1}, {"n": 1}, 5, "x"]), delta(1, "bob", observations=[{"n": 2}])),
    both("counters", "exact decimals: a tenth and two tenths are three tenths",
         delta(1, "alice", counters={"a": "<<0.1>>", "b": 1, "c": "<<1e-7>>"}),
         delta(2, "bob", counters={"a": "<<0.2>>", "b": "<<2.0>>", "c": "<<12345678901234567.891>>"})),
    both("counters-whole-again", "a sum that is an integer has no point", delta(1, "alice", counters={"a": "<<0.50>>"}),
         delta(2, "bob", counters=[{"name": "a", "value": "<<1.5>>"}, "a", {"name": "a", "value": -2}])),
    both("counters-beyond-64-bits", "integers are exact", delta(1, "alice", counters={"a": 2**63}), delta(2, "bob",
        counters={"a": 2**63})),
    both("max-and-min-of-kinds", "null, booleans, numbers, strings, lists, objects",
         delta(1, "alice", scores=[{"player": "p", "a": None, "b": True, "c": 5, "d": "x", "e": [9]}],
               lows=[{"name": "p", "a": None, "b": True, "c": 5, "d": "x", "e": [9]}]),
         delta(2, "bob", scores=[{"player": "p", "a": False, "b": 0, "c": "4", "d": [], "e": {}}],
               lows=[{"name": "p", "a": False, "b": 0, "c": "4", "d": [], "e": {}}]), settings=ROWS),
    both("max-first-stamp", "the stamp is the one that brought the value first",
         delta(1, "alice", scores=[{"player": "p", "a": 5}]), delta(2, "bob", scores=[{"player": "p", "a": 5}]),
             settings=ROWS),
    both("max-of-equal-numbers", "1 and 1.0 are equal in size, and have an order nevertheless",
         delta(1, "alice", scores=[{"player": "p", "a": 1}]), delta(2, "bob", scores=[{"player": "p", "a": 1.0}]),
             settings=ROWS),
    both("union", "a set in canonical order; a value that is no list is a list of one",
         delta(1, "alice", tags=[{"page": "p", "t": ["b", 10, "a"]}]),
         delta(2, "bob", tags=[{"page": "p", "t": "a"}, {"page": "p", "t": [9, 1.0, 1, None, {"x": 1}]}]),
             settings=ROWS),
    both("first", "the complete record with the earliest stamp",
         delta(2, "alice", firsts=[{"resource": "r", "by": "alice"}]),
         delta(1, "bob", firsts=[{"resource": "r", "by": "bob", "n": 1}]), settings=ROWS),
]  # fmt: skip


def _channel(second: int, stream: str, /, frame: int = 1, **fields: object) -> str:
    return delta(second, stream, frame, channels_updated={"c": fields})


FIELDS = [
    both("all-rules", "each field by its own rule, each with its stamp",
         _channel(2, "alice", post_count=1, peak=3, low=3, tags=["b"], creator="alice", title="a"),
         _channel(1, "bob", post_count="<<0.5>>", peak=5, low=5, tags="a", creator="bob", title="b"), settings=ROWS),
    both("deep-leaves", "objects are merged leaf by leaf",
         _channel(1, "alice", traits={"mood": "calm", "a": {"x": 1, "y": 1}}),
         _channel(2, "bob", traits={"a": {"y": 2, "z": 2}}), settings=ROWS),
    both("deep-one-delta", "one stamp says it all", _channel(1, "alice", traits={"a": {"x": 1}, "b": 2}),
        settings=ROWS),
    both("deep-value-hides", "a value that is no object hides what was written below it before",
         _channel(1, "alice", traits={"a": {"x": 1}}), _channel(2, "bob", traits={"a": 5}), settings=ROWS),
    both("deep-value-is-hidden", "and is hidden by what is written below it later, but remembered",
         _channel(1, "alice", traits={"a": 5}), _channel(2, "bob", traits={"a": {"x": 1}}), settings=ROWS),
    history("deep-late-write-below-a-value", "a late write is hidden by the value that came after it",
            send("d1", _channel(1, "alice", traits={"a": {"y": 1}})), send("d2", _channel(3, "bob", traits={"a": 5})),
            send("d3", _channel(4, "carol", traits={"a": {"z": 4}})), CLOSE,
            send("d4", _channel(2, "dave", traits={"a": {"x": 2}})), CLOSE, settings=ROWS),
    both("deep-empty-object", "hides nothing", _channel(1, "alice", traits={"a": {"x": 1}}),
         _channel(2, "bob", traits={"a": {}, "b": {}}), settings=ROWS),
    both("deep-in-one-delta", "the later record counts, be it an object or not",
         delta(1, "alice", channels_updated=[{"id": "c", "traits": {"a": 1, "b": {"x": 1}}}, {"id": "c",
             "traits": {"b": 2}},
               {"id": "c", "traits": {"b": {"y": 3}}}, {"id": "d", "traits": {"a": {"x": 1}}}, {"id": "d",
                   "traits": {"a": 5}},
               {"id": "e", "traits": 5}, {"id": "e", "traits": {"x": 1}}]), settings=ROWS),
    both("deep-conflict", "is named by the path of the leaf", _channel(1, "alice", traits={"a": {"x": 1}}),
         _channel(2, "bob", traits={"a": {"x": 2}}), settings=ROWS),
    both("many-fields", "beyond 256 fields each stamp is written once",
         _channel(1, "alice", **{f"f{n:03}": n for n in range(200)}),
         _channel(2, "bob", **{f"f{n:03}": n for n in range(150, 300)}), settings=ROWS),
    both("256-fields", "are written with a stamp each", _channel(1, "alice", **{f"f{n:03}": n for n in range(200)}),
         _channel(2, "bob", **{f"f{n:03}": n for n in range(150, 256)}), settings=ROWS),
    both("sum-misfit", "a record of a sum with text does not fit", _channel(1, "alice", post_count="many"),
        settings=ROWS),
]  # fmt: skip


def _follow(second: int, stream: str, /, frame: int = 1, **fields: object) -> str:
    return delta(second, stream, frame, follows=[{"follower": "a", "followee": "b", **fields}])


def _unfollow(second: int, stream: str, /, frame: int = 1) -> str:
    return delta(second, stream, frame, unfollowed=[["a", "b"]])


DELETIONS = [
    both("deleted", "a tombstone stays in the snapshot and the export", _follow(1, "alice", since=1), _unfollow(2,
        "bob"), settings=ROWS),
    both("written-later", "the entity lives on with what is later", _follow(1, "alice", since=1), _unfollow(2, "bob"),
         _follow(3, "alice", note="again"), settings=ROWS),
    both("same-stamp", "the deletion wins", delta(1, "alice", follows=[{"follower": "a", "followee": "b", "since": 1}],
         unfollowed=[{"follower": "a", "followee": "b"}]), settings=ROWS),
    history("late-write", "a write that is earlier and arrives later is deleted, too", send("d1", _unfollow(2, "bob")),
        CLOSE,
            send("d2", _follow(1, "alice", since=1)), CLOSE, settings=ROWS),
    history("late-deletion", "takes the place that its key gives it", send("d1", _follow(1, "alice", since=1)),
            send("d2", _follow(3, "alice", note="x")), CLOSE, send("d3", _unfollow(2, "bob")), CLOSE, settings=ROWS),
    both("what-is-kept", "sums, extremes, sets and firsts ignore deletions",
         _channel(1, "alice", post_count=1, peak=3, tags="a", creator="alice", title="a", traits={"x": 1}),
         delta(2, "bob", channels_removed=["c"]), settings=ROWS),
    both("dedup-written-again", "the record of the earliest write, and the stamp of the latest",
         delta(1, "alice", votes=[{"id": 1, "weight": 1}]), delta(2, "bob", votes_removed=[1]),
         delta(3, "carol", votes=[{"id": 1, "weight": 2}]), settings=ROWS),
    both("forms-of-keys", "keys, lists of parts, records, bare strings", delta(1, "alice", votes=["n:7", {"id": "x"},
        {"id": 3}]),
         delta(2, "bob", votes_removed=["n:7", {"id": "x", "more": 1}, 3]), settings=ROWS),
    both("names-no-key", "is a misfit", delta(1, "alice", votes_removed=[True, {"by": 1}, [1, 2, 3]]), settings=ROWS),
    both("sum-deleted-and-added", "the total goes on", delta(1, "alice", totals=[{"name": "a", "n": 1}]),
         delta(2, "bob", totals_removed=["a"]), delta(3, "carol", totals=[{"name": "a", "n": "<<0.5>>"}]),
             settings=ROWS),
]  # fmt: skip


def _claim(second: int, stream: str, /, frame: int = 1, **fields: object) -> str:
    return delta(second, stream, frame, claims=[{"resource": "r", **fields}])


CLAIMS = [
    both("granted-and-refused", "the earlier stamp is granted it", _claim(2, "alice", why="x"), _claim(1, "bob",
        why="y"), settings=ROWS),
    history("later-frame-cannot-take-back", "a late claim changes no decision, whatever its stamp",
            send("d1", _claim(5, "alice")), CLOSE, send("d2", _claim(1, "bob")), CLOSE, settings=ROWS),
    history("renewed", "by the holder, through the closing frame and ttl", send("d1", _claim(1, "alice")), CLOSE,
            send("d2", _claim(1, "alice", frame=2, op="renew")), CLOSE, settings=ROWS),
    history("expired", "after `until` somebody else is granted it", send("d1", _claim(1, "alice", why="x")), CLOSE,
        CLOSE, CLOSE,
            send("d2", _claim(1, "bob", frame=4)), CLOSE, settings=ROWS),
    history("not-yet-expired", "in frame `until` it is held still", send("d1", _claim(1, "alice")), CLOSE, CLOSE,
            send("d2", _claim(1, "bob", frame=3)), CLOSE, settings=ROWS),
    history("released", "ends it, and leaves a tombstone", send("d1", _claim(1, "alice")), CLOSE,
            send("d2", _claim(1, "alice", frame=2, op="release")), CLOSE, settings=ROWS),
    history("released-and-granted-at-once", "in order of stamps within the close", send("d1", _claim(1, "alice")),
        CLOSE,
            send("d2", _claim(1, "alice", frame=2, op="release")), send("d3", _claim(2, "bob", frame=2)),
            send("d4", _claim(3, "alice", frame=2)), CLOSE, settings=ROWS),
    both("renew-and-release-by-others", "are refused", _claim(1, "alice"), _claim(2, "bob", op="renew"),
         _claim(3, "bob", op="release"), _claim(4, "alice"), settings=ROWS),
    both("unknown-op", "does not fit", _claim(1, "alice", op="steal"), settings=ROWS),
    both("own-names", "a record's own holder, since and until are replaced", _claim(1, "alice", holder="bob", since=9,
        until=99), settings=ROWS),
]  # fmt: skip


def several(name: str, about: str, *texts: str, settings: str | None = None) -> Given:
    """A case of deltas that one commit on `main` brings."""
    return history(name, about, commit("all", {f"d{n}.json": text for n, text in enumerate(texts)}), settings=settings)
