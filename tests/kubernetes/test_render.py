"""What is filled in when the files for Kubernetes are written: version, image, alert rules."""

from __future__ import annotations

import re
import tarfile
from pathlib import Path

import pytest
import yaml
from packaging.version import Version

from tests.kubernetes.render import (
    CHART,
    KUBERNETES,
    ROOT,
    RULE_MANIFEST,
    RULES,
    rule_manifest,
    semantic_version,
    split_image,
    write_chart,
    write_manifests,
)

IMAGE = "registry.example.org:5000/fleet/dreamcatcherd:1.2.3-dev"
ORDERED = [
    "1.2.2",
    "1.2.3.dev1",
    "1.2.3.dev20",
    "1.2.3a1",
    "1.2.3b2",
    "1.2.3rc1",
    "1.2.3",
    "1.2.3.post1.dev4+g0ab",
    "1.3",
]


def precedence(version: str) -> tuple[tuple[int, ...], bool, list[tuple[bool, int, str]]]:
    """A key that sorts semantic versions as semver.org orders them."""
    core, _, rest = version.partition("+")[0].partition("-")
    parts = [(not part.isdigit(), int(part) if part.isdigit() else 0, part) for part in rest.split(".") if part]
    return tuple(map(int, core.split("."))), not rest, parts


def test_versions_of_the_chart_have_the_order_of_the_versions() -> None:
    """Releases, what comes before them and what comes after them sort alike in Python and in Helm."""
    assert sorted(ORDERED, key=Version) == ORDERED
    rendered = list(map(semantic_version, ORDERED))
    assert sorted(rendered, key=precedence) == rendered
    assert semantic_version("1.2.3") == "1.2.3"
    assert semantic_version("1.2.3.post1.dev4+g0ab") == "1.2.4-post.1.dev.4+g0ab"


@pytest.mark.parametrize(
    ("reference", "fields"),
    [
        ("dreamcatcherd", {"newName": "dreamcatcherd"}),
        ("localhost/dreamcatcherd:1.0", {"newName": "localhost/dreamcatcherd", "newTag": "1.0"}),
        ("example.org:5000/a/b", {"newName": "example.org:5000/a/b"}),
        (IMAGE, {"newName": "registry.example.org:5000/fleet/dreamcatcherd", "newTag": "1.2.3-dev"}),
        ("a/b:1@sha256:00", {"newName": "a/b", "newTag": "1", "digest": "sha256:00"}),
    ],
)
def test_an_image_has_a_name_and_a_tag_or_a_digest(reference: str, fields: dict[str, str]) -> None:
    """A registry's port is not a tag."""
    assert split_image(reference) == fields


def test_the_alert_rules_of_the_manifest_are_those_of_the_one_file() -> None:
    """config/kubernetes/monitoring has what `make manifests` writes, which is all of config/prometheus' rules."""
    assert RULE_MANIFEST.read_text() == rule_manifest(), "run make manifests"
    assert yaml.safe_load(rule_manifest())["spec"] == yaml.safe_load(RULES.read_text())
    assert (CHART / "files" / RULES.name).samefile(RULES)


def test_the_manifests_name_the_image_in_one_place(tmp_path: Path) -> None:
    """The written folder differs from config/kubernetes in the image alone, and may be written again."""
    write_manifests(tmp_path, "another")
    written = write_manifests(tmp_path, IMAGE)
    names = {path.relative_to(KUBERNETES) for path in KUBERNETES.rglob("*") if path.is_file()}
    assert {path.relative_to(written) for path in written.rglob("*") if path.is_file()} == names
    different = {str(name) for name in names if (written / name).read_bytes() != (KUBERNETES / name).read_bytes()}
    assert different == {"kustomization.yaml"}
    before, after = (yaml.safe_load((folder / "kustomization.yaml").read_text()) for folder in (KUBERNETES, written))
    assert after == before | {"images": [{"name": "dreamcatcherd"} | split_image(IMAGE)]}


def test_the_chart_names_version_and_image(tmp_path: Path) -> None:
    """The packed chart has both filled in and every file of the folder, the alert rules among them; bytes repeat."""
    write_chart(tmp_path / "one", "1.2.2", IMAGE)
    packed = write_chart(tmp_path / "one", "1.2.3.post1.dev4+g0ab", IMAGE)
    assert list(packed.parent.iterdir()) == [packed]
    assert packed.name == "dreamcatcherd-1.2.4-post.1.dev.4+g0ab.tgz"
    with tarfile.open(packed) as archive:
        texts = {member.name: archive.extractfile(member).read().decode() for member in archive}  # type: ignore[union-attr]
    assert set(texts) == {f"dreamcatcherd/{path.relative_to(CHART)}" for path in CHART.rglob("*") if path.is_file()}
    about = yaml.safe_load(texts["dreamcatcherd/Chart.yaml"])
    assert (about["version"], about["appVersion"]) == ("1.2.4-post.1.dev.4+g0ab", "1.2.3.post1.dev4+g0ab")
    assert yaml.safe_load(texts["dreamcatcherd/values.yaml"])["image"] == IMAGE
    assert texts["dreamcatcherd/files/dreamcatcherd.rules.yml"] == RULES.read_text()
    again = write_chart(tmp_path / "two", "1.2.3.post1.dev4+g0ab", IMAGE)
    assert again.read_bytes() == packed.read_bytes()


def test_no_file_for_containers_names_a_version_of_the_project() -> None:
    """The version comes from the build: neither compose, manifests, chart nor their page names an image of one."""
    files = [ROOT / "config/compose.yaml", ROOT / "Dockerfile", ROOT / "docs/container.md"]
    files += [path for folder in (KUBERNETES, CHART) for path in folder.rglob("*") if path.is_file()]
    found = [line for path in files for line in path.read_text().splitlines() if "dreamcatcherd:" in line]
    named = [line for line in found if re.search(r"dreamcatcherd:\d", line) and "registry.example.org/" not in line]
    assert named == []
