"""The package's version, and where the package can be built."""

from __future__ import annotations

import itertools
import platform
import subprocess

import pytest
from packaging.version import Version

from tests.debian import __main__ as debian
from tests.debian.version import debian_version

IN_ORDER = [
    "0.1.0.dev1", "0.1.0.dev2+g1", "0.1.0a1.dev3", "0.1.0a1", "0.1.0a1.post1", "0.1.0b2", "0.1.0rc1",
    "0.1.0rc2.post3+gff", "0.1.0rc10", "0.1.0", "0.1.0+g1234567", "0.1.0+gfffffff.dirty", "0.1.0.post1.dev1",
    "0.1.0.post1", "0.1.0.post1+gab", "0.1.0.post2+gab.d20261129", "0.1.0.post10", "0.1.1.dev1", "0.1.1", "0.2.0a1",
    "0.2.0", "0.10.0", "1.0.0rc1", "1.0.0", "1!0.1.0",
]  # fmt: skip
"""Versions as they may be tagged and built, by age."""


@pytest.mark.needs("dpkg")
def test_dpkg_orders_versions_as_pip_does() -> None:
    """Each version of the project is older than the next one for both, so that a package upgrades the one before."""
    assert sorted(IN_ORDER, key=Version) == IN_ORDER
    for older, newer in itertools.pairwise(IN_ORDER):
        words = ["dpkg", "--compare-versions", debian_version(older), "lt", debian_version(newer)]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, ""), words


@pytest.mark.needs("dpkg")
def test_the_same_version_for_a_later_release_of_debian_is_newer() -> None:
    """After an upgrade of Debian, the package that was built for it replaces this one."""
    here = debian_version("1.0.0")
    assert here.endswith("~deb12")
    subprocess.run(["dpkg", "--compare-versions", here, "lt", here.replace("deb12", "deb13")], check=True)


@pytest.mark.parametrize(
    ("release", "says"),
    [
        ({"ID": "debian", "VERSION_ID": "13", "PRETTY_NAME": "Debian GNU/Linux 13"}, "this is Debian GNU/Linux 13"),
        ({"ID": "ubuntu", "VERSION_ID": "12", "PRETTY_NAME": "Ubuntu 12"}, "build it on Debian 12"),
        ({}, "this is unknown"),
    ],
)
def test_it_is_built_on_debian_12_alone(
    release: dict[str, str], says: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Elsewhere the build ends with 2 and one line that says what to do."""
    monkeypatch.setattr(platform, "freedesktop_os_release", lambda: release)
    monkeypatch.setattr("sys.argv", ["debian", "1.0.0", "/nonexistent"])
    assert debian.main() == 2
    refusal = capsys.readouterr().err
    assert refusal.startswith("make deb: the package is for Debian 12")
    assert says in refusal
    assert refusal.count("\n") == 1


def test_missing_tools_are_named_with_the_way_to_get_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without debhelper and Debian's Python, both are named in one line."""
    monkeypatch.setattr(platform, "freedesktop_os_release", lambda: {"ID": "debian", "VERSION_ID": "12"})
    monkeypatch.setattr("shutil.which", lambda name: None if name in ("dh", "/usr/bin/python3.11") else name)
    assert debian.why_not_here() == (
        "not installed: debhelper, python3.11; as root: apt-get install debhelper python3.11"
    )


def test_the_maintainer_is_whoever_builds_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """DEBFULLNAME and DEBEMAIL together name the maintainer; one of them alone does not."""
    monkeypatch.setenv("DEBFULLNAME", "Ops")
    monkeypatch.delenv("DEBEMAIL", raising=False)
    assert debian.maintainer() == debian.MAINTAINER
    monkeypatch.setenv("DEBEMAIL", "ops@example.org")
    assert debian.maintainer() == "Ops <ops@example.org>"
