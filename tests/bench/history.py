"""`python -m tests.bench.history FRAMES FOLDER`: a repository with a long history, as a fleet of weeks leaves it.

The frames are closed by the real code on a store in memory, and written as one pack: a hundred times as fast as closing
them on a disk."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import time
import zlib
from pathlib import Path

from dreamcatcherd.core.frames import Closing
from dreamcatcherd.daemon.primary import Primary
from dreamcatcherd.observe.clock import wall_clock
from dreamcatcherd.stages.first_frame import open_first
from dreamcatcherd.testing import MemoryStore
from tests.law.fleet import MAIN
from tests.web.fleets import SECOND, SETTINGS, Fleet, put_files

_KINDS = {"commit": 1, "tree": 2, "blob": 3}
PERIOD_S = 10


def write_pack(store: MemoryStore, file: Path) -> None:
    """Write all objects of a store as one pack, without deltas."""
    digest = hashlib.sha1()  # git's own format
    with file.open("wb") as out:

        def put(raw: bytes) -> None:
            digest.update(raw)
            out.write(raw)

        put(b"PACK" + (2).to_bytes(4, "big") + len(store.objects).to_bytes(4, "big"))
        for kind, raw in store.objects.values():
            put(_header(_KINDS[kind], len(raw)) + zlib.compress(raw, 1))
        out.write(digest.digest())


def _header(kind: int, size: int) -> bytes:
    """Type and size of one object: four bits of the size in the first byte, seven in each further one."""
    first, rest = kind << 4 | size & 15, size >> 4
    found = bytearray()
    while rest:
        found.append(first | 128)
        first, rest = rest & 127, rest >> 7
    found.append(first)
    return bytes(found)


def write_repository(store: MemoryStore, repository: Path) -> None:
    """Write a store as a bare repository."""
    subprocess.run(["git", "init", "--quiet", "--bare", "--initial-branch=main", str(repository)], check=True)
    git = ["git", "-C", str(repository)]
    pack = repository / "objects" / "pack" / "history.pack"
    write_pack(store, pack)
    with pack.open("rb") as file:
        subprocess.run([*git, "index-pack", "--stdin"], stdin=file, check=True, stdout=subprocess.DEVNULL)
    pack.unlink()
    refs = "".join(f"create {ref} {oid}\n" for ref, oid in store.heads.items())
    subprocess.run([*git, "update-ref", "--stdin"], input=refs, text=True, check=True)


def make_history(repository: Path, frames: int, period_s: int = PERIOD_S) -> None:
    """A fleet's repository with so many frames, the last one open: about five deltas in each."""
    store, now = MemoryStore(), wall_clock()
    fleet = Fleet(Primary(store, "main", Closing("manual"), wall_clock), now, frames * period_s / 3600, period_s)
    open_first(store, 1, fleet.start, Closing("manual"), MAIN)
    put_files(store, {"state/dreamcatcher.toml": SETTINGS}, fleet.start // SECOND, "owner")
    fleet.run()
    write_repository(store, repository)


if __name__ == "__main__":
    start = time.monotonic()
    make_history(Path(sys.argv[2]), int(sys.argv[1]))
    print(f"{sys.argv[1]} frames in {time.monotonic() - start:.1f} s")
