"""mutmut in one folder, through its command line alone."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.mutation.report import Change, change_of

PRIMER = "dreamcatcherd.core.paths.x_in_repository__mutmut_1"
"""A mutant that few tests reach: running it alone makes mutmut write all mutants and map functions to tests."""

SPINNER = re.compile(r"^$|^[\u2801-\u28ff] ")
"""Lines by which mutmut shows that it is alive."""

RESULT = re.compile(r"^ {4}(\S+): (.+)$", re.MULTILINE)


class Mutmut:
    """The commands of mutmut that are needed here. Its output goes to stderr; the report has stdout for itself."""

    def __init__(self, folder: Path, workers: int) -> None:
        self.folder = folder
        self.workers = workers
        # PYTHONPATH would lead to the package that is not mutated, and with CI set a missing program is a failed test.
        self.environment = {name: value for name, value in os.environ.items() if name not in ("CI", "PYTHONPATH")}

    def prepare(self) -> None:
        """Write all mutants and find out which tests call which function."""
        self.run([PRIMER])

    def run(self, names: list[str]) -> None:
        """Run some mutants, after the tests that judge them passed without a mutation."""
        command = [*self._command("run"), "--max-children", str(self.workers), *names]
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        if done.returncode:
            sys.stderr.writelines(f"{line}\n" for line in done.stdout.splitlines() if not SPINNER.match(line))
            raise SystemExit(f"mutmut ended with exit code {done.returncode}: fix the failing test above and run again")

    def verdicts(self) -> dict[str, str]:
        """Every mutant's state, in mutmut's words, by its name."""
        return dict(RESULT.findall(self._output("results", "--all", "true")))

    def change(self, name: str) -> Change:
        """Where a mutant is, and what it changes."""
        return change_of(name, self._output("show", name), self.folder)

    def _output(self, *words: str) -> str:
        command = self._command(*words)
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, stdout=subprocess.PIPE, text=True, check=True
        )
        return done.stdout

    def _command(self, *words: str) -> list[str]:
        return [str(Path(sys.executable).parent / "mutmut"), *words]
