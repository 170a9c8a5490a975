"""The status page: what it shows, and that nothing out of a delta gets the better of it."""

from __future__ import annotations

import html.parser
import itertools
import json
import re
from pathlib import Path

import pytest

from dreamcatcherd import web
from dreamcatcherd.core.report import CycleReport
from dreamcatcherd.daemon.cycle import close_frame, poll
from dreamcatcherd.web.chart import HEIGHT, chart_of
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


def test_it_opens_before_anything_was_read(served: Served) -> None:
    """The page says that nothing was read yet and why; so does the one of an empty repository."""
    assert "no poll yet" in served.get("/").text
    served.look()
    page = served.get("/")
    assert page.code == 200
    assert "No delta waits" in page.text
    assert "No frame is closed yet" in page.text


def test_it_shows_what_the_history_holds(served: Served) -> None:
    """Open frame, streams, recent frames, quarantine, conflict and book stand in their sections."""
    serve_history(served)
    page = served.get("/").text
    sections = dict(re.findall(r'<section[^>]* id="(\w+)"[^>]*>(.*?)</section>', page, re.DOTALL))
    assert set(sections) == {"open", "state", "frames", "streams", "quarantine", "conflicts", "diff", "books"}
    assert ">4</strong>" in sections["open"]
    assert "<bdi>a</bdi>" in sections["open"]
    assert "frame 2: 2 deltas, 1 late, 0 conflicts" in sections["frames"]
    assert "not-json" in sections["quarantine"]
    assert re.search("<bdi>b</bdi>.*<bdi>a</bdi>.*<bdi>from a</bdi>", sections["conflicts"], re.DOTALL)
    assert "Tides" in sections["books"]
    assert "published in frame 3" in sections["books"]


def test_two_frames_are_compared_by_the_form(served: Served) -> None:
    """GET with two frames shows what changed, old beside new, and keeps the numbers in the form."""
    serve_history(served)
    page = served.get("/?from=1&to=2").text
    assert "<del><bdi>from b</bdi></del>" in page
    assert "<ins><bdi>again</bdi></ins>" in page
    assert re.search(r'<input id="from"[^>]* value="1"', page)
    assert "Nothing changed" in served.get("/?from=2&to=2").text


@pytest.mark.parametrize(
    ("query", "code", "said"),
    [
        ("from=1&to=99", 404, "not in the ledger"),
        ("from=x&to=2", 400, "from"),
        ("from=1", 400, "to"),
        ("from=%3Cscript%3E&to=1", 400, "from"),
        ("nothing=1", 400, "nothing"),
    ],
)
def test_a_comparison_that_cannot_be_made_is_told_on_the_page(served: Served, query: str, code: int, said: str) -> None:
    """The whole page comes, with the cause at the form and the code that fits."""
    serve_history(served)
    found = served.get(f"/?{query}")
    assert found.code == code
    alert = re.search(r'role="alert">(.*?)</p>', found.text, re.DOTALL)
    assert alert
    assert said in alert.group(1)
    assert "<script>" not in found.text.replace('<script src="static/page.js" defer></script>', "")
    assert 'id="open"' in found.text


def test_nothing_out_of_a_delta_becomes_markup_or_leaves_its_place(served: Served) -> None:
    """Script tags, handlers, template braces and right-to-left marks stay text, isolated, in every section."""
    served.close()
    fill_with_evil(served, 2)
    pages = [served.get("/").text]
    served.close()
    served.push(EVIL[:50].replace("/", ""), 9, 3)
    pages += [served.get("/").text, served.get("/?from=1&to=2").text]
    for page in pages:
        read = Reading(page)
        assert [attrs.get("src") for tag, attrs in read.tags if tag == "script"] == ["static/page.js"]
        assert {tag for tag, _ in read.tags} & {"iframe", "object", "embed", "base", "style"} == set()
        for tag, attrs in read.tags:
            assert not [name for name in attrs if name.startswith("on") or name == "style"], (tag, attrs)
            for name in LINKS:
                assert not re.match(r"(?i)\s*(javascript|data|https?|//)", attrs.get(name) or ""), (tag, attrs)
        assert "alert" not in read.bare
        assert not re.search("[\u202a-\u202e\u2066-\u2069\u200e\u200f]", read.bare)
        assert "{{" in page
    assert all("7*7" in page for page in pages[1:])
    conflicts = pages[1].partition('id="conflicts"')[2].partition("</section>")[0]
    assert conflicts.count("&lt;script&gt;") > 3


def test_a_megabyte_is_clipped(served: Served) -> None:
    """However long values, names and lists are, the page stays small."""
    served.close()
    fill_with_evil(served, 2)
    served.close()
    served.push("wide", 1, 3, posts_created=[{"number": 7, **{f"field {i}": "v" * 200 for i in range(3_000)}}])
    served.close()
    for path in ("/", "/?from=1&to=2", "/?from=2&to=3"):
        assert len(served.get(path).text) < 300_000
    assert "more fields" in served.get("/?from=2&to=3").text


def test_many_streams_frames_and_books_are_bounded(served: Served) -> None:
    """Thousands of each make a page of a bounded size that says how many it leaves out."""
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
    page = served.get("/").text
    assert len(page) < 300_000
    assert "more: " in page.partition('id="books"')[2]
    assert page.partition('id="frames"')[2].partition("</section>")[0].count('<rect class="hit"') == 60


def test_a_page_is_made_once_for_each_showing(served: Served) -> None:
    """A hundred readers cost one rendering and no reading; a push makes it anew without reading the repository."""
    serve_history(served)
    first = served.get("/").text
    reads = served.reader.reads
    assert {served.get("/").text for _ in range(50)} == {first}
    served.push("new one", 8, 4)
    assert "new one" in served.get("/").text
    assert served.reader.reads == reads


def test_the_page_is_built_for_everybody(served: Served) -> None:
    """A language, a title, one h1, no skipped heading, named sections, labelled fields, headed columns, a skip link."""
    serve_history(served)
    text = served.get("/?from=1&to=2").text
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
            assert ("label", {"for": attrs["id"]}) in read.tags
    assert ("a", {"class": "skip", "href": "#main"}) in read.tags
    assert 'aria-live="polite"' in text


def test_files_come_from_the_package_and_are_not_sent_twice(served: Served) -> None:
    """Style, script and icon have their types, and a browser that has them is told so."""
    for name, kind in (("page.css", "text/css"), ("page.js", "text/javascript"), ("icon.svg", "image/svg+xml")):
        found = served.get(f"/static/{name}")
        assert found.headers["content-type"].startswith(kind)
        tag = str(found.headers["etag"])
        assert served.get(f"/static/{name}", If_None_Match=tag).code == 304
    for path in ("/static/", "/static/../app.py", "/static/page.html", "/static/openapi.json"):
        assert served.get(path).code == 404


def test_nothing_is_loaded_from_elsewhere() -> None:
    """No file of the page names another host; a name space is none."""
    for path in (Path(web.__file__).parent / name for name in ("page.html", "page.css", "page.js", "icon.svg")):
        assert not re.findall(r"(?:https?:)?//[a-z]", path.read_text().replace("http://www.w3.org/2000/svg", ""))


def test_the_timeline_is_in_proportion() -> None:
    """Heights follow the largest frame, never leave the box, and what is there at all is seen."""

    def row(frame: int, deltas: int, late: int) -> dict[str, object]:
        return {"frame": frame, "deltas": deltas, "late": late, "conflicts": 0, "quarantined": 0}

    chart = chart_of([row(3, 1, 1), row(2, 10_000, 3), row(1, 0, 0)], {2: {"merge": 2.0}, 3: {"merge": 0.5}})
    first, second, third = chart.bars
    assert [bar.row["frame"] for bar in chart.bars] == [1, 2, 3]
    assert (first.merged, first.late, first.seconds) == (0, 0, None)
    assert 0 < second.late < second.merged
    assert second.merged + second.late <= HEIGHT
    assert (third.merged, third.late > 0) == (0, True)
    assert (second.slow, third.slow) == (HEIGHT, HEIGHT / 4)
    assert chart_of([], {}).bars == []


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
