"""A published book as a file: BookRappter JSON, Markdown, EPUB. The same object always gives the same bytes."""

from __future__ import annotations

import io
import json
import re
import tempfile
import uuid
import zipfile
from itertools import groupby
from pathlib import Path

from markupsafe import Markup, escape

from dreamcatcherd.core.books.compile import in_reference_order
from dreamcatcherd.core.codec import canonical
from dreamcatcherd.core.model import Json, Record

_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_LINE_ENDS = re.compile("\r\n?|\x85")
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202d\u202e]")
"""Characters that control a terminal, or that override the order of letters. Marks that right-to-left scripts need are
kept."""
_MODIFIED = re.compile(rb'(<meta property="dcterms:modified">)[^<]*')
_ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip file can have
_STYLE = "body { margin: 5%; line-height: 1.4; } h1, h2 { line-height: 1.2; } .by { font-style: italic; }"


def book_json(made: Record) -> bytes:
    """The object with its fields in the order of the reference, as the platform writes them."""
    return json.dumps(in_reference_order(made), indent=2, ensure_ascii=True).encode() + b"\n"


def as_markdown(made: Record) -> bytes:
    """Title page, parts and chapters; the chapters' text unchanged except for control characters."""
    lines = [f"# {_one_line(name_of(made))}", ""]
    if made["subtitle"]:
        lines += [f"*{_one_line(escaped_html(made['subtitle']))}*", ""]
    if made["author"]:
        lines += [f"by {_one_line(escaped_html(made['author']))}", ""]
    if made["blurb"]:
        lines += [f"> {_one_line(escaped_html(made['blurb']))}", ""]
    for part, chapters in groupby(made["chapters"], key=lambda chapter: chapter["part"]):
        if part:
            lines += [f"## {_one_line(part)}", ""]
        for chapter in chapters:
            lines += [f"### {_one_line(heading(chapter))}", "", chapter["content"].strip("\n"), ""]
    return _CONTROLS.sub("", _LINE_ENDS.sub("\n", "\n".join(lines))).encode()


def as_epub(made: Record) -> bytes:
    """An EPUB 3 with a page for the title, for each part, and for each chapter below its part."""
    import mkepub  # it compiles its templates when it is imported, which is slow

    metadata = made["metadata"]
    tags = made["tags"] if type(made["tags"]) is list else [made["tags"]]
    book = mkepub.Book(
        _text(name_of(made)),
        author=_text(escaped_html(made["author"])),
        description=_text(escaped_html(made["blurb"])),
        subjects=[_text(escaped_html(subject)) for subject in (made["genre"], *tags) if subject],
        published=metadata["compiled_at"][:10],
    )
    # A random id would give other bytes each time.
    book.uuid = uuid.uuid5(uuid.NAMESPACE_URL, f"rappterbook:{made['id']}:{made['fingerprint']}").urn
    with book.tempdir, tempfile.TemporaryDirectory(prefix="dreamcatcherd-") as folder:
        book.set_stylesheet(_STYLE)
        book.add_page(book.title, _title_page(made))
        for part, chapters in groupby(made["chapters"], key=lambda chapter: chapter["part"]):
            above = book.add_page(_text(part), f"<h1>{_text(part)}</h1>") if part else None
            for chapter in chapters:
                title = _text(heading(chapter))
                book.add_page(title, f"<h2>{title}</h2>\n{_xhtml(chapter['content'])}", above)
        path = Path(folder) / "book.epub"
        book.save(str(path))
        return _settled(path, metadata["compiled_at"])


def name_of(made: Record) -> str:
    """A book's title, else its id."""
    return escaped_html(made["title"]).strip() or str(made["id"])


def escaped_html(value: Json) -> str:
    """A value of the title page, of any type, as text."""
    return value if type(value) is str else canonical(value).decode()


def heading(chapter: Record) -> str:
    """A chapter's number and title."""
    title = chapter["title"].strip()
    return f"{chapter['number']}. {title}" if title else f"Chapter {chapter['number']}"


def _settled(path: Path, moment: str) -> bytes:
    """The archive without the wall clock: files sorted by name after `mimetype`, times from the book alone."""
    stamp = re.sub(r"\.[0-9]+Z$", "Z", moment).encode()
    out = io.BytesIO()
    with zipfile.ZipFile(path) as made, zipfile.ZipFile(out, "w") as settled:
        # EPUB requires `mimetype` as the first file, uncompressed, so that programs find the type at a fixed offset.
        for name in sorted(made.namelist(), key=lambda name: (name != "mimetype", name)):
            raw = made.read(name)
            if name.endswith(".opf"):
                raw = _MODIFIED.sub(rb"\g<1>" + stamp, raw)
            info = zipfile.ZipInfo(name, _ZIP_EPOCH)
            info.external_attr = 0o644 << 16
            info.compress_type = zipfile.ZIP_STORED if name == "mimetype" else zipfile.ZIP_DEFLATED
            settled.writestr(info, raw)
    return out.getvalue()


def _title_page(made: Record) -> str:
    lines = [f"<h1>{_text(name_of(made))}</h1>"]
    if made["subtitle"]:
        lines.append(f"<h2>{_text(escaped_html(made['subtitle']))}</h2>")
    if made["author"]:
        lines.append(f'<p class="by">{_text(escaped_html(made["author"]))}</p>')
    if made["blurb"]:
        lines.append(f"<p>{_text(escaped_html(made['blurb']))}</p>")
    return "\n".join(lines)


def _xhtml(content: str) -> str:
    """Markdown as XHTML. Tags become text, and pictures become links, since an EPUB loads nothing from the network."""
    from markdown_it import MarkdownIt

    renderer = MarkdownIt("commonmark", {"html": False, "xhtmlOut": True}).disable("image")
    return _clean(str(renderer.render(_clean(content))))


def _text(text: str) -> Markup:
    """Escaped text, marked as such: some of the library's templates escape, others do not."""
    return escape(_clean(_one_line(text)))


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _clean(text: str) -> str:
    """The text without the control characters that XML does not allow."""
    return _NOT_XML.sub("", text)
