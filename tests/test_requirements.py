"""The pinned requirements fit pyproject.toml, are whole, and name no place to fetch them from."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
FILES = {name: ROOT / "requirements" / f"{name}.txt" for name in ("run", "extras", "otel", "dask", "dev", "build")}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
NEEDS, EXTRAS = PROJECT["project"]["dependencies"], PROJECT["project"]["optional-dependencies"]
WANTED = {
    "run": NEEDS,
    "extras": NEEDS + EXTRAS["dask"] + EXTRAS["mcp"] + EXTRAS["otel"] + EXTRAS["zstd"],
    "dev": NEEDS + EXTRAS["dev"],
    "build": PROJECT["build-system"]["requires"],
    "dask": NEEDS + EXTRAS["dask"],
    "otel": PROJECT["project"]["dependencies"] + PROJECT["project"]["optional-dependencies"]["otel"],
}
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
MACHINES = ("x86_64", "aarch64")


def entries(name: str) -> Iterator[tuple[Requirement, list[str]]]:
    """Each pinned requirement with its hashes."""
    for block in re.split(r"\n(?=\S)", FILES[name].read_text().rstrip("\n")):
        if not block.startswith("#"):
            first, *rest = [part.strip() for part in block.replace("\\\n", "\n").splitlines()]
            yield Requirement(first), rest


def kind_of(python: str, machine: str) -> dict[str, str]:
    """What markers see on one kind of machine."""
    kind = {"python_version": python, "python_full_version": f"{python}.1", "platform_machine": machine}
    kind |= {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix", "implementation_name": "cpython"}
    return kind | {"platform_python_implementation": "CPython", "extra": ""}


def pins(name: str, python: str, machine: str) -> dict[str, str]:
    """Versions by name, as they would be installed on one kind of machine."""
    kind = kind_of(python, machine)
    return {
        canonicalize_name(found.name): str(found.specifier).removeprefix("==")
        for found, _ in entries(name)
        if found.marker is None or found.marker.evaluate(kind)
    }


@pytest.mark.parametrize("name", FILES)
def test_every_requirement_is_pinned_with_hashes_and_nothing_else_stands_there(name: str) -> None:
    """One exact version each, SHA-256 hashes of its files, no address and no option."""
    found = list(entries(name))
    assert found
    for requirement, hashes in found:
        assert re.fullmatch(r"==[0-9][0-9A-Za-z.+!-]*", str(requirement.specifier)), requirement
        assert requirement.url is None
        assert hashes, requirement
        assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", one) for one in hashes), requirement
    assert not re.search(r"://|--index|--find-links|--extra", FILES[name].read_text())


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("name", FILES)
def test_what_is_pinned_fits_the_ranges_of_the_project(name: str, python: str, machine: str) -> None:
    """Every library that pyproject.toml names is pinned within its range: `make lock` after a change there."""
    found = pins(name, python, machine)
    kind = kind_of(python, machine)
    for wanted in map(Requirement, WANTED[name]):
        if wanted.marker is not None and not wanted.marker.evaluate(kind):
            continue
        assert found[canonicalize_name(wanted.name)] in wanted.specifier, wanted


@pytest.mark.parametrize("name", FILES)
def test_what_a_pinned_library_needs_is_pinned_too(name: str) -> None:
    """Of what is installed here, no pinned library needs one that is not pinned."""
    found = {canonicalize_name(requirement.name): requirement for requirement, _ in entries(name)}
    for requirement in found.values():
        try:
            needs = metadata.requires(requirement.name) or []
        except metadata.PackageNotFoundError:
            continue
        for needed in map(Requirement, needs):
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                assert canonicalize_name(needed.name) in found, (requirement.name, str(needed))


@pytest.mark.parametrize("python", PYTHONS)
def test_the_lists_agree(python: str) -> None:
    """What runs in the container, with or without extras, is what the tests run with, and so is what builds it."""
    tested = pins("dev", python, "x86_64")
    for name in ("run", "extras", "otel", "build"):
        found = pins(name, python, "x86_64")
        assert {one: tested[one] for one in found} == found


def test_every_extra_is_in_the_wheelhouse() -> None:
    """The extras that are pinned for the wheelhouse are all that users can ask for."""
    lock = (ROOT / "Makefile").read_text()
    assert {f"--extra {name}" for name in EXTRAS} == set(re.findall(r"--extra \w+", lock))
