"""Taking over a platform's plain state: committed as deltas and closed as the first frame, in one publication."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import structs

from dreamcatcherd.core import paths
from dreamcatcherd.core.errors import RefusedError
from dreamcatcherd.core.frames import opened
from dreamcatcherd.core.ledger import Ledger
from dreamcatcherd.core.tree import FILE, Entry, edit
from dreamcatcherd.daemon.cycle import draft
from dreamcatcherd.daemon.primary import Phases, Primary
from dreamcatcherd.git.command import AUTHOR
from dreamcatcherd.git.protocols import Commit, Move
from dreamcatcherd.stages.snapshot import IMPORT, build_commit
from dreamcatcherd.stages.violations import current_settings


def adopt_state(primary: Primary, deltas: Mapping[str, bytes], frame: int, open_frame: int) -> Ledger:
    """Close `frame` over these deltas, given by path, and open `open_frame`; returns the ledger.

    What workers have pushed already waits for its frame: nothing of it is hidden. RefusedError where a frame is closed
    already, or one of the deltas could not be read."""
    store, now = primary.store, primary.clock()
    refs = store.refs()
    base = primary.load_published(refs)
    if base.ledger is not None:
        raise RefusedError(f"{store.where} has closed frames already", "import before the first frame closes")
    head = refs.get(primary.main)
    files = {path: Entry(FILE, store.write("blob", raw)) for path, raw in deltas.items()}
    tree = edit(store, store.commit(head).tree if head else None, files)
    if tree is None:
        raise RefusedError("the mapping finds no record to import", "correct the paths in the mapping")
    message = f"import state as {len(deltas)} deltas of frame {frame}\n"
    brought = store.write_commit(Commit(tree, (head,) if head else (), AUTHOR, now // 1_000_000, message))
    store.flush()
    base = structs.replace(base, state=structs.replace(base.state, frame=frame))
    settings, refused = current_settings(store, brought, base, now)
    survey = primary.ingest.survey(store, {**refs, primary.main: brought}, primary.main, base, settings)
    drafted = draft(primary, survey, refused, IMPORT, Phases())
    unread = next((row for row in drafted.ledger.quarantined if row.path in deltas), None)
    if unread is not None:
        store.discard()
        raise RefusedError(f"the records of {unread.path} cannot be merged: {unread.detail}", "see docs/time-travel.md")
    state = opened(open_frame, now, frame, drafted.ledger.snapshot, primary.closing)
    commit = build_commit(store, survey, drafted.ledger, state, drafted.merged, now)
    store.flush()
    moves = [Move(primary.main, commit, head), Move(paths.PUBLISHED, commit, refs.get(paths.PUBLISHED))]
    if not store.move_refs(moves, f"import frame {frame}"):
        raise RefusedError(f"{store.where} moved during the import", "stop the daemon and the workers, import again")
    return drafted.ledger
