"""`make screenshots`: the page in every verdict and look, and its detail pages, as PNG files in artifacts/page."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import get_args

from tests.e2e.browser import LOOKS, chromium, tab
from tests.web.verdicts import Level, page_in

FOLDER = Path("artifacts/page")
DETAILS = (
    "/frames", "/frames/60", "/streams", "/stream?id=worker-05", "/collections", "/collection?name=posts",
    "/entity?collection=posts&key=7", "/conflicts", "/quarantine", "/claims", "/books", "/diff?from=40&to=60",
    "/search?q=worker-05",
)  # fmt: skip
"""Photographed where attention is needed: then every list has rows."""


def main(hours: float) -> None:
    """Write all of them; `hours` of history go before."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with chromium() as browser:
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
