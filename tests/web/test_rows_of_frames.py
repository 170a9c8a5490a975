"""Lists of rows by frame, in the API and on the pages: their links lead to every row once."""

from __future__ import annotations

import html
import re

import pytest

from tests.stages.tools import FOLDER
from tests.web.served import Served
from tests.web.test_page import sections_of, words
from tests.web.test_page_truth import push_conflicts

COUNTS = (3, 0, 5, 1, 1, 2)
"""How many conflicts, and quarantined deltas, each frame has."""


def close_frames(served: Served) -> None:
    for frame, count in enumerate(COUNTS, 1):
        push_conflicts(served, frame, count)
        for number in range(count):
            served.push_bytes(f"{FOLDER}/{frame}/bad-{number}.json", b"{")
        served.close()


@pytest.mark.parametrize("kind", ["conflicts", "quarantine"])
@pytest.mark.parametrize("limit", [1, 2, 3, 4, 7, 1000])
def test_the_links_of_a_list_lead_to_every_row_once(served: Served, kind: str, limit: int) -> None:
    """However many rows one frame has alone, and while new frames close, a program that follows `Link` misses nothing
    and gets nothing twice."""
    close_frames(served)
    path = f"?limit={limit}"
    rows: list[tuple[int, str]] = []
    while path:
        found = served.get(f"/api/v1/{kind}{path}")
        listed = found.json["conflicts" if kind == "conflicts" else "quarantined"]
        assert 0 < len(listed) <= limit
        if not rows:  # what closes after the first answer moves no row
            push_conflicts(served, 7, 2)
            served.push_bytes(f"{FOLDER}/7/bad.json", b"{")
            served.close()
        rows += [(row["frame"], str(row["key"])) if "key" in row else (row["since"], row["path"]) for row in listed]
        link = found.headers["link"]
        path = link.partition(">")[0].removeprefix("<") if link else ""
    assert [frame for frame, _ in rows] == [6, 6, 5, 4, 3, 3, 3, 3, 3, 1, 1, 1]
    assert len(set(rows)) == sum(COUNTS)


def test_a_part_of_a_frame_says_that_it_is_one(served: Served) -> None:
    """`truncated` is true for each part of a frame that has more rows than the limit, and `before` leaves the rest
    out."""
    close_frames(served)
    first = served.get("/api/v1/conflicts?limit=4&before=4")
    assert (first.json["truncated"], first.json["before"]) == (True, 3)
    assert first.headers["link"] == '<?limit=4&before=4&skip=4>; rel="next"'
    second = served.get("/api/v1/conflicts?limit=4&before=4&skip=4")
    assert (second.json["truncated"], len(second.json["conflicts"])) == (True, 1)
    assert second.headers["link"] == '<?limit=4&before=3>; rel="next"'
    assert served.get("/api/v1/conflicts?skip=many").code == 400


def followed(served: Served, path: str, section: str) -> tuple[list[str], int]:
    """The rows of a section on a page and on all to which its links lead, and how many pages these are."""
    rows: list[str] = []
    pages = 0
    while path:
        text = served.get(path).text
        part = sections_of(text)[section]
        rows += [words(row) for row in re.findall(r"<tr>.*?</tr>", part.partition("<tbody>")[2], re.DOTALL)]
        link = re.search(r'href="\./([^"]*)" rel="next"', text)
        path = f"/{html.unescape(link[1])}" if link else ""
        pages += 1
    return rows, pages


@pytest.mark.parametrize("kind", ["conflicts", "quarantine"])
def test_the_links_of_a_page_lead_to_every_row_once(served: Served, kind: str) -> None:
    """A frame with more rows than a page goes on on the next one."""
    for frame, count in ((1, 3), (2, 60), (3, 120)):
        push_conflicts(served, frame, count)
        for number in range(count):
            served.push_bytes(f"{FOLDER}/{frame}/bad-{number}.json", b"{")
        served.close()
    rows, pages = followed(served, f"/{kind}", kind)
    assert (len(rows), len(set(rows)), pages) == (183, 183, 6)


def test_the_page_of_a_stream_leads_to_every_delta_and_loss_once(served: Served) -> None:
    """Frames with some dozens of deltas each, and one with more than a page: none is left out between two pages, and
    the figures of a page count all that is in the frames that it names."""
    for frame, count in enumerate((30, 30, 30, 58), 1):
        for number in range(count):
            served.push("a", number, frame, posts_created=[{"number": number, "title": "a"}])
        served.push("b", 59, frame, posts_created=[{"number": n, "title": "b"} for n in range(count)])
        served.close()
    served.look()
    for section in ("deltas", "losses"):
        rows, pages = followed(served, "/stream?id=a", section)
        assert (len(rows), len(set(rows)), pages) == (148, 148, 5), section
    figures = words(sections_of(served.get("/stream?id=a").text)["stream"])
    assert "Merged in time 58" in figures
    assert "Fields lost 58" in figures
    assert "Frames searched 4 to 4" in figures
