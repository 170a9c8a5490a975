"""What is released: what is in it, and installations of it that do the main job and can be upgraded."""

from __future__ import annotations

import configparser
import email.parser
import json
import re
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

from tests.e2e.releases import ROOT, Release, run, wheel_of
from tests.e2e.test_docs import blocks
from tests.e2e.tools import clone, delta, git, push

pytestmark = pytest.mark.xdist_group("wheel")  # what all of them need is made once

DOCS = blocks("docs/operations.md")


@pytest.fixture(scope="module")
def installed(release: Release, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment installed offline from a release, as docs/operations.md says; its bin folder."""
    folder = tmp_path_factory.mktemp("clean") / "venv"
    venv.create(folder, with_pip=True)
    install_in(folder / "bin", release.dist)
    return folder / "bin"


def install_in(programs: Path, dist: Path) -> None:
    """The pip commands of docs/operations.md, for another environment, with no index to fall back to."""
    (lines,) = re.findall(r"(?:^/opt/dreamcatcherd/bin/pip .*\n(?:    .*\n)*)+", DOCS["install"], re.MULTILINE)
    assert lines == "".join(re.findall(r"^/opt/dreamcatcherd/bin/pip .*\n(?:    .*\n)*", DOCS["upgrade"], re.MULTILINE))
    script = lines.replace("/opt/dreamcatcherd/bin", str(programs)).replace(" dist/", f" {dist}/")
    run("sh", "-eu", "-c", script, env={"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_INDEX_URL": "http://127.0.0.1:9/"})


def does_the_main_job(command: str, folder: Path) -> None:
    """A repository is made, a push with its hook merges, and is shown."""
    repository = folder / "fleet.git"
    run(command, "init", str(repository), cwd=folder)
    files = {"state/stream_deltas/1/one.json": delta(1, "one", posts_created=[{"number": 7, "title": "Wheels"}])}
    push(clone(repository, folder / "worker"), files, "refs/heads/dc/one")
    (closed,) = json.loads(run(command, "merge", "--repo", str(repository), "--json", cwd=folder))
    assert (closed["frame"], closed["deltas"]) == (1, 1)
    (post,) = json.loads(run(command, "export", "--repo", str(repository), cwd=folder))["state"]["posts"]
    assert post["title"] == "Wheels"
    assert git(repository, "log", "-1", "--format=%s", "main") == "frame 1: 1 delta from 1 stream"


def test_the_wheel_holds_the_package_and_nothing_else(release: Release) -> None:
    """All modules and py.typed, the licence and the entry point; no tests, no caches; the version of the tag."""
    info = f"dreamcatcherd-{release.version}.dist-info"
    with zipfile.ZipFile(release.wheel) as wheel:
        names = set(wheel.namelist())
        read = {name: wheel.read(name).decode() for name in names if name.startswith(info)}
    package = {str(path.relative_to(ROOT)) for path in (ROOT / "dreamcatcherd").rglob("*") if path.is_file()}
    package = {name for name in package if "__pycache__" not in name}
    assert "dreamcatcherd/py.typed" in package
    about = {f"{info}/{name}" for name in ("METADATA", "WHEEL", "RECORD", "entry_points.txt")}
    assert names == package | about | {f"{info}/licenses/LICENSE"}
    assert read[f"{info}/licenses/LICENSE"] == (ROOT / "LICENSE").read_text()
    metadata = email.parser.Parser().parsestr(read[f"{info}/METADATA"])
    assert metadata["Version"] == release.version
    assert metadata["License-Expression"] == "MIT"
    assert metadata["Requires-Python"] == ">=3.11"
    entries = configparser.ConfigParser()
    entries.read_string(read[f"{info}/entry_points.txt"])
    assert dict(entries["console_scripts"]) == {"dreamcatcherd": "dreamcatcherd.__main__:start"}


def test_the_sdist_holds_what_is_needed_to_build_and_test(release: Release) -> None:
    """Sources, tests, documents, configuration, pins and the container's files; nothing that git ignores."""
    name = f"dreamcatcherd-{release.version}"
    with tarfile.open(release.dist / f"{name}.tar.gz") as sdist:
        names = {path.removeprefix(f"{name}/") for path in sdist.getnames()}
    for needed in ("pyproject.toml", "Makefile", "Dockerfile", "requirements/run.txt", "docs/protocol.md",
                   "tests/e2e/test_release.py", "tests/e2e/packages.txt", "config/dreamcatcherd.toml"):  # fmt: skip
        assert needed in names
    assert not [name for name in names if re.search(r"__pycache__|\.pyc$|^\.venv|^dist/|\.egg-info", name)]


def test_the_sdist_builds_the_same_wheel_in_another_repository(release: Release, tmp_path: Path) -> None:
    """Inside a repository with other tags the sdist has its own version; tree and sdist give the same bytes."""
    git(tmp_path, "init", "-q")
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "another project")
    git(tmp_path, "tag", "v9.9.9")
    with tarfile.open(release.dist / f"dreamcatcherd-{release.version}.tar.gz") as sdist:
        sdist.extractall(tmp_path, filter="data")
    inner = tmp_path / f"dreamcatcherd-{release.version}"
    build = [sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", str(tmp_path)]
    for sources in (inner, release.checkout):
        run(*build, str(sources))
        wheel = tmp_path / release.wheel.name
        assert wheel.read_bytes() == release.wheel.read_bytes()
        wheel.unlink()


def test_the_installed_wheel_does_the_main_job(installed: Path, release: Release, tmp_path: Path) -> None:
    """In a clean environment, offline: the pins suffice, the version is the tag's, and the command works."""
    run(str(installed / "python"), "-m", "pip", "check", cwd=tmp_path)
    command = str(installed / "dreamcatcherd")
    assert run(command, "--version", cwd=tmp_path) == f"dreamcatcherd {release.version}\n"
    where = run(str(installed / "python"), "-c", "import dreamcatcherd; print(dreamcatcherd.__file__)", cwd=tmp_path)
    assert where.startswith(str(installed.parent))
    does_the_main_job(command, tmp_path)


def test_the_bill_of_materials_names_all_that_is_installed(installed: Path, release: Release) -> None:
    """Every library of a clean environment is a component with its version and licence, and no local path is shown."""
    text = (release.dist / "dreamcatcherd.cdx.json").read_text()
    bom = json.loads(text)
    assert bom["bomFormat"] == "CycloneDX"
    listed = json.loads(run(str(installed / "python"), "-m", "pip", "list", "--format=json"))
    assert {(found["name"], found["version"]) for found in bom["components"]} == {
        (found["name"], found["version"]) for found in listed if found["name"] not in ("pip", "setuptools")
    }
    ours = next(found for found in bom["components"] if found["name"] == "dreamcatcherd")
    assert ours["licenses"][0]["license"]["id"] == "MIT"
    assert "file://" not in text
    assert str(release.checkout.parent) not in text


def test_the_extras_are_in_the_wheelhouse(installed: Path, release: Release) -> None:
    """Every extra that users are asked to install is found offline, with all that it needs."""
    words = ["install", "--dry-run", "--ignore-installed", "--quiet", "dreamcatcherd[mcp,otel,zstd]"]
    run(str(installed / "python"), "-m", "pip", *words, env=release.offline)


def test_pip_upgrades_to_a_newer_wheel_and_back(release: Release, installed: Path, tmp_path: Path) -> None:
    """A wheel of five commits later replaces the release, by the documented commands and by `pip install --upgrade`,
    which leaves it in place afterwards; the documented commands go back too."""
    newer = wheel_of(release, "0.2.0.post5+g1234567", tmp_path)
    command, pip = str(installed / "dreamcatcherd"), [str(installed / "python"), "-m", "pip", "install", "--quiet"]
    try:
        install_in(installed, tmp_path)
        assert run(command, "version") == "dreamcatcherd 0.2.0.post5+g1234567\n"
        install_in(installed, release.dist)
        assert run(command, "version") == "dreamcatcherd 0.2.0\n"
        both = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": f"{release.dist} {tmp_path}"}
        for _ in range(2):
            run(*pip, "--upgrade", "--no-deps", "dreamcatcherd", env=both)
            assert run(command, "version") == f"dreamcatcherd {newer.name.split('-')[1]}\n"
    finally:
        install_in(installed, release.dist)


@pytest.mark.parametrize("tool", ["pipx", "uv"])
def test_pipx_and_uv_install_upgrade_and_uninstall(tool: str, release: Release, tmp_path: Path) -> None:
    """Offline from what `make dist` leaves: the command does the main job, is upgraded, and is gone without a rest."""
    dist = tmp_path / "dist"
    dist.mkdir()
    for path in (release.wheel, release.dist / "wheelhouse"):
        (dist / path.name).symlink_to(path)
    home = tmp_path / "home"
    variables = {
        "DREAMCATCHERD_DIST": str(dist),
        "HOME": str(home),
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
    }
    variables |= {"PIPX_HOME": f"{home}/pipx", "PIPX_BIN_DIR": f"{home}/bin", "PIPX_MAN_DIR": f"{home}/man"}
    variables |= {"UV_TOOL_DIR": f"{home}/uv", "UV_TOOL_BIN_DIR": f"{home}/bin", "UV_CACHE_DIR": f"{tmp_path}/cache"}
    variables |= {"PIPX_DEFAULT_PYTHON": sys.executable, "UV_PYTHON": sys.executable}
    command = str(home / "bin" / "dreamcatcherd")
    run("sh", "-eu", "-c", DOCS["offline"] + DOCS[tool], cwd=tmp_path, env=variables)
    assert run(command, "--version", cwd=tmp_path) == f"dreamcatcherd {release.version}\n"
    does_the_main_job(command, tmp_path)
    wheel_of(release, "0.3.0", tmp_path / "newer").rename(dist / "dreamcatcherd-0.3.0-py3-none-any.whl")
    manager = {"pipx": "pipx", "uv": "uv tool"}[tool]
    run("sh", "-eu", "-c", f"{DOCS['offline']}{manager} upgrade dreamcatcherd", cwd=tmp_path, env=variables)
    assert run(command, "--version", cwd=tmp_path) == "dreamcatcherd 0.3.0\n"
    run("sh", "-eu", "-c", f"{manager} uninstall dreamcatcherd", cwd=tmp_path, env=variables)
    left = [path for path in home.rglob("*") if "dreamcatcherd" in path.name]
    assert [path.name for path in left if path.stat().st_size] == []  # pipx keeps the empty file that it locks
