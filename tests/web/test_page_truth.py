"""What the pages say is so: nothing is left out of a list, every link leads somewhere, and words agree with numbers."""

from __future__ import annotations

import html
import re
from typing import Any

import pytest

from dreamcatcherd.core.errors import UsageError
from dreamcatcherd.daemon.cycle import close_frame
from dreamcatcherd.history.ledger_index import LINEAR
from dreamcatcherd.history.listing import Listings
from dreamcatcherd.history.queries import Chain
from dreamcatcherd.history.timeline import Timeline
from dreamcatcherd.web.pages import frames
from dreamcatcherd.web.pages.trends import read_trends
from dreamcatcherd.web.query_executor import Reading
from tests.law.fleet import NOW, new_primary
from tests.stages.tools import FOLDER, text
from tests.web.served import Counting, Served
from tests.web.test_page import PAGES, sections_of, words

COUNTED = "chapter|delta|field|frame|record|reference|section|stream|time|violation"

MANY_CONFLICTS = 11
"""More than the first page lists."""


def push_conflicts(served: Served, frame: int, count: int) -> None:
    """Two streams that set one field of so many posts to different values."""
    for number, stream in enumerate("ab", 1):
        served.push(stream, number, frame, posts_created=[{"number": n, "title": stream} for n in range(count)])


def test_the_newest_conflicts_are_listed_however_many_their_frame_has(served: Served) -> None:
    """A frame with more conflicts than the first page shows is cut, also if newer frames have none; the API too."""
    push_conflicts(served, 1, MANY_CONFLICTS)
    for _ in range(4):
        served.close()
    listed = sections_of(served.get("/").text)["conflicts"]
    assert listed.count('<th scope="row"') == 8
    assert served.get("/api/v1/conflicts?limit=3").json["conflicts"][0]["frame"] == 1


def test_an_empty_list_names_the_frames_that_were_searched(served: Served) -> None:
    """A list that is empty never says more than what was looked at."""
    served.push("a", 1, posts_created=[{"number": 1}])
    served.close()
    assert "None in the closed frames." in words(sections_of(served.get("/conflicts").text)["conflicts"])
    assert "None in the closed frames." in words(sections_of(served.get("/quarantine").text)["quarantine"])
    assert "None before frame 1." in words(sections_of(served.get("/conflicts?before=1").text)["conflicts"])


def test_the_page_of_a_frame_says_of_each_list_how_much_of_it_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """A list that is cut has its length beside it, and a link to the ledger, which has all; the others have neither."""
    settings = b'[collections.tasks]\nsection = "claims"\nkey = ["resource"]\nrule = "claim"\nttl = 3\n'
    served = Served(new_primary(settings))
    try:
        for number, stream in enumerate("abc", 1):
            sections: dict[str, Any] = {
                "posts_created": [{"number": 1, "title": stream}, {"title": "no key"}],
                "claims": [{"resource": "build"}],
                "books_started": [{"book": stream, "title": stream}],
            }
            served.push(stream, number, **sections)
            served.push_bytes(f"{FOLDER}/1/again-{stream}.json", text(1, stream, number, **sections))
            served.push(stream, number, 2)
            served.push_bytes(f"{FOLDER}/1/bad-{stream}.json", b"{")
            served.push_bytes(f"state/snapshot/{stream}.json", b"1")
        served.close()
        served.close()
        monkeypatch.setattr(frames, "LEDGER_ROWS", 1)
        page = sections_of(served.get("/frames/1").text)
        threes = ("quarantine", "violations", "deltas", "duplicates", "held", "claims", "books", "misfits")
        lengths = {**dict.fromkeys(threes, 3), "conflicts": 2}
        for name, length in lengths.items():
            assert f"The first 1 of {length} are shown; the ledger has all." in words(page[name]), name
        assert words(page["claims"]).startswith("Claims 3 ")
        assert '<a href="../api/v1/frames/1">the ledger</a>' in page["books"]
        assert "of 3 are shown" in served.get("/frames/2").text  # the deltas that were held
        monkeypatch.setattr(frames, "LEDGER_ROWS", 3)
        served.push("a", 50, 3)
        served.close()
        assert "are shown" not in served.get("/frames/3").text
    finally:
        served.server.stop()


@pytest.mark.parametrize(("age_s", "wanted", "column"), [
    (600, None, "minute"), (7_200, None, "30 minutes"), (600, "24h", "30 minutes"), (7_200, "1h", "minute"),
])  # fmt: skip
def test_the_trends_of_a_young_fleet_are_shown_by_the_minute(age_s: int, wanted: str | None, column: str) -> None:
    """By the half hour it would have one column. Later, and where somebody chose, the range is what it says."""
    primary = new_primary(b"")
    close_frame(primary, "test")
    assert primary.last is not None
    reading = Reading(primary.store, primary.last.published, Chain(), Listings(), LINEAR)
    assert read_trends(reading, Timeline(), wanted, {}, NOW / 1e6 + age_s).column == column


def test_every_link_of_the_first_page_leads_to_a_page(served: Served) -> None:
    """Sections without a collection are counted under one name, which links to the list of collections."""
    served.push("a", 1, posts_created=[{"number": 1}], weather=[1])
    served.close()
    served.look()
    page = served.get("/").text
    assert words(sections_of(page)["state"]).count("extra") == 1
    for link in set(re.findall(r'href="\./([^"#]*)', page)):
        assert served.get(f"/{html.unescape(link)}").code == 200, link


def test_long_names_keep_their_ends(served: Served) -> None:
    """Two streams whose long names differ at the end can be told apart in every list."""
    names = [f"{'region-of-the-north-' * 6}{end}" for end in ("a7", "b9")]
    for number, name in enumerate(names, 1):
        served.push(name, number, posts_created=[{"number": 1, "title": name}])
    served.close()
    served.look()
    for path in ("/", "/streams", "/frames/1", "/conflicts", "/search?q=region"):
        text = served.get(path).text
        for end in ("a7", "b9"):
            assert re.search(rf"<bdi>region-of[^<]*…[^<]*{end}</bdi>", text), (path, end)


def test_the_verdict_says_when_it_happened_last_and_in_which_zone(served: Served) -> None:
    """The time beside a reason that counts frames is that of the newest of them, and no beginning."""
    served.push_bytes("state/stream_deltas/1/bad.json", b"{")
    served.close()
    said = words(sections_of(served.get("/").text)["verdict"])
    assert re.search(r"1 delta was quarantined in the last frame last at 2026-01-01 00:00:00 UTC", said), said
    served.live_status.fail("the disk is gone")
    assert "since" not in words(sections_of(served.get("/").text)["verdict"])


def test_one_is_never_many(served: Served) -> None:
    """A count of one has its noun in the singular, on every page."""
    served.push("a", 1, posts_created=[{"number": 1, "title": "x"}, {"title": "no key"}], odd=[1])
    served.push("a", 2, comments_added=[{"discussion_number": 1, "author": "a", "body_ref": "nowhere.md"}])
    served.push("b", 3, books_started=[{"book": "b", "title": "Tides"}])
    served.push("b", 4, chapters_added=[{"book": "b", "chapter": 1, "author": "b", "content": "one"}])
    served.close()
    for number in range(25):
        served.push(f"stream {number}", number, 2, observations=[1])
    served.push("wide", 1, 2, posts_created=[{"number": 1, **{f"f{n:03}": n for n in range(201)}}])
    served.close()
    for number in range(13):
        served.push(f"stream {number}", number, 3, observations=[1])
    for path in (*PAGES, "/stream?id=b", "/frames/2", "/entity?collection=posts&key=1"):
        # The list of entities has names of collections beside numbers.
        parts = sections_of(served.get(path).text)
        text = " | ".join(words(part) for name, part in parts.items() if name != "state")
        assert re.findall(rf"(?<![\d,.:-])1 (?:more |unknown )?(?:{COUNTED})s\b", text) == [], path


def test_marks_of_direction_in_a_reason_are_written_out(served: Served) -> None:
    """A trouble may name what strangers pushed: no mark of direction gets into the page, nor into its title."""
    served.push("a\u202eb\u2069", 1, observations=[1])
    served.close()
    for _ in range(11):
        served.push("other", 1, 2, observations=[1])
        served.close()
    served.look()
    served.live_status.fail("refs/heads/\u202egnp.exe\u2069 is odd")
    for path in ("/", "/troubles"):
        assert not re.search("[\u202a-\u202e\u2066-\u2069]", served.get(path).text), path


def test_a_record_that_is_no_entity_has_no_link(served: Served) -> None:
    """A comment without a text is appended and has no page, so no list links to one; a comment with a text has one."""
    served.close()
    mute = {"number": 1, "author": "mute"}
    served.push("a", 1, 2, comments_added=[mute, mute, {"number": 1, "author": "b", "body": "hi"}])
    served.close()
    for path in ("/frames/2", "/diff?from=1&to=2", "/collection?name=comments", "/search?q=mute", "/search?q=hi"):
        page = served.get(path).text
        assert "mute" in page or "hi" in page
        for link in re.findall(r'href="\.*/((?:entity)\?[^"#]*)"', page):
            assert served.get(f"/{html.unescape(link)}").code == 200, (path, link)
    assert "entity?" in served.get("/collection?name=comments").text


class AwayServed(Served):
    """A server whose repository may be away, as after a failed mount."""

    away = False
    _kept: Counting

    @property
    def reader(self) -> Counting:
        if self.away:
            raise UsageError("there is no repository at /srv/fleet.git", "make one: dreamcatcherd init /srv/fleet.git")
        return self._kept

    @reader.setter
    def reader(self, reader: Counting) -> None:
        self._kept = reader


def test_a_repository_that_is_away_is_no_wrong_address() -> None:
    """Pages and API answer 503, and nobody is told to make an empty repository in its place."""
    served = AwayServed()
    try:
        served.push("a", 1, posts_created=[{"number": 1}])
        served.close()
        served.away = True
        for path in ("/frames", "/api/v1/log", "/entity?collection=posts&key=1"):
            found = served.get(path)
            assert found.code == 503, path
            assert "/srv/fleet.git" in found.text
        assert "Part of this page is missing" in served.get("/").text
        assert "dreamcatcherd init" not in served.get("/").text + served.get("/frames").text
        served.away = False
        assert served.get("/frames").code == 200
    finally:
        served.server.stop()
