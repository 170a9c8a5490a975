"""The data that the rules of the server-side check share (docs/protocol.md#the-server-side-check).

Updates, offences, the settings of a push, and earlier content of `main`. The rules are in `branch_rules` and
`lane_rules`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice

from msgspec import Struct, structs

from dreamcatcherd.core import paths
from dreamcatcherd.core.checkout import unsafe_path
from dreamcatcherd.core.codec import has_control
from dreamcatcherd.core.errors import UnreadableError
from dreamcatcherd.core.intake import overlap, passes_through
from dreamcatcherd.core.model import Delta, Reject
from dreamcatcherd.core.settings import Settings, SettingsError
from dreamcatcherd.core.signers import Signers, lines_at, speaks_for
from dreamcatcherd.core.tree import Entry, lookup, read_tree, subtree
from dreamcatcherd.git.protocols import Commit, RepositoryReader
from dreamcatcherd.stages.delta_reader import deltas_among, files_of, read_versions
from dreamcatcherd.stages.settings_file import read_settings_file

COUNTER = "state/frame_counter.json"
"""The file in which an external driver raises the frame, unless the repository names another."""

OFFENCES_LISTED = 100
"""How many files of a push are reported with their offence; then the check stops reading."""
ACCEPTED_COST = 32 * 2**20
"""How much of the accepted deltas is kept decoded for the warnings, in units of `Delta.cost`."""
_PAST = 10_000
"""How many commits of `main` are searched for earlier content."""
KINDS = {
    paths.SNAPSHOT: "snapshot-edited",
    paths.LEDGER: "ledger-edited",
    paths.FRAME: "frame-edited",
}
"""The canonical files and folders, with the reason for which an edit of them is refused."""


class Update(Struct, frozen=True):
    """One ref that a push moves; `old` is None if the push creates it, `new` if it deletes it."""

    ref: str
    old: str | None
    new: str | None


class Offence(Struct, frozen=True):
    """Why a push is refused: a file's path or a ref, a reason of a fixed set, and a text for people.

    `at` is the place in the file as a JSON path, if there is one."""

    path: str
    reason: str
    detail: str
    at: str | None = None


class Gate(Struct, frozen=True):
    """The configuration of the check: the shared branch as a full ref name, and the counter file's path.

    `is_primary` answers, for a commit that is pushed, whether the account or the signature is the primary's; it is None
    if the repository names no primary."""

    main: str
    counter: str = COUNTER
    is_primary: Callable[[str], bool] | None = None


class Push(Struct, frozen=True):
    """A push with the data to check it against: `refs` are those before it, `head` is `main`'s commit after it.

    `settings` are those after the push, `previous` those before it, which say who may change them. `hidden` are commits
    whose history was checked when it came in, or is the primary's. `now` is the time of the push, in microseconds UTC.
    `accepted`, `strays`, `unsafe`, `left_behind` and `brought` collect what the rules read: deltas, other files below
    the delta roots, those of them that no clone can hold, files on lanes that never reach `main`, and commits. `spent`
    is the cost of the bodies kept so far."""

    store: RepositoryReader
    gate: Gate
    refs: dict[str, str]
    moves: dict[str, Update]
    head: str | None
    settings: Settings
    hidden: list[str]
    past: Past
    previous: Settings
    now: int
    accepted: list[Delta] = []
    strays: list[str] = []
    unsafe: list[tuple[str, str]] = []
    left_behind: list[str] = []
    brought: dict[str, Commit] = {}
    spent: dict[str, int] = {}

    def versions(self, oid: str, commit: Commit) -> list[tuple[str, str, int]]:
        """The delta files that a commit brings, as (path, blob, mode); other files below the delta roots are noted.

        UnreadableError if the commit cannot be read."""
        self.brought[oid] = commit
        files = files_of(self.store, commit, self.settings.intake.roots)
        strays = [path for path, *_ in files if not path.endswith(".json")]
        self.strays.extend(strays)
        self.unsafe.extend((path, why) for path in strays if (why := unsafe_path(path)) is not None)
        return deltas_among(files)

    def unchecked(self, tips: Sequence[str], also: str | None = None) -> list[tuple[str, Commit]]:
        """The new commits that some tips reach and `also` does not; oldest first as far as their order is known."""
        hidden = [*self.hidden, also] if also else self.hidden
        return list(self.store.new_commits(tips, hidden).items())[::-1] if tips else []

    def judged(self, oid: str, commit: Commit) -> Iterator[Delta | Reject]:
        """Read the delta files that a commit brings; UnreadableError if the commit cannot be read."""
        for found in read_versions(self.store, oid, self.versions(oid, commit), self.settings, OFFENCES_LISTED):
            yield found.item

    def accept(self, delta: Delta) -> None:
        """Keep an accepted delta for the warnings; beyond ACCEPTED_COST without its body."""
        spent = self.spent.get("bodies", 0) + delta.cost
        self.spent["bodies"] = spent
        self.accepted.append(delta if spent <= ACCEPTED_COST else structs.replace(delta, body=None))

    def good_signatures(self, commits: Iterable[str], signers: Signers) -> dict[str, str]:
        """The commits with a good signature by a key that is valid at the time of the push; values are fingerprints."""
        return self.store.good_signatures(sorted(set(commits)), lines_at(signers.lines, self.now))


def unsigned_offences(push: Push, deltas: list[Delta]) -> Iterator[Offence]:
    """If the settings before the push name signers: the deltas whose commit no key of their stream signed."""
    signers = push.previous.signers
    if not signers or not deltas:
        return
    good = push.good_signatures((item.version.commit for item in deltas), signers)
    for item in deltas:
        commit = item.version.commit
        if not speaks_for(signers, good.get(commit), item.stream_id):
            detail = (
                f"commit {commit[:10]} has no good signature by a key of the stream {quoted_stream(item.stream_id)}"
            )
            yield Offence(item.version.path, "wrong-stream", detail, item.stream_at)


def settings_at(store: RepositoryReader, refs: dict[str, str], main: str, head: str | None) -> Settings:
    """The settings in a commit of `main`: the defaults if it has no settings file, the last good ones if that or the
    commit cannot be read."""
    try:
        entry = lookup(store, store.commit(head).tree, paths.SETTINGS) if head else None
        return read_settings_file(store, entry)
    except (SettingsError, UnreadableError):
        from dreamcatcherd.stages.published import load_published  # slow to load, and few pushes need it

        return load_published(store, refs, main).settings


def rejected(item: Reject) -> Offence:
    """The offence of a version that would be quarantined."""
    fault, version = item.fault, item.version
    return Offence(version.path, fault.reason, f"{fault.detail} (commit {version.commit[:10]})", fault.at)


def unreadable(oid: str, error: UnreadableError) -> Offence:
    """The offence of a commit that cannot be read: it would be passed over, with every delta in it."""
    return Offence(f"commit {oid}", "unreadable-commit", error.cause)


def violation_kind_of(path: str) -> str:
    """The reason for which an edit of a file below `state/` is refused."""
    found = (kind for folder, kind in KINDS.items() if path == folder or path.startswith(folder + "/"))
    return next(found, "state-edited")


def others_may_write(settings: Settings, path: str) -> bool:
    """Whether `[intake] pass` lets everybody write a file below `state/`. Canonical files, settings and delta roots,
    and whatever would be in their place, stay closed."""
    if not passes_through(settings.intake, path):
        return False
    closed = (*KINDS, paths.SETTINGS, *settings.intake.roots, *(view.path for view in settings.views.values()))
    return not any(overlap(path, one) for one in closed)


def quoted_stream(stream: str) -> str:
    """A stream id in quotes for a terminal; '?' if it has control characters."""
    return repr(stream) if not has_control(stream) else "'?'"


class Past:
    """The entries that `main` has or had directly below `state/`.

    History is read along first parents, only as far back as a question needs, and at most _PAST commits."""

    def __init__(self, store: RepositoryReader, head: str | None) -> None:
        self._seen: set[tuple[str, Entry]] = set()
        self._back = islice(_states(store, head), _PAST)

    def holds(self, name: str, entry: Entry) -> bool:
        """Whether `main` has or had this entry under this name."""
        while (name, entry) not in self._seen:
            state = next(self._back, None)
            if state is None:
                return False
            self._seen.update(state.items())
        return True


def _states(store: RepositoryReader, head: str | None) -> Iterator[dict[str, Entry]]:
    while head is not None:
        commit = store.commit(head)
        yield read_tree(store, subtree(store, commit.tree, "state"))
        head = commit.parents[0] if commit.parents else None
