"""Which settings count: those on `main`, or the last good ones (docs/protocol.md#the-repository)."""

from __future__ import annotations

from dreamcatcherd.core import paths
from dreamcatcherd.core.ledger import SettingsChange
from dreamcatcherd.core.settings import Settings, SettingsError, why_refused
from dreamcatcherd.core.signers import lines_at
from dreamcatcherd.core.snapshot import has_entities, open_snapshot
from dreamcatcherd.core.tree import lookup
from dreamcatcherd.git.protocols import ObjectReader, RepositoryReader
from dreamcatcherd.stages.published import PublishedState
from dreamcatcherd.stages.settings_authority import gave_settings, not_entitled
from dreamcatcherd.stages.settings_file import read_settings_file


def current_settings(
    store: RepositoryReader, head: str | None, base: PublishedState, now: int
) -> tuple[Settings, str | None]:
    """The settings that a close merges under, and why those on `main` were refused, if they were, at a time.

    If they are refused, the last good ones stay in force. A deleted `main` is restored with its settings."""
    commit = head or base.commit
    entry = lookup(store, store.commit(commit).tree, paths.SETTINGS) if commit else None
    blob = entry.oid if entry else None
    if blob == base.settings.blob:
        return base.settings, None
    try:
        new = read_settings_file(store, entry)
        why = why_refused(new, base.settings, has_entities(open_snapshot(store, base.snapshot)))
    except SettingsError as error:
        why = str(error)
    else:
        why = why or _not_entitled(store, head, base, blob, now)
        if why is None:
            return new, None
    return base.settings, why


def _not_entitled(
    store: RepositoryReader, head: str | None, base: PublishedState, blob: str | None, now: int
) -> str | None:
    """Where signers are set, a change of the settings must come by a commit that an operator signed, with a key that is
    valid `now`."""
    signers = base.settings.signers
    if not signers:
        return None
    brought = settings_commits(store, head, base, blob)
    good = store.good_signatures(brought, lines_at(signers.lines, now))
    why = not_entitled(store, brought, good, signers, base.commit)
    return f"{why} ({', '.join(brought) or 'main was rewound'})" if why else None


def settings_commits(store: ObjectReader, head: str | None, base: PublishedState, blob: str | None) -> list[str]:
    """The commits since the last publication, sorted, that gave the settings file what it has now."""
    if head is None:
        return []
    return gave_settings(store, store.new_commits([head], [base.commit] if base.commit else []), blob)


def settings_change(
    store: ObjectReader, head: str | None, published: PublishedState, settings: Settings
) -> SettingsChange | None:
    """Who changed the settings that count from this close on; None if nobody did."""
    if settings.blob == published.settings.blob:
        return None
    commit = next(iter(settings_commits(store, head, published, settings.blob)), None)
    return SettingsChange(settings.blob, commit, store.commit(commit).author if commit else None)
