"""The rules of views: whole files in a platform's own shape (docs/protocol.md#views)."""

from __future__ import annotations

import pytest

from dreamcatcherd.core.settings import SettingsError, read_settings
from dreamcatcherd.core.view_settings import ViewFile

AGENTS = '[views.agents]\ncollection = "agents"\n'


def test_a_view_is_read_with_its_defaults() -> None:
    """A list without stamps, wrapping or meta, where the settings say no more than collection and path."""
    assert read_settings(f'{AGENTS}path = "state/agents.json"'.encode()).views == {
        "agents": ViewFile("agents", "state/agents.json", "list", None, False, None, False, {})
    }


@pytest.mark.parametrize(
    "text",
    [
        'path = "site/agents.json"\nshape = "map"\nunder = "agents"\nmeta = "_meta"\nstamps = true\ninside = true',
        'path = "state/a.json"\nshape = "map"\nmeta = "_meta"',
        'path = "state/a.json"\nunder = "agents"\nmeta = "_meta"\nrename = {mood = "feeling"}',
        'path = "state/a.jsonl"\nshape = "lines"',
    ],
)
def test_what_goes_together_counts(text: str) -> None:
    """Paths outside state are allowed, and meta wherever there is an object for it."""
    assert "agents" in read_settings((AGENTS + text).encode()).views


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('path = "a.json"\ncollection = "nobody"', "no collection"),
        ('path = "a.json"\ncollection = "observations"\nshape = "map"', "has no key"),
        ('path = "/a.json"', "relative path"),
        ('path = "a/"', "relative path"),
        ('path = "a/../b"', "relative path"),
        ('path = "state/snapshot/a.json"', "taken by state/snapshot"),
        ('path = "State/Ledger/a.json"', "taken by state/ledger"),
        ('path = "state/frame.json"', "taken by"),
        ('path = "state/dreamcatcher.toml"', "taken by"),
        ('path = "state/stream_deltas/a.json"', "taken by"),
        ('path = "state"', "taken by"),
        ('path = "a.json"\nmeta = "_meta"', "meta needs an object"),
        ('path = "a.json"\nshape = "lines"\nmeta = "_meta"', "meta needs an object"),
        ('path = "a.json"\nshape = "lines"\nunder = "x"', "cannot be wrapped"),
        ('path = "a.json"\nunder = "x"\nmeta = "x"', "the same key"),
        ('path = "a.json"\ninside = true', "shape map"),
        ('path = "a.json"\nrename = {a = "x", b = "x"}', "distinct"),
        ('path = "a.json"\nrename = {a = "_stamp"}', "reserved"),
        ('path = "a.json"\nshape = "table"', "shape"),
    ],
)
def test_a_view_that_contradicts_itself_is_refused(text: str, why: str) -> None:
    """Its collection exists, its path is free, and what it wants fits its shape."""
    head = "[views.agents]\n" if "collection" in text else AGENTS
    with pytest.raises(SettingsError, match=why):
        read_settings((head + text).encode())


@pytest.mark.parametrize("other", ["a/b.json", "A/B.json", "a", "a/b.json/c", "a/b.JSON"])
def test_two_views_have_paths_of_their_own(other: str) -> None:
    """Also on file systems that ignore letter case, and one is no folder of the other."""
    text = f'{AGENTS}path = "a/b.json"\n[views.posts]\ncollection = "posts"\npath = "{other}"'
    with pytest.raises(SettingsError, match=r"its path is that of \[views.agents\]"):
        read_settings(text.encode())
