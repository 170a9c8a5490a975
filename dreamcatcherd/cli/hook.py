"""The commands that git runs as server-side hooks. The rules for a push are in `hook/`."""

from __future__ import annotations

import os
import sys

import click

from dreamcatcherd.cli.usage import CommandGroup
from dreamcatcherd.hook.pre_receive import run_hook


@click.group(cls=CommandGroup, short_help="Check pushes on the server, as git hooks.")
def hook() -> None:
    """Check pushes on the server, as git hooks.

    `dreamcatcherd init` installs the hook, also in a repository that exists. Beside another hook, write a script that
    calls `dreamcatcherd hook pre-receive` with a copy of its standard input (docs/protocol.md)."""


@hook.command("pre-receive", short_help="Check the updates that git writes to stdin.")
def pre_receive() -> int:
    """Check the ref updates that git writes to stdin; exit code 1 refuses the push.

    Workers may add and change files below the delta roots, push lanes of valid deltas of their own stream, and
    change dreamcatcher.toml and the counter file. Only the primary changes anything else below state/; the rest of the
    repository is not checked. The first offence of each file goes to stderr, which git shows to the pusher."""
    return run_hook(os.environ, sys.stdin.buffer, sys.stderr)
