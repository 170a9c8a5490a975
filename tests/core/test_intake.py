"""Where deltas are, how their header is found, and which files pass (docs/protocol.md#intake)."""

from __future__ import annotations

import pytest

from dreamcatcherd.core.intake import Intake, intake_mistakes, overlap, passes_through
from dreamcatcherd.core.settings import SettingsError, read_settings


def test_the_defaults_are_the_protocols() -> None:
    """One root, the paths of the header in order, and nothing passes."""
    intake = read_settings(b"").intake
    assert intake == Intake()
    assert intake.roots == ("state/stream_deltas",)
    assert intake.header == (
        *("frame", "_meta.frame", "utc", "completed_at", "timestamp", "_meta.timestamp", "stream_id", "_meta.node_id"),
    )
    assert not passes_through(intake, "state/memory/a.md")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('roots = ["/a"]', "relative path"),
        ('roots = ["a/../b"]', "relative path"),
        ('roots = ["a//b"]', "relative path"),
        ('roots = ["a\\u0007"]', "relative path"),
        ('roots = ["state"]', "canonical files"),
        ('roots = ["state/snapshot/x"]', "canonical files"),
        ('roots = ["state/frame.json"]', "canonical files"),
        ('roots = ["deltas", "deltas"]', "given twice"),
        ('roots = ["d", "d"]', "given twice"),
        ('roots = ["a/b", "a"]', "inside another"),
        ('frame = [""]', "dotted path"),
        ('utc = ["a..b"]', "dotted path"),
        ('stream_id = ["a."]', "dotted path"),
        ('pass = ["memory/**"]', "below state/"),
        ('pass = ["state/../x"]', "below state/"),
        ("roots = []", "roots"),
        ("frame = []", "frame"),
        ("folders = []", "folders"),
    ],
)
def test_an_intake_that_contradicts_itself_is_refused(text: str, why: str) -> None:
    """Roots hold deltas alone, once each; header paths have names; what passes is below state."""
    with pytest.raises(SettingsError, match=why):
        read_settings(f"[intake]\n{text}".encode())


def test_several_roots_and_other_header_paths_are_fine() -> None:
    """The settings replace the defaults as they are."""
    text = b'[intake]\nroots = ["deltas", "state/inbox"]\nframe = ["tick"]\nutc = ["at.utc"]\nstream_id = ["who"]\n'
    intake = read_settings(text).intake
    assert [*intake_mistakes(intake)] == []
    assert (intake.roots, intake.header) == (("deltas", "state/inbox"), ("tick", "at.utc", "who"))


@pytest.mark.parametrize(
    ("glob", "path", "passes"),
    [
        ("state/memory/**", "state/memory/a.md", True),
        ("state/memory/**", "state/memory/a/b/c.md", True),
        ("state/memory/**", "state/memory", False),
        ("state/memory/**", "state/memories/a.md", False),
        ("state/*.md", "state/a.md", True),
        ("state/*.md", "state/a/b.md", False),
        ("state/**/x.md", "state/x.md", True),
        ("state/**/x.md", "state/a/b/x.md", True),
        ("state/**/x.md", "state/a/bx.md", False),
        ("state/?.md", "state/a.md", True),
        ("state/?.md", "state/ab.md", False),
        ("state/a.md", "state/a.md", True),
        ("state/a.md", "state/a+md", False),
        ("state/[ab].md", "state/a.md", False),
        ("state/*", "state/a\nb", True),
    ],
)
def test_globs_match_by_name_and_folder(glob: str, path: str, passes: bool) -> None:
    """A star stays inside a name, two stars are any folders, or everything below; nothing else is special."""
    assert passes_through(read_settings(f'[intake]\npass = ["{glob}"]'.encode()).intake, path) == passes


@pytest.mark.parametrize(
    ("one", "other", "meet"),
    [("a", "a", True), ("a", "a/b", True), ("a/b/c", "a", True), ("a", "ab", False), ("a/b", "a/c", False)],
)
def test_paths_overlap_where_one_is_in_the_other(one: str, other: str, meet: bool) -> None:
    """Names are compared as names, not by their letters."""
    assert overlap(one, other) == overlap(other, one) == meet
