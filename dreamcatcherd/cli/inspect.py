"""The commands that look and change nothing: plan, status, receipt, show, log."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import unquote

import click

from dreamcatcherd.cli.common import (
    base_of,
    ledger_of,
    on_repository,
    open_primary,
    plain,
    with_json,
    write_json,
    write_table,
)
from dreamcatcherd.core.codec import MAX_FRAME, canonical
from dreamcatcherd.core.collections import EXTRA, Collection
from dreamcatcherd.core.errors import RefusedError
from dreamcatcherd.core.export import in_order, public_record
from dreamcatcherd.core.ledger import Ledger
from dreamcatcherd.core.model import Json, Record
from dreamcatcherd.core.records import key_part, natural_key
from dreamcatcherd.core.report import status_json
from dreamcatcherd.core.settings import Settings, read_settings
from dreamcatcherd.core.snapshot import Item, get_keyed, items, open_snapshot
from dreamcatcherd.core.summary import frame_summary
from dreamcatcherd.daemon.cycle import draft, look
from dreamcatcherd.daemon.primary import Phases
from dreamcatcherd.store.history import closed_frames, receipts
from dreamcatcherd.store.ports import Store

_FRAME = click.IntRange(0, MAX_FRAME)


@click.command()
@on_repository
@with_json
def plan(repo: str | None, config_file: Path | None, as_json: bool) -> None:
    """Say what `merge` would do now, conflicts and quarantines included; write nothing."""
    primary = open_primary(repo, config_file)
    primary.store.spills = False
    phases = Phases()
    survey, refused = primary.survey(phases)
    ledger = draft(primary, survey, refused, "plan", phases).ledger
    primary.store.discard()
    if as_json:
        write_json(ledger)
        return
    click.echo(f"frame {ledger.frame} would close with digest {ledger.snapshot}")
    write_table(
        "deltas",
        ("path", "stream", "outcome"),
        [(row.path, row.stream_id, "late" if row.late else "merged") for row in ledger.deltas]
        + [(row.path, row.stream_id, "duplicate") for row in ledger.duplicates]
        + [(row.path, row.stream_id, f"held for frame {row.frame}") for row in ledger.held]
        + [(row.path, "", f"quarantined: {row.reason}, {row.detail}") for row in ledger.quarantined],
    )
    if ledger.conflicts:
        write_table("conflicts", ("collection", "key", "field", "winner", "loser", "lost value"), _conflicts(ledger))
    if ledger.violations:
        rows = [(row.kind, row.path, row.commit, row.author, row.detail) for row in ledger.violations]
        write_table("violations", ("kind", "path", "commit", "author", "detail"), rows)


def _conflicts(ledger: Ledger) -> list[tuple[object, ...]]:
    return [
        (row.collection, _text(row.key), row.field, row.winner[2], row.loser[2], _text(row.value))
        for row in ledger.conflicts
    ]


def _text(value: Json) -> str:
    return canonical(value).decode()


@click.command()
@on_repository
@with_json
def status(repo: str | None, config_file: Path | None, as_json: bool) -> None:
    """Show the open frame, the deltas that wait by stream, the last snapshot, and the lag."""
    pending = look(open_primary(repo, config_file))[0].pending
    if as_json:
        write_json(status_json(pending))
        return
    total = sum(pending.streams.values())
    click.echo(
        f"frame {pending.frame} is open since {pending.opened_at}, closes at {pending.closes_at or 'no set time'}"
    )
    click.echo(f"last closed: {pending.last_closed}, digest {pending.digest}")
    click.echo(f"pending: {total}, of them held for later frames: {pending.held}; behind {pending.behind_s:.1f} s")
    if pending.streams:
        write_table("pending", ("stream", "deltas"), pending.streams.items())


@click.command()
@click.argument("path_or_blob")
@on_repository
@with_json
def receipt(path_or_blob: str, repo: str | None, config_file: Path | None, as_json: bool) -> None:
    """Tell what became of a delta: pending, merged, late, duplicate or quarantined, and the fields it lost.

    PATH_OR_BLOB is the delta's path in the repository, its blob id (`git hash-object FILE`), or its order key: frame,
    utc, stream_id and content id joined by `/`, percent-encoded, the last two optional; or a stamp as JSON. Every
    version that was pushed has a line of its own. Exit code 1 where nothing is known of it."""
    primary = open_primary(repo, config_file)
    survey, _ = primary.survey(Phases())
    found = receipts(primary.store, survey.base, survey.arrivals, path_or_blob.removeprefix("./"))
    if not found:
        remedy = "check the path (state/stream_deltas/…), blob id or key, and that the push was accepted"
        raise RefusedError(f"no delta {path_or_blob!r} has arrived", remedy)
    if as_json:
        write_json(found)
        return
    for row in found:
        where = f" in frame {row.frame}" if row.frame is not None else ""
        why = f" ({row.reason})" if row.reason else ""
        click.echo(f"{plain(row.path)} {row.blob[:12]}: {row.outcome}{why}{where}")
        for lost in row.lost:
            what = f"{lost.collection} {_text(lost.key)} {plain(lost.field)}"
            click.echo(f"  lost {plain(what)} to {plain(lost.winner[2])}: {plain(_text(lost.value))}")


@click.command()
@click.argument("collection")
@click.argument("key", required=False)
@click.option("--frame", type=_FRAME, help="The snapshot after this frame, instead of the newest.")
@on_repository
@with_json
def show(
    collection: str, key: str | None, frame: int | None, repo: str | None, config_file: Path | None, as_json: bool
) -> None:
    """Show the entities of a COLLECTION, or those under KEY.

    Collections are posts, comments, chapters, books, agents, reactions, counters, observations, library (the compiled
    books), book_progress (what they hang on), extra/<section> and those that state/dreamcatcher.toml adds. A key of
    several parts is joined by `/`, each part percent-encoded; its first parts alone show all that begin so."""
    primary = open_primary(repo, config_file)
    base = base_of(primary)
    tree, settings = base.snapshot, base.settings
    if frame is not None:
        ledger = ledger_of(primary, base, frame)
        tree, settings = ledger.snapshot, settings_of(primary.store, ledger)
    found = entities(primary.store, tree, settings, collection, key)
    if key is not None and not found:
        raise RefusedError(f"{collection} has no {key!r}", f"list the keys: dreamcatcherd show {collection}")
    records = [public_record(item) for item in found]
    if as_json:
        write_json(records)
        return
    for record in records:
        click.echo(plain(_text({name: value for name, value in record.items() if name not in ("_stamp", "_stamps")})))


def settings_of(store: Store, ledger: Ledger) -> Settings:
    """The settings that a frame was merged under."""
    return read_settings(store.read(ledger.settings), ledger.settings) if ledger.settings else read_settings(b"")


def entities(store: Store, tree: str | None, settings: Settings, collection: str, key: str | None) -> list[Item]:
    """The entities of a collection under a key as the command line has it; RefusedError for an unknown collection."""
    row = settings.table.get(collection)
    if row is None and not collection.startswith(f"{EXTRA}/"):
        known = ", ".join([*settings.table, f"{EXTRA}/<section>"])
        raise RefusedError(f"there is no collection {collection!r}", f"the collections are {known}")
    folders = open_snapshot(store, tree)
    if row is None or key is None:
        return in_order(list(items(store, folders, settings.table, collection)), row)
    parts = [unquote(part) for part in key.split("/")]
    whole = [key_part(part) for part in parts]
    if row.key and row.content is None and len(whole) == len(row.key):
        item = get_keyed(store, folders, row, list(whole))
        return [item] if item else []
    return in_order(
        [item for item in items(store, folders, settings.table, collection) if _under(row, item, parts)], row
    )


def _under(row: Collection, item: Item, parts: list[str]) -> bool:
    own: Any = natural_key(row, item.record) if row.rule != "append" else []
    own = own if type(own) is list else [own]
    return len(parts) <= len(own) and all(
        (part if type(part) is str else _text(part)) == asked for part, asked in zip(own, parts, strict=False)
    )


@click.command()
@click.option("-n", "--limit", type=click.IntRange(1), help="At most so many frames. [default: all]")
@on_repository
@with_json
def log(limit: int | None, repo: str | None, config_file: Path | None, as_json: bool) -> None:
    """List closed frames, newest first: digest, deltas, streams, conflicts."""
    primary = open_primary(repo, config_file)
    rows: list[Record] = []
    for closed in closed_frames(primary.store, base_of(primary)):
        rows.append(frame_summary(closed.ledger, closed.oid, closed.commit.time))
        if limit is not None and len(rows) >= limit:
            break
    if as_json:
        write_json(rows)
        return
    columns = ("frame", "closed_at", "deltas", "streams", "late", "conflicts", "quarantined", "digest")
    write_table("frames", columns, [[row[column] for column in columns] for row in rows])
