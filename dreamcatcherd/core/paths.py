"""The place of everything in the repository (docs/protocol.md#the-repository). Owns names and paths; reads nothing."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache, lru_cache

from dreamcatcherd.core.checkout import unsafe_path
from dreamcatcherd.core.codec import frame_number, has_control, is_stream_id

DELTAS = "state/stream_deltas"
Roots = tuple[str, ...]
"""Folders of deltas, none inside another; the settings name them."""
ROOTS: Roots = (DELTAS,)
SNAPSHOT = "state/snapshot"
LEDGER = "state/ledger"
FRAME = "state/frame.json"
SETTINGS = "state/dreamcatcher.toml"
PUBLISHED = "refs/dreamcatcher/published"
SEEN = "refs/dreamcatcher/seen"
"""Holds the merged lanes if the history of `main` is linear."""
RELAYS = "refs/heads/dc-relay/"
"""Below it each listed relay has a lane, by its name: the lane may bring deltas of any stream."""
UPSTREAM = "refs/dreamcatcher/upstream/"
"""In the repository of a relay alone: what the relay last saw at its upstream."""
MIRRORS = "refs/dreamcatcher/mirrors/"
"""What mirrors brought and no publication holds yet: `<mirror>/<commit>/<branch>`, the branch as one name.

Each head has a ref of its own, so that a mirror that was rewound takes nothing back."""
TRIAL = "refs/dreamcatcher/doctor"
"""At a remote while `doctor` tries whether it may push there."""

DELTA_LEVELS = 64
"""How many folders below its frame's a delta may be in."""

_SHORT = 3_000
"""A root of at most so many bytes leaves room for a frame and a plain name in a path that every clone can hold."""
_SURROGATE = re.compile("[\ud800-\udfff]")
_RELAY = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,39})")
_MIRRORED = re.compile(rf"{MIRRORS}([a-z0-9-]+)/([0-9a-f]{{40}})/([^/]+)")
_FLAT = re.compile(r"frame-([0-9]+)(?:-.*)?\.json", re.DOTALL)


def ledger_path(frame: int) -> str:
    """The ledger of a frame, below `state/ledger`."""
    return f"{frame // 1000}/{frame}.json"


def root_above(path: str, roots: Roots) -> str | None:
    """The delta root that a path is below; None if it is below none."""
    return next((root for root in roots if path.startswith(root + "/")), None)


def frame_of(path: str, roots: Roots = ROOTS) -> int | None:
    """The frame that a delta's path names, for a path below a delta root; None if it names none."""
    folder, _, name = path.rpartition("/")
    if folder and name and folder not in roots:
        return _frame_of_folder(folder, roots)  # nearly every delta is in a folder with many others
    return _frame_of(path, roots)


@lru_cache(maxsize=64)
def _frame_of_folder(folder: str, roots: Roots) -> int | None:
    return _frame_of(folder + "/*", roots)


def _frame_of(path: str, roots: Roots) -> int | None:
    root = root_above(path, roots)
    head, _, rest = (path if root is None else path[len(root) + 1 :]).partition("/")
    if rest:
        return frame_number(head)
    match = _FLAT.fullmatch(head)
    return frame_number(match.group(1)) if match else None


def of_one_frame(one: str, other: str, roots: Roots = ROOTS) -> bool:
    """Whether the paths of two deltas name the same frame."""
    folder = one.rpartition("/")[0]
    return (folder not in roots and other.startswith(folder + "/")) or frame_of(one, roots) == frame_of(other, roots)


def loose_frame_of(path: str, roots: Roots = ROOTS) -> int | None:
    """The frame that a file's path names anywhere, for files that are not in a repository yet."""
    return frame_of(in_repository(path, roots), roots)


def in_repository(path: str, roots: Roots = ROOTS) -> str:
    """The path that a file would have in a repository: relative to a delta root, or to a folder with the last name of
    one; else directly in the first delta root. Where several roots fit, that with most of its names in the path."""
    parts = path.split("/")
    best, root, below = 0, roots[0], parts[-1:]
    for candidate in roots:
        names = candidate.split("/")
        for end in range(1, len(parts)):
            count = _common_end(names, parts[:end])
            if count > best:
                best, root, below = count, candidate, parts[end:]
    return "/".join([root, *below])


def _common_end(names: list[str], parts: list[str]) -> int:
    """How many of the last names two paths have in common."""
    pairs = zip(reversed(names), reversed(parts), strict=False)
    return next((count for count, (one, other) in enumerate(pairs) if one != other), min(len(names), len(parts)))


def bad_name(path: str, roots: Roots = ROOTS) -> str | None:
    """Why no delta can have this path, or None. Undecodable bytes arrive as lone surrogates."""
    # Nearly every path: one match in place of six questions.
    if _plain(roots).fullmatch(path):
        return None
    if _SURROGATE.search(path):
        return "the file name is not UTF-8"
    if has_control(path):
        return "the file name holds a control character"
    if (why := unsafe_path(path)) is not None:
        return f"the path holds {why}"
    root = root_above(path, roots) or roots[0]
    if path.count("/") - root.count("/") - 2 > DELTA_LEVELS:
        return f"the path has more than {DELTA_LEVELS} folders below the frame's"
    if frame_of(path, roots) is None:
        return f"no frame in the path: use {root}/<frame>/<name>.json"
    return None


@cache
def _plain(roots: Roots) -> re.Pattern[str]:
    """An expression for plain delta paths below these roots."""
    short = "|".join(re.escape(root) for root in roots if len(root.encode()) <= _SHORT)
    return re.compile(rf"(?:{short or '(?!)'})/[0-9]{{1,15}}/[A-Za-z0-9_~-][A-Za-z0-9_~.-]{{0,200}}\.json")


def named_roots(roots: Roots) -> str:
    """Where deltas go, for people."""
    return " or ".join(f"{root}/<frame>/" for root in roots)


def printable(path: str) -> str:
    """The path with undecodable bytes written as escapes, fit for JSON and logs."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def attachment_paths(delta_path: str, frame: int, reference: str, roots: Roots = ROOTS) -> list[str]:
    """The paths at which an attachment is looked up, in order; empty if the reference must not name a file
    (docs/protocol.md#a-delta)."""
    if reference.startswith("/") or reference.endswith(".json") or has_control(reference):
        return []
    if unsafe_path(reference) is not None:
        return []
    own = f"{delta_path.removesuffix('.json')}/{reference}"
    shared = f"{frame_folder(delta_path, frame, roots)}/{reference}"
    return [path for path in (own, shared) if unsafe_path(path) is None]


def frame_folder(delta_path: str, frame: int, roots: Roots = ROOTS) -> str:
    """The frame's folder as the delta's own path writes it, perhaps with leading zeros; by number for the flat form."""
    root = root_above(delta_path, roots) or roots[0]
    head, slash, _ = delta_path.removeprefix(root + "/").partition("/")
    return f"{root}/{head if slash else frame}"


def beside(path: str, blob: str) -> str:
    """The name under which a delta is kept if other bytes have its own path already (docs/protocol.md#publishing)."""
    return f"{path.removesuffix('.json')}~{blob[:8]}.json"


def mirrored_ref(mirror: str, branch: str, oid: str) -> str:
    """The ref that keeps a commit which a mirror has on a branch (its name without `refs/heads/`)."""
    return f"{MIRRORS}{mirror}/{oid}/{branch.replace('%', '%25').replace('/', '%2F')}"


def mirrored_branch(ref: str) -> tuple[str, str] | None:
    """The mirror and the branch from which a ref was made by `mirrored_ref`; None for any other ref."""
    match = _MIRRORED.fullmatch(ref)
    return (match[1], match[3].replace("%2F", "/").replace("%25", "%")) if match else None


def mirrored_source(source: str) -> tuple[str, str] | None:
    """The mirror and the branch of a ledger's source such as `mirror/north:dc/alice`; None for any other."""
    name, colon, branch = source.removeprefix("mirror/").partition(":")
    return (name, branch) if colon and source.startswith("mirror/") else None


def source_stream(ref: str, prefix: str) -> str | None:
    """The stream that owns a lane, here or at a mirror; None for the shared branch of a mirror."""
    found = mirrored_branch(ref)
    return lane_stream(ref if found is None else f"refs/heads/{found[1]}", prefix)


def lane_stream(ref: str, prefix: str) -> str | None:
    """The stream that owns a lane ref, or None if the ref is not a lane."""
    if not ref.startswith(prefix):
        return None
    stream = ref[len(prefix) :].partition("/")[0]
    return stream if is_stream_id(stream) else None


def is_relay_name(name: str) -> bool:
    """Whether a relay can have this name: 1 to 40 letters, digits, `-` and `_`, beginning with a letter or digit."""
    return _RELAY.fullmatch(name) is not None


def relay_name(ref: str) -> str | None:
    """The name of the relay that a lane ref belongs to; None if the ref is below no relay's prefix."""
    return ref[len(RELAYS) :] if ref.startswith(RELAYS) else None


def is_copy(refs: Iterable[str]) -> bool:
    """Whether a repository with these refs is a relay's: its shared branch is a copy, and no frame closes in it."""
    return any(ref.startswith(UPSTREAM) for ref in refs)


def short_ref(ref: str) -> str:
    """A branch without `refs/heads/`, for people and printable; one of a mirror as `mirror/<name>:<branch>`."""
    if ref.startswith(MIRRORS) and (found := mirrored_branch(ref)) is not None:
        return printable(f"mirror/{found[0]}:{found[1]}")
    return printable(ref.removeprefix("refs/heads/"))
