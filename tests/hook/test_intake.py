"""Delta roots and `[intake] pass` in the server-side check, over both stores (docs/protocol.md#intake)."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from msgspec import structs

from dreamcatcherd.core import paths
from dreamcatcherd.core.frames import Closing
from dreamcatcherd.daemon.primary import Primary
from dreamcatcherd.hook.branch_rules import judge_read_push, read_push
from dreamcatcherd.hook.push import Update
from dreamcatcherd.hook.warnings import warnings
from dreamcatcherd.imports.new_repository import create
from tests.hook.test_rules import GATE, LANE, Files, made, offences, on_main, take_back
from tests.law.fleet import MAIN, NOW, commit_files
from tests.stages.test_roots import INSIDE, OUTSIDE, rooted
from tests.stages.tools import FOLDER, close, content, text

PASSES = 'pass = ["state/memory/**", "state/*.txt"]\n'


def said(primary: Primary, ref: str, commit: str) -> list[str]:
    """The warnings about a push that is accepted."""
    store = primary.store
    updates = [Update(ref, store.refs().get(ref), commit)]
    push = read_push(store, updates, GATE)
    assert judge_read_push(push, updates, GATE) == []
    return warnings(push, updates, None)


@pytest.mark.parametrize("root", [INSIDE, OUTSIDE])
def test_each_root_has_the_rules_of_deltas(primary: Primary, root: str) -> None:
    """Versions are judged, streams keep their files and nothing is deleted, inside and outside `state/`."""
    store = rooted(primary, paths.DELTAS, root).store
    good: Files = {f"{root}/1/a.json": text(), f"{root}/1/a/n.md": b"note"}
    assert on_main(store, good) == {}
    assert offences(store, {LANE: made(store, good)}) == {}
    assert on_main(store, {f"{root}/1/b.json": b"{", f"{root}/x/c.json": text()}) == {
        f"{root}/1/b.json": "not-json",
        f"{root}/x/c.json": "bad-name",
    }
    assert offences(store, {LANE: made(store, {f"{root}/1/a.json": text(stream="t")})}) == {
        f"{root}/1/a.json": "wrong-stream"
    }
    commit_files(store, MAIN, {path: raw or b"" for path, raw in good.items()})
    assert on_main(store, {f"{root}/1/a.json": text(stream="t"), f"{root}/1/a/n.md": None}) == {
        f"{root}/1/a.json": "delta-changed",
        f"{root}/1/a/n.md": "delta-deleted",
    }


def test_the_default_root_is_closed_where_others_are_named(primary: Primary) -> None:
    """Nothing would read what is pushed there, and the refusal names where deltas go."""
    store = rooted(primary, INSIDE, OUTSIDE).store
    commit = made(store, {f"{FOLDER}/1/a.json": text()}, store.refs()[MAIN])
    push = read_push(store, [Update(MAIN, store.refs()[MAIN], commit)], GATE)
    (offence,) = judge_read_push(push, [Update(MAIN, store.refs()[MAIN], commit)], GATE)
    assert offence.reason == "state-edited"
    assert f"deltas (in {INSIDE}/<frame>/ or {OUTSIDE}/<frame>/)" in offence.detail
    assert "[intake] pass" in offence.detail


def test_a_publication_accounts_for_every_root(primary: Primary) -> None:
    """A snapshot commit with copies below other roots passes, and one that hides a delta there does not."""
    store = rooted(primary, paths.DELTAS, OUTSIDE).store
    commit_files(store, LANE, {f"{OUTSIDE}/1/a.json": text()}, orphan=True)
    before = store.refs()
    assert close(primary).counts.deltas == 1
    after = store.refs()
    moved: dict[str, str | None] = {**take_back(store, before)}
    assert offences(store, moved) == {}
    snapshot = store.commit(after[MAIN])
    hiding = made(store, {f"{OUTSIDE}/1/hidden.json": text(number=9)}, after[MAIN])
    forged = store.write_commit(structs.replace(snapshot, tree=store.commit(hiding).tree))
    store.flush()
    assert offences(store, {MAIN: forged, paths.PUBLISHED: forged})[paths.PUBLISHED] == "not-the-primary"


def test_files_that_pass_may_be_written_by_others(primary: Primary) -> None:
    """Added, changed and deleted below the globs, on `main` and on lanes; all else below `state/` stays closed."""
    store = rooted(primary, paths.DELTAS, more=PASSES).store
    mine: Files = {"state/memory/a/b.md": b"one", "state/notes.txt": b"two"}
    assert on_main(store, mine) == {}
    commit_files(store, MAIN, {path: raw or b"" for path, raw in mine.items()})
    close(primary)
    assert content(store, "state/notes.txt") == b"two"
    assert on_main(store, {"state/memory/a/b.md": b"three", "state/notes.txt": None}) == {}
    assert on_main(store, {"state/notes.md": b"", "state/memory": b"", "state/deep/x.txt": b""}) == {
        "state/notes.md": "state-edited",
        "state/memory": "state-edited",
        "state/deep/x.txt": "state-edited",
    }


def test_pass_never_opens_what_is_canonical(primary: Primary) -> None:
    """Not by the widest glob: neither snapshot, ledger, frame.json, settings and views, nor the place of a root."""
    views = "[views.agents]\ncollection = 'agents'\npath = 'state/agents.json'\n"
    store = rooted(primary, INSIDE, more=f'pass = ["state/**"]\n{views}').store
    close(primary)
    files: Files = {
        "state/snapshot/format": b"mine",
        "state/ledger/0/1.json": b"mine",
        "state/ledger/9/x": b"mine",
        "state/frame.json": b"{}",
        "state/agents.json": b"{}",
        "state/free": b"ours",
    }
    assert on_main(store, files) == {
        "state/snapshot/format": "snapshot-edited",
        "state/ledger/0/1.json": "ledger-edited",
        "state/ledger/9/x": "ledger-edited",
        "state/frame.json": "frame-edited",
        "state/agents.json": "view-edited",
    }
    assert on_main(store, {INSIDE: b"a file"}) == {INSIDE: "state-edited"}
    lane = made(store, {"state/frame.json": b"{}", "state/dreamcatcher.toml": b"", f"{INSIDE}/2/a.json": text(2)})
    assert offences(store, {LANE: lane}) == {
        "state/frame.json": "frame-edited",
        "state/dreamcatcher.toml": "state-edited",
    }


def test_a_lane_leaves_behind_what_passes_and_says_so(primary: Primary) -> None:
    """From a lane only deltas reach `main`: other files are accepted with a warning."""
    store = rooted(primary, INSIDE, more=PASSES).store
    lane = made(store, {f"{INSIDE}/1/a.json": text(), "state/memory/m.md": b"m"}, store.refs()[MAIN])
    assert said(primary, LANE, lane) == ["state/memory/m.md: from a lane only deltas reach main: push it there"]
    other = made(store, {"state/agents/other.json": b"{}", f"{INSIDE}/1/a.json": text()}, store.refs()[MAIN])
    assert offences(store, {LANE: other}) == {"state/agents/other.json": "state-edited"}


def test_warnings_name_the_roots(primary: Primary) -> None:
    """A folder that looks like deltas is warned of, unless it is, or holds, a root."""
    store = rooted(primary, INSIDE, "deltas").store
    commit = made(store, {"stream_deltas/1/a.json": b"{}", "deltas/1/a.json": text()}, store.refs()[MAIN])
    assert said(primary, MAIN, commit) == [
        f"stream_deltas/: outside {INSIDE}/<frame>/ or deltas/<frame>/: it is never merged"
    ]


def test_settings_without_effect_are_warned_of_by_the_push_that_brings_them(primary: Primary) -> None:
    """Once, by that push, which is accepted."""
    store = primary.store
    brought = made(store, {paths.SETTINGS: b"[collections.a]\nsection = 'frame'\nkey = ['id']\n"}, store.refs()[MAIN])
    (line,) = said(primary, MAIN, brought)
    assert line.startswith(f"{paths.SETTINGS}: [collections.a] can never match")
    commit_files(store, MAIN, {paths.SETTINGS: b"[collections.a]\nsection = 'frame'\nkey = ['id']\n"})
    assert said(primary, MAIN, made(store, {"README": b"x"}, store.refs()[MAIN])) == []


def test_git_refuses_and_lets_through_by_the_installed_hook(tmp_path: Path) -> None:
    """The same with git itself: a pass-through file is pushed, another is refused with the setting as the remedy."""
    shared = create(tmp_path / "fleet.git", 1, NOW, Closing("manual")).folder

    def git(*words: str, code: int = 0) -> str:
        done = subprocess.run(["git", *words], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stderr
        return done.stderr

    git("clone", "-q", str(shared), "work")
    work = tmp_path / "work"

    def pushed(path: str, raw: str, code: int = 0) -> str:
        (work / path).parent.mkdir(parents=True, exist_ok=True)
        (work / path).write_text(raw)
        git("-C", "work", "add", "-A")
        git("-C", "work", "-c", "user.name=w", "-c", "user.email=w@w", "commit", "-qm", "work")
        return git("-C", "work", "push", "-q", "origin", "HEAD:main", code=code)

    settings = f"[intake]\nroots = {json.dumps([OUTSIDE])}\n{PASSES}[collections.a]\nsection = 'frame'\nkey = ['id']\n"
    assert "warning: state/dreamcatcher.toml: [collections.a] can never match" in pushed(paths.SETTINGS, settings)
    pushed("state/memory/m.md", "remember")
    pushed(f"{OUTSIDE}/1/a.json", text().decode())
    refusal = pushed("state/other.md", "x", code=1)
    assert "state/other.md: state-edited" in refusal
    assert "or name it in [intake] pass of state/dreamcatcher.toml" in refusal
