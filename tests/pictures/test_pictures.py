"""The pictures of the documents are current, legible, and agree with the code."""

from __future__ import annotations

import re
import struct
import tomllib
from pathlib import Path
from xml.etree import ElementTree

import pytest

from dreamcatcherd.observe.families import PHASES
from tests.pictures.draw import SIZES, STYLE, Rect, draw, rectangles, text_width
from tests.pictures.sources import GENERATED, PICTURES, SHOTS, sources
from tests.tidy.house import PACKAGE, documents

SVG = "{http://www.w3.org/2000/svg}"
NARROW = 830 / 960
"""By how much a picture of full width shrinks in the column of a forge."""


@pytest.mark.parametrize("name", GENERATED)
def test_sources_that_are_made_from_data_are_current(name: str) -> None:
    """The committed source is what the package's tables give today: else run make pictures."""
    assert (PICTURES / name).read_text() == GENERATED[name]()


@pytest.mark.parametrize("source", sources(), ids=lambda path: path.stem)
def test_pictures_are_current(source: Path) -> None:
    """The committed SVG is what its source gives: else run make pictures."""
    assert source.with_suffix(".svg").read_text() == draw(source.read_text())


def test_every_picture_has_a_source_and_a_place() -> None:
    """No picture without a source, and each is shown in a document with words for those who do not see it."""
    drawn = {path.with_suffix(".svg").name for path in sources()} | set(SHOTS.values())
    assert {path.name for path in PICTURES.iterdir()} - {path.name for path in sources()} == drawn
    shown = {}
    for document in documents():
        text = document.read_text()
        for words, target in re.findall(r"!\[([^\]]*)\]\(([^)]+)\)", text):
            shown[(document.parent / target).resolve()] = words
        for picture in re.findall(r"<picture>.*?</picture>", text, re.DOTALL):
            (words,) = re.findall(r'alt="([^"]+)"', picture)
            for target in re.findall(r'src(?:set)?="([^"]+)"', picture):
                shown[(document.parent / target).resolve()] = words
    assert set(shown) == {PICTURES / name for name in drawn}
    assert all(len(words) > 60 for words in shown.values())


@pytest.mark.parametrize("name", SHOTS.values())
def test_pictures_of_the_page_are_small_and_of_one_size(name: str) -> None:
    """They are PNG files of at most 150 kB, light and dark of the same size, wide enough for the column of a forge."""
    heads = [(PICTURES / each).read_bytes()[:24] for each in (name, *SHOTS.values())]
    assert all(head[:8] == b"\x89PNG\r\n\x1a\n" for head in heads)
    width, height = struct.unpack(">II", heads[0][16:])
    assert len({head[16:] for head in heads}) == 1
    assert width >= 830
    assert height <= width
    assert (PICTURES / name).stat().st_size <= 150_000


@pytest.mark.parametrize("source", sources(), ids=lambda path: path.stem)
def test_pictures_can_be_read_by_everybody(source: Path) -> None:
    """Each has a title, a description, a background, colours for light and dark pages, and nothing from elsewhere."""
    text = source.with_suffix(".svg").read_text()
    svg = ElementTree.fromstring(text)
    assert svg.attrib["role"] == "img"
    title, description = (svg.find(f"{SVG}{name}") for name in ("title", "desc"))
    assert title is not None
    assert description is not None
    assert [title.attrib["id"], description.attrib["id"]] == svg.attrib["aria-labelledby"].split()
    assert title.text
    assert len(description.text or "") > 200
    first = svg.find(f"{SVG}rect")
    assert first is not None
    assert first.attrib["class"] == "card"
    assert "prefers-color-scheme: dark" in text
    assert not re.search(r"(?:href|src|url)\s*=|url\((?!#)|@import|<script|<image", text)


def test_text_is_large_enough_in_a_narrow_column() -> None:
    """In the column of a forge no text is below 12 pixels, and the style has the sizes that the layout counts with."""
    assert min(SIZES.values()) * NARROW >= 12
    assert all(f".{style} {{" in STYLE for style in SIZES)
    assert {f"{size:g}px" for size in SIZES.values()} == set(re.findall(r"font-size: (\d+px)", STYLE))


@pytest.mark.parametrize("source", sources(), ids=lambda path: path.stem)
def test_text_fits_its_box_and_boxes_fit_the_picture(source: Path) -> None:
    """No line is wider than its box, no box stands out of the picture, and no two boxes overlap."""
    width, height = tomllib.loads(source.read_text())["size"]
    boxes = list(rectangles(source.read_text()))
    for rect, lines in boxes:
        assert rect.x >= 0
        assert rect.y >= 0
        assert rect.x + rect.width <= width
        assert rect.y + rect.height <= height
        assert 20 * len(lines) <= rect.height
        for text, style in lines:
            assert text_width(text, style) <= rect.width, text
    rects = [rect for rect, _ in boxes]
    assert not [(one, two) for one in rects for two in rects if one is not two and overlap(one, two)]


def overlap(one: Rect, two: Rect) -> bool:
    """Whether two rectangles have a point in common."""
    return (
        one.x < two.x + two.width
        and two.x < one.x + one.width
        and one.y < two.y + two.height
        and two.y < one.y + one.height
    )


def test_the_flow_has_the_stages_their_functions_and_their_values() -> None:
    """The stages are the phases of the metrics, in order; each function is in its stage's module, and values exist."""
    boxes = tomllib.loads((PICTURES / "flow.toml").read_text())["box"]
    stages = [box for box in boxes if "title" in box]
    assert tuple(box["title"] for box in stages) == PHASES
    for box in stages:
        module = (PACKAGE / "stages" / f"{box['title']}.py").read_text()
        assert f"def {box['lines'][0].rpartition('.')[2]}(" in module
    code = "".join(path.read_text() for folder in ("stages", "core") for path in (PACKAGE / folder).glob("*.py"))
    values = [box["name"] for box in boxes if "name" in box]
    assert [name for name in values if not re.search(rf"^class {name}\(", code, re.MULTILINE)] == []
    assert " → ".join(values) in (PACKAGE / "daemon/cycle.py").read_text()
