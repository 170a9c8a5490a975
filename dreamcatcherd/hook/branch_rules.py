"""The server-side check of the shared branch and the primary's refs (docs/protocol.md#the-server-side-check).

The rules are functions over a RepositoryReader; `pre_receive` knows who pushes and opens the repository. Only additions
are read: new commits, and the parts of trees that differ. Modules that few pushes need are imported in functions, since
they are slow to load and every push starts a new process."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from itertools import chain

from msgspec import structs

from dreamcatcherd.core import paths
from dreamcatcherd.core.checkout import Checkout, unsafe_path
from dreamcatcherd.core.codec import read_document
from dreamcatcherd.core.errors import UnreadableError
from dreamcatcherd.core.header import Header, read_header
from dreamcatcherd.core.model import Delta, Fault, Reject
from dreamcatcherd.core.settings import Settings, SettingsError
from dreamcatcherd.core.tree import Entry, differences, entries_at, subtree
from dreamcatcherd.git.protocols import Commit, RepositoryReader
from dreamcatcherd.hook.copy_rules import judge_copy
from dreamcatcherd.hook.lane_rules import judge_lanes
from dreamcatcherd.hook.push import (
    KINDS,
    OFFENCES_LISTED,
    Gate,
    Offence,
    Past,
    Push,
    Update,
    others_may_write,
    quoted_stream,
    rejected,
    settings_at,
    unreadable,
    unsigned_offences,
    violation_kind_of,
)
from dreamcatcherd.hook.view_rules import restores, view_edits, view_paths
from dreamcatcherd.stages.settings_file import read_settings_file
from dreamcatcherd.stages.snapshot_chain import claimed_seen

REPLACEMENTS = "refs/replace/"

"""The namespace in which git looks for replacement objects."""

PRIMARY_REFS = paths.PUBLISHED.rpartition("/")[0] + "/"
"""The namespace of the primary's own refs."""


def judge_push(store: RepositoryReader, updates: Sequence[Update], gate: Gate) -> list[Offence]:
    """Check a push: the first offence of each file or ref, at most OFFENCES_LISTED; empty if it is accepted.

    FatalError if an object cannot be read."""
    return judge_read_push(read_push(store, updates, gate), updates, gate)


def judge_read_push(push: Push, updates: Sequence[Update], gate: Gate) -> list[Offence]:
    """Check a push whose settings and refs were read by `read_push`; see `judge_push`."""
    primary = [offence for update in updates for offence in _for_primary(push, update)]
    found = chain(
        _replacements(updates),
        judge_copy(push, updates),
        primary,
        *(_on_main(push, update, not primary and _publishes(push)) for update in updates if update.ref == gate.main),
        judge_lanes(push, updates),
        *(_unsafe_names(push, update) for update in updates if update.ref.startswith("refs/heads/")),
    )
    first: dict[str, Offence] = {}
    for offence in found:
        first.setdefault(offence.path, offence)
        if len(first) == OFFENCES_LISTED:
            break
    return list(first.values())


def _replacements(updates: Sequence[Update]) -> Iterator[Offence]:
    """Refuse new replacement refs: git would show a different history to everyone who fetches them."""
    for update in updates:
        if update.new is not None and update.ref.startswith(REPLACEMENTS):
            yield Offence(update.ref, "replacement", "refs/replace/ makes git show other objects than are stored")


def _unsafe_names(push: Push, update: Update) -> Iterator[Offence]:
    """New paths of a branch that no clone can hold.

    Paths below `state/` of the shared branch and of lanes are left out: they are checked with their versions."""
    if update.new is None:
        return
    checked = update.ref == push.gate.main or update.ref.startswith(push.settings.lane_prefix)
    known = {oid for oid in (update.old, push.refs.get(push.gate.main)) if oid}
    olds = [push.store.commit(oid).tree for oid in sorted(known)]
    for path, why in Checkout().unsafe_paths(
        push.store, push.store.commit(update.new).tree, olds, "state" if checked else None
    ):
        yield Offence("/".join(path) or update.ref, "bad-name", f"{why} (on {paths.short_ref(update.ref)})")


def read_push(store: RepositoryReader, updates: Sequence[Update], gate: Gate) -> Push:
    """Read what the rules need to know before a push is checked: refs, settings before and after, known commits.

    FatalError if an object cannot be read."""
    refs = store.refs()
    moves = {update.ref: update for update in updates}
    head = moves[gate.main].new if gate.main in moves else refs.get(gate.main)
    # Deltas are merged under the settings that `main` has after the push. The settings before it say who may change
    # them: otherwise a push could make its author an operator and then pass.
    settings = settings_at(store, refs, gate.main, head)
    prefixes = (settings.lane_prefix, PRIMARY_REFS)
    # Other branches and tags were never checked, so their commits count as new when they reach `main` or a lane.
    # What mirrors brought was never checked here either, although its refs are the primary's.
    known = {ref: oid for ref, oid in refs.items() if not ref.startswith(paths.MIRRORS)}
    hidden = [
        oid for ref, oid in known.items() if ref == gate.main or ref.startswith(prefixes) or settings.is_lane(ref)
    ]
    old = refs.get(gate.main)
    previous = settings if old == head else settings_at(store, refs, gate.main, old)
    return Push(store, gate, refs, moves, head, settings, hidden, Past(store, old), previous, time.time_ns() // 1000)


# --- the shared branch ------------------------------------------------------------------------------------------------


def _on_main(push: Push, update: Update, publishes: bool) -> Iterator[Offence]:
    """Check the net change from head to head, then every delta version in between."""
    if update.new is None:
        yield Offence(update.ref, "main-deleted", "the shared branch cannot be deleted")
        return
    # `_for_primary` has checked that this is the named primary, and its frames are not checked again here.
    if publishes and push.gate.is_primary:
        return
    try:
        yield from _edits(push, update, publishes or _opens_first(push, update))
    except UnreadableError as error:
        yield unreadable(update.new, error)
        return
    # In a publication `why_no_publication` checks that a ledger accounts for every version. In other pushes each one
    # is checked here, not only those that are left at the head: all of them will be merged or quarantined.
    if not publishes:
        deltas: list[Delta] = []
        for oid, commit in push.unchecked([update.new]):
            try:
                yield from _on_main_commit(push, oid, commit, deltas)
            except UnreadableError as error:
                yield unreadable(oid, error)
        yield from unsigned_offences(push, deltas)


def _opens_first(push: Push, update: Update) -> bool:
    """Whether the push opens the first frame of an empty repository."""
    if update.old is not None or update.new is None or paths.PUBLISHED in push.refs:
        return False
    if push.gate.is_primary:
        return push.gate.is_primary(update.new)
    from dreamcatcherd.hook.publication_check import opens_first

    return opens_first(push.store, update.new)


def _on_main_commit(push: Push, oid: str, commit: Commit, deltas: list[Delta]) -> Iterator[Offence]:
    """Check every version that a commit brings; those that are deltas are added to `deltas`."""
    streams: dict[str, Delta] = {}
    for item in push.judged(oid, commit):
        if isinstance(item, Reject):
            yield rejected(item)
            continue
        push.accept(item)
        streams[item.version.path] = structs.replace(item, body=None)
        deltas.append(streams[item.version.path])
    # A takeover of another stream's file would not show in the net change if a later commit reverted it.
    for parent in commit.parents if streams else ():
        previous = entries_at(push.store, push.store.commit(parent).tree, streams)
        for path, entry in previous.items():
            new = streams[path]
            if (offence := _other_stream(push, path, entry, new.stream_id, new.stream_at)) is not None:
                yield offence


def _edits(push: Push, update: Update, canonical: bool) -> Iterator[Offence]:
    """The changes below `state/`, and of views, that are not allowed; canonical files only if `canonical`.

    Heads are compared, not commits: a merge that takes the other side's tree reverts the snapshot, and no single commit
    of it looks wrong."""
    roots = push.settings.intake.roots
    views = view_paths(push, update.new if canonical else None)
    yield from view_edits(push, update, views, canonical)
    for path, before, after in _differing(push, update):
        if after is not None and (why := unsafe_path(path)) is not None:
            yield Offence(path, "bad-name", why)
        if path in views:
            continue  # `view_edits` judges it
        if path == paths.SETTINGS:
            yield from _settings_edit(push, update, after)
        elif paths.root_above(path, roots) is not None:
            yield from _delta_edit(push, path, before, after)
        elif path != push.gate.counter and not (canonical and violation_kind_of(path) in KINDS.values()):
            if violation_kind_of(path) in KINDS.values() and restores(push, path, after):
                continue
            if others_may_write(push.settings, path):
                continue
            how = "added" if before is None else "deleted" if after is None else "changed"
            yield Offence(path, violation_kind_of(path), f"{how}; below state/ {_allowed(push.settings)}")


def _differing(push: Push, update: Update) -> Iterator[tuple[str, Entry | None, Entry | None]]:
    """The files below `state/` and below the delta roots outside it that are not the same before and after."""
    store = push.store
    outside = (root for root in push.settings.intake.roots if not root.startswith("state/"))
    for folder in ("state", *outside):
        old, new = (subtree(store, store.commit(oid).tree, folder) if oid else None for oid in (update.old, update.new))
        yield from differences(store, old, new, folder + "/")


def _allowed(settings: Settings) -> str:
    """What everybody can change below `state/`, for people."""
    roots = [root for root in settings.intake.roots if root != paths.DELTAS]
    deltas = f"deltas (in {paths.named_roots(settings.intake.roots)})" if roots else "deltas"
    return f"you can change only {deltas}, settings and files that [intake] pass names"


def _settings_edit(push: Push, update: Update, after: Entry | None) -> Iterator[Offence]:
    """Refuse settings that cannot be read, and, if signers are set, changes that no operator's key signed."""
    try:
        read_settings_file(push.store, after)
    except SettingsError as error:
        yield Offence(paths.SETTINGS, "settings-refused", str(error))
        return
    signers = push.previous.signers
    if not signers or update.new is None:
        return
    from dreamcatcherd.stages.settings_authority import gave_settings, not_entitled

    brought = gave_settings(push.store, dict(push.unchecked([update.new])), after.oid if after else None)
    good = push.good_signatures(brought, signers)
    if why := not_entitled(push.store, brought, good, signers, push.refs.get(paths.PUBLISHED)):
        yield Offence(paths.SETTINGS, "settings-refused", why)


def _delta_edit(push: Push, path: str, before: Entry | None, after: Entry | None) -> Iterator[Offence]:
    if after is None:
        root = paths.root_above(path, push.settings.intake.roots)
        yield Offence(path, "delta-deleted", f"files below {root}/ are never deleted or renamed")
    elif before is not None and path.endswith(".json"):
        header = _header_of(push, after)
        if header is None:
            return
        if (offence := _other_stream(push, path, before, header.stream_id, f"$.{header.paths[2]}")) is not None:
            yield offence


def _other_stream(push: Push, path: str, previous: Entry | None, stream: str, at: str) -> Offence | None:
    """The offence of replacing another stream's delta by one whose stream is at the JSON path `at`. Anybody may correct
    a file that was not a readable delta."""
    old = _header_of(push, previous) if previous else None
    if old is None or old.stream_id == stream:
        return None
    was, would = quoted_stream(old.stream_id), quoted_stream(stream)
    detail = f"it was the stream {was}'s and would be {would}'s: use a file name of your own"
    return Offence(path, "delta-changed", detail, at)


def _header_of(push: Push, entry: Entry) -> Header | None:
    """The header of a delta file; None if it cannot be read as a delta."""
    limits = push.settings.limits
    if not entry.is_file or push.store.size(entry.oid) > limits.delta_bytes:
        return None
    document = read_document(push.store.read(entry.oid), limits)
    header = document if isinstance(document, Fault) else read_header(document, None, push.settings.intake)
    return None if isinstance(header, Fault) else header


# --- the primary's refs -----------------------------------------------------------------------------------------------


def _publishes(push: Push) -> bool:
    """Whether `main` and the published ref move to one commit."""
    main, published = push.moves.get(push.gate.main), push.moves.get(paths.PUBLISHED)
    return main is not None and published is not None and main.new == published.new is not None


def _for_primary(push: Push, update: Update) -> Iterator[Offence]:
    """Refuse moves of `refs/dreamcatcher/…` by others than the primary.

    If the repository names no primary, a push that publishes a complete frame is taken for one's."""
    if not update.ref.startswith(PRIMARY_REFS):
        return
    from dreamcatcherd.hook.publication_check import is_newest, why_no_publication

    main = push.gate.main
    why: str | None
    tried = update.ref == paths.TRIAL and update.new in (None, push.refs.get(main), push.refs.get(paths.PUBLISHED))
    if tried and not (push.gate.is_primary and update.new):
        why = None  # `doctor` tests its right to push with this ref, which nothing reads
    elif update.new is None:
        why = "it cannot be deleted"
    elif push.gate.is_primary:
        why = None if push.gate.is_primary(update.new) else "neither the account nor a signature is the primary's"
    elif update.ref == paths.SEEN and _publishes(push):
        published = push.moves[paths.PUBLISHED].new
        claimed = claimed_seen(push.store.commit(published)) if published else None
        why = None if claimed == update.new else "the snapshot commit names another commit"
    elif update.ref != paths.PUBLISHED:
        why = "the server names no primary"
    elif _publishes(push):
        why = why_no_publication(push.store, push.refs, main, update.new)
    elif main not in push.moves and is_newest(push.store, push.refs, main, update.new):
        why = None  # the ref catches up with `main`: a primary died between the two moves
    else:
        why = f"{paths.short_ref(main)} does not move to the same commit"
    if why is not None:
        yield Offence(update.ref, "not-the-primary", why)
