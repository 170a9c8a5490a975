"""Claims over plain git: one holder, decided once, whatever arrives later (docs/protocol.md#claims)."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.primaries import close_by_hand
from tests.e2e.tools import Daemon, clone, dc, dc_json, delta, export_of, git, primary_toml, push, wait_for

SETTINGS = '[collections.tasks]\nsection = "claims"\nkey = ["resource"]\nrule = "claim"\nttl = 2\n'


@pytest.fixture
def fleet(tmp_path: Path) -> Path:
    """A repository with a collection of claims that hold for two frames."""
    repository = tmp_path / "fleet.git"
    dc("init", str(repository))
    push(clone(repository, tmp_path / "operator"), {"state/dreamcatcher.toml": SETTINGS})
    return repository


def claim(fleet: Path, stream: str, frame: int, *, second: int = 0, **record: Any) -> str:
    """Push a claim to a lane of the stream, as an orphan commit; returns the path of its delta."""
    work = fleet.parent / "work"
    if not work.exists():
        git(fleet.parent, "init", "-q", str(work))
    path = f"state/stream_deltas/{frame}/{stream}-{second}.json"
    text = delta(frame, stream, f"2026-01-01T00:00:{second:02}Z", claims=[{"resource": "build", **record}])
    oid = plumb(work, text, "hash-object", "-w", "--stdin")
    for at, name in enumerate(reversed(path.split("/"))):
        oid = plumb(work, f"{'040000 tree' if at else '100644 blob'} {oid}\t{name}\n", "mktree")
    commit = plumb(work, "claim", "-c", "user.name=w", "-c", "user.email=w@localhost", "commit-tree", oid)
    git(work, "push", "-q", str(fleet), f"{commit}:refs/heads/dc/{stream}/{frame}-{second}")
    return path


def plumb(folder: Path, given: str, *words: str) -> str:
    """Run git with something on its standard input."""
    done = subprocess.run(["git", *words], cwd=folder, input=given, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def decided(fleet: Path, path: str) -> dict[str, Any]:
    """The decision about the one claim of a delta, from its receipt."""
    (receipt,) = dc_json("receipt", path, "--repo", str(fleet))
    (found,) = receipt["claims"]
    return {name: found[name] for name in ("outcome", "holder", "until")}


def holder(fleet: Path) -> Any:
    """The entity of the resource; None if nobody ever had it, or it was released."""
    found = dc_json("show", "tasks", "--repo", str(fleet))
    return (found[0]["holder"], found[0]["since"], found[0]["until"]) if found else None


def test_of_fifty_workers_one_holds_and_the_others_are_told(fleet: Path) -> None:
    """All claim in one frame; the earliest stamp gets it, and each receipt names the holder."""
    paths = {f"w{number:02}": claim(fleet, f"w{number:02}", 1, second=59 - number) for number in range(50)}
    drafted = dc_json("plan", "--repo", str(fleet))["claims"]
    dc("merge", "--repo", str(fleet))
    ledger = git(fleet, "show", "main:state/ledger/0/1.json")
    outcomes = {stream: decided(fleet, path) for stream, path in list(paths.items())[-5:]}
    assert outcomes["w49"] == {"outcome": "granted", "holder": "w49", "until": 3}
    assert {one["outcome"] for stream, one in outcomes.items() if stream != "w49"} == {"refused"}
    assert {one["holder"] for one in outcomes.values()} == {"w49"}
    assert [row["outcome"] for row in drafted] == ["granted", *["refused"] * 49]
    assert ledger.count('"outcome":"refused"') == 49
    assert holder(fleet) == ("w49", 1, 3)
    assert dc_json("verify", "--repo", str(fleet))["ok"]


def test_a_late_claim_with_an_older_stamp_changes_nothing(fleet: Path) -> None:
    """What was decided stays, in the snapshot and in the receipt of the holder."""
    first = claim(fleet, "a", 1, second=30)
    dc("merge", "--repo", str(fleet))
    late = claim(fleet, "b", 1, second=1)
    dc("merge", "--repo", str(fleet))
    assert decided(fleet, late) == {"outcome": "refused", "holder": "a", "until": 3}
    assert decided(fleet, first) == {"outcome": "granted", "holder": "a", "until": 3}
    assert holder(fleet) == ("a", 1, 3)
    assert dc_json("verify", "--repo", str(fleet))["ok"]
    assert dc_json("replay", "--repo", str(fleet))["digest"] == export_of(fleet)["digest"]


def test_a_holder_renews_and_releases_and_a_dead_one_loses_it(fleet: Path) -> None:
    """Renewal extends, release ends at once, and after `ttl` frames without either somebody else is granted it; replay,
    verify, export and import keep every decision."""
    repo = ("--repo", str(fleet))
    steps = [
        (claim(fleet, "a", 1, worker="alpha"), ("granted", "a", 3)),
        (claim(fleet, "a", 2, op="renew"), ("renewed", "a", 4)),
        (claim(fleet, "b", 3, op="renew"), ("refused", "a", 4)),
        (claim(fleet, "b", 4), ("refused", "a", 4)),
        (claim(fleet, "b", 5), ("granted", "b", 7)),
        (claim(fleet, "a", 6, op="release"), ("refused", "b", 7)),
        (claim(fleet, "b", 7, op="release"), ("released", None, None)),
    ]
    for _ in steps:
        dc("merge", *repo)
    for path, expected in steps:
        assert tuple(decided(fleet, path).values()) == expected, path
    assert holder(fleet) is None
    assert dc_json("verify", *repo) == {"frames": 7, "ok": True, "first_bad": None, "why": None}
    assert dc_json("replay", *repo)["digest"] == export_of(fleet)["digest"]
    assert dc_json("replay", "--to", "4", *repo)["digest"] == dc_json("replay", "--to", "4", *repo)["known"]


def test_an_import_keeps_who_holds_what(fleet: Path, tmp_path: Path) -> None:
    """The exported snapshot has the holder and its last frame, so that the fleet goes on elsewhere as it would have."""
    claim(fleet, "a", 1)
    dc("merge", "--repo", str(fleet))
    file, other = tmp_path / "export.json", tmp_path / "other.git"
    dc("export", "-o", str(file), "--repo", str(fleet))
    dc("import", str(file), "--repo", str(other))
    refused = claim(other, "b", 2)
    dc("merge", "--repo", str(other))
    assert decided(other, refused) == {"outcome": "refused", "holder": "a", "until": 3}
    assert holder(other) == ("a", 1, 3)


def test_a_record_of_another_operation_is_a_misfit(fleet: Path) -> None:
    """A misspelt operation asks for nothing: it is kept in extra, and the receipt says why."""
    path = claim(fleet, "a", 1, op="steal")
    dc("merge", "--repo", str(fleet))
    (receipt,) = dc_json("receipt", path, "--repo", str(fleet))
    assert (receipt["claims"], receipt["misfits"][0]["why"]) == ([], "op is none of claim, renew, release")
    assert holder(fleet) is None


def test_metrics_and_page_show_who_holds_what(fleet: Path, tmp_path: Path) -> None:
    """The gauge counts held resources by collection and falls when they expire; the page names the holder."""
    with Daemon(tmp_path, "--config", str(primary_toml(tmp_path)), "--repo", str(fleet)) as daemon:
        daemon.url()
        claim(fleet, "holder-one", 1)
        gauge = 'dreamcatcher_claims_held{collection="tasks"}'
        close_by_hand(daemon, 1)
        wait_for(lambda: f"{gauge} 1.0" in daemon.get("/metrics"))
        wait_for(lambda: "holder-one" in daemon.get("/"))
        for frame in (2, 3):
            close_by_hand(daemon, frame)
        wait_for(lambda: f"{gauge} 0.0" in daemon.get("/metrics"))
