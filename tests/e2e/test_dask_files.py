"""config/dask: the compose file and the manifests are valid, hardened, and start the same scheduler and workers.

`test_dask.py` runs their command lines."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tests.e2e.dask_cluster import COMPOSE, KUBERNETES, MOUNTED, services
from tests.e2e.kube import VERSIONS
from tests.e2e.tools import environment

NAMES = ("Service dask-scheduler", "Deployment dask-scheduler", "Deployment dask-worker")
FILES = {"ca.pem", "cert.pem", "key.pem"}


def manifests() -> dict[str, dict[str, Any]]:
    """The manifests by kind and name."""
    found = yaml.safe_load_all(KUBERNETES.read_text())
    return {f"{one['kind']} {one['metadata']['name']}": one for one in found}


def pods() -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    """The pod and its one container of each service."""
    found = {}
    for service in ("scheduler", "worker"):
        pod = manifests()[f"Deployment dask-{service}"]["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        found[service] = (pod, container)
    return found


@pytest.mark.needs("docker-compose")
def test_compose_accepts_the_file_and_hardens_the_services() -> None:
    """Read-only, without capabilities and new privileges, on loopback; the workers have the repository where the
    primary has it. Without a folder of certificates nothing starts."""
    words = ["docker-compose", "--file", str(COMPOSE), "config"]
    given = {"FLEET": "/srv/fleet.git", "OWNER": "1234:1234", "CERTIFICATES": "/etc/dask"}
    done = subprocess.run(words, env=environment() | given, capture_output=True, text=True, check=True, timeout=300)
    found = yaml.safe_load(done.stdout)["services"]
    assert set(found) == {"scheduler", "worker"}
    for service in found.values():
        assert (service["read_only"], service["user"]) == (True, "1234:1234")
        assert service["healthcheck"] in ({"test": ["NONE"]}, {"disable": True})  # the image's own asks the daemon
        assert (service["cap_drop"], service["security_opt"]) == (["ALL"], ["no-new-privileges:true"])
        mounts = {mount["target"]: mount for mount in service["volumes"]}
        assert all(mount["read_only"] for mount in mounts.values())
        assert mounts[MOUNTED]["source"] == "/etc/dask"
    assert {mount["target"] for mount in found["worker"]["volumes"]} == {MOUNTED, "/srv/fleet.git"}
    assert [str(port).startswith("127.0.0.1:") for port in found["scheduler"]["ports"]] == [True]
    assert "ports" not in found["worker"]
    del given["CERTIFICATES"]
    done = subprocess.run(words, env=environment() | given, capture_output=True, text=True, check=False, timeout=300)
    assert "name the folder with ca.pem, cert.pem and key.pem" in done.stderr


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", NAMES)
def test_manifests_fit_the_schema(name: str, version: str) -> None:
    """No unknown, missing or mistyped field, by old and new releases of Kubernetes."""
    found = manifests()
    assert tuple(found) == NAMES
    kubernetes_validate.validate(found[name], version, strict=True)
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(found[name] | {"unknown": 1}, version, strict=True)


def test_both_ways_start_the_same() -> None:
    """Program, arguments and the demand for encryption are those of the compose file; only the address differs."""
    for name, (_, container) in pods().items():
        service = services()[name]
        assert container["command"] == service["entrypoint"]
        here = [word.replace("tls://scheduler:", "tls://dask-scheduler:") for word in service["command"]]
        assert container["args"] == here
        told = {one["name"]: one["value"] for one in container["env"]}
        key = "DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION"
        assert told[key] == service["environment"][key] == "true"


def test_the_manifests_fit_together() -> None:
    """The service leads to the scheduler's port, and every name that a pod uses is there."""
    found = manifests()
    (port,) = found["Service dask-scheduler"]["spec"]["ports"]
    scheduler = pods()["scheduler"][1]
    assert [one["containerPort"] for one in scheduler["ports"]] == [port["port"]] == [8786]
    assert scheduler["readinessProbe"]["tcpSocket"]["port"] == port["name"] == scheduler["ports"][0]["name"]
    for name in NAMES[1:]:
        template = found[name]["spec"]["template"]
        assert found[name]["spec"]["selector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
    selector = found["Service dask-scheduler"]["spec"]["selector"]
    assert selector == found["Deployment dask-scheduler"]["spec"]["template"]["metadata"]["labels"]
    for pod, container in pods().values():
        assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
        mounted = {mount["mountPath"] for mount in container["volumeMounts"]}
        named = {Path(word.partition("=")[2]) for word in container["args"] if "/run/" in word}
        assert {file.name for file in named} == FILES
        assert {str(file.parent) for file in named} == {MOUNTED} < mounted


def test_the_pods_are_hardened() -> None:
    """Not root, read-only, no capabilities, no token of the cluster."""
    for pod, container in pods().values():
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        safe = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
        assert container["securityContext"] == safe
        assert container["resources"]["limits"]["memory"]
