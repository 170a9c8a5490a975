"""The end of a run: faults are over, the world is drained, and everything that was pushed is accounted for.

The exported state is held against the independent model of `tests/law`, and the real `verify` recomputes all frames."""

from __future__ import annotations

from typing import Any

from dreamcatcherd.core.export import export
from dreamcatcherd.core.paths import PUBLISHED, short_ref
from dreamcatcherd.history.verify import read_history, verify_frame
from dreamcatcherd.stages.published import read_published
from dreamcatcherd.testing import MemoryStore
from tests.law.fleet import MAIN
from tests.law.model import Sent, decisions, model, read, text
from tests.law.rows import SETTINGS
from tests.law.sent import content_id
from tests.simulation.actions import Look, Step
from tests.simulation.audit import BrokenError
from tests.simulation.world import World

ROUNDS = 60
"""How many frames the end may take: early deltas wait for a few frames, and nothing waits longer."""


def finish(world: World) -> None:
    """Drain a world and check what it came to; BrokenError says what is wrong."""
    world.heal()
    _drain(world)
    _accounted(world)
    _as_the_model(world)
    _verified(world)


def _drain(world: World) -> None:
    """Let the primaries step until nothing is owed any more, and a frame has closed after the last repair.

    Each begins a round in turn, so that each closes frames: one that others always forestall never publishes what it
    alone has, from a mirror that lost it."""
    interval_s = world.setting.interval_s
    before = len(world.audit.chain)
    for first in range(ROUNDS):
        for number in ((first + at) % len(world.nodes) for at in range(len(world.nodes))):
            world.do(Step(number, after_s=interval_s / 2))
            world.do(Step(number, after_s=0.5))
            world.do(Look(number))
        if not world.audit.unjudged() and len(world.audit.chain) > before and _is_settled(world):
            return
    waits = [f"{one} {world.audit.waiting.get(one, '')}" for one in world.audit.unjudged()]
    raise BrokenError(f"not drained after {ROUNDS} rounds: {waits[:3] or 'main is not as published'}")


def _is_settled(world: World) -> bool:
    heads = world.server.heads
    mirrored = world.mirror.heads.get(PUBLISHED) if world.mirror is not None else heads.get(PUBLISHED)
    return heads.get(MAIN) == heads.get(PUBLISHED) == mirrored


def _accounted(world: World) -> None:
    """Every content that is owed is merged once; nothing waits that is due."""
    audit, server = world.audit, world.server
    for one in sorted(server.accounts.owed):
        brought = server.accounts.pushed[one]
        if not brought.malformed and not any(content == content_id(brought.sent) for _, content in audit.merged):
            raise BrokenError(f"{one} is {audit.outcomes[one]}, and its content was never merged")
    world.counts["versions"] += len(server.accounts.owed)


def _merged(world: World) -> tuple[list[Sent], dict[tuple[int, str], int]]:
    """The deltas that the ledgers say are merged, and for each the frame whose close merged it."""
    deltas: dict[tuple[int, str], Sent] = {}
    for version, outcome in world.audit.outcomes.items():
        if outcome.what == "merged":
            sent = world.server.accounts.pushed[version].sent
            deltas[int(version.path.split("/")[2]), content_id(sent)] = sent
    return list(deltas.values()), dict(world.audit.merged)


def _as_the_model(world: World) -> None:
    """The exported state is what the simple model makes of the merged deltas, and so are the decisions about claims."""
    store = world.server.store
    base = read_published(store, world.server.heads[PUBLISHED])
    assert base.snapshot is not None
    raw = b"".join(export(store, base.snapshot, base.state.last_closed, base.settings.table, None))
    found: Any = read(raw)
    deltas, closes = _merged(world)
    expected = model(deltas, closes)
    if found["merged"] != expected["merged"]:
        raise BrokenError(f"merged ids are {found['merged']}, the model has {expected['merged']}")
    names = {name for state in (found["state"], expected["state"]) for name, rows in state.items() if rows}
    for name in sorted(names):
        mine, other = ([text(row) for row in state.get(name, [])] for state in (found["state"], expected["state"]))
        if mine != other:
            raise BrokenError(f"collection {name} is {mine}, the model has {other}")
    claims = [text(row) for ledger in world.audit.ledgers.values() for row in _claims(ledger)]
    decided = [text({name: row[name] for name in ("collection", "key", "stream_id", "outcome")}) for row in
               decisions(deltas, closes, SETTINGS)]  # fmt: skip
    if sorted(claims) != sorted(decided):
        raise BrokenError(f"claims were decided as {claims}, the model has {decided}")


def _claims(ledger: dict[str, Any]) -> list[dict[str, Any]]:
    keys = ("collection", "key", "stream_id", "outcome")
    return [{name: row[name] for name in keys} for row in ledger.get("claims", [])]


def _verified(world: World) -> None:
    """The real `verify` finds every frame as its deltas give it, in the repository as anybody may clone it."""
    store = MemoryStore(world.server.store)
    history = read_history(store, store.refs(), MAIN)
    if [(link.frame, link.oid) for link in history.links] != world.audit.chain:
        raise BrokenError(f"verify sees {len(history.links)} frames, {len(world.audit.chain)} were published")
    if history.shown is not None:
        raise BrokenError(f"{short_ref(MAIN)} shows something else: {history.shown}")
    for at in range(len(history.links)):
        if (found := verify_frame(store, history, at)) is not None:
            raise BrokenError(f"verify: frame {found.frame}: {found.why}")
