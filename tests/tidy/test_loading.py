"""What reading a ledger costs at start: the modules of the core that its shapes bring along."""

from __future__ import annotations

import subprocess
import sys

SHAPES = {"", ".codec", ".ledger", ".model"}
"""What `dreamcatcherd.core.ledger` may load. Every push starts the server-side check anew, and it reads no merge."""


def test_the_shapes_of_a_ledger_load_no_merge() -> None:
    """Whoever reads ledgers loads the shapes of data and the codec, no module that merges, compiles or lays out."""
    script = "import sys, dreamcatcherd.core.ledger; print(*sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    core = "dreamcatcherd.core"
    assert {name.removeprefix(core) for name in loaded if name.startswith(core)} == SHAPES
