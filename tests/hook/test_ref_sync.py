"""The hook that syncs the folders of pushed refs: which folders, when, and when it does nothing.

The programs that it runs are real, apart from `sync`, which notes what it was asked for."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from dreamcatcherd.git.command import SYNCS_REFS
from dreamcatcherd.hook.install import HookName, install_hook, install_hooks, kind_of_hook
from tests.e2e.tools import environment, git

NAME: HookName = "reference-transaction"
OID, GONE = "1" * 40, "0" * 40
FAKE = '#!/bin/sh\nfor one; do printf "%s\\n" "$one"; done >>"$SYNCED"\necho end >>"$SYNCED"\nexit "${FAILS:-0}"\n'


class Hooked:
    """A bare repository with the hook, and a note of what was synced."""

    def __init__(self, folder: Path) -> None:
        self.repository = folder / "fleet of ours.git"
        git(folder, "init", "-q", "--bare", str(self.repository))
        self.hook = install_hook(self.repository, NAME)
        self.note = folder / "synced"
        (folder / "bin").mkdir()
        (folder / "bin/sync").write_text(FAKE)
        (folder / "bin/sync").chmod(0o755)
        self.env = environment()
        self.env |= {"PATH": f"{folder / 'bin'}:{self.env['PATH']}", "SYNCED": str(self.note)}

    def run(self, state: str, refs: dict[str, str], **env: str) -> subprocess.CompletedProcess[str]:
        """Call the hook as git does; folders of the refs are made first."""
        for ref in refs:
            (self.repository / ref).parent.mkdir(parents=True, exist_ok=True)
        asked = "".join(f"{GONE} {new} {ref}\n" for ref, new in refs.items())
        return subprocess.run(
            [str(self.hook), state],
            cwd=self.repository,
            env=self.env | {"GIT_DIR": "."} | env,
            input=asked,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def synced(self) -> list[list[str]]:
        """The arguments of each call of `sync` so far."""
        text = self.note.read_text() if self.note.exists() else ""
        return [call.splitlines() for call in text.split("end\n")[:-1]]


@pytest.fixture
def hooked(tmp_path: Path) -> Hooked:
    return Hooked(tmp_path)


def test_all_folders_up_to_the_repository_are_synced_at_once(hooked: Hooked) -> None:
    """Each of them may be new: one call of `sync` has every folder once, whatever characters are in the names."""
    odd = "refs/heads/dc/it's \"$(x)`y`;&|<>#é".replace(" ", "-")
    done = hooked.run("committed", {"refs/heads/dc/a/1": OID, "refs/heads/dc/a/2": OID, f"{odd}/1": OID, "HEAD": OID})
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    (call,) = hooked.synced()
    folders = ["refs/heads/dc/a", "refs/heads/dc", "refs/heads", "refs", odd]
    assert call == ["--", *(f"./{folder}" for folder in folders), "."]


@pytest.mark.parametrize("state", ["preparing", "prepared", "aborted"])
def test_only_a_ref_that_has_moved_is_synced(state: str, hooked: Hooked) -> None:
    """In the other states of a transaction the hook ends at once, and lets it go on."""
    assert hooked.run(state, {"refs/heads/dc/a": OID}).returncode == 0
    assert hooked.synced() == []


def test_what_a_push_does_not_add_is_not_synced(hooked: Hooked) -> None:
    """Deletions, HEAD and its fellows, folders that are not there any more, and a transaction without refs."""
    assert hooked.run("committed", {"refs/heads/dc/a": GONE, "HEAD": OID, "ORIG_HEAD": OID}).returncode == 0
    assert hooked.run("committed", {}).returncode == 0
    assert hooked.synced() == []
    hooked.run("committed", {"refs/heads/dc/b": OID})
    (hooked.repository / "refs/heads/dc").rmdir()
    moved = f"{GONE} {OID} refs/heads/dc/b\n"
    done = [str(hooked.hook), "committed"]
    subprocess.run(done, cwd=hooked.repository, env=hooked.env, input=moved, text=True, check=True)
    assert hooked.synced()[1:] == [["--", "./refs/heads", "./refs", "."]]


def test_a_caller_that_syncs_by_itself_does_not_pay_twice(hooked: Hooked) -> None:
    """With the variable that a primary sets, nothing is synced."""
    assert hooked.run("committed", {"refs/heads/dc/a": OID}, **{SYNCS_REFS: "1"}).returncode == 0
    assert hooked.synced() == []


def test_a_push_of_any_number_of_refs_is_synced(hooked: Hooked) -> None:
    """No command line is too long: several calls have all folders between them."""
    refs = {f"refs/heads/dc/stream-{number}/1": OID for number in range(1_200)}
    assert hooked.run("committed", refs).returncode == 0
    calls = hooked.synced()
    assert len(calls) == 3
    assert max(map(len, calls)) <= 510
    assert {f"./{ref.rpartition('/')[0]}" for ref in refs} <= {folder for call in calls for folder in call}


def test_a_disk_that_fails_is_reported(hooked: Hooked) -> None:
    """The ref has moved and git cannot take it back: the error says what may happen."""
    done = hooked.run("committed", {"refs/heads/dc/a": OID}, FAILS="1")
    assert done.returncode == 0
    assert done.stderr == "dreamcatcherd: the push is in place, but a power failure of the server could undo it\n"


def test_git_runs_it_in_any_folder(hooked: Hooked) -> None:
    """From elsewhere, by an absolute or a relative path with spaces: the folders are those of the repository."""
    tree = git(hooked.repository, "mktree", env={"GIT_DIR": "."})
    commit = git(hooked.repository, "-c", "user.name=a", "-c", "user.email=a@localhost", "commit-tree", tree, "-m", "a")
    above = hooked.repository.parent
    for number, where in enumerate((str(hooked.repository), hooked.repository.name)):
        git(above, "--git-dir", where, "update-ref", f"refs/heads/dc/{number}", commit, env=hooked.env)
        assert f"{where}/refs/heads/dc" in hooked.synced()[-1]


def test_the_kinds_of_hooks_are_told_apart(tmp_path: Path) -> None:
    """Nothing, ours, ours of another version, ours without its bit, one that calls ours, and somebody else's."""
    install_hooks(tmp_path)
    hook = tmp_path / "hooks" / NAME
    ours = hook.read_text()

    def kind() -> str:
        return kind_of_hook(hook, NAME)

    assert (kind(), kind_of_hook(tmp_path / "hooks/pre-receive", "pre-receive")) == ("current", "current")
    hook.chmod(0o644)
    assert kind() == "not executable"
    hook.write_text(ours.replace("500", "400"))
    assert kind() == "outdated"
    hook.write_text("#!/bin/sh\nexec hooks/dreamcatcherd-sync\n")
    assert kind() == "calls ours"
    hook.write_text("#!/bin/sh\n")
    assert kind() == "foreign"
    hook.unlink()
    assert kind() == "none"
    hook.symlink_to(tmp_path / "nowhere")
    assert kind() == "foreign"
