"""The checks of what a configuration names beside the repository: files with secrets, HTTP, links, hints, receivers of
events, the collector of traces, and the scheduler of an engine.

Nothing is sent to a receiver or collector: a connection is opened, with TLS where the URL says so, and closed again."""

from __future__ import annotations

import errno
import shlex
import ssl
import urllib.request
from collections.abc import Iterable, Iterator, Sequence
from http.client import HTTPException
from pathlib import Path

from msgspec import structs

from dreamcatcherd.config_files import CREDENTIALS, credential_file, events_secret_file
from dreamcatcherd.config_rules import without_path
from dreamcatcherd.config_tables import Config, EventsConfig, HttpConfig
from dreamcatcherd.core.errors import DreamcatcherError, RetryableError
from dreamcatcherd.core.mistakes import Mistake
from dreamcatcherd.core.report import Check
from dreamcatcherd.daemon.event_receivers import receiver_of
from dreamcatcherd.daemon.hints import read_hint_secrets
from dreamcatcherd.daemon.tracing import read_tracing
from dreamcatcherd.daemon.webhook import Webhook
from dreamcatcherd.doctor.engine import check_engine_reach
from dreamcatcherd.web.forge_links import forge_links
from dreamcatcherd.web.server import Listening, NotListeningError, check_port, read_listening

REACH_S = 5.0
"""How long a receiver or collector may take to accept a connection."""
_ASK_S = 2.0
_PUBLIC = {"known_hosts", "ca_file", "tls_cert"}
"""Credentials that everybody may read."""


def check_configuration(mistakes: Sequence[Mistake], named: str) -> Iterator[Check]:
    """The mistakes of the configuration, each a fault of its own."""
    for one in mistakes:
        yield Check("configuration", False, str(one), one.remedy or "correct it: dreamcatcherd config reference")
    if not mistakes:
        yield Check("configuration", True, f"{named}: valid")


def check_named(config: Config, mistakes: Iterable[Mistake]) -> Iterator[Check]:
    """Everything that a configuration names beside the repository. A table with a mistake has its finding already."""
    wrong = {one.at[0][0] for one in mistakes if one.at}
    yield from check_secrets(config)
    if "http" not in wrong:
        yield from check_http(config.http)
    if not {"repository", "links"} & wrong:
        yield _links(config)
    if "hint" not in wrong:
        yield from check_hints(config)
    if "otel" not in wrong:
        yield from check_collector(config)
    if "engine" not in wrong:
        yield from check_engine_reach(config.engine)
    if "events" not in wrong:
        for number, table in enumerate(config.events, 1):
            yield check_receiver(number, table)


def check_secrets(config: Config) -> Iterator[Check]:
    """Checks that no file with a secret can be read by every user. Another check reports missing files."""
    for table, key in CREDENTIALS:
        if key in _PUBLIC:
            continue
        for given in config.events if table == "events" else [getattr(config, table)]:
            try:
                if isinstance(given, EventsConfig):
                    file = events_secret_file(given)
                else:
                    file = credential_file(table, key, getattr(given, key))  # type: ignore[arg-type]
            except DreamcatcherError:
                continue
            if file is not None and open_to_all(file):
                cause = f"{file} can be read by everybody on this machine"
                yield Check(
                    f"[{table}] {key}", False, cause, f"chmod o= {shlex.quote(str(file))}, and change the secret"
                )


def open_to_all(file: Path) -> bool:
    """Whether the modes of a file and all folders above let every user read it; False if it is missing."""
    try:
        found = file.resolve()
        return bool(found.stat().st_mode & 0o004) and all(above.stat().st_mode & 0o001 for above in found.parents)
    except OSError:
        return False


def check_http(http: HttpConfig) -> Iterator[Check]:
    """Whether token and certificate can be used, and the port can be bound: or else whether a daemon has it."""
    try:
        listening = read_listening(http)
        ways = [name for name, has in (("a token", listening.auth_policy.token), ("TLS", listening.certificate)) if has]
        yield Check("http", True, f"{http.listen}, with {' and '.join(ways) or 'neither token nor TLS'}")
        check_port(listening)
    except NotListeningError as error:
        taken = isinstance(error.__cause__, OSError) and error.__cause__.errno == errno.EADDRINUSE
        if taken and _daemon_answers(listening):
            yield Check("port", True, f"a daemon answers at {http.listen}")
        else:
            yield Check("port", False, error.cause, error.remedy)
    except DreamcatcherError as error:
        yield Check("http", False, error.cause, error.remedy)
    else:
        yield Check("port", True, f"{http.listen} is free: no daemon answers there")


def _daemon_answers(listening: Listening) -> bool:
    """Whether the port is used as this configuration would: with its certificate, or with an answer to /healthz."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(listening.host, listening.host)  # noqa: S104 (nothing is bound)
    try:
        if listening.certificate is not None:
            shown = ssl.get_server_certificate((host, listening.port), timeout=_ASK_S)
            return "".join(shown.split()) in "".join(listening.certificate[1].decode("ascii", "replace").split())
        name = f"[{host}]" if ":" in host else host
        # Without a handler for proxies: one in the environment cannot reach this machine's loopback.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"http://{name}:{listening.port}/healthz", timeout=_ASK_S) as answer:
            return bool(answer.status == 200)
    except (OSError, ValueError, HTTPException):
        return False


def _links(config: Config) -> Check:
    links = forge_links(config.repository.url, config.links.commit, config.links.file)
    if template := links.commit_template or links.file_template:
        return Check("links", True, f"the page links to {template}")
    return Check("links", True, "the page links to no forge: set [links] if the repository has pages")


def check_hints(config: Config) -> Iterator[Check]:
    """Whether the secrets of hints can be read; nothing without any."""
    try:
        secrets = read_hint_secrets(config.hint)
    except DreamcatcherError as error:
        yield Check("hint", False, error.cause, error.remedy)
    else:
        if secrets:
            yield Check("hint", True, f"hints are accepted with {len(secrets)} secret{'s' if len(secrets) > 1 else ''}")


def check_collector(config: Config) -> Iterator[Check]:
    """Whether the collector of traces takes connections; nothing without one."""
    try:
        target = read_tracing(config.otel, "")
        if target is not None:
            ca_file = Path(target.ca_file) if target.ca_file else None
            Webhook(target.url, target.url, None, ca_file, REACH_S).reach()
            yield Check("otel", True, f"{target.url} takes connections")
    except RetryableError as error:
        yield Check(
            "otel", False, error.cause, "look at the collector, and at [otel] endpoint; frames do not wait for it"
        )
    except DreamcatcherError as error:
        yield Check("otel", False, error.cause, error.remedy)


def check_receiver(number: int, table: EventsConfig) -> Check:
    """Whether a receiver of events can be used: its program runs, or its URL takes connections."""
    shown = without_path(table.url) if table.url else (table.exec or [""])[0]
    name = f"events {number}"
    try:
        receiver = receiver_of(structs.replace(table, timeout=min(table.timeout, REACH_S)), shown)
        if isinstance(receiver, Webhook):
            receiver.reach()
    except RetryableError as error:
        return Check(name, False, error.cause, "look at the receiver, and at url; events wait for it in git")
    except DreamcatcherError as error:
        return Check(name, False, error.cause, error.remedy)
    return Check(name, True, f"{shown} {'takes connections' if table.url else 'can be run'}; it was sent nothing")
