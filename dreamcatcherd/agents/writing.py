"""The tools that push: push_delta and claim. Each adds a delta by the functions that `push` uses, and changes nothing
else (docs/protocol.md#agents)."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Annotated, Literal, TypeAlias

from msgspec import Meta, Struct

from dreamcatcherd.agents.reading import DeltaArgument, Text, delta_bytes, plain_json
from dreamcatcherd.client import Pushed, claim, push
from dreamcatcherd.client.session import Sight
from dreamcatcherd.config_tables import RepositoryConfig
from dreamcatcherd.core.codec import utc_text
from dreamcatcherd.core.errors import RefusedError, RetryableError
from dreamcatcherd.core.model import Json
from dreamcatcherd.observe.clock import wall_clock

TRUE_WAIT_S = 45.0
"""How long `wait: true` waits: less than the minute after which many clients give a call up."""

LONGEST_WAIT_S = 600

WaitArgument: TypeAlias = Annotated[
    bool | Annotated[float, Meta(ge=0, le=LONGEST_WAIT_S)],
    Meta(
        description=(
            "How many seconds to wait until the frame that merges the delta has closed; true is "
            f"{TRUE_WAIT_S:g}, false or 0 returns once the delta is pushed. If the time runs out, the outcome is "
            "`pending`: ask `receipt` later."
        )
    ),
]


class PushArguments(Struct, frozen=True, forbid_unknown_fields=True):
    """A delta to push."""

    delta: DeltaArgument
    wait: WaitArgument = False


class ClaimArguments(Struct, frozen=True, forbid_unknown_fields=True):
    """A resource to claim."""

    resource: Annotated[Text, Meta(description="The resource's key, such as the name of a task.")]
    stream_id: Annotated[str, Meta(min_length=1, max_length=128, description="The name of your stream.")]
    wait: WaitArgument = True
    collection: Annotated[Text | None, Meta(description="The collection, if several have the rule claim.")] = None
    op: Annotated[
        Literal["claim", "renew", "release"],
        Meta(description="claim takes the resource, renew keeps it for longer, release gives it back."),
    ] = "claim"


class OpenCall:
    """One call that may wait. `end` makes it end at its next look; `look` is called at each, with the seconds left."""

    def __init__(self, look: Callable[[float], None]) -> None:
        self._ended = threading.Event()
        self._look = look

    def end(self) -> None:
        """End the wait. What was pushed stays pushed."""
        self._ended.set()

    def progress(self, _sight: Sight, left_s: float) -> None:
        """The `progress` of the functions of the client."""
        # The client's wait has no other way to end early than an error from here.
        if self._ended.is_set():
            raise RetryableError("the call was cancelled while it waited", "ask for the receipt later")
        self._look(left_s)


def push_delta(repository: RepositoryConfig, given: PushArguments, call: OpenCall) -> Json:
    """Push a delta and return its row, in the form of `push --json`; RefusedError if it was not accepted."""
    rows = push(repository, [delta_bytes(given.delta)], wait_s=seconds_of(given.wait), progress=call.progress)
    return plain_json(_accepted(rows[0]))


def claim_resource(repository: RepositoryConfig, given: ClaimArguments, call: OpenCall) -> Json:
    """Push a claim and return the decision: `outcome` is granted, renewed, released, refused, or pending while the
    frame is open. `holder` and `until` say who has the resource, and through which frame."""
    row = _accepted(
        claim(
            repository,
            given.resource,
            given.stream_id,
            operation=given.op,
            collection=given.collection,
            wait_s=seconds_of(given.wait),
            progress=call.progress,
        )
    )
    decision = row.claims[0] if row.claims else None
    return {
        "resource": given.resource,
        "outcome": decision.outcome if decision else row.outcome,
        "holder": decision.holder if decision else None,
        "until": decision.until if decision else None,
        "delta": plain_json(row),
    }


def seconds_of(wait: bool | float) -> float | None:
    """The seconds of a `wait` argument; None if the call does not wait."""
    return TRUE_WAIT_S if wait is True else float(wait) or None


def _accepted(row: Pushed) -> Pushed:
    """The row of a delta that was pushed; RefusedError with the reason if it was not."""
    if row.outcome != "refused":
        return row
    at = f" at {row.at}" if row.at else ""
    cause = f"the delta was not pushed: {row.reason}{at}: {row.detail}"
    remedy = f"correct it and push again; `frame` has the open frame, and the time is {utc_text(wall_clock())}"
    raise RefusedError(cause, remedy)
