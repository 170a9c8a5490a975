"""What a close needed is given back."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import sys
from pathlib import Path
from dreamcatcherd.daemon.memory import give_back

def resident() -> int:
    return int(Path("/proc/self/status").read_text().split("VmRSS:")[1].split()[0])

kept = []
many = [bytes(2000) for _ in range(50_000)]
kept.append(bytes(2000))  # at the end of the heap, so that nothing below it goes by itself
many.clear()
before = resident()
give_back()
sys.exit(0 if before - resident() > 50_000 else f"{before} kB before, {resident()} kB after")
"""


def test_free_memory_goes_back_to_the_system() -> None:
    """After 100 MB were used and freed below something that stays, most of them are the system's again."""
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
