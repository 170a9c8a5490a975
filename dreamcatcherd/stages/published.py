"""The base of the next frame: the last published snapshot commit, and all that is read from it.

git is the cursor. `refs/dreamcatcher/published` names the last snapshot commit; a primary that was killed between its
two moves, or another primary, may have left a newer one on `main`. Such a commit is believed only where its ledger
accounts for every version that it makes reachable, since everything that it reaches is never read again."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from typing import TypeVar

import msgspec
from msgspec import Struct

from dreamcatcherd.core import paths
from dreamcatcherd.core.delta_sections import PlacedSections
from dreamcatcherd.core.errors import FatalError, FormatError, GuardError
from dreamcatcherd.core.guard import lost_entities
from dreamcatcherd.core.ledger import (
    RECLASSIFY,
    DeltaRow,
    Ledger,
    LedgerHead,
    accounts_for,
    head_of,
    read_head,
    read_ledger,
)
from dreamcatcherd.core.model import FrameState
from dreamcatcherd.core.settings import DEFAULT, Settings, SettingsError, read_settings
from dreamcatcherd.core.snapshot import FORMAT, FORMER, format_of, open_snapshot
from dreamcatcherd.core.tree import blob_at, subtree
from dreamcatcherd.core.waiting import next_ledgers
from dreamcatcherd.git.overlay import Overlay
from dreamcatcherd.git.protocols import ObjectReader, RepositoryReader
from dreamcatcherd.stages.delta_reader import versions_of
from dreamcatcherd.stages.frame_file import read_frame_file
from dreamcatcherd.stages.snapshot_chain import (
    Claims,
    builds_on,
    claimed_frame,
    claimed_previous,
    claimed_seen,
    tips_of,
)
from dreamcatcherd.stages.unreadable import followed

_L = TypeVar("_L")


class PublishedState(Struct, frozen=True):
    """What the open frame builds on. `commit` is None before the first publication. `seen` holds the merged lanes
    where `main` does not, in a linear history; `tree` is the commit's. `delivered` are the streams that delivered in
    the last closed frame, each with its latest UTC."""

    commit: str | None
    state: FrameState
    snapshot: str | None = None
    ledgers: str | None = None
    tree: str | None = None
    settings_file: str | None = None
    ledger: LedgerHead | None = None
    settings: Settings = DEFAULT
    seen: str | None = None
    delivered: dict[str, int] = {}

    @property
    def tips(self) -> list[str]:
        """What reaches all that was published: nothing of it is new."""
        return [oid for oid in (self.commit, self.seen) if oid is not None]


def load_published(
    store: RepositoryReader,
    refs: dict[str, str],
    main: str,
    seen: str | None = None,
    known: PublishedState | None = None,
) -> PublishedState:
    """Read the published state from git; FatalError if the published commit cannot be read completely.

    `seen` is the last published commit that this primary knows of: nothing older or lesser is taken for the base.
    `known` is what was read before: where its commit is still the one that counts, it is not read again."""
    head = refs.get(main)
    commit = find_published(store, _newer(store, refs.get(paths.PUBLISHED), seen), head)
    if commit is None:
        if (lost := store.lost_history()) is not None:
            raise _lost(store, lost)
        return PublishedState(None, _adopted_state(store, head))
    # A push to `main` moves the branch and not the base, whose ledger may be large.
    base = known if known is not None and known.commit == commit else read_published(store, commit)
    if seen is not None and seen != commit:
        never_less(store, subtree(store, store.commit(seen).tree, paths.SNAPSHOT), base.snapshot)
    return base


def _newer(store: ObjectReader, published: str | None, seen: str | None) -> str | None:
    """The published ref, unless it was moved back, or away, from what this primary has seen published."""
    if seen is None or published is None:
        return published or seen
    return published if builds_on(store, published, seen) else seen


def never_less(store: ObjectReader, old: str | None, new: str | None, moved: Container[str] = frozenset()) -> None:
    """The guard: GuardError if snapshot `new` lacks something that `old` has, but for `moved` sections of `extra`."""
    lost = next(lost_entities(store, old, new, moved), None)
    if lost is not None:
        cause = f"snapshot {new} lacks {lost.key} of {lost.name}, which the published {old} has"
        both = f"{paths.PUBLISHED} and the branch"
        remedy = f"nothing is published: compare the two, and set {both} to a complete snapshot"
        raise GuardError(cause, remedy)


def read_published(store: ObjectReader, commit: str, just_made: Ledger | None = None) -> PublishedState:
    """The base that a snapshot commit makes; its ledger need not be read again where it was just made."""
    tree = store.commit(commit).tree
    snapshot = subtree(store, tree, paths.SNAPSHOT)
    state = read_frame_file(store, tree)
    # frame.json names the snapshot that it belongs to: a commit in which somebody put back only one of the two is not
    # taken for a publication.
    if state is None or snapshot is None or snapshot != state.snapshot:
        raise _unreadable(store, commit, "its frame.json and snapshot do not agree")
    _check_format(store, commit, snapshot)
    ledgers = subtree(store, tree, paths.LEDGER)
    ledger, delivered = (head_of(just_made), _latest_utc(just_made.deltas)) if just_made else (None, {})
    # The ledger of a large frame takes longer to inflate and to check than to decode, so it is read once.
    if ledger is None and state.last_closed is not None:
        ledger, delivered = _load(store, ledgers, state.last_closed, _head_and_streams) or (None, {})
    if state.last_closed is not None and (ledger is None or ledger.snapshot != snapshot):
        raise _unreadable(store, commit, f"the ledger of frame {state.last_closed} is missing or of another snapshot")
    return PublishedState(
        commit=commit,
        state=state,
        snapshot=snapshot,
        ledgers=ledgers,
        tree=tree,
        settings_file=blob_at(store, tree, paths.SETTINGS),
        ledger=ledger,
        settings=_last_good(store, ledger),
        seen=claimed_seen(store.commit(commit)),
        delivered=delivered,
    )


def _check_format(store: ObjectReader, commit: str, snapshot: str) -> None:
    """FormatError if a snapshot has another format than this version writes."""
    form = format_of(store, open_snapshot(store, snapshot))
    if form == FORMER:
        remedy = f"convert it, with the daemon stopped: dreamcatcherd convert --repo {store.where}"
        raise FormatError(f"{store.where} has a snapshot of the format {form} (commit {commit})", remedy)
    if form != FORMAT:
        remedy = f"use the version that wrote it; this one writes {FORMAT}"
        raise FormatError(f"{store.where} has a snapshot of the format {form[:80]!r} (commit {commit})", remedy)


def load_ledger(store: ObjectReader, ledgers: str | None, frame: int) -> Ledger | None:
    """A frame's ledger from the tree `state/ledger`; None if there is none."""
    return _load(store, ledgers, frame, read_ledger)


def load_head(store: ObjectReader, ledgers: str | None, frame: int) -> LedgerHead | None:
    """The head of a frame's ledger; None if there is none."""
    return _load(store, ledgers, frame, read_head)


def _load(store: ObjectReader, ledgers: str | None, frame: int, read: Callable[[bytes], _L]) -> _L | None:
    oid = blob_at(store, ledgers, paths.ledger_path(frame))
    if oid is None:
        return None
    try:
        return read(store.read(oid))
    except msgspec.DecodeError as error:
        raise _unreadable(store, oid, f"the ledger of frame {frame} is damaged: {error}") from error


def streams_of(store: ObjectReader, ledgers: str | None, frame: int) -> dict[str, int]:
    """The streams that delivered in a closed frame, each with its latest UTC; nothing else of its ledger is decoded."""
    oid = blob_at(store, ledgers, paths.ledger_path(frame))
    return streams_in(store.read(oid)) if oid else {}


def streams_in(raw: bytes) -> dict[str, int]:
    """The same, from the ledger's bytes."""
    return _latest_utc(_streams.decode(raw).deltas)


def _head_and_streams(raw: bytes) -> tuple[LedgerHead, dict[str, int]]:
    return read_head(raw), streams_in(raw)


def _latest_utc(rows: Iterable[_StreamRow | DeltaRow]) -> dict[str, int]:
    """The streams of some deltas, each with its latest UTC."""
    found: dict[str, int] = {}
    for row in rows:
        found[row.stream_id] = max(row.utc, found.get(row.stream_id, row.utc))
    return found


class _StreamRow(Struct):
    stream_id: str
    utc: int


class _StreamsOnly(Struct):
    deltas: list[_StreamRow]


_streams = msgspec.json.Decoder(_StreamsOnly)


def find_published(store: ObjectReader, known: str | None, head: str | None) -> str | None:
    """The newest snapshot commit: the one known, or a later one on `main` that accounts for all that it reaches."""
    if head is None or head == known:
        return known
    if known is None:
        return _newest_complete(store, head)
    fresh = store.new_commits([head], [known])
    claims = {oid: frame for oid, commit in fresh.items() if (frame := claimed_frame(commit)) is not None}
    # In the order of frames: each candidate must follow the one accepted before it. Ties are broken by id, so that
    # every primary accepts the same one.
    for oid in sorted(claims, key=lambda oid: (claims[oid], oid)):
        if follows(store, oid, read_published(store, known)):
            known = oid
    return known


def _newest_complete(store: ObjectReader, head: str) -> str | None:
    """Without a published ref: the complete snapshot commit of the highest frame in `main`'s history."""
    claims = Claims(store, head)
    for frame in claims.frames:
        for oid in claims.originals(frame):
            try:
                read_published(store, oid)
            except FormatError:
                raise  # a history of another format is not an empty one
            except FatalError:
                continue
            return oid
    return None


def follows(store: ObjectReader, candidate: str, before: PublishedState) -> bool:
    """Whether a snapshot commit closes the frame that is open in `before` and judges every version that it adds.

    The trailer that names the one before may be absent: primaries from before it existed publish, too."""
    try:
        after = read_published(store, candidate)
    except FormatError:
        raise
    except FatalError:
        return False
    if claimed_previous(store.commit(candidate)) not in (None, before.commit if before.ledger else None):
        return False
    ledger = load_ledger(store, after.ledgers, before.state.frame)
    previous = before.snapshot if before.ledger else None
    if ledger is None or after.ledger is None or after.ledger.frame != ledger.frame or ledger.previous != previous:
        return False
    if after.state.frame != before.state.frame + 1:
        return False
    # Whoever could name other roots in a ledger alone could hide what is below the present ones.
    roots = after.settings.intake.roots
    if roots != before.settings.intake.roots and after.settings.blob != after.settings_file:
        return False
    # The ledger may account for everything and the snapshot still lack an entity: then it is a forgery, or a fault.
    moved = PlacedSections(after.settings.sections) if ledger.closed_by == RECLASSIFY else frozenset()
    if any(lost_entities(store, before.snapshot, after.snapshot, moved)):
        return False
    if not _waits_as_it_says(store, before, after, ledger):
        return False
    # What the candidate reaches is never read again, so a version that its ledger does not name would be lost for ever.
    accounted = accounts_for(ledger)
    tips = tips_of(store, candidate)
    try:
        commits = followed(store, store.new_commits(tips, before.tips), candidate, before.tips)
    except FatalError:
        # A server that cannot move refs together may have moved `main` alone, and nobody else has the merged lanes.
        return False
    # The snapshot commit itself adds copies of deltas, which their own commits account for.
    for oid in tips:
        commits.pop(oid, None)
    return all(
        accounted(paths.printable(path), blob, oid)
        for oid in commits
        for path, blob, _ in versions_of(store, commits[oid], roots)
    )


def _waits_as_it_says(store: ObjectReader, before: PublishedState, after: PublishedState, ledger: Ledger) -> bool:
    """Whether the folder of ledgers follows from the one before and from the ledger: no early delta is dropped from
    it."""
    oid = blob_at(store, after.ledgers, paths.ledger_path(ledger.frame))
    return oid is not None and next_ledgers(Overlay(store), before.ledgers, ledger, oid) == after.ledgers


def _adopted_state(store: ObjectReader, head: str | None) -> FrameState:
    """The frame to begin with in a repository without snapshots: what its frame.json says, else 1."""
    state = read_frame_file(store, store.commit(head).tree if head else None) or FrameState(1)
    return FrameState(state.frame, state.opened_at)


def _last_good(store: ObjectReader, ledger: LedgerHead | None) -> Settings:
    if ledger is None or ledger.settings is None:
        return DEFAULT
    try:
        return read_settings(store.read(ledger.settings), ledger.settings)
    except SettingsError as error:
        raise _unreadable(
            store, ledger.settings, f"the settings of frame {ledger.frame} do not read: {error}"
        ) from error


def _lost(store: ObjectReader, commit: str) -> FatalError:
    cause = f"frames were published in {store.where}, and its refs no longer name one: they are lost"
    if commit == "unknown":
        return FatalError(cause, f"restore {paths.PUBLISHED} and the branch from a backup or any clone")
    remedy = f"put the refs back: git update-ref {paths.PUBLISHED} {commit} there, and the branch likewise"
    remedy += "; to start over on purpose, use a new repository"
    return FatalError(cause, remedy)


def _unreadable(store: ObjectReader, oid: str, why: str) -> FatalError:
    remedy = f"nothing is published from it: set {paths.PUBLISHED} to a complete snapshot commit, or run git fsck"
    return FatalError(f"{oid} in {store.where} is not a complete snapshot: {why}", remedy)
