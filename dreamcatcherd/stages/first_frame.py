"""Opening the first frame: of a repository without commits, and of one that has a history already."""

from __future__ import annotations

from dreamcatcherd.core.errors import RefusedError
from dreamcatcherd.core.frames import Closing, opened
from dreamcatcherd.core.paths import FRAME, PUBLISHED, SNAPSHOT
from dreamcatcherd.core.snapshot import close_snapshot, open_snapshot
from dreamcatcherd.core.tree import FILE, TREE, Entry, edit
from dreamcatcherd.git.command import AUTHOR
from dreamcatcherd.git.protocols import Commit, Move, Store
from dreamcatcherd.stages.frame_file import format_frame_file


def open_first(store: Store, frame: int, now: int, closing: Closing, main: str) -> None:
    """Commit the empty snapshot and the first open frame to a repository without commits."""
    digest = close_snapshot(store, open_snapshot(store, None))
    state = opened(frame, now, None, digest, closing)
    files = {SNAPSHOT: Entry(TREE, digest), FRAME: Entry(FILE, store.write("blob", format_frame_file(state)))}
    tree = edit(store, None, files)
    if tree is None:
        raise AssertionError("the first tree holds two entries")
    message = f"open frame {frame}\n"
    commit = store.write_commit(Commit(tree, (), AUTHOR, now // 1_000_000, message))
    store.flush()
    if not store.move_refs([Move(main, commit, None), Move(PUBLISHED, commit, None)], message.strip()):
        raise RefusedError(f"{store.where} has commits already", "run on it as it is")


def open_on_top(store: Store, frame: int, now: int, closing: Closing, main: str, head: str) -> bool:
    """Commit the first open frame on top of a branch without snapshots; False if the branch is no longer at `head`.

    No other file changes. There is no snapshot before the first close, and the published ref does not move: all that
    the branch brings is still to be read."""
    state = opened(frame, now, None, None, closing)
    entry = Entry(FILE, store.write("blob", format_frame_file(state)))
    tree = edit(store, store.commit(head).tree, {FRAME: entry})
    if tree is None:
        raise AssertionError("the tree holds the frame file")
    message = f"open frame {frame}\n"
    commit = store.write_commit(Commit(tree, (head,), AUTHOR, now // 1_000_000, message))
    store.flush()
    return store.move_refs([Move(main, commit, head)], message.strip())
