"""The checks of `dreamcatcherd doctor` for mirrors: whether each can be reached, is one of this repository and takes
pushes, and how far it is behind. A trial ref is pushed and deleted again; nothing else is changed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dreamcatcherd.config_remotes import MirrorConfig
from dreamcatcherd.core import paths
from dreamcatcherd.core.errors import DreamcatcherError, FatalError
from dreamcatcherd.core.report import Check, plural
from dreamcatcherd.daemon.mirror_config import mirror_of, said_of
from dreamcatcherd.git.mirror import MirrorWire
from dreamcatcherd.git.protocols import GitStore
from dreamcatcherd.stages.mirror_copy import check_history, copied, is_here, is_stuck, stuck_branch
from dreamcatcherd.stages.published import load_published


def check_mirrors(store: GitStore, main: str, tables: Sequence[MirrorConfig]) -> Iterator[Check]:
    """One finding for each mirror; `main` is a full ref name. FatalError if the repository itself cannot be read."""
    if not tables:
        return
    base = load_published(store, store.refs(), main, store.recall())
    for table in tables:
        name = f"mirror {table.name}"
        try:
            wire = MirrorWire(mirror_of(table).access, store.folder)
            listed = wire.heads([main, *base.settings.lane_patterns, paths.PUBLISHED])
            lanes = sum(base.settings.is_lane(ref) for ref in listed)
            state = _how_far(store, base.commit, listed.get(paths.PUBLISHED), table.name)
            if table.publish and base.commit is not None and (found := listed.get(main)) is not None:
                refused = wire.try_push(found) if is_here(store, found) else None
                if refused is not None:
                    raise refused
            is_copy_alone = table.publish and not table.intake
            stuck = is_copy_alone and base.commit is not None and is_stuck(store, listed, main, base.commit)
        except DreamcatcherError as error:
            cause, remedy = said_of(error, table.name)
            yield Check(name, False, cause.removeprefix(name).lstrip(": "), remedy)
            continue
        if stuck:
            yield Check(name, False, *stuck_branch(main, listed[main]))
        else:
            yield Check(name, True, f"{plural(lanes, 'lane')}, {state}")


def _how_far(store: GitStore, published: str | None, theirs: str | None, name: str) -> str:
    """How far a mirror is; RefusedError if it is of another history."""
    if published is None or theirs is None:
        return "nothing is published there yet"
    if not is_here(store, theirs):
        return "it has a publication that is not here yet"
    check_history(store, published, theirs, name)
    try:
        missing = len(copied(store, published, theirs).missing)
    except FatalError:
        return "the chain of snapshot commits is broken: see dreamcatcherd verify"
    return f"{plural(missing, 'publication')} behind" if missing else "it has every publication"
