"""What dreamcatcherd says of itself is true: history, canonical files, and what was accepted and will never merge."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import subprocess
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.primaries import await_ready, config_for, metric, readiness
from tests.e2e.proxy import hold_port, port_of
from tests.e2e.servers import Served, serve
from tests.e2e.tools import Daemon, clone, dc, dc_json, delta, environment, git, push, rewrite, try_git, wait_for

KINDS = ["path", "git"]
SLOW_CLOCK = {"GIT_AUTHOR_DATE": "2001-01-01T00:00:00Z", "GIT_COMMITTER_DATE": "2001-01-01T00:00:00Z"}


@pytest.fixture(params=KINDS)
def fleet(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """A repository with the check, by path and through git daemon, and a manual primary's configuration."""
    repository = tmp_path / "served" / "fleet.git"
    dc("init", str(repository))
    with serve(request.param, repository, tmp_path / "server") as served:
        yield served, config_for(served, tmp_path / "primary", "manual")


def path_of(frame: int, name: str) -> str:
    return f"state/stream_deltas/{frame}/{name}.json"


def assert_history(config: Path, frames: int, folder: Path) -> None:
    """Every command that looks back finds all frames."""
    words = ("--config", str(config))
    assert dc_json("verify", *words) == {"frames": frames, "ok": True, "first_bad": None, "why": None}
    assert [row["frame"] for row in dc_json("log", *words)] == list(range(frames, 0, -1))
    for frame in range(1, frames + 1):
        replayed = dc_json("replay", "--to", str(frame), *words)
        assert replayed["digest"] == replayed["known"]
    archive = folder / "frames.tar"
    dc("archive", "-o", str(archive), *words)
    assert dc_json("verify", "--archive", str(archive))["ok"]
    archive.unlink()


def test_an_old_clones_lane_hides_no_frame(fleet: tuple[Served, Path], tmp_path: Path) -> None:
    """Frame 1, clone A, frame 2, two commits by B, A's lane from its old clone, frame 3: all commands see all three."""
    served, config = fleet
    words = ("--config", str(config))
    dc("merge", *words)
    old = clone(served.url, tmp_path / "a")
    dc("merge", *words)
    other = clone(served.url, tmp_path / "b")
    for text in "12":
        push(other, {"README": text})
    push(old, {path_of(1, "a"): delta(1, "a", observations=[1])}, "refs/heads/dc/a")
    dc("merge", *words)
    assert_history(config, 3, tmp_path)


def test_old_dates_make_nothing_new(fleet: tuple[Served, Path], tmp_path: Path) -> None:
    """Seven commits of a slow clock on main, and a lane that forked before them: the fleet publishes and verifies."""
    served, config = fleet
    words = ("--config", str(config))
    lane = clone(served.url, tmp_path / "lane")
    slow = clone(served.url, tmp_path / "slow")
    for number in range(3):
        push(slow, {path_of(1, f"w{number}"): delta(1, f"w{number}", observations=[number])})
    dc("merge", *words)
    git(slow, "pull", "-q", "--rebase", "origin", "main")
    for number in range(7):
        (slow / "notes").write_text(str(number))
        git(slow, "add", "-A")
        git(slow, "commit", "-q", "-m", "note", env=SLOW_CLOCK)
    git(slow, "push", "-q", "origin", "HEAD:main")
    dc("merge", *words)
    push(lane, {path_of(1, "late"): delta(1, "late", observations=["late"])}, "refs/heads/dc/late")
    status = dc_json("status", *words)
    assert (status["pending"], status["troubles"]) == ({"total": 1, "streams": {"late": 1}}, [])
    (row,) = dc_json("merge", *words)
    assert (row["late"], row["quarantined"]) == (1, 0)
    assert_history(config, 3, tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_an_edit_of_canonical_files_is_restored_within_seconds(kind: str, tmp_path: Path) -> None:
    """With an interval of an hour, main shows the published state again at once, and everything says what happened."""
    repository = tmp_path / "served" / "fleet.git"
    dc("init", str(repository))
    with serve(kind, repository, tmp_path / "server") as served:
        config = config_for(served, tmp_path / "primary", "interval", 3600)
        worker = clone(served.url, tmp_path / "worker")
        push(worker, {path_of(1, "a"): delta(1, "a", profile_updates={"zoe": {"mood": "calm"}})}, "refs/heads/dc/a")
        with Daemon(tmp_path / "primary", "--config", str(config)) as daemon:
            await_ready(daemon)
            dc("close", "--config", str(config))
            wait_for(lambda: json.loads(git(repository, "show", "main:state/frame.json"))["frame"] == 2)
            before = git(repository, "rev-parse", "main:state/snapshot")
            rogue = clone(repository, tmp_path / "rogue")
            agents = next((rogue / "state/snapshot/state").glob("agents*"))
            agents.write_text("")
            (rogue / "README").write_text("mine\n")
            git(rogue, "add", "-A")
            git(rogue, "commit", "-q", "-m", "empty the agents")
            hook = repository / "hooks" / "pre-receive"
            hook.rename(repository / "hooks" / "away")
            git(rogue, "push", "-q", "origin", "HEAD:main")
            (repository / "hooks" / "away").rename(hook)
            wait_for(lambda: git(repository, "rev-parse", "main:state/snapshot") == before)
            subject, trailers = git(repository, "log", "-1", "--format=%s%n%b", "main").split("\n", 1)
            published = git(repository, "rev-parse", "refs/dreamcatcher/published")
            assert (subject, trailers.strip()) == ("restore frame 1", f"Dreamcatcher-Restores: {published}")
            assert git(repository, "show", "main:README") == "mine"
            wait_for(lambda: metric(daemon, "restores_total") == 1)
            wait_for(lambda: metric(daemon, 'violations_total{kind="snapshot-edited"}') == 1)
            edited = "snapshot-edited: state/snapshot/state/agents"
            code, text = wait_for(lambda: found if edited in (found := readiness(daemon))[1] else None)
            assert (code, text.splitlines()[0]) == (200, "ready")
            (trouble,) = dc_json("status", "--config", str(config))["troubles"]
            assert trouble["what"].startswith("snapshot-edited")
            dc("close", "--config", str(config))
            wait_for(lambda: dc_json("status", "--config", str(config))["troubles"] == [])
        ledger = json.loads(git(repository, "show", "main:state/ledger/0/2.json"))
        assert [(row["kind"], row["author"]) for row in ledger["violations"]] == [
            ("snapshot-edited", "worker <worker@localhost>")
        ]
        assert_history(config, 2, tmp_path)


def warned(folder: Path, files: dict[str, str], target: str) -> list[str]:
    """Push files as one commit; returns the warnings that git shows the pusher. The push must be accepted."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    git(folder, "add", "-A", "-f")
    git(folder, "commit", "-q", "--allow-empty", "-m", "add")
    done = try_git(folder, "push", "origin", f"HEAD:{target}")
    assert done.returncode == 0, done.stderr
    return [line.partition("warning: ")[2].strip() for line in done.stderr.splitlines() if "warning: " in line]


NEVER = [
    ({"state/stream_deltas/1/x.JSON": "{}"}, "main", "a delta's name ends in .json, in lower case"),
    ({"state/stream_deltas/1/x.jsonl": "{}"}, "main", "a delta's name ends in .json"),
    ({"state/stream_deltas/1/x.yaml": "a: 1"}, "main", "a delta's name ends in .json"),
    ({"state/stream_deltas/1/x": "{}"}, "main", "neither a delta"),
    ({"stream_deltas/1/x.json": "{}"}, "main", "outside state/stream_deltas/<frame>/"),
    ({"x": "1"}, "refs/heads/master", "neither the shared branch nor a lane"),
    ({"x": "1"}, "refs/heads/work", "nothing is merged from it"),
    ({"x": "1"}, "refs/heads/DC/x", "lanes are called dc/<stream_id>, in lower case"),
    ({"x": "1"}, "refs/tags/v1", "a tag: nothing is merged from it"),
    ({path_of(99999, "x"): delta(99999, "x", observations=[1])}, "main", "more than frames_ahead 1000"),
    ({path_of(1, "x"): delta(1, "x", post_created=[{"number": 1}])}, "main", "did you mean posts_created?"),
    ({path_of(1, "x"): delta(1, "x", posts_created=[{"title": "t"}])}, "main", "without a usable key"),
    ({path_of(1, "x"): delta(1, "x", observations=[{"body_ref": "no.md"}])}, "main", "reference no.md names no file"),
]  # fmt: skip


def test_what_is_accepted_and_will_never_merge_is_said_in_the_push(tmp_path: Path) -> None:
    """Each such push is accepted with a warning of its own; an honest one, with an attachment, has none."""
    repository = tmp_path / "fleet.git"
    dc("init", str(repository))
    for number, (files, target, wanted) in enumerate(NEVER):
        found = warned(clone(repository, tmp_path / f"w{number}"), files, target)
        assert any(wanted in line for line in found), (files, target, found)
        print(next(iter(files)), target, "->", found)
    honest = {
        path_of(1, "ok"): delta(1, "ok", observations=[{"body_ref": "note.md"}]),
        "state/stream_deltas/1/ok/note.md": "hello",
        "src/main.py": "print()",
    }
    assert warned(clone(repository, tmp_path / "honest"), honest, "main") == []


def test_receipt_says_why_something_never_merges(tmp_path: Path) -> None:
    """A path on a branch that is no lane, a wrong suffix and a wrong folder each have their own answer."""
    repository = tmp_path / "fleet.git"
    dc("init", str(repository))
    worker = clone(repository, tmp_path / "worker")
    push(worker, {"state/stream_deltas/1/x.JSON": "{}", "stream_deltas/1/y.json": "{}"})
    push(worker, {path_of(1, "z"): delta(1, "z", observations=[1])}, "refs/heads/work")
    words = ("--repo", str(repository))
    assert "in lower case" in dc("receipt", "state/stream_deltas/1/x.JSON", *words, code=1)
    assert "outside state/stream_deltas" in dc("receipt", "stream_deltas/1/y.json", *words, code=1)
    assert "is on work, which is neither" in dc("receipt", path_of(1, "z"), *words, code=1)
    (trouble,) = dc_json("status", *words)["troubles"]
    assert trouble["what"] == "work brings 1 version of a delta that is never merged"
    assert "check the path" in dc("receipt", path_of(1, "none"), *words, code=1)


def test_receipt_ledger_and_merge_report_what_was_not_stored_as_it_came(tmp_path: Path) -> None:
    """Misfits, collapsed records, unresolved references and unknown sections, each for its delta."""
    repository = tmp_path / "fleet.git"
    dc("init", str(repository))
    worker = clone(repository, tmp_path / "worker")
    comment = {"discussion_number": 7, "author": "a", "body": "the same"}
    body = delta(
        1, "a", posts_created=[{"title": "no key"}], comments_added=[comment, comment], odd=[1],
        observations=[{"body_ref": "gone.md"}],
    )  # fmt: skip
    push(worker, {path_of(1, "a"): body}, "refs/heads/dc/a")
    said = dc("merge", "--repo", str(repository))
    assert "1 misfit, 1 collapsed, 1 unresolved reference, 1 unknown section" in said
    (found,) = dc_json("receipt", path_of(1, "a"), "--repo", str(repository))
    assert [(row["section"], row["records"]) for row in found["misfits"]] == [("posts_created", 1)]
    assert (found["collapsed"], found["unresolved"], found["unknown"]) == (1, ["gone.md"], ["odd"])
    (row,) = json.loads(git(repository, "show", "main:state/ledger/0/1.json"))["deltas"]
    assert (row["misfits"], row["collapsed"], row["unknown"]) == (1, 1, ["odd"])
    text = dc("receipt", path_of(1, "a"), "--repo", str(repository))
    assert "1 record collapsed" in text
    assert "unresolved references: gone.md" in text


def test_validate_warns_of_what_would_surprise_the_author(tmp_path: Path) -> None:
    """A frame far ahead, by the clone's frame.json or a repository; misspelt sections; a name that is no delta's."""
    repository = tmp_path / "fleet.git"
    dc("init", str(repository))
    worker = clone(repository, tmp_path / "worker")
    file = worker / path_of(99999, "x")
    file.parent.mkdir(parents=True)
    file.write_text(delta(99999, "x", post_created=[{"number": 1}]))
    (row,) = dc_json("validate", str(file))
    assert (row["ok"], len(row["warnings"])) == (True, 2)
    assert "frame 99999 is 99998 ahead of the open frame 1" in row["warnings"][0]
    loose = tmp_path / "loose.json"
    loose.write_text(delta(3, "x", observations=[1]))
    assert dc_json("validate", str(loose))[0]["warnings"] == []
    (row,) = dc_json("validate", str(loose), "--repo", str(repository))
    assert row["warnings"] == ["frame 3 is not open yet (open is 1): it waits until then"]
    shutil.copy(loose, tmp_path / "loose.txt")
    assert "ends in .json" in dc("validate", str(tmp_path / "loose.txt"))


def test_a_hook_that_read_the_updates_before_lets_nothing_in(tmp_path: Path) -> None:
    """Chained behind a hook that swallows standard input, the check refuses instead of passing an empty push."""
    repository = tmp_path / "fleet.git"
    dc("init", str(repository))
    hook = repository / "hooks" / "pre-receive"
    hook.rename(hook.with_name("check"))
    hook.write_text('#!/bin/sh\n# before dreamcatcherd\ncat > /dev/null\nexec "$(dirname "$0")/check"\n')
    hook.chmod(0o755)
    worker = clone(repository, tmp_path / "worker")
    (worker / "README").write_text("x")
    git(worker, "add", "-A")
    git(worker, "commit", "-q", "-m", "x")
    done = try_git(worker, "push", "origin", "HEAD:main")
    assert done.returncode != 0
    assert "standard input is empty" in done.stderr
    assert "every push is refused" in dc("doctor", "--repo", str(repository), code=1)


def test_the_documented_loop_ends_for_a_refused_delta_and_lands_after_a_race(tmp_path: Path) -> None:
    """The worker's loop of docs/workers.md: a refusal ends it with the reason, a lost race is pushed again."""
    page = (Path(__file__).parents[2] / "docs" / "workers.md").read_text()
    match = re.search(r"^until answer=.*?^done$", page, re.DOTALL | re.MULTILINE)
    assert match is not None
    repository = tmp_path / "fleet.git"
    dc("init", str(repository))
    slow, bad = clone(repository, tmp_path / "slow"), clone(repository, tmp_path / "bad")
    push(clone(repository, tmp_path / "fast"), {path_of(1, "f"): delta(1, "f", observations=[1])})
    for folder, text in ((slow, delta(1, "s", observations=[1])), (bad, "{")):
        (folder / path_of(1, folder.name)).parent.mkdir(parents=True)
        (folder / path_of(1, folder.name)).write_text(text)
        git(folder, "add", "-A")
        git(folder, "commit", "-q", "-m", "add")
    done = [
        subprocess.run(
            ["sh", "-c", match[0]], cwd=folder, env=environment() | {"GIT_EDITOR": ":", "HOME": str(tmp_path)} | _WHO,
            capture_output=True, text=True, timeout=180, check=False,
        )
        for folder in (slow, bad)
    ]  # fmt: skip
    assert [one.returncode for one in done] == [0, 1]
    assert "not-json" in done[1].stderr
    assert git(repository, "show", f"main:{path_of(1, 'slow')}")


_WHO = {f"GIT_{role}_{what}": "w@localhost" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}


def test_push_delta_tells_refused_from_unreachable(tmp_path: Path) -> None:
    """Exit code 1 with the server's reason for a refused delta, 3 where nobody answers, 0 where it landed."""
    script = Path(__file__).parents[2] / "config/worker/push-delta.sh"
    repository = tmp_path / "fleet.git"
    dc("init", str(repository))
    good, bad = tmp_path / "good.json", tmp_path / "bad.json"
    good.write_text(delta(1, "s", observations=[1]))
    bad.write_text(delta(1, "s", utc="noon"))

    def run(target: str, file: Path) -> tuple[int, str]:
        words = ["sh", str(script), target, str(file)]
        done = subprocess.run(words, env=environment(), capture_output=True, text=True, timeout=180, check=False)
        return done.returncode, done.stderr

    assert run(str(repository), good)[0] == 0
    code, said = run(str(repository), bad)
    assert code == 1
    assert "bad-utc" in said
    assert "run it again" not in said
    code, said = run("git://127.0.0.1:1/fleet.git", good)
    assert (code, "run it again" in said) == (3, True)


def _refused_by_script(repository: Path, text: str, folder: Path) -> str:
    """What push-delta.sh says of a delta that does not land."""
    script = Path(__file__).parents[2] / "config/worker/push-delta.sh"
    (folder / "b.json").write_text(text)
    words = ["sh", str(script), str(repository), str(folder / "b.json")]
    done = subprocess.run(words, env=environment(), capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 1
    return done.stderr


@pytest.mark.parametrize("check", [True, False], ids=["with the check", "without"])
def test_push_delta_names_the_lane_in_its_way(tmp_path: Path, check: bool) -> None:
    """Where `dc/s` stands, `dc/s/…` cannot: the script says so, and that neither the delta nor another try helps."""
    repository = tmp_path / "fleet.git"
    dc("init", str(repository), *([] if check else ["--no-hook"]))
    push(clone(repository, tmp_path / "w"), {path_of(1, "a"): delta(1, "s", observations=[1])}, "refs/heads/dc/s")
    said = _refused_by_script(repository, delta(1, "s", observations=[2]), tmp_path)
    assert "the lane dc/s blocks dc/s/...: delete that lane once it is merged" in said
    assert "run it again" not in said
    assert "refused again" not in said


@pytest.mark.parametrize("check", [True, False], ids=["with the check", "without"])
def test_push_delta_blames_no_lane_for_another_ref_in_its_way(tmp_path: Path, check: bool) -> None:
    """Where a branch `dc` is there, no lane can be: the script does not say to delete a lane that does not exist."""
    repository = tmp_path / "fleet.git"
    dc("init", str(repository), *([] if check else ["--no-hook"]))
    git(repository, "update-ref", "refs/heads/dc", "main")
    said = _refused_by_script(repository, delta(1, "s", observations=[2]), tmp_path)
    assert "a ref that git names above blocks dc/s/...: ask an operator to remove it" in said
    assert "the lane dc/s" not in said


def test_push_delta_calls_no_delta_valid_that_is_refused_for_more_than_its_lane(tmp_path: Path) -> None:
    """Where a lane is in the way and the delta is wrong too, both are said."""
    repository = tmp_path / "fleet.git"
    dc("init", str(repository))
    push(clone(repository, tmp_path / "w"), {path_of(1, "a"): delta(1, "s", observations=[1])}, "refs/heads/dc/s")
    said = _refused_by_script(repository, delta(1, "s", utc="noon"), tmp_path)
    assert "bad-utc" in said
    assert "the lane dc/s blocks" in said
    assert "valid" not in said


def test_a_remote_primary_and_a_worker_can_delete_merged_lanes(tmp_path: Path) -> None:
    """With init's own settings, through git daemon: a merged lane goes, one that is not merged is kept."""
    repository = tmp_path / "served" / "fleet.git"
    dc("init", str(repository))
    with serve("git", repository, tmp_path / "server") as served:
        config = config_for(served, tmp_path / "primary", "interval", 0.5)
        config.write_text(config.read_text() + "[retention]\nlanes_keep = 0.5\n")
        worker = clone(served.url, tmp_path / "worker")
        push(worker, {path_of(1, "a"): delta(1, "a", observations=[1])}, "refs/heads/dc/a")
        with Daemon(tmp_path / "primary", "--config", str(config)):
            wait_for(lambda: "dc/a" not in git(repository, "for-each-ref"))
        push(worker, {path_of(1, "b"): delta(1, "b", observations=[1])}, "refs/heads/dc/b")
        refused = try_git(worker, "push", "origin", ":refs/heads/dc/b")
        assert "lane-unmerged" in refused.stderr
        dc("merge", "--config", str(config))
        git(worker, "push", "-q", "origin", ":refs/heads/dc/b")


def test_a_path_repository_that_disappears_is_waited_for(tmp_path: Path) -> None:
    """The daemon stays: alive, not ready with the reason, and going on by itself when the repository is back."""
    repository = tmp_path / "fleet.git"
    dc("init", str(repository))
    config = tmp_path / "primary.toml"
    config.write_text(
        f'[repository]\nurl = "{repository}"\npoll = 0.3\nretry = 0.5\n[http]\nlisten = "127.0.0.1:0"\n'
        "[frames]\ninterval = 0.5\n"
    )
    with Daemon(tmp_path, "--config", str(config)) as daemon:
        await_ready(daemon)
        wait_for((repository / "objects/info/commit-graphs").exists)  # what maintenance does first of all
        away = tmp_path / "away.git"
        repository.rename(away)
        code, _ = wait_for(lambda: found if "is gone" in (found := readiness(daemon))[1] else None)
        assert code == 503
        assert daemon.get("/healthz") == "alive\n"
        time.sleep(1)
        assert daemon.process.poll() is None
        wait_for(partial(put_back, away, repository))
        await_ready(daemon)
        frame = dc_json("status", "--repo", str(repository))["frame"]
        wait_for(lambda: dc_json("status", "--repo", str(repository))["frame"] > frame + 1)
    assert dc_json("verify", "--repo", str(repository))["ok"]


def put_back(away: Path, repository: Path) -> bool:
    """Give a repository its place again; git may have made folders there for a temporary file of its own."""
    shutil.rmtree(repository, ignore_errors=True)
    with contextlib.suppress(OSError):
        away.rename(repository)
    return not away.exists()


def test_status_shows_the_troubles_of_the_daemon(tmp_path: Path) -> None:
    """A configuration that was refused is the daemon's trouble, and `status` has it from there, with the remedy."""
    repository = tmp_path / "fleet.git"
    dc("init", str(repository))
    held = hold_port()
    config = tmp_path / "primary.toml"
    listen = f"127.0.0.1:{port_of(held)}"
    good = f'[repository]\nurl = "{repository}"\n[http]\nlisten = "{listen}"\n[frames]\nclose = "manual"\n'
    config.write_text(good)
    with held, Daemon(tmp_path, "--config", str(config)) as daemon:
        await_ready(daemon)
        rewrite(config, good + "colour = 1\n")
        wait_for(lambda: daemon.logged("configuration refused, the old one stays"))
        assert metric(daemon, "config_refused") == 1
        (tmp_path / "other.toml").write_text(good)
        (trouble,) = dc_json("status", "--config", str(tmp_path / "other.toml"))["troubles"]
        assert "colour" in trouble["what"]
        assert trouble["since"]
        code, text = readiness(daemon)
        assert (code, "colour" in text) == (200, True)
        rewrite(config, good)
        wait_for(lambda: metric(daemon, "config_refused") == 0)
        wait_for(lambda: dc_json("status", "--config", str(config))["troubles"] == [])


def test_a_file_watch_that_degrades_is_said_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where changes are only polled for, log, metric and status say so."""
    dc("init", str(tmp_path / "fleet.git"))
    monkeypatch.setenv("WATCHFILES_FORCE_POLLING", "true")
    with Daemon(tmp_path, "--config", str(_manual(tmp_path))) as daemon:
        await_ready(daemon)
        wait_for(lambda: "file watch degraded" in daemon.text)
        assert metric(daemon, "watch_degraded") == 1


def test_a_repository_in_a_folder_that_is_no_utf_8_is_served_like_any_other(tmp_path: Path) -> None:
    """Frames close, pushes are noticed at once, the API and the page show it, an event names it, and commands ask the
    daemon about it."""
    folder = tmp_path / "n\udcff"
    folder.mkdir()
    fleet = folder / "fleet.git"
    dc("init", str(fleet))
    config = tmp_path / "primary.toml"
    seen = tmp_path / "seen"
    held = hold_port()
    config.write_text(
        f'[http]\nlisten = "127.0.0.1:{port_of(held)}"\n[frames]\nclose = "manual"\n[repository]\npoll = 600\n'
        f'[[events]]\nexec = ["sh", "-c", "cat >> {seen}"]\n'
    )
    with held, Daemon(folder, "--repo", str(fleet), "--config", str(config)) as daemon:
        await_ready(daemon)
        push(clone(fleet, tmp_path / "worker"), {"state/stream_deltas/1/a.json": delta(1, "a")}, "dc/a")
        wait_for(lambda: json.loads(daemon.get("/api/v1/status"))["pending"]["total"] == 1)
        assert "fleet.git" in daemon.get("/")
        dc("close", "--repo", str(fleet))
        wait_for(lambda: seen.exists() and "frame.closed" in seen.read_text())
        assert "%FF" in seen.read_text()
        assert dc_json("status", "--repo", str(fleet), "--config", str(config))["frame"] == 2
        assert daemon.stop()[0] == 0
        assert "Traceback" not in daemon.text
        assert "library message" not in daemon.text


def _manual(folder: Path) -> Path:
    config = folder / "primary.toml"
    config.write_text('[http]\nlisten = "127.0.0.1:0"\n[frames]\nclose = "manual"\n')
    return config


def test_explain_of_a_record_with_only_a_key_explains_its_key(tmp_path: Path) -> None:
    """A reaction that is nothing but its key, and a post of a bare number: who brought it is said where it is known."""
    repository = tmp_path / "fleet.git"
    dc("init", str(repository))
    worker = clone(repository, tmp_path / "worker")
    reaction = {"node": "n", "agent": "zoe", "type": "up"}
    push(worker, {path_of(1, "a"): delta(1, "a", reactions_added=[reaction], posts_created=[7])}, "refs/heads/dc/a")
    dc("merge", "--repo", str(repository))
    found = dc_json("explain", "reactions", "n/up/zoe", "--repo", str(repository))
    assert {name: (one["value"], one["path"]) for name, one in found["fields"].items()} == {
        name: (value, path_of(1, "a")) for name, value in reaction.items()
    }
    bare = dc_json("explain", "posts", "7", "--repo", str(repository))
    assert {name: one["value"] for name, one in bare["fields"].items()} == {"discussion_number": 7}
    assert "discussion_number: 7" in dc("explain", "posts", "7", "--repo", str(repository))


def test_doctor_names_damaged_refs_and_branches_that_nobody_merges(tmp_path: Path) -> None:
    """An empty lane ref and a branch with deltas are findings, each with its remedy; sound, both are all right."""
    repository = tmp_path / "fleet.git"
    dc("init", str(repository))
    worker = clone(repository, tmp_path / "worker")
    checks = {one["check"]: one for one in dc_json("doctor", "--repo", str(repository))}
    assert checks["refs"]["ok"]
    assert checks["branches"]["ok"]
    assert checks["receive.denyDeletes"]["ok"]
    push(worker, {path_of(1, "a"): delta(1, "a", observations=[1])}, "refs/heads/dc/a")
    push(worker, {path_of(1, "b"): delta(1, "b", observations=[1])}, "refs/heads/master")
    (repository / "refs/heads/dc/a").write_bytes(b"")
    git(repository, "config", "receive.denyDeletes", "true")
    checks = {one["check"]: one for one in dc_json("doctor", "--repo", str(repository), code=1)}
    assert "refs/heads/dc/a" in checks["refs"]["detail"]
    assert "update-ref" in checks["refs"]["remedy"]
    assert "master brings" in checks["branches"]["detail"]
    assert "false" in checks["receive.denyDeletes"]["remedy"]
