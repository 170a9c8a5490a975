"""The vectors of `conformance/`: they are current, this implementation passes them, and others can check them."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections import Counter
from functools import cache
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from dreamcatcherd.conformance.running import run_cases
from dreamcatcherd.conformance.vectors import read_vectors
from tests.conformance.build import FOLDER, files
from tests.conformance.layout import digest_of, files_of, tree_id
from tests.conformance.reading import Frame, beside, frames_of, versions_of
from tests.e2e.tools import do_without, environment, missing
from tests.law.model import conflicts, decisions, model, stamped
from tests.law.sent import Sent, blob_id, content_id
from tests.law.values import read, text
from tests.tidy.test_documents import anchors


@cache
def documents() -> dict[str, Any]:
    """Each file of vectors by its path below the folder."""
    return {str(file.relative_to(FOLDER)): json.loads(file.read_text()) for file in sorted(FOLDER.rglob("*.json"))}


def cases_of(kind: str) -> list[Any]:
    return [
        pytest.param(case, id=f"{path}-{case['name']}")
        for path, document in documents().items()
        if document["kind"] == kind
        for case in document["cases"]
    ]


def test_this_implementation_passes_all_vectors() -> None:
    """Every case gives what it expects."""
    failed = {one.case: one.deviation for one in run_cases(read_vectors(FOLDER)) if one.deviation is not None}
    assert failed == {}


def test_vectors_are_generated_again_as_they_are() -> None:
    """`make vectors` would change nothing."""
    made = files()
    assert made.keys() == documents().keys()
    for path, content in made.items():
        assert (FOLDER / path).read_text() == content, f"{path} is not current: run make vectors"


def test_vectors_are_many_and_named_once() -> None:
    """There are at least 150 cases; a name is used once in its file, and each section is one of docs/protocol.md."""
    assert sum(len(one["cases"]) for one in documents().values()) >= 150
    known = anchors(FOLDER.parent / "docs" / "protocol.md")
    for path, document in documents().items():
        names = [case["name"] for case in document["cases"]]
        assert len(names) == len(set(names)), path
        assert document["section"] == path.partition("/")[0]
        assert document["section"] in known, path


@pytest.mark.parametrize("case", cases_of("history"))
def test_the_simple_model_gives_the_same_state_and_digest(case: dict[str, Any]) -> None:
    """The digest of each frame, and state, conflicts and claims, are those of the independent model."""
    before: list[Sent] = []
    closes: dict[tuple[int, str], int] = {}
    state: dict[str, Any] = {}
    for frame in frames_of(case):
        lost = spread(frame.rows.get("conflicts", []))
        assert sorted(map(text, lost)) == sorted(map(text, conflicts(before, frame.deltas, frame.settings)))
        before += frame.deltas
        for sent in frame.deltas:
            (number, _, _, content), _ = stamped(sent)
            closes[number, content] = frame.number
        found = model(before, closes, frame.settings)
        assert digest_of(files_of(found["state"], found["merged"], frame.settings)) == frame.digest
        assert claims_of(frame) == claims_by_model(before, closes, frame)
        state = found
    assert state["merged"] == case["expect"]["merged"]
    if "state" in case["expect"]:
        shown = {name: [text(record) for record in records] for name, records in state["state"].items() if records}
        assert shown == case["expect"]["state"]


def spread(rows: list[Any]) -> list[Any]:
    """Conflicts with a row for each field: the model does not put many fields that were lost together into one."""
    found = []
    for row in rows:
        many = row["field"] is None and isinstance(row["value"], dict) and len(row["value"]) > 100
        found += [{**row, "field": name, "value": one} for name, one in row["value"].items()] if many else [row]
    return found


def claims_of(frame: Frame) -> list[str]:
    rows = frame.rows.get("claims", [])
    return sorted(text({name: one for name, one in row.items() if name != "stamp"}) for row in rows)


def claims_by_model(deltas: list[Sent], closes: dict[tuple[int, str], int], frame: Frame) -> list[str]:
    every = decisions(deltas, closes, frame.settings)
    own = [{name: one for name, one in row.items() if name != "frame"} for row in every if row["frame"] == frame.number]
    return sorted(map(text, own))


PLAIN = ("roots", "prefix", "relays", "linear")


@pytest.mark.parametrize("case", cases_of("history"))
def test_every_version_is_accounted_for_once(case: dict[str, Any]) -> None:
    """Each version that a commit brings is merged, a duplicate or quarantined, in one frame alone."""
    refs = {step["ref"].partition("/")[0] for step in case["steps"] if "commit" in step}
    if not refs <= {"main", "dc"} or any(name in (case["settings"] or "") for name in PLAIN):
        return  # other refs and folders are read or not, as the settings say
    brought = Counter(versions_of(case["steps"]))
    found: Counter[tuple[str, str]] = Counter()
    for frame in frames_of(case):
        listed = [row for name in ("deltas", "duplicates", "quarantined") for row in frame.rows.get(name, [])]
        found.update((row["commit"], row["blob"]) for row in listed if row.get("reason") != "too-far-ahead")
        for row in listed:
            found[row["commit"], row["blob"]] += row.get("more", 0)
    assert found == brought


@pytest.mark.parametrize("case", cases_of("history"))
def test_the_files_of_a_snapshot_have_its_digest(case: dict[str, Any]) -> None:
    """The files that a case lists are those of its last digest, and are in order, bounded, and each line ends."""
    listed = case["expect"]["snapshot"]
    for path, content in listed.items():
        if not isinstance(content, str):
            continue
        lines = content.split("\n")
        assert lines.pop() == ""
        assert [line.encode() for line in lines] == sorted(line.encode() for line in lines)
        assert len(lines) <= (2048 if path.startswith("merged") else 256)
    blobs = {path: blob_id(one.encode()) if isinstance(one, str) else one["id"] for path, one in listed.items()}
    assert tree_id(blobs) == case["expect"]["frames"][-1]["digest"]


@pytest.mark.parametrize("case", cases_of("canonical-json"))
def test_the_simple_model_writes_the_same_json(case: dict[str, Any]) -> None:
    """Values that are not refused have the text that the independent writer gives them."""
    if "refused" in case["expect"] or case.get("exact"):
        return
    value = json.loads(case["json"])
    assert text(value) == case["expect"]["canonical"]
    assert text(json.loads(case["expect"]["canonical"])) == case["expect"]["canonical"]


@pytest.mark.parametrize("case", [one for one in cases_of("delta") if "frame" in one.values[0]["expect"]])
def test_the_simple_model_reads_the_same_header(case: dict[str, Any]) -> None:
    """Frame, time, stream and content id are those that the independent model reads."""
    if "settings" in case and "[intake]" in case["settings"]:
        return
    sent = Sent(case["delta"].encode())
    (frame, utc, stream, content), _ = stamped(sent)
    found = {name: case["expect"][name] for name in ("frame", "utc", "stream_id", "content_id")}
    assert found == {"frame": str(frame), "utc": str(utc), "stream_id": stream, "content_id": content}


@pytest.mark.parametrize("case", cases_of("content-id"))
def test_the_simple_model_gives_the_same_content_ids(case: dict[str, Any]) -> None:
    """Ids are those that the independent model computes from the bytes."""
    found = beside("state/stream_deltas/1/d.json", case.get("files", {}))
    sent = Sent(case["delta"].encode(), tuple(one for one in found if is_text(one[1])))
    assert case["expect"]["blob"] == blob_id(sent.raw)
    assert case["expect"]["content_id"] == content_id(sent)


@pytest.mark.parametrize("case", [one for one in cases_of("import") if "digest" in one.values[0]["expect"]])
def test_the_layout_of_an_export_has_the_same_digest(case: dict[str, Any]) -> None:
    """The records of an export, laid out as docs/protocol.md says, have the digest that the case expects."""
    export = read(case["export"])
    settings = (export["settings"] or "").encode()
    assert digest_of(files_of(export["state"], export["merged"], settings)) == case["expect"]["digest"]


@pytest.mark.parametrize("case", cases_of("git-object"))
def test_git_gives_the_same_ids(case: dict[str, Any]) -> None:
    """Ids of blobs and trees are those of git itself."""
    if "blob" in case:
        words, given = ["hash-object", "--stdin"], case["blob"]
    else:
        kinds = {"40000": "tree", "100644": "blob"}
        lines = [f"{one['mode']} {kinds[one['mode']]} {one['id']}\t{one['name']}\0" for one in case["tree"]]
        words, given = ["mktree", "--missing", "-z"], "".join(lines)
        raw = bytes.fromhex(case["expect"]["bytes"])
        assert hashlib.sha1(b"tree %d\0" % len(raw) + raw, usedforsecurity=False).hexdigest() == case["expect"]["id"]
    with TemporaryDirectory() as folder:
        subprocess.run(["git", "init", "-q", "--bare", folder], check=True, env=environment())
        words = ["git", "-C", folder, *words]
        done = subprocess.run(words, input=given.encode(), capture_output=True, check=True, env=environment())
    assert done.stdout.decode().strip() == case["expect"]["id"]


def is_text(raw: bytes) -> bool:
    """Whether bytes are UTF-8: others are no attachment, which the model does not know."""
    return raw.decode("utf-8", "replace").encode() == raw


def test_perl_checks_json_fingerprints_and_content_ids() -> None:
    """The runner in another language, which shares no code with the package, passes all cases of its kinds."""
    if lacking := missing("perl"):
        do_without(lacking)
    done = subprocess.run(["perl", str(FOLDER / "check.pl"), str(FOLDER)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    kinds = ("canonical-json", "fingerprint", "content-id")
    assert done.stdout.startswith(f"{sum(len(cases_of(kind)) for kind in kinds)} cases passed, 0 failed")
