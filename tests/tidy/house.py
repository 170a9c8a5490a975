"""Measures of the house: how the package reads, in figures. `python -m tests.tidy.house` prints them.

The tests of this folder hold some of the figures at a bound; a figure alone proves nothing."""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "dreamcatcherd"

DIALECT = re.compile(
    r"(?<![a-z])(?:upon|whole(?! number)|told|tells?|telling|lies?|lay|stands?|stood|standing|anew|mend(?:s|ed|ing)?"
    r"|of then|(?:is|are) no (?!longer\b|more\b|less\b|one\b)|read over|asked about)(?![a-z])",
    re.IGNORECASE,
)
"""Words of the private English in which this project was once written. Most have a place in good prose, a few times."""


def modules(package: Path = PACKAGE) -> list[Path]:
    """The package's modules, sorted by path."""
    return sorted(package.rglob("*.py"))


def documents(root: Path = ROOT) -> list[Path]:
    """Every document for readers: those at the top, and those in the folders that hold any."""
    folders = (".github", "config", "conformance", "docs")
    return [*sorted(root.glob("*.md")), *(path for name in folders for path in sorted((root / name).rglob("*.md")))]


def lines_in(paths: Iterable[Path]) -> int:
    """How many lines some files have together."""
    return sum(len(path.read_text().splitlines()) for path in paths)


def dialect_words(paths: Iterable[Path]) -> list[str]:
    """Every word of the dialect as `path:line: word`."""
    found = []
    for path in paths:
        for number, line in enumerate(path.read_text().splitlines(), 1):
            found += [f"{path}:{number}: {match[0]}" for match in DIALECT.finditer(line)]
    return found


def comment_lines(path: Path) -> int:
    """How many lines of a module hold a comment, directives to tools left out."""
    tokens = tokenize.generate_tokens(io.StringIO(path.read_text()).readline)
    directive = re.compile(r"#\s*(?:noqa|type:|fmt:)")
    return sum(token.type == tokenize.COMMENT and not directive.match(token.string) for token in tokens)


def public_definitions(path: Path) -> Iterator[tuple[str, ast.AST]]:
    """Public functions, classes and methods of a module, as (name with its class, node)."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield node.name, node
            for inner in node.body if isinstance(node, ast.ClassDef) else ():
                if isinstance(inner, ast.FunctionDef) and not inner.name.startswith("_"):
                    yield f"{node.name}.{inner.name}", inner


def without_docstring(path: Path, documented: frozenset[str]) -> list[str]:
    """Public definitions without a docstring. A method that keeps a Protocol has it there (`documented` names)."""
    return [
        name
        for name, node in public_definitions(path)
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
        and not ast.get_docstring(node)
        and name.rpartition(".")[2] not in (documented if "." in name else ())
    ]


def protocol_methods() -> frozenset[str]:
    """The names of methods that a Protocol of the package documents."""
    found = set()
    for path in modules():
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and any("Protocol" in ast.unparse(base) for base in node.bases):
                found |= {inner.name for inner in node.body if isinstance(inner, ast.FunctionDef)}
    return frozenset(found)


def homonyms() -> dict[str, list[str]]:
    """Public names that more than one module defines at its top level: one name should have one meaning."""
    places: dict[str, list[str]] = defaultdict(list)
    for path in modules():
        names: set[str] = set()
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                names.add(node.name)
            elif isinstance(node, ast.Assign):
                names |= {name.id for target in node.targets for name in ast.walk(target) if isinstance(name, ast.Name)}
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                names.add(node.target.id)
        for name in names:
            if not name.startswith("_"):
                places[name].append(path.relative_to(PACKAGE).as_posix())
    return {name: found for name, found in sorted(places.items()) if len(found) > 1}


def longest_function() -> tuple[int, str]:
    """Lines and name of the longest function."""
    return max(
        ((node.end_lineno or 0) - node.lineno + 1, f"{path.relative_to(ROOT)}:{node.name}")
        for path in modules()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef)
    )


def main() -> int:
    """Print the figures."""
    paths = modules()
    lines = lines_in(paths)
    print(f"{len(paths)} modules, {lines} lines")
    folders: dict[str, int] = defaultdict(int)
    for path in paths:
        folders[path.parent.relative_to(PACKAGE).as_posix()] += path.name != "__init__.py"
    print("files per folder: " + ", ".join(f"{name} {count}" for name, count in sorted(folders.items())))
    print("longest file: {} ({})".format(*max((len(path.read_text().splitlines()), path.name) for path in paths)))
    print("longest function: {} ({})".format(*longest_function()))
    print(f"comments per 1,000 lines: {1000 * sum(map(comment_lines, paths)) / lines:.1f}")
    kept = protocol_methods()
    public = sum(len(list(public_definitions(path))) for path in paths)
    bare = [f"{path.relative_to(ROOT)}:{name}" for path in paths for name in without_docstring(path, kept)]
    print(f"public names without docstring: {len(bare)} of {public} ({100 * len(bare) / public:.1f} %)")
    print(f"homonyms: {len(homonyms())}")
    for name, found in homonyms().items():
        print(f"    {name}: {', '.join(found)}")
    for what, files in (("code", paths), ("documents", documents())):
        words = dialect_words(files)
        print(f"dialect words per 1,000 lines of {what}: {1000 * len(words) / lines_in(files):.1f} ({len(words)})")
        if "--words" in sys.argv:
            print("\n".join(words))
    if "--bare" in sys.argv:
        print("\n".join(bare))
    return 0


if __name__ == "__main__":
    sys.exit(main())
