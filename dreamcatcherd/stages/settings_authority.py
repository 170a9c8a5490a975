"""Who may change the settings of a repository with signers (docs/protocol.md#signers).

A commit that an operator signed may, and only as a change of the present settings: a commit that was signed before they
took force must not be replayed later."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from dreamcatcherd.core import paths
from dreamcatcherd.core.errors import FatalError
from dreamcatcherd.core.ledger import LedgerHead
from dreamcatcherd.core.signers import Signers, speaks_for_operator
from dreamcatcherd.core.tree import blob_at, subtree
from dreamcatcherd.git.protocols import Commit, ObjectReader
from dreamcatcherd.stages.published import load_head, load_ledger
from dreamcatcherd.stages.snapshot_chain import Link, links


def gave_settings(store: ObjectReader, commits: Mapping[str, Commit], blob: str | None) -> list[str]:
    """Those of some commits, sorted, that gave the settings file a content which none of their parents has."""
    return sorted(oid for oid, commit in commits.items() if _gives(store, commit, blob))


def not_entitled(
    store: ObjectReader, brought: Iterable[str], good: Mapping[str, str], signers: Signers, published: str | None
) -> str | None:
    """Why commits that gave the settings file its content may not; None if one of them may. `good` are their good
    signatures, by commit, `published` the last snapshot commit."""
    signed = [oid for oid in brought if speaks_for_operator(signers, good.get(oid))]
    if any(_is_made_on(store, oid, published) for oid in signed):
        return None
    if signed:
        return (
            f"commit {signed[0][:10]} was signed before the present settings took force: "
            "change them on top of the present main, and sign that"
        )
    return "no operator's key signed the change"


def _is_made_on(store: ObjectReader, oid: str, published: str | None) -> bool:
    """Whether a commit was made after the present settings took force: it descends from a snapshot commit that has
    them with none since that has others, or from the commit that gave them."""
    if published is None or store.descends(oid, published):
        return True
    ledgers = subtree(store, store.commit(published).tree, paths.LEDGER)
    newest: LedgerHead | None = None
    first: Link | None = None
    try:
        for number, link in enumerate(links(store, published)):
            head = load_head(store, ledgers, link.frame)
            newest = newest or head
            if newest is None or head is None or head.settings != newest.settings:
                break
            # Ancestry is asked at the 1st, 2nd, 4th, 8th … link only: a commit that descends from an older link is
            # usually found with the few questions, and the last link settles the rest below.
            if number & (number - 1) == 0 and store.descends(oid, link.oid):
                return True
            first = link
    except FatalError:
        return False  # the chain is broken there, which verify names: a commit on top of what is published counts
    if first is None:
        return False
    ledger = load_ledger(store, ledgers, first.frame)
    change = ledger.settings_change if ledger else None
    return store.descends(oid, (change and change.commit) or first.oid)


def _gives(store: ObjectReader, commit: Commit, blob: str | None) -> bool:
    if blob_at(store, commit.tree, paths.SETTINGS) != blob:
        return False
    return blob not in [blob_at(store, store.commit(parent).tree, paths.SETTINGS) for parent in commit.parents]
