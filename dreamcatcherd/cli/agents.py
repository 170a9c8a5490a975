"""The command for agents: a Model Context Protocol server on standard input and output."""

from __future__ import annotations

from pathlib import Path

import click
from msgspec import structs

from dreamcatcherd.cli.common import configuration, on_repository, open_primary
from dreamcatcherd.core.errors import UsageError


@click.command("mcp")
@on_repository
def mcp_command(repo: str | None, config_file: Path | None) -> None:
    """Serve the Model Context Protocol on standard input and output, for an agent that starts this command.

    The agent learns the open frame, pushes deltas, claims tasks, and reads receipts and entities. Nothing but the
    protocol is written to standard output; notes and errors go to stderr. The end of standard input, SIGTERM and SIGINT
    end it with 0. It needs the extra mcp: pip install 'dreamcatcherd[mcp]'."""
    try:
        from dreamcatcherd.agents.server import serve_stdio  # the SDK takes longer to import than most commands to run
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in ("mcp", "mcp_types"):
            raise
        cause = "the SDK of the Model Context Protocol is not installed"
        raise UsageError(cause, "install it: pip install 'dreamcatcherd[mcp]'") from error
    from dreamcatcherd.agents.repository import SharedReader
    from dreamcatcherd.observe.logs import set_up_logs

    config, url = configuration(repo, config_file)
    set_up_logs(config.log.format, config.log.level)
    reader = SharedReader(lambda: open_primary(repo, config_file))
    # A wrong name ends the command here; a remote that is down for now does not.
    reader.open()
    serve_stdio(reader, structs.replace(config.repository, url=url))
