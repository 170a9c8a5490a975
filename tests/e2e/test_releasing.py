"""Where the version comes from, and the release procedure of docs/releasing.md."""

from __future__ import annotations

import hashlib
import itertools
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.version import Version

from tests.e2e.releases import (
    BLOCKS,
    ROOT,
    Release,
    commit_all,
    copy_sources,
    follow,
    lend_tools,
    make,
    run,
    version_of,
)
from tests.e2e.tools import environment, git, program, try_git
from tests.wheels import PRETEND

FALLBACK = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["version"]["fallback-version"]


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the sources in a repository with one commit and no tag. Not to be changed."""
    return copy_sources(tmp_path_factory.mktemp("versions") / "sources")


def dpkg_says(one: str, relation: str, other: str) -> bool:
    return subprocess.run(["dpkg", "--compare-versions", one, relation, other], check=False).returncode == 0


def test_the_version_is_that_of_the_nearest_tag(sources: Path, tmp_path: Path) -> None:
    """Without a tag it is later than the fallback; with one it is the tag's, and later after each commit and each newer
    tag, for pip and for dpkg. Changes without a commit show. Tags that are no versions do not count."""
    work = tmp_path / "work"
    git(tmp_path, "clone", "-q", str(sources), str(work))
    found = [FALLBACK, version_of(work)]
    assert re.fullmatch(rf"{re.escape(FALLBACK)}\.post1\+g[0-9a-f]{{7,}}", found[-1])
    git(work, "tag", "v0.2.0rc1")
    found.append(version_of(work))
    git(work, "tag", "-m", "release", "v0.2.0")
    git(work, "tag", "v2-of-the-logo")
    found.append(version_of(work))
    for number in range(11):
        commit_all(work, f"Change {number}")
        if number in (0, 1, 10):
            found.append(version_of(work))
    git(work, "tag", "archive-9.9")
    git(work, "tag", "v0.2.1")
    found.append(version_of(work))
    exact = [re.sub(r"\+g[0-9a-f]+", "", version) for version in found[2:]]
    assert exact == ["0.2.0rc1", "0.2.0", "0.2.0.post1", "0.2.0.post2", "0.2.0.post11", "0.2.1"]
    assert sorted(found, key=Version) == found
    assert not any(Version(version).is_prerelease for version in found if "rc" not in version)
    if program("dpkg"):
        finals = [version for version in found if "rc" not in version]  # dpkg writes these with ~
        assert all(dpkg_says(one, "lt", other) for one, other in itertools.pairwise(finals))
    (work / "README.md").write_text("changed\n")
    assert re.fullmatch(r"0\.2\.1(\.post0)?\+.*d20\d{6}", version_of(work))


def test_sources_without_a_tag_or_without_git_have_the_fallback(sources: Path, tmp_path: Path) -> None:
    """A shallow clone is later than the fallback; a folder without .git has the fallback, never the version of a
    repository around it. The variable and make's VERSION override it."""
    work, shallow = tmp_path / "work", tmp_path / "shallow"
    git(tmp_path, "clone", "-q", str(sources), str(work))
    git(work, "tag", "v7.0.0")
    commit_all(work, "After the tag")
    git(tmp_path, "clone", "-q", "--depth", "1", f"file://{work}", str(shallow))
    assert version_of(shallow).startswith(f"{FALLBACK}.post1+g")
    outer = tmp_path / "outer"
    git(tmp_path, "init", "-q", str(outer))
    commit_all(outer, "Another project")
    git(outer, "tag", "v9.9.9")
    inner = outer / "vendored"
    shutil.copytree(sources, inner, ignore=shutil.ignore_patterns(".git"))
    assert version_of(inner) == FALLBACK
    assert version_of(inner, {PRETEND: "1.2.3"}) == "1.2.3"
    lend_tools(inner)
    assert make(inner, "version", "VERSION=4.5.6") == "4.5.6\n"
    assert make(inner, "version") == f"{FALLBACK}\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="no root: run as root to give files to another user")
def test_a_tree_of_another_user_has_its_version(sources: Path, tmp_path: Path) -> None:
    """git alone refuses such a repository; the build reads its tags all the same."""
    work = tmp_path / "work"
    git(tmp_path, "clone", "-q", str(sources), str(work))
    git(work, "tag", "v6.0.0")
    for path in (work, work / ".git"):
        os.chown(path, 65534, 65534)
    assert "dubious ownership" in try_git(work, "describe").stderr
    assert version_of(work) == "6.0.0"


def test_a_source_tree_that_was_never_installed_says_so(sources: Path, tmp_path: Path) -> None:
    """A zip of the sources that is run in place reports the last release with +source, and the folder of the package
    alone reports that it does not know; neither is an error."""
    shutil.copytree(sources, tmp_path / "zip", ignore=shutil.ignore_patterns(".git"))
    shutil.copytree(sources / "dreamcatcherd", tmp_path / "alone" / "dreamcatcherd")
    script = "import sys; sys.path[:0] = ['.']; import dreamcatcherd; print(dreamcatcherd.__version__)"
    for folder, expected in (("zip", f"{FALLBACK}+source"), ("alone", "0+unknown")):
        assert run(sys.executable, "-I", "-S", "-c", script, cwd=tmp_path / folder) == f"{expected}\n"


def test_the_version_costs_nothing_until_it_is_asked_for() -> None:
    """Neither the package nor the server-side check loads importlib.metadata, and no other attribute is made up."""
    script = "import sys, dreamcatcherd.hook.pre_receive; print('importlib.metadata' in sys.modules)"
    assert run(sys.executable, "-c", script) == "False\n"
    done = subprocess.run(
        [sys.executable, "-c", "from dreamcatcherd import __versoin__"], capture_output=True, text=True, check=False
    )
    assert "ImportError" in done.stderr


@pytest.mark.xdist_group("wheel")
def test_the_procedure_leaves_artefacts_that_a_user_can_verify(release: Release) -> None:
    """Tag and checksums are signed by the key; every artefact has a checksum; one that was changed does not verify."""
    follow(release.checkout, "verify")
    listed = dict(line.split("  ")[::-1] for line in (release.dist / "SHA256SUMS").read_text().splitlines())
    files = {path.relative_to(release.dist).as_posix(): path for path in release.dist.rglob("*") if path.is_file()}
    assert set(files) - set(listed) == {"SHA256SUMS", "SHA256SUMS.sig"}
    assert listed == {name: hashlib.sha256(files[name].read_bytes()).hexdigest() for name in listed}
    kinds = ("tar.gz", "whl", "cdx.json", "requirements.txt", "man/", "wheelhouse/msgspec-", "wheelhouse/mcp-")
    for kind in kinds:
        assert any(name.startswith(kind) or (kind in name and name.startswith("dreamcatcherd")) for name in listed), (
            kind
        )
    changed = release.dist / "requirements.txt"
    before = changed.read_bytes()
    try:
        changed.write_bytes(before + b"# more\n")
        verify = BLOCKS["verify"].replace('"v$version"', "v0.2.0")
        done = subprocess.run(
            ["sh", "-eu", "-c", verify], cwd=release.checkout, env=environment(), check=False, capture_output=True
        )
    finally:
        changed.write_bytes(before)
    assert done.returncode != 0
    assert b"requirements.txt" in done.stdout + done.stderr


@pytest.mark.xdist_group("wheel")
def test_the_procedure_sets_the_fallback_and_the_changelog(release: Release) -> None:
    """The tagged commit is pushed with its tag; it names the release as fallback and in the changelog, and manual pages
    and bill of materials have its number."""
    origin = release.checkout.parent / "origin.git"
    tagged = git(origin, "rev-parse", "v0.2.0^{commit}")
    assert tagged == git(origin, "rev-parse", "main") == git(release.checkout, "rev-parse", "HEAD")
    assert 'fallback-version = "0.2.0"' in git(origin, "show", "main:pyproject.toml")
    assert re.search(
        r"^## Unreleased\n\n## 0\.2\.0 \(20\d\d-\d\d-\d\d\)\n", git(origin, "show", "main:CHANGELOG.md"), re.MULTILINE
    )
    assert "0.2.0" in (release.dist / "man/dreamcatcherd.1").read_text().splitlines()[0]
    assert '"version": "0.2.0"' in (release.dist / "dreamcatcherd.cdx.json").read_text()


def test_every_block_of_the_procedure_is_run() -> None:
    """Each shell block of the page has a name and is run here, but for the upload."""
    used = set(re.findall(r'"(\w+)"', "".join(re.findall(r"follow\([^)]*\)", _both_files()))))
    assert used == set(BLOCKS)
    assert (ROOT / "docs/releasing.md").read_text().count("```sh\n") == len(BLOCKS) + 1


def _both_files() -> str:
    return Path(__file__).read_text() + Path(__file__).with_name("releases.py").read_text()
