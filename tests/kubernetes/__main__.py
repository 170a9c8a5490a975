"""`python -m tests.kubernetes manifests|chart`: writes the files for Kubernetes to a folder, dist by default."""

from __future__ import annotations

import argparse
from pathlib import Path

from tests.kubernetes.render import RULE_MANIFEST, rule_manifest, write_chart, write_manifests


def main() -> None:
    """Write the manifests or the chart, and print where they are."""
    parser = argparse.ArgumentParser(prog="python -m tests.kubernetes", description="Write the files for Kubernetes.")
    parser.add_argument("what", choices=["manifests", "chart"])
    parser.add_argument("--version", required=True, help="version of the project")
    parser.add_argument("--image", required=True, help="complete name of the image")
    parser.add_argument("--folder", type=Path, default=Path("dist"))
    words = parser.parse_args()
    if words.what == "manifests":
        RULE_MANIFEST.write_text(rule_manifest())
        print(write_manifests(words.folder, words.image))
    else:
        print(write_chart(words.folder, words.version, words.image))


if __name__ == "__main__":
    main()
