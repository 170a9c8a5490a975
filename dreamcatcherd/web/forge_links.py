"""Addresses of commits and files on the forge that hosts the repository, from its URL or from templates. Pure.

No link is better than a wrong one: only forges whose addresses are known are linked, by the host's name."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import quote, urlsplit

_SCP = re.compile(r"(?:[^@/\s]+@)?(?P<host>[A-Za-z0-9.-]+):(?!//)(?P<path>[^\s]+)")
_HOST = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?")
_COMMIT = re.compile(r"[0-9a-f]{4,64}")

_GITHUB = ("/commit/{commit}", "/blob/{commit}/{path}")
_GITLAB = ("/-/commit/{commit}", "/-/blob/{commit}/{path}")
_GITEA = ("/commit/{commit}", "/src/commit/{commit}/{path}")
_BITBUCKET = ("/commits/{commit}", "/src/{commit}/{path}")
_FORGES = {
    "github": _GITHUB,
    "gitlab": _GITLAB,
    "gitea": _GITEA,
    "forgejo": _GITEA,
    "codeberg": _GITEA,
    "bitbucket": _BITBUCKET,
}
"""The addresses of each forge, by the first label of its host: `gitlab.com`, `gitlab.example.org`. Hosts are commonly
named after the software that they run; whoever does otherwise sets the templates."""


class ForgeLinks(NamedTuple):
    """Templates of the addresses; an empty one links nothing."""

    commit_template: str = ""
    file_template: str = ""

    def commit(self, commit: str | None) -> str:
        """The page of a commit, or an empty text."""
        return self._filled(self.commit_template, commit, "")

    def file(self, commit: str | None, path: str) -> str:
        """The page of a file in a commit, or an empty text. Names that are no text have no page."""
        return self._filled(self.file_template, commit, path) if "\N{REPLACEMENT CHARACTER}" not in path else ""

    @staticmethod
    def _filled(template: str, commit: str | None, path: str) -> str:
        # A path with `..` as a step would be resolved by the browser, and name another page.
        if not template or commit is None or not _COMMIT.fullmatch(commit) or {".", ".."} & set(path.split("/")):
            return ""
        # One pass, so that a path that holds `{commit}` stays what it is.
        parts = {"{commit}": commit, "{path}": quote(path, safe="/", errors="replace")}
        return re.sub(r"\{commit\}|\{path\}", lambda found: parts[found[0]], template)


def forge_links(url: str, commit: str | None = None, file: str | None = None) -> ForgeLinks:
    """The links for a repository's URL; `commit` and `file` are templates that take precedence over the URL."""
    base, kinds = _base_of(url)
    known = (base + kinds[0], base + kinds[1]) if kinds else ("", "")
    return ForgeLinks(known[0] if commit is None else commit, known[1] if file is None else file)


def _base_of(url: str) -> tuple[str, tuple[str, str] | None]:
    """The address of the repository's page, without any user or password, and the forge's addresses if it is known."""
    scheme, host, path, port = "https", "", "", ""
    if "://" in url:
        try:
            parts = urlsplit(url)
            number = parts.port
        except ValueError:
            return "", None
        if parts.scheme not in ("http", "https", "ssh", "git"):
            return "", None
        host, path = parts.hostname or "", parts.path
        if parts.scheme in ("http", "https"):  # the port of ssh is not that of the pages
            scheme, port = parts.scheme, f":{number}" if number else ""
    elif (found := _SCP.fullmatch(url)) is not None:
        host, path = found["host"].lower(), found["path"]
    names = [one for one in path.strip("/").removesuffix(".git").split("/") if one]
    kinds = _FORGES.get(host.split(".")[0]) if "." in host else None
    if kinds is None or len(names) < 2 or not _HOST.fullmatch(host) or {".", ".."} & set(names):
        return "", None
    # What the URL has encoded stays encoded as it is.
    return f"{scheme}://{host}{port}/{'/'.join(quote(one, safe='%') for one in names)}", kinds
