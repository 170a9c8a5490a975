"""The input of a closed frame, read again from its commits, for `verify`.

Two facts were known to its primary alone and are taken from the ledger: which lane brought a version, and whether a key
was valid when its commit was first seen. Everything else is computed."""

from __future__ import annotations

from dreamcatcherd.core import paths
from dreamcatcherd.core.ledger import Ledger
from dreamcatcherd.core.model import Arrival, DeltaArrival
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


def inbox_of(
    store: RepositoryReader, link: Link, base: PublishedState, ledger: Ledger, commits: dict[str, Commit]
) -> Inbox | None:
    """The inbox that the primary of a frame had, without its arrivals: with the head of `main` that became the snapshot
    commit's first parent, or with no `main`. None if neither gives the settings that the ledger names; FatalError if a
    commit is missing."""
    heads: list[str | None] = [*store.commit(link.oid).parents[:1]]
    # If `main` was deleted, the first parent is the last publication or a lane, not a head. A snapshot commit does not
    # record which it is, so both readings are tried: the ledger names the settings.
    if not heads or _main_was_gone(ledger):
        heads.append(None)
    # The primary's own time is not recorded; the snapshot commit was made within the same close.
    now = store.commit(link.oid).time * 1_000_000
    for head in heads:
        settings = current_settings(store, head, base, now)[0]
        if settings.blob == ledger.settings:
            return Inbox(View({}, "", head, base, settings), [], commits, [])
    return None


def arrivals_of(store: RepositoryReader, inbox: Inbox, ledger: Ledger) -> list[Arrival]:
    """The arrivals of a frame's close, checked again under the settings of that close.

    FatalError if a blob is missing. The ledger must have a row for every version: `verify` checks that before."""
    settings, commits = inbox.settings, inbox.commits
    on_main = set(reach_within(commits, inbox.head))
    # A lane is deleted after the merge, so the ledger's source is believed. A forger gains nothing by it: whether that
    # lane is entitled to the stream is checked again below.
    sources_of = {(row.path, row.blob, row.commit): row.source for row in ledger.rows()}
    alike = {(row.blob, row.commit): row.source for row in ledger.rows()}  # for versions that are counted, not listed
    gone = _main_was_gone(ledger)
    reader = InboxReader()
    arrivals = reader.waiting(store, inbox.published, settings)
    for oid, commit in commits.items():
        for found in read_versions(store, oid, versions_of(store, commit, settings.intake.roots), settings):
            version = found.item.version
            source = sources_of.get((paths.printable(version.path), version.blob, oid)) or alike[version.blob, oid]
            mirrored = paths.mirrored_source(source)
            ref = source if source.startswith("refs/") else f"refs/heads/{source}"
            ref = paths.mirrored_ref(*mirrored, oid) if mirrored else ref
            sources = ["main"] if oid in on_main or (gone and source == "main") else [ref]
            arrivals += attribute([found], sources, settings, commit.time, None)
    if not settings.signers:
        return arrivals
    arrivals = reader.only_signed(store, arrivals, settings.signers)
    if not has_times(settings.signers.lines):
        return arrivals
    # A key with a validity period is compared with the time when the primary first saw the commit. No object records
    # that time, and a commit's own date is chosen by its author, so the ledger is believed.
    refused = {(row.path, row.blob, row.commit) for row in ledger.quarantined if row.reason == "wrong-stream"}
    return [
        reject_unsigned(one) if isinstance(one, DeltaArrival) and _place(one) in refused else one for one in arrivals
    ]


def _main_was_gone(ledger: Ledger) -> bool:
    """Whether `main` was deleted, or its head could not be read, when the frame closed.

    Then no head leads to the versions that the ledger attributes to `main`, and its word is accepted."""
    return any(row.kind == "main-rewound" and row.commit is None for row in ledger.violations)


def _place(arrival: Arrival) -> tuple[str, str, str]:
    """The fields by which a ledger's row names a version."""
    version = arrival.item.version
    return (paths.printable(version.path), version.blob, version.commit)
