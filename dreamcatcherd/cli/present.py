"""The present troubles for one-shot commands: from the repository, and from a daemon that serves it."""

from __future__ import annotations

import urllib.request
from http.client import HTTPException
from urllib.parse import unquote

import msgspec
from msgspec import Struct

from dreamcatcherd.config_files import credential_file
from dreamcatcherd.config_rules import listen_address
from dreamcatcherd.config_tables import Config
from dreamcatcherd.core.errors import DreamcatcherError
from dreamcatcherd.core.report import REPOSITORY_HEADER, Pending
from dreamcatcherd.core.troubles import Trouble, disk_full
from dreamcatcherd.git.disk_usage import disk_usage
from dreamcatcherd.git.protocols import GitStore

ASK_S = 2.0


class _Status(Struct):
    troubles: list[Trouble]


def all_troubles(pending: Pending, config: Config, store: GitStore) -> list[Trouble]:
    """The troubles that the daemon reports and those that the repository shows, each once."""
    room = disk_usage(store.folder)
    full = disk_full(room.free_bytes, str(store.folder)) if room else None
    found = [*pending.troubles, *([full] if full else [])]
    reported = _daemon_troubles(config, store.identity)
    known = {one.what for one in reported}
    return reported + [one for one in found if one.what not in known]


def _daemon_troubles(config: Config, identity: str) -> list[Trouble]:
    """The troubles of the daemon at the configured address; none if no daemon of this repository answers there.

    A daemon with TLS is not asked: TLS is for other machines."""
    host, port = listen_address(config.http.listen)
    if not port or config.http.tls_cert:
        return []
    name = f"[{host}]" if ":" in host else host
    request = urllib.request.Request(f"http://{name}:{port}/api/v1/status")
    # Without a handler for proxies: one in the environment cannot reach this machine's loopback.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        token = credential_file("http", "token_file", config.http.token_file)
        if token is not None:
            request.add_header("Authorization", f"Bearer {token.read_text('utf-8').splitlines()[0].strip()}")
        with opener.open(request, timeout=ASK_S) as answer:
            if unquote(answer.headers.get(REPOSITORY_HEADER, ""), errors="surrogateescape") != identity:
                return []
            # A bounded read: whatever listens on that port may not be a daemon.
            return msgspec.json.decode(answer.read(2**22), type=_Status).troubles
    except (OSError, ValueError, IndexError, HTTPException, DreamcatcherError):
        return []
