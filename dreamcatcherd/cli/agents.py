"""The command for agents: a Model Context Protocol server on standard input and output."""

from __future__ import annotations

import sys
from pathlib import Path

import click
from msgspec import structs

from dreamcatcherd.cli.common import configuration, on_repository, open_primary
from dreamcatcherd.core.errors import UsageError


@click.command("mcp", short_help="Serve agents over the Model Context Protocol.")
@on_repository
def mcp_command(repo: str | None, config_file: Path | None) -> None:
    """Serve the Model Context Protocol on standard input and output, for an agent that starts this command.

    The agent learns the open frame, pushes deltas, claims tasks, and reads receipts and entities. Nothing but the
    protocol is written to standard output; notes and errors go to stderr. The end of standard input, SIGTERM and SIGINT
    end it with 0. It needs the extra mcp: pip install 'dreamcatcherd[mcp]'."""
    try:
        from dreamcatcherd.agents.server import serve_stdio  # the SDK takes longer to import than most commands to run
    except ImportError as error:
        # Only what the SDK itself lacks: anything else that cannot be imported is a mistake of another kind.
        if (error.name or "").partition(".")[0] not in ("mcp", "mcp_types"):
            raise
        missing = isinstance(error, ModuleNotFoundError)
        cause = f"the SDK of the Model Context Protocol is {'not installed' if missing else 'of another version'}"
        raise UsageError(cause, "install it: pip install 'dreamcatcherd[mcp]'") from error
    from dreamcatcherd.agents.repository import SharedReader
    from dreamcatcherd.observe.logs import set_up_logs

    config, url = configuration(repo, config_file)
    set_up_logs(config.log.format, config.log.level)
    reader = SharedReader(lambda: open_primary(repo, config_file))
    # A wrong name ends the command here; a remote that is down for now does not.
    reader.open()
    if sys.stdin is None or sys.stdin.closed:
        raise UsageError("standard input is closed", "let an agent's program start this command")
    if sys.stdin.isatty():
        click.echo("dreamcatcherd: waiting for messages of an agent's program; the end of input ends it", err=True)
    serve_stdio(reader, structs.replace(config.repository, url=url))
