"""What mirrors brought, as heads beside the lanes: which count, and which refs of them are no longer needed.

A mirror's head is kept by a ref of its own until a publication reaches it (docs/protocol.md#mirrors). Refs never move
and are never rewound, so a mirror that came back from a backup takes nothing back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from dreamcatcherd.core import paths
from dreamcatcherd.core.settings import Settings
from dreamcatcherd.git.protocols import Commit
from dreamcatcherd.git.reachability import reach_within


def mirrored_heads(refs: Mapping[str, str], settings: Settings, main: str) -> dict[str, str]:
    """The refs that keep heads of mirrors' lanes and of their shared branches, each with its commit."""
    found = {}
    for ref in [ref for ref in refs if ref.startswith(paths.MIRRORS)]:  # of thousands mostly none
        if (named := paths.mirrored_branch(ref)) is None:
            continue
        branch = f"refs/heads/{named[1]}"
        if branch == main or settings.is_lane(branch):
            found[ref] = refs[ref]
    return found


def without_covered(commits: Mapping[str, Commit], lanes: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Lane heads without those of mirrors that another head of the same branch reaches, here or at a mirror.

    A worker that pushes five times to a mirror within a frame adds one parent to the snapshot commit, not five."""
    covered = _covered(commits, lanes)
    return [one for one in lanes if one not in covered]


def droppable(commits: Mapping[str, Commit], heads: Mapping[str, str], blocked: Iterable[str]) -> list[str]:
    """The refs of mirrors' heads that need not be kept: a publication reaches the head, or another ref of a mirror's
    same branch does. `commits` are those that no publication reaches, `blocked` the refs that are left alone."""
    alone = set(blocked)
    merged = {ref for ref, oid in heads.items() if oid not in commits and ref not in alone}
    waiting = [(ref, oid) for ref, oid in heads.items() if ref not in merged]
    return sorted(merged | {ref for ref, _ in _covered(commits, waiting)})


def _covered(commits: Mapping[str, Commit], lanes: Iterable[tuple[str, str]]) -> set[tuple[str, str]]:
    """The heads of mirrors that another head of their branch reaches. Of equal heads the first ref stays, and one that
    is here before any of a mirror."""
    branches: dict[str, list[tuple[str, str]]] = {}
    for ref, oid in lanes:
        named = paths.mirrored_branch(ref)
        branches.setdefault(f"refs/heads/{named[1]}" if named else ref, []).append((ref, oid))
    covered: set[tuple[str, str]] = set()
    for heads in branches.values():
        if len(heads) == 1:
            continue
        first: dict[str, str] = {}
        for ref, oid in sorted(heads, key=lambda head: (head[0].startswith(paths.MIRRORS), head)):
            first.setdefault(oid, ref)
        below = {oid for tip in first for oid in reach_within(commits, tip) if oid != tip}
        for ref, oid in heads:
            if ref.startswith(paths.MIRRORS) and (oid in below or first[oid] != ref):
                covered.add((ref, oid))
    return covered
