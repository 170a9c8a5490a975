"""Links to the forge: right ones, or none."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dreamcatcherd.web.forge_links import ForgeLinks, forge_links

COMMIT = "0123456789abcdef0123456789abcdef01234567"
PATH = "state/stream_deltas/7/a b#?%.json"
QUOTED = "state/stream_deltas/7/a%20b%23%3F%25.json"


@pytest.mark.parametrize(
    ("url", "commit", "file"),
    [
        ("https://github.com/o/r.git", "https://github.com/o/r/commit/", "https://github.com/o/r/blob/{}/"),
        ("https://u:secret@github.com/o/r", "https://github.com/o/r/commit/", "https://github.com/o/r/blob/{}/"),
        ("git@github.com:o/r.git", "https://github.com/o/r/commit/", "https://github.com/o/r/blob/{}/"),
        ("ssh://git@github.com:22/o/r.git/", "https://github.com/o/r/commit/", "https://github.com/o/r/blob/{}/"),
        (
            "https://gitlab.example.org:8443/a/b/c.git",
            "https://gitlab.example.org:8443/a/b/c/-/commit/",
            "https://gitlab.example.org:8443/a/b/c/-/blob/{}/",
        ),
        ("https://codeberg.org/o/r", "https://codeberg.org/o/r/commit/", "https://codeberg.org/o/r/src/commit/{}/"),
        ("http://gitea.local/o/r", "http://gitea.local/o/r/commit/", "http://gitea.local/o/r/src/commit/{}/"),
        ("forgejo.local:o/r", "https://forgejo.local/o/r/commit/", "https://forgejo.local/o/r/src/commit/{}/"),
        ("https://bitbucket.org/o/r", "https://bitbucket.org/o/r/commits/", "https://bitbucket.org/o/r/src/{}/"),
    ],
)
def test_a_known_forge_is_linked(url: str, commit: str, file: str) -> None:
    """By the host of the URL, whatever its scheme; nothing of user and password stays."""
    links = forge_links(url)
    assert links.commit(COMMIT) == commit + COMMIT
    assert links.file(COMMIT, PATH) == file.format(COMMIT) + QUOTED


@pytest.mark.parametrize(
    "url",
    [
        "fleet.git", "./github.com/o/r", "/srv/github.com/o/r.git", "file:///github.com/o/r", "https://git.example.org/o/r",
        "https://github.com/o", "https://github.com/../r", "https://[::1", "ftp://github.com/o/r", "github:o/r", "",
        "https://notgithub.com/o/r", "https://github.com:x/o/r", "git@host", "javascript://github.com/o/r",
    ],
)  # fmt: skip
def test_what_is_not_known_is_not_linked(url: str) -> None:
    """A path, another host, another scheme, or a URL that names no repository: no link is better than a wrong one."""
    assert forge_links(url) == ForgeLinks("", "")
    assert forge_links(url).commit(COMMIT) == ""


def test_templates_count_instead_of_the_url() -> None:
    """Each by itself; an empty one turns links off; braces in a path stay what they are."""
    links = forge_links(
        "https://github.com/o/r", "https://git.example/c/{commit}", "https://git.example/f/{commit}?p={path}"
    )
    assert links.commit(COMMIT) == f"https://git.example/c/{COMMIT}"
    assert links.file(COMMIT, "a/{commit}.json") == f"https://git.example/f/{COMMIT}?p=a/%7Bcommit%7D.json"
    assert forge_links("https://github.com/o/r", "", "").commit(COMMIT) == ""
    assert forge_links("https://github.com/o/r", "", None).file(COMMIT, "a").endswith(f"/blob/{COMMIT}/a")


@given(st.text(max_size=40), st.text(max_size=60))
def test_no_commit_and_no_path_leads_elsewhere(commit: str, path: str) -> None:
    """Whatever a ledger names: the link is none, or below the repository's page."""
    links = forge_links("https://github.com/o/r")
    for found in (links.commit(commit), links.file(commit, path), links.file(COMMIT, path), links.commit(None)):
        if found:
            parts = urlsplit(found)
            assert (parts.scheme, parts.netloc) == ("https", "github.com")
            assert parts.path.startswith("/o/r/")
            assert ".." not in parts.path.split("/")
            assert found.isascii()
            assert (parts.query, parts.fragment) == ("", "")
            assert not set(found) & set("\"'<> \\")
