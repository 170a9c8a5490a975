"""Dockerfile, compose file and Kubernetes manifests are valid, hardened, and agree with each other and the project."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from dreamcatcherd.config import load_config
from tests.e2e.kube import VERSIONS
from tests.e2e.tools import environment, need

ROOT = Path(__file__).parents[2]
KUBERNETES = ROOT / "config/kubernetes"
KINDS = {
    "ConfigMap": "config.yaml", "PersistentVolumeClaim": "storage.yaml", "ServiceAccount": "serviceaccount.yaml",
    "Deployment": "deployment.yaml", "Service": "service.yaml", "Kustomization": "kustomization.yaml",
    "ServiceMonitor": "monitoring/servicemonitor.yaml", "PrometheusRule": "monitoring/prometheusrule.yaml",
    "Component": "monitoring/kustomization.yaml",
}  # fmt: skip
OF_KUBERNETES = ["ConfigMap", "PersistentVolumeClaim", "ServiceAccount", "Deployment", "Service"]
"""The kinds that every cluster knows."""


def manifest(kind: str) -> dict[str, Any]:
    (found,) = yaml.safe_load_all((KUBERNETES / KINDS[kind]).read_text())
    assert found["kind"] == kind
    return dict(found)


def compose(**variables: str) -> subprocess.CompletedProcess[str]:
    need("docker-compose")
    own = ("FLEET", "OWNER", "DREAMCATCHERD_IMAGE")
    env = {name: value for name, value in environment().items() if name not in own} | variables
    return subprocess.run(
        ["docker-compose", "--file", "config/compose.yaml", "config"],
        cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


def test_hadolint_finds_nothing_in_the_dockerfile(tmp_path: Path) -> None:
    """No finding at all; and one where there is something to find."""
    lint = [str(Path(sys.executable).with_name("hadolint")), "--failure-threshold", "style"]
    done = subprocess.run([*lint, "Dockerfile"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
    (tmp_path / "Dockerfile").write_text("FROM python\nRUN cd /tmp\n")
    assert subprocess.run([*lint, str(tmp_path / "Dockerfile")], capture_output=True, check=False).returncode == 1


def test_the_dockerfile_names_its_base_without_a_registry() -> None:
    """Both stages stand on one argument: a slim image by its short name, of which another argument is the Python."""
    text = (ROOT / "Dockerfile").read_text()
    assert re.findall(r"^FROM (\S+)", text, re.MULTILINE) == ["${BASE}"] * 2
    assert re.findall(r"^ARG BASE=(\S+)", text, re.MULTILINE) == ["python:${PYTHON}-slim-bookworm"]
    (python,) = re.findall(r"^ARG PYTHON=(\S+)", text, re.MULTILINE)
    assert f"Programming Language :: Python :: {python}" in (ROOT / "pyproject.toml").read_text()


def test_make_image_builds_on_the_base_that_it_is_given() -> None:
    """`make image BASE=…` hands over the base, with its digest, and without it names none; so with each variable."""
    base = f"python:3.13-slim-bookworm@sha256:{'0' * 64}"
    environ = environment() | {"MAKEFLAGS": "", "MAKELEVEL": ""}
    for words, given in (([f"BASE={base}"], True), ([], False), (["ENGINE=podman", f"BASE={base}"], True)):
        shown = ["make", "--dry-run", "image", *words]
        done = subprocess.run(shown, cwd=ROOT, env=environ, capture_output=True, text=True, check=True)
        assert (f"--base {base} " in done.stdout) is given
        assert ("--base" in done.stdout) is given
        assert f"--engine {'podman' if 'ENGINE=podman' in words else 'docker'} " in done.stdout


@pytest.mark.parametrize("target", ["image", "manifests", "chart"])
def test_one_variable_names_the_image(target: str) -> None:
    """`make image`, `manifests` and `chart` use DREAMCATCHERD_IMAGE; a version with a plus sign still gives a tag."""
    environ = environment() | {"MAKEFLAGS": "", "MAKELEVEL": ""}
    environ.pop("DREAMCATCHERD_IMAGE", None)
    for extra, name in (
        ({"DREAMCATCHERD_IMAGE": "example.org/a:1"}, "example.org/a:1"),
        ({}, "localhost/dreamcatcherd:1.2.dev3-gabc"),
    ):
        shown = ["make", "--dry-run", target, "VERSION=1.2.dev3+gabc"]
        done = subprocess.run(shown, cwd=ROOT, env=environ | extra, capture_output=True, text=True, check=True)
        assert f" {name} " in done.stdout
        assert "--version 1.2.dev3+gabc " in done.stdout


def test_compose_accepts_the_file_and_hardens_both_services() -> None:
    """Read-only, no capabilities, no new privileges, published to this machine alone; one variable names the image."""
    done = compose(FLEET="/srv/fleet.git", OWNER="1234:1234")
    assert done.returncode == 0, done.stderr
    services = yaml.safe_load(done.stdout)["services"]
    assert set(services) == {"dreamcatcherd", "prometheus"}
    for service in services.values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
    ours = services["dreamcatcherd"]
    assert ours["image"] == "localhost/dreamcatcherd"
    assert ours["build"]["context"] == str(ROOT)
    named = compose(FLEET="/srv/fleet.git", DREAMCATCHERD_IMAGE="example.org/a:1")
    assert yaml.safe_load(named.stdout)["services"]["dreamcatcherd"]["image"] == "example.org/a:1"
    assert ours["user"] == "1234:1234"
    assert (ours["mem_limit"], ours["pids_limit"]) == ("2g", 256)
    assert load_config(None, ours["environment"]).repository.url == "/srv/fleet.git"
    mounts = {mount["target"]: mount["source"] for mount in services["prometheus"]["volumes"]}
    assert mounts["/etc/prometheus"] == str(ROOT / "config/prometheus")
    assert "--config.file=/etc/prometheus/scrape.yml" in services["prometheus"]["command"]


def test_compose_asks_for_the_repository() -> None:
    """Without FLEET nothing starts, and the cause is told."""
    done = compose()
    assert done.returncode != 0
    assert "name the bare repository that workers push to" in done.stderr


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("kind", OF_KUBERNETES)
def test_manifests_fit_the_schema(kind: str, version: str) -> None:
    """No unknown, missing or mistyped field, by old and new releases of Kubernetes."""
    found = manifest(kind)
    kubernetes_validate.validate(found, version, strict=True)
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(found | {"unknown": 1}, version, strict=True)


def test_the_pod_is_hardened_and_probed() -> None:
    """Not root, read-only, no capabilities, no token; both probes ask what the daemon answers."""
    pod = manifest("Deployment")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert (
        f"USER {pod['securityContext']['runAsUser']}:{pod['securityContext']['runAsGroup']}"
        in (ROOT / "Dockerfile").read_text().splitlines()
    )
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    (image,) = manifest("Kustomization")["images"]
    assert container["image"] == image["name"]
    paths = {name: container[name]["httpGet"]["path"] for name in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert paths == {"startupProbe": "/healthz", "livenessProbe": "/healthz", "readinessProbe": "/readyz"}


def test_the_manifests_fit_together(tmp_path: Path) -> None:
    """Every name that one manifest uses is another's, and the settings are ones that the daemon accepts."""
    pod = manifest("Deployment")["spec"]["template"]
    (container,) = pod["spec"]["containers"]
    volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == set(volumes)
    assert (
        volumes["state"]["persistentVolumeClaim"]["claimName"] == manifest("PersistentVolumeClaim")["metadata"]["name"]
    )
    config = manifest("ConfigMap")
    assert volumes["config"]["configMap"]["name"] == config["metadata"]["name"]
    mounted = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    (tmp_path / "primary.toml").write_text(config["data"]["dreamcatcherd.toml"])
    assert container["args"] == ["run", "--config", f"{mounted['config']}/dreamcatcherd.toml"]
    assert load_config(tmp_path / "primary.toml", {}).repository.url.startswith("ssh://")
    assert {"name": "CREDENTIALS_DIRECTORY", "value": mounted["credentials"]} in container["env"]
    service, monitor = manifest("Service"), manifest("ServiceMonitor")
    assert pod["spec"]["serviceAccountName"] == manifest("ServiceAccount")["metadata"]["name"]
    labels = pod["metadata"]["labels"]
    assert manifest("Deployment")["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert service["spec"]["selector"].items() <= labels.items()
    (port,) = service["spec"]["ports"]
    assert port["targetPort"] in {one["name"] for one in container["ports"]}
    assert monitor["apiVersion"] == "monitoring.coreos.com/v1"
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert set(monitor["spec"]["targetLabels"]) <= set(service["metadata"]["labels"])
    (endpoint,) = monitor["spec"]["endpoints"]
    assert (endpoint["port"], endpoint["path"]) == (port["name"], "/metrics")
    assert service["metadata"]["labels"][monitor["spec"]["jobLabel"]] == "dreamcatcherd"


def test_every_cluster_knows_the_kinds_that_are_applied_by_default() -> None:
    """The kustomization lists each manifest of its folder, all of Kubernetes' kinds; a component has the operator's."""
    assert [manifest(kind)["kind"] for kind in OF_KUBERNETES] == OF_KUBERNETES
    assert "components" not in manifest("Kustomization")
    assert set(manifest("Kustomization")["resources"]) == {KINDS[kind] for kind in OF_KUBERNETES}
    for kind, folder in (("Kustomization", KUBERNETES), ("Component", KUBERNETES / "monitoring")):
        listed = set(manifest(kind)["resources"])
        assert listed == {path.name for path in folder.glob("*.yaml")} - {"kustomization.yaml"}
