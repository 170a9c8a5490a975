"""The simple model's books: all deltas replayed in the order of their stamps. Shares no code with the package."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from typing import Any

from tests.law.records import key_part

Replayed = list[tuple[Any, list[tuple[str, Any]]]]
"""Each delta's stamp and records (collection, record), by stamp."""


def library(replayed: Replayed, state: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """`book_progress` and `library` of an export whose chapters and books are those of `state`."""
    first: dict[tuple[Any, str, Any], Any] = {}
    ever: dict[Any, set[int]] = {}
    target: dict[Any, int | None] = {}
    done: dict[Any, Any] = {}
    for stamp, records in replayed:
        for name, record in records:
            if name == "chapters" and isinstance(record["chapter"], int):
                ever.setdefault(record["book"], set()).add(record["chapter"])
                row = {"book": record["book"], "what": "chapter", "which": record["chapter"], "_stamp": list(stamp)}
                first.setdefault((record["book"], "chapter", record["chapter"]), row)
            if name == "books" and "target_chapters" in record:
                value = record["target_chapters"]
                if isinstance(value, str) and value.isascii() and value.isdigit() and str(int(value)) == value:
                    value = int(value)
                target[record["book"]] = value if type(value) is int and value >= 1 else None
                row = {"book": record["book"], "what": "target", "which": stamp[3], "_stamp": list(stamp)}
                first[record["book"], "target", stamp[3]] = {**row, "target_chapters": target[record["book"]]}
        for book, wanted in target.items():
            if wanted is not None and len(ever.get(book, ())) >= wanted:
                done.setdefault(book, stamp)
    out = {"book_progress": [first[key] for key in sorted(first, key=lambda key: [_order(part) for part in key])]}
    out["library"] = [_compiled(book, done[book], state) for book in sorted(done, key=_order)]
    return {name: rows for name, rows in out.items() if rows}


def _order(part: Any) -> tuple[int, Any]:
    return (0, part) if isinstance(part, int) else (1, part)


def _compiled(book: Any, stamp: Any, state: dict[str, list[Any]]) -> Any:
    page = next(page for page in state["books"] if page["book"] == book)
    standing: dict[int, Any] = {}
    written = [row for row in state.get("chapters", []) if row["book"] == book and isinstance(row["chapter"], int)]
    for row in written:
        other = standing.get(row["chapter"])
        if other is None or _age(row) > _age(other):
            standing[row["chapter"]] = row
    others = [row for row in written if row is not standing[row["chapter"]]]
    others.sort(key=_age, reverse=True)
    others.sort(key=lambda row: row["chapter"])
    chapters = [_chapter(standing[number]) for number in sorted(standing)]
    words = sum(chapter["word_count"] for chapter in chapters)
    when = datetime.fromtimestamp(stamp[1] // 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    when += f".{stamp[1] % 1_000_000:06}Z" if stamp[1] % 1_000_000 else "Z"
    made = {
        "$schema": "rappterbook-v1",
        "id": str(book),
        **{name: page[name] if page.get(name) is not None else "" for name in TEXTS},
        "agent_id": page.get("agent_id"),
        "version": page["version"] if page.get("version") is not None else 1,
        "tags": page["tags"] if page.get("tags") is not None else [],
        "status": "published",
        "chapters": chapters,
        "metadata": {
            "word_count": words,
            "chapter_count": len(chapters),
            "reading_time_minutes": max(1, round(words / 250)),
            "created_at": _noted(page, "created_at", ""),
            "updated_at": _noted(page, "updated_at", ""),
            "compiled_at": when,
            "source_posts": _noted(page, "source_posts", []),
        },
    }
    raw = json.dumps(made, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()
    made["fingerprint"] = hashlib.sha256(raw).hexdigest()[:16]
    alternates = [
        {**_chapter(row), "author": row["author"], "stamp": max(row["_stamps"].values(), default=None)}
        for row in others
    ]
    return {"book": book, "object": made, "alternates": alternates, "_stamp": list(stamp)}


def _noted(page: Any, name: str, absent: Any) -> Any:
    """A field of the title page, else of its `metadata` object."""
    inner = page["metadata"] if isinstance(page.get("metadata"), dict) else {}
    given = [one[name] for one in (page, inner) if one.get(name) is not None]
    return given[0] if given else absent


TEXTS = ("title", "subtitle", "author", "blurb", "genre")


def _age(row: Any) -> Any:
    return (max(row["_stamps"].values(), default=[]), _order(row["author"]))


def _chapter(row: Any) -> Any:
    texts = [row[name] for name in ("content", "body") if isinstance(row.get(name), str) and row[name]]
    content = texts[0] if texts else ""
    number = key_part(row.get("discussion_number"))
    return {
        "number": row["chapter"],
        "title": row["title"] if isinstance(row.get("title"), str) else "",
        "part": row["part"] if isinstance(row.get("part"), str) else None,
        "content": content,
        "word_count": len(content.split()),
        "discussion_number": number if isinstance(number, int) else None,
    }
