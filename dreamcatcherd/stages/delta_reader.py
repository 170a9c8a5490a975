"""The versions that a commit brings, and whether each is a delta or a reject.

Reads the blob and its attachments; knows no lanes, no time."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from types import MappingProxyType
from typing import NamedTuple, TypeVar

from msgspec import structs

from dreamcatcherd.core import paths
from dreamcatcherd.core.codec import decode, fill, read_document, references, too_large
from dreamcatcherd.core.decimals import read_exactly
from dreamcatcherd.core.errors import UnreadableError
from dreamcatcherd.core.header import count_records, read_header
from dreamcatcherd.core.model import SAME_NAMED, Delta, Fault, Record, Reject, Version
from dreamcatcherd.core.settings import Settings
from dreamcatcherd.core.trace_context import TRACEPARENT, read_traceparent
from dreamcatcherd.core.tree import PLAIN_FILE, Entry, changed, entries_at, kind_of_mode, subtree
from dreamcatcherd.git.protocols import Commit, ObjectReader

_T = TypeVar("_T")

READ_AT_ONCE = 1_000
"""After how many commits or deltas `noting` says that the reading goes on."""

_SUBMODULE = 0o160000

_OF_CONTENT = frozenset(
    {"too-large", "too-deep", "conflict-markers", "not-json", "duplicate-key", "not-an-object", "too-many-records"}
)
"""Reasons that hang on the bytes alone."""


def noting(items: Iterable[_T], progress: Callable[[], None]) -> Iterator[_T]:
    """The items, with a call of `progress` after every 1,000: reading a backlog of millions takes minutes."""
    for at, one in enumerate(items, 1):
        yield one
        if at % READ_AT_ONCE == 0:
            progress()


def versions_of(store: ObjectReader, commit: Commit, roots: paths.Roots) -> list[tuple[str, str, int]]:
    """The delta files that a commit changes against all its parents, as (path, blob, mode); none if it cannot be
    read."""
    try:
        return deltas_among(files_of(store, commit, roots))
    except UnreadableError:
        return []


def deltas_among(files: Iterable[tuple[str, str, int]]) -> list[tuple[str, str, int]]:
    """The delta files among all that a commit brings below the delta roots."""
    return [one for one in files if one[0].endswith(".json")]


def files_of(store: ObjectReader, commit: Commit, roots: paths.Roots) -> list[tuple[str, str, int]]:
    """All files below the delta roots that a commit changes against all its parents, attachments too; UnreadableError
    where the commit cannot be read."""
    if commit.fault is not None:
        raise UnreadableError(commit.fault)
    befores = [store.commit(parent).tree for parent in commit.parents]
    found: list[tuple[str, str, int]] = []
    for root in roots:
        olds = [subtree(store, tree, root) for tree in befores]
        new = subtree(store, commit.tree, root)
        found += [(path, entry.oid, entry.mode) for path, entry in changed(store, new, olds, root + "/")]
    return found


class ReadVersion(NamedTuple):
    """A judged version; so many `more` of its blob came with its commit, under names that are only counted."""

    item: Delta | Reject
    more: int = 0


def read_versions(
    store: ObjectReader,
    oid: str,
    brought: Iterable[tuple[str, str, int]],
    settings: Settings,
    most: int = SAME_NAMED,
    ahead: Mapping[Version, Delta | Reject] = MappingProxyType({}),
) -> list[ReadVersion]:
    """What each version is that a commit brings, as (path, blob, mode). A blob is read once, whatever its names; of
    those that are judged alike so many are kept, and the last by its path counts the others. `ahead` are versions that
    were read already."""
    kept: list[Delta | Reject] = []
    alike: dict[str, list[int]] = {}
    more: Counter[str] = Counter()
    for path, blob, mode in brought:
        same = alike.get(blob)
        version = Version(path, blob, mode, oid)
        if same is None or not _says_the_same(kept[same[0]], version, settings.intake.roots):
            alike[blob] = [len(kept)]
            kept.append(ahead.get(version) or read_delta(store, version, settings))
        elif len(same) < most:
            same.append(len(kept))
            kept.append(structs.replace(kept[same[0]], version=version))
        else:
            more[blob] += 1
    counting = {max(alike[blob], key=lambda at: kept[at].version.path): count for blob, count in more.items()}
    return [ReadVersion(item, counting.get(at, 0)) for at, item in enumerate(kept)]


def _says_the_same(item: Delta | Reject, version: Version, roots: paths.Roots) -> bool:
    """Whether a version of the same blob is judged like the item: whatever hangs on the path is equal."""
    if version.mode != item.version.mode or paths.bad_name(version.path, roots) is not None:
        return False
    if isinstance(item, Reject):
        return item.fault.reason in _OF_CONTENT
    return not item.attachments and not item.unresolved and paths.of_one_frame(version.path, item.version.path, roots)


def read_delta(store: ObjectReader, version: Version, settings: Settings, *, keep_raw: bool = False) -> Delta | Reject:
    """What a version is, by its path, its bytes and its attachments (docs/protocol.md#a-delta). A delta has its body;
    with `keep_raw` also the bytes that the body was decoded from."""
    limits, roots = settings.limits, settings.intake.roots
    if kind_of_mode(version.mode) != PLAIN_FILE:
        kind = "a submodule" if kind_of_mode(version.mode) == _SUBMODULE else "a symbolic link"
        return Reject(version, Fault("not-a-file", f"{kind} stands where a delta should"))
    if (why := paths.bad_name(version.path, roots)) is not None:
        return Reject(version, Fault("bad-name", why))
    # The size is in the object's header: a blob that inflates to gigabytes is refused unread.
    size = store.size(version.blob)
    if size > limits.delta_bytes:
        return Reject(version, too_large(size, limits.delta_bytes))
    raw = store.read(version.blob)
    document = read_document(raw, limits)
    if isinstance(document, Fault):
        return Reject(version, document)
    header = read_header(document, paths.frame_of(version.path, roots), settings.intake)
    used = settings.intake.header if isinstance(header, Fault) else header.paths
    records = count_records(document, used, settings.sections)
    if records > limits.records:
        return Reject(version, Fault("too-many-records", f"{records} records, the limit is {limits.records}"))
    if isinstance(header, Fault):
        return Reject(version, header)
    read_exactly(raw, document, settings.summed)
    found: tuple[tuple[str, str], ...] = ()
    unresolved: tuple[str, ...] = ()
    content_id = version.blob
    filled = 0
    if b'_ref"' in raw or (b"\\" in raw and b"\\u" in raw):  # one byte is found ten times faster than two
        found, unresolved, filled = _attach(store, version, header.frame, document, settings)
        if found:
            # The content of a delta includes its attachments: the same JSON with another text is another delta.
            ids = "".join(f"{oid}\n" for oid in [version.blob, *(blob for _, blob in found)])
            content_id = hashlib.sha1(ids.encode(), usedforsecurity=False).hexdigest()
    return Delta(
        version=version,
        frame=header.frame,
        utc=header.utc,
        stream_id=header.stream_id,
        content_id=content_id,
        body=document,
        header=header.paths,
        attachments=found,
        unresolved=unresolved,
        size=len(raw) + filled,
        records=records,
        traceparent=read_traceparent(document.get(TRACEPARENT)),
        raw=raw if keep_raw else None,
    )


def with_body(store: ObjectReader, delta: Delta, settings: Settings) -> Delta:
    """The delta with its body: decoded again where only its bytes were kept, and read again where these were let go as
    well."""
    if delta.body is not None:
        return delta
    raw = delta.raw if delta.raw is not None else store.read(delta.version.blob)
    document: Record = decode(raw)
    read_exactly(raw, document, settings.summed)
    if delta.attachments:
        _attach(store, delta.version, delta.frame, document, settings)
    return structs.replace(delta, body=document)


def _attach(
    store: ObjectReader, version: Version, frame: int, document: Record, settings: Settings
) -> tuple[tuple[tuple[str, str], ...], tuple[str, ...], int]:
    """Fill in what the document's `*_ref` fields name in the tree of the version's own commit.

    All that is filled in counts against the limit of a delta, once for each field: one text that many fields name would
    else grow without bound. What is beyond it is found nowhere."""
    tree = store.commit(version.commit).tree
    most, roots = settings.limits.delta_bytes, settings.intake.roots
    found: list[tuple[str, str]] = []
    unresolved: list[str] = []
    texts: dict[str, str] = {}
    filled = 0
    # Paths are collected first and looked up together, so that each folder of the commit is read once.
    wanted = references(document)
    places = {one: paths.attachment_paths(version.path, frame, one, roots) for one in wanted}
    entries = entries_at(store, tree, chain.from_iterable(places.values()))
    for reference, fields in wanted.items():
        for path in places[reference]:
            entry = entries.get(path)
            if entry is None or (size := _text_size(store, entry)) is None:
                continue
            text = _text(store, entry) if filled + size * fields <= most else None
            if text is not None:
                texts[reference] = text
                filled += size * fields
                found.append((path, entry.oid))
                break
        else:
            unresolved.append(reference)
    fill(document, texts)
    return tuple(found), tuple(unresolved), filled


def _text_size(store: ObjectReader, entry: Entry) -> int | None:
    return store.size(entry.oid) if entry.is_file else None


def _text(store: ObjectReader, entry: Entry) -> str | None:
    try:
        return store.read(entry.oid).decode("utf-8")
    except UnicodeDecodeError:
        return None
