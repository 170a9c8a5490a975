"""Importing an exported snapshot into an empty repository: the base that merging, replay and verify start from."""

from __future__ import annotations

from msgspec import structs

from dreamcatcherd.core import paths
from dreamcatcherd.core.errors import RefusedError
from dreamcatcherd.core.export import Portable, restore
from dreamcatcherd.core.frames import Closing, opened
from dreamcatcherd.core.ledger import IMPORT, Counts, Ledger
from dreamcatcherd.core.tree import FILE, Entry
from dreamcatcherd.git.protocols import Store
from dreamcatcherd.stages.fetch import Fetcher
from dreamcatcherd.stages.ingest import InboxReader
from dreamcatcherd.stages.publish import publish
from dreamcatcherd.stages.published import PublishedState
from dreamcatcherd.stages.snapshot import build_commit
from dreamcatcherd.stages.views import view_files


def adopt(store: Store, main: str, portable: Portable, now: int, closing: Closing) -> int:
    """Publish an exported snapshot in a repository that has closed no frame; returns the frame that is open afterwards.

    `main` is a full ref name, `now` microseconds UTC. RefusedError if the repository is not empty, if it moves during
    the import, or if the file does not give the digest that it names."""
    view = Fetcher(main).fetch(store, now)
    base = view.published
    if base.ledger is not None:
        raise RefusedError(f"{store.where} has closed frames already", "import into an empty repository")
    blob = store.write("blob", portable.settings.encode()) if portable.settings is not None else None
    restored = restore(store, portable, blob)
    inbox = InboxReader().read(store, structs.replace(view, settings=restored.settings))
    if inbox.arrivals:
        remedy = "import into an empty repository, and let workers push after that"
        raise RefusedError(f"{store.where} has {len(inbox.arrivals)} deltas waiting", remedy)
    frame = portable.frame if portable.frame is not None else base.state.frame
    ledger = Ledger(
        frame=frame,
        snapshot=restored.tree,
        previous=None,
        closed_by=IMPORT,
        settings=blob,
        counts=Counts(0, 0, 0, 0, 0, 0, 0, 0, 0, restored.entities, waiting=0),
    )
    state = opened(frame + 1, now, frame, restored.tree, closing)
    extra = view_files(store, store, PublishedState(None, base.state), restored.settings, restored.tree, frame)
    if blob:
        extra[paths.SETTINGS] = Entry(FILE, blob)
    commit = build_commit(store, inbox, ledger, state, [], now, extra)
    if not publish(store, inbox, commit, f"import frame {frame}"):
        raise RefusedError(
            f"{store.where} moved during the import", "stop the daemon and the workers, then import again"
        )
    return frame + 1
