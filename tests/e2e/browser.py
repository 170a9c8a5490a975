"""A real browser, headless: Debian's chromium driven by Playwright. Nothing is downloaded."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.e2e.tools import need, program

ARTIFACTS = Path(__file__).parents[2] / "artifacts" / "page"
"""Where screenshots are kept for people to look at; git ignores the folder."""

FLAGS = """--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
--disable-component-update --disable-sync --disable-dev-shm-usage"""

PATIENCE_S = 90
"""How long a page may take to show something, on a slow machine."""

LOOKS: dict[str, dict[str, Any]] = {
    "light": {"color_scheme": "light", "viewport": {"width": 1280, "height": 900}},
    "dark": {"color_scheme": "dark", "viewport": {"width": 1280, "height": 900}},
    "phone": {"color_scheme": "light", "viewport": {"width": 390, "height": 844}, "device_scale_factor": 2},
    "phone-dark": {"color_scheme": "dark", "viewport": {"width": 390, "height": 844}, "device_scale_factor": 2},
}


@contextmanager
def chromium() -> Iterator[Browser]:
    """The browser as a process, ended with the block."""
    need("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program("chromium"), args=FLAGS.split())
        try:
            yield browser
        finally:
            browser.close()


class Tab(NamedTuple):
    """A page in a context of its own, with everything that it complained of: errors, refused loads, dialogs."""

    page: Page
    complaints: list[str]

    def live(self) -> None:
        """Wait until the page follows the events."""
        self.page.wait_for_selector("#link.good")

    def until(self, script: str) -> None:
        """Wait until a script's value is truthy. It is asked from outside: the page's policy lets nothing evaluate."""
        until = time.monotonic() + PATIENCE_S
        while not self.page.evaluate(script):
            if time.monotonic() > until:
                raise AssertionError(f"not so within {PATIENCE_S} s: {script}\n{self.page.inner_text('body')[:3000]}")
            self.page.wait_for_timeout(50)

    def text(self, selector: str) -> str:
        return self.page.inner_text(selector)


@contextmanager
def tab(browser: Browser, look: str = "light", **options: Any) -> Iterator[Tab]:
    """A tab that looks as named in LOOKS; `options` are those of a browser context."""
    context: BrowserContext = browser.new_context(**{**LOOKS[look], **options})
    context.set_default_timeout(1000 * PATIENCE_S)
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda said: complaints.append(said.text) if said.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))

    def close_dialog(dialog: Any) -> None:
        complaints.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    page.on("dialog", close_dialog)
    try:
        yield Tab(page, complaints)
    finally:
        context.close()


def accessibility_findings(page: Page) -> list[str]:
    """What axe finds, each with the elements concerned."""
    page.evaluate(resources.files("axe_playwright_python").joinpath("axe.min.js").read_text("utf-8"))
    found = page.evaluate("axe.run()")
    assert len(found["passes"]) > 10, "axe has not looked at the page"
    return [
        f"{one['id']}: {one['help']}: {[node['target'] for node in one['nodes']][:5]}" for one in found["violations"]
    ]


def keep_screenshot(page: Page, name: str) -> None:
    ARTIFACTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=ARTIFACTS / f"{name}.png", full_page=True)
