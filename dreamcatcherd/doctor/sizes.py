"""What takes much room: packs, the disk, and single files, for servers have limits. Owns where `doctor` warns."""

from __future__ import annotations

import shutil
from pathlib import Path

from dreamcatcherd.core.errors import UnreadableError
from dreamcatcherd.core.report import Check
from dreamcatcherd.git.disk_usage import disk_usage
from dreamcatcherd.git.protocols import ObjectReader
from dreamcatcherd.stages.largest_file import Largest

PACKS_MANY = 200
SPACE_BYTES = 256 * 2**20
LARGE_BYTES = 50_000_000
"""GitHub, GitLab.com and Bitbucket Cloud refuse a push that brings a file over 100 MB; GitHub warns from 50 MB on.
A file is pushed again as soon as a frame changes it."""


def check_largest(store: ObjectReader, commit: str) -> Check:
    """Servers refuse files that are too large; what is written grows with the records in it."""
    try:
        path, size = Largest().of(store, commit)
    except UnreadableError as error:
        return Check("largest file", False, error.cause, error.remedy)
    shown = f"{size:,} bytes: {path}"
    if size <= LARGE_BYTES:
        return Check("largest file", True, shown)
    remedy = "many servers refuse files over 100 MB: see in docs/runbook.md, large file, what makes it grow"
    return Check("largest file", False, shown, remedy)


def check_packs(folder: Path) -> Check:
    """Maintenance joins packs; where it does not get done every look becomes slower."""
    found = disk_usage(folder)
    if found is None or found.packs <= PACKS_MANY:
        return Check("packs", True, f"{found.packs if found else 'unreadable'} packs")
    remedy = f"git -C {folder} repack --geometric=2 -d, and see what it says; then why the daemon's does not get done"
    return Check("packs", False, f"{found.packs} packs: maintenance does not get done", remedy)


def check_space(folder: Path) -> Check:
    """Room for packs where they are written."""
    free = shutil.disk_usage(folder).free
    shown = f"{free / 2**20:,.0f} MiB free at {folder}"
    fine = free >= SPACE_BYTES
    return Check("space", fine, shown, None if fine else "make room: publishing stops when the disk is full")
