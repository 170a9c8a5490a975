"""Commits as bytes, written and read by git's own grammar, and the sizes up to which objects are read."""

from __future__ import annotations

import re

from dreamcatcherd.core.errors import UnreadableError
from dreamcatcherd.core.tree import Reader
from dreamcatcherd.git.protocols import Commit


def format_commit(commit: Commit) -> bytes:
    """A commit's bytes, with its author also as committer, in UTC."""
    who = f"{commit.author} {commit.time} +0000"
    lines = [f"tree {commit.tree}", *(f"parent {oid}" for oid in commit.parents), f"author {who}", f"committer {who}"]
    return "\n".join([*lines, "", commit.message]).encode()


CEILINGS = {1: ("commit", 16 * 2**20), 2: ("tree", 64 * 2**20)}
"""The largest commit and tree that are read, in bytes, by git's number of their kind. A small push can contain objects
that inflate to gigabytes."""


def check_ceiling(oid: str, kind: int, size: int) -> None:
    """UnreadableError if an object is larger than the ceiling of its kind. The size is the one in its header."""
    name, most = CEILINGS.get(kind, ("", size))
    if size > most:
        raise UnreadableError(f"the {name} {oid} has {size} bytes, {most} are read")


def read_commit(objects: Reader, oid: str) -> Commit:
    """A commit from its object. A commit that is too large to be read says so in its `fault`."""
    try:
        return parse_commit(objects.read(oid))
    except UnreadableError as error:
        return Commit("", (), "", 0, "", error.cause)


_HEADER = re.compile(rb"tree ([0-9a-f]{40})\n((?:parent [0-9a-f]{40}\n)*)")
_COMMITTER = re.compile(rb"\ncommitter([^\n>]*)(?:\n[^>]*)?(>[^\n]*\s*[-+]?[0-9]*)")
_DATE = re.compile(rb">\s*(-?)\+?0*([0-9]*)")
_LATEST = 2**34
"""The seconds that git's commit-graph can store: until the year 2514."""
_DIGITS = len(str(_LATEST))
_OUT_OF_RANGE = "git cannot count with its date: it is before 1970 or after 2514"


def _out_of_range(rest: bytes) -> bool:
    """Whether some version of git reads a date out of range from what follows a commit's parents. Some versions read it
    after the first `>` behind `committer`, on any line, and others after the last one on that line."""
    found = _COMMITTER.search(rest)
    dates = _DATE.findall(found[0]) if found else ()
    return any(digits and (sign or len(digits) > _DIGITS or int(digits) >= _LATEST) for sign, digits in dates)


def parse_commit(raw: bytes) -> Commit:
    """A commit from its bytes, by git's own grammar: the tree, then the parents, then the rest of the header.

    A `parent` further down is not a parent for git, so it is not one here. Undecodable text is replaced, as it is only
    shown. A time that is not a number is 0. A time out of range is a fault: git calculates with it, and writing a
    commit-graph of such a commit's descendants never ends."""
    match = _HEADER.match(raw)
    if match is None or raw.startswith(b"parent ", match.end()):
        what = "a parent" if match else "a tree"
        return Commit("", (), "", 0, "", f"it is no commit: its header does not name {what} as git does")
    fault = _OUT_OF_RANGE if _out_of_range(raw[match.end() - 1 :]) else None
    head, _, message = raw[match.end() :].partition(b"\n\n")
    author = b""
    time = 0
    for line in head.split(b"\n"):
        name, _, value = line.partition(b" ")
        if name == b"author" and not author:
            author = value.rpartition(b"> ")[0] + b">"
        elif name == b"committer":
            digits = value.rpartition(b"> ")[2].split(b" ")[0]
            time = int(digits) if len(digits) <= _DIGITS and digits.isdigit() else 0
    parents = match[2].decode().split()[1::2]
    shown = author.decode("utf-8", "replace")
    return Commit(match[1].decode(), tuple(parents), shown, time, message.decode("utf-8", "replace"), fault)
