"""helm and kubectl as real programs without a cluster: what they render from the project's files."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema_rs
import kubernetes_validate
import yaml

from tests.e2e.tools import do_without, environment

ROOT = Path(__file__).parents[2]
VERSIONS = ("1.28", "1.32", "1.37")
"""Old and new releases of Kubernetes."""

_TEXT = {"type": "string", "minLength": 1}
_TEXTS = {"type": "object", "additionalProperties": _TEXT}


def _fields(*required: str, **properties: Any) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, "required": required, "properties": properties}


def _kind(name: str, spec: dict[str, Any]) -> dict[str, Any]:
    about = _fields("name", "labels", name=_TEXT, labels=_TEXTS)
    fixed = {"apiVersion": {"const": "monitoring.coreos.com/v1"}, "kind": {"const": name}}
    return _fields("apiVersion", "kind", "metadata", "spec", **fixed, metadata=about, spec=spec)


_SECRET_KEY = _fields("name", "key", name=_TEXT, key=_TEXT)
_ENDPOINT = _fields(
    "port", port=_TEXT, path=_TEXT, interval={"pattern": "^[0-9]+(s|m)$"}, scheme={"enum": ["http", "https"]},
    tlsConfig={"type": "object"}, authorization=_fields("credentials", type=_TEXT, credentials=_SECRET_KEY),
)  # fmt: skip
_RULE = _fields("alert", "expr", alert=_TEXT, expr=_TEXT, **{"for": _TEXT}, labels=_TEXTS, annotations=_TEXTS)
OF_OPERATOR = {
    "ServiceMonitor": _kind("ServiceMonitor", _fields(
        "selector", "endpoints", selector=_fields("matchLabels", matchLabels=_TEXTS), jobLabel=_TEXT,
        targetLabels={"type": "array", "items": _TEXT}, endpoints={"type": "array", "minItems": 1, "items": _ENDPOINT},
    )),
    "PrometheusRule": _kind("PrometheusRule", _fields("groups", groups={"type": "array", "items": _fields(
        "name", "rules", name=_TEXT, rules={"type": "array", "minItems": 1, "items": _RULE},
    )})),
}  # fmt: skip
"""Schemas of what is used of the Prometheus operator's kinds, by their documented fields."""

FOLDER = Path(sys.prefix) / "kube"
"""Where `make kube` puts the programs."""


def tool(name: str) -> Path:
    """The path of helm or kubectl; without it the test is skipped."""
    if platform.machine() != "x86_64":
        do_without("no helm for this processor: use an x86-64 machine")
    if not (FOLDER / name).is_file():
        do_without(f"no {name}: run make kube")
    return FOLDER / name


def run_tool(name: str, *words: str | Path, home: Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run helm or kubectl with `home` as the folder of its settings, so that it finds no cluster of the user."""
    environ = environment() | {"HOME": str(home), "KUBECONFIG": str(home / "none")}
    done = subprocess.run(
        [tool(name), *words], cwd=ROOT, env=environ, capture_output=True, text=True, check=False, timeout=300
    )
    assert not check or done.returncode == 0, (words, done.stdout[-2000:], done.stderr[-2000:])
    return done


def by_kind(text: str) -> dict[str, dict[str, Any]]:
    """The objects of a rendered text; each kind is there once."""
    found = [one for one in yaml.safe_load_all(text) if one]
    kinds = {one["kind"]: one for one in found}
    assert len(kinds) == len(found)
    return kinds


def check_objects(objects: dict[str, dict[str, Any]]) -> None:
    """No object has an unknown, missing or mistyped field: by the schemas of Kubernetes in each of VERSIONS, and by
    those of the operator's kinds here."""
    for kind, found in objects.items():
        if kind in OF_OPERATOR:
            jsonschema_rs.validate(OF_OPERATOR[kind], found)
            continue
        for version in VERSIONS:
            kubernetes_validate.validate(found, version, strict=True)
