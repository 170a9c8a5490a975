"""The commands that only read: plan, status, receipt, show."""

from __future__ import annotations

from pathlib import Path

import click

from dreamcatcherd.cli.common import (
    base_of,
    configuration,
    on_repository,
    open_primary,
    plain,
    with_json,
    write_json,
    write_table,
)
from dreamcatcherd.cli.present import all_troubles
from dreamcatcherd.cli.receipt_lines import receipt_lines
from dreamcatcherd.cli.usage import WholeNumber
from dreamcatcherd.core.codec import MAX_FRAME, canonical
from dreamcatcherd.core.errors import RefusedError
from dreamcatcherd.core.export import public_record
from dreamcatcherd.core.ledger import ClaimRow, Ledger
from dreamcatcherd.core.model import Json
from dreamcatcherd.core.report import promised, status_json
from dreamcatcherd.daemon.cycle import draft_ledger
from dreamcatcherd.daemon.opening import open_store, primary_of
from dreamcatcherd.history.ledger_index import ledger_index
from dreamcatcherd.history.queries import entities, view
from dreamcatcherd.history.receipts import known_receipts

_FRAME = WholeNumber(0, MAX_FRAME)


@click.command(short_help="Show what merge would do now; write nothing.")
@on_repository
@with_json
def plan(repo: str | None, config_file: Path | None, as_json: bool) -> None:
    """Show what `merge` would do now, conflicts, quarantines and claims included; write nothing."""
    primary = open_primary(repo, config_file)
    primary.store.keep_in_memory()
    ledger = draft_ledger(primary, primary.read_inbox(), "plan")
    primary.store.discard()
    if as_json:
        write_json(ledger)
        return
    click.echo(f"frame {ledger.frame} would close with digest {ledger.snapshot}")
    found = [(row.path, row.stream_id, "late" if row.late else "merged") for row in ledger.deltas]
    found += [(row.path, row.stream_id, "duplicate") for row in ledger.duplicates]
    found += [(row.path, row.stream_id, f"held for frame {row.frame}") for row in ledger.held]
    found += [(row.path, "", f"quarantined: {row.reason}, {row.detail}") for row in ledger.quarantined]
    if found:
        write_table("deltas", ("path", "stream", "outcome"), found)
    else:
        click.echo("no deltas are pending")
    if ledger.claims:
        columns = ("collection", "key", "stream", "outcome", "holder", "until")
        write_table("claims", columns, map(_claim_cells, ledger.claims))
    if ledger.conflicts:
        write_table("conflicts", ("collection", "key", "field", "winner", "loser", "lost value"), _conflicts(ledger))
    if ledger.violations:
        rows = [(row.kind, row.path, row.commit, row.author, row.detail) for row in ledger.violations]
        write_table("violations", ("kind", "path", "commit", "author", "detail"), rows)


def _claim_cells(row: ClaimRow) -> tuple[object, ...]:
    return (row.collection, _text(row.key), row.stream_id, row.outcome, row.holder, row.until)


def _conflicts(ledger: Ledger) -> list[tuple[object, ...]]:
    return [
        (row.collection, _text(row.key), row.field, row.winner.stream_id, row.loser.stream_id, _text(row.value))
        for row in ledger.conflicts
    ]


def _text(value: Json) -> str:
    return canonical(value).decode()


@click.command(short_help="Show the open frame, pending deltas, lag and troubles.")
@on_repository
@with_json
def status(repo: str | None, config_file: Path | None, as_json: bool) -> None:
    """Show the open frame, the pending deltas by stream, the last snapshot, the lag, and every present trouble.

    Troubles are those that the repository shows, and those that its daemon reports at the address of [http] listen."""
    config, url = configuration(repo, config_file)
    store = open_store(config.repository, url)
    primary = primary_of(config, store)
    inbox = primary.read_inbox()
    primary.streams.update(store, inbox.published)
    pending = primary.pending(inbox)
    troubles = all_troubles(pending, config, store)
    now = primary.clock()
    if as_json:
        write_json(status_json(pending, now, troubles))
        return
    total = sum(pending.streams.values())
    if promised(pending.closes_at, now):
        closes = f"closes at {pending.closes_at}"
    else:
        closes = f"was due at {pending.closes_at}" if pending.closes_at else "closes at no set time"
    click.echo(f"frame {pending.frame} is open since {pending.opened_at}, {closes}")
    closed = "none yet" if pending.last_closed is None else pending.last_closed
    click.echo(f"last closed: {closed}, digest {pending.digest}")
    click.echo(f"pending: {total}, of them held for later frames: {pending.held}; behind {pending.behind_s:.1f} s")
    if pending.streams:
        write_table("pending", ("stream", "deltas"), pending.streams.items())
    for one in troubles:
        since = f" (since {one.since})" if one.since else ""
        click.echo(f"trouble: {plain(one.what)}{since}\n         {plain(one.remedy)}")


@click.command("receipt", short_help="Show the outcome of a delta, and what it lost.")
@click.argument("path_or_blob", metavar="PATH_OR_BLOB_OR_KEY")
@on_repository
@with_json
def receipt_command(path_or_blob: str, repo: str | None, config_file: Path | None, as_json: bool) -> None:
    """Show the outcome of a delta: pending, merged, late, duplicate or quarantined, and the fields it lost.

    It is named by its path in the repository, its blob id (`git hash-object FILE`), or its order key: frame,
    utc, stream_id and content id joined by `/`, percent-encoded, the last two optional; or a stamp as JSON. Each pushed
    version has its own line. Exit code 1 if the delta is unknown."""
    primary = open_primary(repo, config_file)
    found = known_receipts(primary.store, primary.read_inbox(), path_or_blob, ledger_index(primary.store))
    if as_json:
        write_json(found)
        return
    for row in found:
        where = f" in frame {row.frame}" if row.frame is not None else ""
        why = f" ({row.reason})" if row.reason else ""
        click.echo(f"{plain(row.path)} {row.blob[:12]}: {row.outcome}{why}{where}")
        for line in receipt_lines(row):
            click.echo(f"  {line}")


@click.command(short_help="Show the entities of a collection.")
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
    books), book_progress (their progress), extra/<section> and those that state/dreamcatcher.toml adds. The parts of a
    key are joined by `/`, each percent-encoded; the first parts alone select all keys that begin with them."""
    primary = open_primary(repo, config_file)
    found = entities(primary.store, view(primary.store, base_of(primary), frame), collection, key)
    if key is not None and not found:
        raise RefusedError(f"{collection} has no {key!r}", f"list the keys: dreamcatcherd show {collection}")
    records = [public_record(item) for item in found]
    if as_json:
        write_json(records)
        return
    for record in records:
        click.echo(plain(_text({name: value for name, value in record.items() if name not in ("_stamp", "_stamps")})))
