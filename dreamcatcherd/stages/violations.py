"""What others broke since the last publication, and which settings count (Protocol §8). Reads and names;
repairs nothing: `canonical` restores canonical files, and the next snapshot commit is computed from deltas alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from msgspec import structs

from dreamcatcherd.core import paths
from dreamcatcherd.core.errors import UnreadableError
from dreamcatcherd.core.ledger import SettingsChange, Violation
from dreamcatcherd.core.model import Arrival, Reject, ViolationKind
from dreamcatcherd.core.settings import DEFAULT, Settings, SettingsError, read_settings, why_refused
from dreamcatcherd.core.signers import lines_at
from dreamcatcherd.core.snapshot import has_entities, open_snapshot
from dreamcatcherd.core.tree import NamePath, changed, lookup, subtree
from dreamcatcherd.git.protocols import Store
from dreamcatcherd.stages.blame import culprits
from dreamcatcherd.stages.canonical_files import CanonicalPath, canonical_paths, find_edits
from dreamcatcherd.stages.ingest import Inbox
from dreamcatcherd.stages.published import PublishedState
from dreamcatcherd.stages.settings_authority import gave_settings, not_entitled
from dreamcatcherd.stages.snapshot import deleted_deltas, descends
from dreamcatcherd.stages.unreadable import violations_of

_SETTINGS_BYTES = 2**20
EDITS_MOST = 200
"""How many edits of canonical files one ledger names, and how many deltas that were changed or deleted: whoever repeats
them is not to fill ledgers."""
UNSAFE_NAMED = 20
"""The same for paths of the shared branch that no clone can hold."""
WRONG_NAMED = 100
"""The same for deltas of other streams that one commit brings."""


_Row = tuple[ViolationKind, str, str]
"""What was broken, at which path, and what more there is to say."""


def current_settings(store: Store, head: str | None, base: PublishedState, now: int) -> tuple[Settings, str | None]:
    """The settings that a close merges under, and why those on `main` were refused, if they were, at a time.

    Refused ones leave the last good ones standing. A deleted `main` is put back with the settings that it had."""
    stands = head or base.commit
    entry = lookup(store, store.commit(stands).tree, paths.SETTINGS) if stands else None
    blob = entry.oid if entry else None
    if blob == base.settings.blob:
        return base.settings, None
    try:
        if entry and (entry.mode & 0o170000 != 0o100000 or store.size(entry.oid) > _SETTINGS_BYTES):
            raise SettingsError("it is no plain file of less than 1 MiB")
        new = read_settings(store.read(entry.oid), entry.oid) if entry else DEFAULT
        why = why_refused(new, base.settings, has_entities(open_snapshot(store, base.snapshot)))
    except SettingsError as error:
        why = str(error)
    else:
        why = why or _not_entitled(store, head, base, blob, now)
        if why is None:
            return new, None
    return base.settings, why


def _not_entitled(store: Store, head: str | None, base: PublishedState, blob: str | None, now: int) -> str | None:
    """Where signers are set, a change of the settings must come by a commit that an operator signed, with a key that is
    valid `now`."""
    signers = base.settings.signers
    if not signers:
        return None
    brought = settings_commits(store, head, base, blob)
    good = store.good_signatures(brought, lines_at(signers.lines, now))
    why = not_entitled(store, brought, good, signers, base.commit)
    return f"{why} ({', '.join(brought) or 'main was rewound'})" if why else None


def settings_commits(store: Store, head: str | None, base: PublishedState, blob: str | None) -> list[str]:
    """The commits since the last publication, sorted, that gave the settings file what it has now."""
    if head is None:
        return []
    return gave_settings(store, store.new_commits([head], [base.commit] if base.commit else []), blob)


def settings_change(store: Store, survey: Inbox) -> SettingsChange | None:
    """Who changed the settings that count from this close on, if somebody did."""
    base, blob = survey.base, survey.settings.blob
    if blob == base.settings.blob:
        return None
    commit = next(iter(settings_commits(store, survey.head, base, blob)), None)
    return SettingsChange(blob, commit, store.commit(commit).author if commit else None)


def find_violations(
    store: Store,
    survey: Inbox,
    refused: str | None,
    quarantined: list[Arrival],
    canonical: Sequence[CanonicalPath] | None = None,
    known: dict[str, list[Violation]] | None = None,
    unsafe: Sequence[tuple[NamePath, str]] = (),
) -> list[Violation]:
    """Every row of Protocol §8 that happened since the last publication, in a fixed order.

    `known` keeps between calls, by commit, which canonical files a commit was found to edit. `unsafe` are the paths of
    `main` that no clone can hold, with reasons."""
    found: list[Violation] = []
    base, head = survey.base, survey.head
    if base.commit is not None and head is None:
        found.append(Violation("main-rewound", paths.short_ref(survey.main), None, None, "it was deleted"))
    elif base.commit is not None and head is not None and head != base.commit:
        known = {} if known is None else known
        try:
            found += _edits(store, survey, base.commit, head, canonical or canonical_paths(), known)
        except UnreadableError as error:
            found.append(Violation("bad-path", paths.DELTAS, head, store.commit(head).author, error.cause))
    found += violations_of(survey.unreported)
    if unsafe and head is not None:
        found += _blame(store, survey, [("bad-path", "/".join(at), why) for at, why in unsafe[:UNSAFE_NAMED]])
        if len(unsafe) > UNSAFE_NAMED:
            left = f"{len(unsafe) - UNSAFE_NAMED} more are not listed"
            found.append(Violation("bad-path", "…", head, store.commit(head).author, left))
    for rewind in survey.rewinds:
        author = store.commit(rewind.new).author if rewind.new else None
        found.append(Violation("lane-rewound", paths.short_ref(rewind.ref), rewind.new, author, rewind.detail))
    if refused is not None and head is not None:
        entry = lookup(store, store.commit(head).tree, paths.SETTINGS)
        if (entry.oid if entry else None) != base.settings_file:
            found += _blame(store, survey, [("settings-refused", paths.SETTINGS, refused)])
    return found + _wrong_streams(store, quarantined)


def _wrong_streams(store: Store, quarantined: list[Arrival]) -> list[Violation]:
    """Deltas on a lane, or under a signature, of another stream; of many that one commit brings, the first ones."""
    found: list[Violation] = []
    named: Counter[str] = Counter()
    for arrival in quarantined:
        item = arrival.item
        if arrival.since is None and isinstance(item, Reject) and item.fault.reason == "wrong-stream":
            commit, detail = item.version.commit, item.fault.detail
            named[commit] += 1 + arrival.more
            if named[commit] <= WRONG_NAMED:
                path = paths.printable(item.version.path)
                found.append(Violation("wrong-stream", path, commit, store.commit(commit).author, detail))
    for commit, count in named.items():
        if count > WRONG_NAMED:
            left = f"{count - WRONG_NAMED} more are not listed"
            found.append(Violation("wrong-stream", "…", commit, store.commit(commit).author, left))
    return found


def _edits(
    store: Store,
    survey: Inbox,
    published: str,
    head: str,
    canonical: Sequence[CanonicalPath],
    known: dict[str, list[Violation]],
) -> list[Violation]:
    tree, before = store.commit(head).tree, store.commit(published).tree
    if not descends(survey, published):
        return [Violation("main-rewound", paths.short_ref(survey.main), head, store.commit(head).author)]
    found = find_edits(store, survey, canonical, known)
    if len(found) > EDITS_MOST:
        left = f"{len(found) - EDITS_MOST} edits after this one are not listed"
        found = [*found[: EDITS_MOST - 1], structs.replace(found[EDITS_MOST - 1], detail=left)]
    deltas, standing = subtree(store, before, paths.DELTAS), subtree(store, tree, paths.DELTAS)
    deleted = {path for path, _ in deleted_deltas(store, deltas, standing)}
    rows: list[_Row] = [
        ("delta-deleted" if path in deleted else "delta-changed", f"{paths.DELTAS}/{path}", "")
        for path, _ in changed(store, deltas, [standing])
        if path.endswith(".json")
    ]
    found += _blame(store, survey, rows[:EDITS_MOST])
    if len(rows) > EDITS_MOST:
        left = f"{len(rows) - EDITS_MOST} more deltas that were changed or deleted are not listed"
        found.append(Violation(rows[EDITS_MOST][0], "…", head, store.commit(head).author, left))
    return found


def _blame(store: Store, survey: Inbox, rows: Sequence[_Row]) -> list[Violation]:
    """The violations, each with the new commit on `main` that made its path what it is."""
    head = survey.head
    if head is None:
        raise AssertionError("there is nobody to blame before the first commit")
    by = culprits(store, survey.commits, head, [path for _, path, _ in rows])
    return [
        Violation(kind, paths.printable(path), by[path], store.commit(by[path]).author, detail)
        for kind, path, detail in rows
    ]
