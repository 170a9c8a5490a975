"""Fleets to look at: a history of hours up to now, and what makes each verdict. On any store, so that a real daemon can
serve it as well."""

from __future__ import annotations

import json
import math
import random
from typing import Any

from dreamcatcherd.core.codec import utc_text
from dreamcatcherd.core.tree import FILE, Entry, edit
from dreamcatcherd.daemon.cycle import close_frame
from dreamcatcherd.daemon.primary import Primary
from dreamcatcherd.git.protocols import Commit, Move, Store
from tests.law.fleet import MAIN

SECOND = 1_000_000
SETTINGS = b"""[collections.tasks]
section = "claims"
key = ["resource"]
rule = "claim"
ttl = 40
"""
HOSTILE = (
    "<script>alert(1)</script>",
    "\u202egnp.exe\u2066\u200f",
    "\u0627\u0644\u0639\u0631\u0628\u064a\u0629-north",
    "a-stream-whose-name-goes-on-" + "and-on-" * 13,
    "..",
    "100% sure? a&b=c#d",
)
BOOKS = ("The Book of Tides", "Lanes and Weather", "Notes from the North", "A Short History of Merging")


class Fleet:
    """A fleet on a store, with a clock that it moves: frames of `period_s` from `hours` ago up to now."""

    def __init__(self, primary: Primary, now: int, hours: float, period_s: int = 60, streams: int = 24) -> None:
        self.primary = primary
        self.chance = random.Random(7)
        self.frames = int(hours * 3600 / period_s)
        self.start = now - self.frames * period_s * SECOND
        self.period_s = period_s
        self.names = [f"worker-{number:02}" for number in range(streams)]
        self.silent: set[str] = set()
        self.at = self.start
        primary.clock = lambda: self.at

    def put(self, files: dict[str, bytes], author: str = "worker") -> str:
        """Commit files on the shared branch, at the fleet's time."""
        return put_files(self.primary.store, files, self.at // SECOND, author)

    def delta(self, frame: int, stream: str, **sections: Any) -> None:
        """One delta of a stream."""
        head = {"frame": frame, "utc": utc_text(self.at), "stream_id": stream}
        name = f"{self.chance.randrange(16**8):08x}"
        self.put({f"state/stream_deltas/{frame}/{name}.json": json.dumps({**head, **sections}).encode()}, stream[:20])

    def frame(self, number: int) -> None:
        """What the workers push in one frame: more by day than by night, some of it late, some of it in conflict."""
        chance = self.chance
        busy = 0.55 + 0.45 * math.sin(2 * math.pi * (self.at // SECOND % 86_400) / 86_400 - 1.2)
        for stream in self.names:
            due = (number + int(stream[-2:])) % 8 == 0  # nobody is silent by chance
            if stream in self.silent or not (due or chance.random() < 0.05 + 0.25 * busy):
                continue
            self.at += chance.randrange(SECOND)
            own = max(1, number - chance.choice([0] * 30 + [1, 2, 7]))
            post = chance.randrange(1, 400)
            sections: dict[str, Any] = {
                "posts_created": [
                    {"number": post, "title": f"Post {post}, seen by {stream}", "mood": chance.choice("abc")}
                ],
                "counters": {"visits": chance.randrange(9)},
            }
            if chance.random() < 0.3:
                sections["profile_updates"] = {chance.choice(self.names): {"mood": f"{stream} in {own}", "seen": own}}
            if chance.random() < 0.05:
                book = chance.choice(BOOKS)
                chapter = {"book": book, "chapter": chance.randrange(1, 9), "author": stream, "title": "On waiting",
                           "content": "word " * chance.randrange(30, 400)}  # fmt: skip
                sections["chapters_added"] = [chapter]
            if chance.random() < 0.05:
                sections["claims"] = [{"resource": f"region/{chance.randrange(6)}"}]
            self.delta(own, stream, **sections)

    def run(self) -> None:
        """Everything up to now. The last frame is open, with deltas that wait."""
        for book in BOOKS:
            self.delta(1, "librarian", books_started=[{"book": book, "title": book, "target_chapters": 7}])
        for number in range(1, self.frames):
            self.at = self.start + number * self.period_s * SECOND
            self.frame(number)
            self.at = self.start + (number + 1) * self.period_s * SECOND - 2 * SECOND
            close_frame(self.primary, "interval")
        self.at = self.start + self.frames * self.period_s * SECOND
        self.frame(self.frames)

    def harm(self) -> None:
        """What asks for attention: silent streams, deltas that cannot be read, hostile names."""
        frame = self.frames
        for stream in HOSTILE:
            if stream != "..":
                self.delta(frame, stream, posts_created=[{"number": 7, "title": f"Post 7 by {stream}", stream: stream}])
        self.put({f"state/stream_deltas/{frame}/broken.json": b'{"frame": 1,\n<<<<<<< HEAD\n'})
        self.put({f"state/stream_deltas/{frame}/when.json": b'{"frame": %d, "stream_id": "x", "utc": "noon"}' % frame})


def put_files(store: Store, files: dict[str, bytes], time_s: int, author: str) -> str:
    """Commit files on the shared branch."""
    old = store.refs().get(MAIN)
    entries = {path: Entry(FILE, store.write("blob", raw)) for path, raw in files.items()}
    tree = edit(store, store.commit(old).tree if old else None, entries)
    assert tree is not None
    who = f"{''.join(one for one in author if one.isalnum()) or 'worker'} <worker@localhost>"
    commit = store.write_commit(Commit(tree, (old,) if old else (), who, time_s, "add a delta\n"))
    store.flush()
    assert store.move_refs([Move(MAIN, commit, old)], "push")
    return commit
