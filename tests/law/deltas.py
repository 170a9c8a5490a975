"""Generated deltas for the law: few keys, few times and messy records, so that everything collides."""

from __future__ import annotations

import json
import re
from typing import Any

from hypothesis import strategies as st

from tests.law.model import Sent

FRAMES = (1, 2, 3)
STREAMS = ("a", "b", "stream é")

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.sampled_from([0.5, -0.0, 1.0, 1e22]),
    st.sampled_from(["", "x", "y", "7", "a:b", "\t\n", "é😀"]),
)
values = st.one_of(scalars, st.lists(scalars, max_size=2), st.dictionaries(st.sampled_from("pq"), scalars, max_size=2))
names = st.sampled_from(["n1", "n2", "7", "007", "-1"])
numbers = st.one_of(st.integers(1, 3), st.sampled_from(["1", "2", "x", None, 1.5, True]))
bodies = st.sampled_from(["hello", "", None, "it's", 5])


def record(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    extra = {"title": values, "mood": values, "_stamp": scalars, "_deleted": scalars}
    return st.fixed_dictionaries({}, optional={**fields, **extra})


posts = record(discussion_number=numbers, number=numbers)
ids = st.sampled_from(["i1", "i1", "7", 7, None, 1.5])
comments = record(
    id=ids,
    comment_id=ids,
    discussion=numbers,
    author=names,
    agent=names,
    body=bodies,
    body_ref=st.sampled_from(["a.md", "b.md", "../c"]),
)
chapters = record(book=names, chapter=numbers, number=numbers, author=names)
titles = st.sampled_from(["b1", "7", 7])
written = st.fixed_dictionaries(
    {"book": titles, "chapter": st.sampled_from([1, 2, 3, "2", "intro", -1]), "author": names},
    optional={
        "content": st.sampled_from(["some words", "", "é\u2003ß", None, 3]),
        "body": bodies,
        "title": values,
        "part": scalars,
        "content_ref": st.sampled_from(["a.md", "b.md"]),
    },
)
targets = st.sampled_from([1, 2, 2, 3, 3, "2", None, 0, -1, True, 2.0, "x"])
pages = st.fixed_dictionaries(
    {"book": titles}, optional={"target_chapters": targets, "title": values, "genre": scalars, "metadata": values}
)
reactions = record(id=ids, node=names, target=names, number=numbers, agent=names, type=names, emoji=names)
strings = st.sampled_from(["n1", "n1:up", "n2:n1", "a:b:c", ":x", "x:", "7"])
profiles = record(agent=names, fields=st.dictionaries(st.sampled_from(["mood", "agent", "x"]), values, max_size=2))
LITERALS = ["0.1", "0.2", "-0.3", "1e-7", "12345678901234567.891", "1e22", "-0.0", "1.0", "2.50"]
decimals = st.sampled_from([f"<<{literal}>>" for literal in LITERALS])
"""Numbers that are written into the JSON as they stand here: a float would not keep all their digits."""

addends = st.one_of(st.integers(-3, 3), decimals, decimals)
whole = st.dictionaries(names, st.one_of(st.integers(-(2**70), 2**70), decimals, scalars), max_size=3)

trees: st.SearchStrategy[Any] = st.recursive(
    st.sampled_from([0, 1, "x", None, [], {}]),
    lambda inner: st.dictionaries(st.sampled_from("pq"), inner, max_size=2),
    max_leaves=4,
)
channel = st.fixed_dictionaries(
    {},
    optional={
        "post_count": st.one_of(addends, addends, scalars),
        "peak": scalars,
        "low": scalars,
        "tags": values,
        "creator": scalars,
        "traits": trees,
        "title": scalars,
        "id": st.sampled_from(["c1", "7", 7]),
        "_stamps": scalars,
    },
)
channel_ids = st.sampled_from(["c1", "c1", "7", "c2"])
channels = st.one_of(
    st.dictionaries(channel_ids, st.one_of(channel, channel, channel, scalars), max_size=2),
    st.lists(st.builds(lambda one, name: {**one, "id": name}, channel, channel_ids), max_size=2),
)
edges = st.sampled_from(["a", "b"])
follows = st.fixed_dictionaries({"follower": edges, "followee": edges}, optional={"since": scalars, "note": values})
votes = st.fixed_dictionaries({}, optional={"id": ids, "node": names, "agent": names, "weight": scalars})
pins = st.fixed_dictionaries({}, optional={"id": edges, "slug": edges, "by": scalars})
named = st.sampled_from(["a", "b"])
totals = st.fixed_dictionaries({"name": named}, optional={"sum": st.one_of(addends, addends, scalars), "n": addends})
lows = st.fixed_dictionaries({"name": named}, optional={"best": values, "worst": scalars})
tasks = st.fixed_dictionaries(
    {"resource": st.sampled_from(["r1", "r2"])},
    optional={"op": st.sampled_from(["claim", "claim", "renew", "release", "steal", None]), "why": scalars},
)


def section(records: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(st.lists(st.one_of(records, records, scalars), max_size=4), records, scalars)


bodies_of_deltas = st.fixed_dictionaries(
    {},
    optional={
        "posts_created": section(posts),
        "comments_added": section(comments),
        "chapters_added": section(st.one_of(written, written, chapters)),
        "chapters_written": section(st.one_of(written, written, chapters)),
        "books_started": section(st.one_of(pages, pages, record(book=names))),
        "profile_updates": st.one_of(
            section(profiles), st.dictionaries(names, st.one_of(profiles, scalars), max_size=2)
        ),
        "agents_updated": section(profiles),
        "reactions_added": section(st.one_of(reactions, reactions, strings)),
        "counters": st.one_of(whole, section(record(name=names, value=st.integers(-5, 5)))),
        "observations": section(values),
        "firsts": section(record(resource=names)),
        "channels_updated": channels,
        "meta": st.fixed_dictionaries({}, optional={"channels": st.one_of(st.none(), channels), "n": scalars}),
        "channels_removed": section(st.one_of(channel_ids, channel)),
        "follows": section(follows),
        "unfollowed": section(st.one_of(follows, st.lists(edges, max_size=3))),
        "votes": section(st.one_of(votes, votes, strings)),
        "votes_removed": section(st.one_of(votes, strings, st.lists(names, max_size=2))),
        "pins": section(st.one_of(pins, pins, edges)),
        "unpinned": section(st.one_of(pins, edges)),
        "lows": section(lows),
        "lows_removed": section(named),
        "totals": section(totals),
        "totals_removed": section(named),
        "bags": section(lows),
        "bags_removed": section(named),
        "claims": section(st.one_of(tasks, tasks, scalars)),
        "scores": section(record(player=names, best=values)),
        "tags": section(record(page=names, tags=values)),
        "something else": section(values),
        "timestamp": scalars,
    },
)

attachments = st.lists(
    st.tuples(st.sampled_from(["a.md", "b.md"]), st.sampled_from([b"one", b"two"])),
    max_size=2,
    unique_by=lambda f: f[0],
)


def written_out(document: Any, *, ascii_only: bool = False) -> bytes:
    """A document as JSON; a string `<<1e-7>>` is written as that number, with all its digits."""
    raw = json.dumps(document, ensure_ascii=ascii_only)
    return re.sub(r'"<<([^"<>]+)>>"', r"\1", raw).encode()


@st.composite
def headers(draw: st.DrawFn) -> dict[str, Any]:
    """Frame, UTC and stream, at the top or inside `_meta`, among members that are no header."""
    frame = draw(st.sampled_from(FRAMES))
    utc = draw(st.sampled_from(["2026-01-01T00:00:00Z", "2026-01-01T01:00:00+01:00", "2026-01-01T00:00:00.25Z"]))
    head = {
        "frame": draw(st.sampled_from([frame, str(frame)])),
        "utc": utc,
        "stream_id": draw(st.sampled_from(STREAMS)),
    }
    names = {"frame": "frame", "utc": "timestamp", "stream_id": "node_id"}
    inside = draw(st.lists(st.sampled_from(sorted(names)), unique=True, max_size=3)) if draw(st.booleans()) else []
    if inside or draw(st.integers(0, 3)) == 0:
        meta = {names[name]: head.pop(name) for name in inside}
        head["_meta"] = {**meta, **draw(st.dictionaries(st.sampled_from(["n", "frame"]), scalars, max_size=1)), **meta}
    return head


@st.composite
def deltas(draw: st.DrawFn) -> Sent:
    document = {**draw(headers()), **draw(bodies_of_deltas)}
    if "utc" not in document and isinstance(document.get("timestamp"), str):
        del document["timestamp"]  # it would be the UTC, before the one in `_meta`
    return Sent(written_out(document, ascii_only=draw(st.booleans())), tuple(draw(attachments)))


sets_of_deltas = st.lists(deltas(), min_size=1, max_size=8)

small = st.sampled_from([0, 1, "x", None])
fields = st.fixed_dictionaries({"mood": small}, optional={"title": small})


@st.composite
def colliding(draw: st.DrawFn) -> Sent:
    """A delta that sets few fields of few entities, so that streams conflict."""
    number, name = draw(st.integers(1, 2)), draw(st.sampled_from(["n1", "n2"]))
    head = {
        "frame": draw(st.sampled_from(FRAMES)),
        "utc": f"2026-01-01T00:00:0{draw(st.integers(0, 3))}Z",
        "stream_id": draw(st.sampled_from(STREAMS)),
    }
    sections: dict[str, Any] = {
        "posts_created": [{"number": number, **draw(fields)}, {"number": 1, **draw(fields)}],
        "profile_updates": {name: draw(fields)},
        "firsts": [{"resource": name, **draw(fields)}],
        "channels_updated": {"c1": {"traits": {"p": draw(small)}, "creator": draw(small), **draw(fields)}},
        "comments_added": [{"discussion": 1, "author": name, "body": "b", **draw(fields)}],
    }
    chosen = draw(st.lists(st.sampled_from(sorted(sections)), min_size=1, max_size=3, unique=True))
    return Sent(json.dumps({**head, **{name: sections[name] for name in chosen}}).encode())


colliding_deltas = st.lists(colliding(), min_size=3, max_size=9)


@st.composite
def deltas_of_books(draw: st.DrawFn) -> Sent:
    """A delta of title pages and chapters alone, so that books are completed, revised and raised all the time."""
    frame = draw(st.sampled_from(FRAMES))
    body: dict[str, Any] = {
        "frame": frame,
        "utc": f"2026-01-01T00:00:0{draw(st.integers(0, 9))}Z",
        "stream_id": draw(st.sampled_from(STREAMS)),
        "chapters_added": draw(st.lists(written, max_size=3)),
    }
    if draw(st.booleans()):
        body["books_started"] = draw(st.lists(pages, max_size=2))
    return Sent(json.dumps(body).encode(), tuple(draw(attachments)))


sets_of_books = st.lists(deltas_of_books(), min_size=2, max_size=12)


@st.composite
def deltas_with_deletions(draw: st.DrawFn) -> Sent:
    """A delta that writes and deletes the same few entities, at few times."""
    head = {
        "frame": draw(st.sampled_from(FRAMES)),
        "utc": f"2026-01-01T00:00:0{draw(st.integers(0, 2))}Z",
        "stream_id": draw(st.sampled_from(STREAMS)),
    }
    sections = {
        "follows": st.lists(follows, min_size=1, max_size=2),
        "unfollowed": st.lists(st.tuples(edges, edges).map(list), min_size=1, max_size=2),
        "channels_updated": st.dictionaries(st.just("c1"), channel, min_size=1),
        "channels_removed": st.just(["c1"]),
        "votes": st.lists(votes, min_size=1, max_size=2),
        "votes_removed": st.lists(votes, min_size=1, max_size=2),
        "pins": st.lists(pins, min_size=1, max_size=2),
        "unpinned": st.lists(pins, min_size=1, max_size=2),
        "totals": st.lists(totals, min_size=1, max_size=2),
        "totals_removed": st.lists(named, min_size=1, max_size=2),
        "lows": st.lists(lows, min_size=1, max_size=2),
        "lows_removed": st.lists(named, min_size=1, max_size=2),
        "bags": st.lists(lows, min_size=1, max_size=2),
        "bags_removed": st.lists(named, min_size=1, max_size=2),
        "claims": st.lists(tasks, min_size=1, max_size=2),
    }
    chosen = draw(st.lists(st.sampled_from(sorted(sections)), min_size=1, max_size=4, unique=True))
    return Sent(written_out({**head, **{name: draw(sections[name]) for name in chosen}}))


sets_with_deletions = st.lists(deltas_with_deletions(), min_size=2, max_size=9)
