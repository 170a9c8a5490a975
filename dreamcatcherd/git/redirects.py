"""Redirects by a server: how they are reported. git follows none, as credentials belong to one server; libgit2 follows
one within the same host when it reads, without credentials.

Owns how the new URL is shown: without secrets, on one line, cut to a length."""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import urljoin, urlsplit, urlunsplit

from dreamcatcherd.core.codec import plain
from dreamcatcherd.core.errors import RetryableError
from dreamcatcherd.git.http_answers import HttpAnswer

SIGNS = re.compile(r"(?:error:|http) 30[12378]\b|cannot redirect|unexpected redirect|redirect without|many redirects")
"""How git and libgit2 report a redirect that they do not follow, in lower case."""

_REMEDY = "set [repository] url to it, if you trust it"
STATUSES = (301, 302, 303, 307, 308)

_SERVICES = ("/info/refs", "/git-upload-pack", "/git-receive-pack")
_SHOWN = 200


class RedirectedError(RetryableError):
    """The server redirects to another URL; nothing was sent there."""


def redirected(url: str, answers: Sequence[HttpAnswer]) -> RedirectedError | None:
    """A redirect from the repository's URL as a failure that says how and where to; None if no answer is a redirect."""
    found = next((one for one in reversed(answers) if one.status in STATUSES and "location" in one.fields), None)
    where = shown_url(found.fields["location"], f"{url}/info/refs") if found else None
    if found is None or where is None:
        return None
    how = "permanently" if found.status in (301, 308) else "temporarily"
    return RedirectedError(
        f"{url} redirects {how} ({found.status}) to {where}, and redirects are not followed", _REMEDY
    )


def elsewhere(url: str) -> RedirectedError:
    """The failure if the target of a redirect is not known."""
    remedy = "ask its administrator for its new URL and set [repository] url to it, if you trust it"
    return RedirectedError(f"{url} redirects elsewhere, and redirects are not followed", remedy)


def led_to(url: str, reported: str) -> RedirectedError:
    """The failure if another URL than the repository's asks for credentials."""
    where = shown_url(reported) or "another URL"
    return RedirectedError(f"{url} leads to {where}, which is sent no credentials", _REMEDY)


def shown_url(url: str, base: str = "") -> str | None:
    """A URL from a server, which may be relative to a base, as the URL of a repository and fit to be shown; None if it
    cannot be parsed."""
    try:
        parts = urlsplit(urljoin(base, url))
        parts.port  # noqa: B018 (raises if the port is not a number)
    except ValueError:
        return None
    if not parts.netloc:
        return None
    path = parts.path
    for service in _SERVICES:
        path = path.removesuffix(service)
    text = plain(urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], path, "", "")))
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
