"""The Helm chart and the kustomization, rendered by helm and kubectl: valid, alike, and as the page describes them."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.kube import ROOT, by_kind, check_objects, run_tool, tool
from tests.e2e.test_docs import blocks
from tests.e2e.tools import environment
from tests.kubernetes.render import CHART, RULES, write_chart, write_manifests

IMAGE = "registry.example.org/dreamcatcherd:1.2.3"
ALWAYS = {"ConfigMap", "Deployment", "PersistentVolumeClaim", "Service", "ServiceAccount"}
ON_DEMAND = {"NetworkPolicy", "PodDisruptionBudget", "PrometheusRule", "ServiceMonitor"}
EVERYTHING: dict[str, Any] = {
    "image": "registry.example.org/dreamcatcherd@sha256:" + "0" * 64,
    "imagePullPolicy": "IfNotPresent",
    "imagePullSecrets": [{"name": "registry"}],
    "fleet": "north",
    "credentialsSecret": "north-credentials",
    "http": {"scheme": "HTTPS", "token": True},
    "storage": {"size": "20Gi", "className": "fast"},
    "extraEnv": [{"name": "DREAMCATCHERD_LOG_LEVEL", "value": "debug"}],
    "podAnnotations": {"example.org/team": "north"},
    "nodeSelector": {"kubernetes.io/arch": "amd64"},
    "tolerations": [{"key": "spot", "operator": "Exists"}],
    "affinity": {"nodeAffinity": {}},
    "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}, "tlsConfig": {"insecureSkipVerify": True}},
    "prometheusRule": {"enabled": True, "runbookUrl": "https://wiki.example.org/runbook"},
    "networkPolicy": {"enabled": True, "from": [{"podSelector": {}}], "to": [{"ipBlock": {"cidr": "192.0.2.0/24"}}]},
    "podDisruptionBudget": {"enabled": True, "minAvailable": 1},
}  # fmt: skip


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty home folder, with the values that turn everything on."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "everything.json").write_text(json.dumps(EVERYTHING))
    return folder


def template(home: Path, *words: str | Path, release: str = "north", chart: Path = CHART) -> dict[str, dict[str, Any]]:
    """The objects of a release."""
    return by_kind(run_tool("helm", "template", release, chart, *words, home=home).stdout)


def everything(home: Path) -> dict[str, dict[str, Any]]:
    return template(home, "--values", home / "everything.json")


def kustomize(home: Path, folder: Path) -> dict[str, dict[str, Any]]:
    return by_kind(run_tool("kubectl", "kustomize", folder, home=home).stdout)


def pod_of(objects: dict[str, dict[str, Any]]) -> dict[str, Any]:
    pod: dict[str, Any] = objects["Deployment"]["spec"]["template"]["spec"]
    return pod


def test_helm_finds_nothing_to_complain_of(home: Path) -> None:
    """`helm lint --strict`, with the defaults and with everything on."""
    for words in ((), ("--values", home / "everything.json")):
        done = run_tool("helm", "lint", "--strict", CHART, *words, home=home)
        assert "0 chart(s) failed" in done.stdout


def test_what_is_rendered_fits_the_schemas_of_kubernetes(home: Path) -> None:
    """By default the five kinds that every cluster knows; the other four on demand; no field is unknown or mistyped."""
    by_default, all_of_it = template(home), everything(home)
    assert set(by_default) == ALWAYS
    assert set(all_of_it) == ALWAYS | ON_DEMAND
    check_objects(by_default)
    check_objects(all_of_it)


@pytest.mark.parametrize(
    ("words", "cause"),
    [
        (["--set", "imge=x"], "imge"),
        (["--set", "storage.sise=1Gi"], "sise"),
        (["--set", "storage.size=big"], "storage/size"),
        (["--set", "http.scheme=http"], "http/scheme"),
        (["--set", "serviceMonitor.enabled=yes"], "serviceMonitor/enabled"),
        (["--set", "image=Registry.example.org/A B"], "image"),
        (["--set", "networkPolicy.ports=null"], "networkPolicy"),
    ],
)
def test_a_value_that_means_nothing_is_refused(home: Path, words: list[str], cause: str) -> None:
    """A misspelled name and a value of a wrong type or form end the command, which names them."""
    done = run_tool("helm", "template", "north", CHART, *words, home=home, check=False)
    assert done.returncode != 0
    assert cause in done.stderr.replace(".", "/")


def test_chart_and_kustomization_run_the_same_pod(home: Path, tmp_path: Path) -> None:
    """From the files of one build they differ in labels alone: same pod, claim, service, settings, account."""
    chart = template(home, release="dreamcatcherd", chart=write_chart(tmp_path, "1.2.3", IMAGE))
    plain = kustomize(home, write_manifests(tmp_path, IMAGE))
    assert set(chart) == set(plain) == ALWAYS
    assert pod_of(chart) == pod_of(plain)
    assert pod_of(plain)["containers"][0]["image"] == IMAGE
    for kind in ALWAYS:
        one, other = (dict(found[kind]) for found in (chart, plain))
        assert one.pop("metadata")["name"] == other.pop("metadata")["name"]
        for found in (one, other):
            if kind in ("Deployment", "Service"):
                found["spec"] = dict(found["spec"])
                assert found["spec"].pop("selector")
                found["spec"].pop("template", None)
        assert one == other
    for objects in (chart, plain):
        assert objects["Service"]["metadata"]["labels"]["fleet"] == "fleet"


def test_the_component_adds_what_the_chart_adds(home: Path, tmp_path: Path) -> None:
    """`components: [monitoring]`, as the comment has it, adds ServiceMonitor and PrometheusRule, as their values do."""
    folder = write_manifests(tmp_path, IMAGE)
    file = folder / "kustomization.yaml"
    text = file.read_text().replace("# components:", "components:")
    assert text != file.read_text()
    file.write_text(text)
    plain = kustomize(home, folder)
    on = ("--set", "serviceMonitor.enabled=true", "--set", "prometheusRule.enabled=true")
    chart = template(home, *on, release="dreamcatcherd")
    assert set(plain) == set(chart) == ALWAYS | {"ServiceMonitor", "PrometheusRule"}
    assert plain["PrometheusRule"]["spec"] == chart["PrometheusRule"]["spec"] == yaml.safe_load(RULES.read_text())
    one, other = (dict(found["ServiceMonitor"]["spec"]) for found in (plain, chart))
    for objects, monitor in ((plain, one), (chart, other)):
        service = objects["Service"]["metadata"]["labels"]
        assert monitor.pop("selector")["matchLabels"].items() <= service.items()
        assert service[monitor["jobLabel"]] == "dreamcatcherd"
        assert set(monitor["targetLabels"]) <= set(service)
    assert one == other


def test_a_kustomization_of_ones_own_may_use_both(home: Path, tmp_path: Path) -> None:
    """The example of docs/container.md: the manifests as a resource, monitoring as a component."""
    write_manifests(tmp_path / "dreamcatcherd", IMAGE)
    text = (ROOT / "docs/container.md").read_text()
    example = text.split("```yaml\nresources:")[1].split("```")[0]
    (tmp_path / "kustomization.yaml").write_text("resources:" + example)
    found = kustomize(home, tmp_path)
    assert set(found) == ALWAYS | {"ServiceMonitor", "PrometheusRule"}
    check_objects(found)


def test_everything_on_is_what_the_values_say(home: Path) -> None:
    """Each value arrives where it belongs, and every selector finds the pod of this release."""
    found = everything(home)
    (container,) = pod_of(found)["containers"]
    labels = found["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert found["Deployment"]["metadata"]["name"] == "north-dreamcatcherd"
    assert (container["image"], container["imagePullPolicy"]) == (EVERYTHING["image"], "IfNotPresent")
    assert EVERYTHING["extraEnv"][0] in container["env"]
    for key in ("imagePullSecrets", "nodeSelector", "tolerations", "affinity"):
        assert pod_of(found)[key] == EVERYTHING[key]
    probes = [container[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")]
    assert [(probe["path"], probe["scheme"]) for probe in probes] == [("/healthz", "HTTPS")] * 3
    (secret,) = [volume["secret"] for volume in pod_of(found)["volumes"] if "secret" in volume]
    assert (secret["secretName"], secret["optional"]) == ("north-credentials", False)
    claim = found["PersistentVolumeClaim"]["spec"]
    assert (claim["storageClassName"], claim["resources"]["requests"]["storage"]) == ("fast", "20Gi")
    for selector in (
        found["Deployment"]["spec"]["selector"]["matchLabels"],
        found["Service"]["spec"]["selector"],
        found["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"],
        found["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
    ):
        assert selector.items() <= labels.items()
        assert selector["app.kubernetes.io/instance"] == "north"
    (endpoint,) = found["ServiceMonitor"]["spec"]["endpoints"]
    assert endpoint["authorization"]["credentials"] == {"name": "north-credentials", "key": "http_token"}
    assert (endpoint["scheme"], endpoint["tlsConfig"]) == ("https", {"insecureSkipVerify": True})
    assert found["ServiceMonitor"]["metadata"]["labels"]["release"] == "prometheus"
    policy = found["NetworkPolicy"]["spec"]
    assert policy["ingress"] == [{"ports": [{"protocol": "TCP", "port": "http"}], "from": [{"podSelector": {}}]}]
    assert [port["port"] for port in policy["egress"][1]["ports"]] == [22, 443]
    rules = [rule for group in found["PrometheusRule"]["spec"]["groups"] for rule in group["rules"]]
    urls = [rule["annotations"]["runbook_url"] for rule in rules]
    assert len(urls) > 10
    assert all(url.startswith("https://wiki.example.org/runbook#") for url in urls)


def test_two_releases_share_a_namespace(home: Path) -> None:
    """No object of one release has the name of another's, nor does one selector find the other's pod."""
    one, other = (template(home, release=name) for name in ("north", "south"))
    for kind in ALWAYS:
        assert one[kind]["metadata"]["name"] != other[kind]["metadata"]["name"]
    labels = other["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert not one["Service"]["spec"]["selector"].items() <= labels.items()


def test_existing_storage_is_used(home: Path) -> None:
    """With `storage.existingClaim` no claim is made, and the pod mounts the one that is named."""
    found = template(home, "--set", "storage.existingClaim=mine")
    assert set(found) == ALWAYS - {"PersistentVolumeClaim"}
    (claim,) = [
        volume["persistentVolumeClaim"] for volume in pod_of(found)["volumes"] if "persistentVolumeClaim" in volume
    ]
    assert claim == {"claimName": "mine"}


def page(block: str, folder: Path, image: str) -> list[dict[str, Any]]:
    """The objects that a block of docs/container.md would send to a cluster, in the order of its commands.

    make, helm and kubectl are the real ones; what needs a cluster only renders."""
    made = [f"--directory={ROOT}", "--old-file=.venv/.dev", f"BIN={Path(sys.executable).parent}", f"DIST={folder}/dist"]
    shims = {
        "make": f'exec /usr/bin/make --no-print-directory --silent {shlex.join(made)} "$@" >&2',
        "kubectl": f"""case "$1 $2" in
            "apply -k") exec {tool("kubectl")} kustomize "$3" ;;
            "create secret") exec {tool("kubectl")} "$@" --dry-run=client -o yaml ;;
        esac""",
        "helm": f'[ "$1 $2" = "upgrade --install" ] && shift 2 && exec {tool("helm")} template "$@"',
    }
    for name, line in shims.items():
        (folder / name).write_text(f"#!/bin/sh\n{line}\n")
        (folder / name).chmod(0o755)
    for name in ("ssh_key", "known_hosts"):
        (folder / name).write_text("secret\n")
    (folder / "dreamcatcherd.toml").write_text('[repository]\nurl = "https://git.example.org/north.git"\n')
    environ = environment() | {"HOME": str(folder), "KUBECONFIG": str(folder / "none"), "DREAMCATCHERD_IMAGE": image}
    environ |= {"PATH": f"{folder}:{environ['PATH']}", "MAKEFLAGS": "", "MAKELEVEL": ""}
    script = (
        blocks("docs/container.md")[block]
        .replace("\nkubectl", "\necho ---; kubectl")
        .replace("\nhelm", "\necho ---; helm")
    )
    words = ["sh", "-eu", "-c", script]
    done = subprocess.run(words, cwd=folder, env=environ, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return [one for one in yaml.safe_load_all(done.stdout) if one]


@pytest.mark.parametrize(("block", "more"), [("kustomize", set()), ("helm", {"ServiceMonitor", "PrometheusRule"})])
def test_the_page_installs_a_primary(block: str, more: set[str], tmp_path: Path) -> None:
    """Both ways of docs/container.md give a cluster the secret that the pod mounts, and the image that is named."""
    secret, *rest = page(block, tmp_path, IMAGE)
    assert secret["kind"] == "Secret"
    assert set(secret["data"]) == {"ssh_key", "known_hosts"}
    found = {one["kind"]: one for one in rest}
    assert set(found) == ALWAYS | more
    check_objects(found)
    (container,) = pod_of(found)["containers"]
    assert container["image"] == IMAGE
    (mounted,) = [volume["secret"] for volume in pod_of(found)["volumes"] if "secret" in volume]
    assert mounted["secretName"] == secret["metadata"]["name"]
    assert ("north.git" in found["ConfigMap"]["data"]["dreamcatcherd.toml"]) is (block == "helm")


def test_the_notes_say_what_is_left_to_do(home: Path, tmp_path: Path) -> None:
    """After an installation with the defaults: name image, repository and credentials; with all three nothing more."""
    install = ("install", "north", "--dry-run=client", "--namespace", "fleets")
    notes = run_tool("helm", *install, CHART, home=home).stdout.partition("NOTES:\n")[2]
    assert "kubectl -n fleets port-forward service/north-dreamcatcherd 9464" in notes
    for left in ("No image is named", "still the example", "create secret generic north-dreamcatcherd"):
        assert left in notes
    (tmp_path / "mine.toml").write_text('[repository]\nurl = "https://git.example.org/north.git"\n')
    given = ("--set", "credentialsSecret=mine", "--set-file", f"config={tmp_path / 'mine.toml'}")
    chart = write_chart(tmp_path, "1.2.3", IMAGE)
    notes = run_tool("helm", *install, chart, *given, home=home).stdout.partition("NOTES:\n")[2]
    assert f"from the image {IMAGE}." in notes
    for left in ("No image is named", "still the example", "create secret"):
        assert left not in notes
