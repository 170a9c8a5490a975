"""From a seed to a script. Each seed has a few kinds of trouble and not all: what happens seldom, such as a crash in
the middle of a race, is then seen among few other things, and often."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from tests.simulation.actions import (
    Action,
    ByHand,
    Clock,
    Crash,
    Delete,
    Disk,
    Edit,
    Kind,
    Look,
    Net,
    Place,
    Policy,
    Push,
    Reclone,
    Restore,
    Rewind,
    Rogue,
    Script,
    Setting,
    Step,
    Tidy,
)

STREAMS = 5
KINDS: tuple[Kind, ...] = ("path", "remote")
POINTS = {
    "refs": 4, "walk": 4, "write": 40, "flush": 2, "move": 2, "moving": 1, "moved": 1, "remember": 2,
    "list": 3, "listed": 3, "fetch": 2, "ref": 6, "push": 2, "pushed": 1, "release": 1,
}  # fmt: skip
"""The calls at which something may happen, and how often each comes in one step at most."""

RACY = ("refs", "walk", "flush", "move", "list", "listed", "push", "moved", "pushed")
"""Where what others do makes a difference."""

MALFORMED = ("not-json", "duplicate-key", "missing-frame", "frame-mismatch", "bad-utc", "wrong-stream", "far")
TROUBLES = (
    "crash",
    "race",
    "clock",
    "disk",
    "net",
    "rewind",
    "rogue",
    "policy",
    "tidy",
    "reclone",
    "malformed",
    "dates",
    "restore",
)


class _Author:
    """Writes one script."""

    def __init__(self, seed: int) -> None:
        self.chance = Random(seed)
        self.deltas = 0
        two = self.chance.random() < 0.6
        kinds: tuple[Kind, ...] = tuple(self.chance.choice(KINDS) for _ in range(2 if two else 1))
        self.setting = Setting(
            primaries=kinds,
            interval_s=self.chance.choice((5, 10)),
            linear=self.chance.random() < 0.25,
            lanes_keep_s=self.chance.choice((0.0, 15.0, 60.0)),
            deltas_frames=self.chance.choice((None, None, 1, 3)),
            atomic=self.chance.random() < 0.7,
            region=self.chance.random() < 0.25,
            mirror=self.chance.random() < 0.25,
        )
        self.people = len(kinds) + self.setting.region
        self.troubles = set(self.chance.sample(TROUBLES, self.chance.randrange(1, 6)))
        if two and self.chance.random() < 0.4:
            self.troubles.add("race")  # what several primaries are there for

    def has(self, trouble: str, odds: float) -> bool:
        """Whether a trouble comes now."""
        return trouble in self.troubles and self.chance.random() < odds

    def push(self) -> Push:
        """A worker's push: mostly of a new delta, sometimes of one that was pushed before."""
        chance = self.chance
        again = self.deltas > 0 and chance.random() < 0.15
        number = chance.randrange(self.deltas) if again else self.deltas
        self.deltas += not again
        malformed: Any = chance.choice(MALFORMED) if self.has("malformed", 0.25) else ""
        return Push(
            number,
            stream=chance.randrange(STREAMS),
            ahead=chance.choice((0, 0, 0, 0, 0, -1, -3, 1, 2)),
            to=chance.choice(("lane", "lane", "main")),
            base=chance.choice(("ref", "ref", "orphan", "old", "merge")),
            date_s=chance.choice((-10_000_000, -3_600, 3_600, 400_000)) if self.has("dates", 0.5) else 0,
            malformed=malformed,
            fate=chance.choice(("ok", "ok", "ok", "ok", "lost", "died")),
            where=self.where(),
        )

    def other(self) -> Action:
        """Something that is no step: mostly a push."""
        chance, primary = self.chance, self.chance.randrange(self.people)
        wild: dict[str, Callable[[], Action]] = {
            "crash": lambda: Crash(primary),
            "clock": lambda: Clock(primary, chance.choice((-4_000.0, -30.0, -3.0, 3.0, 30.0, 4_000.0))),
            "disk": lambda: Disk(primary, chance.randrange(1, 5)),
            "net": lambda: Net(primary, self.net(), chance.randrange(1, 4)),
            "rewind": self.rewind,
            "rogue": self.rogue,
            "policy": lambda: Policy(2 * chance.randrange(3), chance.random() < 0.6),
            "tidy": lambda: Tidy(primary),
            "reclone": lambda: Reclone(primary),
        }
        if self.setting.mirror and chance.random() < 0.25:
            return Restore() if self.has("restore", 0.2) else Look(primary)
        chosen = sorted(self.troubles & wild.keys())
        if chosen and chance.random() < 0.35:
            return wild[chance.choice(chosen)]()
        if self.deltas and chance.random() < 0.08:
            return Edit(chance.randrange(self.deltas), chance.randrange(1, 4))
        if self.deltas and chance.random() < 0.04:
            return Delete(chance.randrange(self.deltas))
        return self.push() if chance.random() < 0.95 else ByHand(primary)

    def where(self) -> Place:
        """In which repository something is done."""
        there: dict[Place, bool] = {"region": self.setting.region, "mirror": self.setting.mirror}
        others = [place for place, is_there in there.items() if is_there]
        return self.chance.choice(others) if others and self.chance.random() < 0.5 else "shared"

    def rewind(self) -> Rewind:
        """How far somebody rewinds which ref."""
        chance = self.chance
        return Rewind(chance.randrange(4), chance.choice((None, chance.randrange(STREAMS))), self.where())

    def net(self) -> Any:
        """How the network fails."""
        return self.chance.choice(("list", "fetch", "lost-push", "lost-answer", "lie", "half"))

    def rogue(self) -> Rogue:
        """Which canonical files somebody edits."""
        what: Any = self.chance.choice(("snapshot", "ledger", "frame", "everything"))
        return Rogue(what)

    def step(self, depth: int = 0) -> Step:
        """A primary's step, with what others do meanwhile."""
        chance = self.chance
        at: dict[str, list[Action]] = {}
        while self.has("race", 0.5):
            point = chance.choice(RACY)
            during = self.step(1) if depth == 0 and chance.random() < 0.4 else self.other()
            at.setdefault(f"{point}:{chance.randrange(POINTS[point])}", []).append(during)
        primary = chance.randrange(self.people)
        if self.has("crash", 0.25):
            point = chance.choice(sorted(POINTS))
            at.setdefault(f"{point}:{chance.randrange(POINTS[point])}", []).append(Crash(primary))
        waits = (0.0, 0.0, 11.0) if depth else (0.2, 1.0, 1.0, 4.0, 6.0, 11.0)
        return Step(primary, chance.choice(waits), at)


def script_of(seed: int) -> Script:
    """The script of a seed."""
    author = _Author(seed)
    actions = [
        author.step() if author.chance.random() < 0.5 else author.other()
        for _ in range(author.chance.randrange(20, 70))
    ]
    return Script(seed, author.setting, actions)
