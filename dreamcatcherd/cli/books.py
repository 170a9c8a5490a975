"""The commands about books: the shelf, one book, and books as files."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

import click
import msgspec

from dreamcatcherd.cli.bookforms import as_epub, as_markdown, book_json
from dreamcatcherd.cli.common import (
    base_of,
    on_repository,
    open_primary,
    plain,
    with_json,
    write_json,
    write_table,
)
from dreamcatcherd.cli.files import write_file
from dreamcatcherd.cli.usage import CommandGroup, WholeNumber
from dreamcatcherd.core.books.library import Folder
from dreamcatcherd.core.books.shelf import ShelfEntry, catalogue, chapter_entries, shelf
from dreamcatcherd.core.codec import MAX_FRAME
from dreamcatcherd.core.collections import DERIVED, LIBRARY, Table
from dreamcatcherd.core.errors import RefusedError, UsageError
from dreamcatcherd.core.keys import key_part
from dreamcatcherd.core.model import Json, Record
from dreamcatcherd.core.snapshot import get_keyed, open_snapshot
from dreamcatcherd.core.tree import Reader
from dreamcatcherd.history.queries import view

_FORMS: dict[str, Callable[[Record], bytes]] = {"json": book_json, "markdown": as_markdown, "epub": as_epub}
_SUFFIXES = {".json": "json", ".md": "markdown", ".markdown": "markdown", ".epub": "epub"}

_at_frame = click.option(
    "--frame", type=WholeNumber(0, MAX_FRAME), help="The snapshot after this frame, instead of the newest."
)


class _Shelf(NamedTuple):
    """An opened snapshot."""

    store: Reader
    tree: str | None
    state: Folder
    table: Table


def _open(repo: str | None, config_file: Path | None, frame: int | None) -> _Shelf:
    """The newest snapshot, or the one after a frame. Options before the sub-command count if it has none itself."""
    above = click.get_current_context().parent
    given = above.params if above and above.command is books else {}
    frame = given.get("frame") if frame is None else frame
    primary = open_primary(repo or given.get("repo"), config_file or given.get("config_file"))
    seen = view(primary.store, base_of(primary), frame)
    return _Shelf(primary.store, seen.tree, open_snapshot(primary.store, seen.tree).state, seen.settings.table)


@click.group(
    cls=CommandGroup, invoke_without_command=True, short_help="Show the books: progress, missing chapters, authors."
)
@_at_frame
@on_repository
@with_json
@click.pass_context
def books(context: click.Context, frame: int | None, repo: str | None, config_file: Path | None, as_json: bool) -> None:
    """Show the shelf: every book, its progress, missing chapters, authors, and when it was published.

    A book is published in the frame in which the number of its written chapters reaches its `target_chapters`."""
    if context.invoked_subcommand is not None:
        return
    opened = _open(repo, config_file, frame)
    found = shelf(opened.store, opened.state, opened.table)
    if as_json:
        write_json(found)
        return
    if not found:
        click.echo("there are no books yet: a delta begins one with books_started", err=True)
        return
    columns = ("book", "title", "chapters", "missing", "authors", "published")
    write_table("the shelf", columns, [_row(one) for one in found])


def _row(one: ShelfEntry) -> tuple[object, ...]:
    target = "?" if one.target is None else one.target
    names = [str(author) for author in one.authors]
    who = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return (one.book, one.title, f"{one.chapters} of {target}", _spans(one), who, one.published_at or "")


def _spans(one: ShelfEntry) -> str:
    """The missing numbers, with runs as `3-9`."""
    spans: list[list[int]] = []
    for number in one.missing:
        if spans and spans[-1][1] == number - 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    texts = [str(first) if first == last else f"{first}-{last}" for first, last in spans[:8]]
    hidden = one.missing_total - sum(last - first + 1 for first, last in spans[:8])
    return ", ".join(texts) + (f" and {hidden} more" if hidden else "")


@books.command("show", short_help="Show one book: its chapters and their authors.")
@click.argument("book")
@_at_frame
@on_repository
@with_json
def show_book(book: str, frame: int | None, repo: str | None, config_file: Path | None, as_json: bool) -> None:
    """Show one BOOK: its chapters and their authors, chapters with several authors, and the compiled object."""
    opened = _open(repo, config_file, frame)
    found = _shelved(opened, book)
    chapters = chapter_entries(opened.store, opened.state, opened.table, found.book)
    entry = _entry(opened, found.book)
    if as_json:
        bound = {"object": entry["object"], "alternates": entry["alternates"]} if entry else {}
        row = msgspec.to_builtins(found)
        write_json({**row, "contents": chapters, "object": None, "alternates": [], **bound})
        return
    click.echo(f"{plain(found.title or found.book)} ({plain(found.book)})")
    click.echo(_progress(found))
    if found.missing:
        click.echo(f"missing numbers: {_spans(found)}")
    if found.unnumbered:
        click.echo(f"without a number, and so in no book: {', '.join(map(plain, found.unnumbered))}")
    rows = [
        (one.number, one.title, one.author, one.word_count, ", ".join(map(str, one.alternates))) for one in chapters
    ]
    write_table("chapters", ("number", "title", "author", "words", "also written by"), rows)


def _progress(one: ShelfEntry) -> str:
    if one.published:
        return f"published: complete since {one.published_at}, {one.word_count} words, fingerprint {one.fingerprint}"
    if one.target is None:
        return f"{one.chapters} chapters are written; no title page says how many there will be (target_chapters)"
    return f"being written: {one.chapters} of {one.target} chapters"


@books.command("export", short_help="Write a published book as JSON, Markdown or EPUB.")
@click.argument("book")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="The output file. [default: stdout]"
)
@click.option(
    "--format", "form", type=click.Choice(list(_FORMS)), help="The format. [default: by FILE's suffix, else json]"
)
@_at_frame
@on_repository
@with_json
def export_book(
    book: str,
    output: Path | None,
    form: str | None,
    frame: int | None,
    repo: str | None,
    config_file: Path | None,
    as_json: bool,
) -> None:
    """Write a published BOOK as BookRappter JSON, Markdown or EPUB: the same book gives the same bytes."""
    form = form or _SUFFIXES.get(output.suffix.lower() if output else "", "json")
    if output is None and form == "epub" and sys.stdout.isatty():
        raise UsageError("an EPUB cannot be shown on a terminal", "name a file: -o BOOK.epub")
    opened = _open(repo, config_file, frame)
    found = _shelved(opened, book)
    entry = _entry(opened, found.book)
    if entry is None:
        raise RefusedError(f"{plain(found.book)} is not published yet: {_progress(found)}", "wait for its last chapter")
    raw = _FORMS[form](entry["object"])
    if output is None:
        sys.stdout.buffer.write(raw)
        sys.stdout.buffer.flush()
        return
    write_file(output, [raw])
    if as_json:
        write_json({"book": found.book, "file": str(output), "format": form, "fingerprint": found.fingerprint})
    else:
        click.echo(f"wrote {output}: {form}, fingerprint {found.fingerprint}")


@books.command("catalogue", short_help="List all published books as library.json does.")
@_at_frame
@on_repository
@with_json
def catalogue_command(frame: int | None, repo: str | None, config_file: Path | None, as_json: bool) -> None:
    """Write all published books as the platform's library.json lists them: JSON in any case."""
    opened = _open(repo, config_file, frame)
    write_json(catalogue(opened.store, opened.state, opened.table))


def _shelved(opened: _Shelf, book: str) -> ShelfEntry:
    found = shelf(opened.store, opened.state, opened.table, [_key(book)])
    if not found:
        raise RefusedError(f"there is no book {plain(book)!r}", "list them: dreamcatcherd books")
    return found[0]


def _key(book: str) -> Json:
    """A book's key from the command line, as `show` takes it: percent-encoded, a decimal number for an integer."""
    return key_part(unquote(book))


def _entry(opened: _Shelf, book: Json) -> Record | None:
    folders = open_snapshot(opened.store, opened.tree)
    item = get_keyed(opened.store, folders, DERIVED[LIBRARY], [book])
    return item.record if item else None
