"""Present troubles as values: the one list that `status`, `/readyz`, page and API show (docs/protocol.md#troubles).

Owns the words of each trouble and its remedy. A trouble is present: one that is over is not listed."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from dreamcatcherd.core.codec import plain, utc_text
from dreamcatcherd.core.errors import DreamcatcherError
from dreamcatcherd.core.ledger import Violation

OVERDUE_S = 5.0
"""How long after its time a frame may be open before that is a trouble."""

VIOLATIONS_NAMED = 20
FREE_BYTES = 256 * 2**20
"""Less free space than this on the disk of the repository is a trouble."""

_HEALED = "the next snapshot commit records it in its ledger"
_REMEDIES = {
    "snapshot-edited": "find out who can write there, and install the server-side check",
    "ledger-edited": "find out who can write there, and install the server-side check",
    "frame-edited": "find out who can write there, and install the server-side check",
    "view-edited": "find out who can write there, and install the server-side check",
    "delta-changed": f"both versions are merged; {_HEALED}",
    "delta-deleted": f"the file is put back by the next snapshot commit; {_HEALED}",
    "main-rewound": "the next snapshot commit has both heads as parents; find out who forced the branch",
    "lane-rewound": f"what was fetched is merged all the same; {_HEALED}",
    "wrong-stream": "each stream pushes to its own lane, with its own key where signers are set",
    "bad-path": "the next snapshot commit leaves it out; install the server-side check, which refuses it",
    "settings-refused": "correct state/dreamcatcher.toml and push it again; the last valid settings stay in force",
}


class Trouble(Struct, frozen=True):
    """One present trouble. `since` is RFC 3339 in UTC, None if unknown; `remedy` says what to do about it."""

    what: str
    since: str | None
    remedy: str


UNMATCHED = "correct or remove it in state/dreamcatcher.toml; everything else there is in force"
"""What to do about a setting that can never match."""


def unmatched_settings(warnings: Iterable[str]) -> list[Trouble]:
    """Settings in the repository that can never match anything."""
    return [Trouble(f"state/dreamcatcher.toml: {warning}", None, UNMATCHED) for warning in warnings]


def failing(error: DreamcatcherError, since: int | None) -> Trouble:
    """A failure as a trouble."""
    # A path on disk need not be UTF-8, and JSON holds nothing else.
    return Trouble(plain(error.cause), utc_text(since) if since is not None else None, plain(error.remedy))


def overdue(frame: int, due_at_s: float, now: int) -> Trouble | None:
    """A frame that should have been closed; `due_at_s` is in seconds since 1970, `now` in microseconds."""
    if now / 1e6 - due_at_s <= OVERDUE_S:
        return None
    remedy = "see that a primary runs on this repository (dreamcatcherd run), and what its log says"
    return Trouble(_overdue(frame), utc_text(round(due_at_s * 1e6)), remedy)


def is_overdue_trouble(trouble: Trouble, frame: int) -> bool:
    """Whether a trouble is that of `overdue` for a frame."""
    return trouble.what == _overdue(frame)


def _overdue(frame: int) -> str:
    return f"frame {frame} is overdue"


class LargeView(Struct, frozen=True):
    """A view file that is too large to be written again and again: its name in the settings, and its sizes."""

    name: str
    path: str
    size: int
    records: int


LARGE_VIEW_REMEDY = (
    "each change writes all of it again: declare it over a smaller collection, or read the snapshot or the API instead"
)


def oversized(view: LargeView) -> Trouble:
    """A view that is written all the same."""
    what = f"view {view.name} is large: {view.path} has {view.records:,} records in {view.size:,} bytes"
    return Trouble(what, None, LARGE_VIEW_REMEDY)


def disk_full(free_bytes: int, where: str) -> Trouble | None:
    """A disk that is so full that publishing will soon stop."""
    if free_bytes >= FREE_BYTES:
        return None
    return Trouble(f"{free_bytes // 2**20} MiB are free at {where}", None, "make room: a full disk stops publishing")


def violated(violations: Iterable[Violation]) -> list[Trouble]:
    """Violations since the last publication, each kind and commit once."""
    found: dict[tuple[str, str | None], list[Violation]] = {}
    for row in violations:
        if row.kind == "unreadable-commit":
            continue  # a trouble for as long as a ref brings the commit, even after a ledger names it
        found.setdefault((row.kind, row.commit), []).append(row)
    troubles = []
    for (kind, commit), rows in list(found.items())[:VIOLATIONS_NAMED]:
        more = f" and {len(rows) - 1} more" if len(rows) > 1 else ""
        by = f" by {rows[0].author} in commit {commit}" if commit else ""
        detail = f": {rows[0].detail}" if rows[0].detail else ""
        remedy = _REMEDIES.get(kind, _HEALED)
        troubles.append(Trouble(f"{kind}: {rows[0].path}{more}{by}{detail}", None, remedy))
    if len(found) > VIOLATIONS_NAMED:
        rest = len(found) - VIOLATIONS_NAMED
        troubles.append(Trouble(f"{rest} more violations since the last frame", None, "see dreamcatcherd plan"))
    return troubles
