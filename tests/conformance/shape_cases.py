"""Vectors about the shapes of deltas: messy records, keys, attachments, intake; books and views."""

from __future__ import annotations

from tests.conformance.make import CLOSE, Given, commit, delta, send
from tests.conformance.merge_cases import ROWS, both, history


def one(name: str, about: str, settings: str | None = None, /, **sections: object) -> Given:
    """A case of a single delta."""
    return both(name, about, delta(1, "alice", 1, **sections), settings=settings)


RECORDS = [
    one("aliases-of-fields", "the first name that is present counts, others stay fields",
        posts_created=[{"discussion": 1, "title": "a"}, {"number": 2, "discussion": 9}, {"discussion_number": None,
            "number": 3}]),
    one("aliases-of-sections", "are one collection", profile_updates=[{"agent": "a", "x": 1}],
        agent_updates={"a": {"y": 2}},
        agents_updated=[{"agent": "a", "fields": {"x": 3}}]),
    one("section-that-is-no-list", "is a list of one", posts_created={"number": 1, "title": "a"}, observations="x"),
    one("null-section", "is empty", posts_created=None, observations=None, other=None),
    one("bare-keys", "a number or string is a record with only the key", posts_created=[1, "2", "x"],
        books_started="tides"),
    one("decimal-strings", "are integers in keys alone", posts_created=[{"number": "7", "title": "7"},
        {"number": "007"}, {"number": "-1"}]),
    one("misfits", "records without a usable key are kept unchanged",
        posts_created=[{"title": "no key"}, {"number": 1.5}, {"number": True}, [1], None, True]),
    one("reserved-names", "make a misfit, stored under value", posts_created=[{"number": 1, "_stamp": 1}],
        observations=[{"_deleted": 0}],
        other=[{"_stamps": {}}]),
    one("empty-field-name", "makes a misfit where single fields are joined", ROWS,
        posts_created=[{"number": 1, "": 2}],
        observations=[{"": 2}], counters=[{"name": "a", "": 1}], bags=[{"name": "a", "": 1}], votes=[{"id": 1, "": 1}]),
    one("unknown-sections", "are appended", alpha=[1, {"x": 1}, [2], None], **{"a/b é": {"y": 1}, "..": "z"}),
    one("counters-of-two-forms", "members that are no numbers are misfits of their own", counters={"a": 1, "b": "2",
        "c": None}),
    one("counters-as-one-record", "if a member names the key", counters={"name": "a", "value": 2}),
    one("maps-that-name-the-key", "are read by name if all members have the form", counters={"name": 5, "x": 1},
        profile_updates={"agent": {"x": 1}}),
    one("profiles-in-three-forms", "by name, with fields, and flat", profile_updates={"a": {"x": 1},
        "b": {"agent": "z", "fields": {}}},
        agent_updates=[{"agent": "c", "fields": {"x": 1}, "y": 2}, {"agent": "d", "x": 1}, {"agent": "e",
            "fields": {"agent": "f"}}]),
    one("reactions-as-strings", "node and type; without a colon the node", reactions_added=["1:up", "n:up:x", "n",
        ":up", "7"]),
    one("comments", "by id, by text, or appended", comments_added=[{"id": 1, "body": "x"}, {"number": 1, "agent": "a",
        "body": "x"},
        {"discussion": 1, "author": "a", "body": "x", "n": 2}, {"number": 1, "author": "a"}, {"number": 1,
            "author": "a"}, 5]),
    one("collapsed", "repeats inside one delta count", posts_created=[{"number": 1, "a": 1}, {"number": 1, "a": 1}]),
    one("dotted-section", "is taken out of its parent", ROWS, meta={"channels": {"c": {"title": "x"}},
        "more": 1}),
    one("map-members", "a member under another name, or that is no object, is a misfit", ROWS,
        channels_updated={"c": {"id": "d"}, "e": 5, "7": {"id": 7}}),
    one("alternatives-of-keys", "the first whose fields are there; confusable ones are told apart", ROWS,
        votes=[{"id": "n", "agent": 1}, {"node": "n", "agent": 1}, "n:1", "x"], pins=[{"slug": "a"}, {"id": "a"}, 1]),
    one("traceparent", "is a section like any other", traceparent="00-" + "a" * 32 + "-" + "b" * 16 + "-01"),
    history("meta-as-header", "what is left of _meta is a section", commit("d1", {"d1.json":
        '{"_meta":{"frame":1,"timestamp":"2026-01-01T00:00:01Z","node_id":"alice","by":"x"},"utc":null}'}, "dc/alice")),
    history("string-frame", "the header is no section, however it is written", commit("d1", {"d1.json":
        '{"frame":"01","completed_at":"2026-01-01T01:00:01+01:00","timestamp":"?","stream_id":"alice"}'}, "dc/alice")),
]  # fmt: skip

_NOTES = '[collections.notes]\ncontent = "body"\nrule = "first"\n'
_TEXTS = '[collections.notes]\nkey = [["id"], ["by"]]\ncontent = "body"\nrule = "dedup"\ndelete = "notes_removed"\n'

ALTERNATIVES = [
    both("confusable", "an id and a slug of one value are two entities, also when they come again",
         delta(1, "alice", pins=[{"slug": "a", "by": 1}, {"id": "a", "by": 2}]),
         delta(2, "bob", pins=[{"slug": "a", "by": 3}, {"id": "a", "by": 2}], unpinned=["a"]),
         delta(3, "carol", unpinned=[{"slug": "a"}]), settings=ROWS),
    both("of-different-lengths", "are told apart by their lengths", delta(1, "alice", votes=["n:1", {"id": "n"}]),
         delta(2, "bob", votes=[{"node": "n", "agent": 1, "weight": 2}, {"id": "n", "weight": 1}]), settings=ROWS),
    both("under-lww", "each entity has the fields of its own key", delta(1, "alice", boats=[{"id": 1, "node": "n"},
        {"node": "n", "agent": "a", "x": 1}]),
         delta(2, "bob", boats=[{"id": "1", "agent": 5}, {"node": "n", "agent": "a", "id": None, "x": 2}],
             boats_removed=[3, ["n", "z"]]),
         settings='[collections.boats]\nkey = [["id"], ["node", "agent"]]\nrule = "lww"\ndelete = "boats_removed"\n'),
    both("text-alone", "a key may be a text and nothing else", delta(1, "alice", notes=[{"body": "x"}, {"body": "y",
        "n": 1}]),
         delta(2, "bob", notes=[{"body": "y"}]), settings=_NOTES),
    both("no-text-at-all", "appended records have their stamps as keys", delta(1, "alice", notes=[{"n": 1}, {"n": 1},
        {"body": ""}]),
         delta(2, "bob", notes=[{"n": 1}]), settings=_NOTES),
    both("text-and-fields-of-one-length", "a text and two fields could be confused, so the fields are named",
         delta(1, "alice", notes=[{"by": "x", "body": "y"}, {"a": "x", "b": "y"}]),
         delta(2, "bob", notes=[{"by": "x", "body": "y", "n": 1}, {"a": "x", "b": "y", "n": 1}]),
         settings='[collections.notes]\nkey = [["a", "b"], ["by"]]\ncontent = "body"\nrule = "first"\n'),
    both("text-or-id", "the text is part of the last alternative alone", delta(1, "alice", notes=[{"id": 1,
        "body": "x"},
         {"by": "a", "body": "x"}, {"by": "a"}]), delta(2, "bob", notes=[{"id": 1, "body": "y"}, {"by": "a",
             "body": "x", "n": 2}, {"by": "a"}]),
         delta(3, "carol", notes_removed=[["a", "x"], ["a"], {"by": "a"}]), settings=_TEXTS),
    both("integers-in-keys", "a decimal string and the integer are one key, a longer form is another",
         delta(1, "alice", posts_created=[{"number": 7, "a": 1}, {"number": "07", "a": 2}, {"number": "-0", "a": 3}]),
         delta(2, "bob", posts_created=[{"number": "7", "b": 1}, {"number": "18446744073709551616"},
             {"number": "\u0667"}])),
    both("nullable", "a reaction without agent is another one than one with an agent",
         delta(1, "alice", reactions_added=[{"node": 1, "type": "up"}, {"node": 1, "type": "up", "agent": "a"}]),
         delta(2, "bob", reactions_added=[{"target": 1, "emoji": "up", "author": None}, {"number": "1",
             "reaction": "up", "author": "a"}])),
]  # fmt: skip

ATTACHMENTS = [
    history("filled-in", "the text goes into the field, the reference stays", send("d1", delta(1, comments_added=[
        {"number": 1, "author": "a", "body_ref": "note.md"}]), note_md="hello\n")),
    history("given-already", "the field's own text counts", send("d1", delta(1, observations=[{"body": "own",
        "body_ref": "note.md"}]), note_md="x")),
    history("unresolved", "is in the ledger, and the reference stays", send("d1", delta(1,
        observations=[{"body_ref": "gone.md"}, {"x_ref": "../x"}]))),
    history("only-from-its-own-commit", "an attachment that comes later is found nowhere",
            send("d1", delta(1, observations=[{"body_ref": "note.md"}])),
            commit("d2", {"state/stream_deltas/1/d1/note.md": "late"}, "dc/alice")),
    history("new-text-is-a-new-delta", "if the JSON changes with it; both versions count",
            send("d1", delta(1, comments_added=[{"number": 1, "author": "a", "body_ref": "note.md"}]), note_md="one"),
            {**send("d1", delta(1, comments_added=[{"number": 1, "author": "a", "body_ref": "note.md", "n": 2}]),
                note_md="two"),
             "commit": "again"}),
    history("large-lines", "two lines of more than 512 KiB together are two files", {
        **send("d1", delta(1, observations=[{"x_ref": "note.md"}, {"y_ref": "note.md"}])),
        "files": {"state/stream_deltas/1/d1.json": delta(1, observations=[{"x_ref": "note.md"}]),
                  "state/stream_deltas/1/d2.json": delta(2, observations=[{"x_ref": "note.md"}]),
                  "state/stream_deltas/1/note.md": {"repeat": "0123456789abcdef", "times": 16385}}}),
]  # fmt: skip


def _chapter(number: object, author: str = "alice", /, **fields: object) -> Given:
    return {"book": "tides", "chapter": number, "author": author, "content": f"chapter {number}", **fields}


def _page(target: object, **fields: object) -> Given:
    return {"book": "tides", "title": "Tides", "target_chapters": target, **fields}


BOOKS = [
    both("compiled", "in the frame in which the last number arrives",
         delta(1, "alice", books_started=[_page(2, author="a", tags=["x"], version="1.0.0")],
             chapters_added=[_chapter(2, title="Two")]),
         delta(2, "bob", chapters_added=[_chapter(1, "bob", part="I", discussion_number=7)])),
    both("in-progress", "one number is missing", delta(1, "alice", books_started=[_page(3)],
        chapters_added=[_chapter(1), _chapter(3)])),
    both("alternates", "the chapter with the latest stamp is in the book", delta(1, "alice", books_started=[_page(1)],
        chapters_added=[_chapter(1)]),
         delta(2, "bob", chapters_added=[_chapter(1, "bob")]), delta(3, "carol", chapters_added=[_chapter("1",
             "carol")])),
    both("ties-in-one-delta", "the later author wins", delta(1, "alice", books_started=[_page(1)],
        chapters_added=[_chapter(1, "b"), _chapter(1, "a")])),
    both("words-and-minutes", "words are separated by white space, half a minute is even",
         delta(1, "alice", books_started=[_page(1)], chapters_added=[_chapter(1, content="w\u2003w\n" * 187 + "w")])),
    both("defaults", "of a title page with nothing else", delta(1, "alice", books_started=[{"book": 7,
        "target_chapters": "1"}],
         chapters_added=[{"book": 7, "chapter": 1, "author": "a"}])),
    both("no-target", "what is no target leaves the book open", delta(1, "alice", books_started=[_page(0)],
        chapters_added=[_chapter(1)])),
    both("text-chapter", "is kept, but is not counted", delta(1, "alice", books_started=[_page(2)],
        chapters_added=[_chapter(1), _chapter("intro")])),
    history("revised", "follows every later delta", send("d1", delta(1, "alice", books_started=[_page(1)],
        chapters_added=[_chapter(1)])), CLOSE,
            send("d2", delta(1, "bob", 2, chapters_added=[_chapter(1, content="better")])), CLOSE),
    history("target-raised-after", "a complete book stays published", send("d1", delta(1, "alice",
        books_started=[_page(1)], chapters_added=[_chapter(1)])),
            CLOSE, send("d2", delta(1, "bob", 2, books_started=[{"book": "tides", "target_chapters": 2}])), CLOSE),
    history("target-lowered", "completes it", send("d1", delta(1, "alice", books_started=[_page(2)],
        chapters_added=[_chapter(1)])), CLOSE,
            send("d2", delta(1, "bob", 2, books_started=[{"book": "tides", "target_chapters": 1}])), CLOSE),
    history("late-target-reopens", "as if it had arrived in time", send("d1", delta(1, "alice",
        books_started=[_page(1)])),
            send("d2", delta(3, "alice", chapters_added=[_chapter(1)])), CLOSE,
            send("d3", delta(2, "bob", books_started=[{"book": "tides", "target_chapters": 2}])), CLOSE),
]  # fmt: skip


def _view(**keys: str) -> str:
    lines = "".join(f"{name} = {value}\n" for name, value in keys.items())
    return f"[views.v]\n{lines}"


_AGENTS = delta(1, "alice", profile_updates={"a": {"mood": "calm", "n": "<<1.50>>"}, "7": {"mood": None}})

VIEWS = [
    both("map", "records by key, without the key field", _AGENTS, settings=_view(collection='"agents"',
        path='"state/agents.json"', shape='"map"')),
    both("map-with-meta", "wrapped, and named when it changed", _AGENTS,
         settings=_view(collection='"agents"', path='"agents.json"', shape='"map"', under='"agents"', meta='"_meta"',
             stamps="true", inside="true")),
    both("list", "complete records in key order", _AGENTS, settings=_view(collection='"agents"', path='"agents.json"')),
    both("lines", "a record a line", _AGENTS, settings=_view(collection='"agents"', path='"agents.jsonl"',
        shape='"lines"')),
    both("renamed", "unless there is another field of that name", delta(1, "alice", profile_updates={"a": {"mood": 1},
        "b": {"mood": 1, "state": 2}}),
         settings=_view(collection='"agents"', path='"agents.json"', shape='"map"', rename='{ mood = "state" }')),
    both("counters", "are numbers", delta(1, "alice", counters={"a": 1, "b": "<<0.5>>"}),
         settings=_view(collection='"counters"', path='"counters.json"', shape='"map"')),
    both("keys-of-several-parts", "are percent-encoded and joined", delta(1, "alice", chapters_added=[{"book": "a/b é",
        "chapter": 1, "author": "x"}]),
         settings=_view(collection='"chapters"', path='"chapters.json"', shape='"map"')),
    both("keys-of-alternatives", "name their field where they could be confused, and null is a star",
         delta(1, "alice", pins=[{"slug": "a/b"}, {"id": "a"}], reactions_added=["n:up", {"id": "x"}, {"node": 1,
             "type": "*", "agent": "a"}]),
         settings=ROWS + _view(collection='"pins"', path='"pins.json"', shape='"map"') + _view(
             collection='"reactions"', path='"reactions.json"', shape='"map"').replace("views.v", "views.w")),
    both("keys-with-texts", "a missing text is a star and a number",
         delta(1, "alice", comments_added=[{"number": 1, "author": "a", "body": "x y"}, {"number": 1, "author": "a"},
             {"id": 5},
               {"number": 1, "author": "a", "n": 2}, {"number": 2, "author": "a"}]),
         settings=_view(collection='"comments"', path='"comments.json"', shape='"map"')),
    both("meta-and-an-entity-of-that-name", "the entity is not in the file", delta(1, "alice",
        profile_updates={"_meta": {"x": 1}, "a": {"x": 2}}),
         settings=_view(collection='"agents"', path='"agents.json"', shape='"map"', meta='"_meta"')),
    both("appended", "by stamp and position", delta(2, "alice", observations=["b", {"n": 1}]), delta(1, "bob",
        observations=["a"]),
         settings=_view(collection='"observations"', path='"o.jsonl"', shape='"lines"', stamps="true")),
    history("unchanged", "a view of which nothing changed names the frame in which it last did", send("d1", _AGENTS),
        CLOSE, CLOSE,
            settings=_view(collection='"agents"', path='"agents.json"', shape='"map"', under='"agents"', meta='"m"')),
    both("tombstones", "are not in a view", delta(1, "alice", channels_updated={"c": {"title": 1}, "d": {"title": 2}}),
         delta(2, "bob", channels_removed=["c"]), settings=ROWS + _view(collection='"channels"', path='"c.json"')),
]  # fmt: skip
