"""The command that checks an installation and says how to fix each fault."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
from msgspec import structs

from dreamcatcherd.cli.common import configuration, on_repository, plain, with_json, write_json
from dreamcatcherd.config import ConfigError
from dreamcatcherd.config_tables import Config
from dreamcatcherd.core.errors import DreamcatcherError
from dreamcatcherd.core.mistakes import Mistake
from dreamcatcherd.core.report import Check
from dreamcatcherd.daemon.configured import load_complete
from dreamcatcherd.daemon.opening import open_store
from dreamcatcherd.doctor.checks import (
    check_folder,
    check_remote,
    check_repository,
    check_signing,
    check_tools,
)
from dreamcatcherd.doctor.configuration import check_configuration, check_named
from dreamcatcherd.doctor.mirrors import check_mirrors
from dreamcatcherd.doctor.relays import check_relay
from dreamcatcherd.git.remote import RemoteStore


@click.command(short_help="Check the configuration, the repository and the way to it; say what to fix.")
@on_repository
@with_json
def doctor(repo: str | None, config_file: Path | None, as_json: bool) -> int:
    """Check the configuration and what it names, the repository, the connection to it, refs, hooks, clock and
    permissions; say how to fix each fault.

    Changes nothing, and does not stop at the first fault. Exit code 1 if something must be fixed."""
    found = list(_checks(repo, config_file))
    if as_json:
        write_json(found)
    else:
        for one in found:
            click.echo(f"{'ok  ' if one.ok else 'FIX '} {one.check}: {plain(one.detail)}")
            if one.remedy:
                click.echo(f"     {plain(one.remedy)}")
    return 0 if all(one.ok for one in found) else 1


_WAY = ("url", "branch", "clone", "user", "token_file", "ssh_key", "known_hosts", "ca_file")
"""Keys of [repository] without which another repository would be checked, or the right one in another way."""


def _checks(repo: str | None, config_file: Path | None) -> Iterator[Check]:
    mistakes: tuple[Mistake, ...] = ()
    there = True
    try:
        config, url = load_complete(lambda: configuration(repo, config_file), config_file)
    except ConfigError as error:
        mistakes, config = error.mistakes, error.valid or Config()
        url = repo or config.repository.url
        # A mistake of the syntax hides everything, and so the repository too.
        wrong = {path[1] for one in mistakes for path in one.at if len(path) > 1 and path[0] == "repository"}
        there = not wrong & set(_WAY if repo is None else _WAY[1:]) and (error.valid is not None or repo is not None)
        if "signing_key" in wrong:
            config = structs.replace(config, repository=structs.replace(config.repository, signing_key=None))
    yield from check_configuration(mistakes, f"{config_file or 'the defaults'}")
    yield from check_tools()
    yield from check_named(config, mistakes)
    if there:
        yield from _repository(config, url)
    else:
        yield Check("repository", True, "not checked: correct the configuration first")


def _repository(config: Config, url: str) -> Iterator[Check]:
    try:
        store = open_store(config.repository, url)
    except DreamcatcherError as error:
        yield Check("repository", False, error.cause, error.remedy)
        return
    main = f"refs/heads/{config.repository.branch}"
    yield from check_signing(store.signing_key)
    found = list(check_repository(store, main))
    yield from found
    yield from check_relay(config, store)
    if not isinstance(store, RemoteStore):
        yield from check_folder(store, main)
    elif found[0].ok:  # further checks of an unreachable remote would fail for the same reason
        yield from check_remote(store)
    if found[0].ok:
        yield from check_mirrors(store, main, config.mirrors)
