"""The simulated world: a server, its workers and its primaries, and what happens to them in the order of a script.

Everything runs in one thread. What happens "at the same time" happens at a call of the store within a primary's step:
there a worker may push, a crash may come, or another primary may make a complete step of its own."""

from __future__ import annotations

import hashlib
from collections import Counter
from functools import partial
from random import Random

from dreamcatcherd.core.paths import PUBLISHED
from dreamcatcherd.stages.first_frame import open_first
from tests.law.fleet import MAIN
from tests.law.rows import SETTINGS
from tests.simulation.actions import (
    Action,
    ByHand,
    Clock,
    Crash,
    Delete,
    Disk,
    Edit,
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
from tests.simulation.audit import Audit
from tests.simulation.mirror import look_at_mirror
from tests.simulation.node import Crashed, Log, Node, Servers, config_of
from tests.simulation.server import Accounts, Server, transfer
from tests.simulation.simulated_time import Time
from tests.simulation.stores import Host
from tests.simulation.workers import Made, Workers, lane_of

LINEAR = b'[publish]\nhistory = "linear"\n'
RELAYED = b'[lanes]\nrelays = ["north"]\n'
NESTED_MOST = 2
"""How deep primaries step within the steps of others."""


class World:
    """A world before its script. `trace` is what happened, a line each; `counts` how often."""

    def __init__(self, script: Script) -> None:
        self.setting = script.setting
        self.chance = Random(script.seed)
        self.time = Time()
        self.trace: list[str] = []
        self.counts: Counter[str] = Counter()
        accounts, made, setting = Accounts(), dict[int, Made](), script.setting
        self.server = Server(accounts, self.note)
        self.region = Server(accounts, self.note, is_region=True) if setting.region else None
        self.mirror = Server(accounts, self.note) if setting.mirror else None
        places = {"shared": self.server, "region": self.region, "mirror": self.mirror}
        self._workers = {
            place: Workers(server, made, lambda: int(self.time.wall() // 1_000_000), self.count)
            for place, server in places.items()
            if server is not None
        }
        self._backup: dict[str, str] = {}
        self.audit = Audit(self.server, self.region, self.count)
        self.nodes = [self._node(number) for number in range(len(script.setting.primaries) + script.setting.region)]
        self._running: list[tuple[int, dict[str, list[Action]], Counter[str]]] = []
        self._open(script.setting)

    def _node(self, number: int) -> Node:
        servers = Servers(self.server, self.region, self.mirror)
        host = Host(partial(self._point, number), self.count)
        return Node(number, servers, self.setting, host, Log(partial(self._said, number)))

    def _open(self, setting: Setting) -> None:
        """The repository as `init` leaves it, with settings."""
        store = self.server.store
        open_first(store, 1, self.time.wall(), config_of(setting).closing, MAIN)
        settings = SETTINGS + (LINEAR if setting.linear else b"") + (RELAYED if setting.region else b"")
        main = self.server.heads[MAIN]
        commit = self.server.commit_files(
            (main,), main, {"state/dreamcatcher.toml": settings}, self.time.wall() // 1_000_000
        )
        self.server.set_ref(MAIN, commit)
        self.server.first = commit
        self.server.seen_published.append(self.server.heads[PUBLISHED])
        if self.mirror is not None:
            transfer(store, self.mirror.store, [commit])
            self._backup = dict(self.server.heads)
            self.mirror.heads.update(self._backup)
            self.mirror.first = commit

    # What is written down -----------------------------------------------------------------------------------------

    def note(self, line: str) -> None:
        """Add a line to the trace."""
        self.trace.append(f"{self.time.now_s:.3f} {line}")

    def count(self, what: str) -> None:
        """Count something that happened."""
        self.counts[what] += 1
        self.note(what)

    def _said(self, number: int, event: str, cause: str) -> None:
        self.counts[f"log: {event}"] += 1
        self.note(f"primary {number}: {event} {cause}")

    def fingerprint(self) -> str:
        """The hash of the trace."""
        return hashlib.sha256("\n".join(self.trace).encode()).hexdigest()

    # What happens -------------------------------------------------------------------------------------------------

    def do(self, action: Action) -> None:
        """Let one action of the script happen, and check what was published. BrokenError if a promise is broken."""
        self.act(action)
        self.counts["frames"] += self.audit.look()

    def act(self, action: Action) -> None:
        """Let one action happen."""
        match action:
            case Step():
                self._step(action)
            case Push():
                self.workers(action.where).push(action)
            case Edit():
                self.workers().edit(action)
            case Delete():
                self.workers().delete(action)
            case Rewind():
                self.workers(action.where).rewind(action)
            case Rogue():
                self.workers().rogue(action)
            case Look():
                self._look(action)
            case Restore():
                self._restore()
            case Policy():
                self._policy(action)
            case _:
                self._to_machine(action)

    def workers(self, where: Place = "shared") -> Workers:
        """The workers of a repository; of the shared one, if there is no such."""
        return self._workers.get(where, self._workers["shared"])

    def _look(self, action: Look) -> None:
        node = self.nodes[action.primary % len(self.nodes)]
        if node.service is not None and self._is_idle(node.number):
            look_at_mirror(node.service)

    def _restore(self) -> None:
        if self.mirror is not None:
            self.count("mirror restored")
            now = dict(self.mirror.heads)
            self.mirror.restore(self._backup)
            self._backup = now

    def _to_machine(self, action: Crash | Clock | Disk | Net | Tidy | Reclone | ByHand) -> None:
        """What happens to one primary's machine."""
        number = action.primary % len(self.nodes)
        node = self.nodes[number]
        match action:
            case Crash():
                self._kill(number)
            case Clock():
                node.ahead_us += round(action.by_s * 1e6)
                self.count("clock back" if action.by_s < 0 else "clock forward")
            case Disk():
                node.host.failing["disk"] = action.fails
            case Net():
                node.host.failing[action.what] = action.fails
            case Reclone():
                if self._is_idle(number) and node.kind == "remote":
                    node.lose_disk()
                    self.count("clone lost")
            case Tidy() | ByHand():
                if node.service is not None:
                    if isinstance(action, Tidy):
                        node.service._upkeep.ask("lanes")
                    else:
                        node.service._ask("close")

    def _policy(self, action: Policy) -> None:
        ref = lane_of(f"s{action.stream}", 0)
        (self.server.refused.add if action.refuses else self.server.refused.discard)(ref)

    def _is_idle(self, number: int) -> bool:
        return all(number != running for running, _, _ in self._running)

    def _kill(self, number: int) -> None:
        self.count("crash")
        if self._is_idle(number):
            self.nodes[number].crash()
        elif self._running[-1][0] == number:
            raise Crashed

    def _step(self, action: Step) -> None:
        """Let time pass and a primary make a step, with what happens meanwhile."""
        number = action.primary % len(self.nodes)
        if not self._is_idle(number) or len(self._running) >= NESTED_MOST:
            return
        self.time.pass_by(action.after_s)
        node = self.nodes[number]
        self.counts["steps"] += 1
        self._running.append((number, action.at, Counter()))
        try:
            node.start(self.time)._step()
        except Crashed:
            node.crash()
        finally:
            self._running.pop()

    def _point(self, number: int, name: str) -> None:
        """A primary's store was called: what the script has for this call happens now."""
        if not self._running or self._running[-1][0] != number:
            return
        _, at, hits = self._running[-1]
        hit = f"{name}:{hits[name]}"
        hits[name] += 1
        for action in at.get(hit, ()):
            # Between two refs of one transaction git holds the locks of both: only its own end can come there.
            if name != "moving" or isinstance(action, Crash):
                self.counts[f"{type(action).__name__.lower()} during a step"] += 1
                self.note(f"at {hit} of primary {number}")
                self.act(action)

    def busy_s(self) -> float:
        """What a primary measures as its own processor time: now and then a close seems slow."""
        return self.time.now_s + (1.0 if self.chance.random() < 0.02 else 0.0)

    # The end ------------------------------------------------------------------------------------------------------

    def heal(self) -> None:
        """End all faults: clocks are right, networks and disks work, every worker pushes what it does not know to be
        there."""
        self.server.refused.clear()
        for node in self.nodes:
            node.ahead_us = 0
            node.host.failing.clear()
        retried = self.workers().retry()
        self.counts["retries"] += retried
