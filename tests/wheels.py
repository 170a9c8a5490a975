"""The wheel of these sources, as any version."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PRETEND = "SETUPTOOLS_SCM_PRETEND_VERSION_FOR_DREAMCATCHERD"
"""The variable that gives a build its version."""


def build_wheel(version: str, folder: Path, sources: Path = ROOT) -> Path:
    """Build a wheel with the tools of this environment, without network, into a folder."""
    words = [sys.executable, "-m", "build", "--no-isolation", "--wheel", f"--outdir={folder}", str(sources)]
    done = subprocess.run(words, env=os.environ | {PRETEND: version}, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(words)} failed:\n{done.stdout}{done.stderr}")
    return folder / f"dreamcatcherd-{version}-py3-none-any.whl"
