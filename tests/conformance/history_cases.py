"""Vectors about what histories bring: duplicates, early and late deltas, violations, signers, large states."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from tests.conformance.make import CLOSE, Given, Group, case, commit, delta, send
from tests.conformance.merge_cases import CLAIMS, DELETIONS, FIELDS, ROWS, RULES, both, history, several
from tests.conformance.shape_cases import ALTERNATIVES, ATTACHMENTS, BOOKS, RECORDS, VIEWS

_ONE = delta(1, "alice", posts_created=[{"number": 1, "title": "one"}])
_TWO = delta(2, "alice", posts_created=[{"number": 2, "title": "two"}])
_EARLY = delta(1, "alice", 3, posts_created=[{"number": 3, "title": "three"}])
_FOLDER = "state/stream_deltas/1"
_META = '{{"_meta":{{"frame":{},"timestamp":"2026-01-01T00:00:01Z","node_id":"alice"}}}}'

PUBLISHING = [
    history("same-content-twice", "counts once: the one on main, by path", send("a", _ONE), commit("b",
        {"b.json": _ONE}),
            commit("c", {"a.json": _ONE})),
    history("same-content-again", "in a later frame is a duplicate", send("a", _ONE), CLOSE, commit("b",
        {"again.json": _ONE}), CLOSE),
    history("more-than-twenty-names", "of one content in one commit are counted, and not listed",
            commit("a", {f"n{n:02}.json": _ONE for n in range(25)})),
    history("more-than-twenty-unreadable", "names of the same bytes are counted, too",
            commit("a", {f"n{n:02}.json": "{" for n in range(25)})),
    history("same-bytes-in-another-frame", "are no duplicate: the path's frame is not theirs", commit("a",
        {"a.json": _ONE,
            "state/stream_deltas/2/a.json": _ONE})),
    history("early", "waits until its frame closes", send("a", _EARLY), CLOSE, CLOSE, CLOSE),
    history("early-twice", "the second one is a duplicate of what waits", send("a", _EARLY), CLOSE, commit("b",
        {"state/stream_deltas/3/b.json": _EARLY}), CLOSE, CLOSE),
    history("too-far-ahead", "is quarantined, waits, and merges in its frame", send("a", delta(1, "alice", 3,
        observations=[1])), CLOSE, CLOSE, CLOSE,
            settings="[limits]\nframes_ahead = 1\n"),
    history("late", "merges at the next close, and is marked", CLOSE, send("a", _ONE), CLOSE),
    history("corrected", "both versions of a changed file are deltas", commit("a", {"a.json": _ONE}), commit("b",
        {"a.json": _TWO})),
    history("corrected-after-the-close", "the change is a violation, and the new version is late", commit("a",
        {"a.json": _ONE}), CLOSE,
            commit("b", {"a.json": _TWO}), CLOSE),
    history("unreadable-then-corrected", "one version is quarantined, the other one merges", commit("a",
        {"a.json": "{"}), commit("b", {"a.json": _ONE})),
    history("merge-commit", "brings only what differs from all its parents", commit("a", {"a.json": _ONE}, "dc/alice"),
            commit("b", {"b.json": delta(2, "bob", observations=[2])}, "dc/bob"),
            commit("m", {"a.json": _ONE, "c.json": delta(3, "bob", observations=[3])}, "dc/bob", parents=["b", "a"])),
    history("resolved-merge", "a version that differs from all parents is new", commit("a", {"d.json": delta(1, "bob",
        observations=[1])}, "dc/bob/1"),
            commit("b", {"d.json": delta(2, "bob", observations=[2])}, "dc/bob/2"),
            commit("m", {"d.json": delta(3, "bob", observations=[3])}, "dc/bob/2", parents=["b", "a"])),
    history("first-frame", "may be any", send("a", delta(1, "alice", 400, observations=[1])), CLOSE, first_frame=400),
    history("clock-ahead", "is merged, and flagged in the ledger", send("a", delta(301, "alice", observations=[1])),
        send("b", delta(300, "bob", observations=[1]))),
    history("clock-backward", "is merged, and flagged", send("a", _TWO), CLOSE, send("b", delta(1, "alice", 2,
        observations=[1])), CLOSE),
    history("linear", "the merged lanes are not parents, and nothing is read twice", send("a", _ONE), CLOSE, send("b",
        _TWO), CLOSE,
            settings='[publish]\nhistory = "linear"\n'),
]  # fmt: skip

INTAKE = [
    history("lane-of-another-stream", "is quarantined", send("a", _ONE, "dc/mallory")),
    history("meta-of-another-stream", "and one too far ahead: the place is where the field was found", commit("a",
        {"a.json": _META.format(1)}, "dc/mallory"), commit("b",
            {"state/stream_deltas/3/b.json": _META.format(3)}), CLOSE, CLOSE, CLOSE,
            settings="[limits]\nframes_ahead = 1\n"),
    history("lane-below-a-lane", "belongs to the same stream", send("a", _ONE, "dc/alice/run-1"), send("b", _TWO,
        "dc/alice/run-2")),
    history("reachable-from-main-too", "counts as pushed on main, whatever the stream", commit("a", {"a.json": _ONE}),
        commit("b", {"b.json": _TWO}, "dc/mallory", parents=["a"])),
    history("other-branches", "are not read", send("a", _ONE, "feature"), send("b", _TWO)),
    history("flat-form", "is read the same way", commit("a", {"state/stream_deltas/frame-1-alice.json": _ONE})),
    history("not-a-delta-file", "other endings are no deltas", commit("a", {"a.md": "x", "b.JSON": _ONE,
        "c.jsonl": _ONE})),
    history("roots", "where the settings say", commit("a", {"inbox/1/a.json": _ONE, f"{_FOLDER}/b.json": _TWO}),
        settings='[intake]\nroots = ["inbox"]\n'),
    history("lane-prefix", "is a setting", send("a", _ONE, "dc/alice"), send("b", _TWO, "work/alice"),
        settings='[lanes]\nprefix = "refs/heads/work/"\n'),
    history("relay", "may bring deltas of any stream", send("a", _ONE, "dc-relay/north"), send("b", _TWO,
        "dc-relay/south"), settings='[lanes]\nrelays = ["north"]\n'),
    history("quarantined-of-each-kind", "reason and place of each", commit("a", {"a.json": "[]", "b.json": "{",
        "c.json": "{}", f"{_FOLDER}/x/d.json": '{"a":1,"a":1}',
            "state/stream_deltas/e.json": _ONE, "f.json": {"mode": "120000", "bytes": "a.json"}})),
    history("settings-of-the-close", "a change counts from the close that records it", send("a", _ONE), CLOSE,
            commit("s", {"state/dreamcatcher.toml": '[collections.boats]\nkey = ["id"]\nrule = "lww"\n'}),
            send("b", delta(1, "bob", 2, boats=[{"id": 1, "x": 1}])), CLOSE),
    history("settings-refused", "the last good ones stay", send("a", _ONE), CLOSE, commit("s",
        {"state/dreamcatcher.toml": "["}), CLOSE, CLOSE),
    history("settings-that-change-a-rule", "are refused once there are entities", send("a", delta(1, "alice",
        boats=[{"id": 1}])), CLOSE,
            commit("s", {"state/dreamcatcher.toml": '[collections.boats]\nkey = ["id"]\nrule = "dedup"\n'}), CLOSE,
            settings='[collections.boats]\nkey = ["id"]\nrule = "lww"\n'),
    history("settings-removed", "are the defaults again", send("a", _ONE), CLOSE, commit("s",
        {"state/dreamcatcher.toml": None}), CLOSE,
            settings="[limits]\ndepth = 64\n"),
]  # fmt: skip

VIOLATIONS = [
    history("snapshot-edited", "is put back, and named", send("a", _ONE), CLOSE, commit("evil",
        {"state/snapshot/format": "x\n"}, author="mallory <m@example.org>"), CLOSE),
    history("ledger-deleted", "is put back, and named", send("a", _ONE), CLOSE, commit("evil",
        {"state/ledger/0/1.json": None}), CLOSE),
    history("frame-edited", "is put back, and named", send("a", _ONE), CLOSE, commit("evil",
        {"state/frame.json": '{"frame": 9}'}), CLOSE),
    history("view-edited", "is put back, and named", send("a", _ONE), CLOSE, commit("evil", {"views/posts.json": "[]"}),
        CLOSE,
            settings='[views.posts]\ncollection = "posts"\npath = "views/posts.json"\n'),
    history("edited-and-put-back", "still counts as an edit", send("a", _ONE), CLOSE, commit("evil",
        {"state/snapshot/format": "x\n"}),
            commit("good", {"state/snapshot/format": "dreamcatcher-snapshot/2\n"}), CLOSE),
    history("delta-deleted", "it stays merged", commit("a", {"a.json": _ONE}), CLOSE, commit("evil", {"a.json": None}),
        CLOSE),
    history("main-rewound", "what was published stays published, and what is on main instead is merged",
            commit("a", {"a.json": _ONE}), CLOSE, {"move": "main", "to": "a"}, commit("b", {"b.json": _TWO}), CLOSE),
    history("main-deleted", "nothing is lost", commit("a", {"a.json": _ONE}), CLOSE, {"move": "main", "to": None},
        CLOSE),
    history("lane-rewound", "what was seen before is merged", send("a", _ONE), send("b", _TWO), {"move": "dc/alice",
        "to": "a"}),
    history("lane-deleted", "what was seen before is merged", send("a", _ONE), {"move": "dc/alice", "to": None}),
    history("bad-path", "no clone could hold it", commit("a", {"docs/.GIT/x": "x"})),
]  # fmt: skip

_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKr9bW39+VuRbozqQKj9rOxNy7KOuaTpBel6hVXdi3Re"
_OTHER = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI" + "A" * 43
_SIGNERS = f'[security]\nallowed_signers = """\nalice {_KEY}\nteam-* {_OTHER}\n"""\noperators = ["alice"]\n'


def _signed(step: Given, key: str) -> Given:
    return {**step, "signed_by": key}


SIGNERS = [
    history("own-key", "counts", _signed(send("a", _ONE), _KEY), settings=_SIGNERS),
    history("unsigned", "is quarantined", send("a", _ONE), settings=_SIGNERS),
    history("another-key", "is quarantined", _signed(send("a", _ONE), _OTHER), settings=_SIGNERS),
    history("pattern", "speaks for all that it matches", _signed(send("a", delta(1, "team-7", observations=[1])),
        _OTHER), settings=_SIGNERS),
    history("settings-by-an-operator", "count", _signed(send("a", _ONE), _KEY), CLOSE,
            _signed(commit("s", {"state/dreamcatcher.toml": _SIGNERS + "[limits]\ndepth = 64\n"}), _KEY), CLOSE,
                settings=_SIGNERS),
    history("settings-by-nobody", "are refused", _signed(send("a", _ONE), _KEY), CLOSE, commit("s",
        {"state/dreamcatcher.toml": ""}), CLOSE, settings=_SIGNERS),
]  # fmt: skip


def _numbered(count: int, start: int = 1) -> list[Given]:
    return [{"number": number, "title": f"t{number}"} for number in range(start, start + count)]


LARGE = [
    both("256-posts", "are one file", delta(1, "alice", posts_created=_numbered(256))),
    both("257-posts", "are a folder, by the digits of their numbers", delta(1, "alice", posts_created=_numbered(257,
        0))),
    history("split-by-growing", "the layout does not depend on history", send("a", delta(1, "alice",
        posts_created=_numbered(200))), CLOSE,
            send("b", delta(1, "alice", 2, posts_created=_numbered(57, 201))), CLOSE),
    both("negative-and-huge-numbers", "have the paths of texts", delta(1, "alice", posts_created=[*_numbered(255),
        {"number": -5}, {"number": 10**19}])),
    both("300-agents", "are spread by the hash of their names", delta(1, "alice",
        profile_updates={f"agent-{n}": {"n": n} for n in range(300)})),
    both("300-comments-of-one-discussion", "share a beginning, and are spread by their keys",
         delta(1, "alice", comments_added=[{"number": 7, "author": f"a{n}", "body": "x"} for n in range(300)])),
    both("300-observations", "are kept by frame, content id and position", delta(1, "alice",
        observations=list(range(300)))),
    both("300-sections", "extras are kept by section", delta(1, "alice", **{f"s{n}": [n] for n in range(300)})),
    both("300-of-one-section", "and then by stamp", *[delta(s, "alice", notes=list(range(150))) for s in (1, 2)]),
    history("two-sections-of-one-prefix", "the paths of s46 and s92 differ only in their ends", {
        **commit("a", {}), "files": {
            "state/stream_deltas/1/a.json": delta(1, "alice", s46=[{"x_ref": "note.md"}], s92=[{"x_ref": "note.md"}]),
            "state/stream_deltas/1/note.md": {"repeat": "0123456789abcdef", "times": 16385}}}),
    several("shard-by-another-part", "entities of one followee are neighbours",
            delta(1, "alice", links=[{"a": n % 30, "b": f"to{n % 9}", "n": n} for n in range(400)]),
            settings='[collections.links]\nkey = ["a", "b"]\nrule = "lww"\nshard = "b"\n'),
]  # fmt: skip


def _export(**more: Any) -> str:
    stamp = [1, 1767225601000000, "alice", "a" * 40]
    whole: Given = {
        "format": "dreamcatcher-snapshot/2", "frame": 1, "digest": "0" * 40, "settings": None,
            "merged": {"1": ["a" * 40]},
        "state": {"posts": [{"discussion_number": 1, "title": "x", "_stamps": {"title": stamp}}]},
    }  # fmt: skip
    return json.dumps({**whole, **more})


_STAMP = [1, 1767225601000000, "alice", "a" * 40]
_IDS = [hashlib.sha1(str(number).encode(), usedforsecurity=False).hexdigest() for number in range(2049)]
_V1 = "dreamcatcher-snapshot/1"

EXPORTS = [
    case("wrong-digest", "is refused", export=_export(), expect={"refused": True}),
    case("former-format", "is read, and gets a digest of its own", export=_export(format=_V1)),
    case("newer-format", "is refused", export=_export(format="dreamcatcher-snapshot/3"), expect={"refused": True}),
    case("no-json", "is refused", export="{", expect={"refused": True}),
    case("nothing-in-it", "is the empty snapshot", export=_export(format=_V1, state={}, merged={})),
    case("unknown-collection", "is refused", export=_export(format=_V1, state={"boats": [{"id": 1}]}),
        expect={"refused": True}),
    case("exact-decimals", "keep their digits", export=_export(format=_V1, state={"counters": [
        {"name": "a", "value": "<<>>", "_stamp": _STAMP}]}).replace('"<<>>"', "0.12345678901234567890123")),
    case("more-than-2048-ids", "are a folder of files", export=_export(format=_V1, state={},
        merged={"1": sorted(_IDS)})),
    case("tombstone", "an entity that was deleted", export=_export(format=_V1, settings=ROWS, state={"follows": [
        {"follower": "a", "followee": "b", "_stamps": {}, "_deleted": _STAMP}]})),
]  # fmt: skip

GROUPS = [
    Group("the-merge", "rules", "history", "One frame, several streams: the rule of each collection.", RULES),
    Group("fields", "fields", "history", "Rules of single fields.", FIELDS),
    Group("deletion", "deletions", "history", "Deletions, and what stays.", DELETIONS),
    Group("claims", "claims", "history", "Claims: decided once, by the close that merges them.", CLAIMS),
    Group("a-delta", "records", "history", "Messy sections and records.", RECORDS),
    Group("keys", "alternatives", "history", "Keys with alternatives, and texts that are part of keys.", ALTERNATIVES),
    Group("a-delta", "filled-in", "history", "Attachments as the merge sees them.", ATTACHMENTS),
    Group("books", "books", "history", "Books that finish themselves.", BOOKS),
    Group("views", "views", "history", "Collections as files in a platform's own shape.", VIEWS),
    Group("publishing", "arrivals", "history", "Duplicates, early and late deltas, several versions.", PUBLISHING),
    Group("intake", "intake", "history", "Which refs, folders and files are read, under which settings.", INTAKE),
    Group("violations", "violations", "history", "What others break.", VIOLATIONS),
    Group("signers", "signers", "history", "Whose signature counts.", SIGNERS),
    Group("the-repository", "large", "history", "States of more than one file for each collection.", LARGE),
    Group("export", "imports", "import", "Exports, and the digest of what they describe.", EXPORTS),
]  # fmt: skip
