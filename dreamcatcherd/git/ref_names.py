"""Names of refs that a stranger's server lists: which of them may be written into a request or a ref here."""

from __future__ import annotations

import re

_NAME = re.compile(r"refs/heads/(?!.*(?:\.\.|@\{|//|/\.|\.lock(?:/|$)|\.(?:/|$)))[^\x00-\x20\x7f~^:?*\[\\]+(?<!/)")

_BYTES = 180
"""The longest name: with `/` written as `%2F` it is one file name in the folder of refs, of 255 bytes at most."""


def is_plain_branch(ref: str) -> bool:
    """Whether a ref is a branch with a name that git allows and that is short enough to be kept. Nothing else is asked
    for: a colon in a name would make git write what it fetches to another ref."""
    short = len(ref.encode("utf-8", "surrogateescape")) + 2 * ref.count("/") + 2 * ref.count("%") <= _BYTES
    return short and _NAME.fullmatch(ref) is not None and not ref.startswith(("refs/heads/.", "refs/heads/-"))
