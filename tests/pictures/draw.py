"""A picture as SVG from its source in TOML: areas, boxes, branches with commits, arrows and notes at given places.

Every place is given in the source, in the units of the picture. The SVG has its own background and two sets of colours,
so that it can be read on light and dark pages, and a title and a description for screen readers."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator
from html import escape
from typing import Any, NamedTuple

Element = dict[str, Any]
Point = tuple[float, float]

SIZES = {"title": 17.0, "name": 15.0, "small": 14.0, "mono": 14.0}
"""Sizes of text, in the units of a picture. At a width of 830 pixels a picture of 960 has no text below 12 pixels."""

STYLE = """
text { font-family: system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", Helvetica, Arial, sans-serif }
text { fill: #1c2430 }
.title { font-size: 17px; font-weight: 600 }
.name { font-size: 15px; font-weight: 600 }
.small { font-size: 14px; fill: #4d5869 }
.mono { font-family: ui-monospace, SFMono-Regular, Menlo, "DejaVu Sans Mono", monospace; font-size: 14px }
.card { fill: #ffffff; stroke: #d5dae3 }
.area { fill: #f3f5f9; stroke: #c3cad6 }
.plain { fill: #ffffff; stroke: #8792a5 }
.blue { fill: #e3edff; stroke: #2f66c8 }
.green { fill: #def3e8; stroke: #1b7a54 }
.amber { fill: #fdf0d5; stroke: #a86a00 }
.line { fill: none; stroke: #5b6679; stroke-width: 1.8; stroke-linejoin: round }
.head { fill: #5b6679 }
.branch { fill: none; stroke: #8792a5; stroke-width: 2.5 }
@media (prefers-color-scheme: dark) {
text { fill: #e8ecf3 }
.small { fill: #adb7c6 }
.card { fill: #12161d; stroke: #2c3440 }
.area { fill: #1a202a; stroke: #3a4453 }
.plain { fill: #12161d; stroke: #8490a3 }
.blue { fill: #16294d; stroke: #7fabff }
.green { fill: #10372a; stroke: #5fcb9c }
.amber { fill: #3f2d0a; stroke: #e5ad4b }
.line { stroke: #a3aebf }
.head { fill: #a3aebf }
.branch { stroke: #6f7b8e }
}
"""

_ADVANCE = {"title": 0.6, "name": 0.6, "small": 0.55, "mono": 0.61}
"""About how wide a character is, as a part of the size: wider than most fonts, so that text fits with any of them."""


class Rect(NamedTuple):
    """A rectangle that arrows begin and end at."""

    x: float
    y: float
    width: float
    height: float

    def side(self, name: str) -> Point:
        """The middle of a side, or a point on it: `right`, `bottom+20` (20 units further right or down)."""
        name, _, shift = name.replace("-", "+-").partition("+")
        by = float(shift or 0)
        middle = (self.x + self.width / 2, self.y + self.height / 2)
        return {
            "left": (self.x, middle[1] + by),
            "right": (self.x + self.width, middle[1] + by),
            "top": (middle[0] + by, self.y),
            "bottom": (middle[0] + by, self.y + self.height),
        }[name]


def text_width(text: str, style: str) -> float:
    """About how wide a text is drawn, rather too wide."""
    return len(text) * SIZES[style] * _ADVANCE[style]


def draw(source: str) -> str:
    """The SVG of a source."""
    picture = tomllib.loads(source)
    width, height = picture["size"]
    rects: dict[str, Rect] = {}
    body = [
        line for kind, drawing in _DRAWINGS.items() for one in picture.get(kind, []) for line in drawing(one, rects)
    ]
    head = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_n(width)} {_n(height)}" width="{_n(width)}" '
        f'height="{_n(height)}" role="img" aria-labelledby="title desc">',
        f'<title id="title">{escape(picture["title"])}</title>',
        f'<desc id="desc">{escape(" ".join(picture["desc"].split()))}</desc>',
        f"<style>{STYLE}</style>",
        '<defs><marker id="head" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" '
        'orient="auto-start-reverse"><path class="head" d="M0,0.8 L10,5 L0,9.2 z"/></marker></defs>',
        f'<rect class="card" x="0.5" y="0.5" width="{_n(width - 1)}" height="{_n(height - 1)}" rx="12"/>',
    ]
    return "\n".join([*head, *body, "</svg>", ""])


def rectangles(source: str) -> Iterator[tuple[Rect, list[tuple[str, str]]]]:
    """Each box of a source with its lines, as (text, style): for the test that text fits."""
    for one in tomllib.loads(source).get("box", []):
        yield _rect(one), _lines(one)


def _area(one: Element, rects: dict[str, Rect]) -> Iterator[str]:
    rect = _rect(one)
    yield _box("area", rect, 10)
    yield _text((rect.x + 16, rect.y + 27), one["label"], "title")
    rects[one["id"]] = rect


def _branch(one: Element, rects: dict[str, Rect]) -> Iterator[str]:
    (x, y), (to, _) = one["from"], one["to"]
    yield f'<path class="branch" d="M{_n(x)},{_n(y)} H{_n(to)}"/>'
    yield _text((x, y - 20), one["label"], "mono")


def _boxes(one: Element, rects: dict[str, Rect]) -> Iterator[str]:
    rect = rects[one["id"]] = _rect(one)
    yield _box(one.get("kind", "plain"), rect, rect.height / 2 if one.get("round") else 8)
    lines = _lines(one)
    step = 20.0
    y = rect.y + rect.height / 2 - step * (len(lines) - 1) / 2 + 5
    for at, (text, style) in enumerate(lines):
        yield _text((rect.x + rect.width / 2, y + step * at), text, style, anchor="middle")


def _commit(one: Element, rects: dict[str, Rect]) -> Iterator[str]:
    x, y = one["at"]
    if one.get("kind") == "snapshot":
        rect = rects[one["id"]] = Rect(x - 13, y - 13, 26, 26)
        yield _box("green", rect, 6)
    else:
        rect = rects[one["id"]] = Rect(x - 8, y - 8, 16, 16)
        yield f'<circle class="blue" cx="{_n(x)}" cy="{_n(y)}" r="8" stroke-width="1.8"/>'
    if "label" in one:
        dx, dy = one.get("shift", (0, 32))
        yield _text((x + dx, y + dy), one["label"], "small", anchor="middle")


def _arrow(one: Element, rects: dict[str, Rect]) -> Iterator[str]:
    start, end = (_place(one[name], rects) for name in ("from", "to"))
    between = [(float(x), float(y)) for x, y in one.get("via", [])]
    if one.get("curve"):
        (x, y), (u, v) = start, end
        pull = one["curve"]
        path = (
            f"M{_n(x)},{_n(y)} C{_n(x + pull[0])},{_n(y + pull[1])} {_n(u + pull[2])},{_n(v + pull[3])} {_n(u)},{_n(v)}"
        )
    else:
        path = "M" + " L".join(map(_xy, [start, *between, end]))
    dashed = ' stroke-dasharray="5 4"' if one.get("dashed") else ""
    head = "" if one.get("plain") else ' marker-end="url(#head)"'
    yield f'<path class="line"{dashed} d="{path}"{head}/>'
    for at, text in enumerate(one.get("label", "").split("\n") if "label" in one else []):
        x, y = one["label_at"]
        yield _text((x, y + 18 * at), text, "small", anchor=one.get("anchor", "middle"))


def _note(one: Element, rects: dict[str, Rect]) -> Iterator[str]:
    x, y = one["at"]
    for at, text in enumerate(one["text"].split("\n")):
        style = one.get("style", "small")
        yield _text((x, y + one.get("step", 20) * at), text, style, anchor=one.get("anchor", "start"))


_DRAWINGS: dict[str, Callable[[Element, dict[str, Rect]], Iterator[str]]] = {
    "area": _area,
    "branch": _branch,
    "box": _boxes,
    "commit": _commit,
    "arrow": _arrow,
    "note": _note,
}
"""What a source may hold, from the back to the front."""


def _rect(one: Element) -> Rect:
    return Rect(*map(float, (*one["at"], *one["size"])))


def _lines(one: Element) -> list[tuple[str, str]]:
    lines = [(one[style], style) for style in ("title", "name") if style in one]
    return lines + [(text, one.get("style", "small")) for text in one.get("lines", [])]


def _place(place: str | list[float], rects: dict[str, Rect]) -> Point:
    if not isinstance(place, str):
        return (place[0], place[1])
    name, _, side = place.partition(":")
    return rects[name].side(side)


def _box(kind: str, rect: Rect, radius: float) -> str:
    at = f'x="{_n(rect.x)}" y="{_n(rect.y)}" width="{_n(rect.width)}" height="{_n(rect.height)}"'
    return f'<rect class="{kind}" {at} rx="{_n(radius)}" stroke-width="1.5"/>'


def _text(at: Point, text: str, style: str, anchor: str = "start") -> str:
    anchored = f' text-anchor="{anchor}"' if anchor != "start" else ""
    return f'<text class="{style}" x="{_n(at[0])}" y="{_n(at[1])}"{anchored}>{escape(text)}</text>'


def _xy(at: Point) -> str:
    return f"{_n(at[0])},{_n(at[1])}"


def _n(value: float) -> str:
    return f"{value:g}"
