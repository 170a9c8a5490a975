"""A push and the words that its judges share (Protocol §8): updates, offences, and what refs are judged by.

Owns shapes, the reading of settings, and what `main` had before; the rules are `receive`'s and `receive_lanes`'."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice

from msgspec import Struct, structs

from dreamcatcherd.core import paths
from dreamcatcherd.core.checkout import unsafe_path
from dreamcatcherd.core.codec import has_control
from dreamcatcherd.core.errors import UnreadableError
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
"""Files whose offences are told; for more than these nothing more is read."""
ACCEPTED_COST = 32 * 2**20
"""How much of accepted deltas is kept decoded until the end."""
_PAST = 10_000
KINDS = {
    paths.SNAPSHOT: "snapshot-edited",
    paths.LEDGER: "ledger-edited",
    paths.FRAME: "frame-edited",
}


class Update(Struct, frozen=True):
    """One ref that a push moves: `old` None makes it, `new` None deletes it."""

    ref: str
    old: str | None
    new: str | None


class Offence(Struct, frozen=True):
    """Why a push is refused: a file's path or a ref, a reason of a fixed set, and what is wrong, for people."""

    path: str
    reason: str
    detail: str
    at: str | None = None


class Gate(Struct, frozen=True):
    """What the repository says about its refs. `is_primary` tells by who pushes or by a commit's signature; None where
    nobody is named."""

    main: str
    counter: str = COUNTER
    is_primary: Callable[[str], bool] | None = None


class Push(Struct, frozen=True):
    """A push with all that its refs are judged by: `refs` are those of before, `head` is `main`'s commit of after.

    `accepted`, `strays`, `unsafe` and `brought` collect what is read on the way: deltas, other files below the delta
    root, those of them that no clone can hold, and commits. `hidden` are the commits whose history was judged when it
    came in, or is the primary's. `standing` are the settings before the push: they say who may change them. `now` is
    the time of the push, in microseconds UTC."""

    store: RepositoryReader
    gate: Gate
    refs: dict[str, str]
    moves: dict[str, Update]
    head: str | None
    settings: Settings
    hidden: list[str]
    past: Past
    standing: Settings
    now: int
    accepted: list[Delta] = []
    strays: list[str] = []
    unsafe: list[tuple[str, str]] = []
    brought: dict[str, Commit] = {}
    spent: dict[str, int] = {}

    def versions(self, oid: str, commit: Commit) -> list[tuple[str, str, int]]:
        """The delta files that a commit brings; what else it brings below the delta root is noted."""
        self.brought[oid] = commit
        files = files_of(self.store, commit)
        strays = [path for path, *_ in files if not path.endswith(".json")]
        self.strays.extend(strays)
        self.unsafe.extend((path, why) for path in strays if (why := unsafe_path(path)) is not None)
        return deltas_among(files)

    def unchecked(self, tips: Sequence[str], also: str | None = None) -> list[tuple[str, Commit]]:
        """The commits that come in by some tips, oldest first as far as their order is known; none that `also`
        reaches."""
        hidden = [*self.hidden, also] if also else self.hidden
        return list(self.store.new_commits(tips, hidden).items())[::-1] if tips else []

    def judged(self, oid: str, commit: Commit) -> Iterator[Delta | Reject]:
        """What each delta file is that a commit brings; UnreadableError where the commit cannot be read."""
        for found in read_versions(self.store, oid, self.versions(oid, commit), self.settings.limits, OFFENCES_LISTED):
            yield found.item

    def accept(self, delta: Delta) -> None:
        """Keep an accepted delta, for what is said of it at the end; of many only the first keep their bodies."""
        spent = self.spent.get("bodies", 0) + delta.cost
        self.spent["bodies"] = spent
        self.accepted.append(delta if spent <= ACCEPTED_COST else structs.replace(delta, body=None))

    def good_signatures(self, commits: Iterable[str], signers: Signers) -> dict[str, str]:
        """Which commits have a good signature by a key that is valid at the time of the push: its fingerprint."""
        return self.store.good_signatures(sorted(set(commits)), lines_at(signers.lines, self.now))


def unsigned_offences(push: Push, deltas: list[Delta]) -> Iterator[Offence]:
    """Where the standing settings name signers: the deltas whose commit no key of their stream signed."""
    signers = push.standing.signers
    if not signers or not deltas:
        return
    good = push.good_signatures((item.version.commit for item in deltas), signers)
    for item in deltas:
        commit = item.version.commit
        if not speaks_for(signers, good.get(commit), item.stream_id):
            detail = (
                f"commit {commit[:10]} has no good signature by a key of the stream {quoted_stream(item.stream_id)}"
            )
            yield Offence(item.version.path, "wrong-stream", detail, "$.stream_id")


def settings_at(store: RepositoryReader, refs: dict[str, str], main: str, head: str | None) -> Settings:
    """The settings that deltas will be judged under: those on `main`, or where they do not read the last good ones."""
    entry = lookup(store, store.commit(head).tree, paths.SETTINGS) if head else None
    try:
        return read_settings_file(store, entry)
    except SettingsError:
        from dreamcatcherd.stages.published import load_published  # seldom needed, and slow to load: see incoming

        return load_published(store, refs, main).settings


def rejected(item: Reject) -> Offence:
    fault, version = item.fault, item.version
    return Offence(version.path, fault.reason, f"{fault.detail} (commit {version.commit[:10]})", fault.at)


def unreadable(oid: str, error: UnreadableError) -> Offence:
    """A commit that nobody could read would be passed by, with all that it brings."""
    return Offence(f"commit {oid}", "unreadable-commit", error.cause)


def violation_kind_of(path: str) -> str:
    found = (kind for folder, kind in KINDS.items() if path == folder or path.startswith(folder + "/"))
    return next(found, "state-edited")


def quoted_stream(stream: str) -> str:
    return repr(stream) if not has_control(stream) else "'?'"


class Past:
    """What `main` ever had directly below `state/`: read back along first parents, only as far as is asked."""

    def __init__(self, store: RepositoryReader, head: str | None) -> None:
        self._seen: set[tuple[str, Entry]] = set()
        self._back = islice(_states(store, head), _PAST)

    def holds(self, name: str, entry: Entry) -> bool:
        """Whether `main` once had this entry by this name."""
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
