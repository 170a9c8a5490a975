"""The platform's own deltas without any settings: where their comments and reactions end (docs/protocol.md#a-delta)."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from dreamcatcherd.daemon.cycle import close_frame
from tests.corpus import CORPUS, needs_corpus
from tests.law.fleet import MAIN, commit_files, new_primary
from tests.law.test_law import exported

pytestmark = needs_corpus


def deltas() -> dict[str, bytes]:
    assert CORPUS is not None
    return {f"state/stream_deltas/{file.name}": file.read_bytes() for file in sorted(Path(CORPUS).glob("frame-*.json"))}


def records_of(section: str) -> list[Any]:
    """Every item that the deltas have in a section."""
    found = [json.loads(raw).get(section) for raw in deltas().values()]
    return [item for value in found if value is not None for item in (value if isinstance(value, list) else [value])]


def comment_key(item: Any, number: int) -> str:
    """What makes a comment: its id, else discussion, author and text; without a text each is one of its own."""
    if isinstance(item, str):
        return item
    if (own := item.get("id") or item.get("comment_id")) is not None:
        return str(own)
    text = item.get("body")
    return json.dumps([item.get("discussion"), item.get("author") or item.get("agent"), text or number])


def reaction_key(item: Any) -> str | None:
    """What makes a reaction: an integer is an id; else node, type and agent. None for a summary of several."""
    if isinstance(item, int):
        return str(item)
    if isinstance(item, str):
        return json.dumps([*item.split(":"), None])
    node, kind = item.get("node") or item.get("target"), item.get("type") or item.get("reaction")
    return json.dumps([node, kind, item.get("agent")]) if node and kind else None


def test_comments_and_reactions_are_in_their_collections_and_none_is_taken_for_another() -> None:
    """At least 95 % have a key, and there are as many entities as there are keys."""
    primary = new_primary(b"")
    commit_files(primary.store, MAIN, deltas())
    last = max(json.loads(raw)["frame"] for raw in deltas().values())
    misfits: Counter[str] = Counter()
    for _ in range(int(last)):
        ledger = close_frame(primary, "test").ledger
        assert ledger is not None
        assert ledger.counts.quarantined == 0
        misfits.update({row.section: row.records for row in ledger.misfits})
    state = exported(primary)["state"]
    comments, reactions = records_of("comments_added"), records_of("reactions_added")
    keys = [reaction_key(item) for item in reactions]
    assert len(state["comments"]) == len({comment_key(item, number) for number, item in enumerate(comments)})
    assert len(state["reactions"]) == len({key for key in keys if key is not None})
    assert (misfits["comments_added"], misfits["reactions_added"]) == (0, keys.count(None))
    assert keys.count(None) <= 0.05 * (len(comments) + len(reactions))
