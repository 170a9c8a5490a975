"""Preparing an existing repository for workers: `init` on it (docs/operations.md#prepare-an-existing-repository).

Owns what is changed and in which order. Everything that can be refused is refused before the first change. The commit
comes last, by compare-and-swap, so that a failure before it leaves the branch alone; and what is done once is not done
again, so that another run continues."""

from __future__ import annotations

import errno
import os
import shlex
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from msgspec import Struct, field

from dreamcatcherd.core import paths
from dreamcatcherd.core.codec import MAX_FRAME
from dreamcatcherd.core.errors import FatalError, RefusedError, RetryableError
from dreamcatcherd.core.frames import Closing
from dreamcatcherd.core.tree import TREE, lookup
from dreamcatcherd.core.troubles import Trouble
from dreamcatcherd.git.command import error_message, git
from dreamcatcherd.git.disk_errors import disk_failure, remedy_in
from dreamcatcherd.git.local import LocalStore
from dreamcatcherd.hook.install import FOREIGN_REMEDIES, HOOKS, HookName, install_hook, kind_of_hook
from dreamcatcherd.imports.new_repository import GIT_SETTINGS
from dreamcatcherd.stages.fetch import Fetcher, View
from dreamcatcherd.stages.first_frame import open_first, open_on_top
from dreamcatcherd.stages.frame_file import read_frame_file
from dreamcatcherd.stages.ignored_deltas import ignored_deltas

DONE_BY: dict[HookName, str] = {"pre-receive": "the server-side check", "reference-transaction": "the sync of refs"}
"""The hooks of a shared repository, with what each does."""


class RepositoryChange(Struct, frozen=True):
    """One change: a git setting, `HEAD`, a hook or `state/frame.json`, from one value (null: none) to another."""

    what: str
    before: str | None = field(name="from")
    to: str


class Prepared(Struct, frozen=True):
    """What was changed, or in a dry run would be. `frame` is open then. `troubles` are not repaired by it."""

    changes: list[RepositoryChange]
    frame: int
    troubles: list[Trouble] = []


class _Step(NamedTuple):
    """A change, what makes it, and the folders that must be writable for that."""

    change: RepositoryChange
    make: Callable[[], None]
    folders: tuple[Path, ...]


def is_repository(path: Path) -> bool:
    """Whether a git repository is at a path itself: a bare one, or a checkout with its `.git`."""
    inside = all((path / name).exists() for name in ("objects", "refs")) and os.path.lexists(path / "HEAD")
    return inside or (path.is_dir() and os.path.lexists(path / ".git"))


def prepare(
    store: LocalStore,
    frame: int | None,
    now: int,
    closing: Closing,
    branch: str = "main",
    *,
    hook: bool = True,
    dry_run: bool = False,
) -> Prepared:
    """Make a bare repository ready for workers, in place; with `dry_run`, only say what would change.

    `frame` is the first open frame; None means the one that `state/frame.json` names, else 1. It does not count once
    frames are published. `now` is in microseconds UTC. RefusedError for what must not be changed, FatalError or
    RetryableError if a change fails."""
    _check_bare(store)
    main = f"refs/heads/{branch}"
    view = Fetcher(main).fetch(store, now)
    _check_branch(store, view)
    wanted, frame_steps = _frame_steps(store, view, frame, now, closing)
    hook_steps = _hook_steps(store.folder) if hook else ()
    steps = [*_setting_steps(store.folder), *_head_steps(store, view), *hook_steps, *frame_steps]
    if not dry_run:
        for folder in dict.fromkeys(folder for step in steps for folder in step.folders):
            _check_writable(folder)
        for step in steps:
            step.make()
    tree = store.commit(view.head).tree if view.head else None
    troubles = [*store.troubles(), *ignored_deltas(store, tree, wanted, view.settings.intake.roots)]
    return Prepared([step.change for step in steps], wanted, troubles)


# What is refused ------------------------------------------------------------------------------------------------------


def _check_bare(store: LocalStore) -> None:
    value = git(store.folder, "config", "--type=bool", "core.bare").stdout.decode().strip()
    if value == "true" or (not value and store.folder.name != ".git"):
        return
    top = Path(store.where).resolve()
    top = top.parent if top.name == ".git" else top
    bare = shlex.quote(f"{top}.git")
    cause = f"{top} has a work tree: git refuses pushes to the branch that is checked out there, and frames that are "
    cause += "published in it would not reach the files"
    remedy = f"make a bare copy and prepare that: git clone --bare {shlex.quote(str(top))} {bare}, then dreamcatcherd "
    raise RefusedError(cause, f"{remedy}init {bare}")


def _check_branch(store: LocalStore, view: View) -> None:
    """The branch must be there, unless there is none at all: a second root beside the history would be no help."""
    if view.head is not None or view.published.commit is not None:
        return
    name = paths.short_ref(view.main)
    if view.main in view.refs:
        remedy = f"run git -C {store.folder} fsck, and restore {name} from a clone"
        raise FatalError(f"the head of {name} in {store.where} cannot be read", remedy)
    prefix = view.settings.lane_prefix
    branches = sorted(ref for ref in view.refs if ref.startswith("refs/heads/") and not ref.startswith(prefix))
    if not branches:
        return
    head = _head(store.folder)
    there = paths.short_ref(head if head in branches else branches[0])
    remedy = f'name the shared branch with --config FILE: [repository] branch = "{there}"; or rename it: git -C '
    remedy += f"{store.folder} branch -m {there} {name}"
    raise RefusedError(f"{store.where} has no branch {name}, but {there}", remedy)


def _check_writable(folder: Path) -> None:
    if os.access(folder, os.W_OK | os.X_OK):
        return
    number = errno.EROFS if os.statvfs(folder).f_flag & os.ST_RDONLY else errno.EACCES
    what = f"nothing was changed: {folder} cannot be written to"
    raise disk_failure(what, OSError(number, os.strerror(number)), folder)


# The steps, in their order --------------------------------------------------------------------------------------------


def _setting_steps(folder: Path) -> Iterator[_Step]:
    """The git settings of the repository's own file: the server may run as a user with another configuration."""
    for name, wanted in GIT_SETTINGS:
        found = _setting(folder, name)
        kind = ("--type=bool",) if wanted in ("true", "false") else ()
        if [value.lower() for value in _setting(folder, name, *kind)[-1:]] != [wanted]:
            change = RepositoryChange(name, ", ".join(found) or None, wanted)
            yield _Step(change, partial(_run, folder, "config", "--local", "--replace-all", name, wanted), (folder,))


def _setting(folder: Path, name: str, *kind: str) -> list[str]:
    """The values of a setting in the repository's own file, the one that counts last; those of a `kind` in its form."""
    result = git(folder, "config", "--local", *kind, "--null", "--get-all", name)
    if result.returncode > 1 and not kind:  # 1: not set; with a kind also a value of another one
        raise FatalError(f"{folder / 'config'} cannot be read: {error_message(result)}", "correct that file")
    return result.stdout.decode("utf-8", "replace").split("\0")[:-1]


def _head_steps(store: LocalStore, view: View) -> Iterator[_Step]:
    """HEAD, if it names a branch that does not exist: clones would check out nothing, and the check would guard it."""
    named = _head(store.folder)
    if named != view.main and named not in view.refs:
        make = partial(_run, store.folder, "symbolic-ref", "HEAD", view.main)
        yield _Step(RepositoryChange("HEAD", named or None, view.main), make, (store.folder,))


def _head(folder: Path) -> str:
    return git(folder, "symbolic-ref", "--quiet", "HEAD").stdout.decode("utf-8", "surrogateescape").strip()


def _hook_steps(folder: Path) -> Iterator[_Step]:
    """The hooks that are not there. One of somebody else is never replaced."""
    for name in HOOKS:
        named = (
            git(folder, "rev-parse", "--git-path", f"hooks/{name}").stdout.decode("utf-8", "surrogateescape").strip()
        )
        path = folder / named
        kind = kind_of_hook(path, name)
        if kind in ("current", "calls ours"):
            continue
        without = "or leave hooks out with --no-hook"
        if path.parent.resolve() != folder.resolve() / "hooks":
            cause = f"git runs the hooks of {path.parent}, which other repositories may share"
            remedy = f"put {name} there yourself (docs/protocol.md, The server-side check), {without}"
            raise RefusedError(cause, remedy)
        if kind == "foreign":
            raise RefusedError(f"{path} is another hook, which is not replaced", f"{FOREIGN_REMEDIES[name]}; {without}")
        does = DONE_BY[name]
        version = "of another version or Python" if name == "pre-receive" else "of another version"
        before = {"none": None, "outdated": f"{does} {version}"}.get(kind, f"{does}, not executable")
        make = partial(_install, folder, name, keep=kind == "outdated")
        where = path.parent if path.parent.is_dir() else folder
        yield _Step(RepositoryChange(f"hooks/{name}", before, does), make, (where,))


def _install(folder: Path, name: HookName, *, keep: bool) -> None:
    """Install a hook; with `keep`, the one that is there stays beside it, since somebody may have edited it."""
    path = folder / "hooks" / name
    try:
        if keep:
            shutil.copy2(path, path.with_name(f"{name}.old"))
        install_hook(folder, name)
    except OSError as error:
        raise disk_failure(f"{path} cannot be written", error, folder) from error


def _frame_steps(
    store: LocalStore, view: View, frame: int | None, now: int, closing: Closing
) -> tuple[int, list[_Step]]:
    """The open frame, and the commit that opens it, if that is needed."""
    if view.published.commit is not None:
        return view.published.state.frame, []
    tree = store.commit(view.head).tree if view.head else None
    state, there = read_frame_file(store, tree), lookup(store, tree, paths.FRAME)
    above = lookup(store, tree, paths.FRAME.partition("/")[0])
    if (above is not None and above.mode != TREE) or (there is not None and there.mode == TREE):
        cause = f"{paths.short_ref(view.main)} has no room for {paths.FRAME}: a file or folder has that name"
        raise RefusedError(cause, "rename it on the branch")
    named = state.frame if state is not None and 0 <= state.frame <= MAX_FRAME else None
    if frame is None and named is None and there is not None:
        cause = f"{paths.FRAME} on {paths.short_ref(view.main)} is another file: it names no frame"
        raise RefusedError(cause, "--frame N replaces it; to keep it, move it to another name on the branch")
    wanted = next(number for number in (frame, named, 1) if number is not None)
    if named == wanted:
        return wanted, []
    before = f"frame {named}" if named is not None else None if there is None else "a file that names no frame"
    change = RepositoryChange(paths.FRAME, before, f"frame {wanted}")
    folders = (store.folder, store.folder / "objects", store.folder / "refs")
    return wanted, [_Step(change, partial(_open_frame, store, view, wanted, now, closing), folders)]


def _open_frame(store: LocalStore, view: View, frame: int, now: int, closing: Closing) -> None:
    if view.head is None:
        open_first(store, frame, now, closing, view.main)
    elif not open_on_top(store, frame, now, closing, view.main, view.head):
        cause = f"{paths.short_ref(view.main)} was moved by a push before frame {frame} was opened on it"
        raise RetryableError(cause, "run it again: it continues where it stopped")


def _run(folder: Path, *words: str) -> None:
    result = git(folder, *words)
    if result.returncode:
        said = error_message(result)
        remedy = f"if {folder / 'config.lock'} is there and no git runs, remove it; then run init again"
        raise FatalError(f"git {words[0]} failed on {folder}: {said}", remedy_in(said, folder, remedy))
