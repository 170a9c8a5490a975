"""What simulated deltas hold: few keys and few times, so that everything collides. A number gives the same bytes."""

from __future__ import annotations

import json
from random import Random
from typing import Any

from tests.law.sent import Sent

TIMES = ("2026-01-01T00:00:00Z", "2026-01-01T01:00:00.5+01:00", "2026-01-01T00:00:01Z", "2026-01-01T00:00:02.25Z")
NAMES = ("n1", "n2", "n3")
WORDS = ("x", "y", "", "é😀")


def make_delta(number: int, frame: int, stream: str, malformed: str = "", version: int = 0) -> Sent:
    """The bytes and attachments of a delta; one that is `malformed` is to be quarantined for that reason. Another
    `version` holds something else."""
    chance = Random(f"{number} {version}")
    document: dict[str, Any] = {
        "frame": chance.choice([frame, str(frame)]),
        "utc": chance.choice(TIMES),
        "stream_id": stream,
        "observations": [{"delta": number, "version": version}],
        **_sections(chance),
    }
    files: tuple[tuple[str, bytes], ...] = ()
    if chance.random() < 0.2:
        document["comments_added"] = [{"discussion": 1, "author": chance.choice(NAMES), "body_ref": "a.md"}]
        files = (("a.md", f"text {number % 3}".encode()),)
    return Sent(_damaged(document, malformed), files)


def _damaged(document: dict[str, Any], malformed: str) -> bytes:
    if malformed == "missing-frame":
        del document["frame"]
    elif malformed == "bad-utc":
        document["utc"] = "yesterday"
    elif malformed == "frame-mismatch":
        document["frame"] = int(document["frame"]) + 1
    elif malformed == "wrong-stream":
        document["stream_id"] = "stranger"
    raw = json.dumps(document, ensure_ascii=False).encode()
    if malformed == "not-json":
        return raw[:-1]
    if malformed == "duplicate-key":
        return b'{"observations":1,' + raw[1:]
    return raw


def _sections(chance: Random) -> dict[str, Any]:
    """Some sections of a delta."""
    number, name, word = chance.randrange(1, 4), chance.choice(NAMES), chance.choice(WORDS)
    every: dict[str, Any] = {
        "posts_created": [{"number": number, "title": word}, {"discussion_number": 1, "mood": chance.randrange(3)}],
        "comments_added": [{"id": f"c{number}", "body": word}, {"author": name, "discussion": 2, "body": word}],
        "chapters_added": [{"book": "b", "chapter": number, "author": name, "content": word}],
        "books_started": [{"book": "b", "target_chapters": 2, "title": word}],
        "profile_updates": {name: {"mood": word}},
        "reactions_added": ["n1:up", {"node": name, "type": word, "agent": name}],
        "counters": {name: chance.choice([1, -2, 0.25])},
        "channels_updated": {"c1": {"post_count": number, "title": word, "traits": {word: {name: 1}}}},
        "channels_removed": ["c1"],
        "follows": [{"follower": name, "followee": "n1", "since": word}],
        "unfollowed": [{"follower": name, "followee": "n1"}],
        "firsts": [{"resource": name, "who": word}],
        "scores": [{"player": name, "best": number}],
        "claims": [{"resource": f"r{chance.randrange(2)}", "op": chance.choice(["claim", "renew", "release"])}],
        "something else": word,
    }
    return {section: every[section] for section in chance.sample(sorted(every), chance.randrange(4))}
