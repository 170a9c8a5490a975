"""The vocabulary of the protocol as frozen structs. Owns shapes; holds no behaviour beyond naming."""

from __future__ import annotations

from typing import Annotated, Any, Generic, Literal, NamedTuple, TypeVar

from msgspec import Meta, Struct

Json = Any
"""A decoded JSON value: None, bool, int, float, str, list or dict."""

Record = dict[str, Json]


class Deletion(dict[str, Any]):
    """A record of a deletion: the key fields of the entity that it deletes."""


class Stamp(NamedTuple):
    """The order key of a delta: total, and independent of arrival (docs/protocol.md#words). `utc` is in microseconds
    since 1970. A named tuple, since stamps are compared and hashed for every record, and JSON has them as arrays."""

    frame: int
    utc: int
    stream_id: str
    content_id: str


Reason = Literal[
    "not-a-file",
    "bad-name",
    "too-large",
    "too-deep",
    "conflict-markers",
    "not-json",
    "duplicate-key",
    "not-an-object",
    "too-many-records",
    "missing-frame",
    "frame-mismatch",
    "bad-utc",
    "missing-stream",
    "wrong-stream",
    "too-far-ahead",
]
"""Why a delta is quarantined. If several reasons hold, the first of this list counts (docs/protocol.md#quarantine)."""

RECORD_COST = 100
"""The cost of a record besides its bytes, in bytes: each carries its order key or stamp."""

ViolationKind = Literal[
    "snapshot-edited",
    "ledger-edited",
    "frame-edited",
    "view-edited",
    "delta-changed",
    "delta-deleted",
    "main-rewound",
    "lane-rewound",
    "wrong-stream",
    "settings-refused",
    "unreadable-commit",
    "bad-path",
]


SAME_NAMED = 20
"""How many versions of one blob in one commit are listed, among duplicates and among the quarantined: one blob can have
any number of names."""


class Limits(Struct, frozen=True, forbid_unknown_fields=True):
    """Bounds on one delta."""

    delta_bytes: Annotated[int, Meta(ge=1024, le=2**30, description="size of a delta, bytes")] = 16 * 2**20
    depth: Annotated[int, Meta(ge=2, le=512, description="nesting of its JSON")] = 128
    frames_ahead: Annotated[
        int, Meta(ge=1, le=2**53 - 1, description="how far its frame may be ahead of the open one, to be held for it")
    ] = 1_000
    max_skew: Annotated[
        float,
        Meta(
            ge=0, le=10**9, description="seconds that its UTC may be ahead of its arrival; beyond, flagged and merged"
        ),
    ] = 300.0
    records: Annotated[int, Meta(ge=1, le=10_000_000, description="records of a delta")] = 100_000


class Fault(Struct, frozen=True):
    """Why bytes are not a delta: `at` is a JSON path if there is one, `detail` is for people."""

    reason: Reason
    detail: str
    at: str | None = None


class Version(Struct, frozen=True):
    """One version of one delta file: the bytes that `commit` put at `path`. `blob` and `commit` are object ids in
    hex."""

    path: str
    blob: str
    mode: int
    commit: str


class Delta(Struct, frozen=True):
    """A version that can be read. `body` is the decoded object with its attachments filled in; None if it was freed to
    save memory: then it is read again when it is merged."""

    version: Version
    frame: int
    utc: int
    stream_id: str
    content_id: str
    body: Record | None
    header: tuple[str, ...]
    """The dotted paths at which frame, UTC and stream were found."""
    attachments: tuple[tuple[str, str], ...] = ()
    """(path, blob) of each attachment, as found in the tree of the version's commit."""
    unresolved: tuple[str, ...] = ()
    size: int = 0
    """Bytes of the document and of the texts that were filled in."""
    records: int = 0
    traceparent: str | None = None
    """The W3C trace context that its author gave, if it is valid: a link of the frame's trace and nothing else."""
    raw: bytes | None = None
    """The bytes of the document where they are kept in place of the body: they take less memory."""

    @property
    def frame_at(self) -> str:
        """The JSON path of its frame."""
        return f"$.{self.header[0]}"

    @property
    def stream_at(self) -> str:
        """The JSON path of its stream."""
        return f"$.{self.header[2]}"

    @property
    def cost(self) -> int:
        """About how much its body takes in memory and in a snapshot: its bytes, and RECORD_COST for each record."""
        return self.size + RECORD_COST * self.records

    @property
    def stamp(self) -> Stamp:
        return Stamp(self.frame, self.utc, self.stream_id, self.content_id)


class Reject(Struct, frozen=True):
    """A version that cannot be merged, with the first reason that holds."""

    version: Version
    fault: Fault


_Item = TypeVar("_Item", Delta, Reject)


class _Arrival(Struct, Generic[_Item], frozen=True):
    """A judged version and the ref that brought it: `source` is `main` or the lane's short name."""

    item: _Item
    source: str
    since: int | None = None
    """The frame whose ledger first listed it as held or too far ahead; None if it is new."""
    committed_s: int = 0
    """When its commit was made, by the committer's clock: seconds since 1970."""
    arrived: int | None = None
    """When this primary first saw its commit, in microseconds UTC; None if an earlier ledger listed it."""
    more: int = 0
    """How many more versions of its blob its commit brought under other names, judged alike."""

    def refused(self, fault: Fault) -> RejectArrival:
        """The same version as one that cannot be merged."""
        reject = Reject(self.item.version, fault)
        return RejectArrival(reject, self.source, self.since, self.committed_s, self.arrived, self.more)


class DeltaArrival(_Arrival[Delta], frozen=True):
    """The arrival of a version that can be read."""


class RejectArrival(_Arrival[Reject], frozen=True):
    """The arrival of a version that cannot be merged."""


Arrival = DeltaArrival | RejectArrival
"""Two types, so that a list of deltas cannot hold a reject, and no filter can drop a delta silently."""


def arrival_of(
    item: Delta | Reject,
    source: str,
    since: int | None = None,
    committed_s: int = 0,
    arrived: int | None = None,
    more: int = 0,
) -> Arrival:
    """The arrival of a version that was just judged."""
    if isinstance(item, Reject):
        return RejectArrival(item, source, since, committed_s, arrived, more)
    return DeltaArrival(item, source, since, committed_s, arrived, more)


class Conflict(Struct, frozen=True):
    """Two streams set one field of one entity to different values in one frame; `value` is the loser's.

    If many fields were lost to one delta, `field` is None and `value` an object of them."""

    collection: str
    key: Json
    field: str | None
    winner: Stamp
    loser: Stamp
    value: Json


class Misfit(Struct, frozen=True):
    """A record without a usable key: kept complete in `extra/<section>` (docs/protocol.md#a-delta)."""

    section: str
    stamp: Stamp
    why: str


class FrameState(Struct, frozen=True):
    """`state/frame.json`: workers read the open frame from it. Times are RFC 3339 in UTC."""

    frame: int
    opened_at: str | None = None
    closes_at: str | None = None
    last_closed: int | None = None
    snapshot: str | None = None
