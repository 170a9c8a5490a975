"""The status page in a real browser, over a real daemon, filled by plain git."""

from __future__ import annotations

import json
import re
import signal
import urllib.error
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, Error

from tests.e2e.browser import LOOKS, accessibility_findings, chromium, keep_screenshot, tab
from tests.e2e.proxy import hold_port, port_of
from tests.e2e.tools import Daemon, clone, dc, delta, git, primary_toml, push, wait_for

MANY = 12
EVIL = "<script>document.title='owned'</script><img src=x onerror=alert(1)><style>*{display:none}</style>"
BIDI = "\u202egnp.exe\u2066\u200f"
LONG = "L" * 1_000_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


class Fleet:
    """A repository that workers push to on lanes, each an orphan commit from one clone, and a daemon that serves it."""

    def __init__(self, folder: Path, more: str = "", close: str = "manual", listen: str = "127.0.0.1:0") -> None:
        self.repository = folder / "fleet.git"
        dc("init", str(self.repository))
        self._worker = clone(self.repository, folder / "worker")
        self._config = primary_toml(folder, close, 36_000.0)  # longer than any test takes
        text = self._config.read_text().replace("[frames]", f"{more}[frames]")
        self._config.write_text(text.replace("127.0.0.1:0", listen))
        self._folder = folder
        self.daemon = self.start()

    def start(self) -> Daemon:
        return Daemon(self._folder, "--repo", str(self.repository), "--config", str(self._config))

    def looked_at(self) -> bool:
        """Whether the daemon has read the repository."""
        try:
            return self.daemon.get("/readyz") == "ready\n"
        except urllib.error.HTTPError as error:
            error.close()
            return error.code == 401

    def push(self, name: str, text: str, frame: int = 1) -> None:
        push(self._worker, {f"state/stream_deltas/{frame}/{name}.json": text}, "main", name.partition(" ")[0])

    def push_around(self, name: str, raw: bytes, frame: int = 1) -> None:
        """What the server would refuse: put on `main` behind its back, as on a server without the check."""
        hook = self.repository / "hooks" / "pre-receive"
        hook.rename(hook.with_suffix(".off"))
        try:
            path = self._worker / f"state/stream_deltas/{frame}" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(raw)
            git(self._worker, "add", "-A")
            git(self._worker, "commit", "-q", "-m", "around")
            git(self._worker, "push", "-q", "origin", "HEAD:main")
        finally:
            hook.with_suffix(".off").rename(hook)

    def close(self) -> None:
        """Let the daemon close the open frame by hand, and the worker follow."""
        frame = json.loads(self.daemon.get("/api/v1/status"))["frame"]
        self.daemon.process.send_signal(signal.SIGUSR1)
        wait_for(lambda: json.loads(self.daemon.get("/api/v1/status"))["frame"] > frame)
        git(self._worker, "pull", "-q", "--rebase", "origin", "main")


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    one = Fleet(tmp_path)
    with one.daemon:
        wait_for(one.looked_at)
        yield one


def fill(fleet: Fleet) -> None:
    """Some frames of a lively fleet: many streams, conflicts, late deltas, books in all states, a broken delta."""
    for frame in range(1, 9):
        for number in range(1 + (frame * 5) % 7):
            stream = f"worker-{number:02}"
            sections: dict[str, Any] = {
                "posts_created": [{"number": frame * 10 + number, "title": f"post {number} of {stream}"}],
                "profile_updates": {"everyone": {"mood": f"{stream} in {frame}"}},
                "chapters_added": [{"book": "tides", "chapter": frame, "author": stream, "content": "word " * 40}],
            }
            fleet.push(
                f"{stream}-{frame}", delta(frame, stream, f"2026-01-01T00:0{frame}:{number:02}Z", **sections), frame
            )
        if frame > 2:
            fleet.push(f"late-{frame}", delta(frame - 2, "slow-walker", observations=[frame]), frame - 2)
        if frame == 2:
            pages = [
                {"book": "tides", "title": "The Book of Tides", "target_chapters": 6},
                {"book": "lanes", "title": "Lanes and Weather", "target_chapters": 9},
            ]
            fleet.push("pages", delta(2, "librarian", books_started=pages), 2)
            fleet.push_around("broken.json", b'{"frame": 2,\n<<<<<<< HEAD\n', 2)
        fleet.close()
    for number in range(MANY):
        stream = f"worker-{number % 5:02}"
        fleet.push(f"open-{number}", delta(9, stream, f"2026-01-01T00:09:{number:02}Z", observations=[number]), 9)


def fill_with_evil(fleet: Fleet) -> None:
    """Markup, right-to-left marks and megabytes in every place that a delta can bring."""
    for number, (stream, value) in enumerate(
        ((EVIL[:90].replace("/", "|"), EVIL), (f"rtl {BIDI}", BIDI + EVIL), ("long", LONG))
    ):
        sections: dict[str, Any] = {
            "posts_created": [{"number": 1, "title": value, EVIL: value, BIDI: value}],
            "books_started": [{"book": EVIL, "title": value, "target_chapters": 2}],
            "chapters_added": [{"book": EVIL, "chapter": 1, "author": EVIL + BIDI, "content": value}],
            EVIL: [value],
        }
        fleet.push_around(f"{number} {stream.replace('|', '')}{BIDI}.json", delta(1, stream, **sections).encode())
    fleet.push_around(f"{EVIL.replace('/', '')}{BIDI}.json", b"<html>")
    fleet.push_around("utc.json", delta(1, "t", EVIL + BIDI).encode())


def test_it_fills_up_live_while_workers_push(fleet: Fleet, browser: Browser) -> None:
    """Without a reload each push shows, then the close: the frame goes on, and a screen reader is told."""
    with tab(browser) as one:
        one.page.goto(fleet.daemon.url() + "/")
        one.live()
        assert one.text("#total") == "0"
        for number in range(1, 4):
            fleet.push(f"a-{number}", delta(1, f"worker-{number}", observations=[number]))
            one.until(f"document.querySelector('#total').textContent === '{number}'")
        assert "worker-3" in one.text("#open")
        keep_screenshot(one.page, "filling")
        fleet.close()
        one.until("document.querySelector('#frame').textContent === '2'")
        assert one.text("#said") == "Frame 1 is closed."
        assert one.page.locator("#frames tbody tr").count() == 1
        assert one.page.title() == "Healthy: frame 2 · dreamcatcherd"
        assert one.complaints == []


def test_who_reads_in_a_section_is_not_disturbed(fleet: Fleet, browser: Browser) -> None:
    """The form keeps what is being typed, and its focus, while frames close around it."""
    fleet.close()
    with tab(browser) as one:
        one.page.goto(fleet.daemon.url() + "/")
        one.live()
        one.page.fill("#from", "1234")
        fleet.close()
        one.until("document.querySelector('#frame').textContent === '3'")
        assert one.page.input_value("#from") == "1234"
        assert one.page.evaluate("document.activeElement.id") == "from"
        assert one.complaints == []


def test_hostile_deltas_do_nothing(fleet: Fleet, browser: Browser) -> None:
    """Scripts, handlers, styles, right-to-left marks and megabytes: shown as text, nothing runs, nothing breaks out."""
    with tab(browser) as one:
        one.page.goto(fleet.daemon.url() + "/")
        one.live()
        fill_with_evil(fleet)
        one.until("document.querySelector('#total').textContent === '3'")
        fleet.close()
        one.until("document.querySelector('#frame').textContent === '2'")
        fleet.close()
        one.until("document.querySelectorAll('#quarantine tbody tr').length === 2")
        one.until("document.title.startsWith('Attention: frame 3')")
        evil = quote(EVIL, safe="")
        for path in ("/", "/diff?from=1&to=2", "/frames/1", "/streams", "/conflicts",
                     "/collection?name=posts", "/entity?collection=posts&key=1", "/quarantine",
                     f"/book?key={evil}", f"/search?q={evil[:90]}", "/collections",
                     f"/collection?name=extra%2F{evil}", f"/stream?id=rtl%20{quote(BIDI)}"):  # fmt: skip
            one.page.goto(fleet.daemon.url() + path)
            one.live()
            assert one.page.title().startswith("Attention: ")
            assert one.page.locator("script").count() == 1
            assert one.page.locator("main img, main style, main iframe").count() == 0
            assert one.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
            assert len(one.page.content()) < 300_000
            assert accessibility_findings(one.page) == []
            assert one.page.evaluate("""[...document.querySelectorAll('bdi')].every(one =>
                getComputedStyle(one).unicodeBidi === 'isolate')""")
        one.page.goto(fleet.daemon.url() + "/conflicts")
        assert "<script>" in one.text("#conflicts")
        keep_screenshot(one.page, "hostile")
        assert one.complaints == []
    with tab(browser, "phone") as one:
        for path in ("/", "/conflicts", "/entity?collection=posts&key=1", "/frames/1"):
            one.page.goto(fleet.daemon.url() + path)
            one.live()
            assert one.page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
        keep_screenshot(one.page, "hostile-phone")


PAGES = (
    "/", "/?range=1h", "/frames", "/frames/2", "/frames/8", "/streams", "/stream?id=worker-01",
    "/stream?id=slow-walker",
    "/collections", "/collection?name=posts", "/entity?collection=agents&key=everyone", "/conflicts", "/quarantine",
    "/claims", "/books", "/book?key=tides", "/troubles", "/search?q=worker", "/diff?from=6&to=8",
)  # fmt: skip


CHECKED = ("light", "phone-dark")
"""The looks in which axe reads every page, which have each colour scheme and each width. In the others it reads two."""


def test_it_is_for_everybody_in_every_light(tmp_path: Path, browser: Browser) -> None:
    """axe finds nothing on any page, light and dark, wide and on a phone, empty and full; nothing is too wide."""
    fleet = Fleet(tmp_path, close="interval")
    with fleet.daemon:
        url = fleet.daemon.url()
        wait_for(fleet.looked_at)
        with tab(browser) as one:
            one.page.goto(url + "/")
            one.live()
            assert accessibility_findings(one.page) == []
        fill(fleet)
        wait_for(lambda: json.loads(fleet.daemon.get("/api/v1/status"))["pending"]["total"] >= MANY)
        for look in LOOKS:
            with tab(browser, look) as one:
                for path in PAGES:
                    one.page.goto(url + path)
                    one.live()
                    if look in CHECKED or path in PAGES[:2]:
                        assert accessibility_findings(one.page) == [], (look, path)
                    assert one.page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (look, path)
                one.page.goto(url + "/")
                one.live()
                one.until("/^closes in/.test(document.querySelector('#countdown').textContent)")
                keep_screenshot(one.page, look)
                assert one.complaints == []
                one.page.goto(url + "/frames/99")
                assert accessibility_findings(one.page) == []


def test_three_questions_are_answered_within_ten_seconds(fleet: Fleet, browser: Browser) -> None:
    """Is the fleet healthy: in the first 300 pixels, on a phone too. What happened to a stream: one click, or a search
    and one click. Who set a field: a search and one click."""
    fill(fleet)
    wait_for(lambda: "worker-04" in fleet.daemon.get("/api/v1/status"))
    for look in ("light", "phone"):
        with tab(browser, look, java_script_enabled=False) as one:
            one.page.goto(fleet.daemon.url() + "/")
            box = one.page.locator("#verdict h1").bounding_box()
            sentence = one.page.locator("#sentence").bounding_box()
            assert box is not None
            assert sentence is not None
            assert sentence["y"] + sentence["height"] <= 300
            assert one.text("#verdict h1").startswith("Attention")
            assert one.text("#sentence").startswith("1 delta was quarantined in the last 8 frames")
    with tab(browser, java_script_enabled=False) as one:
        one.page.goto(fleet.daemon.url() + "/")
        one.page.locator("#streams").get_by_role("link", name="slow-walker").click()
        assert "late by 2" in one.text("#deltas")
        one.page.get_by_role("searchbox").fill("walker")
        one.page.get_by_role("button", name="Search").click()
        one.page.locator("#results").get_by_role("link", name="slow-walker").click()
        assert one.page.url.endswith("/stream?id=slow-walker")
        one.page.get_by_role("searchbox").fill("worker-00 in 1")
        one.page.get_by_role("searchbox").press("Enter")
        assert "Nothing was found" in one.text("#results") or one.page.locator("#results table").count() == 1
        one.page.get_by_role("searchbox").fill("in 8")
        one.page.get_by_role("searchbox").press("Enter")
        one.page.locator("#results").get_by_role("link", name="agents everyone").click()
        assert re.search(r"mood.*worker-\d\d in 8.*worker-\d\d", one.text("#entity"), re.DOTALL)
        assert "frame 8" in one.text("#entity")
        assert one.complaints == []


def test_the_keyboard_reaches_everything_in_order(fleet: Fleet, browser: Browser) -> None:
    """The first tab stop skips to the content; no stop is a trap, and all are visible when they have the focus."""
    fill(fleet)
    with tab(browser) as one:
        one.page.goto(fleet.daemon.url() + "/")
        one.live()
        one.page.keyboard.press("Tab")
        assert one.page.evaluate("document.activeElement.className") == "skip"
        one.page.keyboard.press("Enter")
        assert one.page.evaluate("document.activeElement.id") == "main"
        one.page.keyboard.press("Tab")
        assert one.page.evaluate("document.activeElement.closest('#verdict') !== null")
        one.page.goto(fleet.daemon.url() + "/frames")
        one.live()
        seen = []
        for _ in range(60):
            one.page.keyboard.press("Tab")
            here = one.page.evaluate("""(() => { const at = document.activeElement, box = at.getBoundingClientRect();
                return [at.tagName, at.href ?? at.name ?? at.className, box.width > 0 && box.height > 0]; })()""")
            if here[0] == "BODY":
                break
            assert here[2], here
            seen.append(tuple(here))
        assert len(seen) > 20
        assert seen[0][1].endswith("#main")
        assert here[0] == "BODY", "the focus never leaves the page"


def test_what_is_pointed_at_in_a_chart_is_read_out(fleet: Fleet, browser: Browser) -> None:
    """With a script below the chart; without, it is the title of the column. A table has the same numbers."""
    fleet.push("a", delta(1, "a", observations=[1]))
    fleet.close()
    with tab(browser) as one:
        one.page.goto(fleet.daemon.url() + "/?range=1h")
        one.live()
        column = one.page.locator(".trend.deltas g:has(.s0)").last

        def read_out() -> bool:
            """Point at it; a page that is replaced meanwhile, as when a minute begins, forgets what was pointed at."""
            one.page.mouse.move(0, 0)
            column.locator(".s0").hover()
            said, title = one.text(".trend.deltas .readout"), column.locator("title").text_content()
            return said == title and re.fullmatch(r"\d\d:\d\d to \d\d:\d\d: 1", said) is not None

        wait_for(read_out)
        one.page.get_by_text("The same numbers as a table").click()
        assert one.page.locator("#trends tbody tr").count() == 1
        assert one.complaints == []


def test_a_failure_is_seen_at_once_and_so_is_its_end(fleet: Fleet, browser: Browser) -> None:
    """The verdict, the title, the icon and the words for screen readers change without a reload, on every page."""
    fleet.push("a", delta(1, "a", observations=[1]))
    fleet.close()
    hidden = fleet.repository.with_name("hidden.git")
    with tab(browser) as one, tab(browser, "dark") as other:
        one.page.goto(fleet.daemon.url() + "/")
        other.page.goto(fleet.daemon.url() + "/frames/1")
        one.live()
        other.live()
        assert one.text("#verdict h1").startswith("Healthy")
        fleet.repository.rename(hidden)
        one.until("document.querySelector('#verdict.failing')")
        other.until("document.querySelector('#health.failing')")
        assert one.page.title().startswith("Failing: ")
        assert one.page.locator("#icon").get_attribute("href") == "./static/failing.svg"
        assert one.text("#said").startswith("Failing: ")
        assert accessibility_findings(one.page) == []
        keep_screenshot(one.page, "failing")
        hidden.rename(fleet.repository)
        one.until("document.querySelector('#verdict.healthy')")
        other.until("document.querySelector('#health.healthy')")
        assert one.page.locator("#icon").get_attribute("href") == "./static/healthy.svg"


def test_two_frames_are_compared_without_any_script(fleet: Fleet, browser: Browser) -> None:
    """Where scripts are off the page shows everything as it was loaded, and the form works by GET."""
    fleet.push("a", delta(1, "a", posts_created=[{"number": 1, "title": "old"}]))
    fleet.close()
    fleet.push("b", delta(2, "b", posts_created=[{"number": 1, "title": "new"}]), 2)
    fleet.close()
    wait_for(lambda: '"last_closed":2' in fleet.daemon.get("/api/v1/status"))
    with tab(browser, java_script_enabled=False) as one:
        one.page.goto(fleet.daemon.url() + "/")
        one.page.fill("#from", "1")
        one.page.fill("#to", "2")
        one.page.get_by_role("button", name="Compare").click()
        one.page.wait_for_url("**/diff?from=1&to=2")
        assert re.search(r"title\s+old\s*→\s*new", one.text("#diff"))
        assert one.complaints == []


def test_the_token_is_asked_for_by_the_browser_itself(tmp_path: Path, browser: Browser) -> None:
    """With a token the page, its files and its events come to who has it as the password, and to nobody else."""
    (tmp_path / "token").write_text("s3cret\n")
    fleet = Fleet(tmp_path, f'token_file = "{tmp_path / "token"}"\n')
    with fleet.daemon:
        url = fleet.daemon.url()
        wait_for(fleet.looked_at)
        with tab(browser) as one, pytest.raises(Error, match="AUTH"):
            one.page.goto(url + "/")
        with tab(browser, http_credentials={"username": "me", "password": "s3cret"}) as one:
            one.page.goto(url + "/")
            one.live()
            fleet.push("a", delta(1, "a", observations=[1]))
            one.until("document.querySelector('#total')?.textContent === '1'")
            assert one.complaints == []


def test_it_comes_back_after_the_daemon_did(tmp_path: Path, browser: Browser) -> None:
    """While the daemon is away the page says so, and goes on by itself once it is there again, on the same port."""
    with hold_port() as held:
        fleet = Fleet(tmp_path, listen=f"127.0.0.1:{port_of(held)}")
        with fleet.daemon, tab(browser) as one:
            one.page.goto(fleet.daemon.url() + "/")
            one.live()
            assert fleet.daemon.stop()[0] == 0
            one.page.wait_for_selector("#link.bad")
            with fleet.start() as again:
                one.live()
                fleet.push("a", delta(1, "a", observations=[1]))
                one.until("document.querySelector('#total').textContent === '1'")
                assert again.process.poll() is None
