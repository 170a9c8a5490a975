"""The page in each verdict, in a real browser and every look."""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

import pytest
from playwright.sync_api import Browser

from tests.e2e.browser import LOOKS, accessibility_findings, chromium, tab
from tests.e2e.screenshots import DETAILS
from tests.e2e.tools import wait_for
from tests.web.verdicts import Level, page_in

SEEN_AT_ONCE = 500
"""Pixels below the top edge in which the verdict is: half of a phone's screen."""

LEFT_S = 3_600
"""How long the open frame has left: longer than it takes to look at the page in every way."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.mark.parametrize("level", get_args(Level))
def test_the_verdict_is_seen_first_and_its_reasons_after_it(level: Level, browser: Browser) -> None:
    """In every look the verdict is at the top in words, with reasons that lead on, and axe finds nothing."""
    with page_in(level, left_s=LEFT_S) as served:
        for look in LOOKS:
            with tab(browser, look) as opened:
                page = opened.page
                page.goto(served.server.url)
                heading = page.locator("h1")
                assert heading.inner_text().lower().startswith(level)
                box = wait_for(heading.bounding_box)  # none while the live page replaces the heading
                assert box["y"] + box["height"] < SEEN_AT_ONCE
                assert page.title().lower().startswith(level)
                reasons = page.locator(".reasons li a")
                assert (reasons.count() > 0) == (level != "healthy")
                for href in [one.get_attribute("href") for one in reasons.all()]:
                    assert href is not None
                    assert page.request.get(f"{served.server.url}/{href.lstrip('/')}").ok, href
                assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), look
                assert accessibility_findings(page) == []
                assert opened.complaints == []


def test_routine_conflicts_do_not_change_the_verdict(browser: Browser) -> None:
    """A fleet whose streams are often of two minds is healthy, and its conflicts are not in the color of failure."""
    with page_in("healthy", left_s=LEFT_S) as served, tab(browser) as opened:
        page = opened.page
        page.goto(f"{served.server.url}/conflicts")
        assert page.locator("tbody tr").count() > 0
        failing = page.evaluate("getComputedStyle(document.documentElement).getPropertyValue('--bad').trim()")
        assert failing
        colors = page.evaluate(
            "[...document.querySelectorAll('main *')].map((one) => getComputedStyle(one).color)"
            ".filter((one, i, all) => all.indexOf(one) === i)"
        )
        page.evaluate("(color) => { document.body.style.color = color }", failing)
        assert page.evaluate("getComputedStyle(document.body).color") not in colors


def test_a_phone_shows_who_set_a_field_without_moving_sideways(browser: Browser) -> None:
    """Each field of an entity has its value, its stream and its delta below each other, inside the screen."""
    with page_in("attention", left_s=LEFT_S) as served, tab(browser, "phone") as opened:
        page = opened.page
        page.goto(f"{served.server.url}/entity?collection=posts&key=7")
        cells = page.locator("#entity td[data-head='Set by']")
        assert cells.count() > 1
        for cell in cells.all():
            box = wait_for(cell.bounding_box)  # none while the live page replaces it
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= LOOKS["phone"]["viewport"]["width"]
            shown = cell.evaluate("(one) => getComputedStyle(one, '::before').content")
            assert shown == '"Set by"'


def test_on_a_phone_no_table_is_cut_off(browser: Browser) -> None:
    """Every cell of every table is inside the screen and has its column's name, or is a tag that needs none."""
    outside = """[...document.querySelectorAll('.table :is(td, tbody th)')].filter((cell) => {
        const box = cell.getBoundingClientRect();
        return box.width && (box.left < 0 || box.right > innerWidth || cell.scrollWidth > cell.clientWidth + 1);
    }).map((cell) => cell.textContent.trim())"""
    with page_in("attention", left_s=LEFT_S) as served, tab(browser, "phone") as opened:
        for path in ("/", *DETAILS):
            opened.page.goto(served.server.url + path)
            assert opened.page.evaluate(outside) == [], path
            assert opened.page.locator(".table td:not([data-head])").count() == 0, path
