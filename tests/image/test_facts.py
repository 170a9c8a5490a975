"""Labels and provenance of an image: what is known is said, and nothing else."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.image.__main__ import default_base, main
from tests.image.facts import LABEL, Recipe, labels, pinned, statement

THEN = datetime(2026, 1, 2, 3, 4, 5, 600000, tzinfo=UTC)
DIGEST = f"sha256:{'1' * 64}"
LITTLE = Recipe(image="example.org/a:1", version="1.2.3", base="python:3.13-slim")
MUCH = Recipe(
    image="example.org/a:1", version="1.2.3", base="example.org:5000/python:3.13-slim", base_digest=DIGEST,
    extras="otel", source="https://git.example.org/a", revision="c" * 40, modified=True,
    builder="https://ci.example.org", engine="docker", files={"Dockerfile": "d" * 64},
)  # fmt: skip


def test_what_is_not_known_has_no_label() -> None:
    """Without a clone, a registry and a place of the sources, the labels name version, time and base alone."""
    assert labels(LITTLE, THEN) == {
        f"{LABEL}.version": "1.2.3",
        f"{LABEL}.created": "2026-01-02T03:04:05Z",
        f"{LABEL}.base.name": "python:3.13-slim",
    }


def test_modified_sources_are_not_taken_for_a_commit() -> None:
    """The revision of an image made from modified files differs from that of their commit."""
    assert labels(MUCH, THEN)[f"{LABEL}.revision"] == "c" * 40 + "-dirty"


@pytest.mark.parametrize(
    ("recipe", "name"),
    [
        (LITTLE, "python:3.13-slim"),
        (MUCH, f"example.org:5000/python@{DIGEST}"),
        (Recipe(image="a", version="1", base=f"python:3.13@{DIGEST}", base_digest=DIGEST), f"python@{DIGEST}"),
    ],
)
def test_the_build_uses_the_digest_that_is_known(recipe: Recipe, name: str) -> None:
    """The base is built on by its digest, so that a tag that moves meanwhile makes no difference."""
    assert pinned(recipe) == name


def test_provenance_of_what_little_is_known() -> None:
    """Without digest, commit and place the dependencies still name the base; no field is empty."""
    said = statement(LITTLE, {"example.org/a:1": DIGEST}, {}, THEN, THEN)
    definition = said["predicate"]["buildDefinition"]
    assert definition["externalParameters"] == {
        "image": "example.org/a:1",
        "version": "1.2.3",
        "base": "python:3.13-slim",
    }
    assert definition["resolvedDependencies"] == [{"name": "base", "uri": "docker-image://python:3.13-slim"}]


@pytest.mark.parametrize(
    ("words", "cause", "remedy"),
    [
        (["--engine=no-such-engine"], "no-such-engine is not installed", "ENGINE=podman"),
        (["--engine=false"], "false pull failed with exit code 1", ""),
        (["--extras=mcp"], "no requirements/mcp.txt", "EXTRAS is empty, otel or dask"),
    ],
)
def test_what_keeps_the_image_from_being_built_is_named(
    words: list[str], cause: str, remedy: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Without the engine, the base or the list of an extra the program ends with one line, and no traceback."""
    given = ["--tag=example.org/a:1", "--version=1.2.3", f"--folder={tmp_path}"]
    monkeypatch.setattr("sys.argv", ["image", *given, *words])
    with pytest.raises(SystemExit) as ended:
        main()
    assert cause in str(ended.value)
    assert remedy in str(ended.value)


def test_the_default_base_is_the_one_of_the_dockerfile() -> None:
    """Arguments within the argument are filled in."""
    assert default_base("ARG PYTHON=3.13\nARG BASE=python:${PYTHON}-slim\nFROM ${BASE}\n") == "python:3.13-slim"
