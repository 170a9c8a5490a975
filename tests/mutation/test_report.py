"""The report of `make mutate`: places, changes and figures."""

from __future__ import annotations

import tomllib
from itertools import pairwise
from pathlib import Path

import pytest

from tests.mutation.report import Change, Verdict, change_of, render
from tests.tidy.house import ROOT

SOURCE = '''"""A module."""

def first(a: int) -> int:
    """Return one more."""
    return a + 1


class Box:
    """A box."""

    # Why it is there.
    @staticmethod
    def second(a: int) -> int:
        """Return one more."""
        b = 0
        return a + 1

    def third(self, a: int) -> int:
        """Return one more."""
        return a + 1
'''
DIFF = """# {name}: survived
--- package/module.py
+++ package/module.py
@@ -{start},3 +{start},3 @@
 def f(a: int) -> int:
     '''Return one more.'''
-    return a + 1
+    return a - 1
"""


@pytest.mark.parametrize(
    ("name", "start", "line"),
    [
        ("package.module.x_first__mutmut_1", 1, 5),
        ("package.module.xǁBoxǁsecond__mutmut_12", 4, 16),
        ("package.module.xǁBoxǁthird__mutmut_1", 1, 20),
    ],
)
def test_a_change_is_placed_in_the_file(tmp_path: Path, name: str, start: int, line: int) -> None:
    """A survivor is named by the line of its file, although mutmut counts the lines of a function."""
    (tmp_path / "package").mkdir()
    (tmp_path / "package/module.py").write_text(SOURCE)
    found = change_of(name, DIFF.format(name=name, start=start), tmp_path)
    assert found == Change("package/module.py", line, ("- return a + 1", "+ return a - 1"))


def test_the_report_lists_survivors_and_counts_the_rest() -> None:
    """A mutant that no test could judge is not part of the score; a timeout counts as noticed."""
    states = {"a.x_f__mutmut_1": "killed", "a.x_f__mutmut_2": "timeout", "a.x_f__mutmut_3": "survived"}
    states |= {"b.x_g__mutmut_1": "no tests", "a.x_f__mutmut_4": "killed"}
    verdicts = [Verdict(name, state) for name, state in states.items()]
    assert render(verdicts, lambda name: Change("a.py", 3, (f"- {name}",))).splitlines() == [
        "a.py:3",
        "    - a.x_f__mutmut_3",
        "b: 1 in functions that none of the tests calls",
        "mutants run 4, killed 2, survived 1, timed out 1, other 0",
        "score 75.0 % (killed and timed out, of those run)",
        "not run 1: no test calls the function",
    ]


def test_the_settings_name_tests_that_are_there() -> None:
    """Every folder, file and test that `[tool.mutmut]` names exists: mutmut would run none in place of a wrong name."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mutmut"]
    options = settings["pytest_add_cli_args"]
    deselected = [name for option, name in pairwise(options) if option == "--deselect"]
    assert deselected
    for named in [*settings["pytest_add_cli_args_test_selection"], *deselected]:
        path, _, test = named.partition("::")
        assert (ROOT / path).exists(), path
        assert not test or f"def {test}(" in (ROOT / path).read_text(), named
