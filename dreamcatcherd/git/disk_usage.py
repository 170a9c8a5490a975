"""How much space a repository takes on its disk. Owns what is counted: packs, in which all objects end up.

One folder is listed and nothing is opened. Loose objects, which pushes of a few commits leave, count from the next
maintenance on: to count them, 256 folders would have to be listed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from dreamcatcherd.core.report import DiskUsage


def disk_usage(repository: Path) -> DiskUsage | None:
    """Packs, their bytes and the disk's free bytes, as they are now; None if the folder cannot be read."""
    packs = size = 0
    try:
        with os.scandir(repository / "objects" / "pack") as entries:
            for entry in entries:
                try:
                    size += entry.stat().st_size
                except FileNotFoundError:
                    continue  # maintenance deletes packs meanwhile
                packs += entry.name.endswith(".pack")
        return DiskUsage(packs, size, shutil.disk_usage(repository).free)
    except OSError:
        return None
