"""A machine without root or packages: tests that need more are skipped, and say what is missing and how to get it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from tests.tidy.house import ROOT

MODULES = sorted((ROOT / "tests").rglob("*.py"))
PROGRAMS = frozenset(
    {
        *("buildah", "chromium", "crun", "curl", "docker-compose", "faketime", "fcgiwrap", "git-daemon", "groff"),
        *("git-http-backend", "mmdebstrap", "nginx", "nsenter", "openssl", "podman", "prometheus", "promtool"),
        *("gcc", "spin", "ssh", "ssh-keygen", "sshd", "systemd-analyze", "systemd-nspawn", "unshare"),
    }
)
"""What `make packages` installs, and what a small system may lack. Beside git, Python and make, every other program
that tests start is in an essential package of Debian."""

MISSING = re.compile(r"no [^:]+: \w")
"""How the reason of a skip begins: what there is none of, and what to do about it."""


def started(tree: ast.AST) -> Iterator[str]:
    """The first word of each command with arguments that a module has as a list, and of each line that it splits."""
    for node in ast.walk(tree):
        match node:
            case ast.List(elts=[ast.Constant(value=str(name)), _, *_]):
                yield name
            case ast.Call(func=ast.Attribute(value=ast.Constant(value=str(line)), attr="split"), args=[]):
                yield line.partition(" ")[0]


def asked_for(tree: ast.AST) -> set[str]:
    """The programs that a module asks for, by a function, by the marker `needs`, or in a tuple of programs."""
    found: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id="need" | "missing" | "program") | ast.Attribute(attr="needs"), args=words):
                found |= set(map(text, words))
            case ast.Assign(targets=[ast.Name(id="programs" | "PROGRAMS")], value=ast.Tuple(elts=words)):
                found |= set(map(text, words))
            case ast.AnnAssign(target=ast.Name(id="programs"), value=ast.Tuple(elts=words)):
                found |= set(map(text, words))
    return found


def reasons(tree: ast.AST) -> Iterator[str]:
    """The reason of each skip in a module that is written there; `…` for what is put in."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id="do_without") | ast.Attribute(attr="skip"), args=[reason]) if not isinstance(
                reason, ast.Name
            ):
                yield text(reason)
            case ast.Call(func=ast.Attribute(attr="skipif"), keywords=keywords):
                yield from (text(one.value) for one in keywords if one.arg == "reason")


def text(value: ast.expr) -> str:
    """A string as it is written in a module, as far as it is."""
    match value:
        case ast.Constant(value=str(said)):
            return said
        case ast.JoinedStr(values=values):
            return "".join(text(one) for one in values)
    return "…"


def test_what_may_be_missing_is_asked_for_and_named() -> None:
    """A module that starts such a program asks for it, so that its tests are skipped where it is missing; the reason of
    every skip says what is missing and what to do, as in `no sshd: run make packages as root`."""
    said = []
    for path in MODULES:
        tree = ast.parse(path.read_text())
        assert PROGRAMS & set(started(tree)) - asked_for(tree) == set(), path
        said += [(path.name, reason) for reason in reasons(tree)]
    assert len(said) > 10
    assert [(name, reason) for name, reason in said if not MISSING.match(reason)] == []


def test_commands_and_reasons_are_found_in_each_form() -> None:
    """The two rules see lists, split lines, literal reasons and formatted ones."""
    source = """
run(["nginx", "-t"])
words = "openssl req -x509".split()
pytest.skip("sorry")
do_without(f"no {name}: make packages")
@pytest.mark.skipif(True, reason="never")
@pytest.mark.needs("curl", "ssh")
def f(): need("sshd")
"""
    tree = ast.parse(source)
    assert set(started(tree)) == {"nginx", "openssl"}
    assert asked_for(tree) == {"curl", "ssh", "sshd"}
    assert sorted(reasons(tree)) == ["never", "no …: make packages", "sorry"]
    assert [bool(MISSING.match(said)) for said in ("never", "no …: make packages", "no sshd")] == [False, True, False]
