"""The canonical files: which commits edited them, and the commit that restores them (docs/protocol.md#violations).

Owns the list of paths. A restore commit changes these paths alone, moves `main` alone, and carries none of the trailers
of a snapshot commit, so that the cursor stays where it is: what came with the edit is still read at the next close."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

from dreamcatcherd.core import paths
from dreamcatcherd.core.ledger import Violation
from dreamcatcherd.core.model import ViolationKind
from dreamcatcherd.core.tree import TREE, Entry, differences, edit, lookup
from dreamcatcherd.core.view_settings import Views
from dreamcatcherd.git.command import AUTHOR
from dreamcatcherd.git.protocols import Commit, ObjectReader, Store
from dreamcatcherd.stages.inbox import Inbox

EDITS_NAMED = 20
"""How many edited files of one kind one commit has named one by one; of more, the folder is named."""

_CANONICAL: tuple[tuple[ViolationKind, str], ...] = (
    ("snapshot-edited", paths.SNAPSHOT),
    ("ledger-edited", paths.LEDGER),
    ("frame-edited", paths.FRAME),
)

CanonicalPath = tuple[ViolationKind, str]


def canonical_paths(views: Views) -> tuple[CanonicalPath, ...]:
    """The canonical files and folders, each with the kind of its violation; `views` are those of the published
    settings."""
    return _CANONICAL + tuple(("view-edited", view.path) for view in views.values())


def find_edits(store: ObjectReader, inbox: Inbox, known: dict[str, list[Violation]]) -> list[Violation]:
    """Every commit on `main` since the last publication that took canonical files away from what was published, also
    where they are restored by now. `known` keeps what each commit was found to be.

    Only commits that descend from the publication count: others have older files, and never showed them on `main`."""
    found: list[Violation] = []
    canonical = canonical_paths(inbox.published.settings.views)
    for oid, parents in _descendants(inbox):
        if oid not in known:
            known[oid] = list(_edits_of(store, inbox, oid, parents, canonical))
        found += known[oid]
    return found


def _descendants(inbox: Inbox) -> Iterator[tuple[str, list[str]]]:
    """The new commits of `main` that descend from the published one, oldest first, each with the parents that do."""
    if inbox.published.commit is None or inbox.head not in inbox.commits:
        return
    descend = {inbox.published.commit}
    for oid in oldest_first(inbox.commits, inbox.head):
        parents = [parent for parent in inbox.commits[oid].parents if parent in descend]
        if parents:
            descend.add(oid)
            yield oid, parents


def oldest_first(commits: dict[str, Commit], head: str) -> Iterator[str]:
    """The commits that a head reaches among the given ones, each after its parents. Ties are broken by id."""
    done: set[str] = set()
    stack: list[tuple[str, bool]] = [(head, False)]
    while stack:
        oid, parents_done = stack.pop()
        if parents_done:
            yield oid
        elif oid in commits and oid not in done:
            done.add(oid)
            stack.append((oid, True))
            stack += [(parent, False) for parent in sorted(commits[oid].parents, reverse=True)]


def _edits_of(
    store: ObjectReader, inbox: Inbox, oid: str, parents: list[str], canonical: Sequence[CanonicalPath]
) -> Iterator[Violation]:
    base = inbox.published.commit
    if base is None:
        raise AssertionError("there is nothing to edit before the first publication")
    commit = inbox.commits[oid]
    tree, before = commit.tree, [store.commit(parent).tree for parent in parents]
    if tree in before:
        return
    published = store.commit(base).tree
    for kind, path in canonical:
        right, now = lookup(store, published, path), lookup(store, tree, path)
        if now == right:
            continue
        earlier = [lookup(store, one, path) for one in before]
        # A merge that only takes over what one parent has edited nothing itself; the edit was that parent's.
        if right in earlier or now not in earlier:
            old = right if right in earlier else earlier[0]
            for name in _differing(store, old, now, path):
                yield Violation(kind, paths.printable(name), oid, commit.author)


def _differing(store: ObjectReader, old: Entry | None, new: Entry | None, path: str) -> list[str]:
    """The files that differ at or below a path; the path itself where they are many, or it is one."""
    before, after = (entry.oid if entry and entry.mode == TREE else None for entry in (old, new))
    if before is None and after is None:
        return [path]
    files = [name for name, _, _ in islice(differences(store, before, after, f"{path}/"), EDITS_NAMED + 1)]
    return sorted(files) if 0 < len(files) <= EDITS_NAMED else [path]


def is_edited(store: ObjectReader, inbox: Inbox) -> bool:
    """Whether `main`, not rewound, shows other canonical files than were published."""
    base, head = inbox.published.commit, inbox.head
    if base is None or head is None or head == base:
        return False
    shown, published = store.commit(head).tree, store.commit(base).tree
    canonical = canonical_paths(inbox.published.settings.views)
    return (
        shown != published
        and any(lookup(store, shown, path) != lookup(store, published, path) for _, path in canonical)
        and any(parents for _, parents in _descendants(inbox))
    )


def write_restore(store: Store, inbox: Inbox, now: int) -> str:
    """Write the commit that puts the published canonical files back on `main`'s head; returns its id.

    It changes nothing else. Nothing refers to it yet, and nothing is flushed."""
    base, head = inbox.published.commit, inbox.head
    if base is None or head is None:
        raise AssertionError("there is nothing to restore before the first publication")
    published = store.commit(base).tree
    canonical = canonical_paths(inbox.published.settings.views)
    changes = {path: lookup(store, published, path) for _, path in canonical}
    tree = edit(store, store.commit(head).tree, changes)
    if tree is None:
        raise AssertionError("published canonical files are no empty tree")
    message = f"{restore_subject(inbox)}\n\nDreamcatcher-Restores: {base}\n"
    return store.write_commit(Commit(tree, (head,), AUTHOR, now // 1_000_000, message))


def restore_subject(inbox: Inbox) -> str:
    """The subject of a restore commit: it names the last closed frame; before the first, the open one."""
    state = inbox.published.state
    return f"restore frame {state.frame if state.last_closed is None else state.last_closed}"
