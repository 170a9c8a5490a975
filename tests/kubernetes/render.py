"""What `make manifests` and `make chart` write: the files for Kubernetes with version, image and alert rules filled in.

The files in config/kubernetes and config/helm name no version. The alert rules have one source, config/prometheus: the
chart links to it, and `rule_manifest` makes a manifest of it, since kustomize cannot read a file outside its folder."""

from __future__ import annotations

import gzip
import io
import os
import re
import shutil
import tarfile
from pathlib import Path

import yaml
from packaging.version import Version

ROOT = Path(__file__).parents[2]
KUBERNETES = ROOT / "config/kubernetes"
CHART = ROOT / "config/helm/dreamcatcherd"
RULES = ROOT / "config/prometheus/dreamcatcherd.rules.yml"
RULE_MANIFEST = KUBERNETES / "monitoring/prometheusrule.yaml"
_RULE_HEAD = """\
# Written by `make manifests` from config/prometheus/dreamcatcherd.rules.yml, which explains the rules.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: dreamcatcherd
  labels:
    app.kubernetes.io/name: dreamcatcherd
spec:
"""


def rule_manifest() -> str:
    """The alert rules as a PrometheusRule."""
    rules = RULES.read_text()
    lines = rules[rules.index("groups:\n") :].splitlines()
    return _RULE_HEAD + "".join(f"  {line}\n" if line else "\n" for line in lines)


def split_image(reference: str) -> dict[str, str]:
    """The name, tag and digest of an image, as the fields that the images transformer of kustomize has for them."""
    rest, _, digest = reference.partition("@")
    folder, slash, last = rest.rpartition("/")
    name, _, tag = last.partition(":")
    fields = {"newName": f"{folder}{slash}{name}", "newTag": tag, "digest": digest}
    return {key: value for key, value in fields.items() if value}


def write_manifests(folder: Path, image: str) -> Path:
    """Copy the manifests to `folder`/kubernetes, where the kustomization names the image; returns that folder."""
    target = folder / "kubernetes"
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(KUBERNETES, target)
    file = target / "kustomization.yaml"
    before, _, _ = file.read_text().partition("images:\n")
    images = yaml.safe_dump({"images": [{"name": "dreamcatcherd"} | split_image(image)]}, sort_keys=False)
    file.write_text(before + images)
    return target


def semantic_version(version: str) -> str:
    """A version of Python as the semantic version that Helm demands, in the same order.

    What follows a release is a pre-release of the next patch: 1.2.3.post1.dev4 is 1.2.4-post.1.dev.4. The identifier 0
    sorts a development version before alphas: 1.2.3.dev4 is 1.2.3-0.dev.4."""
    read = Version(version)
    major, minor, micro = read.major, read.minor, read.micro
    parts: list[str] = []
    if read.pre:
        parts += [{"a": "alpha", "b": "beta"}.get(read.pre[0], read.pre[0]), str(read.pre[1])]
    if read.post is not None:
        micro += not read.pre
        parts += ["post", str(read.post)]
    if read.dev is not None:
        parts += ["dev", str(read.dev)] if parts else ["0", "dev", str(read.dev)]
    text = f"{major}.{minor}.{micro}" + ("-" + ".".join(parts) if parts else "")
    return f"{text}+{read.local}" if read.local else text


def write_chart(folder: Path, version: str, image: str) -> Path:
    """Pack the chart into `folder`, with this version and this image as its default; returns the archive.

    The same sources and SOURCE_DATE_EPOCH give the same bytes."""
    fixed = {
        "Chart.yaml": [
            (r"^version: .*$", f"version: {semantic_version(version)}"),
            (r"^appVersion: .*$", f'appVersion: "{version}"'),
        ],
        "values.yaml": [(r'^image: ""$', f'image: "{image}"')],
    }
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for path in sorted(path for path in CHART.rglob("*") if path.is_file()):
            text = path.read_text()
            name = path.relative_to(CHART).as_posix()
            for pattern, line in fixed.get(name, ()):
                text, count = re.subn(pattern, lambda _, line=line: line, text, flags=re.MULTILINE)  # type: ignore[misc]
                assert count == 1, (name, pattern)
            entry = tarfile.TarInfo(f"{CHART.name}/{name}")
            data = text.encode()
            entry.size, entry.mtime = len(data), int(os.environ.get("SOURCE_DATE_EPOCH", "0"))
            archive.addfile(entry, io.BytesIO(data))
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob(f"{CHART.name}-*.tgz"):
        old.unlink()  # the page installs dreamcatcherd-*.tgz
    target = folder / f"{CHART.name}-{semantic_version(version)}.tgz"
    target.write_bytes(gzip.compress(packed.getvalue(), mtime=0))
    return target
