"""The rules of the server-side check for the repository of a relay (docs/relay.md).

Its shared branch is a copy of upstream's. Deltas that are pushed to it are forwarded; everything else would be lost
with the next copy, so it is refused."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dreamcatcherd.core import paths
from dreamcatcherd.core.tree import differences
from dreamcatcherd.hook.push import Offence, Push, Update


def judge_copy(push: Push, updates: Sequence[Update]) -> Iterator[Offence]:
    """The offences of a push to the repository of a relay; none for any other repository.

    FatalError if an object cannot be read."""
    if not paths.is_copy(push.refs):
        return
    for update in updates:
        if update.ref == push.gate.main and update.new is not None:
            yield from _on_copy(push, update)
        elif update.ref.startswith(paths.PUBLISHED.rpartition("/")[0] + "/") and update.ref != paths.TRIAL:
            yield Offence(update.ref, "relay-copy", "only the relay moves it: frames are closed upstream")


def _on_copy(push: Push, update: Update) -> Iterator[Offence]:
    """Refuse changes of the shared branch that are no files below a delta root."""
    store, roots = push.store, push.settings.intake.roots
    old, new = (store.commit(oid).tree if oid else None for oid in (update.old, update.new))
    for path, _, _ in differences(store, old, new):
        if paths.root_above(path, roots) is None:
            yield Offence(path, "relay-copy", "a relay forwards deltas alone")
