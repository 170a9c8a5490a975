"""The bill of materials of an image: what syft finds in its archive, in CycloneDX."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path


def bill(archive: Path, image: str) -> str:
    """Every Debian package, library and program in the archive of an image, which the bill names `image`."""
    syft = Path(sys.executable).with_name("syft")
    if not syft.exists():
        sys.exit("syft is not installed: run make on a machine with an x86-64 processor")
    quiet = os.environ | {"SYFT_CHECK_FOR_APP_UPDATE": "false", "SYFT_FILE_METADATA_SELECTION": "none"}
    words = [
        str(syft),
        "scan",
        f"docker-archive:{archive}",
        "--quiet",
        "--output",
        "cyclonedx-json",
        "--source-name",
        image,
    ]
    done = subprocess.run(words, env=quiet, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"the contents of {archive.name} cannot be listed: {done.stderr.strip()}")
    return json.dumps(json.loads(done.stdout), indent=1) + "\n"
