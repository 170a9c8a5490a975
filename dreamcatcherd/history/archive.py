"""Closed frames as one file that needs nothing else: a tar that holds a bare repository and a list of checksums.

    manifest.json        which frames, from which snapshot to which
    HEAD, config, packed-refs, shallow, objects/pack/…    a repository, cut off before the first frame
    SHA256SUMS           of every other file, as sha256sum writes it

Unpacked with tar it is a repository that git and every command here can read; SHA256SUMS is for sha256sum -c. Owns
writing and opening such a file; nothing is taken out of the repository that it comes from."""

from __future__ import annotations

import hashlib
import re
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from msgspec import Struct

from dreamcatcherd.core import paths
from dreamcatcherd.core.codec import read_as
from dreamcatcherd.core.errors import FatalError, RefusedError, UsageError
from dreamcatcherd.git.command import error_message, git
from dreamcatcherd.git.local import LocalStore
from dreamcatcherd.git.maintenance import MAINTENANCE_S
from dreamcatcherd.git.protocols import GitStore, ObjectReader
from dreamcatcherd.history.replay import closed_frames, own_ledger
from dreamcatcherd.stages.early_deltas import waiting_commits
from dreamcatcherd.stages.published import read_published
from dreamcatcherd.stages.snapshot_chain import Link, claimed_seen, links, tips_of

ARCHIVE_FORMAT = "dreamcatcher-archive/1"
MANIFEST = "manifest.json"
SUMS = "SHA256SUMS"
_FILES = re.compile(
    r"manifest\.json|SHA256SUMS|HEAD|config|packed-refs|shallow|objects/pack/pack-[0-9a-f]{40}\.(?:pack|idx|rev)"
)
_CONFIG = "[core]\n\trepositoryformatversion = 0\n\tbare = true\n"


class Manifest(Struct, frozen=True):
    """What an archive holds: frames `first` to `last`, upon the snapshot of frame `base` (None: from the beginning),
    ending with the snapshot commit `commit` and its digest."""

    format: str
    first: int
    last: int
    base: int | None
    commit: str
    digest: str


def write_archive(store: GitStore, chain: list[Link], first: int, last: int, main: str, output: Path) -> Manifest:
    """Write the closed frames of a chain from one to another into a file, which has its name only once it is whole."""
    frames = {link.frame: at for at, link in enumerate(chain)}
    if first not in frames or last not in frames or first > last:
        raise RefusedError(f"frames {first} to {last} are not all closed", "name closed frames (dreamcatcherd log)")
    tip = chain[frames[last]].oid
    before = chain[frames[first] - 1] if frames[first] else None
    digest = store.commit(tip).message.partition("Dreamcatcher-Digest: ")[2].partition("\n")[0]
    manifest = Manifest(ARCHIVE_FORMAT, first, last, before.frame if before else None, tip, digest)
    with tempfile.TemporaryDirectory(prefix=f".{output.name}.", dir=output.parent) as name:
        folder = Path(name) / "repository"
        _make_repository(store, folder, tip, before.oid if before else None, main)
        (folder / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(manifest), indent=1) + b"\n")
        files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
        (folder / SUMS).write_text("".join(f"{_sum(folder / file)}  {file}\n" for file in files))
        unfinished = Path(name) / "archive.tar"
        with tarfile.open(unfinished, "w", format=tarfile.PAX_FORMAT) as tar:
            refs = tarfile.TarInfo("refs")  # empty, but without it git sees no repository
            refs.type, refs.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(refs)
            for file in (MANIFEST, SUMS, *(file for file in files if file != MANIFEST)):
                member = tarfile.TarInfo(file)
                member.size = (folder / file).stat().st_size
                with (folder / file).open("rb") as opened:
                    tar.addfile(member, opened)
        unfinished.replace(output)
    return manifest


def _make_repository(store: GitStore, folder: Path, tip: str, before: str | None, main: str) -> None:
    """A bare repository with all that the tip reaches, cut off at `before` and at what was merged up to then."""
    folder.mkdir(parents=True)
    _run(folder, "init", "--quiet", "--bare", "--template=", f"--initial-branch={paths.short_ref(main)}")
    seen = claimed_seen(store.commit(tip))
    edge: set[str] = set()
    wanted = tips_of(store, tip)
    if before is not None:
        edge, wanted = _edge(store, tip, before)
        (folder / "shallow").write_text("".join(f"{oid}\n" for oid in sorted(edge)))
    asked = "".join([*(f"--shallow {oid}\n" for oid in sorted(edge)), *(f"{oid}\n" for oid in wanted)])
    pack = str(folder / "objects" / "pack" / "pack")
    words = ("pack-objects", "--quiet", "--revs", "--shallow", "--delta-base-offset", pack)
    done = git(store.folder, *words, stdin=asked.encode(), timeout_s=MAINTENANCE_S)
    if done.returncode:
        raise FatalError(f"the archive could not be packed: {error_message(done)}", "run git fsck on the repository")
    lines = [
        "# pack-refs with: peeled fully-peeled sorted ",
        *sorted([f"{tip} {paths.PUBLISHED}", f"{tip} {main}", *([f"{seen} {paths.SEEN}"] if seen else [])]),
    ]
    (folder / "packed-refs").write_text("\n".join([*lines, ""]))
    _run(folder, "fsck", "--no-dangling", "--connectivity-only")


def _edge(store: ObjectReader, tip: str, before: str) -> tuple[set[str], list[str]]:
    """Where the history of an archive is cut off, and the objects that it is to hold with all that they need.

    Held deltas are read again from their own commits, which may be much older; and the settings that count may not be
    those that the tree shows."""
    base = read_published(store, before)
    tips = tips_of(store, tip)
    fresh = store.new_commits(tips, base.tips)
    edge = {parent for commit in fresh.values() for parent in commit.parents if parent not in fresh} | {*base.tips}
    settings = {base.settings.blob}
    for link in links(store, tip):
        if link.oid == before:
            break
        settings.add(next(closed_frames(store, [link])).settings.blob)
    edge |= waiting_commits(store, base)
    return edge, [*tips, *sorted(edge), *sorted(blob for blob in settings if blob)]


def _run(folder: Path, *words: str) -> None:
    done = git(folder, *words, timeout_s=MAINTENANCE_S)
    if done.returncode:
        raise FatalError(f"the archive could not be made: git {words[0]}: {error_message(done)}", "look at the disk")


@contextmanager
def open_archive(file: Path) -> Iterator[tuple[LocalStore, Manifest]]:
    """Unpack an archive for as long as it is looked at; RefusedError where a file of it is not what its sum says."""
    with tempfile.TemporaryDirectory(prefix="dreamcatcherd-archive-") as name:
        folder = Path(name)
        try:
            with tarfile.open(file, mode="r:") as tar:  # a compressed one could be far larger than it looks
                for member in tar:
                    if member.name == "refs" and member.isdir():
                        continue
                    if not member.isfile() or member.issparse() or not _FILES.fullmatch(member.name):
                        raise _damaged(file, f"it holds {member.name!r}, which is no part of one")
                    target = folder / member.name
                    target.parent.mkdir(parents=True, exist_ok=True)
                    opened = tar.extractfile(member)
                    with target.open("wb") as out:
                        while opened and (piece := opened.read(2**20)):
                            out.write(piece)
            manifest = _checked(file, folder)
        except (tarfile.TarError, EOFError, ValueError, msgspec.DecodeError) as error:
            raise _damaged(file, str(error)) from error
        except FileNotFoundError as error:
            if not file.exists():
                raise RefusedError(f"there is no file {file}", "name an archive") from error
            raise _damaged(file, f"{error.filename} is missing") from error
        (folder / "refs").mkdir()
        (folder / "config").write_text(_CONFIG)  # git runs what a configuration names: not a stranger's
        try:
            store = LocalStore(folder)
        except UsageError as error:
            raise _damaged(file, error.cause) from error
        yield store, manifest


def _checked(file: Path, folder: Path) -> Manifest:
    lines = (folder / SUMS).read_text("utf-8").splitlines()
    sums = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} - {SUMS}
    for name in sorted(there ^ sums.keys()):
        raise _damaged(file, f"{name} is {'missing' if name in sums else 'not listed'}")
    for name, digest in sums.items():
        if _sum(folder / name) != digest:
            raise _damaged(file, f"{name} is not what its checksum says")
    manifest = read_as((folder / MANIFEST).read_bytes(), Manifest)
    if manifest.format != ARCHIVE_FORMAT:
        raise RefusedError(
            f"{file} is of the format {manifest.format!r}, this version reads {ARCHIVE_FORMAT!r}", "update"
        )
    return manifest


def holds(store: ObjectReader, manifest: Manifest, chain: list[Link]) -> bool:
    """Whether an archive's history is the one that its manifest names."""
    last = chain[-1]
    frames = [link.frame for link in chain]
    starts = manifest.first if manifest.base is None else manifest.base
    raw = own_ledger(store, last)
    return (
        last == (manifest.last, manifest.commit)
        and frames[0] == starts
        and manifest.first in frames
        and raw is not None
        and manifest.digest.encode() in raw
    )


def _sum(path: Path) -> str:
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _damaged(file: Path, why: str) -> RefusedError:
    return RefusedError(f"{file} is no whole archive: {why}", "use another copy, or write it again")
