"""`make screenshots`: the page in every verdict and look, and its detail pages, as PNG files in artifacts/page; and the
pictures of it that the documents show, in docs/pictures."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import get_args

from playwright.sync_api import Browser

from tests.e2e.browser import LOOKS, chromium, tab
from tests.pictures.sources import PICTURES, SHOTS
from tests.web.verdicts import Level, page_in

FOLDER = Path("artifacts/page")
DETAILS = (
    "/frames", "/frames/60", "/streams", "/stream?id=worker-05", "/collections", "/collection?name=posts",
    "/entity?collection=posts&key=7", "/conflicts", "/quarantine", "/claims", "/books", "/diff?from=40&to=60",
    "/search?q=worker-05",
)  # fmt: skip
"""Photographed where attention is needed: then every list has rows."""


DOCUMENT_HOURS, DOCUMENT_PERIOD_S = 25.0, 600
"""History before the pictures of the documents: the trends of a day are complete, and few frames are made for them."""


def for_documents(browser: Browser) -> None:
    """Draw the upper part of the page of a healthy fleet, down to the trends, in the two looks of the documents."""
    with page_in("healthy", DOCUMENT_HOURS, DOCUMENT_PERIOD_S, closes=3) as served:
        for look, name in SHOTS.items():
            with tab(browser, look, viewport={"width": 1200, "height": 1100}) as opened:
                opened.page.goto(served.server.url)
                opened.live()
                opened.until("!document.body.innerText.includes('Part of this page is missing')")
                below = opened.page.get_by_text("The same numbers as a table").bounding_box()
                assert below is not None
                opened.page.set_viewport_size({"width": 1200, "height": int(below["y"]) - 12})
                opened.page.screenshot(path=PICTURES / name)
                print(PICTURES / name)


def main(hours: float) -> None:
    """Write all of them; `hours` of history go before."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with chromium() as browser:
        for_documents(browser)
        for level in get_args(Level):
            with page_in(level, hours) as served:
                for look in LOOKS:
                    with tab(browser, look) as opened:
                        for path in ("/", *(DETAILS if level == "attention" else ())):
                            opened.page.goto(f"{served.server.url}{path}")
                            name = "-".join(re.findall(r"\w+", path)) or "start"
                            opened.page.screenshot(path=FOLDER / f"{level}-{name}-{look}.png", full_page=True)
                            print(f"{FOLDER}/{level}-{name}-{look}.png")


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 6)
