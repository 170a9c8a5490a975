"""Objects written but not flushed yet, kept by id; and commits as bytes. Shared by both stores."""

from __future__ import annotations

from dreamcatcherd.core.tree import Kind, object_id
from dreamcatcherd.store.ports import Commit


class Pending:
    """What a cycle has written so far. Reads see it before it is durable, and a dry run simply forgets it."""

    def __init__(self) -> None:
        self.objects: dict[str, tuple[Kind, bytes]] = {}

    def write(self, kind: Kind, data: bytes) -> str:
        oid = object_id(kind, data)
        self.objects[oid] = (kind, data)
        return oid

    def discard(self) -> None:
        self.objects.clear()


def format_commit(commit: Commit) -> bytes:
    """A commit's bytes, with its author also as committer, in UTC."""
    who = f"{commit.author} {commit.time} +0000"
    lines = [f"tree {commit.tree}", *(f"parent {oid}" for oid in commit.parents), f"author {who}", f"committer {who}"]
    return "\n".join([*lines, "", commit.message]).encode()


def parse_commit(raw: bytes) -> Commit:
    """A commit from its bytes. Whatever encoding it claims, undecodable text is replaced: it is only shown."""
    head, _, message = raw.partition(b"\n\n")
    parents: list[str] = []
    tree = author = ""
    time = 0
    for line in head.split(b"\n"):
        name, _, value = line.partition(b" ")
        if name == b"tree" and not tree:
            tree = value.decode()
        elif name == b"parent":
            parents.append(value.decode())
        elif name == b"author" and not author:
            author = value.rpartition(b"> ")[0].decode("utf-8", "replace") + ">"
        elif name == b"committer":
            digits = value.rpartition(b"> ")[2].split(b" ")[0]
            time = int(digits) if digits.lstrip(b"-").isdigit() else 0
    return Commit(tree, tuple(parents), author, time, message.decode("utf-8", "replace"))
