"""The entry point of the command `dreamcatcherd` and of `python -m dreamcatcherd`.

Owns what a command does about Python's cycle collector: most commands run for less time than it takes to load them."""

import gc
import sys

_SERVERS = {"run", "mcp"}
"""Commands that run for days, where the collector's own rhythm is right."""

_NEW_OBJECTS = 100_000
"""How many more objects than before a command makes until the collector looks for cycles among them. Loading modules
makes tens of thousands, all of which stay; by default the collector would visit them hundreds of times."""


def start() -> None:
    """Run the command that the process was started with, and exit with its code."""
    if not _SERVERS.intersection(sys.argv[1:2]):
        gc.set_threshold(_NEW_OBJECTS)
    from dreamcatcherd.cli import main  # the collector is set before this loads

    try:
        main()
    finally:
        gc.freeze()  # Python collects once more at the exit, and would visit all that ends with the process anyway


if __name__ == "__main__":
    start()
