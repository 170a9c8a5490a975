"""Heads that mirrors brought are read like lanes, and nothing depends on which forge took what."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dreamcatcherd.core import paths
from dreamcatcherd.core.tree import FILE, Entry, edit
from dreamcatcherd.daemon.cycle import close_frame, poll, remove_silent_lanes
from dreamcatcherd.daemon.primary import Primary
from dreamcatcherd.git.protocols import Commit, Move, Store
from dreamcatcherd.stages.mirrored import droppable, mirrored_heads
from tests.law.fleet import MAIN, new_primary
from tests.stages.tools import FOLDER, WHO, close, merged, put, reasons, text

Forge = dict[str, str]
"""The branches of a mirror, with their heads."""


def push(store: Store, forge: Forge, branch: str, files: dict[str, bytes], parents: tuple[str, ...] = ()) -> str:
    """Commit files on top of a branch of a mirror, or on other parents, as a worker would push them there."""
    parents = parents or ((forge[branch],) if branch in forge else ())
    entries: dict[str, Entry | None] = {path: Entry(FILE, store.write("blob", raw)) for path, raw in files.items()}
    tree = edit(store, store.commit(parents[0]).tree if parents else None, entries)
    assert tree is not None
    forge[branch] = store.write_commit(Commit(tree, parents, WHO, 1_767_225_600, "work\n"))
    store.flush()
    return forge[branch]


def bring(store: Store, mirror: str, forge: Forge) -> None:
    """Keep the heads of a mirror as its thread would."""
    for branch, oid in forge.items():
        ref = paths.mirrored_ref(mirror, branch, oid)
        if ref not in store.refs():
            assert store.move_refs([Move(ref, oid, None)], "mirror")


def file_of(name: str, stream: str = "s", number: int = 0) -> dict[str, bytes]:
    return {f"{FOLDER}/1/{name}.json": text(stream=stream, number=number)}


def sources(primary: Primary) -> dict[str, str]:
    return {row.path.rpartition("/")[2]: row.source for row in close(primary).deltas}


def test_a_lane_and_the_shared_branch_of_a_mirror_are_merged_under_its_name(primary: Primary) -> None:
    """A lane brings deltas of its stream, the shared branch those of any; what another stream's lane brings is
    quarantined."""
    store, forge = primary.store, Forge()
    push(store, forge, "dc/s", file_of("lane"))
    push(store, forge, "dc/t/x", file_of("stolen"))
    push(store, forge, "main", file_of("shared", "anybody"), (store.refs()[MAIN],))
    bring(store, "north", forge)
    ledger = close(primary)
    assert {row.path.rpartition("/")[2]: row.source for row in ledger.deltas} == {
        "lane.json": "mirror/north:dc/s",
        "shared.json": "mirror/north:main",
    }
    assert reasons(ledger) == {"stolen.json": "wrong-stream"}
    assert close(primary).deltas == []


def test_a_commit_on_both_forges_is_the_lane_of_the_deciding_one(primary: Primary) -> None:
    """One row, one parent, and no violation, also where the mirror has more of the lane than the other."""
    store, forge = primary.store, Forge()
    first = push(store, forge, "dc/s", file_of("one"))
    put(store, "refs/heads/dc/s", {}, (first,))
    bring(store, "north", forge)
    bring(store, "south", forge)
    ledger = close(primary)
    assert [row.source for row in ledger.deltas] == ["dc/s"]
    assert ledger.violations == []
    assert len(store.commit(store.refs()[MAIN]).parents) == 2
    push(store, forge, "dc/s", file_of("two", number=1))
    bring(store, "north", forge)
    assert sources(primary) == {"two.json": "mirror/north:dc/s"}


def test_a_mirror_that_was_rewound_takes_nothing_back(primary: Primary) -> None:
    """What was read before it came back as an older copy is merged, and no lane counts as rewound."""
    store, forge = primary.store, Forge()
    old = push(store, forge, "dc/s", file_of("old"))
    push(store, forge, "dc/s", file_of("lost", number=1))
    bring(store, "north", forge)
    poll(primary)
    forge["dc/s"] = old
    bring(store, "north", forge)
    ledger = close(primary)
    assert merged(ledger) == ["lost.json", "old.json"]
    assert ledger.violations == []


def test_heads_are_dropped_once_they_are_merged_or_covered(primary: Primary) -> None:
    """Of five pushes to one lane only the last head is kept and becomes a parent; after the close none is kept. They
    are never deleted as lanes of the deciding repository."""
    store, forge = primary.store, Forge()
    for number in range(5):
        push(store, forge, "dc/s", file_of(f"d{number}", number=number))
        bring(store, "north", forge)
    poll(primary)
    inbox = primary.last
    assert inbox is not None
    heads = mirrored_heads(inbox.refs, inbox.settings, MAIN)
    last = paths.mirrored_ref("north", "dc/s", forge["dc/s"])
    assert droppable(inbox.commits, heads, ()) == sorted(heads.keys() - {last})
    assert len(close(primary).deltas) == 5
    assert len(store.commit(store.refs()[MAIN]).parents) == 2
    poll(primary)
    assert primary.last is not None
    assert droppable(primary.last.commits, heads, ()) == sorted(heads)
    assert droppable(primary.last.commits, heads, [last]) == sorted(heads.keys() - {last})
    assert remove_silent_lanes(primary, -10.0) == []
    assert mirrored_heads(store.refs(), inbox.settings, MAIN) == heads


@pytest.mark.parametrize(
    "branch", ["dc/s", "dc/s/x", "dc/a%2Fb/c", "dc/%", "main", "dc/" + "é" * 30], ids=lambda name: name[:8]
)
def test_the_ref_of_a_head_names_its_mirror_and_branch(branch: str) -> None:
    """As one path component, so that no branch is in another one's way; ledgers name the same two."""
    oid = "0123456789" * 4
    ref = paths.mirrored_ref("north", branch, oid)
    assert ref.count("/") == 5
    assert paths.mirrored_branch(ref) == ("north", branch)
    assert paths.mirrored_source(paths.short_ref(ref)) == ("north", branch)


@pytest.mark.parametrize("ref", ["refs/heads/dc/s", "refs/dreamcatcher/mirrors/north/x/dc%2Fs", "mirror/north"])
def test_other_refs_are_of_no_mirror(ref: str) -> None:
    """Only what `mirrored_ref` makes is read back."""
    assert paths.mirrored_branch(ref) is None
    assert paths.mirrored_source(ref) is None


# Any distribution -----------------------------------------------------------------------------------------------------


class Pushed(NamedTuple):
    """One delta, and the forges that it is pushed to: the deciding one (`main`) or mirrors; then perhaps a close."""

    stream: str
    frame: int
    number: int
    to: frozenset[str]
    by_branch: bool
    closes: bool


PUSHES = st.lists(
    st.builds(
        Pushed,
        st.sampled_from("abc"),
        st.integers(1, 3),
        st.integers(0, 9),
        st.frozensets(st.sampled_from(["main", "north", "south"]), min_size=1),
        st.booleans(),
        st.booleans(),
    ),
    max_size=12,
)


def send(store: Store, forges: dict[str, Forge], pushed: Pushed, at: int) -> None:
    """Push one delta to each of its forges: to the stream's lane there, or to the shared branch."""
    raw = text(pushed.frame, pushed.stream, pushed.number, counters={"n": 1}, posts_created=[{"number": at % 3}])
    files = {f"{FOLDER}/{pushed.frame}/{pushed.stream}-{at}.json": raw}
    for name in sorted(pushed.to):
        branch = "main" if pushed.by_branch else f"dc/{pushed.stream}"
        if name == "main":
            entries: dict[str, Entry | None] = {
                path: Entry(FILE, store.write("blob", one)) for path, one in files.items()
            }
            put(store, f"refs/heads/{branch}", entries)
            continue
        base = (store.refs()[MAIN],) if branch == "main" and branch not in forges[name] else ()
        push(store, forges[name], branch, files, base)
        bring(store, name, forges[name])


def digest(pushes: list[Pushed], flat: bool) -> str:
    """The digest of all of them; with `flat`, from one forge, and all in one close."""
    primary = new_primary(b"")
    forges: dict[str, Forge] = {"north": {}, "south": {}}
    for at, one in enumerate(pushes):
        send(primary.store, forges, one._replace(to=frozenset(["main"])) if flat else one, at)
        if one.closes and not flat:
            close_frame(primary, "test")
    for _ in range(4):
        ledger = close(primary)
    return ledger.snapshot


@given(PUSHES)
@settings(max_examples=25)
def test_any_distribution_over_forges_gives_the_digest_of_the_flat_fleet(pushes: list[Pushed]) -> None:
    """Whatever went to the deciding repository, to either of two mirrors or to several, by lane or shared branch, in
    whatever frames: the state is that of all deltas pushed to one."""
    assert digest(pushes, flat=False) == digest(pushes, flat=True)
