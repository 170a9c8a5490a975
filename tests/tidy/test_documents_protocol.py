"""The reference, docs/protocol.md, is complete: it has every reason, row, command and option that the code has."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import get_args, get_type_hints

import click
import msgspec
import pytest

from dreamcatcherd.cli import cli
from dreamcatcherd.core.codec import canonical
from dreamcatcherd.core.ledger import Counts, Ledger, SettingsChange
from dreamcatcherd.core.model import Json, Reason
from tests.tidy.house import ROOT, documents
from tests.tidy.test_documents import FENCE, named, slug

PROTOCOL = (ROOT / "docs/protocol.md").read_text()
CELL = re.compile(r"(?<!\\)\|")
EVERYWHERE = frozenset({"--repo", "--config", "--json"})
"""Options of nearly all commands, which the page names once and not in each row."""


def part(heading: str) -> str:
    """A section of the page, up to the next heading of any level."""
    text = PROTOCOL[re.search(rf"^#+ {heading}\n", PROTOCOL, re.MULTILINE).end() :]  # type: ignore[union-attr]
    return re.split(r"^#+ ", text, maxsplit=1, flags=re.MULTILINE)[0]


def tables(text: str) -> Iterator[list[str]]:
    """The tables of a text, each as its lines."""
    rows: list[str] = []
    for line in [*FENCE.sub("", text).splitlines(), ""]:
        if line.startswith("|"):
            rows.append(line)
        elif rows:
            yield rows
            rows = []


def cells(row: str) -> list[str]:
    """The cells of one line of a table."""
    return [cell.strip() for cell in CELL.split(row)[1:-1]]


def table_under(heading: str, first: str) -> list[list[str]]:
    """The rows of the table of a section whose first column has this name, as cells."""
    (found,) = [rows for rows in tables(part(heading)) if cells(rows[0])[0] == first]
    return [cells(row) for row in found[2:]]


def names(text: str) -> list[str]:
    """What a cell has in code spans."""
    return re.findall(r"`([^`]+)`", text)


@pytest.mark.parametrize("document", documents(), ids=named)
def test_every_table_is_well_formed(document: Path) -> None:
    """Each row of a table has as many cells as the head of the table, and closes the code spans that it opens."""
    wrong = []
    for rows in tables(document.read_text()):
        assert set("".join(cells(rows[1]))) <= set("-:"), rows[0]
        wrong += [row for row in rows if len(cells(row)) != len(cells(rows[0])) or row.count("`") % 2]
    assert wrong == []


def test_each_reason_of_a_quarantine_has_a_row_of_its_own() -> None:
    """The table has the reasons of the code, one a row, in the order in which they are judged."""
    assert [reason for reason, *_ in table_under("Quarantine", "reason")] == [f"`{one}`" for one in get_args(Reason)]


def test_the_contents_name_every_section() -> None:
    """The list at the top of the page links to all sections of the first level, in their order."""
    (contents,) = re.findall(r"^\*\*Contents:\*\* (.+?)\n\n", PROTOCOL, re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^## (.+)$", FENCE.sub("", PROTOCOL), re.MULTILINE)
    assert re.findall(r"\(#([^)]+)\)", contents) == [slug(heading) for heading in headings]


def fields(struct: type[msgspec.Struct]) -> tuple[set[str], set[str]]:
    """The fields that every row has, and those that a row has only sometimes: it leaves out what has its default."""
    described = msgspec.structs.fields(struct)
    leaves_out = struct.__struct_config__.omit_defaults
    sometimes = {field.encode_name for field in described if leaves_out and not field.required}
    return {field.encode_name for field in described} - sometimes, sometimes


LISTS = {
    name: get_args(hint)[0]
    for name, hint in get_type_hints(Ledger).items()
    if get_args(hint) and name not in ("previous", "settings", "settings_change")
}
"""The lists of a ledger, and what a row of each is."""


@pytest.mark.parametrize("name", LISTS)
def test_the_rows_of_a_ledger_have_the_fields_that_the_page_gives(name: str) -> None:
    """For each list of a ledger the table has its order, the fields of every row, and the fields of some rows."""
    rows = {names(row[0])[0]: row for row in table_under("The ledger", "list")}
    _, always, sometimes, order = rows[name]
    expected = fields(LISTS[name]) if LISTS[name] is not str else (set(), set())
    assert (set(names(always)), set(names(sometimes))) == expected
    assert order


def test_a_ledger_has_the_members_that_the_page_gives() -> None:
    """The list of members is complete, and so are the tables of lists and of counts, and the fields of a change of the
    settings."""
    text = part("The ledger")
    (members,) = re.findall(r"^`(\{\"frame\", .+?\})`", text, re.MULTILINE | re.DOTALL)
    assert sorted(re.findall(r"\"(\w+)\"", members)) == sorted(Ledger.__struct_fields__)
    assert {names(row[0])[0] for row in table_under("The ledger", "list")} == set(LISTS)
    assert [names(row[0])[0] for row in table_under("The ledger", "count")] == list(Counts.__struct_fields__)
    change = ", ".join(f'"{name}"' for name in SettingsChange.__struct_fields__)
    assert f"`{{{change}}}`" in text


def _content(row: Json) -> str:
    """The content id of a version, which its row leaves out where it is the blob id."""
    return str(row.get("content_id", row["blob"]))


ORDERS: dict[str, Callable[[Json], object]] = {
    "stamp": lambda row: (row["frame"], row["utc"], row["stream_id"], _content(row)),
    "frame, content id": lambda row: (row["frame"], _content(row)),
    "path, blob, source, commit": lambda row: (row["path"], row["blob"], row["source"]),
    "path, blob, section, why": lambda row: (row["path"], row["blob"], row["section"]),
    "the row in [canonical JSON](#canonical-json), by its bytes": canonical,
    "collection and key as a list in canonical JSON, by its bytes; then stamp and position": lambda row: (
        canonical([row["collection"], row["key"]]), row["stamp"],
    ),
    "the book in canonical JSON, by its bytes": lambda row: canonical(row["book"]),
}  # fmt: skip
"""How rows are sorted, by the words of the page. Vectors have names for commits and leave prose out."""


def test_the_rows_of_the_vectors_are_in_the_order_that_the_page_gives() -> None:
    """In every ledger of the test vectors each list is sorted as the table says."""
    orders = {names(row[0])[0]: row[3] for row in table_under("The ledger", "list")}
    seen = set()
    for file in sorted((ROOT / "conformance").glob("*/*.json")):
        vectors = json.loads(file.read_text())
        frames = [frame for case in vectors["cases"] for frame in _frames(vectors["kind"], case)]
        for frame in frames:
            for name, order in orders.items():
                rows = [json.loads(row) for row in frame["ledger"].get(name, ())]
                rows = [{"frame": int(frame["frame"]), **row} for row in rows] if name == "deltas" else rows
                if order in ORDERS:
                    assert rows == sorted(rows, key=ORDERS[order]), (file, name)  # type: ignore[arg-type]
                seen |= {name} if len(rows) > 1 else set()
    assert {name for name, order in orders.items() if order not in ORDERS} == {"violations", "missing"}
    assert seen >= {"deltas", "duplicates", "misfits", "quarantined", "conflicts", "claims", "books"}


def _frames(kind: str, case: Json) -> list[Json]:
    """The frames that a case closes."""
    return list(case["expect"].get("frames", ())) if kind == "history" else []


def commands(command: click.Command, path: str = "") -> Iterator[tuple[str, click.Command]]:
    """Every command that does something, by what is typed."""
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            if below := command.get_command(context, name):
                yield from commands(below, f"{path} {name}".strip())
    if path and not (isinstance(command, click.Group) and not command.invoke_without_command):
        yield path, command


COMMANDS = dict(commands(cli))


@pytest.mark.parametrize("path", COMMANDS)
def test_a_row_has_the_options_of_its_command(path: str) -> None:
    """The rows of a command name each of its options, in the long form or in the short one."""
    rows = [row for row in table_under("Commands", "command") if re.search(rf"`{path}[` ]", row[0])]
    assert rows, f"no row begins with {path}"
    text = " ".join(cell for row in rows for cell in row)
    options = [option for option in COMMANDS[path].params if isinstance(option, click.Option)]
    left_out = [
        option.opts
        for option in options
        if EVERYWHERE.isdisjoint(option.opts)
        and not any(re.search(rf"(?<![\w-]){name}(?![\w-])", text) for name in option.opts)
    ]
    assert left_out == []


def test_the_commands_without_repository_and_configuration_are_named() -> None:
    """The page names the commands that take no `--repo`, and those that take no `--config`."""
    (said,) = re.findall(r"\*Chosen:\* (`[^.]+?) take neither, and (.+?) take no `--repo`", part("Commands"), re.DOTALL)

    def lacking(option: str) -> set[str]:
        return {path for path, one in COMMANDS.items() if all(option not in given.opts for given in one.params)}

    neither = lacking("--repo") & lacking("--config")
    assert set(names(said[0])) == neither
    assert set(names(said[1])) == lacking("--repo") - neither
    assert lacking("--config") <= neither
