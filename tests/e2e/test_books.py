"""Books end to end: plain-git chapters in, a shelf, published objects and files out (docs/protocol.md#the-merge)."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from dreamcatcherd.cli.authors import bound_books, make_authors
from tests.corpus import CORPUS, needs_corpus
from tests.e2e.test_fleet import remerged
from tests.e2e.tools import Daemon, clone, dc, dc_json, delta, export_of, git, primary_toml, push

OPF = {"o": "http://www.idpf.org/2007/opf", "d": "http://purl.org/dc/elements/1.1/"}
XHTML = {"h": "http://www.w3.org/1999/xhtml"}


def publish(tmp_path: Path, *deltas: str, frame: int = 1, files: dict[str, str] | None = None) -> Path:
    """A repository in which deltas were pushed and a frame closed."""
    repository = tmp_path / "fleet.git"
    if not repository.exists():
        dc("init", str(repository))
    folder = tmp_path / "worker" if (tmp_path / "worker").exists() else clone(repository, tmp_path / "worker")
    git(folder, "pull", "-q", "--rebase", "origin", "main")
    below = f"state/stream_deltas/{frame}"
    push(folder, {f"{below}/d{i}.json": text for i, text in enumerate(deltas)} | (files or {}))
    dc("merge", "--repo", str(repository))
    return repository


PAGE = {"book": "b", "title": "A <Book> & more", "subtitle": "of *tests*", "author": "A & B", "target_chapters": 2}
WILD = "# Head\n\nText <script>alert(1)</script> & \x01 **bold** ![p](http://x/y.png) [l](http://x/)\n\n```\n<a>\n```"


@pytest.fixture(scope="module")
def shelved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with one published book, one that is being written, and one that nobody started."""
    tmp_path = tmp_path_factory.mktemp("books")
    return publish(
        tmp_path,
        delta(1, "s1", books_started=[PAGE, {"book": 7, "target_chapters": 30}]),
        delta(1, "s2", "2026-01-01T00:00:05Z", chapters_added=[
            {"book": "b", "chapter": 1, "author": "x", "title": "One <1>", "part": "P & Q", "content": WILD},
            {"book": "b", "chapter": 2, "author": "x", "part": "P & Q", "content_ref": "two.md"},
            {"book": "7", "chapter": 3, "author": "z", "content": "c"},
            {"book": "new", "chapter": "prologue", "author": 5},
        ]),
        delta(1, "s3", "2026-01-01T00:00:04Z", chapters_added=[{**PAGE, "chapter": 1, "author": "y", "body": "?"}]),
        files={"state/stream_deltas/1/d1/two.md": "From a file.\n"},
    )  # fmt: skip


def test_the_shelf_shows_progress_and_what_is_missing(shelved: Path) -> None:
    """Each book has its row: how far, which numbers are missing, who writes, and when it was complete."""
    rows = dc_json("books", "--repo", str(shelved))
    assert [(row["book"], row["published"], row["chapters"], row["target"]) for row in rows] == [
        (7, False, 1, 30),
        ("b", True, 2, 2),
        ("new", False, 0, None),
    ]
    assert rows[0]["missing"] == [1, 2, *range(4, 31)]
    assert (rows[1]["authors"], rows[1]["published_at"]) == (["x", "y"], "2026-01-01T00:00:05Z")
    assert rows[2]["unnumbered"] == ["prologue"]
    header, *lines = dc("books", "--repo", str(shelved)).splitlines()
    assert header.split("\t") == ["book", "title", "chapters", "missing", "authors", "published"]
    assert lines[0].split("\t") == ["7", "", "1 of 30", "1-2, 4-30", "z", ""]
    assert lines[1].split("\t")[2:] == ["2 of 2", "", "x, y", "2026-01-01T00:00:05Z"]


def test_one_book_is_shown_with_its_authors(shelved: Path) -> None:
    """`books show` names who wrote what and who else did; a key is given as `show` takes it."""
    found = dc_json("books", "show", "b", "--repo", str(shelved))
    assert [(one["number"], one["author"], one["alternates"]) for one in found["contents"]] == [
        (1, "x", ["y"]),
        (2, "x", []),
    ]
    assert found["object"]["chapters"][1]["content"] == "From a file.\n"
    assert found["alternates"][0]["content"] == "?"
    text = dc("books", "show", "7", "--repo", str(shelved))
    assert "being written: 1 of 30 chapters\nmissing numbers: 1-2, 4-30\n" in text
    assert "without a number, and so in no book: prologue" in dc("books", "show", "new", "--repo", str(shelved))
    assert "there is no book 'none'" in dc("books", "show", "none", "--repo", str(shelved), code=1)
    (entry,) = dc_json("show", "library", "b", "--repo", str(shelved))
    assert entry["object"] == found["object"]


def test_a_book_is_exported_as_json_in_the_order_of_the_reference(shelved: Path, tmp_path: Path) -> None:
    """Fields come in the order in which the platform writes them, and the file is the object that `library` holds."""
    raw = dc("books", "export", "b", "--repo", str(shelved))
    made = json.loads(raw)
    assert list(made)[:5] == ["$schema", "id", "title", "subtitle", "author"]
    assert list(made)[-3:] == ["chapters", "metadata", "fingerprint"]
    assert list(made["chapters"][0]) == ["number", "title", "part", "content", "word_count", "discussion_number"]
    assert made == dc_json("books", "show", "b", "--repo", str(shelved))["object"]
    dc("books", "--repo", str(shelved), "export", "b", "-o", "b.json", cwd=tmp_path)
    assert (tmp_path / "b.json").read_text() == raw
    assert [path.name for path in tmp_path.iterdir()] == ["b.json"]


def test_a_book_is_exported_as_markdown(shelved: Path, tmp_path: Path) -> None:
    """Title page, parts, chapters, and what the chapters say as it stands."""
    told = dc_json("books", "export", "b", "-o", "b.md", "--repo", str(shelved), cwd=tmp_path)
    assert told["format"] == "markdown"
    text = (tmp_path / "b.md").read_text()
    assert text.startswith("# A <Book> & more\n\n*of *tests**\n\nby A & B\n\n## P & Q\n\n### 1. One <1>\n\n# Head\n")
    assert text.endswith("### Chapter 2\n\nFrom a file.\n")


def test_an_epub_is_whole_and_the_same_every_time(shelved: Path, tmp_path: Path) -> None:
    """Every part is well-formed, listed and reachable; wild chapters do no harm; the bytes never differ."""
    for name in ("one", "two"):
        dc("books", "export", "b", "--format", "epub", "-o", f"{name}.epub", "--repo", str(shelved), cwd=tmp_path)
    raw = (tmp_path / "one.epub").read_bytes()
    assert raw == (tmp_path / "two.epub").read_bytes()
    archive = zipfile.ZipFile(io.BytesIO(raw))
    assert archive.testzip() is None
    first = archive.infolist()[0]
    assert (first.filename, first.compress_type) == ("mimetype", zipfile.ZIP_STORED)
    assert archive.read("mimetype") == b"application/epub+zip"
    assert raw[30:58] == b"mimetypeapplication/epub+zip"
    container = ElementTree.fromstring(archive.read("META-INF/container.xml"))
    (root,) = container.iter("{urn:oasis:names:tc:opendocument:xmlns:container}rootfile")
    package = ElementTree.fromstring(archive.read(root.attrib["full-path"]))
    assert package.findtext("o:metadata/d:title", "", OPF) == "A <Book> & more"
    assert package.findtext("o:metadata/d:creator", "", OPF) == "A & B"
    modified = package.find("o:metadata/o:meta[@property='dcterms:modified']", OPF)
    assert modified is not None
    assert modified.text == "2026-01-01T00:00:05Z"
    manifest = {item.attrib["id"]: item.attrib["href"] for item in package.iterfind("o:manifest/o:item", OPF)}
    listed = {f"EPUB/{href}" for href in manifest.values()}
    assert listed == set(archive.namelist()) - {"mimetype", "META-INF/container.xml", root.attrib["full-path"]}
    spine = [manifest[item.attrib["idref"]] for item in package.iterfind("o:spine/o:itemref", OPF)]
    pages = [ElementTree.fromstring(archive.read(f"EPUB/{href}")) for href in spine]
    titles = [page.findtext("h:head/h:title", "", XHTML) for page in pages]
    assert titles == ["A <Book> & more", "P & Q", "1. One <1>", "Chapter 2"]
    wild = ElementTree.tostring(pages[2], "unicode", method="text")
    assert "<script>alert(1)</script>" in wild
    assert not [one for page in pages for one in page.iter() if one.tag.endswith(("}script", "}img"))]
    navigation = ElementTree.fromstring(archive.read("EPUB/toc.xhtml"))
    links = [link.attrib["href"] for link in navigation.iterfind(".//h:nav//h:a", XHTML)]
    assert links == spine
    ElementTree.fromstring(archive.read("EPUB/toc.ncx"))


def test_what_cannot_be_exported_is_refused_on_one_line(shelved: Path) -> None:
    """A book that is not finished, and one that nobody knows, end with exit code 1 and the reason."""
    assert "7 is not published yet: being written" in dc("books", "export", "7", "--repo", str(shelved), code=1)
    assert "there is no book" in dc("books", "export", "zzz", "--repo", str(shelved), code=1)
    dc("books", "export", "b", "--format", "pdf", "--repo", str(shelved), code=2)


def test_the_catalogue_has_the_platforms_form(shelved: Path) -> None:
    """Its keys, and those of its rows, are those of the platform's `library.json`; unfinished books are not in it."""
    found = json.loads(dc("books", "catalogue", "--repo", str(shelved)))
    assert [row["id"] for row in found["books"]] == ["b"]
    assert (found["books"][0]["file"], found["books"][0]["status"]) == ("b.json", "complete")
    if CORPUS:
        real = json.loads(Path(CORPUS, "books", "library.json").read_text())
        assert found.keys() == real.keys()
        assert found["_meta"].keys() == real["_meta"].keys()
        assert found["dewey_classes"] == real["dewey_classes"]
        assert found["books"][0].keys() == real["books"][0].keys()


def test_an_older_shelf_is_shown_by_frame(tmp_path: Path) -> None:
    """`--frame` shows the shelf as it stood, while the newest has moved on."""
    for frame in (1, 2):
        written = [{"book": "b", "chapter": frame, "author": "q"}]
        repository = publish(tmp_path, delta(frame, "s", chapters_added=written), frame=frame)
    before, after = (dc_json("books", *words, "--repo", str(repository)) for words in (("--frame", "1"), ()))
    assert (before[0]["chapters"], after[0]["chapters"]) == (1, 2)


@needs_corpus
@pytest.mark.parametrize("order", [1, -1])
def test_the_real_book_split_among_five_workers_is_the_original(tmp_path: Path, order: int) -> None:
    """Five workers on lanes bring a chapter each, by attachment or inline, and the object is the original again."""
    assert CORPUS is not None
    real = json.loads(Path(CORPUS, "books", "data-sloshing.json").read_text())
    repository = tmp_path / "fleet.git"
    dc("init", str(repository))
    names = ("title", "subtitle", "author", "agent_id", "blurb", "version", "genre", "tags")
    for number, one in list(enumerate(real["chapters"]))[::order]:
        folder = clone(repository, tmp_path / f"w{number}")
        record: dict[str, Any] = {"book": real["id"], "author": f"w{number}", **one}
        files = {}
        if number % 2:
            files[f"state/stream_deltas/1/c{number}/text.md"] = record.pop("content")
            record["content_ref"] = "text.md"
        page = {"book": real["id"], "target_chapters": 5, **{name: real[name] for name in names}}
        sections = {"chapters_added": [record]} | ({"books_started": [page]} if number == 2 else {})
        files[f"state/stream_deltas/1/c{number}.json"] = delta(
            1, f"w{number}", f"2026-01-01T00:00:0{number}Z", **sections
        )
        push(folder, files, f"refs/heads/dc/w{number}")
        if number % 2:
            dc("merge", "--repo", str(repository))
    dc("merge", "--repo", str(repository))
    made = json.loads(dc("books", "export", real["id"], "--repo", str(repository)))
    assert made["metadata"].pop("compiled_at") == "2026-01-01T00:00:04Z"
    assert real["metadata"].pop("compiled_at") is None
    assert list(made) == [name for name in real if name != "exportedAt"]
    assert {**made, "fingerprint": 0, "exportedAt": 0} == {**real, "fingerprint": 0, "exportedAt": 0}


def test_twelve_agents_write_three_books_that_finish_themselves(tmp_path: Path) -> None:
    """36 chapters by plain git in parallel, two agents killed mid-push, one overwriting its file: three whole books.

    The same deltas in one commit give the same digest; the ledgers tell when each book was started and published."""
    repository = tmp_path / "fleet.git"
    dc("init", str(repository))
    config = primary_toml(tmp_path, "interval", 1.0)
    (tmp_path / "workers").mkdir()
    authors = make_authors(repository, tmp_path / "workers", 12)
    assert [sum(author.killed for author in authors), sum(author.overwriting for author in authors)] == [2, 1]
    with Daemon(tmp_path, "--repo", str(repository), "--config", str(config)) as daemon:
        for author in authors:
            author.git_s = 600.0
            author.start()
        for author in authors:
            author.join(timeout=900)
        assert [author.failure for author in authors if author.failure] == []
        assert sum(author.wrote for author in authors) == 36
        code, _ = daemon.stop()
        assert code == 0, daemon.text
    dc("merge", "--repo", str(repository))
    state = export_of(repository)["state"]
    books = bound_books({row["book"]: row["object"] for row in state["library"]}, 12)
    assert [book for book in books if not book.holds] == []
    assert len(books) == len(state["library"]) == 3
    assert len(state["chapters"]) == 36
    paths = [row["path"] for row in _merged(repository) if row["stream_id"] == "author-01"]
    assert (len(paths), len(set(paths))) == (3, 1), "three versions of one file, each a delta"
    told = [row for ledger in _ledgers(repository) for row in ledger["books"]]
    for event in ("started", "published"):
        assert sorted(row["book"] for row in told if event in row["events"]) == ["frames", "lanes", "tides"]
    assert remerged(tmp_path, repository) == git(repository, "rev-parse", "main:state/snapshot")


def _ledgers(repository: Path) -> list[Any]:
    names = git(repository, "ls-tree", "-r", "--name-only", "main", "state/ledger").splitlines()
    return [json.loads(git(repository, "show", f"main:{name}")) for name in names]


def _merged(repository: Path) -> list[Any]:
    return [row for ledger in _ledgers(repository) for row in ledger["deltas"]]
