"""The commands, one module for each family. Owns the exit codes, and the form of errors: one line each."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys

import click

import dreamcatcherd
from dreamcatcherd.cli.usage import CommandGroup, did_you_mean
from dreamcatcherd.core.codec import plain
from dreamcatcherd.core.errors import DreamcatcherError

_EPILOG = """\b
First steps:
  dreamcatcherd run                 serve ./fleet.git (made if missing), a frame every 10 s
  dreamcatcherd validate FILE       would this delta merge?
  dreamcatcherd receipt PATH        what became of it?
  dreamcatcherd show posts          what is in the snapshot?

Exit codes: 0 done, 1 the answer is no, 2 wrong usage or configuration,
3 the repository failed."""


_COMMANDS = {
    "init": "init:init",
    "run": "serve:run",
    "push": "push:push_command",
    "merge": "serve:merge_command",
    "close": "serve:close",
    "plan": "inspect:plan",
    "status": "inspect:status",
    "validate": "validate:validate",
    "receipt": "inspect:receipt_command",
    "show": "inspect:show",
    "log": "log:log",
    "books": "books:books",
    "export": "portable:export_command",
    "import": "portable:import_command",
    "reclassify": "reclassify:reclassify_command",
    "convert": "reclassify:convert_command",
    "config": "config:config_group",
    "diff": "explain:diff_command",
    "explain": "explain:explain_command",
    "replay": "travel:replay",
    "verify": "travel:verify",
    "bisect": "bisect:bisect",
    "archive": "archive:archive",
    "conformance": "conformance:conformance",
    "mcp": "agents:mcp_command",
    "doctor": "doctor:doctor",
    "hook": "hook:hook",
    "demo": "demo:demo",
    "version": "about:version",
    "completion": "about:completion",
}


class Commands(CommandGroup):
    """The commands, each imported on use, so that no command waits for the libraries of another one."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All commands, in the order of the help."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        if cmd_name not in _COMMANDS:
            return None
        # Loading everything takes longer than most commands run.
        module, name = _COMMANDS[cmd_name].split(":")
        command: click.Command = getattr(importlib.import_module(f"dreamcatcherd.cli.{module}"), name)
        return command


def _show_version(ctx: click.Context, _option: click.Parameter, asked: bool) -> None:
    # Looking the version up costs more than loading most commands, so that is done only for this option.
    if asked and not ctx.resilient_parsing:
        click.echo(f"dreamcatcherd {dreamcatcherd.__version__}")
        ctx.exit()


@click.group(
    cls=Commands, epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_show_version,
    help="Show the version and exit.",
)  # fmt: skip
def cli() -> None:
    """The coordinator of the Dream Catcher Protocol.

    Workers push delta files with plain git; this daemon merges all deltas of a frame into one snapshot and publishes
    it. No acknowledged delta is ever lost or counted twice."""


def main() -> None:
    """The entry point of the `dreamcatcherd` command."""
    # No file that a command creates is writable by everybody; other bits of the umask are the administrator's choice.
    os.umask(os.umask(0o077) | 0o002)
    sys.exit(invoke(sys.argv[1:]))


def invoke(words: list[str]) -> int:
    """Run one command line and return its exit code; errors go to stderr, on one line each."""
    try:
        # In its standalone mode click would print errors in its own form and exit with its own codes.
        code = cli.main(args=words, prog_name="dreamcatcherd", standalone_mode=False)
        # Here and not at the exit, where a closed pipe could no longer be handled.
        sys.stdout.flush()
    except click.ClickException as error:
        return _fail(_usage(error, words), 2)
    except DreamcatcherError as error:
        return _fail(str(error), error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        # 130 is 128 + SIGINT, as shells report it.
        return _fail("interrupted; nothing is left half done, run it again", 130)
    except BrokenPipeError:  # the reader has ended, as `head` does; the flush at exit would fail again
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except MemoryError:
        return _fail("out of memory, nothing was published; use a machine or a limit with more memory", 3)
    except OSError as error:
        return _fail(f"{error.filename or 'the disk'}: {error.strerror or error}; check the path and free space", 3)
    except Exception as error:
        if os.environ.get("DREAMCATCHERD_DEBUG"):
            raise
        what = f"{type(error).__name__}: {error}".splitlines()[0]
        return _fail(
            f"internal error, nothing was published: {what}; run again with DREAMCATCHERD_DEBUG=1 and report it", 3
        )
    return code if isinstance(code, int) else 0


_SHARED = ("--repo", "--config", "--json")
"""Options that commands have, and that people write before the command, as some programs want them."""


def _usage(error: click.ClickException, words: list[str]) -> str:
    """A mistake on the command line, the nearest names if there are any, and where the right ones are listed."""
    context: click.Context | None = getattr(error, "ctx", None)
    # click does not say which command lacks the value of an option.
    known = words[0] if words and words[0] in _COMMANDS else ""
    path = context.command_path if context else f"dreamcatcherd {known}".rstrip()
    text = error.format_message()
    if isinstance(error, click.NoSuchOption):
        text = f"no such option {error.option_name!r}"
        if context is not None and context.parent is None and error.option_name in _SHARED:
            text += " before the command: write it after the command"
        else:
            text += did_you_mean(error.possibilities or ())
    text = text.rstrip(".")
    # click begins with a capital letter; our own errors, which stand beside, do not.
    text = text[:1].lower() + text[1:]
    return f"{text}{'' if text.endswith('?') else ';'} see {path} --help"


def _fail(message: str, code: int) -> int:
    click.echo("dreamcatcherd: " + plain(" ".join(message.split())), err=True)
    return code
