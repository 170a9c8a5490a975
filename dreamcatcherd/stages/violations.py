"""What others broke since the last publication (docs/protocol.md#violations).

Reads and names, and repairs nothing: `canonical_files` restores canonical files, and the next snapshot commit is
computed from deltas alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice

from msgspec import structs

from dreamcatcherd.core import paths
from dreamcatcherd.core.checkout import Checkout
from dreamcatcherd.core.errors import UnreadableError
from dreamcatcherd.core.ledger import Violation
from dreamcatcherd.core.model import RejectArrival, ViolationKind
from dreamcatcherd.core.tree import NamePath, changed, lookup, subtree
from dreamcatcherd.git.protocols import ObjectReader
from dreamcatcherd.stages.blame import culprits
from dreamcatcherd.stages.canonical_files import find_edits
from dreamcatcherd.stages.delta_copies import deleted_deltas
from dreamcatcherd.stages.inbox import Inbox
from dreamcatcherd.stages.unreadable import violations_of

UNSAFE_AT_ONCE = 10_000
"""How many paths that no clone can hold one close leaves out; the rest is left to the next."""
EDITS_MOST = 200
"""How many edits of canonical files one ledger names, and how many deltas that were changed or deleted: whoever repeats
them is not to fill ledgers."""
UNSAFE_NAMED = 20
"""The same for paths of the shared branch that no clone can hold."""
WRONG_NAMED = 100
"""The same for deltas of other streams that one commit brings."""


_Row = tuple[ViolationKind, str, str]
"""What was broken, at which path, and what more there is to say."""


def find_violations(
    store: ObjectReader,
    inbox: Inbox,
    quarantined: Sequence[RejectArrival],
    known: dict[str, list[Violation]] | None = None,
    unsafe: Sequence[tuple[NamePath, str]] = (),
) -> list[Violation]:
    """Everything of docs/protocol.md#violations that happened since the last publication, in a fixed order.

    `known` keeps between calls, by commit, which canonical files a commit was found to edit. `unsafe` are the paths of
    `main` that no clone can hold, with reasons."""
    found: list[Violation] = []
    base, head = inbox.published, inbox.head
    if base.commit is not None and head is None:
        found.append(Violation("main-rewound", paths.short_ref(inbox.main), None, None, "it was deleted"))
    elif base.commit is not None and head is not None and head != base.commit:
        known = {} if known is None else known
        try:
            found += _edits(store, inbox, base.commit, head, known)
        except UnreadableError as error:
            roots = ", ".join(inbox.settings.intake.roots)
            found.append(Violation("bad-path", roots, head, store.commit(head).author, error.cause))
    found += violations_of(inbox.unreported)
    if unsafe and head is not None:
        found += _blame(store, inbox, [("bad-path", "/".join(at), why) for at, why in unsafe[:UNSAFE_NAMED]])
        if len(unsafe) > UNSAFE_NAMED:
            left = f"{len(unsafe) - UNSAFE_NAMED} more are not listed"
            found.append(Violation("bad-path", "…", head, store.commit(head).author, left))
    known_rewound = any(one.kind == "main-rewound" for one in found)
    for rewind in inbox.rewinds:
        of_main = rewind.ref == inbox.main
        if of_main and known_rewound:
            continue
        author = store.commit(rewind.new).author if rewind.new else None
        kind: ViolationKind = "main-rewound" if of_main else "lane-rewound"
        found.append(Violation(kind, paths.short_ref(rewind.ref), rewind.new, author, rewind.detail))
    refused = inbox.view.refused
    if refused is not None and head is not None:
        entry = lookup(store, store.commit(head).tree, paths.SETTINGS)
        if (entry.oid if entry else None) != base.settings_file:
            found += _blame(store, inbox, [("settings-refused", paths.SETTINGS, refused)])
    return found + _wrong_streams(store, quarantined)


def new_unsafe_paths(store: ObjectReader, inbox: Inbox, checkout: Checkout) -> list[tuple[NamePath, str]]:
    """Paths that `main` shows since the last publication and that no clone can hold, with reasons; not all if many."""
    new, old = (store.commit(oid).tree if oid else None for oid in (inbox.head, inbox.published.commit))
    return list(islice(checkout.unsafe_paths(store, new, [old] if old else []), UNSAFE_AT_ONCE))


def _wrong_streams(store: ObjectReader, quarantined: Sequence[RejectArrival]) -> list[Violation]:
    """Deltas on a lane, or under a signature, of another stream; of many that one commit brings, the first ones."""
    found: list[Violation] = []
    named: Counter[str] = Counter()
    for arrival in quarantined:
        item = arrival.item
        if arrival.since is None and item.fault.reason == "wrong-stream":
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
    store: ObjectReader,
    inbox: Inbox,
    published: str,
    head: str,
    known: dict[str, list[Violation]],
) -> list[Violation]:
    tree, before = store.commit(head).tree, store.commit(published).tree
    # After a rewind nothing can be said of single files: the published tree is not what was edited.
    if not inbox.main_holds(published):
        return [Violation("main-rewound", paths.short_ref(inbox.main), head, store.commit(head).author)]
    found = find_edits(store, inbox, known)
    if len(found) > EDITS_MOST:
        left = f"{len(found) - EDITS_MOST} edits after this one are not listed"
        found = [*found[: EDITS_MOST - 1], structs.replace(found[EDITS_MOST - 1], detail=left)]
    rows = [row for root in inbox.kept_roots for row in _delta_edits(store, before, tree, root)]
    found += _blame(store, inbox, rows[:EDITS_MOST])
    if len(rows) > EDITS_MOST:
        left = f"{len(rows) - EDITS_MOST} more deltas that were changed or deleted are not listed"
        found.append(Violation(rows[EDITS_MOST][0], "…", head, store.commit(head).author, left))
    return found


def _delta_edits(store: ObjectReader, before: str, tree: str, root: str) -> Iterator[_Row]:
    """The deltas of one root that were deleted or changed between two trees."""
    deltas, current = subtree(store, before, root), subtree(store, tree, root)
    deleted = {path for path, _ in deleted_deltas(store, deltas, current)}
    for path, _ in changed(store, deltas, [current]):
        if path.endswith(".json"):
            yield "delta-deleted" if path in deleted else "delta-changed", f"{root}/{path}", ""


def _blame(store: ObjectReader, inbox: Inbox, rows: Sequence[_Row]) -> list[Violation]:
    """The violations, each with the new commit on `main` that made its path what it is."""
    head = inbox.head
    if head is None:
        raise AssertionError("there is nobody to blame before the first commit")
    by = culprits(store, inbox.commits, head, [path for _, path, _ in rows])
    return [
        Violation(kind, paths.printable(path), by[path], store.commit(by[path]).author, detail)
        for kind, path, detail in rows
    ]
