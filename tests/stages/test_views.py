"""Views: whole files in a platform's own shape, which the snapshot commit writes and nobody else."""

from __future__ import annotations

import json
from typing import Any

import pytest

import dreamcatcherd.stages.views as views_file
from dreamcatcherd.core import paths, platform_views
from dreamcatcherd.core.report import Check
from dreamcatcherd.core.tree import FILE, Entry, edit
from dreamcatcherd.daemon.cycle import poll
from dreamcatcherd.daemon.primary import Primary
from dreamcatcherd.doctor.sizes import check_view_sizes
from dreamcatcherd.git.protocols import Commit, Move, Store
from dreamcatcherd.hook.branch_rules import judge_push
from dreamcatcherd.hook.push import Gate, Update
from dreamcatcherd.imports.adopt_export import adopt
from dreamcatcherd.testing import MemoryStore
from tests.history.test_verify import verify
from tests.law.fleet import MAIN, NOW, commit_files, new_primary
from tests.stages.tools import FOLDER, close, content, other, put, stands, text

AGENTS, SEEN = "state/agents.json", "api/seen.jsonl"
SETTINGS = b"""
[views.agents]
collection = "agents"
path = "state/agents.json"
shape = "map"
under = "agents"
meta = "_meta"

[views.seen]
collection = "observations"
path = "api/seen.jsonl"
shape = "lines"
"""


def send(primary: Primary, frame: int, stream: str = "s", **sections: Any) -> None:
    commit_files(primary.store, MAIN, {f"{FOLDER}/{frame}/{stream}.json": text(frame, stream, **sections)})


def agents(primary: Primary) -> Any:
    raw = content(primary.store, AGENTS)
    assert raw is not None
    return json.loads(raw)


@pytest.fixture
def viewed(primary: Primary) -> Primary:
    """A primary whose first frame wrote two views."""
    commit_files(primary.store, MAIN, {paths.SETTINGS: SETTINGS})
    send(primary, 1, profile_updates={"ada": {"mood": "calm"}}, observations=[{"n": 1}])
    close(primary)
    return primary


def test_a_frame_writes_the_views_of_its_settings(viewed: Primary) -> None:
    """Both files have the records in their own shape; `meta` names the frame and the digest of the snapshot."""
    base = viewed.load_published(viewed.store.refs())
    about = {"frame": 1, "count": 1, "digest": base.snapshot}
    assert agents(viewed) == {"_meta": about, "agents": {"ada": {"mood": "calm"}}}
    assert content(viewed.store, SEEN) == b'{"n":1}\n'
    assert verify(viewed).ok


def test_a_view_that_nothing_changed_is_the_same_file(viewed: Primary, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other collections, and frames without deltas, cost a view nothing; its own collection writes it again."""
    before, seen = stands(viewed.store, AGENTS), stands(viewed.store, SEEN)
    made: list[int] = []

    def counted(*words: Any) -> bytes:
        made.append(1)
        return platform_views.view_bytes(*words)

    monkeypatch.setattr(views_file, "view_bytes", counted)
    send(viewed, 2, observations=[{"n": 2}])
    close(viewed)
    assert (stands(viewed.store, AGENTS), len(made)) == (before, 1)
    close(viewed)
    assert (stands(viewed.store, AGENTS), len(made)) == (before, 1)
    assert stands(viewed.store, SEEN) != seen
    send(viewed, 4, profile_updates={"bob": {"mood": "odd"}})
    close(viewed)
    assert (agents(viewed)["_meta"]["frame"], agents(viewed)["agents"].keys()) == (4, {"ada", "bob"})
    assert verify(viewed).ok


def test_a_change_of_the_settings_writes_the_view_again_or_leaves_it(viewed: Primary) -> None:
    """Another shape is written by the next close; a view that is taken away stays as a file that anybody may edit."""
    commit_files(viewed.store, MAIN, {paths.SETTINGS: SETTINGS.replace(b'meta = "_meta"', b"inside = true")})
    close(viewed)
    assert agents(viewed) == {"agents": {"ada": {"agent": "ada", "mood": "calm"}}}
    commit_files(viewed.store, MAIN, {paths.SETTINGS: b""})
    close(viewed)
    assert agents(viewed)["agents"]
    commit_files(viewed.store, MAIN, {AGENTS: b"{}"})
    assert poll(viewed, restore=True)[0].restored is None
    assert close(viewed).violations == []
    assert agents(viewed) == {}
    assert verify(viewed).ok


@pytest.mark.parametrize("path", [AGENTS, "api"])
def test_a_view_takes_the_place_of_what_stands_there(viewed: Primary, path: str) -> None:
    """A folder at the path, and a file where its folder belongs, are replaced by the next look and by the close."""
    store = viewed.store
    blob = Entry(FILE, store.write("blob", b"x"))
    before = (stands(store, AGENTS), stands(store, SEEN))
    blocked = {AGENTS: None, f"{AGENTS}/x": blob} if path == AGENTS else {SEEN: None, "api": blob}
    put(store, MAIN, blocked)
    assert poll(viewed, restore=True)[0].restored
    assert (stands(store, AGENTS), stands(store, SEEN)) == before
    put(store, MAIN, blocked)
    assert {row.kind for row in close(viewed).violations} == {"view-edited"}
    assert (stands(store, AGENTS), stands(store, SEEN)) == before


def test_verify_names_the_frame_of_an_edited_view(viewed: Primary) -> None:
    """What `main` shows instead of a view, and a snapshot commit with another view, are both found."""
    commit_files(viewed.store, MAIN, {SEEN: b"{}\n"})
    found = verify(viewed)
    assert (found.first_bad, found.why) == (1, f"view edited: main shows another {SEEN} than what was published")
    close(viewed)
    assert verify(viewed).ok
    forged = forge(viewed, {AGENTS: b"{}"})
    point_at(viewed.store, forged)
    found = verify(other(viewed.store))
    assert found.first_bad == 3
    assert (found.why or "").startswith(f"view edited: {AGENTS} is not what the snapshot ")


def forge(primary: Primary, files: dict[str, bytes]) -> str:
    """A snapshot commit like the one that a close makes, with other files; the refs are as before the close."""
    store, before = primary.store, primary.store.refs()
    close(primary)
    after = store.refs()
    real = store.commit(after[MAIN])
    tree = edit(store, real.tree, {path: Entry(FILE, store.write("blob", raw)) for path, raw in files.items()})
    forged = store.write_commit(Commit(tree or "", real.parents, real.author, real.time, real.message))
    store.flush()
    assert store.move_refs([Move(ref, before[ref], after[ref]) for ref in (MAIN, paths.PUBLISHED)], "take back")
    return forged


def point_at(store: Store, commit: str) -> None:
    refs = store.refs()
    assert store.move_refs([Move(ref, commit, refs[ref]) for ref in (MAIN, paths.PUBLISHED)], "forge")


def refusals(store: Store, new: str, *, publishes: bool = False) -> dict[str, str]:
    refs = store.refs()
    moved = (MAIN, paths.PUBLISHED) if publishes else (MAIN,)
    offences = judge_push(store, [Update(ref, refs.get(ref), new) for ref in moved], Gate(MAIN))
    return {one.path: one.detail if publishes else one.reason for one in offences}


def test_the_check_refuses_edits_of_views_everywhere(viewed: Primary) -> None:
    """Also outside `state/`; putting the published file back is allowed, and so is a view that no frame wrote yet."""
    store = viewed.store
    good = {path: content(store, path) or b"" for path in (AGENTS, SEEN)}
    head = store.refs()[MAIN]
    for path in good:
        for raw in (b"[]", None):
            entry = Entry(FILE, store.write("blob", raw)) if raw is not None else None
            assert refusals(store, put(store, "refs/heads/try", {path: entry}, (head,))) == {path: "view-edited"}
    more = Entry(FILE, store.write("blob", b"x"))
    assert refusals(store, put(store, "refs/heads/try", {"api/other": more}, (head,))) == {}
    commit_files(store, MAIN, dict.fromkeys(good, b"[]"))
    back: dict[str, Entry | None] = {path: Entry(FILE, store.write("blob", raw)) for path, raw in good.items()}
    assert refusals(store, put(store, "refs/heads/try", back, (store.refs()[MAIN],))) == {}


def test_the_check_lets_a_publication_write_its_views_and_no_others(viewed: Primary) -> None:
    """A push that publishes a frame has the views that its snapshot gives, new ones too; else it is refused."""
    store = viewed.store
    more = b'[views.posts]\ncollection = "posts"\npath = "posts.json"\n'
    commit_files(store, MAIN, {paths.SETTINGS: SETTINGS + more})
    send(viewed, 2, posts_created=[{"number": 7}], profile_updates={"bob": {"mood": "odd"}})
    forged = forge(viewed, {"posts.json": b"[]\n"})
    why = refusals(store, forged, publishes=True)[paths.PUBLISHED]
    assert "posts.json does not follow from its snapshot" in why
    honest = forge(viewed, {})
    assert refusals(store, honest, publishes=True) == {}
    point_at(store, honest)
    assert content(store, "posts.json") == b'[\n{"discussion_number":7}\n]\n'


def test_a_large_view_is_written_and_reported(viewed: Primary, monkeypatch: pytest.MonkeyPatch) -> None:
    """Above the bound, `status` and `doctor` name the view, its sizes and a remedy."""
    base = viewed.load_published(viewed.store.refs())
    assert [one.ok for one in check_view_sizes(viewed.store, base)] == [True]
    monkeypatch.setattr(views_file, "RECORDS_MOST", 1)
    send(viewed, 2, observations=[{"n": 2}])
    close(viewed)
    pending = poll(viewed)[0].pending
    assert [view.name for view in pending.large_views] == ["seen"]
    (trouble,) = pending.troubles
    assert trouble.what == f"view seen is large: {SEEN} has 2 records in 16 bytes"
    (check,) = check_view_sizes(viewed.store, viewed.load_published(viewed.store.refs()))
    assert check == Check("views", False, trouble.what, trouble.remedy)
    assert platform_views.BYTES_MOST == 10 * 2**20


def test_an_imported_snapshot_has_its_views(viewed: Primary) -> None:
    """An export that is imported elsewhere has the same views there, made of the same snapshot."""
    from dreamcatcherd.core.export import export, read_portable

    store = viewed.store
    base = viewed.load_published(store.refs())
    raw = b"".join(export(store, base.snapshot or "", 1, base.settings.table, SETTINGS.decode()))
    there = new_primary(b"")
    adopt(there.store, MAIN, read_portable(raw), NOW, there.closing)
    assert (content(there.store, AGENTS), content(there.store, SEEN)) == (content(store, AGENTS), content(store, SEEN))
    assert verify(there).ok
    assert isinstance(there.store, MemoryStore)
