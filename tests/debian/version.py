"""How dpkg names a version of the project."""

from __future__ import annotations

from packaging.version import Version

REVISION = "1~deb12"
"""What follows the version: a package for a later release of Debian, `1~deb13`, upgrades this one."""


def debian_version(version: str) -> str:
    """The version of the package for a version of the project; dpkg orders them as pip orders those.

    In dpkg's order `~` comes before the end, `+` after it, and `.` after `+`."""
    parsed = Version(version)
    text = f"{parsed.epoch}:" if parsed.epoch else ""
    text += ".".join(map(str, parsed.release))
    if parsed.pre:
        text += "~{}{}".format(*parsed.pre)
    if parsed.post is not None:
        text += f".post{parsed.post}"
    if parsed.dev is not None:
        # A development version of a release comes before all its alphas, and one of an alpha between two alphas.
        text += f"{'~' if parsed.pre or parsed.post is not None else '~~'}dev{parsed.dev}"
    if parsed.local:
        text += f"+{parsed.local}"
    return f"{text}-{REVISION}"
