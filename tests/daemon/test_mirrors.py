"""Mirrors of a repository on this disk: what is read from them and kept, and how they are brought forward."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest
from msgspec import structs

from dreamcatcherd.config_remotes import MirrorConfig
from dreamcatcherd.core import paths
from dreamcatcherd.core.errors import RefusedError, RetryableError
from dreamcatcherd.core.frames import Closing
from dreamcatcherd.core.settings import DEFAULT, Settings
from dreamcatcherd.daemon.cycle import poll
from dreamcatcherd.daemon.mirror_config import mirror_of, mirrors_of
from dreamcatcherd.daemon.mirror_copier import MirrorCopier
from dreamcatcherd.daemon.mirror_keeper import MirrorBase, MirrorKeeper, MirrorTask
from dreamcatcherd.daemon.mirrors import Mirrors
from dreamcatcherd.doctor.mirrors import check_mirrors
from dreamcatcherd.git.local import LocalStore
from dreamcatcherd.git.ref_names import is_plain_branch
from dreamcatcherd.imports.new_repository import create
from dreamcatcherd.stages.mirrored import mirrored_heads
from tests.daemon.pairs import LANES, Pair
from tests.daemon.tools import Lines
from tests.e2e.servers import install_hook, remove_hook
from tests.e2e.tools import git, try_git, wait_for
from tests.law.fleet import MAIN, NOW, commit_files, primary_on
from tests.stages.tools import close, merged, text


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return Pair(tmp_path)


def test_what_was_read_counts_without_the_mirror(pair: Pair) -> None:
    """After a look the heads are kept by refs, objects and all: a mirror that is gone for good, and a restart, lose
    nothing. Once they are merged the refs go."""
    pair.push("lane")
    pair.push("shared", MAIN, 1, orphan=False)
    assert pair.read() == [("north", "dc/s"), ("north", "main")]
    shutil.rmtree(pair.path)
    pair.primary = primary_on(LocalStore(pair.store.folder))
    assert merged(close(pair.primary)) == ["lane.json", "shared.json"]
    assert "missing" not in git(pair.store.folder, "fsck", "--connectivity-only")
    pair.restart()
    pair.intake.dropping = frozenset(pair.intake.kept_heads())
    with pytest.raises(RetryableError, match=r"north\.git"):
        pair.read()
    assert len(pair.kept.read()) == 2


def test_heads_that_are_merged_are_not_kept_again(pair: Pair) -> None:
    """Neither at the next look, nor after a restart, nor when the mirror comes back as an older copy of itself."""
    old = pair.push("old")
    pair.push("new", number=1, orphan=False)
    pair.read()
    assert merged(close(pair.primary)) == ["new.json", "old.json"]
    poll(pair.primary)
    pair.intake.dropping = frozenset(pair.kept.read())
    assert pair.read() == []
    git(pair.path, "update-ref", f"{LANES}s", old)
    assert pair.read() == []
    pair.restart()
    assert pair.read() == []
    assert pair.kept.read() == {}


def test_the_lanes_of_listed_relays_are_lanes_at_a_mirror_too(pair: Pair) -> None:
    """A relay that pushed to the mirror is read there, with deltas of any stream, and its merged lane is deleted. The
    lane of one that is not listed is not read."""
    settings = b'[lanes]\nrelays = ["west"]\n'
    commit_files(pair.store, MAIN, {paths.SETTINGS: settings})
    pair.settings = Settings(relays=("west",), table=DEFAULT.table)
    for relay, stream in (("west", "alice"), ("east", "bob")):
        files = {f"{paths.DELTAS}/1/{stream}.json": text(stream=stream)}
        commit_files(pair.mirror, f"refs/heads/dc-relay/{relay}", files, orphan=True)
    assert pair.read() == [("north", "dc-relay/west")]
    ledger = close(pair.primary)
    assert [(row.stream_id, row.source) for row in ledger.deltas] == [("alice", "mirror/north:dc-relay/west")]
    close(pair.primary)
    lanes = {ref: oid for ref, oid in pair.listed().items() if pair.settings.is_lane(ref)}
    deleted = pair.copier.delete_lanes(pair.store.reader(), pair.published, lanes, 60.0, NOW / 1e6 + 61)
    assert deleted == ["refs/heads/dc-relay/west"]


def test_refs_that_vanish_are_asked_for_again(pair: Pair) -> None:
    """In a clone that was made again nothing is kept any more, although the mirror's heads are known."""
    pair.push("delta")
    assert len(pair.read()) == 1
    for ref in pair.kept.read():
        git(pair.store.folder, "update-ref", "-d", ref)
    assert pair.read() == [("north", "dc/s")]


def test_one_head_that_git_refuses_keeps_out_no_other(pair: Pair) -> None:
    """A commit without an author's address does not pass git's check: its lane is named, and all others are read. Once
    its owner pushed another history it is read as well."""
    tree = git(pair.path, "rev-parse", f"{MAIN}^{{tree}}")
    raw = pair.path / "raw"
    raw.write_text(f"tree {tree}\nauthor nobody 1 +0000\ncommitter nobody 1 +0000\n\nbad\n")
    bad = git(pair.path, "hash-object", "-t", "commit", "-w", "--literally", str(raw))
    git(pair.path, "update-ref", f"{LANES}bad", bad)
    for number in range(5):
        pair.push(f"d{number}", f"{LANES}s/{number}", number)
    assert pair.read() == [("north", f"dc/s/{number}") for number in range(5)]
    ((cause, remedy),) = pair.intake.troubles()
    assert "1 head with objects that git refuses, such as dc/bad" in cause
    assert "another history" in remedy
    pair.push("good", f"{LANES}bad")
    assert len(pair.read()) == 6
    assert pair.intake.troubles() == []


def test_a_mirror_that_lists_what_is_no_commit_brings_nothing_of_it(pair: Pair) -> None:
    """A lane that names a file is passed by."""
    raw = pair.path / "raw"
    raw.write_text("no commit")
    blob = git(pair.path, "hash-object", "-w", str(raw))
    (pair.path / "refs/heads/dc").mkdir(parents=True)
    (pair.path / "refs/heads/dc/x").write_text(f"{blob}\n")
    pair.push("delta")
    assert pair.read() == [("north", "dc/s")]


@pytest.mark.parametrize("url", ["published", "branch"])
def test_a_mirror_of_another_history_is_refused(pair: Pair, url: str, tmp_path: Path) -> None:
    """Its published ref, or a shared branch that does not begin on ours: nothing of it is kept or moved."""
    other = create(tmp_path / "other.git", 7, NOW, Closing("manual"))
    commit_files(other, f"{LANES}eve", {f"{paths.DELTAS}/1/x.json": text(stream="eve")})
    if url == "branch":
        git(other.folder, "update-ref", "-d", paths.PUBLISHED)
    pair.path = other.folder
    pair.restart()
    with pytest.raises(RefusedError, match="of another history"):
        pair.read()
    assert pair.kept.read() == {}


@pytest.mark.parametrize(
    "ref",
    ["refs/heads/dc/a:refs/heads/main", "refs/heads/dc/+a b", "refs/heads/dc/../x", "refs/heads/dc/" + "x" * 200,
     "refs/heads/dc/x.lock", "refs/heads/dc/x*", "refs/tags/dc/x", "refs/heads/-x", "refs/heads/dc//x"],
)  # fmt: skip
def test_names_that_would_mean_something_else_are_not_read(ref: str) -> None:
    """A server may list any name; git would write what it fetches for `a:b` to another ref."""
    assert not is_plain_branch(ref)


def test_each_publication_is_copied_and_nothing_goes_back(pair: Pair) -> None:
    """After closes, from a mirror that came back older, and where a second primary has published more than we know."""
    close(pair.primary)
    first = pair.published
    pair.copy()
    assert pair.is_current()
    close(pair.primary)
    close(pair.primary)
    pair.copy()
    assert pair.is_current()
    assert pair.copier.behind_since is None
    for ref in (MAIN, paths.PUBLISHED):
        git(pair.path, "update-ref", ref, first)
    pair.copy()
    assert pair.is_current()
    newest = pair.published
    pair.copier.bring_forward(pair.store.reader(), first, MAIN, pair.listed(), pair.listed)
    assert pair.listed()[paths.PUBLISHED] == newest


def test_a_branch_with_commits_of_its_own_waits_for_the_close_that_merges_them(pair: Pair) -> None:
    """Nothing is forced over them; the mirror is behind until then, and has them in its history afterwards."""
    theirs = pair.push("shared", MAIN, orphan=False)
    close(pair.primary)
    pair.copy()
    assert pair.listed()[MAIN] == theirs
    assert pair.copier.behind_since is not None
    pair.read()
    assert merged(close(pair.primary)) == ["shared.json"]
    pair.copy()
    assert pair.is_current()
    assert try_git(pair.path, "merge-base", "--is-ancestor", theirs, MAIN).returncode == 0


def test_a_branch_that_nothing_merges_is_a_trouble_until_it_is_taken_off(pair: Pair) -> None:
    """With `intake = false` one commit on the mirror's branch stops all copies: status and doctor say what to do, also
    while no publication lags yet, and nothing is said once the branch is back or the mirror is read."""
    close(pair.primary)
    pair.copy()
    table = MirrorConfig(name="north", url=str(pair.path), intake=False, poll=0.05)

    def found(table: MirrorConfig = table) -> tuple[list[str], bool]:
        """What status says of the mirror after a look, and whether doctor finds it well; both say the same."""
        mirrors = Mirrors(lambda: None)
        site, base = mirror_of(table), MirrorBase(MAIN, 60.0, pair.kept, pair.store.reader)
        mirrors.take_over((site,), base, lambda: pair.published, Lines())
        mirrors.start()
        wait_for(lambda: mirrors.states()["north"][1])
        troubles = list(mirrors.troubles())
        mirrors.stop()
        (check,) = check_mirrors(pair.store, MAIN, [table])
        assert check.ok or [(f"{check.check}: {check.detail}", check.remedy)] == [(t.what, t.remedy) for t in troubles]
        return [one.what for one in troubles], check.ok

    assert found() == ([], True)
    theirs = pair.push("shared", MAIN, orphan=False)
    for _ in range(2):
        whats, is_well = found()
        assert not is_well
        assert f"mirror north: main there has commits that no publication holds, up to {theirs[:10]}" in whats[0]
        close(pair.primary)
    assert found(structs.replace(table, intake=True)) == ([], True)
    assert found(structs.replace(table, publish=False, intake=True)) == ([], True)
    git(pair.path, "update-ref", MAIN, paths.PUBLISHED)  # as the remedy says
    assert found() == ([], True)
    assert pair.is_current()


def test_doctor_names_a_mirror_once(pair: Pair) -> None:
    """Before the cause, and not in it again, whether the mirror is away or of another history."""
    other = create(pair.path.parent / "other.git", 7, NOW, Closing("manual"))
    close(primary_on(other))
    close(pair.primary)
    git(pair.store.folder, "fetch", "-q", str(other.folder), paths.PUBLISHED)  # else nothing is known of its history
    urls = [str(other.folder), str(pair.path.parent / "none.git")]
    said = [next(iter(check_mirrors(pair.store, MAIN, [MirrorConfig(name="m", url=url)]))) for url in urls]
    assert [one.check for one in said] == ["mirror m", "mirror m"]
    assert said[0].detail.startswith("has publications of another history")
    assert all("mirror m" not in one.detail and not one.ok for one in said)


def test_a_check_that_takes_few_frames_at_once_gets_them_in_several_pushes(pair: Pair) -> None:
    """As one that judges a push for ten seconds; one that takes nothing is a failure with its own words."""
    for _ in range(9):
        close(pair.primary)
    script = 'while read -r old new ref; do test "$(git rev-list --count "$old..$new")" -le 2 || exit 1; done'
    install_hook(pair.path, script)
    pair.copy()
    assert pair.is_current()
    remove_hook(pair.path)
    close(pair.primary)
    install_hook(pair.path, "echo not you >&2; exit 1")
    with pytest.raises(RetryableError, match="not you"):
        pair.copy()
    assert pair.copier.behind_since is not None


def test_merged_lanes_are_deleted_at_the_mirror_alone_where_they_are_silent(pair: Pair) -> None:
    """Not before their frame is as old as lanes are kept, and never one that has more than was merged."""
    pair.push("merged", f"{LANES}s/merged")
    pair.read()
    close(pair.primary)
    pair.push("fresh", f"{LANES}s/fresh", 1)
    reader, lanes = pair.store.reader(), {ref: oid for ref, oid in pair.listed().items() if ref.startswith(LANES)}
    pair.wire.fetch(lanes)
    reader.refresh()
    now_s = NOW / 1e6
    assert pair.copier.delete_lanes(reader, pair.published, lanes, 60.0, now_s) == []
    pair.copier = MirrorCopier(pair.wire)
    assert pair.copier.delete_lanes(reader, pair.published, lanes, 60.0, now_s + 61) == [f"{LANES}s/merged"]
    assert [ref for ref in pair.listed() if ref.startswith(LANES)] == [f"{LANES}s/fresh"]


def test_what_was_read_counts_after_the_mirror_was_taken_out(pair: Pair) -> None:
    """Its heads are still beside the refs, until they are merged; then nothing of it is left."""
    pair.push("delta")
    pair.read()
    mirrors = Mirrors(lambda: None)
    base = MirrorBase(MAIN, 60.0, pair.kept, pair.store.reader)
    mirrors.take_over((), base, lambda: None, Lines())
    mirrors.start()
    assert mirrors.beside() == pair.kept.read() != {}
    pair.primary.beside = mirrors.beside
    assert merged(close(pair.primary)) == ["delta.json"]
    poll(pair.primary)
    mirrors.look(pair.primary.last)
    assert (mirrors.beside(), pair.kept.read()) == ({}, {})
    assert mirrors.has_ended()


def test_a_look_that_shows_nothing_new_walks_no_refs(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """While nothing changes, what the loop reports to mirrors is not worked out again: a fleet has thousands of lanes.
    It is for the next change, and for mirrors that a reload brought."""
    walked: list[str] = []

    def counted(refs: dict[str, str], settings: Settings, main: str) -> dict[str, str]:
        walked.append(main)
        return mirrored_heads(refs, settings, main)

    monkeypatch.setattr("dreamcatcherd.daemon.mirrors.mirrored_heads", counted)
    mirrors = Mirrors(lambda: None)
    base = MirrorBase(MAIN, 60.0, pair.kept, pair.store.reader)
    site = mirror_of(MirrorConfig(name="north", url=str(pair.path)))
    mirrors.take_over((site,), base, lambda: None, Lines())
    for count in (1, 1, 2, 2):
        if count > len(walked) > 0:
            commit_files(pair.store, f"{LANES}s", {f"{paths.DELTAS}/1/x.json": text()}, orphan=True)
        poll(pair.primary)
        mirrors.look(pair.primary.last)
        assert len(walked) == count
    mirrors.take_over((site,), base, lambda: None, Lines())
    mirrors.look(pair.primary.last)
    assert len(walked) == 3


def test_each_mirror_has_credentials_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of `[repository]` are not looked at; systemd's are named after the mirror."""
    for name in ("token", "mirror_north_token"):
        (tmp_path / name).write_text("x")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    tables = [MirrorConfig(name=name, url=f"https://{name}.example/fleet.git") for name in ("north", "south")]
    north, south = mirrors_of(tables, "fleet.git")
    assert north.access.token_file == tmp_path / "mirror_north_token"
    assert south.access.token_file is None


def test_an_error_of_the_system_is_a_trouble_of_the_mirror_and_passes(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread without room for another file says so and goes on: a mirror is never taken for one that is up."""
    keeper = MirrorKeeper(
        mirror_of(MirrorConfig(name="north", url=str(pair.path), timeout=20, poll=0.2, retry=0.2)),
        MirrorBase(MAIN, 0.0, pair.kept, pair.store.reader),
        Lines(),
        lambda: None,
    )

    def refused(*_: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with monkeypatch.context() as patch:
        patch.setattr(keeper, "_look_at_it", refused)
        keeper.look(MirrorTask(pair.published))
        keeper.start()
        wait_for(lambda: list(keeper.troubles()))
        (trouble,) = keeper.troubles()
        assert not keeper.is_up
        assert "Too many open files" in trouble.what
        assert "LimitNOFILE=" in trouble.remedy
    wait_for(lambda: keeper.is_up)
    keeper.stop()
    keeper.join(10)
