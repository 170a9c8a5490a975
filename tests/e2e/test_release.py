"""What is released: sdist and wheel, what is in them, and an installation that does the main job."""

from __future__ import annotations

import configparser
import email.parser
import json
import re
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

from dreamcatcherd import __version__
from tests.e2e.tools import clone, delta, do_without, environment, git, push

pytestmark = pytest.mark.xdist_group("wheel")  # what all of them need is made once

ROOT = Path(__file__).parents[2]
NAME = f"dreamcatcherd-{__version__}"
WHEEL = f"{NAME}-py3-none-any.whl"


def run(*words: str, cwd: Path = ROOT) -> str:
    done = subprocess.run(words, cwd=cwd, env=environment(), capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, (words, done.stdout[-2000:], done.stderr[-2000:])
    return done.stdout


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An sdist, and a wheel made from it, as `make dist` makes them."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT))
    return folder


@pytest.fixture(scope="module")
def installed(dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clean environment with the pinned libraries and the wheel; its bin folder."""
    folder = tmp_path_factory.mktemp("clean") / "venv"
    venv.create(folder, with_pip=True)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    pinned = [*pip, "--require-hashes", "--requirement", str(ROOT / "requirements/run.txt")]
    done = subprocess.run(pinned, env=environment(), capture_output=True, text=True, check=False, timeout=300)
    if done.returncode and "Temporary failure in name resolution" in done.stderr:
        do_without("no network: connect this machine, and the libraries are fetched")
    assert done.returncode == 0, done.stderr
    run(*pip, "--no-deps", "--no-index", "--find-links", str(dist), "dreamcatcherd")
    return folder / "bin"


def test_the_wheel_holds_the_package_and_nothing_else(dist: Path) -> None:
    """All modules and py.typed, the licence and the entry point; no tests, no caches; the version of the one place."""
    with zipfile.ZipFile(dist / WHEEL) as wheel:
        names = set(wheel.namelist())
        read = {name: wheel.read(name).decode() for name in names if name.startswith(f"{NAME}.dist-info/")}
    package = {str(path.relative_to(ROOT)) for path in (ROOT / "dreamcatcherd").rglob("*") if path.is_file()}
    package = {name for name in package if "__pycache__" not in name}
    assert "dreamcatcherd/py.typed" in package
    about = {f"{NAME}.dist-info/{name}" for name in ("METADATA", "WHEEL", "RECORD", "entry_points.txt")}
    assert names == package | about | {f"{NAME}.dist-info/licenses/LICENSE"}
    assert read[f"{NAME}.dist-info/licenses/LICENSE"] == (ROOT / "LICENSE").read_text()
    metadata = email.parser.Parser().parsestr(read[f"{NAME}.dist-info/METADATA"])
    assert metadata["Version"] == __version__
    assert metadata["License-Expression"] == "MIT"
    assert metadata["Requires-Python"] == ">=3.11"
    entries = configparser.ConfigParser()
    entries.read_string(read[f"{NAME}.dist-info/entry_points.txt"])
    assert dict(entries["console_scripts"]) == {"dreamcatcherd": "dreamcatcherd.cli:main"}


def test_the_sdist_holds_what_is_needed_to_build_and_test(dist: Path) -> None:
    """Sources, tests, documents, configuration, pins and the container's files; nothing that git ignores."""
    with tarfile.open(dist / f"{NAME}.tar.gz") as sdist:
        names = {name.removeprefix(f"{NAME}/") for name in sdist.getnames()}
    for needed in ("pyproject.toml", "Makefile", "Dockerfile", "requirements/run.txt", "docs/protocol.md",
                   "tests/e2e/test_release.py", "tests/e2e/packages.txt", "config/dreamcatcherd.toml"):  # fmt: skip
        assert needed in names
    assert not [name for name in names if re.search(r"__pycache__|\.pyc$|^\.venv|^dist/|\.egg-info", name)]


def test_a_wheel_of_the_same_sources_has_the_same_bytes(dist: Path, tmp_path: Path) -> None:
    """Built from the tree and by way of the sdist it is the same file."""
    run(sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", str(tmp_path), str(ROOT))
    assert (tmp_path / WHEEL).read_bytes() == (dist / WHEEL).read_bytes()


def test_the_installed_wheel_does_the_main_job(installed: Path, tmp_path: Path) -> None:
    """In a clean environment: the pins suffice, a repository is made, a push with its hook merges and is shown."""
    run(str(installed / "python"), "-m", "pip", "check", cwd=tmp_path)
    command = str(installed / "dreamcatcherd")
    assert run(command, "--version", cwd=tmp_path) == f"dreamcatcherd {__version__}\n"
    where = run(str(installed / "python"), "-c", "import dreamcatcherd; print(dreamcatcherd.__file__)", cwd=tmp_path)
    assert where.startswith(str(installed.parent))
    repository = tmp_path / "fleet.git"
    run(command, "init", str(repository), cwd=tmp_path)
    files = {"state/stream_deltas/1/one.json": delta(1, "one", posts_created=[{"number": 7, "title": "Wheels"}])}
    push(clone(repository, tmp_path / "worker"), files, "refs/heads/dc/one")
    (closed,) = json.loads(run(command, "merge", "--repo", str(repository), "--json", cwd=tmp_path))
    assert (closed["frame"], closed["deltas"]) == (1, 1)
    (post,) = json.loads(run(command, "export", "--repo", str(repository), cwd=tmp_path))["state"]["posts"]
    assert post["title"] == "Wheels"
    assert git(repository, "log", "-1", "--format=%s", "main") == "frame 1: 1 delta from 1 stream"


def test_the_bill_of_materials_names_all_that_is_installed(installed: Path, tmp_path: Path) -> None:
    """Every library of the clean environment is a component with its version and licence, and no local path is told."""
    tool, file = str(Path(sys.executable).with_name("cyclonedx-py")), tmp_path / "bom.json"
    words = ["environment", "--output-reproducible", "--output-format", "JSON", "--output-file", str(file)]
    run(tool, *words, str(installed / "python"))
    text = file.read_text()
    bom = json.loads(text)
    assert bom["bomFormat"] == "CycloneDX"
    listed = json.loads(run(str(installed / "python"), "-m", "pip", "list", "--format=json"))
    assert {(found["name"], found["version"]) for found in bom["components"]} == {
        (found["name"], found["version"]) for found in listed
    }
    ours = next(found for found in bom["components"] if found["name"] == "dreamcatcherd")
    assert ours["licenses"][0]["license"]["id"] == "MIT"
    assert "file://" not in text
    assert str(tmp_path.parent) not in text


def test_make_uses_the_version_of_the_one_place() -> None:
    """The tag of the image is read from the package, not written down again."""
    environ = environment() | {"MAKEFLAGS": "", "MAKELEVEL": ""}
    done = subprocess.run(
        ["make", "--no-print-directory", "--dry-run", "image"],
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert f"--tag localhost/dreamcatcherd:{__version__} " in done.stdout, done.stderr
