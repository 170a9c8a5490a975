"""The floor: the least that any merge of some deltas does, as functions and as a program of its own.

`python tests/bench/floor.py REPOSITORY SCRATCH` takes blob ids on standard input; without SCRATCH it only reads and
decodes. It loads pygit2 and msgspec and nothing else, so that its start is the least as well."""

from __future__ import annotations

import sys

import msgspec
import pygit2

FILES = 230
"""How many files the records are written to: about as many as a frame of 10,000 deltas has."""


def read_alone(repository: str, blobs: list[str]) -> None:
    """Read and decode these blobs, and nothing else."""
    repo = pygit2.Repository(repository)
    decode = msgspec.json.Decoder().decode
    for oid in blobs:
        decode(repo.read(oid)[1])


def floor(repository: str, scratch: str, blobs: list[str]) -> None:
    """Read, decode, sort, fold into dicts, encode sorted, write."""
    repo = pygit2.Repository(repository)
    decode = msgspec.json.Decoder().decode
    encode = msgspec.json.Encoder(order="sorted").encode
    documents = [decode(repo.read(oid)[1]) for oid in blobs]
    documents.sort(key=lambda one: (one["frame"], one["utc"], one["stream_id"]))
    posts: dict[int, object] = {}
    comments: dict[tuple[int, str, str], object] = {}
    observations: list[object] = []
    for one in documents:
        for post in one["posts_created"]:
            posts[post["discussion_number"]] = post
        for comment in one["comments_added"]:
            comments[(comment["discussion_number"], comment["author"], comment["body"])] = comment
        observations.extend(one["observations"])
    lines = [encode(value) for value in (*posts.values(), *comments.values(), *observations)]
    out = pygit2.Repository(scratch)
    step = -(-len(lines) // FILES)
    for i in range(0, len(lines), step):
        out.create_blob(b"\n".join(lines[i : i + step]))


if __name__ == "__main__":
    given = sys.stdin.read().split()
    if len(sys.argv) > 2:
        floor(sys.argv[1], sys.argv[2], given)
    else:
        read_alone(sys.argv[1], given)
