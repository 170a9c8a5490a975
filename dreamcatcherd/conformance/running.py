"""Running vectors against this implementation: each case is compared, and by_section by section.

Owns the comparison. What a case finds is in `values` and `histories`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import zip_longest

import msgspec
from msgspec import Struct

from dreamcatcherd.conformance.histories import history
from dreamcatcherd.conformance.values import VALUE_RUNNERS
from dreamcatcherd.conformance.vectors import Case, Members
from dreamcatcherd.core.errors import UsageError
from dreamcatcherd.core.model import Json, Record

RUNNERS: dict[str, Callable[[Record], Json]] = {**VALUE_RUNNERS, "history": history}
"""What this implementation finds for each kind of case."""


class Deviation(Struct, frozen=True):
    """The first place at which a case's outcome is not the expected one: a path into `expect`, and both values; None
    where there is none."""

    at: str
    expected: Json
    found: Json


class Outcome(Struct, frozen=True):
    """A case that was run; `deviation` is None if it passed."""

    case: str
    section: str
    deviation: Deviation | None


class SectionCount(Struct, frozen=True):
    """The cases of one section."""

    section: str
    cases: int
    failed: int


def run_cases(cases: Iterable[Case]) -> Iterator[Outcome]:
    """Run cases one after the other; UsageError for a kind that this version does not know."""
    for case in cases:
        if case.kind not in RUNNERS:
            known = ", ".join(sorted(RUNNERS))
            raise UsageError(f"{case.name} is of kind {case.kind!r}, this version runs {known}", "update dreamcatcherd")
        yield Outcome(case.name, case.section, first_deviation(case.expect, outcome_of(case)))


def outcome_of(case: Case) -> Json:
    """What this implementation finds for a case. Any failure of the implementation is a finding like another one, and
    so are members that no case can have."""
    try:
        msgspec.convert(case.given, Members)
        return RUNNERS[case.kind](case.given)
    except Exception as error:  # one bad case must not hide the results of all others
        return {"error": f"{type(error).__name__}: {error}"}


def first_deviation(expected: Json, found: Json, at: str = "expect") -> Deviation | None:
    """The first difference of two values, members by name and items in order."""
    if isinstance(expected, dict) and isinstance(found, dict):
        for name in sorted({*expected, *found}):
            inner = f"{at}.{name}" if name.isidentifier() else f"{at}[{name!r}]"
            if name not in expected or name not in found:
                return Deviation(inner, expected.get(name), found.get(name))
            if (deviation := first_deviation(expected[name], found[name], inner)) is not None:
                return deviation
        return None
    if isinstance(expected, list) and isinstance(found, list):
        for index, (one, other) in enumerate(zip_longest(expected, found)):
            if (deviation := first_deviation(one, other, f"{at}[{index}]")) is not None:
                return deviation
        return None
    same = type(expected) is type(found) and expected == found  # True is 1 in Python, and not in JSON
    return None if same else Deviation(at, expected, found)


def by_section(outcomes: Iterable[Outcome]) -> list[SectionCount]:
    """How many cases each section has and how many failed, in the order in which sections appear."""
    counts: dict[str, list[int]] = {}
    for one in outcomes:
        of_section = counts.setdefault(one.section, [0, 0])
        of_section[0] += 1
        of_section[1] += one.deviation is not None
    return [SectionCount(section, *both) for section, both in counts.items()]
