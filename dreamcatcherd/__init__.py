"""The coordinator of the Dream Catcher Protocol: many workers add deltas, one daemon merges them."""

from typing import TYPE_CHECKING

__version__: str
"""The installed version. A source tree that was never installed has the last release, with `+source`."""


if not TYPE_CHECKING:  # for mypy it would define every name

    def __getattr__(name: str) -> str:
        """Look up `__version__` when it is first read: `importlib.metadata` costs more than most pushes' checks."""
        if name != "__version__":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import metadata

        try:
            found = metadata.version("dreamcatcherd")
        except metadata.PackageNotFoundError:
            found = _last_release()
        # One process reports one version, also while an upgrade replaces the files below it.
        globals()["__version__"] = found
        return found


def _last_release() -> str:
    """The fallback of the build (`pyproject.toml`), marked as what was never built."""
    import tomllib
    from pathlib import Path

    project = Path(__file__).parents[1] / "pyproject.toml"
    try:
        release: str = tomllib.loads(project.read_text("utf-8"))["tool"]["hatch"]["version"]["fallback-version"]
    except (OSError, ValueError, KeyError):
        return "0+unknown"  # a copy of this folder alone
    return f"{release}+source"
