"""What is said of an image: its labels, and its provenance as an in-toto Statement. Pure functions over known facts."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

BUILD_TYPE = "urn:dreamcatcherd:make-image:1"
"""What the parameters below mean; docs/container.md describes them."""

LABEL = "org.opencontainers.image"


@dataclass(frozen=True)
class Recipe:
    """What an image is made from. Texts that are empty are not known, and nothing is said of them."""

    image: str
    version: str
    base: str
    """The base image as it was asked for."""

    base_digest: str = ""
    """`sha256:…`, the image that this name meant."""

    extras: str = ""
    source: str = ""
    """Where the sources are published."""

    revision: str = ""
    modified: bool = False
    """Whether files differ from that revision."""

    builder: str = "urn:dreamcatcherd:builder:unnamed"
    engine: str = ""
    files: dict[str, str] = field(default_factory=dict)
    """SHA-256 of each file that decides what is installed, by its path in the project."""


def created(time: datetime) -> str:
    """A time in UTC as labels and provenance have it, in whole seconds."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


def labels(recipe: Recipe, time: datetime) -> dict[str, str]:
    """The labels that differ from build to build; the Dockerfile has the others."""
    found = {
        "version": recipe.version,
        "created": created(time),
        "revision": recipe.revision + ("-dirty" if recipe.revision and recipe.modified else ""),
        "source": recipe.source,
        "url": recipe.source,
        "documentation": recipe.source,
        "base.name": recipe.base.partition("@")[0],
        "base.digest": recipe.base_digest,
    }
    return {f"{LABEL}.{name}": value for name, value in found.items() if value}


def pinned(recipe: Recipe) -> str:
    """The base image by its digest where that is known, so that the build uses what the provenance names."""
    if not recipe.base_digest:
        return recipe.base
    folder, slash, last = recipe.base.partition("@")[0].rpartition("/")
    return f"{folder}{slash}{last.partition(':')[0]}@{recipe.base_digest}"


def digest_set(digest: str) -> dict[str, str]:
    """`sha256:…` as in-toto has it."""
    kind, _, value = digest.partition(":")
    return {kind: value}


def dependencies(recipe: Recipe) -> list[dict[str, Any]]:
    """The base image, the sources, and the lists of pins, each with its digest where that is known."""
    base: dict[str, Any] = {"name": "base", "uri": f"docker-image://{recipe.base.partition('@')[0]}"}
    if recipe.base_digest:
        base["digest"] = digest_set(recipe.base_digest)
    found = [base]
    if recipe.revision:
        source: dict[str, Any] = {"name": "source", "digest": {"gitCommit": recipe.revision}}
        if recipe.source:
            source["uri"] = f"git+{recipe.source}"
        found.append(source | {"annotations": {"modified": recipe.modified}})
    return found + [{"name": name, "digest": {"sha256": value}} for name, value in sorted(recipe.files.items())]


def statement(
    recipe: Recipe, subjects: dict[str, str], byproducts: dict[str, str], begun: datetime, ended: datetime
) -> dict[str, Any]:
    """The provenance of `subjects`, digests by name. The byproducts are too: other files that the build wrote."""
    asked = {"image": recipe.image, "version": recipe.version, "base": recipe.base, "extras": recipe.extras}
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": name, "digest": digest_set(digest)} for name, digest in subjects.items()],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {name: value for name, value in asked.items() if value},
                "internalParameters": {"engine": recipe.engine},
                "resolvedDependencies": dependencies(recipe),
            },
            "runDetails": {
                "builder": {"id": recipe.builder},
                "metadata": {"startedOn": created(begun), "finishedOn": created(ended)},
                "byproducts": [{"name": name, "digest": digest_set(value)} for name, value in byproducts.items()],
            },
        },
    }
