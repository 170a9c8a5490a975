"""Bringing one mirror forward: publications are copied there, and its merged lanes deleted, as on the main repository.

The mirror's own server-side check judges each copy as a publication. Owns how many frames it gets at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from dreamcatcherd.core import paths
from dreamcatcherd.core.errors import PushRefusedError, RetryableError
from dreamcatcherd.git.mirror import MirrorWire
from dreamcatcherd.git.protocols import Move, QueryReader
from dreamcatcherd.stages.lane_cleanup import LANES_AT_ONCE, silent_lanes
from dreamcatcherd.stages.mirror_copy import copied, copy_moves, is_here, next_step
from dreamcatcherd.stages.snapshot_chain import tips_of

COPIES_AT_ONCE = 32
"""How many pushes one look may take: a mirror that was down for long may get its frames in several."""

_ALL = 2**30


class MirrorCopier:
    """One mirror as it is written to. One thread owns it; `behind_since` may be read by any."""

    def __init__(self, wire: MirrorWire) -> None:
        """`behind_since` is when the oldest publication was made that the mirror lacks, in seconds since 1970; None if
        it lacks none. `stuck_at` is the head of its shared branch where that has commits that wait to be merged.
        `lanes_trouble` says why its lanes could not be deleted."""
        self._wire = wire
        self._stride = _ALL
        self._looked_at = 0.0
        self.behind_since: float | None = None
        self.stuck_at: str | None = None
        self.lanes_trouble: RetryableError | None = None

    def bring_forward(
        self,
        store: QueryReader,
        published: str,
        main: str,
        listed: Mapping[str, str],
        again: Callable[[], dict[str, str]],
    ) -> dict[str, str]:
        """Copy what the mirror lacks; returns its refs then. `again` lists them.

        RetryableError if it refuses. Where its shared branch has commits that wait to be merged, nothing is copied."""
        refs = dict(listed)
        for _ in range(COPIES_AT_ONCE):
            state = copied(store, published, refs.get(paths.PUBLISHED))
            missing = state.missing
            self.behind_since = store.commit(missing[-1].oid).time if missing else None
            goal = next_step(missing, self._stride) if missing else published
            moves = None if state.ahead else copy_moves(store, refs, main, goal)
            self.stuck_at = refs.get(main) if moves is None and not state.ahead else None
            if not moves:
                break
            refused = self._wire.push(moves)
            refs = again()
            if refs.get(moves[0].ref) == moves[0].new:
                self._stride = min(2 * self._stride, _ALL)
            elif isinstance(refused, PushRefusedError) and min(self._stride, len(missing)) > 1:
                # Its check judges a push within ten seconds or refuses it: fewer frames take less.
                self._stride = min(self._stride, len(missing)) // 2
            elif refused is not None:
                raise refused
        return refs

    def delete_lanes(
        self, store: QueryReader, published: str, lanes: Mapping[str, str], keep_s: float, now_s: float
    ) -> list[str]:
        """Delete the mirror's lanes that are completely merged and silent for `keep_s` seconds; returns their refs.

        At intervals: nothing at all is done in between. `now_s` is in seconds since 1970."""
        if time.monotonic() - self._looked_at < max(1.0, keep_s / 20):
            return []
        self._looked_at = time.monotonic()
        here = {ref: oid for ref, oid in lanes.items() if is_here(store, oid)}
        new = store.new_commits(set(here.values()), tips_of(store, published)) if here else {}
        merged = {ref: oid for ref, oid in here.items() if oid not in new}
        silent = silent_lanes(store, merged, published, now_s - keep_s)
        moves = [Move(ref, None, oid) for ref, oid in sorted(silent.items())][:LANES_AT_ONCE]
        self.lanes_trouble = self._wire.push(moves) if moves else None
        return [move.ref for move in moves] if self.lanes_trouble is None else []
