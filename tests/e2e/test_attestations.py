"""The files that `make image` leaves beside the image: bill of materials and provenance, in their published forms."""

from __future__ import annotations

import json
import platform
import subprocess
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from google.protobuf import json_format
from in_toto_attestation.predicates.provenance.v1.provenance_pb2 import Provenance
from in_toto_attestation.v1.statement import Statement
from in_toto_attestation.v1.statement_pb2 import Statement as StatementPB
from packaging.utils import canonicalize_name

from tests.e2e.containers import BASE, IMAGE, PYTHON, ROOT, build, cache, engine, inspect, once, version
from tests.e2e.test_docs import blocks
from tests.e2e.tools import environment, git
from tests.image.__main__ import sha256
from tests.test_requirements import pins

pytestmark = pytest.mark.xdist_group("image")  # test_container needs the same image


@pytest.fixture(scope="module")
def image() -> Path:
    """The folder that `make image` leaves."""
    return build()


def page(block: str, folder: Path) -> str:
    """Run a block of docs/container.md with the engine of the tests as docker, where dist/image is `folder`."""
    (cache() / "dist").unlink(missing_ok=True)
    (cache() / "dist").symlink_to(folder.parent)
    path = {"PATH": f"{engine().parent}:{environment()['PATH']}", "DREAMCATCHERD_IMAGE": IMAGE}
    words = ["bash", "-euo", "pipefail", "-c", blocks("docs/container.md")[block]]
    done = subprocess.run(words, cwd=cache(), env=environment() | path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def provenance(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "provenance.json").read_text())
    return found


def test_the_provenance_has_the_published_form(image: Path) -> None:
    """An in-toto Statement v1 with a SLSA provenance v1 predicate: no field is unknown, mistyped or missing."""
    said = provenance(image)
    Statement.copy_from_pb(json_format.ParseDict(said, StatementPB())).validate()
    json_format.ParseDict(said["predicate"], Provenance())
    with pytest.raises(json_format.ParseError):
        json_format.ParseDict(said["predicate"] | {"unknown": 1}, Provenance())


def test_the_provenance_names_this_image_and_what_it_was_made_from(image: Path) -> None:
    """Its subjects are the engine's image and the archive; base, commit and pins have their real digests."""
    said = provenance(image)
    assert {one["name"]: one["digest"]["sha256"] for one in said["subject"]} == {
        IMAGE: inspect(IMAGE)["Id"].removeprefix("sha256:"),
        "image.tar": sha256(image / "image.tar"),
    }
    definition = said["predicate"]["buildDefinition"]
    assert definition["externalParameters"] == {"image": IMAGE, "version": version(), "base": BASE}
    found = {one["name"]: one["digest"] for one in definition["resolvedDependencies"]}
    assert found == {
        "base": {"sha256": inspect(BASE)["Digest"].removeprefix("sha256:")},
        "source": {"gitCommit": git(ROOT, "rev-parse", "HEAD")},
    } | {
        name: {"sha256": sha256(ROOT / name)}
        for name in ("Dockerfile", "requirements/build.txt", "requirements/run.txt")
    }


def test_the_bill_of_materials_has_the_published_form(image: Path) -> None:
    """CycloneDX, by the schema of its version."""
    text = (image / "sbom.cdx.json").read_text()
    version = SchemaVersion.from_version(json.loads(text)["specVersion"])
    assert JsonStrictValidator(version).validate_str(text) is None


def test_the_bill_of_materials_names_all_that_is_in_the_image(image: Path) -> None:
    """Every Debian package that dpkg in the image lists, every pinned library, the project itself, and nothing else."""
    look = "dpkg-query -W -f '${Package} ${Version}\\n'"
    debian = set(once("-c", look, options=("--entrypoint=sh",)).stdout.splitlines())
    assert len(debian) > 80
    listed = set(page("contents", image).splitlines())
    assert debian <= listed
    python: dict[str, str] = {canonicalize_name(name): version for name, version in map(str.split, listed - debian)}
    assert python.pop("dreamcatcherd") == version()
    assert python == pins("run", PYTHON, platform.machine())


def test_the_page_shows_how_the_files_are_checked(image: Path) -> None:
    """The commands of docs/container.md find archive, bill of materials and the engine's image to be the right ones."""
    printed = page("verify", image).splitlines()
    assert printed[:2] == ["image.tar: OK", "sbom.cdx.json: OK"]
    assert printed[-1].removeprefix("sha256:") == provenance(image)["subject"][0]["digest"]["sha256"]


def test_a_changed_archive_is_noticed(image: Path, tmp_path: Path) -> None:
    """The same commands fail for an archive with one byte more."""
    folder = tmp_path / "image"
    folder.mkdir()
    for name in ("provenance.json", "sbom.cdx.json"):
        (folder / name).write_bytes((image / name).read_bytes())
    (folder / "image.tar").write_bytes(b"another")
    with pytest.raises(AssertionError, match="did NOT match"):
        page("verify", folder)
