"""The rules of the server-side check for views, and for putting canonical files back
(docs/protocol.md#the-server-side-check).

View files are canonical as soon as a frame is published with settings that declare them, also outside `state/`."""

from __future__ import annotations

from collections.abc import Iterator

from dreamcatcherd.core import paths
from dreamcatcherd.core.errors import FatalError
from dreamcatcherd.core.tree import TREE, Entry, lookup
from dreamcatcherd.hook.push import Offence, Push, Update


def view_paths(push: Push, publishes: str | None) -> frozenset[str]:
    """The files that the views of the published settings make canonical; with a commit that is a publication, those of
    the settings that it publishes too."""
    store, old = push.store, push.refs.get(push.gate.main)
    published = push.refs.get(paths.PUBLISHED)
    base, shown = (lookup(store, store.commit(oid).tree, paths.SETTINGS) if oid else None for oid in (published, old))
    found: set[str] = set()
    # Nearly every repository has the settings that it published, and most have no views: then nothing more is read.
    if base != shown or published is None or push.previous.views:
        from dreamcatcherd.stages.published import load_published  # slow to load

        found |= {view.path for view in load_published(store, push.refs, push.gate.main).settings.views.values()}
    return frozenset(found | published_paths(push, publishes)) if publishes else frozenset(found)


def published_paths(push: Push, commit: str) -> frozenset[str]:
    """The view files that a publication may write."""
    from dreamcatcherd.stages.published import read_published

    try:
        return frozenset(view.path for view in read_published(push.store, commit).settings.views.values())
    except FatalError:
        return frozenset()  # it is no publication, and refused as such


def view_edits(push: Push, update: Update, views: frozenset[str], publishes: bool) -> Iterator[Offence]:
    """The changes of view files that are not allowed. A publication writes those that it declares, and
    `publication_check` judges their content."""
    if not views or update.new is None:
        return
    store = push.store
    old, new = (store.commit(oid).tree if oid else None for oid in (update.old, update.new))
    allowed = published_paths(push, update.new) if publishes else frozenset()
    for path in sorted(views - allowed):
        before, after = lookup(store, old, path), lookup(store, new, path)
        if before != after and not restores(push, path, after):
            how = "added" if before is None else "deleted" if after is None else "changed"
            yield Offence(path, "view-edited", f"{how}; it is a view, which the snapshot commits alone write")


def restores(push: Push, path: str, after: Entry | None) -> bool:
    """Whether a canonical file is put back to its published content, which anybody may do."""
    from dreamcatcherd.stages.published import load_published

    base = load_published(push.store, push.refs, push.gate.main)
    if base.commit is None:
        return False
    published = lookup(push.store, push.store.commit(base.commit).tree, path)
    return (published if published and published.mode != TREE else None) == after
