"""`make vectors`: writes `conformance/` from the builders beside this module."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from dreamcatcherd.conformance.running import outcome_of
from dreamcatcherd.conformance.vectors import VECTORS_FORMAT, Case
from tests.conformance import bytes_cases, history_cases, intake_cases, random_cases
from tests.conformance.make import Given, Group

FOLDER = Path(__file__).parents[2] / "conformance"
GROUPS: list[Group] = [
    *bytes_cases.GROUPS,
    *intake_cases.GROUPS,
    *history_cases.GROUPS,
    *random_cases.GROUPS,
]


def complete(group: Group, given: Given) -> Given:
    """A case with its expectation: the one given by hand, else what the program finds."""
    if "expect" in given:
        return given
    found = outcome_of(Case(given["name"], group.section, group.kind, given, None))
    if "error" in found:
        raise AssertionError(f"{group.stem}: {given['name']}: {found['error']}")
    return {**given, "expect": found}


def files() -> dict[str, str]:
    """The text of each file of vectors, by its path below `conformance/`."""
    made = {}
    for group in GROUPS:
        document = {
            "format": VECTORS_FORMAT,
            "section": group.section,
            "kind": group.kind,
            "about": group.about,
            "cases": [complete(group, one) for one in group.cases],
        }
        made[f"{group.section}/{group.stem}.json"] = json.dumps(document, ensure_ascii=True, indent=1) + "\n"
    return made


def write() -> int:
    """Write all files, and remove the folders of sections that are no more; returns how many cases there are."""
    made = files()  # before anything is removed: a case may fail
    for folder in FOLDER.iterdir():
        if folder.is_dir():
            shutil.rmtree(folder)
    for path, text in made.items():
        file = FOLDER / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return sum(len(group.cases) for group in GROUPS)
