"""`python -m tests.image`: builds the container image, and writes what is known of it next to its archive.

The folder has image.tar (the image, for `docker load`), sbom.cdx.json (its contents) and provenance.json (how it was
built). The base is looked up first and then used by its digest, so that the provenance names what was built on."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from tests.image.bill import bill
from tests.image.facts import Recipe, labels, pinned, statement

ROOT = Path(__file__).parents[2]


def default_base(dockerfile: str) -> str:
    """The base that the Dockerfile names itself."""
    arguments = dict(re.findall(r"^ARG (\w+)=(\S+)$", dockerfile, re.MULTILINE))
    return re.sub(r"\$\{(\w+)\}", lambda match: arguments[match[1]], arguments["BASE"])


def ask(*words: str) -> str | None:
    """What a command prints, or None if it fails or is not installed."""
    try:
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def do(*words: str) -> None:
    """Run a command that shows its output; a failure ends the program."""
    print("+", shlex.join(words), file=sys.stderr, flush=True)
    try:
        code = subprocess.run(words, cwd=ROOT, check=False, stdout=sys.stderr).returncode
    except FileNotFoundError:
        sys.exit(f"{words[0]} is not installed; ENGINE=podman takes podman, ENGINE=docker takes docker")
    if code:
        sys.exit(f"{shlex.join(words[:2])} failed with exit code {code}")


def base_digest(engine: str, base: str) -> str:
    """The digest that a base image has in its registry, which is asked for an image that is not present; empty if the
    image came from no registry."""
    name, _, digest = base.partition("@")
    if digest:
        return digest
    look = (engine, "image", "inspect", "--format", "{{json .RepoDigests}}", name)
    found = ask(*look)
    if found is None:
        do(engine, "pull", name)
        found = ask(*look)
    digests = json.loads(found or "null") or []
    return str(digests[0]).partition("@")[2] if digests else ""


def revision() -> tuple[str, bool]:
    """The commit of this folder, and whether files differ from it; empty in a folder that is not a clone."""
    if ask("git", "rev-parse", "--show-toplevel") != str(ROOT.resolve()):
        return "", False
    return ask("git", "rev-parse", "HEAD") or "", bool(ask("git", "status", "--porcelain"))


def sha256(path: Path) -> str:
    """The digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def recipe_of(words: argparse.Namespace) -> Recipe:
    """What the options ask for, with what the machine knows of it."""
    base = words.base or default_base((ROOT / "Dockerfile").read_text())
    lists = ["Dockerfile", "requirements/build.txt", f"requirements/{words.extras or 'run'}.txt"]
    if not (ROOT / lists[-1]).is_file():
        sys.exit(f"no {lists[-1]}: EXTRAS is empty, otel or dask")
    commit, modified = revision()
    return Recipe(
        image=words.tag, version=words.version, base=base, base_digest=base_digest(words.engine, base),
        extras=words.extras, source=words.source, revision=commit, modified=modified,
        builder=words.builder or Recipe.builder, engine=Path(words.engine).name,
        files={name: sha256(ROOT / name) for name in lists},
    )  # fmt: skip


def build(recipe: Recipe, engine: str) -> str:
    """Build and tag the image; returns its id, the digest of its configuration. SOURCE_DATE_EPOCH sets the time that
    the label `created` gives."""
    moment = os.environ.get("SOURCE_DATE_EPOCH")
    time = datetime.fromtimestamp(int(moment), UTC) if moment else datetime.now(UTC)
    arguments = {"BASE": pinned(recipe), "VERSION": recipe.version, "EXTRAS": recipe.extras}
    options = [f"--build-arg={name}={value}" for name, value in arguments.items() if value]
    options += [f"--label={name}={value}" for name, value in labels(recipe, time).items()]
    # OCI's own format has no health check.
    form = ["--format=docker"] if "podman" in Path(engine).name else []
    do(engine, "build", *form, *options, f"--tag={recipe.image}", ".")
    found = ask(engine, "image", "inspect", "--format", "{{.Id}}", recipe.image) or ""
    return f"sha256:{found.removeprefix('sha256:')}"


def main() -> None:
    """Build the image and write its files."""
    parser = argparse.ArgumentParser(prog="python -m tests.image", description="Build the container image.")
    parser.add_argument("--engine", default="docker")
    parser.add_argument("--tag", required=True, help="complete name of the image")
    parser.add_argument("--version", required=True)
    parser.add_argument("--base", default="", help="base image, by tag or digest")
    parser.add_argument("--extras", default="", help="otel, dask, or nothing")
    parser.add_argument("--source", default="", help="URL at which the sources are published")
    parser.add_argument("--builder", default="", help="URI that names the machine that builds")
    parser.add_argument("--folder", type=Path, default=Path("dist/image"))
    words = parser.parse_args()
    begun = datetime.now(UTC)
    recipe = recipe_of(words)
    number = build(recipe, words.engine)
    folder = words.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    archive, contents, origin = (folder / name for name in ("image.tar", "sbom.cdx.json", "provenance.json"))
    archive.unlink(missing_ok=True)  # podman does not replace an archive
    do(words.engine, "save", "--output", str(archive), recipe.image)
    contents.write_text(bill(archive, recipe.image))
    subjects = {recipe.image: number, archive.name: f"sha256:{sha256(archive)}"}
    said = statement(recipe, subjects, {contents.name: f"sha256:{sha256(contents)}"}, begun, datetime.now(UTC))
    origin.write_text(json.dumps(said, indent=2) + "\n")
    print(folder)


if __name__ == "__main__":
    main()
