"""A generated history of many frames, with all that happens to a fleet: late, early, duplicate and broken deltas, lanes
and the shared branch, conflicts, attachments, settings that change."""

from __future__ import annotations

import json
import random
from typing import Any

from dreamcatcherd.daemon.cycle import close_frame
from dreamcatcherd.daemon.primary import Primary
from dreamcatcherd.testing import MemoryStore
from tests.law.fleet import MAIN, commit_files, new_primary, primary_on
from tests.law.model import SETTINGS

STREAMS = ("a", "b", "c", "stream é")


def body(chance: random.Random, number: int) -> dict[str, Any]:
    """Sections in which streams collide on few keys."""
    found: dict[str, Any] = {
        "posts_created": [{"number": chance.randrange(1, 40), "title": f"t{number}", "mood": chance.choice("xyz")}],
        "counters": {"all": 1},
    }
    if chance.random() < 0.5:
        found["comments_added"] = [{"discussion": chance.randrange(9), "author": chance.choice("pq"), "body": "hello"}]
    if chance.random() < 0.3:
        found["profile_updates"] = {chance.choice("pqr"): {"last": number}}
    if chance.random() < 0.3:
        found["firsts"] = [{"resource": chance.choice("uvw"), "by": number}]
    if chance.random() < 0.2:
        book = f"book {number % 6}"
        found["books_started"] = [{"book": book, "title": book, "target_chapters": 2 + number % 2}]
        found["chapters_added"] = [{"book": book, "chapter": number % 3, "author": "z", "content": f"text {number}"}]
    if chance.random() < 0.2:
        found["observations"] = [number, {"n": number, "body_ref": "note.md"}]
    return found


def push_some(primary: Primary, chance: random.Random, frame: int, most: int = 3) -> None:
    """What a frame's workers push: up to `most` deltas."""
    for _ in range(chance.randrange(most + 1)):
        number = chance.randrange(10**9)
        own = max(1, frame + chance.choice([0] * 12 + [-1, -2, -40, 1, 3]))
        stream = chance.choice(STREAMS)
        utc = f"2026-01-01T00:{chance.randrange(60):02}:{chance.randrange(60):02}Z"
        raw = json.dumps({"frame": own, "utc": utc, "stream_id": stream, **body(chance, number)}).encode()
        if chance.random() < 0.05:
            raw = chance.choice([b"{", b"[]", raw.replace(b'"stream_id"', b'"who"')])
        name = f"{stream}-{chance.randrange(4)}" if chance.random() < 0.3 else f"{stream}-{number}"
        path = f"state/stream_deltas/{own}/{name}"
        files = {f"{path}.json": raw}
        if chance.random() < 0.3:
            files[f"{path}/note.md"] = f"note {number % 5}".encode()
        lane = chance.random() < 0.6 and " " not in stream
        if not lane:
            commit_files(primary.store, MAIN, files)
        else:
            owner = stream if chance.random() < 0.95 else "d"
            orphan = owner == "a"
            ref = f"refs/heads/dc/{owner}/{number}" if orphan else f"refs/heads/dc/{owner}"
            commit_files(primary.store, ref, files, orphan=orphan)
    if frame % 250 == 0:
        push_far(primary, frame)
    if frame % 97 == 0:
        extra = f"[collections.more{frame}]\nkey = ['k']\n".encode()
        commit_files(primary.store, MAIN, {"state/dreamcatcher.toml": SETTINGS + extra})
    if frame % 101 == 0:
        commit_files(primary.store, MAIN, {"state/frame.json": b"{}", "README": str(frame).encode()})


def push_far(primary: Primary, frame: int) -> None:
    """A delta that is judged again at every close: it is too far ahead for a while."""
    own = frame + 1100
    raw = json.dumps({"frame": own, "utc": "2026-01-01T00:00:00Z", "stream_id": "far", "observations": [own]}).encode()
    commit_files(primary.store, MAIN, {f"state/stream_deltas/{own}/far.json": raw})


def grow(primary: Primary, frames: int, seed: int = 1, most: int = 3) -> Primary:
    """Close so many frames over what generated workers push."""
    chance = random.Random(seed)
    first = primary.load_published(primary.store.refs()).state.frame
    for frame in range(first, first + frames):
        push_some(primary, chance, frame, most)
        close_frame(primary, "test")
    return primary


def grown(frames: int, seed: int = 1, deltas_frames: int | None = None) -> Primary:
    """A history in memory. With `deltas_frames` its delta files leave the tree, which keeps a long one affordable."""
    primary = new_primary()
    primary.deltas_frames = deltas_frames
    return grow(primary, frames, seed)


def copy_of(primary: Primary) -> Primary:
    """A primary on a repository of its own with the same history: what is done to it leaves the other alone."""
    store = primary.store
    assert isinstance(store, MemoryStore)
    other = MemoryStore()
    other.objects.update(store.objects)
    other.heads.update(store.heads)
    return primary_on(other)
