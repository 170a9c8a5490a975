"""What can happen in the simulated world, as data: a list of actions is a complete script, and is written to a file.

Actions name deltas, streams and primaries by number, and frames and commits relative to what is there when they happen.
So every part of a script is a script: what is left after some actions were dropped still means something."""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec import Struct

Target = Literal["lane", "main"]
Base = Literal["ref", "orphan", "old", "merge"]
Malformed = Literal[
    "", "not-json", "duplicate-key", "missing-frame", "frame-mismatch", "bad-utc", "wrong-stream", "far"
]
Fate = Literal["ok", "lost", "died"]
Trouble = Literal["list", "fetch", "lost-push", "lost-answer", "lie", "half"]
Kind = Literal["path", "remote"]
Place = Literal["shared", "region", "mirror"]
Canonical = Literal["snapshot", "ledger", "frame", "everything"]


class Push(Struct, frozen=True, omit_defaults=True, tag="push", tag_field="do"):
    """A worker pushes delta number `delta`, for the open frame plus `ahead`, on a commit of its own.

    A delta that was made before is pushed as it was made: a duplicate. `base` is what the commit is made on: the ref,
    nothing, an older snapshot commit, or the ref merged with `main`. `date_s` is how wrong its date is. Of a push whose
    answer was `lost`, and of one that `died` with its worker, the worker does not know that it arrived. It goes
    to the shared repository, to that of the region, or to the mirror, as far as there are such."""

    delta: int
    stream: int = 0
    ahead: int = 0
    to: Target = "lane"
    base: Base = "ref"
    date_s: int = 0
    malformed: Malformed = ""
    fate: Fate = "ok"
    where: Place = "shared"


class Edit(Struct, frozen=True, omit_defaults=True, tag="edit", tag_field="do"):
    """A worker changes the file of a delta that it pushed to `main`: other bytes at the same path."""

    delta: int
    version: int = 1


class Delete(Struct, frozen=True, omit_defaults=True, tag="delete", tag_field="do"):
    """Somebody deletes the file of a delta on `main`."""

    delta: int


class Rewind(Struct, frozen=True, omit_defaults=True, tag="rewind", tag_field="do"):
    """Somebody force-pushes `main`, or the lane of a stream, so many first parents back; 0 deletes the lane."""

    by: int = 1
    stream: int | None = None
    where: Place = "shared"


class Rogue(Struct, frozen=True, omit_defaults=True, tag="rogue", tag_field="do"):
    """Somebody edits canonical files on `main`."""

    what: Canonical = "snapshot"


class Step(Struct, frozen=True, omit_defaults=True, tag="step", tag_field="do"):
    """Time passes, and then a primary makes one step of its loop. `at` says what happens meanwhile, at which of its
    calls of the store: `"move:0"` is the first move of refs."""

    primary: int = 0
    after_s: float = 1.0
    at: dict[str, list[Action]] = {}


class Crash(Struct, frozen=True, omit_defaults=True, tag="crash", tag_field="do"):
    """A primary is killed, and started again at its next step. Within its own step it dies at that very call."""

    primary: int = 0


class Clock(Struct, frozen=True, omit_defaults=True, tag="clock", tag_field="do"):
    """The wall clock of a primary steps."""

    primary: int = 0
    by_s: float = 0.0


class Disk(Struct, frozen=True, omit_defaults=True, tag="disk", tag_field="do"):
    """The disk of a primary is full: so many attempts to write fail."""

    primary: int = 0
    fails: int = 1


class Net(Struct, frozen=True, omit_defaults=True, tag="net", tag_field="do"):
    """The network between a primary and the server fails so many times at one kind of request."""

    primary: int = 0
    what: Trouble = "list"
    fails: int = 1


class Policy(Struct, frozen=True, omit_defaults=True, tag="policy", tag_field="do"):
    """The server begins to refuse publications that hold the lane of a stream, or ends it."""

    stream: int = 0
    refuses: bool = True


class Tidy(Struct, frozen=True, omit_defaults=True, tag="tidy", tag_field="do"):
    """The timer of a primary says that merged lanes are to be removed."""

    primary: int = 0


class Reclone(Struct, frozen=True, omit_defaults=True, tag="reclone", tag_field="do"):
    """The clone of a primary is lost with its disk, and the primary is started again on an empty one."""

    primary: int = 0


class ByHand(Struct, frozen=True, omit_defaults=True, tag="close", tag_field="do"):
    """Somebody asks a primary to close the open frame with its next step."""

    primary: int = 0


class Look(Struct, frozen=True, omit_defaults=True, tag="look", tag_field="do"):
    """A primary looks at the mirror, as its thread for that does between steps."""

    primary: int = 0


class Restore(Struct, frozen=True, omit_defaults=True, tag="restore", tag_field="do"):
    """The mirror is restored from a backup, which was made at the last such action or at the begin."""


Action = (
    Look
    | Restore
    | Push
    | Edit
    | Delete
    | Rewind
    | Rogue
    | Step
    | Crash
    | Clock
    | Disk
    | Net
    | Policy
    | Tidy
    | Reclone
    | ByHand
)


class Setting(Struct, frozen=True, omit_defaults=True):
    """What a world is like: how each primary reaches the repository, how long frames are, and the form of history."""

    primaries: tuple[Kind, ...] = ("path",)
    interval_s: int = 10
    linear: bool = False
    lanes_keep_s: float = 30.0
    deltas_frames: int | None = None
    atomic: bool = True
    """Whether the server moves several refs together or not at all."""
    region: bool = False
    """Whether there is a region with a relay, which is the last of the primaries."""
    mirror: bool = False


class Script(Struct, frozen=True, omit_defaults=True):
    """A complete run: the seed that chance inside the code follows, the setting, and the actions in order."""

    seed: int
    setting: Setting
    actions: list[Action]


def write_script(script: Script) -> bytes:
    """A script as JSON, an action a line."""
    head = msgspec.json.encode(msgspec.structs.replace(script, actions=[]))
    lines = b",\n".join(msgspec.json.encode(action) for action in script.actions)
    return head.replace(b'"actions":[]', b'"actions":[\n' + lines + b"\n]") + b"\n"


def read_script(raw: bytes) -> Script:
    """A script from its file; msgspec.ValidationError if it is none."""
    return msgspec.json.decode(raw, type=Script)
