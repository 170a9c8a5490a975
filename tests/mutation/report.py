"""What a run found, for people: the figures, and each survivor as file, line and change."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

HUNK = re.compile(r"^@@ -(\d+)")
NAME = re.compile(r"(?:xǁ(?P<owner>[^ǁ]+)ǁ|x_)(?P<function>\w+?)__mutmut_\d+$")
"""The last part of a mutant's name: mutmut writes a method as `xǁClassǁmethod`, a function as `x_function`."""


@dataclass(frozen=True)
class Verdict:
    """A mutant and what became of it, in mutmut's words."""

    name: str
    state: str

    @property
    def module(self) -> str:
        """The module that the mutant is in."""
        return self.name.rpartition(".")[0]


@dataclass(frozen=True)
class Change:
    """The lines that a mutant takes away (-) and brings (+), and where they are in the tree."""

    path: str
    line: int
    lines: tuple[str, ...]

    def __str__(self) -> str:
        return "\n".join([f"{self.path}:{self.line}", *(f"    {line}" for line in self.lines)])


def render(verdicts: list[Verdict], change: Callable[[str], Change]) -> str:
    """The report: survivors first, in the order of their places, and the figures last, where a terminal shows them."""
    states = Counter(verdict.state for verdict in verdicts)
    untested = [verdict for verdict in verdicts if verdict.state == "no tests"]
    survivors = [change(verdict.name) for verdict in verdicts if verdict.state == "survived"]
    ran = len(verdicts) - len(untested)
    killed, late, survived = states["killed"], states["timeout"], states["survived"]
    lines = [str(one) for one in sorted(survivors, key=lambda one: (one.path, one.line))]
    modules = Counter(verdict.module for verdict in untested)
    lines += [f"{name}: {count} in functions that none of the tests calls" for name, count in sorted(modules.items())]
    other = ran - killed - survived - late
    lines.append(f"mutants run {ran}, killed {killed}, survived {survived}, timed out {late}, other {other}")
    score = f"score {100 * (killed + late) / ran:.1f} % (killed and timed out, of those run)" if ran else "no score"
    lines.append(score)
    if untested:
        lines.append(f"not run {len(untested)}: no test calls the function")
    return "\n".join(lines)


def change_of(name: str, diff: str, root: Path) -> Change:
    """Find a mutant's place in the tree from the diff of its function, whose lines count from the function's start."""
    path = re.findall(r"^--- (\S+)", diff, re.MULTILINE)[0]
    lines = tuple(f"{line[0]} {line[1:].strip()}" for line in _hunks(diff) if line[:1] in ("-", "+"))
    source = (root / path).read_text()
    first, last = extent(source, name)
    expected = first + changed_line(diff) - 1
    texts = dict(enumerate(source.splitlines(), 1))
    removed = [line[2:] for line in lines if line[0] == "-"]
    same = [number for number in range(first, last + 1) if removed and texts[number].strip() == removed[0]]
    return Change(path, min(same or [expected], key=lambda number: abs(number - expected)), lines)


def extent(source: str, name: str) -> tuple[int, int]:
    """The first and the last line of the function that a mutant is made from."""
    match = NAME.search(name)
    assert match, name
    body: list[ast.stmt] = ast.parse(source).body
    for node in body:
        if isinstance(node, ast.ClassDef) and node.name == match["owner"]:
            body = node.body
    for node in body:
        if isinstance(node, ast.FunctionDef) and node.name == match["function"]:
            return node.lineno, node.end_lineno or node.lineno
    raise LookupError(name)


def changed_line(diff: str) -> int:
    """The line of a diff's old side where it changes first."""
    line = 0
    for text in _hunks(diff):
        if match := HUNK.match(text):
            line = int(match[1])
        elif text[:1] in "-+":
            return line
        else:
            line += 1
    return line


def _hunks(diff: str) -> Iterator[str]:
    lines = iter(diff.splitlines())
    for line in lines:
        if HUNK.match(line):
            yield line
            yield from lines
