"""Generated deltas for the law: few keys, few times and messy records, so that everything collides."""

from __future__ import annotations

import json
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
    extra = {"title": values, "mood": values, "_stamp": scalars}
    return st.fixed_dictionaries({}, optional={**fields, **extra})


posts = record(discussion_number=numbers, number=numbers)
comments = record(
    discussion=numbers, author=names, agent=names, body=bodies, body_ref=st.sampled_from(["a.md", "b.md", "../c"])
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
reactions = record(node=names, target=names, agent=names, type=names)
profiles = record(agent=names, fields=st.dictionaries(st.sampled_from(["mood", "agent", "x"]), values, max_size=2))
whole = st.dictionaries(names, st.one_of(st.integers(-(2**70), 2**70), scalars), max_size=3)


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
        "reactions_added": section(reactions),
        "counters": st.one_of(whole, section(record(name=names, value=st.integers(-5, 5)))),
        "observations": section(values),
        "claims": section(record(resource=names)),
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


@st.composite
def deltas(draw: st.DrawFn) -> Sent:
    frame = draw(st.sampled_from(FRAMES))
    head = {
        "frame": draw(st.sampled_from([frame, str(frame)])),
        "utc": draw(st.sampled_from(["2026-01-01T00:00:00Z", "2026-01-01T01:00:00+01:00", "2026-01-01T00:00:00.25Z"])),
        "stream_id": draw(st.sampled_from(STREAMS)),
    }
    raw = json.dumps({**head, **draw(bodies_of_deltas)}, ensure_ascii=draw(st.booleans())).encode()
    return Sent(raw, tuple(draw(attachments)))


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
        "claims": [{"resource": name, **draw(fields)}],
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
