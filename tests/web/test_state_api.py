"""Collections, single entities, search, ledgers and receipts over HTTP, and the ETags of what follows from digests."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import pytest

from dreamcatcherd.core.codec import canonical
from dreamcatcherd.core.export import public_record
from dreamcatcherd.core.paths import ledger_path
from dreamcatcherd.core.tree import blob_at
from dreamcatcherd.history.queries import entities, view
from dreamcatcherd.web import history_api, state_api
from tests.e2e.tools import wait_for
from tests.stages.tools import FOLDER, text
from tests.web.served import Answer, Served, serve_history


def shown(served: Served, collection: str, key: str | None = None, frame: int | None = None) -> Any:
    """What `show --json` prints."""
    last = served.primary.last
    assert last is not None
    found = entities(served.primary.store, view(served.primary.store, last.published, frame), collection, key)
    return json.loads(canonical([public_record(item) for item in found]))


def get(served: Served, path: str, **headers: str) -> Answer:
    return served.get(f"/api/v1{path}", "GET", None, None, **headers)


def pages(served: Served, path: str) -> list[Answer]:
    """An answer and all those that its links lead to."""
    found = [get(served, path)]
    base = path.partition("?")[0]
    while link := found[-1].headers["link"]:
        assert link.endswith('; rel="next"')
        found.append(get(served, base + link.partition(">")[0].removeprefix("<")))
        assert found[-1].code == 200
    return found


def test_the_index_names_every_path(served: Served) -> None:
    """It needs no repository, and each path that needs no more is answered."""
    paths = get(served, "").json["paths"]
    assert "/api/v1/collections/{name}" in paths
    assert "/api/v1" in paths
    serve_history(served)
    for path in paths:
        if "{" not in path and not path.endswith("/events"):
            assert served.get(path).code in (200, 400, 405), path


def test_collections_are_listed_by_name(served: Served) -> None:
    """With rule, key, sections and count; each section of extra is one, also over several pages."""
    served.push("a", 1, posts_created=[{"number": 1}], oddity=[1, 2])
    served.close()
    rows = {row["name"]: row for row in get(served, "/collections").json}
    assert rows["posts"] == {
        "name": "posts",
        "rule": "lww",
        "key": [["discussion_number"]],
        "sections": ["posts_created"],
        "entities": 1,
    }
    assert rows["comments"]["key"] == [["id"], ["discussion_number", "author", "body"]]
    assert rows["observations"]["key"] == []
    assert rows["extra/oddity"] == {
        "name": "extra/oddity",
        "rule": "append",
        "key": [],
        "sections": ["oddity"],
        "entities": 2,
    }
    assert list(rows) == sorted(rows)
    assert [row for page in pages(served, "/collections?limit=3") for row in page.json] == list(rows.values())


@pytest.mark.parametrize("path", ["/collections", "/books"])
def test_names_of_any_length_are_on_the_way_through_a_list(path: str, served: Served) -> None:
    """A worker chooses the names of sections and books: no length of them makes a link that leads nowhere."""
    books = ["b" * 5_000 + end for end in ("", "c", "d")] + ["é" * 3_000, "t", "\0", "", 7, -1]
    sections = {"x" * 3_000 + end: [1] for end in ("", "y", "z")} | {"y" * 9_000: [2]}
    served.push_bytes(f"{FOLDER}/1/a.json", text(1, "a", 1, books_started=[{"book": one} for one in books], **sections))
    served.close()
    rows = get(served, f"{path}?limit=1000").json
    assert len(rows) >= len(books)
    assert [row for page in pages(served, f"{path}?limit=1") for row in page.json] == rows


def test_streams_that_deliver_between_two_pages_are_listed_once(served: Served) -> None:
    """They are listed by name: whoever delivers or falls silent meanwhile keeps its place."""
    names = [*"bcdefgh", "Ünï", "a b"]
    for at, name in enumerate(names):
        served.push(name, at)
    served.close()
    served.look()
    found = [get(served, "/streams?limit=2")]
    for at, late in enumerate("hgfb", 20):
        served.push(late, at, 2)
        served.close()
        served.look()
        link = found[-1].headers["link"].partition(">")[0].removeprefix("<")
        found.append(get(served, f"/streams{link}"))
    assert [row["stream_id"] for page in found for row in page.json] == sorted(names)
    assert found[-1].headers["link"] is None


def test_records_are_what_show_prints(served: Served) -> None:
    """Of every collection, now and after an earlier frame, by `next` as by the link."""
    serve_history(served)
    for name in [row["name"] for row in get(served, "/collections").json]:
        for frame in (None, 1, 3):
            query = "" if frame is None else f"&frame={frame}"
            found = pages(served, f"/collections/{quote(name, safe='')}?limit=1{query}")
            assert [record for page in found for record in page.json["records"]] == shown(served, name, None, frame)
            for page in found:
                assert (page.json["next"] is None) == (page.headers["link"] is None)
                assert page.json["next"] is None or quote(page.json["next"]) in page.headers["link"]


def test_the_empty_text_is_a_key_like_any_other(served: Served) -> None:
    """The record, its explanation and its page are there: a list that shows it leads to it."""
    agents = {"": {"mood": "calm"}, "x": {"mood": "low"}}
    served.push_bytes(f"{FOLDER}/1/a.json", text(1, "a", 1, profile_updates=agents))
    served.close()
    (record,) = [row for row in get(served, "/collections/agents").json["records"] if row["agent"] == ""]
    assert get(served, "/entity?collection=agents&key=").json == record
    assert get(served, "/explain?collection=agents&key=").json["fields"]["mood"]["value"] == "calm"
    page = served.get("/entity?collection=agents&key=")
    assert (page.code, "calm" in page.text) == (200, True)
    assert 'key="><bdi></bdi>' not in served.get("/collection?name=agents").text


def test_a_section_is_named_with_a_slash_or_without(served: Served) -> None:
    """Both spellings of a path lead to a section of extra, whatever its name is."""
    served.push_bytes(f"{FOLDER}/1/a.json", text(1, "a", 1, **{"x": [1], "x/y": [2], "é %2F": [3]}))
    served.close()
    for path, value in (("extra%2Fx", 1), ("extra/x", 1), ("extra/x/y", 2), ("extra%2Fx%2Fy", 2)):
        (record,) = get(served, f"/collections/{path}").json["records"]
        assert record["value"] == value
    name = quote("extra/é %2F", safe="")
    assert get(served, f"/collections/{name}").json["records"][0]["value"] == 3
    assert get(served, "/collections/extra/none").json == {"records": [], "next": None}


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/collections/", 404),
        ("/collections/nothing", 404),
        ("/collections/extra", 404),
        ("/collections/posts/1", 404),
        ("/collections/" + "x" * 5_000, 404),
        ("/collections/posts?frame=9", 404),
        ("/collections/posts?after=%C3%A9", 400),
        ("/collections/posts?after=a", 400),
        ("/collections/posts?after=AA", 400),
        ("/collections/posts?limit=0", 400),
        ("/collections?after=!", 400),
        ("/entity?collection=posts&key=9", 404),
        ("/entity?collection=posts&key=1&frame=9", 404),
        ("/entity?collection=nothing&key=1", 404),
        ("/entity?collection=chapters&key=b", 400),
        ("/entity?collection=posts", 400),
        ("/search", 400),
        ("/search?q=", 400),
        ("/search?q=" + "x" * 257, 400),
        ("/search?q=x&after=AA", 400),
        ("/search?q=x&after=-1-1&frame=1", 400),
        ("/search?q=x&frame=9", 404),
        ("/frames/9", 404),
        ("/frames/0", 404),
        ("/frames/-1", 400),
        ("/frames/x", 400),
        ("/frames/1e0", 400),
        ("/frames/9007199254740992", 400),
        ("/frames/1?x=1", 400),
        ("/frames/1/2", 404),
        ("/receipt", 400),
        ("/receipt?delta=nothing", 404),
    ],
)
def test_what_is_wrong_or_not_there_says_so(served: Served, path: str, code: int) -> None:
    """400 or 404, with what to do."""
    serve_history(served)
    served.push("c", 7, 4, chapters_added=[{"book": "b", "chapter": 2, "author": "c"}])
    served.close()
    found = get(served, path)
    assert found.code == code
    assert found.json["error"]
    assert found.json["remedy"]


def test_an_entity_is_the_one_record(served: Served) -> None:
    """By a key of one part and of several, now and earlier."""
    serve_history(served)
    assert get(served, "/entity?collection=posts&key=1").json == shown(served, "posts", "1")[0]
    assert get(served, "/entity?collection=posts&key=1&frame=1").json == shown(served, "posts", "1", 1)[0]
    assert get(served, "/entity?collection=chapters&key=b/1/late").json["content"] == "one two"


def test_a_search_is_led_through_one_snapshot(served: Served) -> None:
    """Its pages are those of the snapshot of the first one, whatever is closed in between."""
    served.push("a", 1, posts_created=[{"number": number, "title": "Needle"} for number in range(5)])
    served.close()
    first = get(served, "/search?q=needle&limit=2")
    assert [(hit["key"], hit["field"], hit["snippet"]) for hit in first.json] == [
        (0, "title", "Needle"),
        (1, "title", "Needle"),
    ]
    served.push("a", 2, 2, posts_created=[{"number": number, "title": "gone"} for number in range(5)])
    served.close()
    rest = pages(served, "/search" + first.headers["link"].partition(">")[0].removeprefix("<"))
    assert [hit["key"] for page in rest for hit in page.json] == [2, 3, 4]
    assert get(served, "/search?q=needle").json == []


def test_a_ledger_is_answered_as_it_is_stored(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Byte for byte, however long beyond the limit of other answers; and refused beyond its own."""
    serve_history(served)
    monkeypatch.setattr("dreamcatcherd.web.responses.ANSWER_BYTES", 10)
    last = served.primary.last
    assert last is not None
    for frame in (1, 2, 3):
        oid = blob_at(served.primary.store, last.published.ledgers, ledger_path(frame))
        assert oid is not None
        assert get(served, f"/frames/{frame}").text.encode() == served.primary.store.read(oid)
    monkeypatch.setattr(history_api, "LEDGER_BYTES", 10)
    served.push("z", 8)
    served.close()
    assert get(served, "/frames/1").code == 400


def test_a_page_holds_fewer_records_if_they_are_long(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """A record that is longer than a page is one alone, and the way goes on behind it."""
    served.push("a", 1, posts_created=[{"number": number, "body": "x" * 900} for number in range(6)])
    served.close()
    monkeypatch.setattr(state_api, "PAGE_BYTES", 2_500)
    found = pages(served, "/collections/posts")
    assert [len(page.json["records"]) for page in found] == [2, 2, 2]
    monkeypatch.setattr(state_api, "PAGE_BYTES", 10)
    assert len(pages(served, "/collections/posts?limit=5")) == 6


# Receipts ---------------------------------------------------------------------------------------------------------


def test_a_receipt_follows_a_delta(served: Served) -> None:
    """Unknown, pending, merged: each poll counts, and the remedy is that of the command."""
    served.look()
    path = f"{FOLDER}/1/mine.json"
    unknown = get(served, f"/receipt?delta={path}")
    assert (unknown.code, unknown.json["error"]) == (404, f"no delta '{path}' has arrived")
    assert "check the path" in unknown.json["remedy"]
    raw = text(1, "me", posts_created=[{"number": 1, "title": "mine"}])
    served.push_bytes(path, raw)
    (row,) = get(served, f"/receipt?delta={path}").json
    assert (row["outcome"], row["stream_id"], row["frame"]) == ("pending", "me", None)
    served.push("other", 1, posts_created=[{"number": 1, "title": "theirs"}])
    served.close()
    (row,) = get(served, f"/receipt?delta=./{path}").json
    assert (row["outcome"], row["frame"]) == ("merged", 1)
    assert [lost["field"] for lost in row["lost"]] == ["title"]
    assert get(served, f"/receipt?delta={row['blob']}").json == [row]
    assert get(served, "/receipt?delta=1/2026-01-01T00:00:00Z/me").json == [row]


def test_a_receipt_says_why_a_file_was_never_judged(served: Served) -> None:
    """As the command: a file that is no delta is named, with where it is."""
    served.push_bytes("docs/a.json", text(1))
    found = get(served, "/receipt?delta=docs/a.json")
    assert found.code == 404
    assert "outside state/stream_deltas" in found.json["error"]


def test_receipts_never_touch_the_loops_store(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also for what waits: it is what the last poll found."""
    serve_history(served)
    waiting = served.live_status.waiting
    assert waiting is not None
    path = waiting.inbox.arrivals[0].item.version.path

    def forbidden(_: str) -> bytes:
        raise AssertionError("the store of the loop")

    monkeypatch.setattr(served.primary.store, "read", forbidden)
    assert get(served, f"/receipt?delta={path}").json[0]["outcome"] == "pending"
    assert get(served, f"/receipt?delta={FOLDER}/1/bad.json").json[0]["outcome"] == "quarantined"


def test_polls_that_find_nothing_new_keep_their_receipts(served: Served) -> None:
    """Asked again after such a poll, nothing is read; a new delta counts at once."""
    serve_history(served)
    path = f"/receipt?delta={FOLDER}/1/bad.json"
    first = get(served, path).text
    reads = served.reader.reads
    for _ in range(3):
        served.look()
        assert get(served, path).text == first
    assert served.reader.reads == reads
    served.push_bytes(f"{FOLDER}/1/bad.json", b"[")
    wait_for(lambda: len(get(served, path).json) == 2)


# ETags ------------------------------------------------------------------------------------------------------------

TAGGED = (
    *("/log", "/log?limit=1", "/frames/1", "/diff?from=1&to=2", "/explain?collection=posts&key=1", "/books"),
    *("/quarantine", "/conflicts", "/collections", "/collections/posts", "/collections/posts?frame=1&limit=1"),
    *("/entity?collection=posts&key=1", "/search?q=again"),
)


@pytest.mark.parametrize("path", TAGGED)
def test_what_the_client_has_is_not_sent_again(served: Served, path: str) -> None:
    """304 without a body and with the same tag: for the tag alone, in a list, weak or strong, and for `*`."""
    serve_history(served)
    whole = get(served, path)
    etag = whole.headers["etag"]
    assert whole.headers["cache-control"] == "no-cache"
    strong = etag.removeprefix("W/")
    for wanted in (etag, strong, f'"x", {etag}', f'W/"a,b",{strong} ', "*"):
        found = get(served, path, If_None_Match=wanted)
        assert (found.code, found.text, found.headers["etag"]) == (304, "", etag)
        assert found.headers["link"] == whole.headers["link"]
    for wanted in ('"x"', "", strong[1:-1], f'"{strong[2:]}'):
        assert get(served, path, If_None_Match=wanted).code == 200
    assert served.get(f"/api/v1{path}", "HEAD", If_None_Match=etag).code == 304
    again = Served(served.primary)
    again.look()
    assert get(again, path, If_None_Match=etag).code == 304
    again.server.stop()


def test_tags_are_made_of_digests(served: Served) -> None:
    """The state's answers change with the state alone; the log's with every frame; those of a frame not at all."""
    serve_history(served)
    before = {path: get(served, path).headers["etag"] for path in TAGGED}
    digests = {row["frame"]: row["digest"] for row in get(served, "/log").json}
    assert digests[3] in before["/collections/posts"]
    assert digests[1] in before["/collections/posts?frame=1&limit=1"]
    assert digests[1] in before["/frames/1"]
    assert digests[1] in before["/diff?from=1&to=2"]
    assert digests[2] in before["/diff?from=1&to=2"]
    served.close()  # a delta that waits
    served.close()  # nothing
    changed = {path for path in TAGGED if get(served, path).headers["etag"] != before[path]}
    pinned = {"/frames/1", "/diff?from=1&to=2", "/collections/posts?frame=1&limit=1"}
    assert changed == set(TAGGED) - pinned
    state = {path: get(served, path).headers["etag"] for path in TAGGED}
    served.close()
    unchanged = {path for path in TAGGED if get(served, path).headers["etag"] == state[path]}
    assert unchanged == pinned | {"/collections/posts", "/entity?collection=posts&key=1", "/search?q=again"}


def test_what_follows_the_last_poll_is_never_kept(served: Served) -> None:
    """Status, streams, receipts and the index have no tag, and no cache keeps them."""
    serve_history(served)
    for path in ("/status", "/streams", f"/receipt?delta={FOLDER}/1/bad.json", "", "/openapi.json"):
        found = get(served, path, If_None_Match="*")
        assert found.code == 200
        assert found.headers["etag"] is None
        assert found.headers["cache-control"] == "no-store"


def test_a_known_ledger_is_not_read_again(served: Served) -> None:
    """304 costs the look for the ledger and not its bytes, however long it is."""
    serve_history(served)
    etag = get(served, "/frames/1").headers["etag"]
    served.push("z", 9, 4)
    served.close()
    last = served.primary.last
    assert last is not None
    reads = served.reader.reads
    assert get(served, "/frames/1", If_None_Match=etag).code == 304
    seen = served.reader.reads - reads
    assert get(served, "/frames/1").code == 200
    assert served.reader.reads == reads + seen + 1
