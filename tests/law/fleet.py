"""Pushing generated deltas to a store, as workers would: on lanes or on `main`, attachments beside them."""

from __future__ import annotations

from dreamcatcherd.core.frames import Closing
from dreamcatcherd.core.tree import FILE, Entry, edit
from dreamcatcherd.daemon.cycle import close_frame
from dreamcatcherd.daemon.primary import Primary
from dreamcatcherd.git.protocols import Commit, Move, Store
from dreamcatcherd.stages.first_frame import open_first
from tests.law.engines import law_engine, new_store
from tests.law.model import SETTINGS, Sent
from tests.law.sent import stamped

NOW = 1_767_225_600_000_000
MAIN = "refs/heads/main"


def clock() -> int:
    return NOW


def primary_on(store: Store) -> Primary:
    primary = Primary(store, "main", Closing("manual"), clock)
    primary.engine = law_engine()
    return primary


def new_primary(settings: bytes = SETTINGS, store: Store | None = None) -> Primary:
    """A primary on an empty repository, in memory unless another one is given, frame 1 open."""
    store = store if store is not None else new_store()
    open_first(store, 1, NOW, Closing("manual"), MAIN)
    if settings:
        commit_files(store, MAIN, {"state/dreamcatcher.toml": settings})
    return primary_on(store)


def commit_files(store: Store, ref: str, files: dict[str, bytes], *, orphan: bool = False) -> str:
    """Commit files on a ref, upon what it names already or upon nothing."""
    old = store.refs().get(ref)
    parents = (old,) if old and not orphan else ()
    tree = edit(
        store,
        store.commit(old).tree if old and not orphan else None,
        {path: Entry(FILE, store.write("blob", raw)) for path, raw in files.items()},
    )
    assert tree is not None
    commit = store.write_commit(Commit(tree, parents, "worker <worker@localhost>", NOW // 1_000_000, "add\n"))
    store.flush()
    assert store.move_refs([Move(ref, commit, old)], "push")
    return commit


def send(store: Store, sent: Sent, name: str, *, lane: bool) -> None:
    """Push one delta: to `main`, to its stream's one lane, or (stream `a`) as an orphan to a fresh lane each time."""
    (frame, _, stream, _), _ = stamped(sent)
    folder = f"state/stream_deltas/{frame}"
    files = {f"{folder}/{name}.json": sent.raw} | {f"{folder}/{name}/{file}": raw for file, raw in sent.files}
    if not lane or " " in stream:
        commit_files(store, MAIN, files)
    elif stream == "a":
        commit_files(store, f"refs/heads/dc/{stream}/{name}", files, orphan=True)
    else:
        commit_files(store, f"refs/heads/dc/{stream}", files)


def close(primary: Primary, frames: int = 1) -> None:
    for _ in range(frames):
        close_frame(primary, "test")
