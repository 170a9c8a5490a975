"""Delta files that a .gitignore of the shared branch hides from `git add`: which pattern does, and what undoes it.

git does the matching, on copies of the stored .gitignore files in a folder of their own. A user's own excludes, which
nobody but that user has, do not count."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from dreamcatcherd.core import paths
from dreamcatcherd.core.checkout import unsafe_path
from dreamcatcherd.core.codec import plain
from dreamcatcherd.core.errors import DreamcatcherError, RetryableError
from dreamcatcherd.core.tree import blob_at
from dreamcatcherd.core.troubles import Trouble
from dreamcatcherd.git.command import error_message, git
from dreamcatcherd.git.disk_errors import remedy_for
from dreamcatcherd.git.protocols import ObjectReader

_NAME = ".gitignore"
_GUARDED = "state/"
_FILE_BYTES = 2**20
"""Larger .gitignore files are not looked into: anybody may push one."""
_UNKNOWN = f"whether a {_NAME} hides deltas cannot be found out"
_PATTERN_SHOWN = 200
_LIMIT_S = 10.0


class _Match(NamedTuple):
    """The pattern that decides about a path: its file, its line, and its text."""

    file: str
    line: int
    pattern: str
    path: str


def ignored_deltas(
    store: ObjectReader, tree: str | None, frame: int = 1, roots: Sequence[str] = (paths.DELTAS,)
) -> list[Trouble]:
    """One trouble for each pattern in a commit's tree because of which `git add` leaves out deltas of a frame.

    `roots` are the delta folders; both forms of a delta's path are asked about in each of them."""
    roots = [root for root in roots if unsafe_path(root) is None]
    files = dict(_ignore_files(store, tree, frame, roots))
    if not files:
        return []
    try:
        with tempfile.TemporaryDirectory(prefix="dreamcatcherd-") as name:
            return list(_troubles_in(_copied(Path(name), files), frame, roots))
    except DreamcatcherError as error:
        return [Trouble(plain(f"{_UNKNOWN}: {error.cause}"), None, error.remedy)]
    except OSError as error:  # a full temporary folder, for example
        folder = Path(error.filename or tempfile.gettempdir())
        return [Trouble(plain(f"{_UNKNOWN}: {error.strerror or error}"), None, remedy_for(error, folder))]


def _ignore_files(
    store: ObjectReader, tree: str | None, frame: int, roots: Sequence[str]
) -> Iterator[tuple[str, bytes]]:
    """The .gitignore files that can matter, by path: those above the delta folders, in them, and in the frame's.

    git does not read one that is a symbolic link."""
    for root in roots:
        parts = [*root.split("/"), str(frame)]
        for depth in range(len(parts) + 1):
            path = "/".join([*parts[:depth], _NAME])
            oid = blob_at(store, tree, path)
            if oid is not None and store.size(oid) <= _FILE_BYTES:
                yield path, store.read(oid)


def _copied(folder: Path, files: dict[str, bytes]) -> Path:
    """A new repository with these files in its work tree; nothing of a template or of a user's settings is in it."""
    result = git(folder / ".git", "init", "--quiet", "--template=")
    if result.returncode:
        raise RetryableError(error_message(result), f"look at {folder}")
    for path, raw in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(raw)
    return folder


def _troubles_in(folder: Path, frame: int, roots: Sequence[str]) -> Iterator[Trouble]:
    """The troubles of all delta folders, each pattern once for each of them."""
    for root in roots:
        probes = [f"{root}/{frame}/x.json", f"{root}/frame-{frame}-x.json"]
        seen: set[tuple[str, int]] = set()
        for match in _matches(folder, probes):
            if (match.file, match.line) in seen:
                continue
            seen.add((match.file, match.line))
            pattern = match.pattern[:_PATTERN_SHOWN]
            what = f"{match.file}, line {match.line}: the pattern {pattern} hides deltas such as {match.path}"
            what += ": git add of a folder leaves them out without an error"
            yield Trouble(plain(paths.printable(what)), None, plain(_remedy(folder, match, root, probes)))


def _remedy(folder: Path, match: _Match, root: str, probes: Sequence[str]) -> str:
    """What to do about a pattern. Lines are recommended only if git, asked again, then takes the deltas."""
    file = folder / match.file
    before = file.read_bytes()
    meanwhile = "workers use git add -f until that is pushed"
    if match.file.startswith(_GUARDED) and not match.file.startswith(f"{root}/"):
        meanwhile += ". The server-side check refuses changes of that file: move hooks/pre-receive aside for the push"
    for lines in _exceptions(match.file, root):
        file.write_bytes(before + b"\n" + "\n".join(lines).encode() + b"\n")
        after = _matches(folder, probes)
        file.write_bytes(before)
        if not any(one.file == match.file for one in after):
            shown = ", ".join(f"`{line}`" for line in lines)
            return f"add {shown} at the end of {match.file}, or remove the pattern; {meanwhile}"
    return f"remove the pattern from {match.file}; {meanwhile}"


def _exceptions(file: str, root: str) -> Iterator[list[str]]:
    """Lines for the end of a .gitignore that might exclude a delta folder from its patterns, the shortest first.

    git takes nothing below an ignored folder. So the folders above may have to be excepted as well, and all else that
    is in them ignored again."""
    above = file.removesuffix(_NAME)
    if not f"{root}/".startswith(above):
        return
    parts = root[len(above) :].split("/") if root != above.rstrip("/") else []
    if not parts:
        yield ["!**"]
        return
    below = "/".join(parts)
    yield [f"!{below}/**"]
    yield [f"!/{below}/", f"!{below}/**"]
    folders = ["/".join(parts[:depth]) for depth in range(1, len(parts))]
    yield [*(line for name in folders for line in (f"!/{name}/", f"/{name}/*")), f"!/{below}/", f"!{below}/**"]


def _matches(folder: Path, probes: Sequence[str]) -> list[_Match]:
    """The patterns that make git ignore these paths; one that decides against ignoring is none."""
    words = ["-c", "core.excludesFile=", f"--work-tree={folder}", "check-ignore", "--no-index", "-v", "-z", "--stdin"]
    result = git(folder / ".git", *words, stdin="".join(f"{path}\0" for path in probes).encode(), timeout_s=_LIMIT_S)
    if result.returncode not in (0, 1):  # 1: nothing is ignored
        raise RetryableError(error_message(result), f"look at {folder}")
    fields = result.stdout.decode("utf-8", "surrogateescape").split("\0")
    rows = zip(fields[0::4], fields[1::4], fields[2::4], fields[3::4], strict=False)
    return [_Match(file, int(line), pattern, path) for file, line, pattern, path in rows if not pattern.startswith("!")]
