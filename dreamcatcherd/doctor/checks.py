"""The checks of `doctor`: each is a short function that yields facts, with a remedy if something is wrong.

Nothing is changed, except that `try_push` pushes and deletes a ref of its own. What a check cannot find out is reported
and does not count as a fault."""

from __future__ import annotations

import email.utils
import os
import re
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from datetime import timedelta
from importlib import metadata
from itertools import islice
from pathlib import Path

import pygit2

from dreamcatcherd.core import paths
from dreamcatcherd.core.checkout import Checkout, FolderContents
from dreamcatcherd.core.codec import plain
from dreamcatcherd.core.errors import DreamcatcherError
from dreamcatcherd.core.report import Check, plural
from dreamcatcherd.core.tree import NamePath
from dreamcatcherd.core.troubles import Trouble, unmatched_settings
from dreamcatcherd.doctor.push_check import check_hook, check_ref_sync
from dreamcatcherd.doctor.sizes import check_largest, check_packs, check_space, check_view_sizes
from dreamcatcherd.git.command import git
from dreamcatcherd.git.derived_files import derived_files
from dreamcatcherd.git.locks import all_locks, stale
from dreamcatcherd.git.protocols import GitStore, Store
from dreamcatcherd.git.remote import RemoteStore
from dreamcatcherd.git.signatures import sign
from dreamcatcherd.stages.fetch import Fetcher, View
from dreamcatcherd.stages.folder_facts import KEPT_FROM, FolderFacts
from dreamcatcherd.stages.ignored_deltas import ignored_deltas
from dreamcatcherd.stages.inbox import Inbox
from dreamcatcherd.stages.ingest import InboxReader
from dreamcatcherd.stages.published import PublishedState
from dreamcatcherd.stages.stray_branches import StrayBranches, occupied_lanes
from dreamcatcherd.stages.unreadable import troubles_of

GIT_NEEDED = (2, 36)
LANES_MANY = 5_000
"""More lanes than this slow every poll."""
NAMES_SHOWN = 20
OFFSET_S = 5.0
"""The largest accepted difference between two clocks, in seconds."""


def check_tools() -> Iterator[Check]:
    """Whether git is on the PATH and new enough to write durably; and the versions of pygit2 and libgit2."""
    try:
        said = subprocess.run(["git", "--version"], capture_output=True, text=True, timeout=10, check=True).stdout
    except (OSError, subprocess.SubprocessError) as error:
        yield Check("git", False, f"git does not run: {error}", "install git 2.36 or newer")
    else:
        match = re.search(r"(\d+)\.(\d+)", said)
        fine = match is not None and (int(match[1]), int(match[2])) >= GIT_NEEDED
        yield Check(
            "git", fine, said.strip(), None if fine else "install git 2.36 or newer: older ones do not fsync refs"
        )
    yield Check("libgit2", True, f"pygit2 {metadata.version('pygit2')} with libgit2 {pygit2.LIBGIT2_VERSION}")


def check_signing(key: Path | None) -> Iterator[Check]:
    """Whether the key that snapshot commits are signed with can sign; nothing without a key."""
    if key is None:
        return
    try:
        sign(b"doctor\n\n", key)
    except DreamcatcherError as error:
        yield Check("signing", False, error.cause, error.remedy)
    else:
        yield Check("signing", True, f"{key} can sign")


def check_repository(store: Store, main: str) -> Iterator[Check]:
    """Whether the repository can be reached and read, and the state of its branch, settings, lanes and names.

    `main` is a full ref name. After a failure to connect or to read, the checks that depend on it are left out."""
    try:
        start = time.perf_counter()
        refs = store.refs()
        took = time.perf_counter() - start
    except DreamcatcherError as error:
        yield Check("reachable", False, error.cause, error.remedy)
        return
    yield Check("reachable", True, f"{store.where}: {plural(len(refs), 'ref')} in {1000 * took:.0f} ms")
    try:
        view = Fetcher(main).fetch(store, time.time_ns() // 1000)
        inbox = InboxReader().read(store, view)
    except DreamcatcherError as error:
        yield Check("snapshot", False, error.cause, error.remedy)
        return
    base = view.published
    for trouble in store.troubles():
        yield Check("repository", False, trouble.what, trouble.remedy)
    yield _published(store, view)
    yield from _settings(view)
    yield _lanes(view.refs, base)
    if base.commit is not None:
        yield check_largest(store, base.commit, view.settings.intake.roots)
        yield from check_view_sizes(store, base)
    yield from _troubles(store, inbox)
    if base.commit is not None:
        yield _frame_time(store.commit(base.commit).time, time.time())


def _frame_time(closed: int, now: float) -> Check:
    """Whether the last frame was closed in the past: else this clock or that of its primary is wrong.

    `closed` and `now` are seconds UTC."""
    if closed <= now + OFFSET_S:
        return Check("frame time", True, f"the last frame was closed {_ago(now - closed)} ago")
    cause = f"the last frame was closed {_ago(closed - now)} in the future, by this clock"
    return Check("frame time", False, cause, "set the clocks of all primaries, with chrony or systemd-timesyncd")


def _ago(seconds: float) -> str:
    return str(timedelta(seconds=max(0, round(seconds))))


def _published(store: Store, view: View) -> Check:
    head, main, base = view.head, view.main, view.published
    if head is None:
        remedy = "dreamcatcherd run or merge creates it, or push a first commit; check [repository] branch"
        return Check("branch", False, f"there is no {paths.short_ref(main)}", remedy)
    if base.commit is None:
        return Check("branch", True, f"no frame is closed yet; frame {base.state.frame} is open")
    if not store.descends(head, base.commit):
        cause = f"{paths.short_ref(main)} was rewound: it does not hold the published {base.commit}"
        return Check(
            "branch", False, cause, "the next frame corrects it with both heads as parents; find out who forced it"
        )
    return Check("branch", True, f"frame {base.state.frame} is open, the last snapshot is {base.snapshot}")


def _settings(view: View) -> Iterator[Check]:
    """The settings in force. Those that can never match are no fault: nothing is refused for them."""
    if view.refused is not None:
        yield Check("settings", False, f"{paths.SETTINGS} is refused: {view.refused}", "correct it and push it again")
    else:
        yield Check("settings", True, f"{paths.SETTINGS} {view.settings.blob or 'does not exist: the defaults apply'}")
    for one in unmatched_settings(view.settings.warnings):
        yield Check("settings", True, one.what, one.remedy)


def _lanes(refs: dict[str, str], base: PublishedState) -> Check:
    prefix = base.settings.lane_prefix
    lanes = [ref.removeprefix(prefix) for ref in refs if paths.lane_stream(ref, prefix) is not None]
    if len(lanes) > LANES_MANY:
        remedy = "lower [retention] lanes_keep on the primary"
        return Check("lanes", False, f"{len(lanes)} lanes slow every poll", remedy)
    flat = [name for name in lanes if "/" not in name]
    if not flat or len(flat) == len(lanes):
        return Check("lanes", True, plural(len(lanes), "lane"))
    short = paths.short_ref(prefix)
    forms = f"{len(flat)} as {short}<stream>, such as {short}{min(flat)}, and others as {short}<stream>/<anything>"
    return Check("lanes", True, f"{len(lanes)} lanes, {forms}: one stream can have lanes of one form only")


def _troubles(store: Store, inbox: Inbox) -> Iterator[Check]:
    """Refs and commits that cannot be read, names that no clone can hold, lanes that shut out another stream, branches
    with deltas that are never merged, and deltas that a worker's git ignores."""
    base, main = inbox.published, inbox.main
    refs = [*store.troubles(), *troubles_of(inbox.unreadable, main)]
    strays = StrayBranches().troubles(store, inbox.refs, main, inbox.settings, base.commit)
    head = store.commit(inbox.head).tree if inbox.head else None
    remedy = f"git rm it on {paths.short_ref(main)} (git rm --cached --sparse), and push"
    names = [Trouble(plain(f"{'/'.join(path)}: {why}"), None, remedy) for path, why in _unsafe_paths(store, head)]
    hidden = ignored_deltas(store, head, base.state.frame, inbox.settings.intake.roots)
    for check, found, fine in (
        ("refs", refs, "all can be read"),
        ("names", names, f"a clone can hold all of {paths.short_ref(main)}"),
        ("lane owners", occupied_lanes(store, inbox), "no lane shuts out another stream"),
        ("branches", strays, "no deltas on branches that are not merged"),
        ("ignored deltas", hidden, "no .gitignore hides deltas from git add"),
    ):
        for one in found:
            yield Check(check, False, one.what, one.remedy)
        if not found:
            yield Check(check, True, fine)


def _unsafe_paths(store: Store, head: str | None) -> list[tuple[NamePath, str]]:
    """The first names in a tree that no clone can hold. Large folders that were looked into before are not again."""
    facts = FolderFacts(derived_files(store), "contents", FolderContents)
    checkout = Checkout(facts.known)
    found = list(islice(checkout.unsafe_paths(store, head, []), NAMES_SHOWN))
    facts.keep({tree: one for tree, one in checkout.known.items() if one.files >= KEPT_FROM and one.broken is None})
    return found


# A repository on this disk --------------------------------------------------------------------------------------------

_WANTED = (
    ("receive.denyNonFastForwards", "true", "pushes may rewind branches"),
    ("receive.denyDeletes", "false", "merged lanes cannot be deleted, neither by workers nor by a remote primary"),
    ("core.logAllRefUpdates", "always", "no reflog records who moved a ref"),
    ("commitGraph.generationVersion", "1", "one commit with a date near 2^64 keeps git gc busy for ever"),
)


def check_folder(store: GitStore, main: str) -> Iterator[Check]:
    """Rights, settings, HEAD, hook, locks, packs and space of a repository on this disk."""
    folder = store.folder
    shut = [name for name in ("objects", "refs", "HEAD") if not os.access(folder / name, os.W_OK)]
    remedy = f"chown -R {os.geteuid()} {folder}, or run as its owner"
    yield Check(
        "rights", not shut, f"cannot write {', '.join(shut)}" if shut else "may write", remedy if shut else None
    )
    for name, wanted, harm in _WANTED:
        value = git(folder, "config", name).stdout.decode().strip()
        fine = (value.lower() or "false") == wanted
        yield Check(
            name,
            fine,
            (value or "not set") if fine else f"{value or 'not set'}: {harm}",
            None if fine else f"git -C {folder} config {name} {wanted}",
        )
    yield _objects(folder)
    yield _as_stored(folder)
    yield _head(folder, main)
    yield from check_hook(folder, main)
    yield check_ref_sync(folder)
    yield _locks(folder)
    yield check_packs(folder)
    yield check_space(folder)


def _objects(folder: Path) -> Check:
    """Whether git checks pushed objects before it keeps them: by this setting, or else by the general one."""
    found = (git(folder, "config", "--type=bool", name) for name in ("receive.fsckObjects", "transfer.fsckObjects"))
    value = next((text for one in found if (text := one.stdout.decode().strip())), "not set")
    if value == "true":
        return Check("receive.fsckObjects", True, value)
    cause = f"{value}: pushes of malformed commits and trees are accepted"
    return Check("receive.fsckObjects", False, cause, f"git -C {folder} config receive.fsckObjects true")


def _as_stored(folder: Path) -> Check:
    """Whether git shows objects as stored: dreamcatcherd never follows replacements and grafts, but git does."""
    listed = git(folder, "for-each-ref", "--format=%(refname)", "refs/replace").stdout.decode().split()
    if listed:
        remedy = f"git -C {folder} replace --delete {listed[0].rpartition('/')[2]}, unless you made it on purpose"
        return Check(
            "replacements", False, f"git shows other objects than are stored: {listed[0]}, {len(listed)} in all", remedy
        )
    grafts = folder / "info" / "grafts"
    if grafts.is_file() and grafts.stat().st_size:
        return Check("replacements", False, f"{grafts} changes what git shows as parents", f"rm {grafts}")
    return Check("replacements", True, "objects are shown as stored")


def _head(folder: Path, main: str) -> Check:
    """Whether HEAD names the shared branch: clones check that out, and the server-side check guards it."""
    named = git(folder, "symbolic-ref", "HEAD").stdout.decode("utf-8", "replace").strip()
    if named == main:
        return Check("HEAD", True, paths.short_ref(main))
    cause = f"HEAD names {named or 'no branch'}: clones check it out, and the hook guards it instead of {main}"
    return Check("HEAD", False, cause, f"git -C {folder} symbolic-ref HEAD {main}")


def _locks(folder: Path) -> Check:
    old = stale(all_locks(folder))
    if old:
        return Check(
            "locks", False, f"{old[0]} is left over, {len(old)} in all", f"make sure that no git runs, then rm {old[0]}"
        )
    return Check("locks", True, "no lock is left over")


# A repository on another machine --------------------------------------------------------------------------------------


def check_remote(store: RemoteStore, wall_s: Callable[[], float] = time.time) -> Iterator[Check]:
    """Rights to push, certificates, the server's clock, and the packs and space of the primary's own clone.

    `wall_s` gives the present time in seconds UTC. Settings that a server does not reveal are reported as advice."""
    trouble = store.try_push()
    if trouble is None:
        yield Check("push", True, "the server took a push of a ref, and its deletion")
    else:
        yield Check("push", False, trouble.cause, trouble.remedy)
    advice = "pushed objects are checked only where the server does so: git config receive.fsckObjects true there"
    yield Check("receive.fsckObjects", True, advice)
    if store.where.startswith("https://"):
        where = store.trust.file or store.trust.folder
        yield Check("certificates", True, f"{where}, from {store.trust.source}" if where else store.trust.source)
    yield _clock(store, wall_s)
    yield check_packs(store.folder)
    yield check_space(store.folder)


class _Stay(urllib.request.HTTPRedirectHandler):
    """Does not follow redirects: their answer has the server's time too."""

    def redirect_request(self, *_: object) -> None:
        return None


def _clock(store: RemoteStore, wall_s: Callable[[], float]) -> Check:
    """The difference between the clocks; an HTTP server sends its time with every answer, even an error."""
    if not store.where.startswith(("http://", "https://")):
        return Check("clock", True, "this protocol does not report the server's time")
    request = urllib.request.Request(f"{store.where}/info/refs?service=git-upload-pack", method="HEAD")  # noqa: S310 (http is checked for above)
    file, folder = store.trust.file, store.trust.folder
    try:
        trusted = urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=file, capath=folder))
        with urllib.request.build_opener(trusted, _Stay).open(request, timeout=10) as answer:
            date = answer.headers.get("Date")
    except urllib.error.HTTPError as refusal:
        date = refusal.headers.get("Date")
        refusal.close()
    except (OSError, ValueError) as error:
        return Check("clock", True, f"the server's time could not be read: {error}")
    moment = email.utils.parsedate_to_datetime(date) if date else None
    if moment is None:
        return Check("clock", True, "the server does not report its time")
    offset = wall_s() - moment.timestamp()
    fine = abs(offset) <= OFFSET_S
    shown = f"this clock is {abs(offset):.0f} s {'ahead of' if offset > 0 else 'behind'} the server's"
    return Check("clock", fine, shown, None if fine else "set the clock, with chrony or systemd-timesyncd")
