"""A server over a repository in memory, as tests of HTTP drive it: push, close a frame, ask."""

from __future__ import annotations

import json
import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from email.message import Message
from http.client import HTTPResponse
from typing import Any, NamedTuple

from dreamcatcherd.daemon.cycle import close_frame, poll
from dreamcatcherd.daemon.primary import Primary
from dreamcatcherd.git.protocols import QueryReader
from dreamcatcherd.observe.metrics import Metrics
from dreamcatcherd.web.app import make_app
from dreamcatcherd.web.hints import Hints
from dreamcatcherd.web.live_status import LiveStatus
from dreamcatcherd.web.server import HttpServer, Listening
from tests.law.fleet import MAIN, commit_files, new_primary
from tests.stages.tools import FOLDER, text

HOST = Listening("127.0.0.1", 0)


class Answer(NamedTuple):
    """What came back: the code, the headers, and the body as text."""

    code: int
    headers: Message[str, str]
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


class Counting:
    """A store that counts what is read, and holds readers up where it is told to."""

    def __init__(self, store: QueryReader) -> None:
        self._store = store
        self.reads = 0
        self.threads: set[str] = set()
        self.before_read: Callable[[], None] = lambda: None

    def read(self, oid: str) -> bytes:
        self.reads += 1
        self.threads.add(threading.current_thread().name)
        self.before_read()
        return self._store.read(oid)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


class Served:
    """A server on a free port, with its live status and metrics, over a primary on a store in memory."""

    def __init__(self, primary: Primary | None = None, listening: Listening = HOST, hints: Hints | None = None) -> None:
        self.primary = primary or new_primary(b"")
        self.live_status = LiveStatus("memory")
        self.metrics = Metrics()
        self.reader = Counting(self.primary.store.reader())
        shown = self.metrics.registry, self.live_status
        app = make_app(*shown, lambda: self.reader, listening.auth_policy, hints)
        self.server = HttpServer(app, listening)
        self.server.start()

    def push(self, stream: str = "s", number: int = 0, frame: int = 1, **sections: Any) -> None:
        """A delta on `main`, and a look at it."""
        path = f"{FOLDER}/{frame}/{len(self.primary.store.refs())}-{abs(hash(stream)) % 10**8}-{number}.json"
        self.push_bytes(path, text(frame, stream, number, **sections))

    def push_bytes(self, path: str, raw: bytes) -> None:
        commit_files(self.primary.store, MAIN, {path: raw})
        self.look()

    def look(self) -> None:
        self.live_status.show(poll(self.primary)[0], self._published(), self.primary.last)

    def close(self) -> None:
        with self.live_status.merging():
            report = close_frame(self.primary, "test")
        self.live_status.show(report, self._published(), self.primary.last)

    def _published(self) -> str | None:
        return self.primary.last.published.commit if self.primary.last else None

    def get(
        self,
        path: str,
        method: str = "GET",
        context: ssl.SSLContext | None = None,
        body: bytes | None = None,
        **headers: str,
    ) -> Answer:
        request = urllib.request.Request(
            self.server.url + path,
            body,
            method=method,
            headers={name.replace("_", "-"): value for name, value in headers.items()},
        )
        try:
            answer: HTTPResponse = urllib.request.urlopen(request, timeout=60, context=context)
            with answer:
                return Answer(answer.status, answer.headers, answer.read().decode())
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, error.headers, error.read().decode())

    def ask(self, path: str, method: str = "GET") -> tuple[int, str]:
        found = self.get(path, method)
        return found.code, found.text


def serve_history(served: Served) -> Served:
    """Three closed frames with a conflict, a quarantined delta, a late one, and a book; and one that waits."""
    served.push(
        "a", 1, posts_created=[{"number": 1, "title": "from a"}], books_started=[{"book": "b", "title": "Tides"}]
    )
    served.push("b", 2, posts_created=[{"number": 1, "title": "from b"}])
    served.push_bytes(f"{FOLDER}/1/bad.json", b"{")
    served.close()
    served.push("a", 3, 2, posts_created=[{"number": 1, "title": "again"}, {"number": 2, "title": "two"}])
    served.push("late", 4, 1, chapters_added=[{"book": "b", "chapter": 1, "author": "late", "content": "one two"}])
    served.close()
    served.push("a", 5, 3, books_started=[{"book": "b", "target_chapters": 1}], observations=["seen"])
    served.close()
    served.push("a", 6, 4)
    return served
