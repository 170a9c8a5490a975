"""The status page: what it shows, and that nothing out of a delta gets the better of it."""

from __future__ import annotations

import html
import html.parser
import itertools
import json
import re
from pathlib import Path
from urllib.parse import quote

import pytest

from dreamcatcherd import web
from dreamcatcherd.core.report import CycleReport
from dreamcatcherd.daemon.cycle import close_frame, poll
from dreamcatcherd.web.forge_links import forge_links
from dreamcatcherd.web.pages.display import clip
from tests.law.fleet import MAIN, commit_files
from tests.web.served import Served, serve_history

EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>{{ 7*7 }}"
BIDI = "\u202egnp.exe\u2066\u200f"
LINKS = ("src", "href", "action", "formaction", "style", "srcdoc", "poster", "data")


class Reading(html.parser.HTMLParser):
    """Takes a page apart: elements with attributes, what lies outside of any <bdi>, and headings in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.bare = ""
        self.headings: list[str] = []
        self._isolated = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._isolated += tag == "bdi"
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(tag)

    def handle_endtag(self, tag: str) -> None:
        self._isolated -= tag == "bdi"

    def handle_data(self, data: str) -> None:
        if not self._isolated:
            self.bare += data


def fill_with_evil(served: Served, frame: int) -> None:
    """Every place of a delta that reaches the page holds markup, right-to-left marks, or a megabyte."""
    long = "L" * 1_000_000
    for stream, value in ((f"{EVIL[:60]}".replace("/", ""), EVIL), (f"b{BIDI}", BIDI + EVIL), ("c", long)):
        served.push(
            stream,
            1,
            frame,
            posts_created=[{"number": 1, EVIL: value, "title": value, BIDI: value}],
            books_started=[{"book": EVIL, "title": value, "target_chapters": 3}],
            chapters_added=[{"book": EVIL, "chapter": 1, "author": EVIL + BIDI, "content": long}],
            **{EVIL: [{"value": value}], "counters": {EVIL: 1}},
        )
    served.push_bytes(f"state/stream_deltas/{frame}/{EVIL.replace('/', '')}{BIDI}.json", b'{"frame": "' + b"x" * 99)
    head = {"frame": frame, "stream_id": "t", "utc": EVIL + BIDI}
    served.push_bytes(f"state/stream_deltas/{frame}/utc.json", json.dumps(head).encode())


PAGES = (
    "/", "/?range=1h", "/?range=7d", "/frames", "/frames?kind=late", "/frames/1", "/frames/2", "/frames/3", "/streams",
    "/streams?state=silent", "/stream?id=a", "/stream?id=late", "/collections", "/collection?name=posts",
    "/collection?name=observations", "/entity?collection=posts&key=1", "/conflicts", "/quarantine", "/claims", "/books",
    "/book?key=b", "/troubles", "/search", "/search?q=a", "/diff", "/diff?from=1&to=2",
)  # fmt: skip
"""Every kind of page over the history of `serve_history`."""


def sections_of(page: str) -> dict[str, str]:
    """The sections of a page by id."""
    return dict(re.findall(r'<section[^>]* id="([\w-]+)"[^>]*>(.*?)</section>', page, re.DOTALL))


def words(markup: str) -> str:
    """The text of some markup, with single spaces."""
    return " ".join(re.sub(r"<[^>]+>", " ", markup).split())


def test_it_opens_before_anything_was_read(served: Served) -> None:
    """The page says that nothing was read yet and why; so does the one of an empty repository."""
    page = served.get("/").text
    assert "no poll yet" in page
    assert "<title>Attention: starting" in page
    assert served.get("/frames").code == 503
    served.look()
    found = served.get("/")
    assert found.code == 200
    assert "No delta waits" in found.text
    assert "No frame is closed yet" in found.text
    assert "<title>Healthy: frame 1" in found.text


def test_it_shows_what_the_history_holds(served: Served) -> None:
    """Verdict, open frame, trends and the beginning of each list stand in their sections, with links to more."""
    serve_history(served)
    sections = sections_of(served.get("/").text)
    assert list(sections) == [
        "verdict", "open", "state", "trends", "streams", "frames", "quarantine", "conflicts", "diff", "books",
    ]  # fmt: skip
    assert "1 delta was quarantined in the last 3 frames" in sections["verdict"]
    assert 'href="./quarantine"' in sections["verdict"]
    assert ">4</strong>" in sections["open"]
    assert 'href="./stream?id=a"><bdi>a</bdi>' in sections["open"]
    assert "2026-01-01" not in words(sections["trends"])
    assert "not-json" in sections["quarantine"]
    assert words(sections["conflicts"]).endswith("1 posts 1 title b a")
    assert "Tides" in sections["books"]
    assert "1 of 1 chapter · published in frame 3" in words(sections["books"])


def test_a_frame_has_a_page_with_everything_that_its_ledger_holds(served: Served) -> None:
    """Its deltas by stream, the late ones, conflicts, quarantine, books, what it changed, and its neighbours."""
    serve_history(served)
    first, second = (sections_of(served.get(f"/frames/{frame}").text) for frame in (1, 2))
    assert "Quarantined 1" in words(first["about"])
    assert "not-json" in first["quarantine"]
    assert "from a" in words(first["conflicts"])
    assert 'href="../frames/2" rel="next"' in first["about"]
    assert "late by 1" in words(second["deltas"])
    assert re.search(r"posts 1 changed title from b → again", words(second["changes"]))
    assert 'href="../frames/1" rel="prev"' in second["about"]
    assert "grew: 1" in words(second["books"])


def test_a_stream_has_a_page_with_what_became_of_its_deltas(served: Served) -> None:
    """Outcome, lateness, losses and clock of one stream; a stream that nobody knows is 404."""
    serve_history(served)
    page = sections_of(served.get("/stream?id=a").text)
    assert "a active Last merged frame 3 Waiting now 1 Merged in time 3" in words(page["stream"])
    assert "Fields lost 1" in words(page["stream"])
    assert "posts 1 title b" in words(page["losses"])
    late = words(sections_of(served.get("/stream?id=late").text)["stream"])
    assert "at most 1 frame, 1.0 on average" in late
    missing = served.get("/stream?id=nobody")
    assert missing.code == 404
    assert "no stream" in missing.text


def test_an_entity_has_a_page_that_says_who_set_each_field_and_in_which_frames_it_changed(served: Served) -> None:
    """Field, value, stream, delta, losers, and the history, newest first."""
    serve_history(served)
    page = sections_of(served.get("/entity?collection=posts&key=1").text)
    assert re.search(r"title lww again a 2026-01-01 00:00:03 , frame 2", words(page["entity"]))
    assert "from a a , frame 1" in words(page["entity"])
    assert re.search(r"2 changed title from b → again \w+ 1 created", words(page["history"]))
    assert served.get("/entity?collection=posts&key=99").code == 404


def test_two_frames_are_compared_by_the_form(served: Served) -> None:
    """GET with two frames shows what changed, old beside new, and keeps the numbers; the former address leads there."""
    serve_history(served)
    for page in (served.get("/diff?from=1&to=2").text, served.get("/?from=1&to=2").text):
        assert "<del><bdi>from b</bdi></del>" in page
        assert "<ins><bdi>again</bdi></ins>" in page
        assert re.search(r'<input id="from"[^>]* value="1"', page)
    assert "Nothing changed" in served.get("/diff?from=2&to=2").text


@pytest.mark.parametrize(
    ("path", "code", "said"),
    [
        ("diff?from=1&to=99", 404, "not in the ledger"),
        ("diff?from=x&to=2", 400, "from"),
        ("diff?from=1", 400, "to"),
        ("diff?from=%3Cscript%3E&to=1", 400, "from"),
        ("?nothing=1", 400, "nothing"),
        ("?range=1y", 400, "one of 1h, 24h, 7d"),
        ("frames/99", 404, "not in the ledger"),
        ("frames/x", 400, "frame"),
        ("frames?kind=odd", 400, "kind"),
        ("collection?name=nothing", 404, "no collection"),
        ("entity?collection=posts", 400, "key"),
        ("book?key=none", 404, "no book"),
        ("nothing/here", 404, "no page"),
    ],
)
def test_what_cannot_be_shown_is_told_in_the_same_dress(served: Served, path: str, code: int, said: str) -> None:
    """A page with the code that fits, the cause and a remedy, and the way back; nothing of the address is markup."""
    serve_history(served)
    found = served.get(f"/{path}", Accept="text/html")
    assert found.code == code
    error = sections_of(found.text)["error"]
    assert said in words(error)
    assert "What to do:" in error
    root = "../" if "/" in path.partition("?")[0] else "./"
    assert f'<a href="{root}">Overview</a>' in error
    assert found.text.count("<script") == 1


def test_programs_are_told_in_json_what_is_not_there(served: Served) -> None:
    """Who does not ask for HTML, and whoever asks below /api, gets the JSON of every other error."""
    assert served.get("/nothing").json["error"]
    assert served.get("/api/v1/nothing", Accept="text/html").json["error"]


@pytest.mark.parametrize("path", PAGES)
def test_every_page_is_kept_by_its_content(served: Served, path: str) -> None:
    """A browser that has the page is told so; after a change of the verdict it gets the new one."""
    serve_history(served)
    first = served.get(path)
    tag = str(first.headers["etag"])
    kept = served.get(path, If_None_Match=tag)
    assert kept.code == 304 or kept.text != first.text  # the first page may show another second by now
    served.live_status.fail("the disk is gone")
    again = served.get(path, If_None_Match=tag)
    assert again.code == 200
    assert "<title>Failing: " in again.text


def test_pages_of_closed_frames_are_not_rendered_again(served: Served) -> None:
    """What depends on the published commit alone is read once, however the live status changes."""
    serve_history(served)
    pages = [served.get(path).text for path in ("/frames/1", "/entity?collection=posts&key=1", "/conflicts")]
    reads = served.reader.reads
    served.push("a", 7, 4)
    assert [served.get(path).text for path in ("/frames/1", "/entity?collection=posts&key=1", "/conflicts")] == pages
    assert served.reader.reads == reads


def test_links_lead_to_the_forge_where_it_is_known(served: Served) -> None:
    """Commits and files link to the forge's pages, without a referrer; otherwise they are text."""
    serve_history(served)
    assert "https:" not in served.get("/frames/1").text
    served.live_status.links = forge_links("https://user:secret@github.com/fleet/state.git")
    served.live_status.fail("render again")
    page = served.get("/frames/1").text
    assert re.search(r'href="https://github.com/fleet/state/commit/[0-9a-f]{40}" rel="noreferrer', page)
    assert re.search(r'href="https://github.com/fleet/state/blob/[0-9a-f]{40}/state/stream_deltas/1/', page)
    assert "secret" not in page


def test_streams_and_entities_of_any_name_have_a_page(served: Served) -> None:
    """Dots, slashes, spaces, percent signs and marks of direction: every link of a page leads to a page."""
    for number, name in enumerate(("..", ".", "100% a&b=c#d?", "\u202ex", "\u0627", "+", "L" * 128)):
        served.push(name, number, posts_created=[{"number": f"k/{name}", "title": name}])
    served.close()
    served.look()
    for path in ("/streams", "/collection?name=posts", "/frames/1", "/"):
        page = served.get(path).text
        root = "../" if path.startswith("/frames/") else "./"
        links = {
            html.unescape(one) for one in re.findall(rf'href="{re.escape(root)}((?:stream|entity)\?[^"#]*)"', page)
        }
        assert len(links) >= 7
        for one in links:
            assert served.get(f"/{one}").code == 200, one


def test_search_finds_streams_keys_frames_and_collections(served: Served) -> None:
    """One box for a frame's number, a stream, a collection and an entity's key."""
    serve_history(served)
    assert 'href="./stream?id=late"' in served.get("/search?q=LAT").text
    page = served.get("/search?q=1").text
    assert 'href="./frames/1"' in page
    assert 'href="./entity?collection=posts&amp;key=1"' in page
    assert 'href="./collection?name=posts"' in served.get("/search?q=post").text
    assert "Nothing was found" in served.get("/search?q=zebra").text


def test_nothing_out_of_a_delta_becomes_markup_or_leaves_its_place(served: Served) -> None:
    """Script tags, handlers, template braces and right-to-left marks stay text, isolated, on every page."""
    served.close()
    fill_with_evil(served, 2)
    paths = ["/", "/streams"]
    pages = [served.get(path).text for path in paths]
    served.close()
    served.push(EVIL[:50].replace("/", ""), 9, 3)
    evil = quote(EVIL, safe="")
    paths = [
        "/", "/frames/2", "/streams", f"/stream?id=b{quote(BIDI)}", "/collection?name=posts",
        f"/collection?name=extra%2F{evil}",
        "/entity?collection=posts&key=1", "/conflicts", "/quarantine", "/books", f"/book?key={evil}",
        "/diff?from=1&to=2", f"/search?q={evil}", f"/stream?id={evil[:200]}", f"/{evil}",
    ]  # fmt: skip
    pages += [served.get(path, Accept="text/html").text for path in paths]
    for page in pages:
        read = Reading(page)
        scripts = [attrs.get("src") for tag, attrs in read.tags if tag == "script"]
        assert len(scripts) == 1
        assert re.fullmatch(r"(\.\./)*(\./)?static/page\.js", scripts[0] or "")
        assert {tag for tag, _ in read.tags} & {"iframe", "object", "embed", "base", "style"} == set()
        for tag, attrs in read.tags:
            assert not [name for name in attrs if name.startswith("on") or name == "style"], (tag, attrs)
            for name in LINKS:
                assert not re.match(r"(?i)\s*(javascript|data|https?|//)", attrs.get(name) or ""), (tag, attrs)
        assert not re.search("[\u202a-\u202e\u2066-\u2069\u200e\u200f]", read.bare)
    for page in pages:
        assert "alert" not in Reading(re.sub(r"<title>.*?</title>", "", page)).bare
    assert sum("7*7" in page for page in pages) > 6
    conflicts = sections_of(pages[2])["conflicts"]
    assert conflicts.count("&lt;script&gt;") > 3


def test_controls_of_direction_are_written_out(served: Served) -> None:
    """They could end the isolation of a text or swallow its end; letters that are written from the right stay."""
    assert clip("a\u2069\u202eb\u0627") == "a\\u2069\\u202eb\u0627"
    served.push(f"x{BIDI}", 1, posts_created=[{"number": 1, BIDI: BIDI}])
    served.close()
    served.look()
    for path in ("/", "/streams", "/frames/1", "/collection?name=posts", "/entity?collection=posts&key=1"):
        assert not re.search("[\u202a-\u202e\u2066-\u2069]", served.get(path).text), path


def test_a_megabyte_is_clipped(served: Served) -> None:
    """However long values, names and lists are, every page stays small."""
    served.close()
    fill_with_evil(served, 2)
    served.close()
    served.push("wide", 1, 3, posts_created=[{"number": 7, **{f"field {i}": "v" * 200 for i in range(3_000)}}])
    served.close()
    paths = ("/", "/diff?from=1&to=2", "/diff?from=2&to=3", "/entity?collection=posts&key=7", "/collection?name=posts",
             "/frames/2", "/frames/3", "/stream?id=c")  # fmt: skip
    for path in paths:
        assert len(served.get(path).text) < 300_000, path
    assert "more fields" in served.get("/diff?from=2&to=3").text


def test_many_streams_frames_and_books_are_bounded(served: Served) -> None:
    """Thousands of each make pages of a bounded size, with links to the rest."""
    files = {}
    for number in range(1_500):
        head = {"frame": 1, "utc": "2026-01-01T00:00:00Z", "stream_id": f"stream {number}", "observations": [number]}
        files[f"state/stream_deltas/1/{number}.json"] = json.dumps(head).encode()
    commit_files(served.primary.store, MAIN, files)
    rows = [{"book": number, "target_chapters": 10**9} for number in range(1_000)]
    served.push("many", 1, 1, books_started=rows, posts_created=[{"number": n, "t": "m"} for n in range(200)])
    served.push("more", 2, 1, posts_created=[{"number": n, "t": "n"} for n in range(200)])
    for _ in range(70):
        served.close()
    served.look()
    for path in ("/", "/frames", "/frames/1", "/streams", "/conflicts", "/books", "/collection?name=posts"):
        assert len(served.get(path).text) < 300_000, path
    assert 'href="./books?offset=50"' in served.get("/books").text
    assert "Bookshelf 1,000" in words(served.get("/books").text)
    assert 'href="./frames?before=21"' in served.get("/frames").text
    assert 'href="./streams?offset=50"' in served.get("/streams").text
    assert served.get("/frames").text.count('<th scope="row"') == 50
    assert served.get("/frames?before=21").text.count('<th scope="row"') == 20


def test_a_page_is_made_once_for_each_showing(served: Served) -> None:
    """Fifty readers cost no reading; a push makes it anew without reading the repository."""
    serve_history(served)
    first = served.get("/").text
    reads = served.reader.reads
    assert {served.get("/").text for _ in range(50)} == {first}
    served.push("new one", 8, 4)
    assert "new one" in served.get("/").text
    assert served.reader.reads == reads


@pytest.mark.parametrize("path", PAGES)
def test_the_page_is_built_for_everybody(served: Served, path: str) -> None:
    """A language, a title, one h1, no skipped heading, named sections, labelled fields, headed columns, a skip link."""
    serve_history(served)
    text = served.get(path).text
    read = Reading(text)
    assert ("html", {"lang": "en"}) in read.tags
    assert read.headings.count("h1") == 1
    levels = [int(name[1]) for name in read.headings]
    assert all(deeper <= level + 1 for level, deeper in itertools.pairwise(levels))
    ids = [attrs["id"] for _, attrs in read.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    for tag, attrs in read.tags:
        if tag in ("section", "svg") and "aria-hidden" not in attrs:
            assert attrs["aria-labelledby"] in ids
        if tag == "th":
            assert attrs["scope"] in ("row", "col")
        if tag == "input":
            assert ("label", {"for": attrs["id"]}) in [(one, {"for": more.get("for")}) for one, more in read.tags]
    assert ("a", {"class": "skip", "href": "#main"}) in read.tags
    assert 'aria-live="polite"' in text


def test_files_come_from_the_package_and_are_not_sent_twice(served: Served) -> None:
    """Style, script and icon have their types, and a browser that has them is told so."""
    for name, kind in (("page.css", "text/css"), ("page.js", "text/javascript"), ("icon.svg", "image/svg+xml"),
                       ("failing.svg", "image/svg+xml")):  # fmt: skip
        found = served.get(f"/static/{name}")
        assert found.headers["content-type"].startswith(kind)
        tag = str(found.headers["etag"])
        assert served.get(f"/static/{name}", If_None_Match=tag).code == 304
    for path in ("/static/", "/static/../app.py", "/static/base.html", "/static/openapi.json"):
        assert served.get(path).code == 404


def test_nothing_is_loaded_from_elsewhere() -> None:
    """No file of the pages names another host; a name space is none."""
    folder = Path(web.__file__).parent
    files = [*folder.glob("templates/*.html"), *folder.glob("*.css"), *folder.glob("*.js"), *folder.glob("*.svg")]
    assert len(files) > 20
    for path in files:
        assert not re.findall(r"(?:https?:)?//[a-z]", path.read_text().replace("http://www.w3.org/2000/svg", "")), path


def test_the_merge_times_of_this_process_are_remembered(served: Served) -> None:
    """Of frames that it closed itself the daemon knows how long they took; of the last 200 of them."""
    served.push()
    report = close_frame(served.primary, "test")
    found, _ = poll(served.primary)
    for frame in range(1, 300):
        assert report.ledger
        ledger = type(report.ledger)(frame, report.ledger.snapshot, None, "test", None)
        served.live_status.show(CycleReport(found.pending, ledger, phases={"merge": frame / 1e6}), None)
    assert sorted(served.live_status.current.phases) == list(range(100, 300))
