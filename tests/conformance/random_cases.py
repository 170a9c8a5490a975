"""Vectors of generated histories: few keys, few times and messy records, so that everything collides.

The numbers come from `Random.random` alone, which gives the same ones under every version of Python."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, TypeVar

from tests.conformance.make import CLOSE, Given, Group, case, commit, delta, send
from tests.conformance.merge_cases import ROWS

_T = TypeVar("_T")

CASES, DELTAS = 8, 14


class Chance:
    """Choices by one seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def below(self, most: float) -> bool:
        return self._random.random() < most

    def pick(self, some: Sequence[_T]) -> _T:
        return some[int(self._random.random() * len(some))]

    def fields(self, **some: Sequence[Any]) -> dict[str, Any]:
        """Some of the fields, each with one of its values."""
        return {name: self.pick(values) for name, values in some.items() if self.below(0.6)}

    def several(self, some: Sequence[_T]) -> list[_T]:
        return [self.pick(some) for _ in range(1 + int(self._random.random() * 3))]


VALUES = [None, True, 0, 1, -3, 0.5, 1.0, "", "x", "7", "é😀", [], [1, "x"], {}, {"p": 1}, {"p": {"q": None}}]
NAMES = ["n1", "n2", "7", 7, "-1"]
ADDENDS = [1, -2, "<<0.1>>", "<<2.50>>", "<<-0.0>>", "<<1e22>>", "<<12345678901234567.891>>", 2**64, "x"]
EDGES = ["a", "b"]


def _posts(chance: Chance) -> Any:
    number: dict[str, Any] = chance.pick(
        [{"number": 1}, {"discussion_number": "2"}, {"discussion": 1, "number": None}, {}]
    )
    return {**number, **chance.fields(title=VALUES, mood=VALUES)}


def _channel(chance: Chance) -> Any:
    return chance.fields(
        post_count=ADDENDS, peak=VALUES, low=VALUES, tags=VALUES, creator=VALUES, title=VALUES,
        traits=[{"p": {"q": 1}}, {"p": {"r": 2}}, {"p": 3}, {"p": {}}, {}, None, {"s": [1]}],
    )  # fmt: skip


def _sections(chance: Chance) -> dict[str, Any]:
    """The sections of one delta."""
    pick, below = chance.pick, chance.below
    every = {
        "posts_created": [_posts(chance), _posts(chance), pick([1, "x", 1.5, None])],
        "comments_added": [{**chance.fields(id=[1, "c"], body=["hello", "", None]), "number": 1, "agent": pick(NAMES)}],
        "reactions_added": [pick(["n:up", "n", {"node": pick(NAMES), "type": "up", **chance.fields(agent=NAMES,
            n=VALUES)}])],
        "profile_updates": {pick(["x", "7"]): {"mood": pick(VALUES)}},
        "counters": {pick(["c", "d"]): pick(ADDENDS), "e": 1},
        "observations": chance.several(VALUES),
        "books_started": [{"book": pick(["b", 7]), **chance.fields(target_chapters=[1, 2, 2, "2", 0], title=VALUES)}],
        "chapters_added": [{"book": pick(["b", 7]), "chapter": pick([1, 2, "2", "x"]), "author": pick(EDGES),
            **chance.fields(content=["w w", 5], title=VALUES)}],
        "channels_updated": {pick(EDGES): _channel(chance)},
        "channels_removed": [pick(EDGES)],
        "follows": [{"follower": pick(EDGES), "followee": pick(EDGES), **chance.fields(since=VALUES)}],
        "unfollowed": [[pick(EDGES), pick(EDGES)]],
        "votes": [pick(["n:7", {"id": pick(NAMES), "weight": pick(VALUES)}])],
        "votes_removed": [pick(["n:7", 7, {"id": "n1"}])],
        "scores": [{"player": pick(EDGES), **chance.fields(best=VALUES, worst=VALUES)}],
        "lows": [{"name": pick(EDGES), **chance.fields(best=VALUES)}],
        "bags": [{"name": pick(EDGES), **chance.fields(items=VALUES)}],
        "claims": [{"resource": pick(EDGES), **chance.fields(op=["claim", "renew", "release"])}],
        "other": pick(VALUES),
    }  # fmt: skip
    return {name: value for name, value in every.items() if below(0.35)}


def generated(seed: int) -> Given:
    """A history of some deltas of three frames: on lanes and on main, early, late and twice."""
    chance = Chance(seed)
    steps: list[Given] = []
    sent: list[str] = []
    for number in range(DELTAS):
        text = delta(
            int(chance.pick("123456")), chance.pick(["a", "b", "é"]), chance.pick([1, 2, 3]), **_sections(chance)
        )
        if sent and chance.below(0.15):
            text = chance.pick(sent)
        sent.append(text)
        if chance.below(0.4):
            folder = text.partition('"frame": ')[2][:1]
            steps.append(commit(f"d{number}", {f"state/stream_deltas/{folder}/d{number}.json": text}))
        else:
            steps.append(send(f"d{number}", text))
        if chance.below(0.25):
            steps.append(CLOSE)
    return case(f"seed-{seed}", "everything together", settings=ROWS, steps=[*steps, CLOSE, CLOSE, CLOSE, CLOSE])


GROUPS = [
    Group("the-merge", "generated", "history", "Generated histories, in which all rules meet.",
          [generated(seed) for seed in range(1, CASES + 1)]),
]  # fmt: skip
