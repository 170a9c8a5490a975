"""What a closed frame had to judge, judged again from its commits. What only its primary knew is the ledger's to say:
which lane brought a version, and whether a key was valid when its commit was first seen."""

from __future__ import annotations

from collections.abc import Iterator

from dreamcatcherd.core import paths
from dreamcatcherd.core.ledger import Ledger
from dreamcatcherd.core.model import SAME_NAMED, Arrival, Delta
from dreamcatcherd.core.signers import has_times
from dreamcatcherd.git.protocols import Commit, RepositoryReader
from dreamcatcherd.git.reachability import reach_within
from dreamcatcherd.stages.attribution import attribute, reject_unsigned
from dreamcatcherd.stages.delta_reader import read_versions, versions_of
from dreamcatcherd.stages.fetch import View
from dreamcatcherd.stages.inbox import Inbox
from dreamcatcherd.stages.ingest import InboxReader
from dreamcatcherd.stages.published import PublishedState
from dreamcatcherd.stages.settings import current_settings
from dreamcatcherd.stages.snapshot_chain import Link


def inboxes_of(
    store: RepositoryReader, link: Link, base: PublishedState, ledger: Ledger, commits: dict[str, Commit]
) -> Iterator[Inbox]:
    """What the primary may have looked at: the head that it merged as first parent, or no `main` at all."""
    heads: list[str | None] = [*store.commit(link.oid).parents[:1]]
    if not heads or _main_was_gone(ledger):
        heads.append(None)
    now = store.commit(link.oid).time * 1_000_000
    for head in heads:
        view = View({}, "", head, base, current_settings(store, head, base, now)[0])
        yield Inbox(view, [], commits, [])


def arrivals_of(store: RepositoryReader, inbox: Inbox, ledger: Ledger) -> list[Arrival]:
    """What the frame had to judge, judged again. Which lane brought a version only the ledger knows; whether that
    lane may speak for it is judged again too."""
    settings, commits = inbox.settings, inbox.commits
    on_main = set(reach_within(commits, inbox.head))
    told = {(row.path, row.blob, row.commit): row.source for row in ledger.rows()}
    alike = {(row.blob, row.commit): row.source for row in ledger.rows()}  # for versions that are counted, not listed
    gone = _main_was_gone(ledger)
    reader = InboxReader()
    arrivals = reader.waiting(store, inbox.published, settings)
    for oid, commit in commits.items():
        most = SAME_NAMED if ledger.counts.waiting is not None else None
        for found in read_versions(store, oid, versions_of(store, commit), settings.limits, most):
            version = found.item.version
            source = told.get((paths.printable(version.path), version.blob, oid)) or alike[version.blob, oid]
            ref = source if source.startswith("refs/") else f"refs/heads/{source}"
            sources = ["main"] if oid in on_main or (gone and source == "main") else [ref]
            arrivals += attribute([found], sources, settings.lane_prefix, commit.time, None)
    if not settings.signers:
        return arrivals
    arrivals = reader.only_signed(store, arrivals, settings.signers)
    if not has_times(settings.signers.lines):
        return arrivals
    # Whether a key was valid when the primary first saw a commit, only the ledger knows.
    refused = {(row.path, row.blob, row.commit) for row in ledger.quarantined if row.reason == "wrong-stream"}
    return [reject_unsigned(one) if isinstance(one.item, Delta) and _place(one) in refused else one for one in arrivals]


def _main_was_gone(ledger: Ledger) -> bool:
    """Whether `main` was deleted when the frame closed, or its head could not be read: what that was put on was merged
    as `main`'s all the same."""
    return any(row.kind == "main-rewound" and row.commit is None for row in ledger.violations)


def _place(arrival: Arrival) -> tuple[str, str, str]:
    """What a ledger's row names a version by."""
    version = arrival.item.version
    return (paths.printable(version.path), version.blob, version.commit)
