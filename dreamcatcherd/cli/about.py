"""The commands about the program: its version, and completion for shells."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from dreamcatcherd import __version__
from dreamcatcherd.cli.common import plain, with_json, write_json
from dreamcatcherd.git.versions import library_versions, tool_versions

_VARIABLE = "_DREAMCATCHERD_COMPLETE"


@click.command(short_help="Show the version, and those of libraries and tools.")
@click.option("--verbose", "-v", is_flag=True, help="Include Python, libgit2, git and the libraries.")
@with_json
def version(verbose: bool, as_json: bool) -> None:
    """Show the version; --verbose and --json include libraries and tools, for bug reports."""
    if not (verbose or as_json):
        click.echo(f"dreamcatcherd {__version__}")
        return
    tools, libraries = tool_versions(), library_versions()
    if as_json:
        write_json({"dreamcatcherd": __version__, **tools, "libraries": libraries})
        return
    for name, found in ({"dreamcatcherd": __version__} | tools | libraries).items():
        click.echo(f"{name} {plain(found)}")


@click.command(short_help="Write the completion script for a shell.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Write the completion script for a SHELL to stdout; it completes commands and options.

    \b
    bash: dreamcatcherd completion bash > ~/.local/share/bash-completion/completions/dreamcatcherd
    zsh:  dreamcatcherd completion zsh > ~/.zfunc/_dreamcatcherd   (a folder of $fpath)
    fish: dreamcatcherd completion fish > ~/.config/fish/completions/dreamcatcherd.fish"""
    kind = get_completion_class(shell)
    if kind is None:
        raise AssertionError(f"click completes {shell}")
    root = click.get_current_context().find_root().command
    click.echo(kind(root, {}, "dreamcatcherd", _VARIABLE).source())
