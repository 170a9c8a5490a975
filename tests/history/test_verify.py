"""verify passes over what was published as it should be, and names the frame of whatever was tampered with."""

from __future__ import annotations

import json
import random
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from dreamcatcherd.cli.progress import check_frames
from dreamcatcherd.core import paths
from dreamcatcherd.core.errors import RefusedError
from dreamcatcherd.core.export import export, read_portable
from dreamcatcherd.core.frames import Closing
from dreamcatcherd.core.ledger import RECLASSIFY
from dreamcatcherd.core.tree import blob_at, changed, subtree
from dreamcatcherd.daemon.cycle import close_frame
from dreamcatcherd.daemon.primary import Primary
from dreamcatcherd.git.local import LocalStore
from dreamcatcherd.git.overlay import Overlay
from dreamcatcherd.git.protocols import Commit, Move, Store
from dreamcatcherd.history.reclassify import reclassified
from dreamcatcherd.history.replay import closed_frames, own_ledger, plan_replay, replay_hindsight, replay_to
from dreamcatcherd.history.verify import Verdict, read_history
from dreamcatcherd.imports.adopt_export import adopt
from dreamcatcherd.stages.first_frame import open_first
from dreamcatcherd.stages.snapshot_chain import claimed_frame
from dreamcatcherd.testing import MemoryStore
from tests.bench.history import write_repository
from tests.corpus import CORPUS, needs_corpus
from tests.history.history import copy_of, grow
from tests.history.tamper import a_shard, blob, chain, following, rewrite
from tests.law.fleet import MAIN, NOW, close, commit_files, new_primary, primary_on, send
from tests.law.model import Sent
from tests.stages.tools import FOLDER, put, text

pytestmark = pytest.mark.xdist_group("history")  # what all of them need is made once


def verify(primary: Primary, start: int | None = None) -> Verdict:
    """What the command says; with `start` it reads no more of the chain than it needs."""
    store = primary.store
    return check_frames(store, read_history(store, store.refs(), primary.main, start), start)


def test_a_frame_that_was_merged_in_parts_verifies_after_pruning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files that one part wrote and another changed are reachable from nothing; verify does not miss them."""
    monkeypatch.setattr("dreamcatcherd.core.merge.AT_ONCE", 300)
    primary = grow(new_primary(), 4, most=9)
    assert isinstance(primary.store, MemoryStore)
    write_repository(primary.store, tmp_path / "pruned.git")
    before = len(primary.store.objects)
    subprocess.run(["git", "-C", str(tmp_path / "pruned.git"), "repack", "-adq"], check=True)
    store = LocalStore(tmp_path / "pruned.git")
    assert sum(store.resolve(oid) is not None for oid in primary.store.objects) < before
    assert verify(primary_on(store)) == Verdict(4, True, None, None)


def merged_row(primary: Primary, frame: int) -> tuple[str, str, str] | None:
    """Path, blob and commit of the first delta that a frame merged and that was not held before."""
    (now,) = closed_frames(primary.store, chain(primary.store)[frame - 1 : frame])
    held = {row.blob for row in now.ledger.ended}
    row = next((row for row in now.ledger.deltas if row.content_id is None and row.blob not in held), None)
    return (row.path, row.blob, row.commit) if row else None


def test_a_thousand_frames_verify(thousand: Primary) -> None:
    """Every frame of a generated history of 1,000 is computed again, and all are as published."""
    assert verify(thousand) == Verdict(1000, True, None, None)


@needs_corpus
def test_the_real_deltas_verify_and_any_tampering_is_named() -> None:
    """A history of the platform's own deltas, some of them late, is as published; each kind of tampering is named."""
    assert CORPUS is not None
    primary = primary_on(MemoryStore())
    open_first(primary.store, 480, NOW, Closing("manual"), MAIN)
    files = sorted(Path(CORPUS).glob("frame-*.json"))
    chance = random.Random(1)
    chance.shuffle(files)
    for number, file in enumerate(files):
        raw = file.read_bytes()
        frame, stream = json.loads(raw)["frame"], json.loads(raw)["stream_id"]
        ref = MAIN if number % 2 else f"refs/heads/dc/{stream}/{number}"
        commit_files(primary.store, ref, {f"{FOLDER}/{frame}/{file.name}": raw}, orphan=number % 2 == 0)
        if number % 2:
            close(primary)
    for _ in range(30):
        close(primary)
    frames = len(chain(primary.store))
    assert verify(primary) == Verdict(frames, True, None, None)
    told = list(closed_frames(primary.store, chain(primary.store)))
    assert sum(chapter.ledger.counts.deltas for chapter in told) == len(files)
    assert replay_hindsight(primary.store, told, told[-1].link.frame).tree == told[-1].ledger.snapshot
    for tamper in (worker_dropped, ledger_since, shard_then, commit_dropped):
        other = copy_of(primary)
        place = next(at for at in range(frames - 1, 2, -1) if merged_row(other, at))
        tamper(other, place)
        assert verify(other).first_bad == told[place - 1].link.frame


def delta_bytes(primary: Primary, frame: int) -> str:
    """The bytes of a delta's blob are replaced under its id."""
    row = merged_row(primary, frame)
    assert row
    assert isinstance(primary.store, MemoryStore)
    raw = primary.store.objects[row[1]][1]
    primary.store.objects[row[1]] = ("blob", raw.replace(b'"all": 1', b'"all": 2'))
    return "delta missing"


def delta_gone(primary: Primary, frame: int) -> str:
    """A delta's blob is gone."""
    row = merged_row(primary, frame)
    assert row
    assert isinstance(primary.store, MemoryStore)
    del primary.store.objects[row[1]]
    return "delta missing"


def delta_forged(primary: Primary, frame: int) -> str:
    """The worker's commit is made anew with other bytes at the delta's path."""
    row = merged_row(primary, frame)
    assert row
    store = primary.store
    other = store.read(row[1]).replace(b'"all": 1', b'"all": 2')
    rewrite(store, {row[2]: {row[0]: blob(store, other)}})
    return "delta missing"


def worker_dropped(primary: Primary, frame: int) -> str:
    """The commit that brought a delta is taken out of history."""
    row = merged_row(primary, frame)
    assert row
    rewrite(primary.store, {row[2]: None})
    return "delta missing"


def ledger_file(store: Store, place: int) -> str:
    """Where the ledger of a frame stands, by the frame's place in the chain from 1."""
    return f"{paths.LEDGER}/{paths.ledger_path(chain(store)[place - 1].frame)}"


def ledger_then(primary: Primary, frame: int) -> str:
    """The ledger in the frame's own commit gets a line changed, that in later ones stays."""
    store = primary.store
    link = chain(store)[frame - 1]
    raw = own_ledger(store, link)
    assert raw
    path = ledger_file(store, frame)
    rewrite(store, {link.oid: {path: blob(store, raw.replace(b'"streams":', b'"streams":1'))}})
    return "ledger edited"


def ledger_since(primary: Primary, frame: int) -> str:
    """The ledger gets a line changed in its own commit and in all that follow."""
    store = primary.store
    raw = own_ledger(store, chain(store)[frame - 1])
    assert raw
    path = ledger_file(store, frame)
    rewrite(store, following(store, frame - 1, {path: blob(store, raw.replace(b'"streams":', b'"streams":1'))}))
    return "ledger edited"


def ledger_row(primary: Primary, frame: int) -> str:
    """The last commit's copy of an old ledger says that another stream sent a delta."""
    store = primary.store
    raw = own_ledger(store, chain(store)[frame - 1])
    assert raw
    path = ledger_file(store, frame)
    last = chain(store)[-1].oid
    rewrite(store, {last: {path: blob(store, raw.replace(b'"stream_id":"', b'"stream_id":"x'))}})
    return "ledger edited"


def ledger_shown(primary: Primary, frame: int) -> str:
    """A worker pushes another ledger on `main`, upon all that was published."""
    store = primary.store
    commit_files(store, MAIN, {ledger_file(store, frame): b"{}"})
    return "ledger edited"


def shard_then(primary: Primary, frame: int) -> str:
    """A file of the snapshot gets another value in the frame's own commit."""
    store = primary.store
    link = chain(store)[frame - 1]
    tree = subtree(store, store.commit(link.oid).tree, paths.SNAPSHOT)
    assert tree
    path, entry = a_shard(store, tree)
    raw = store.read(entry.oid)
    rewrite(store, {link.oid: {f"{paths.SNAPSHOT}/{path}": blob(store, raw.replace(b'"title":"', b'"title":"x'))}})
    return "snapshot edited"


def shard_consistent(primary: Primary, frame: int) -> str:
    """Snapshot, ledger and frame.json are all made to agree on another state, there and in what follows."""
    store = primary.store
    link = chain(store)[frame - 1]
    tree = subtree(store, store.commit(link.oid).tree, paths.SNAPSHOT)
    assert tree
    path, entry = a_shard(store, tree)
    raw = store.read(entry.oid).replace(b'"title":"', b'"title":"x')
    put(store, "refs/heads/scratch", {f"{paths.SNAPSHOT}/{path}": blob(store, raw)}, (link.oid,))
    scratch = store.refs()["refs/heads/scratch"]
    forged = subtree(store, store.commit(scratch).tree, paths.SNAPSHOT)
    assert forged
    assert store.move_refs([Move("refs/heads/scratch", None, scratch)], "forge")
    ledger = own_ledger(store, link)
    state = store.read(_frame_json(primary, link.oid))
    assert ledger
    swapped = {name: one.replace(tree.encode(), forged.encode()) for name, one in (("l", ledger), ("f", state))}
    files = {
        f"{paths.SNAPSHOT}/{path}": blob(store, raw),
        ledger_file(store, frame): blob(store, swapped["l"]),
    }
    rewrite(store, {link.oid: {**files, paths.FRAME: blob(store, swapped["f"])}})
    return "edited"


def _frame_json(primary: Primary, commit: str) -> str:
    found = blob_at(primary.store, primary.store.commit(commit).tree, paths.FRAME)
    assert found
    return found


def commit_dropped(primary: Primary, frame: int) -> str:
    """A snapshot commit is taken out of history."""
    rewrite(primary.store, {chain(primary.store)[frame - 1].oid: None})
    return "commit dropped"


def main_rewound(primary: Primary, frame: int) -> str:
    """`main` is forced back to before the frame, the published ref stays."""
    store = primary.store
    assert store.move_refs([Move(MAIN, chain(store)[frame - 2].oid, store.refs()[MAIN])], "force")
    return "commit dropped"


def object_gone(primary: Primary, frame: int) -> str:
    """A file that the frame wrote into the snapshot is gone."""
    store = primary.store
    old, new = (
        subtree(store, store.commit(chain(store)[at].oid).tree, paths.SNAPSHOT) for at in (frame - 2, frame - 1)
    )
    oid = next(entry.oid for path, entry in changed(store, new, [old]) if path.startswith("state/"))
    assert isinstance(store, MemoryStore)
    del store.objects[oid]
    return "missing"


TAMPERING: list[Callable[[Primary, int], str]] = [
    delta_bytes, delta_gone, delta_forged, worker_dropped, ledger_then, ledger_since, ledger_row, ledger_shown,
    shard_then, shard_consistent, commit_dropped, main_rewound, object_gone,
]  # fmt: skip


def fit(primary: Primary, chance: random.Random, first: int, last: int) -> int:
    """A frame that merged something."""
    return next(frame for frame in chance.sample(range(first, last), last - first) if merged_row(primary, frame))


@pytest.mark.parametrize("tamper", TAMPERING, ids=lambda tamper: tamper.__name__)
def test_any_single_tampering_is_named_by_its_frame(sixty: Primary, tamper: Callable[[Primary, int], str]) -> None:
    """Whatever is replaced, changed or dropped, and wherever, verify names that frame and says what it found."""
    chance = random.Random(tamper.__name__)
    for _ in range(3):
        frame = fit(sixty, chance, 2, 59)
        primary = copy_of(sixty)
        why = tamper(primary, frame)
        verdict = verify(primary)
        assert (verdict.ok, verdict.first_bad) == (False, frame), verdict
        assert verdict.why is not None
        assert why in verdict.why


@pytest.mark.parametrize("tamper", TAMPERING, ids=lambda tamper: tamper.__name__)
def test_tampering_deep_in_a_long_history_is_named(thousand: Primary, tamper: Callable[[Primary, int], str]) -> None:
    """The same in a history of 1,000 frames, checked from shortly before."""
    frame = fit(thousand, random.Random(tamper.__name__ + "!"), 500, 999)
    primary = copy_of(thousand)
    tamper(primary, frame)
    assert verify(primary, frame - 3).first_bad == frame


@pytest.mark.parametrize("tamper", TAMPERING, ids=lambda tamper: tamper.__name__)
def test_from_a_frame_on_the_verdict_is_that_of_the_complete_chain(
    sixty: Primary, tamper: Callable[[Primary, int], str]
) -> None:
    """Wherever it begins, before, at and after what was tampered with, it does not matter that the chain is read no
    further back than to the frame before."""
    chance = random.Random(f"{tamper.__name__} from")
    frame = fit(sixty, chance, 20, 50)
    primary = copy_of(sixty)
    tamper(primary, frame)
    store = primary.store
    for start in (frame - 5, frame, frame + 1, frame + 2, 60):
        complete = read_history(store, store.refs(), primary.main)
        assert verify(primary, start) == check_frames(store, complete, start)


def test_from_a_frame_on_no_older_commit_is_read(thousand: Primary, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside 1,000 frames the last ten take the commits of twenty."""
    store = thousand.store
    read: list[int] = []
    look = type(store).commit

    def counted(self: MemoryStore, oid: str) -> Commit:
        found = look(self, oid)
        read.append(claimed_frame(found) or 1000)
        return found

    monkeypatch.setattr(MemoryStore, "commit", counted)
    history = read_history(store, store.refs(), thousand.main, 990)
    assert [link.frame for link in history.links] == list(range(989, 1001))
    assert history.cut
    assert min(read) == 989
    whole = read_history(store, store.refs(), thousand.main, 1)
    assert (whole.links[0].frame, whole.cut) == (1, False)


def test_a_frame_that_placed_everything_again_verifies_from_itself_on() -> None:
    """A reclassified frame merged the deltas of all frames before it, so for that frame the complete chain is read."""
    primary = grow(new_primary(), 4, seed=3)
    store = primary.store
    inbox = primary.read_inbox()
    overlay = Overlay(store)
    plan = plan_replay(closed_frames(store, chain(store)), inbox.settings)
    base = reclassified(overlay, store, plan, inbox.settings)
    for kind, data in overlay.reached(base.tree).values():
        store.write(kind, data)
    assert close_frame(primary, RECLASSIFY, onto=lambda _: base).ledger is not None
    close(primary)
    for start in (4, 5, 6):
        assert verify(primary, start) == Verdict(7 - start, True, None, None)


def test_what_others_broke_and_the_next_frame_put_right_verifies(sixty: Primary) -> None:
    """Edited canonical files, rewound branches and deleted deltas are violations of then, no difference now."""
    primary = copy_of(sixty)
    store = primary.store
    before = store.refs()[MAIN]
    commit_files(store, MAIN, {f"{FOLDER}/61/x.json": text(61), "state/ledger/0/3.json": b"{}"})
    assert verify(primary).first_bad == 3
    close(primary)
    assert verify(primary).ok
    assert store.move_refs([Move(MAIN, before, store.refs()[MAIN])], "force")
    assert verify(primary).first_bad == 61
    put(store, MAIN, {"state/dreamcatcher.toml": None})
    close(primary)
    assert store.move_refs([Move(MAIN, None, store.refs()[MAIN])], "delete")
    close(primary)
    close(primary)
    assert verify(primary) == Verdict(64, True, None, None)


def test_a_copied_message_makes_no_frame(sixty: Primary) -> None:
    """A worker who amends or picks a snapshot commit brings a delta under its trailers: the chain passes it over."""
    primary = copy_of(sixty)
    store = primary.store
    head = store.refs()[MAIN]
    message = store.commit(head).message
    commit = commit_files(store, MAIN, {f"{FOLDER}/61/x.json": text(61)})
    worker = store.commit(commit)
    forged = store.write_commit(Commit(worker.tree, worker.parents, worker.author, worker.time, message))
    store.flush()
    assert store.move_refs([Move(MAIN, forged, commit)], "amend")
    close(primary)
    assert [link.frame for link in chain(store)] == list(range(1, 62))
    assert verify(primary).ok


def test_an_import_is_the_base_of_verify_and_replay(sixty: Primary) -> None:
    """Export, import elsewhere, ten more frames on both: the same digests; what was imported is believed, all that came
    after it is computed again."""
    here = copy_of(sixty)
    for _ in range(3):
        close(here)
    base = here.load_published(here.store.refs())
    assert base.snapshot
    assert base.ledger
    assert base.ledger.held == []
    settings = here.store.read(base.settings.blob).decode() if base.settings.blob else None
    raw = b"".join(export(here.store, base.snapshot, 63, base.settings.table, settings))
    store = MemoryStore()
    open_first(store, 1, NOW, Closing("manual"), MAIN)
    adopt(store, MAIN, read_portable(raw), NOW, Closing("manual"))
    there = primary_on(store)
    for frame in range(64, 74):
        for primary in (here, there):
            grow(primary, 1, seed=frame)
        assert digest(here) == digest(there)
    assert verify(here) == Verdict(73, True, None, None)
    assert verify(there) == Verdict(11, True, None, None)
    assert replay_to(store, closed_frames(store, chain(store)), 73).tree == digest(there)
    assert replay_hindsight(store, closed_frames(store, chain(store)), 73).tree == digest(there)
    shard_then(there, 1)
    assert verify(there).first_bad == 63


def digest(primary: Primary) -> str | None:
    return primary.load_published(primary.store.refs()).snapshot


def test_replay_gives_every_state_as_it_was_known(sixty: Primary) -> None:
    """At any frame the state from deltas alone is what the ledger says."""
    store = sixty.store
    told = list(closed_frames(store, chain(store)))
    for frame in (1, 2, 30, 60):
        assert replay_to(store, told, frame).tree == told[frame - 1].ledger.snapshot
    with pytest.raises(RefusedError):
        replay_to(store, told, 61)


def test_hindsight_places_late_deltas_where_their_frame_belongs() -> None:
    """With hindsight the state at a frame is what it would have been, had every delta come in time."""
    early, late = (
        Sent(f'{{"frame": {frame}, "utc": "2026-01-01T00:00:00Z", "stream_id": "{name}", "posts_created": [7], '
             f'"counters": {{"n": 1}}, "profile_updates": {{"x": {{"by": "{name}"}}}}}}'.encode())
        for frame, name in ((2, "a"), (1, "b"))
    )  # fmt: skip
    slow, prompt = new_primary(), new_primary()
    for primary, order in ((slow, (None, early, late)), (prompt, (late, early, None))):
        for number, sent in enumerate(order):
            if sent:
                send(primary.store, sent, f"d{number}", lane=False)
            close(primary)
    told = {
        name: list(closed_frames(one.store, chain(one.store))) for name, one in (("slow", slow), ("prompt", prompt))
    }
    for frame in (1, 2, 3):
        seen = replay_hindsight(slow.store, told["slow"], frame)
        assert seen.tree == told["prompt"][frame - 1].ledger.snapshot
        assert (seen.tree == told["slow"][frame - 1].ledger.snapshot) == (frame == 3)


def test_a_sample_and_a_resumed_run_check_only_what_they_say(sixty: Primary, tmp_path: Path) -> None:
    """`--sample` draws frames; `--resume` goes on after the last one that was found good, while its commit stands."""
    store = sixty.store
    history = read_history(store, store.refs(), sixty.main)
    assert check_frames(store, history, None, sample=5).frames == 5
    assert check_frames(store, history, 58, sample=50).frames == 3
    mark = tmp_path / "mark.json"
    assert check_frames(store, history, None, resume=mark).frames == 60
    assert check_frames(store, history, None, resume=mark).frames == 0
    grown = grow(copy_of(sixty), 2)
    history = read_history(grown.store, grown.store.refs(), grown.main)
    assert check_frames(grown.store, history, None, resume=mark).frames == 2
    forged = copy_of(sixty)
    ledger_since(forged, 30)
    history = read_history(forged.store, forged.store.refs(), forged.main)
    found = check_frames(forged.store, history, None, resume=mark)
    assert (found.first_bad, found.frames) == (30, 30)
    with pytest.raises(RefusedError):
        check_frames(store, read_history(store, store.refs(), sixty.main), 61)
