"""The number of a file's format: an optional key `format`, which is 1 where it is absent (docs/compatibility.md).

The number is written only once it is no longer 1, so files of format 1 are the same for every version."""

from __future__ import annotations

from typing import Any

FORMAT_KEY = "format"


def take_format(document: dict[str, Any], known: int = 1) -> str | None:
    """Remove the key from a decoded file; returns why this version does not read it, None if it does."""
    found = document.pop(FORMAT_KEY, 1)
    if type(found) is not int or found < 1:
        return f"format is {found!r}, not a number from 1"
    return newer_format(found, known)


def newer_format(found: int, known: int = 1) -> str | None:
    """Why this version does not read a file with this number; None if it does."""
    return f"format {found} is newer than {known}, the newest that this version reads" if found > known else None
