"""Several deltas in one call, their attachments, and repeats, against a real check and a real primary."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dreamcatcherd import client
from dreamcatcherd.client import claim, frame, push, receipt
from dreamcatcherd.core.codec import canonical
from dreamcatcherd.core.errors import UsageError
from dreamcatcherd.core.frames import Closing
from dreamcatcherd.core.tree import object_id
from dreamcatcherd.daemon.primary import Primary
from dreamcatcherd.imports.new_repository import create
from tests.client.tools import FOLDER, commit_on, delta, files, one, refs, stored, written
from tests.e2e.tools import git
from tests.law.fleet import NOW, primary_on
from tests.stages.tools import close


def test_several_deltas_are_one_commit_for_each_stream_and_rows_in_order(bare: Path) -> None:
    """Deltas of two streams in any order: two lanes of one commit each, and the rows as given."""
    given = [delta(stream=stream, second=at) for at, stream in enumerate(["a", "b", "a", "b", "a"])]
    rows = push(bare, given)
    assert [row.stream_id for row in rows] == ["a", "b", "a", "b", "a"]
    assert [row.blob for row in rows] == [object_id("blob", canonical(body)) for body in given]
    assert {git(bare, "rev-list", "--count", ref) for ref in refs(bare)} == {"1"}
    assert {row.commit for row in rows} == set(refs(bare).values())


def test_a_bad_delta_is_not_pushed_and_stops_no_other(bare: Path) -> None:
    """Its row says why, as a quarantine would; the other deltas arrive."""
    bad = {**delta(), "utc": "yesterday"}
    rows = push(bare, [delta(second=1), bad, b"{", delta(second=2)])
    assert [row.outcome for row in rows] == ["pending", "refused", "refused", "pending"]
    assert (rows[1].reason, rows[1].at, rows[1].path, rows[1].ref) == ("bad-utc", "$.utc", None, None)
    assert rows[2].reason == "not-json"
    assert len(files(bare, "refs/heads/dc/w")) == 2


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"utc": "2026-01-01T00:00:00Z", "stream_id": "w"}, "missing-frame"),
        ({"frame": 1, "stream_id": "w"}, "bad-utc"),
        ({"frame": 1, "utc": "2026-01-01T00:00:00Z"}, "missing-stream"),
        ({"frame": "x", "utc": "no", "stream_id": 3}, "missing-frame"),
        ({"frame": 5000, "utc": "2026-01-01T00:00:00Z", "stream_id": "w"}, "too-far-ahead"),
        (
            {"frame": 1, "utc": "2026-01-01T00:00:00Z", "stream_id": "w", "observations": [0] * 100_001},
            "too-many-records",
        ),
        ({"utc": "no", "observations": [0] * 100_001}, "too-many-records"),
    ],
)
def test_the_reason_is_that_of_the_quarantine(unchecked: Path, body: dict[str, Any], reason: str) -> None:
    """The first reason that holds, as the primary finds it, where no check could refuse the push."""
    assert (one(unchecked, body).outcome, one(unchecked, body).reason) == ("refused", reason)
    assert refs(unchecked) == {}


def test_the_errors_that_its_functions_raise_are_in_the_module() -> None:
    """A caller needs no other import to catch them, nor to name credentials."""
    raised = re.findall(r"(\w+Error)\b", "".join(inspect.getdoc(one) or "" for one in (push, receipt, claim, frame)))
    assert {"UsageError", "RetryableError", "FatalError", "RefusedError"} <= set(raised)
    for name in (*raised, "RepositoryConfig"):
        assert name in client.__all__


def test_the_stream_must_be_the_one_that_is_named(bare: Path) -> None:
    """`stream_id` guards against pushing another worker's delta."""
    assert one(bare, delta(stream="other"), stream_id="w").reason == "wrong-stream"
    assert one(bare, delta(stream="w"), stream_id="w").outcome == "pending"
    assert list(refs(bare)) == ["refs/heads/dc/w"]


def test_a_number_that_json_lacks_is_refused_and_not_written_as_null(bare: Path) -> None:
    """NaN and infinities in an object are the caller's mistake, at any depth; nothing is pushed."""
    for value in (float("nan"), float("inf"), -float("inf")):
        with pytest.raises(UsageError, match="the delta is not JSON"):
            push(bare, {**delta(), "observations": [{"deep": [value]}]})
    assert refs(bare) == {}


def test_what_is_no_plain_file_is_not_a_delta(bare: Path, tmp_path: Path) -> None:
    """A folder and a symbolic link are refused; a file that is not there is a mistake of the caller's."""
    written(tmp_path / "d.json", delta())
    (tmp_path / "link.json").symlink_to(tmp_path / "d.json")
    assert [row.reason for row in push(bare, [tmp_path, tmp_path / "link.json"])] == ["not-a-file"] * 2
    with pytest.raises(UsageError, match=r"nothing\.json cannot be read"):
        push(bare, tmp_path / "nothing.json")
    with pytest.raises(UsageError, match="no delta"):
        push(bare, [])
    assert refs(bare) == {}


def test_a_file_without_end_is_refused_after_the_limit(bare: Path) -> None:
    """A device is no plain file, and bytes beyond the limit are `too-large`."""
    assert one(bare, "/dev/zero").reason == "not-a-file"
    assert one(bare, b" " * (16 * 2**20 + 1)).reason == "too-large"


def test_attachments_beside_the_file_come_along(bare: Path, tmp_path: Path, primary: Primary) -> None:
    """Those in the folder of the delta's name come first, then those next to it, as in the repository; they fill the
    field and are part of the content."""
    posts = [{"number": 1, "body_ref": "own.md"}, {"number": 2, "body_ref": "shared.md"}]
    file = written(tmp_path / "d.json", delta(posts_created=posts))
    (tmp_path / "d").mkdir()
    (tmp_path / "d/own.md").write_text("own")
    (tmp_path / "own.md").write_text("not this")
    (tmp_path / "shared.md").write_text("shared")
    row = one(bare, file)
    assert row.warnings == ()
    assert row.path is not None
    folder = row.path.removesuffix(".json")
    assert stored(bare, f"{row.commit}:{folder}/own.md") == b"own"
    assert stored(bare, f"{row.commit}:{folder}/shared.md") == b"shared"
    assert close(primary).counts.unresolved == 0
    (tmp_path / "shared.md").write_text("changed")
    assert one(bare, file).outcome == "pending"  # another text is another delta


@pytest.mark.parametrize("mapped", [False, True])
def test_attachments_that_are_named_come_along(bare: Path, tmp_path: Path, mapped: bool) -> None:
    """Files are found by the last parts of their path, contents by the very name."""
    (tmp_path / "texts/img").mkdir(parents=True)
    (tmp_path / "texts/img/a.md").write_text("A")
    body = delta(posts_created=[{"number": 1, "body_ref": "img/a.md"}])
    attachments: Any = {"img/a.md": b"A"} if mapped else [tmp_path / "texts/img/a.md"]
    row = one(bare, body, attachments=attachments)
    assert row.path is not None
    assert stored(bare, f"{row.commit}:{row.path.removesuffix('.json')}/img/a.md") == b"A"


def test_an_attachment_that_would_be_lost_is_a_mistake(bare: Path, tmp_path: Path) -> None:
    """One that no field names, that is not UTF-8, or that may be no attachment stops the push before anything is
    pushed."""
    (tmp_path / "a.md").write_text("A")
    named = delta(posts_created=[{"number": 1, "body_ref": "a.md"}])
    with pytest.raises(UsageError, match=r"no \*_ref field names"):
        push(bare, delta(), attachments=[tmp_path / "a.md"])
    with pytest.raises(UsageError, match="not UTF-8"):
        push(bare, named, attachments={"a.md": b"\xff"})
    with pytest.raises(UsageError, match=r"no \*_ref field names"):
        push(bare, delta(posts_created=[{"number": 1, "body_ref": "x.json"}]), attachments={"x.json": "{}"})
    assert refs(bare) == {}


@pytest.mark.parametrize("reference", ["../secret", "/etc/passwd", "d/../../secret", "link.md", "gone.md"])
def test_a_reference_leads_to_no_file_elsewhere(bare: Path, tmp_path: Path, reference: str) -> None:
    """Nothing outside the delta's folder and no target of a link is ever pushed; the author is warned."""
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "d").mkdir()
    (tmp_path / "d/link.md").symlink_to(tmp_path / "secret")
    body = delta(posts_created=[{"number": 1, "body_ref": reference}])
    row = one(bare, written(tmp_path / "d" / "d.json", body))
    assert row.commit is not None
    assert files(bare, row.commit) == [row.path]
    assert any("names no file" in warning for warning in row.warnings)


def test_a_repeat_is_a_duplicate_before_and_after_the_close(bare: Path, primary: Primary) -> None:
    """Nothing is pushed again; before the close the reason is `pending`, afterwards frame and digest are known."""
    first = one(bare, delta())
    waiting = one(bare, delta())
    assert (waiting.outcome, waiting.reason, waiting.commit) == ("duplicate", "pending", first.commit)
    ledger = close(primary)
    again = one(bare, delta())
    assert (again.outcome, again.reason, again.frame, again.digest) == ("duplicate", None, 1, ledger.snapshot)
    git(bare, "update-ref", "-d", "refs/heads/dc/w")  # as the primary does with a silent lane
    assert one(bare, delta()).frame == 1
    assert refs(bare) == {}
    assert close(primary).counts.duplicates == 0


def test_a_repeat_of_a_merged_delta_is_not_said_to_be_merged_late(bare: Path, primary: Primary) -> None:
    """Its frame has closed with it: neither a repeat nor a receipt warns that it will be merged at the next close."""
    odd = delta(posts_craeted=[{"number": 1}])
    one(bare, odd)
    close(primary)
    for row in (one(bare, odd), receipt(bare, odd)):
        assert row.frame == 1
        assert [text for text in row.warnings if "late" in text] == []
        assert any("posts_created" in text for text in row.warnings)
    late = delta(second=1)
    one(bare, late)
    assert any("merged late" in text for text in one(bare, late).warnings)


def test_the_same_file_under_another_name_on_the_branch_is_found(bare: Path, primary: Primary) -> None:
    """A delta that somebody committed to `main` under a name of his own is a duplicate too."""
    main = git(bare, "rev-parse", "main")
    commit_on(bare, "refs/heads/main", {f"{FOLDER}/1/mine.json": canonical(delta()).decode()}, (main,))
    close(primary)
    row = one(bare, delta())
    assert (row.outcome, row.path, row.frame) == ("duplicate", f"{FOLDER}/1/mine.json", 1)
    assert refs(bare) == {}


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(calls=st.lists(st.one_of(st.just("close"), st.lists(st.integers(0, 4), min_size=1, max_size=3)), max_size=6))
def test_whatever_is_pushed_how_often_counts_once(tmp_path_factory: pytest.TempPathFactory, calls: list[Any]) -> None:
    """Any pushes of any deltas, repeats within one call too, between any closes: every delta is merged exactly once,
    the first row of each is pending and all others are duplicates."""
    bare = tmp_path_factory.mktemp("again") / "fleet.git"
    primary = primary_on(create(bare, 1, NOW, Closing("manual"), hook=False))
    seen: set[int] = set()
    merged: list[str] = []
    for call in [*calls, "close"]:
        if call == "close":
            merged += [row.blob for row in close(primary).deltas]
            continue
        rows = push(bare, [delta(1 + number % 2, "ab"[number % 2], number) for number in call])
        for number, row in zip(call, rows, strict=True):
            assert row.outcome == ("duplicate" if number in seen else "pending"), call
            seen.add(number)
    merged += [row.blob for row in close(primary).deltas]  # deltas of frame 2 wait for it
    assert sorted(merged) == sorted(object_id("blob", canonical(delta(1 + n % 2, "ab"[n % 2], n))) for n in seen)
