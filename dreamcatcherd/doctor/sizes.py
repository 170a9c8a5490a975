"""Checks of sizes: packs, free space, and single files, which servers limit. Also the limits of these checks."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from dreamcatcherd.core.errors import UnreadableError
from dreamcatcherd.core.paths import ROOTS, Roots
from dreamcatcherd.core.report import Check
from dreamcatcherd.core.troubles import oversized
from dreamcatcherd.git.derived_files import derived_files
from dreamcatcherd.git.disk_usage import disk_usage
from dreamcatcherd.git.protocols import ObjectReader
from dreamcatcherd.stages.largest_file import Largest
from dreamcatcherd.stages.published import PublishedState
from dreamcatcherd.stages.views import large_views, view_sizes

PACKS_MANY = 200
"""More packs than this slow every poll: maintenance joins them."""
SPACE_BYTES = 256 * 2**20
LARGE_BYTES = 50_000_000
"""GitHub, GitLab.com and Bitbucket Cloud refuse a push with a file over 100 MB; GitHub warns from 50 MB on.
A file is pushed again whenever a frame changes it."""


def check_largest(store: ObjectReader, commit: str, roots: Roots = ROOTS) -> Check:
    """The largest file of a snapshot commit; a fault above LARGE_BYTES, or if it cannot be found out.

    Files that the primary writes grow with their records, and a server that refuses one stops publishing."""
    try:
        path, size = Largest(derived_files(store)).of(store, commit, roots)
    except UnreadableError as error:
        return Check("largest file", False, error.cause, error.remedy)
    shown = f"{size:,} bytes: {path}"
    if size <= LARGE_BYTES:
        return Check("largest file", True, shown)
    remedy = "many servers refuse files over 100 MB: docs/runbook.md, large file, says what makes it grow"
    return Check("largest file", False, shown, remedy)


def check_view_sizes(store: ObjectReader, base: PublishedState) -> Iterator[Check]:
    """The views of the published settings; a fault for each that is large. Nothing if there are none."""
    large = large_views(store, base)
    for view in large:
        found = oversized(view)
        yield Check("views", False, found.what, found.remedy)
    if base.settings.views and not large:
        sizes = ", ".join(f"{view.path} ({view.size:,} bytes)" for view in view_sizes(store, base))
        yield Check("views", True, sizes or "the next frame writes them")


def check_packs(folder: Path) -> Check:
    """The number of packs; a fault above PACKS_MANY, since every poll then becomes slower."""
    found = disk_usage(folder)
    if found is None or found.packs <= PACKS_MANY:
        return Check("packs", True, f"{found.packs if found else 'unreadable'} packs")
    remedy = f"git -C {folder} repack --geometric=2 -d, and read its output; see why the daemon's maintenance fails"
    return Check("packs", False, f"{found.packs} packs: maintenance does not finish", remedy)


def check_space(folder: Path) -> Check:
    """Free space on the disk of a repository; a fault below SPACE_BYTES."""
    free = shutil.disk_usage(folder).free
    shown = f"{free / 2**20:,.0f} MiB free at {folder}"
    fine = free >= SPACE_BYTES
    return Check("space", fine, shown, None if fine else "make room: publishing stops when the disk is full")
