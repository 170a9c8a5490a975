"""What a push may bring, ref by ref (Protocol §8): the rules of the pre-receive check.

Owns the rules as functions over a `RepositoryReader`; `pre_receive.py` finds out who pushes and opens the reader.
Only what the push adds is read: new commits, and of trees what differs. A branch that nothing is merged from has not
been checked, so only what the shared branch, the lanes and the primary hold counts as known."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from itertools import chain

from msgspec import structs

from dreamcatcherd.core import paths
from dreamcatcherd.core.checkout import Checkout, unsafe_path
from dreamcatcherd.core.codec import read_document, read_header
from dreamcatcherd.core.errors import UnreadableError
from dreamcatcherd.core.model import Delta, Fault, Reject
from dreamcatcherd.core.settings import SettingsError
from dreamcatcherd.core.tree import TREE, Entry, differences, entries_at, lookup, subtree
from dreamcatcherd.git.protocols import Commit, RepositoryReader
from dreamcatcherd.hook.lane_rules import judge_lanes
from dreamcatcherd.hook.push import (
    KINDS,
    OFFENCES_LISTED,
    Gate,
    Offence,
    Past,
    Push,
    Update,
    quoted_stream,
    rejected,
    settings_at,
    unreadable,
    unsigned_offences,
    violation_kind_of,
)
from dreamcatcherd.stages.settings_file import read_settings_file
from dreamcatcherd.stages.snapshot_chain import claimed_seen

REPLACEMENTS = "refs/replace/"

PRIMARY_REFS = paths.PUBLISHED.rpartition("/")[0] + "/"


def judge_push(store: RepositoryReader, updates: Sequence[Update], gate: Gate) -> list[Offence]:
    """Why a push is refused, the first offence of each file or ref; empty for one that may enter."""
    return judge_read_push(read_push(store, updates, gate), updates, gate)


def judge_read_push(push: Push, updates: Sequence[Update], gate: Gate) -> list[Offence]:
    """The same for a push whose settings and refs are read."""
    primary = [offence for update in updates for offence in _for_primary(push, update)]
    found = chain(
        _replacements(updates),
        primary,
        *(_on_main(push, update, not primary and _publishes(push)) for update in updates if update.ref == gate.main),
        judge_lanes(push, updates),
        *(_names(push, update) for update in updates if update.ref.startswith("refs/heads/")),
    )
    first: dict[str, Offence] = {}
    for offence in found:
        first.setdefault(offence.path, offence)
        if len(first) == OFFENCES_LISTED:
            break
    return list(first.values())


def _replacements(updates: Sequence[Update]) -> Iterator[Offence]:
    """Whoever fetches these refs is shown other objects than are stored: nobody may make history look different."""
    for update in updates:
        if update.new is not None and update.ref.startswith(REPLACEMENTS):
            yield Offence(update.ref, "replacement", "refs/replace/ makes git show other objects than are stored")


def _names(push: Push, update: Update) -> Iterator[Offence]:
    """What a branch would show, and what it came from does not, that no clone can hold.

    Of the shared branch and of lanes what is below `state/` is read anyway, and judged there."""
    if update.new is None:
        return
    judged = update.ref == push.gate.main or update.ref.startswith(push.settings.lane_prefix)
    known = {oid for oid in (update.old, push.refs.get(push.gate.main)) if oid}
    olds = [push.store.commit(oid).tree for oid in sorted(known)]
    for path, why in Checkout().unsafe_paths(
        push.store, push.store.commit(update.new).tree, olds, "state" if judged else None
    ):
        yield Offence("/".join(path) or update.ref, "bad-name", f"{why} (on {paths.short_ref(update.ref)})")


def read_push(store: RepositoryReader, updates: Sequence[Update], gate: Gate) -> Push:
    refs = store.refs()
    moves = {update.ref: update for update in updates}
    head = moves[gate.main].new if gate.main in moves else refs.get(gate.main)
    settings = settings_at(store, refs, gate.main, head)
    prefixes = (settings.lane_prefix, PRIMARY_REFS)
    hidden = [oid for ref, oid in refs.items() if ref == gate.main or ref.startswith(prefixes)]
    old = refs.get(gate.main)
    standing = settings if old == head else settings_at(store, refs, gate.main, old)
    return Push(store, gate, refs, moves, head, settings, hidden, Past(store, old), standing, time.time_ns() // 1000)


# --- the shared branch ------------------------------------------------------------------------------------------------


def _on_main(push: Push, update: Update, publishes: bool) -> Iterator[Offence]:
    """The net change from head to head, so that no merge turns anything back; then every version on the way."""
    if update.new is None:
        yield Offence(update.ref, "main-deleted", "the shared branch cannot be deleted")
        return
    if publishes and push.gate.is_primary:
        return
    try:
        yield from _edits(push, update, publishes or _opens_first(push, update))
    except UnreadableError as error:
        yield unreadable(update.new, error)
        return
    if not publishes:
        deltas: list[Delta] = []
        for oid, commit in push.unchecked([update.new]):
            try:
                yield from _on_main_commit(push, oid, commit, deltas)
            except UnreadableError as error:
                yield unreadable(oid, error)
        yield from unsigned_offences(push, deltas)


def _opens_first(push: Push, update: Update) -> bool:
    """Whether the push opens the first frame of a repository in which nothing stands yet."""
    if update.old is not None or update.new is None or paths.PUBLISHED in push.refs:
        return False
    if push.gate.is_primary:
        return push.gate.is_primary(update.new)
    from dreamcatcherd.hook.publication_check import opens_first  # seldom needed, and slow to load: see incoming

    return opens_first(push.store, update.new)


def _on_main_commit(push: Push, oid: str, commit: Commit, deltas: list[Delta]) -> Iterator[Offence]:
    """Judge every version that a commit brings; those that are deltas are added to `deltas`."""
    streams: dict[str, str] = {}
    for item in push.judged(oid, commit):
        if isinstance(item, Reject):
            yield rejected(item)
            continue
        push.accept(item)
        deltas.append(structs.replace(item, body=None))
        streams[item.version.path] = item.stream_id
    for parent in commit.parents if streams else ():
        stood = entries_at(push.store, push.store.commit(parent).tree, streams)
        for path, entry in stood.items():
            if (offence := _other_stream(push, path, entry, streams[path])) is not None:
                yield offence


def _edits(push: Push, update: Update, canonical: bool) -> Iterator[Offence]:
    """What the push changes below `state/`, all commits taken together; canonical files are the primary's to write."""
    store = push.store
    old, new = (subtree(store, store.commit(oid).tree, "state") if oid else None for oid in (update.old, update.new))
    for path, before, after in differences(store, old, new, "state/"):
        if after is not None and (why := unsafe_path(path)) is not None:
            yield Offence(path, "bad-name", why)
        if path == paths.SETTINGS:
            yield from _settings_edit(push, update, after)
        elif path.startswith(paths.DELTAS + "/"):
            yield from _delta_edit(push, path, before, after)
        elif path != push.gate.counter and not (canonical and violation_kind_of(path) in KINDS.values()):
            if violation_kind_of(path) in KINDS.values() and _restores(push, path, after):
                continue
            how = "added" if before is None else "deleted" if after is None else "changed"
            yield Offence(
                path, violation_kind_of(path), f"{how}; below state/ only deltas and settings are yours to write"
            )


def _restores(push: Push, path: str, after: Entry | None) -> bool:
    """Whether a canonical file becomes what was last published: anybody may put right what somebody edited."""
    from dreamcatcherd.stages.published import load_published  # seldom needed, and slow to load: see incoming

    base = load_published(push.store, push.refs, push.gate.main)
    if base.commit is None:
        return False
    published = lookup(push.store, push.store.commit(base.commit).tree, path)
    return (published if published and published.mode != TREE else None) == after


def _settings_edit(push: Push, update: Update, after: Entry | None) -> Iterator[Offence]:
    """Whether the new settings read, and where signers are set, whether an operator's key signed the change."""
    try:
        read_settings_file(push.store, after)
    except SettingsError as error:
        yield Offence(paths.SETTINGS, "settings-refused", str(error))
        return
    signers = push.standing.signers
    if not signers or update.new is None:
        return
    from dreamcatcherd.stages.settings_authority import gave_settings, not_entitled  # as above

    brought = gave_settings(push.store, dict(push.unchecked([update.new])), after.oid if after else None)
    good = push.good_signatures(brought, signers)
    if why := not_entitled(push.store, brought, good, signers, push.refs.get(paths.PUBLISHED)):
        yield Offence(paths.SETTINGS, "settings-refused", why)


def _delta_edit(push: Push, path: str, before: Entry | None, after: Entry | None) -> Iterator[Offence]:
    if after is None:
        yield Offence(path, "delta-deleted", "what stands below state/stream_deltas/ stays, under its name")
    elif before is not None and path.endswith(".json"):
        stream = _stream_of(push, after)
        if stream is not None and (offence := _other_stream(push, path, before, stream)) is not None:
            yield offence


def _other_stream(push: Push, path: str, stood: Entry | None, stream: str) -> Offence | None:
    """The offence of putting a delta where another stream's stood. What stood and was no delta may be mended."""
    old = _stream_of(push, stood) if stood else None
    if old is None or old == stream:
        return None
    detail = (
        f"it was the stream {quoted_stream(old)}'s and would be {quoted_stream(stream)}'s: use a file name of your own"
    )
    return Offence(path, "delta-changed", detail, "$.stream_id")


def _stream_of(push: Push, entry: Entry) -> str | None:
    limits = push.settings.limits
    if not entry.is_file or push.store.size(entry.oid) > limits.delta_bytes:
        return None
    document = read_document(push.store.read(entry.oid), limits)
    header = document if isinstance(document, Fault) else read_header(document, None)
    return None if isinstance(header, Fault) else header.stream_id


# --- the primary's refs -----------------------------------------------------------------------------------------------


def _publishes(push: Push) -> bool:
    """Whether `main` and the published ref move to one commit."""
    main, published = push.moves.get(push.gate.main), push.moves.get(paths.PUBLISHED)
    return main is not None and published is not None and main.new == published.new is not None


def _for_primary(push: Push, update: Update) -> Iterator[Offence]:
    """`refs/dreamcatcher/…` is the primary's. Where none is named, whoever publishes a whole frame is one."""
    if not update.ref.startswith(PRIMARY_REFS):
        return
    from dreamcatcherd.hook.publication_check import is_newest, why_no_publication  # as above

    main = push.gate.main
    why: str | None
    tried = update.ref == paths.TRIAL and update.new in (None, push.refs.get(main), push.refs.get(paths.PUBLISHED))
    if tried and not (push.gate.is_primary and update.new):
        why = None  # doctor tries whether it may push; nothing comes of that
    elif update.new is None:
        why = "it cannot be deleted"
    elif push.gate.is_primary:
        why = None if push.gate.is_primary(update.new) else "neither the account nor a signature is the primary's"
    elif update.ref == paths.SEEN and _publishes(push):
        published = push.moves[paths.PUBLISHED].new
        claimed = claimed_seen(push.store.commit(published)) if published else None
        why = None if claimed == update.new else "the snapshot commit names another one"
    elif update.ref != paths.PUBLISHED:
        why = "nobody is named as the primary here"
    elif _publishes(push):
        why = why_no_publication(push.store, push.refs, main, update.new)
    elif main not in push.moves and is_newest(push.store, push.refs, main, update.new):
        why = None  # it catches up with a publication that moved `main` alone
    else:
        why = f"{paths.short_ref(main)} does not move to the same commit"
    if why is not None:
        yield Offence(update.ref, "not-the-primary", why)
