"""Signed deltas, settings and snapshot commits, with real keys and real git (docs/protocol.md#violations)."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from dreamcatcherd.core import paths
from dreamcatcherd.core.errors import RetryableError
from dreamcatcherd.core.ledger import SettingsChange
from dreamcatcherd.daemon.cycle import poll
from dreamcatcherd.git.local import LocalStore
from tests.law.fleet import MAIN, primary_on
from tests.stages.signed import Fleet, git
from tests.stages.tools import close, merged, reasons

pytestmark = pytest.mark.needs("ssh-keygen")


def settle(fleet: Fleet) -> str | None:
    """The settings' blob that `main` has."""
    return git(fleet.bare, "rev-parse", f"{MAIN}:{paths.SETTINGS}")


# Deltas -----------------------------------------------------------------------------------------------------------


def test_only_deltas_signed_by_a_key_of_their_stream_count(fleet: Fleet) -> None:
    """On lanes and on `main` alike: another's signature, or none, is `wrong-stream`, and the author is named."""
    fleet.secure()
    fleet.deliver("alice", 1, "alice")
    fleet.deliver("alice", 2, "alice", MAIN)
    commits = {fleet.deliver("alice", 3, "mallory"), fleet.deliver("alice", 4), fleet.deliver("alice", 5, "", MAIN)}
    commits.add(fleet.deliver("mallory", 6, "alice"))
    ledger = close(fleet.primary)
    assert merged(ledger) == ["alice-1.json", "alice-2.json"]
    refused = {f"alice-{number}.json" for number in (3, 4, 5)} | {"mallory-6.json"}
    assert reasons(ledger) == dict.fromkeys(refused, "wrong-stream")
    assert {row.commit for row in ledger.violations} == commits
    assert {row.author for row in ledger.violations} == {"alice <alice@localhost>", "mallory <mallory@localhost>"}
    assert {row.kind for row in ledger.violations} == {"wrong-stream"}
    assert close(fleet.primary).violations == []


def test_names_may_be_patterns_and_keys_of_another_kind(fleet: Fleet) -> None:
    """`worker-*` speaks for every worker that is not excluded; another namespace's key speaks for nobody in git."""
    worker, alice = fleet.public("worker-1"), fleet.public("alice")
    fleet.secure(f'worker-*,!worker-9 namespaces="git" {worker}', f'alice namespaces="file" {alice}')
    for stream, key in (("worker-1", "worker-1"), ("worker-2", "worker-1"), ("worker-9", "worker-1")):
        fleet.deliver(stream, 1, key)
    fleet.deliver("alice", 1, "alice")
    ledger = close(fleet.primary)
    assert merged(ledger) == ["worker-1-1.json", "worker-2-1.json"]
    assert reasons(ledger) == {"worker-9-1.json": "wrong-stream", "alice-1.json": "wrong-stream"}


def test_a_signature_counts_for_its_own_commit_alone(fleet: Fleet) -> None:
    """A good signature that is copied onto another commit proves nothing."""
    fleet.secure()
    good = git(fleet.bare, "cat-file", "commit", fleet.deliver("alice", 1, "alice"))
    forged = git(fleet.bare, "cat-file", "commit", fleet.deliver("alice", 2, "mallory"))
    mine, theirs = (raw.partition("gpgsig ")[2].partition("\n\n")[0] for raw in (good, forged))
    copied = forged.replace(theirs, mine).encode() + b"\n"
    oid = git(fleet.bare, "hash-object", "-t", "commit", "-w", "--stdin", given=copied)
    git(fleet.bare, "update-ref", "refs/heads/dc/alice/2", oid)
    ledger = close(fleet.primary)
    assert (merged(ledger), reasons(ledger)) == (["alice-1.json"], {"alice-2.json": "wrong-stream"})


def test_a_long_commit_with_a_broken_signature_stops_nobody(fleet: Fleet) -> None:
    """ssh-keygen refuses such a signature before it has read the commit, which kills git: the others merge.

    A commit that is signed with something else than ssh counts as unsigned."""
    fleet.secure()
    fleet.deliver("alice", 1, "alice")
    for number, old, new in ((2, "U1NIU0lH", "AAAA"), (3, "SSH SIGNATURE", "PGP SIGNATURE"), (4, "U1NIU0lH", "BBBB")):
        raw = git(fleet.bare, "cat-file", "commit", fleet.deliver("alice", number, "alice"))
        assert old in raw
        broken = raw.replace(old, new).encode() + b"m" * 1_000_000 + b"\n"
        oid = git(fleet.bare, "hash-object", "-t", "commit", "-w", "--stdin", given=broken)
        git(fleet.bare, "update-ref", f"refs/heads/dc/alice/{number}", oid)
    fleet.deliver("alice", 5, "alice")
    ledger = close(fleet.primary)
    assert merged(ledger) == ["alice-1.json", "alice-5.json"]
    assert reasons(ledger) == {f"alice-{number}.json": "wrong-stream" for number in (2, 3, 4)}


def test_signatures_of_other_kinds_count_for_nothing_and_run_no_program(
    fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A commit with a PGP signature is unsigned, and neither gpg nor what a configuration names in its place is run."""
    fleet.secure()
    ran = tmp_path / "ran"
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("gpg", "gpg2", "gpgsm"):
        (programs / name).write_text(f"#!/bin/sh\ntouch {ran}\nexit 1\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    commit = fleet.deliver("alice", 1)
    raw = git(fleet.bare, "cat-file", "commit", commit).encode()
    head, _, message = raw.partition(b"\n\n")
    armour = b"\ngpgsig -----BEGIN PGP SIGNATURE-----\n \n iQEzBAABCAAdFiEE\n -----END PGP SIGNATURE-----"
    made = git(
        fleet.bare, "hash-object", "-t", "commit", "-w", "--stdin", given=head + armour + b"\n\n" + message + b"\n"
    )
    git(fleet.bare, "update-ref", "refs/heads/dc/alice/1", made)
    assert reasons(close(fleet.primary)) == {"alice-1.json": "wrong-stream"}
    assert not ran.exists()


def test_a_signed_commit_on_another_lane_or_again_counts_once(fleet: Fleet) -> None:
    """Alice's signed commit that somebody pushes again, to another lane of hers or to another stream's, merges once and
    counts for her stream alone; a signed merge of others' commits lends them no signature."""
    fleet.secure()
    commit = fleet.deliver("alice", 1, "alice")
    git(fleet.bare, "update-ref", "refs/heads/dc/alice/replayed", commit)
    git(fleet.bare, "update-ref", "refs/heads/dc/mallory", commit)
    assert merged(close(fleet.primary)) == ["alice-1.json"]
    git(fleet.bare, "update-ref", "refs/heads/dc/alice/again", commit)
    ledger = close(fleet.primary)
    assert (merged(ledger), ledger.violations) == ([], [])
    forged = fleet.deliver("alice", 2)
    work = fleet.folder / "merging"
    git(fleet.folder, "clone", "-q", str(fleet.bare), str(work))
    git(work, "fetch", "-q", str(fleet.bare), "+refs/heads/*:refs/all/*")
    who = ("-c", "user.name=alice", "-c", "user.email=a@localhost", "-c", "gpg.format=ssh")
    sign = f"--gpg-sign={fleet.keys / 'alice'}"
    git(work, *who, "merge", "-q", "--allow-unrelated-histories", "--no-ff", "-m", "merge", sign, forged)
    git(work, "push", "-q", str(fleet.bare), "HEAD:refs/heads/dc/alice/merge")
    assert reasons(close(fleet.primary)) == {"alice-2.json": "wrong-stream"}


@pytest.mark.parametrize("missing", ["ssh-keygen", "temporary folder"])
def test_where_signatures_cannot_be_checked_nothing_is_judged(
    fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    """Without ssh-keygen, or room for its files, the cycle fails for now; a good delta is not set aside for ever."""
    fleet.secure()
    fleet.deliver("alice", 1, "alice")
    with monkeypatch.context() as patch:
        if missing == "ssh-keygen":
            (tmp_path / "bin").mkdir()
            (tmp_path / "bin" / "git").symlink_to(shutil.which("git") or "")
            patch.setenv("PATH", str(tmp_path / "bin"))
        else:
            patch.setenv("TMPDIR", str(tmp_path / "none"))
        with pytest.raises(RetryableError, match="signatures cannot be checked"):
            close(fleet.primary)
    assert merged(close(fleet.primary)) == ["alice-1.json"]


def test_what_is_held_was_judged_when_it_came(fleet: Fleet) -> None:
    """An early delta that was signed merges in its own frame, even where its key was taken away meanwhile."""
    fleet.secure()
    fleet.deliver("alice", 1, "alice", frame=4)
    fleet.deliver("alice", 2, frame=4)
    second = close(fleet.primary)
    assert ([row.path.rpartition("/")[2] for row in second.held], reasons(second)) == (
        ["alice-1.json"],
        {"alice-2.json": "wrong-stream"},
    )
    fleet.secure(f"mallory {fleet.public('mallory')}")
    assert merged(close(fleet.primary)) == ["alice-1.json"]


def test_a_key_that_is_added_counts_for_what_waits_already(fleet: Fleet) -> None:
    """A delta that was seen before its key was known is judged under the settings of the close."""
    fleet.secure()
    fleet.deliver("worker-1", 1, "worker-1")
    assert poll(fleet.primary)[0].pending.streams == {}
    assert merged(fleet.secure(f"worker-1 {fleet.public('worker-1')}")) == ["worker-1-1.json"]


# Settings ---------------------------------------------------------------------------------------------------------


def test_the_first_signers_take_effect_whoever_sets_them_and_the_ledger_names_who(fleet: Fleet) -> None:
    """Before there are signers anybody may set them, unsigned; who did so is on record."""
    fleet.deliver("alice", 1)
    assert merged(close(fleet.primary)) == ["alice-1.json"]
    commit = fleet.push({paths.SETTINGS: fleet.security(f"alice {fleet.public('alice')}")}, author="first")
    fleet.deliver("alice", 2)
    fleet.deliver("alice", 3, "alice")
    ledger = close(fleet.primary)
    assert ledger.settings_change == SettingsChange(settle(fleet), commit, "first <first@localhost>")
    assert (merged(ledger), reasons(ledger)) == (["alice-3.json"], {"alice-2.json": "wrong-stream"})
    assert close(fleet.primary).settings_change is None


def test_an_operators_key_counts_as_long_as_it_is_valid(fleet: Fleet) -> None:
    """A change of the settings that is signed with a key after its last day is refused, although the key did count when
    the settings were signed that name it."""
    old = f'ops valid-before="20200101Z" {fleet.public("alice")}'
    first = fleet.secure(old)
    fleet.push({paths.SETTINGS: fleet.security(old, f"bob {fleet.public('mallory')}")}, signed_by="alice")
    ledger = close(fleet.primary)
    assert [row.kind for row in ledger.violations] == ["settings-refused"]
    assert ledger.settings == first.settings


@pytest.mark.parametrize("signed_by", ["", "alice", "mallory"])
@pytest.mark.parametrize("deleted", [False, True], ids=["changed", "deleted"])
def test_settings_change_only_by_a_commit_that_an_operator_signed(fleet: Fleet, signed_by: str, deleted: bool) -> None:
    """Anybody else's change does not count, is named once, and the last good settings stay."""
    first = fleet.secure()
    new = None if deleted else fleet.security(f"mallory {fleet.public('mallory')}", operators='["ops", "mallory"]')
    commit = fleet.push({paths.SETTINGS: new}, signed_by=signed_by, author="mallory")
    fleet.deliver("mallory", 1, "mallory")
    ledger = close(fleet.primary)
    refused = [row for row in ledger.violations if row.kind == "settings-refused"]
    assert [(row.path, row.commit, row.author) for row in refused] == [
        (paths.SETTINGS, commit, "mallory <mallory@localhost>")
    ]
    assert "no operator's key signed" in refused[0].detail
    assert refused[0].detail.endswith(f"({commit})")
    assert (ledger.settings, ledger.settings_change) == (first.settings, None)
    assert reasons(ledger) == {"mallory-1.json": "wrong-stream"}
    fleet.deliver("alice", 1, "alice")
    third = close(primary_on(LocalStore(fleet.bare)))
    assert (third.violations, third.settings, merged(third)) == ([], first.settings, ["alice-1.json"])


def test_an_operators_change_counts_also_after_a_refused_one(fleet: Fleet) -> None:
    """What an operator signs takes effect at the next close, upon whatever stood there."""
    fleet.secure()
    fleet.push({paths.SETTINGS: b"[limits]\ndepth = 9\n"}, author="mallory")
    close(fleet.primary)
    commit = fleet.push(
        {paths.SETTINGS: fleet.security(f"mallory {fleet.public('mallory')}")}, signed_by="ops", author="ops"
    )
    fleet.deliver("mallory", 1, "mallory")
    ledger = close(fleet.primary)
    assert (ledger.violations, merged(ledger)) == ([], ["mallory-1.json"])
    assert ledger.settings_change == SettingsChange(settle(fleet), commit, "ops <ops@localhost>")


def test_settings_that_a_rewind_brings_back_do_not_count(fleet: Fleet) -> None:
    """Where `main` is forced back to before the signers were set, they stay."""
    start = git(fleet.bare, "rev-parse", MAIN)
    first = fleet.secure()
    git(fleet.bare, "update-ref", MAIN, start)
    fleet.deliver("alice", 1)
    fleet.deliver("alice", 2, "alice")
    ledger = close(fleet.primary)
    assert ledger.settings == first.settings
    assert (merged(ledger), reasons(ledger)) == (["alice-2.json"], {"alice-1.json": "wrong-stream"})
    assert "main-rewound" in {row.kind for row in ledger.violations}


def test_a_temporary_folder_that_cannot_be_used_stops_the_close_and_judges_nobody(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a place for the signers' list no signature is good or bad: the cycle fails with a remedy, nothing is
    published, and the same deltas are merged once there is a place."""
    fleet.secure()
    fleet.deliver("alice", 1, "alice")
    before = fleet.primary.store.refs()
    with monkeypatch.context() as without:
        without.setattr(tempfile, "tempdir", str(fleet.folder / "gone"))
        with pytest.raises(RetryableError, match=r"signatures cannot be checked in .*: .*No such file") as caught:
            close(fleet.primary)
    assert "temporary folder" in caught.value.remedy
    assert fleet.primary.store.refs() == before
    assert merged(close(fleet.primary)) == ["alice-1.json"]


# Snapshot commits -------------------------------------------------------------------------------------------------


def test_a_signed_snapshot_commit_is_one_that_git_verifies(fleet: Fleet) -> None:
    """With a signing key every snapshot commit has a signature that `git verify-commit` accepts."""
    store = fleet.primary.store
    assert isinstance(store, LocalStore)
    store.signing_key = fleet.keys / "ops"
    allowed = fleet.folder / "allowed"
    allowed.write_text(f"primary@localhost {fleet.public('ops')}\n")
    fleet.deliver("alice", 1)
    assert merged(close(fleet.primary)) == ["alice-1.json"]
    trust = ("-c", "gpg.format=ssh", "-c", f"gpg.ssh.allowedSignersFile={allowed}")
    git(fleet.bare, *trust, "verify-commit", MAIN)
    git(fleet.bare, "fsck", "--strict")
    commit = store.commit(store.refs()[MAIN])
    assert commit.message.startswith("frame 1: 1 delta from 1 stream\n\nDreamcatcher-Frame: 1\n")
    assert close(primary_on(LocalStore(fleet.bare))).frame == 2
    with pytest.raises(subprocess.CalledProcessError):
        git(fleet.bare, *trust, "verify-commit", MAIN)


def test_a_snapshot_that_cannot_be_signed_is_not_published(fleet: Fleet) -> None:
    """A key that is gone, or locked by a passphrase, fails the cycle with the key's path; nothing moves."""
    store = fleet.primary.store
    assert isinstance(store, LocalStore)
    before = store.refs()
    locked = fleet.folder / "locked"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "secret words", "-f", str(locked)], check=True)
    for key in (fleet.folder / "none", locked):
        store.signing_key = key
        with pytest.raises(RetryableError, match="cannot be signed") as caught:
            close(fleet.primary)
        assert str(key) in caught.value.cause
        assert "signing_key" in caught.value.remedy
    assert store.refs() == before
    store.signing_key = None
    assert close(fleet.primary).frame == 1
