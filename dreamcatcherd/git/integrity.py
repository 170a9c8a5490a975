"""Whether a repository on this disk is there and its refs are intact: a damaged one never looks new.

libgit2 leaves out a ref that it cannot read, and lists nothing in a folder that is gone. After a power cut, or with its
disk unmounted, a repository would look as if nothing had ever been published in it."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable
from pathlib import Path

from dreamcatcherd.core.errors import FatalError
from dreamcatcherd.core.paths import PUBLISHED, printable
from dreamcatcherd.core.troubles import Trouble

MARKER = "dreamcatcherd-published"
"""A file in the repository that names the last commit that a primary published here, in case the refs are lost."""

_OID = re.compile(r"[0-9a-f]{40}")
_NO_COMMIT = b"0" * 40 + b" "


class DamagedRefsError(FatalError):
    """Refs cannot be read that are needed to publish."""


def check_there(folder: Path) -> None:
    """FatalError if the folder is not a repository any more: unmounted, moved or deleted."""
    missing = [name for name in ("HEAD", "objects", "refs") if not (folder / name).exists()]
    if missing:
        remedy = f"mount or restore {folder}; a daemon goes on by itself once it is back"
        raise FatalError(f"the repository {folder} is gone: it has no {missing[0]}", remedy)


def empty_packed_refs(folder: Path) -> DamagedRefsError:
    """The failure of an empty `packed-refs`, as a power cut may leave it: git always writes a header."""
    return _damaged(folder, f"{folder / 'packed-refs'} is empty", PUBLISHED, "packed-refs")


def check_critical(folder: Path, refs: Container[str], damaged: Container[str]) -> None:
    """DamagedRefsError if the published ref, or the branch that HEAD names, is damaged, or is missing although its
    reflog is there: git deletes both together."""
    for name in (PUBLISHED, head_branch(folder)):
        if name is None or (name in refs and name not in damaged):
            continue
        if name in damaged or (folder / name).is_file():
            raise _damaged(folder, f"the ref {name} is damaged: {folder / name} holds no commit", name, name)
        if last_value(folder, name) is not None and not _was_being_made(folder, name):
            raise _damaged(folder, f"the ref {name} is lost", name, None)


def ref_troubles(folder: Path, damaged: Iterable[str]) -> list[Trouble]:
    """The troubles to report for damaged refs that are not needed to publish."""
    return [
        Trouble(
            f"the ref {printable(name)} is damaged: what it brings is not seen", None, _put_back(folder, name, name)
        )
        for name in damaged
    ]


def lost_history(folder: Path) -> str | None:
    """The commit that was published here, or `unknown` if only the fact is known; None if nothing shows that there was
    one."""
    marker = folder / MARKER
    try:
        if marker.exists():
            text = marker.read_text("ascii", "replace").strip()
            return text if _OID.fullmatch(text) else "unknown"
    except OSError:
        return None
    return None if _was_being_made(folder, PUBLISHED) else last_value(folder, PUBLISHED)


def _was_being_made(folder: Path, name: str) -> bool:
    """Whether nothing but a reflog of one line shows that a ref was there: git writes it before the ref has its name,
    so a process that was killed in between leaves it. A publication that completed left a mark as well."""
    try:
        lines = (folder / "logs" / name).read_bytes().rstrip(b"\n").split(b"\n")
    except OSError:
        return False
    return len(lines) == 1 and lines[0].startswith(_NO_COMMIT) and not (folder / MARKER).exists()


def last_value(folder: Path, name: str) -> str | None:
    """The last object id in a ref's reflog; None if there is none."""
    try:
        with (folder / "logs" / name).open("rb") as file:
            file.seek(0, 2)
            # Only the last line counts, and a reflog may have millions.
            file.seek(max(0, file.tell() - 4096))
            lines = file.read().rstrip(b"\n").split(b"\n")
    except OSError:
        return None
    words = lines[-1].split(b" ", 2)
    found = words[1].decode("ascii", "replace") if len(words) > 2 else ""
    return found if _OID.fullmatch(found) and found.strip("0") else None


def head_branch(folder: Path) -> str | None:
    """The branch that HEAD names."""
    try:
        text = (folder / "HEAD").read_text("utf-8", "replace")
    except OSError:
        return None
    return text[5:].strip() if text.startswith("ref: ") else None


def _damaged(folder: Path, cause: str, name: str, file: str | None) -> DamagedRefsError:
    return DamagedRefsError(cause, f"nothing is published until it is restored: {_put_back(folder, name, file)}")


def _put_back(folder: Path, name: str, file: str | None) -> str:
    last = last_value(folder, name)
    remove = f"rm {folder / file}; " if file is not None else ""
    if last is None:
        return f"{remove}restore {name} from a backup or any clone of {folder}"
    return f"{remove}git -C {folder} update-ref {name} {last}, which its reflog has as its last value"
