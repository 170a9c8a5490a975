"""Every reader of refs gives the names that git has, whatever characters git allows in them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

import pytest

from dreamcatcherd.core import paths
from dreamcatcherd.core.frames import Closing
from dreamcatcherd.git.access import Access
from dreamcatcherd.git.kept_refs import KeptRefs
from dreamcatcherd.git.local import LocalStore
from dreamcatcherd.git.mirror import MirrorWire
from dreamcatcherd.git.push_reader import PushReader
from dreamcatcherd.git.quarantine import QuarantinedReader
from dreamcatcherd.git.remote import RemoteStore
from dreamcatcherd.imports.new_repository import create
from tests.law.fleet import MAIN, NOW

SEPARATORS = ["\u2028", "\u2029", "\u0085", "\u00a0", "\u3000", "\udcff", "'", '"', "%0A", "\N{SNOWMAN}"]
"""What Python takes for the end of a line or for a space, a byte that is not UTF-8, and what shells and URLs treat."""

Listing = Callable[[Path, Path], Mapping[str, str]]


def _remote(transport: Literal["pygit2", "git"]) -> Listing:
    def refs(fleet: Path, folder: Path) -> Mapping[str, str]:
        access = Access(url=f"file://{fleet}", timeout_s=120, transport=transport)
        return RemoteStore(access, folder / "clone.git").refs()

    return refs


def _pushed(kind: type[PushReader] | type[QuarantinedReader]) -> Listing:
    def refs(fleet: Path, _: Path) -> Mapping[str, str]:
        reader = kind({**os.environ, "GIT_DIR": str(fleet)})
        try:
            return reader.refs()
        finally:
            reader.close()

    return refs


READERS: dict[str, Listing] = {
    "a store on a path": lambda fleet, _: LocalStore(fleet).refs(),
    "the hook": _pushed(PushReader),
    "the process beside the daemon": _pushed(QuarantinedReader),
    "a remote by libgit2": _remote("pygit2"),
    "a remote by git": _remote("git"),
    "a mirror": lambda fleet, _: MirrorWire(Access(url=str(fleet), timeout_s=120), fleet).heads(["refs/heads/*"]),
}


@pytest.mark.parametrize("odd", SEPARATORS, ids=ascii)
@pytest.mark.parametrize("reader", READERS)
def test_a_ref_has_the_name_that_git_gives_it(reader: str, odd: str, tmp_path: Path) -> None:
    """No character in the name of a ref ends it, and what is behind the character is no other ref."""
    store = create(tmp_path / "fleet.git", 1, NOW, Closing("manual"), hook=False)
    head = store.refs()[MAIN]
    lane = f"refs/heads/dc/alice/x{odd}{head}-refs{odd}x"
    file = store.folder / lane
    file.parent.mkdir(parents=True)
    file.write_text(f"{head}\n")
    found = READERS[reader](store.folder, tmp_path)
    heads = {ref: oid for ref, oid in found.items() if ref.startswith("refs/heads/")}
    assert heads == {MAIN: head, lane: head}


@pytest.mark.parametrize("odd", SEPARATORS, ids=ascii)
@pytest.mark.parametrize("is_clone", [False, True])
def test_what_is_kept_of_a_mirror_has_its_name(odd: str, is_clone: bool, tmp_path: Path) -> None:
    """A ref that is kept of a mirror is read back under the name that was given."""
    store = create(tmp_path / "fleet.git", 1, NOW, Closing("manual"), hook=False)
    kept = KeptRefs(store.folder, is_clone)
    name = paths.mirrored_ref("north", f"dc/alice/x{odd}y", store.refs()[MAIN])
    kept.change({name: store.refs()[MAIN]})
    assert kept.read() == {name: store.refs()[MAIN]}
