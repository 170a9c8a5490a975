"""Closed frames as one self-contained file: a tar of a bare repository and a list of checksums.

    manifest.json        the frames, and the snapshots that they start from and end with
    HEAD, config, packed-refs, shallow, objects/pack/…    a repository, cut off before the first frame
    SHA256SUMS           the checksums of all other files, as sha256sum writes them

Unpacked with tar, it is a repository that git and all commands here can read; SHA256SUMS is for sha256sum -c. This
module writes and opens such files. Writing one removes nothing from the repository."""

from __future__ import annotations

import hashlib
import re
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import msgspec
from msgspec import Struct

from dreamcatcherd.core import paths
from dreamcatcherd.core.codec import read_as
from dreamcatcherd.core.errors import FatalError, RefusedError, UsageError
from dreamcatcherd.git.atomic_write import is_special
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
_HEAD = re.compile(rb"ref: refs/heads/(?!\S*\.\.)[^\s\x00-\x1f\x7f]+\n")
"""Another HEAD could be read from anywhere on the machine that opens the archive."""
_CONFIG = "[core]\n\trepositoryformatversion = 0\n\tbare = true\n"


Counted = Callable[[int | None, str], AbstractContextManager[Callable[[int], None]]]
"""Shows the progress of a step: of so many bytes (None if that is not known), under a name. What it gives is called
with how many more are done."""


@contextmanager
def _shown_to_nobody(total: int | None, what: str) -> Iterator[Callable[[int], None]]:
    yield lambda more: None


class Manifest(Struct, frozen=True):
    """The contents of an archive: frames `first` to `last`, which follow the snapshot of frame `base` (None: the
    archive starts at the beginning). `commit` is the snapshot commit of `last`, `digest` its snapshot's tree id."""

    format: str
    first: int
    last: int
    base: int | None
    commit: str
    digest: str


def write_archive(
    store: GitStore,
    chain: list[Link],
    first: int,
    last: int,
    main: str,
    output: Path,
    counted: Counted = _shown_to_nobody,
) -> Manifest:
    """Write frames `first` to `last` of a chain into the file `output`; it is renamed into place once complete. A
    device or a pipe is written to as it is, and a link stays one.

    `chain` is oldest first; `main` is the full name of the branch in the archive. git packs the objects, with as many
    threads as there are processors; everything else is copied in pieces, so memory does not grow with the archive.
    RefusedError if one of the two frames
    is not closed; FatalError if git cannot pack the objects or finds some missing."""
    frames = {link.frame: at for at, link in enumerate(chain)}
    if first not in frames or last not in frames or first > last:
        raise RefusedError(f"frames {first} to {last} are not all closed", "name closed frames (dreamcatcherd log)")
    tip = chain[frames[last]].oid
    before = chain[frames[first] - 1] if frames[first] else None
    digest = store.commit(tip).message.partition("Dreamcatcher-Digest: ")[2].partition("\n")[0]
    manifest = Manifest(ARCHIVE_FORMAT, first, last, before.frame if before else None, tip, digest)
    output = output.resolve() if output.is_symlink() and not is_special(output) else output
    beside = None if is_special(output) else output.parent
    with tempfile.TemporaryDirectory(prefix=f".{output.name}.", dir=beside) as name:
        folder = Path(name) / "repository"
        with counted(None, "packing objects"):
            _make_repository(store, folder, tip, before.oid if before else None, main)
        (folder / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(manifest), indent=1) + b"\n")
        files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
        with counted(_size(folder, files), "computing checksums") as note:
            (folder / SUMS).write_text("".join(f"{_sum(folder / file, note)}  {file}\n" for file in files))
        unfinished = Path(name) / "archive.tar"
        members = [MANIFEST, SUMS, *(file for file in files if file != MANIFEST)]
        with counted(_size(folder, members), "writing the archive") as note:
            _write_tar(folder, members, unfinished, note)
        if beside is None:
            with unfinished.open("rb") as complete, output.open("wb") as special:
                shutil.copyfileobj(complete, special)
        else:
            unfinished.replace(output)
    return manifest


def _write_tar(folder: Path, files: list[str], output: Path, note: Callable[[int], None]) -> None:
    """Write a repository's files as a tar, in this order."""
    with tarfile.open(output, "w", format=tarfile.PAX_FORMAT) as tar:
        refs = tarfile.TarInfo("refs")  # empty, but without it git does not recognize a repository
        refs.type, refs.mode = tarfile.DIRTYPE, 0o755
        tar.addfile(refs)
        for file in files:
            member = tarfile.TarInfo(file)
            member.size = (folder / file).stat().st_size
            with (folder / file).open("rb") as opened:
                tar.addfile(member, opened)
            note(member.size)


def _size(folder: Path, files: list[str]) -> int:
    return sum((folder / file).stat().st_size for file in files)


def _make_repository(store: GitStore, folder: Path, tip: str, before: str | None, main: str) -> None:
    """Make a bare repository of the tip's history after `before`: that commit and what it had merged are the cut."""
    folder.mkdir(parents=True)
    _run(folder, "init", "--quiet", "--bare", "--template=", f"--initial-branch={paths.short_ref(main)}")
    seen = claimed_seen(store.commit(tip))
    edge: set[str] = set()
    wanted = tips_of(store, tip)
    if before is not None:
        edge, wanted = _edge(store, tip, before)
        (folder / "shallow").write_text("".join(f"{oid}\n" for oid in sorted(edge)))
    # The source repository is complete, so the cut is passed to git: otherwise the pack would hold all history.
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
    # An archive may be the only copy one day. A gap is found here, while the source can still fill it.
    _run(folder, "fsck", "--no-dangling", "--connectivity-only")


def _edge(store: ObjectReader, tip: str, before: str) -> tuple[set[str], list[str]]:
    """The commits at which the history of an archive is cut off, and the objects to pack with all that they reach."""
    base = read_published(store, before)
    tips = tips_of(store, tip)
    fresh = store.new_commits(tips, base.tips)
    edge = {parent for commit in fresh.values() for parent in commit.parents if parent not in fresh} | {*base.tips}
    # The settings in force are named by ledgers. A tree may have others, which were refused: pack them too.
    settings = {base.settings.blob}
    for link in links(store, tip):
        if link.oid == before:
            break
        settings.add(next(closed_frames(store, [link])).settings.blob)
    # A delta that waits for its frame is read again from its own commit, which may be far older than the first frame.
    edge |= waiting_commits(store, base)
    return edge, [*tips, *sorted(edge), *sorted(blob for blob in settings if blob)]


def _run(folder: Path, *words: str) -> None:
    done = git(folder, *words, timeout_s=MAINTENANCE_S)
    if done.returncode:
        raise FatalError(f"the archive could not be made: git {words[0]}: {error_message(done)}", "check the disk")


@contextmanager
def open_archive(file: Path, counted: Counted = _shown_to_nobody) -> Iterator[tuple[LocalStore, Manifest]]:
    """Unpack an archive into a temporary folder and open it; the folder is deleted when the context ends.

    RefusedError if the file does not exist, is not an archive, or a checksum in it does not match."""
    with tempfile.TemporaryDirectory(prefix="dreamcatcherd-archive-") as name:
        folder = Path(name)
        try:
            with (
                tarfile.open(file, mode="r:") as tar,  # no compression: a small file could fill the disk
                counted(file.stat().st_size, "unpacking the archive") as note,
            ):
                for member in tar:
                    if member.name == "refs" and member.isdir():
                        continue
                    # Nothing but the listed names is unpacked: links and `..` could write outside the folder, hooks and
                    # configuration would be run by git, and a sparse file can be larger than the disk.
                    if not member.isfile() or member.issparse() or not _FILES.fullmatch(member.name):
                        raise _damaged(file, f"it holds {member.name!r}, which does not belong in one")
                    target = folder / member.name
                    target.parent.mkdir(parents=True, exist_ok=True)
                    opened = tar.extractfile(member)
                    with target.open("wb") as out:
                        while opened and (piece := opened.read(2**20)):
                            out.write(piece)
                            note(len(piece))
            manifest = _checked(file, folder, counted)
        except (tarfile.TarError, EOFError, ValueError, msgspec.DecodeError) as error:
            raise _damaged(file, str(error)) from error
        except FileNotFoundError as error:
            if not file.exists():
                raise RefusedError(f"there is no file {file}", "name an archive") from error
            raise _damaged(file, f"{error.filename} is missing") from error
        (folder / "refs").mkdir()
        (folder / "config").write_text(_CONFIG)  # the archive's own could name programs, which git would run
        try:
            store = LocalStore(folder)
        except UsageError as error:
            raise _damaged(file, error.cause) from error
        yield store, manifest


def _checked(file: Path, folder: Path, counted: Counted) -> Manifest:
    lines = (folder / SUMS).read_text("utf-8").splitlines()
    sums = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} - {SUMS}
    for name in sorted(there ^ sums.keys()):
        raise _damaged(file, f"{name} is {'missing' if name in sums else 'not listed'}")
    with counted(_size(folder, list(sums)), "comparing checksums") as note:
        for name, digest in sums.items():
            if _sum(folder / name, note) != digest:
                raise _damaged(file, f"{name} is not what its checksum says")
    if not _HEAD.fullmatch((folder / "HEAD").read_bytes()):
        raise _damaged(file, "its HEAD names no branch")
    manifest = read_as((folder / MANIFEST).read_bytes(), Manifest)
    if manifest.format != ARCHIVE_FORMAT:
        raise RefusedError(
            f"{file} has the format {manifest.format!r}, this version reads {ARCHIVE_FORMAT!r}", "update"
        )
    return manifest


def holds(store: ObjectReader, manifest: Manifest, chain: list[Link]) -> bool:
    """Whether the chain read from an archive is the one that its manifest names; `chain` is oldest first, not empty.

    The checksums cover the manifest too, so they do not show whether it describes this repository."""
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


def _sum(path: Path, note: Callable[[int], None]) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as opened:
        while piece := opened.read(2**20):
            digest.update(piece)
            note(len(piece))
    return digest.hexdigest()


def _damaged(file: Path, why: str) -> RefusedError:
    return RefusedError(f"{file} is not a complete archive: {why}", "use another copy, or write it again")
