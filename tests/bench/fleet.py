"""Generated fleets for the benchmarks: deltas of about 1.2 KB with 2 posts, 5 comments and 1 observation each."""

from __future__ import annotations

import json
import random

from dreamcatcherd.core.codec import utc_text
from dreamcatcherd.core.tree import FILE, Entry, edit
from dreamcatcherd.git.command import AUTHOR
from dreamcatcherd.git.protocols import Commit, Move, Store

DAY = 1_767_225_600_000_000
_WORDS = "frame merge stream delta branch commit snapshot ledger agent worker chapter library signal quorum".split()  # noqa: SIM905 (a sentence reads better)


def text(chance: random.Random, words: int) -> str:
    return " ".join(chance.choice(_WORDS) for _ in range(words))


def delta(frame: int, number: int, stream_id: str, chance: random.Random, known: int) -> bytes:
    """One delta. It brings two new posts and comments on the newest ones, as live fleets do, and on any of `known`."""
    first = known + 2 * number
    body = {
        "frame": frame,
        "utc": utc_text(DAY + frame * 10_000_000 + number * 997),
        "stream_id": stream_id,
        "posts_created": [
            {"discussion_number": first + i, "title": text(chance, 8), "channel": "code", "author": stream_id}
            for i in range(2)
        ],
        "comments_added": [
            {"discussion_number": max(1, first - chance.randrange(40)), "author": stream_id, "body": text(chance, 13)}
            for _ in range(5)
        ],
        "observations": [{"theme": text(chance, 4), "note": text(chance, 10)}],
    }
    return json.dumps(body).encode()


def push(store: Store, frame: int, count: int, streams: int, known: int, made_s: int = DAY // 1_000_000) -> None:
    """Add one frame's deltas to a store: `streams` lanes with one commit each, made at `made_s` seconds since 1970."""
    chance = random.Random(frame)
    files: list[dict[str, Entry | None]] = [{} for _ in range(streams)]
    for number in range(count):
        stream_id = f"stream-{number % streams:03}"
        raw = delta(frame, number, stream_id, chance, known)
        path = f"state/stream_deltas/{frame}/{stream_id}-{number:06}.json"
        files[number % streams][path] = Entry(FILE, store.write("blob", raw))
    moves = []
    for i, changes in enumerate(files):
        tree = edit(store, None, changes)
        assert tree is not None
        commit = store.write_commit(Commit(tree, (), AUTHOR, made_s, f"stream-{i:03}\n"))
        moves.append(Move(f"refs/heads/dc/stream-{i:03}/{frame}", commit, None))
    store.flush()
    assert store.move_refs(moves, "bench")
