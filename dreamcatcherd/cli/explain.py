"""The commands that show what changed between two frames and who set a field: diff and explain."""

from __future__ import annotations

from pathlib import Path

import click

from dreamcatcherd.cli.common import base_of, on_repository, open_primary, plain, with_json, write_json
from dreamcatcherd.cli.usage import WholeNumber
from dreamcatcherd.core.codec import MAX_FRAME, calendar_text, canonical
from dreamcatcherd.core.deep import all_stamps
from dreamcatcherd.core.diff import diff_json
from dreamcatcherd.core.entities import last_write
from dreamcatcherd.core.model import Json, Stamp
from dreamcatcherd.core.rules import Entity
from dreamcatcherd.core.snapshot import Item
from dreamcatcherd.history import queries
from dreamcatcherd.history.ledger_index import ledger_index
from dreamcatcherd.history.provenance import Field, Origin, find_origins

_FRAME = WholeNumber(0, MAX_FRAME)


@click.command("diff", short_help="Show what changed between two frames.")
@click.argument("start", metavar="A", type=_FRAME)
@click.argument("end", metavar="B", type=_FRAME)
@on_repository
@with_json
def diff_command(start: int, end: int, repo: str | None, config_file: Path | None, as_json: bool) -> None:
    """Show what changed between the snapshots after frames A and B: added entities, fields with old and new value.

    Without --json, each change has its stream and its delta. Unchanged files are not read, so the cost depends on the
    size of the difference."""
    primary = open_primary(repo, config_file)
    store, base = primary.store, base_of(primary)
    found = queries.diff_frames(store, base, start, end)
    if as_json:
        write_json(diff_json(found, start, end))
        return
    stamps = set().union(*map(_stamps, (item for rows in found.added.values() for item in rows)))
    for changed in (one for rows in found.changed.values() for one in rows):
        stamps |= {stamp for name in changed.fields if (stamp := _stamp(changed.after, name))}
    # Frames may be named in either order; only ledgers between them can have these stamps.
    origins = find_origins(store, base.ledgers, stamps, max(start, end), min(start, end) + 1, ledger_index(store))
    for name, items in found.added.items():
        for item in items:
            sources = "; ".join(_who(stamp, origins) for stamp in sorted(_stamps(item)))
            _say("green", f"+ {name} {_text(item.record)}", sources)
    for name, items in found.removed.items():
        for item in items:
            _say("red", f"- {name} {_text(item.record)}")
    for name, rows in found.changed.items():
        for one in rows:
            _say("yellow", f"~ {name} {_text(one.key)}")
            for field, (before, after) in one.fields.items():
                stamp = _stamp(one.after, field)
                _say(None, f"    {field}: {_text(before)} -> {_text(after)}", _who(stamp, origins) if stamp else "")


def _say(colour: str | None, text: str, who: str = "") -> None:
    """Print a line, coloured on a terminal. Control characters of deltas do not reach it."""
    click.echo(click.style(plain(text), fg=colour) + (click.style(f"  ({plain(who)})", dim=True) if who else ""))


def _text(value: Json) -> str:
    return canonical(value).decode()


def _stamp(item: Item, name: str) -> Stamp | None:
    found = item.stamps.get(name) if isinstance(item.stamps, dict) else item.stamps
    return found if isinstance(found, Stamp) or found is None else max(all_stamps(found))


def _stamps(item: Item) -> set[Stamp]:
    latest = last_write(Entity(item.record, item.stamps, item.deleted, item.latest))
    if not isinstance(item.stamps, dict):
        return {latest} if latest is not None else set()
    return {stamp for name in item.stamps if (stamp := _stamp(item, name)) is not None}


def _who(stamp: Stamp, origins: dict[Stamp, Origin]) -> str:
    origin = origins.get(stamp)
    where = f"{origin.path} by {origin.author}" if origin else "from before the base"
    return f"{stamp.stream_id} at {_when(stamp)}, {where}"


@click.command("explain", short_help="Show who set each field of an entity, and who lost.")
@click.argument("collection")
@click.argument("key")
@click.argument("field", required=False)
@click.option("--frame", type=_FRAME, help="The state after this frame, instead of the newest.")
@on_repository
@with_json
def explain_command(
    collection: str,
    key: str,
    field: str | None,
    frame: int | None,
    repo: str | None,
    config_file: Path | None,
    as_json: bool,
) -> None:
    """Show who set each FIELD of an entity, when, in which delta and by which rule, and whose values lost.

    The parts of a KEY are joined by `/`, each percent-encoded, as for `show`; all parts are required."""
    primary = open_primary(repo, config_file)
    index = ledger_index(primary.store)
    explained = queries.explain_entity(primary.store, base_of(primary), collection, key, field, frame, index)
    if as_json:
        write_json(explained)
        return
    for name, one in explained.fields.items():
        _say_field(name, one)


def _say_field(name: str, one: Field) -> None:
    _say("green", f"{name}: {_text(one.value)}")
    if one.stamp:
        merged = f"merged in frame {one.frame}" if one.frame is not None else "imported"
        at = f"{_when(one.stamp)} of frame {one.stamp.frame}"
        _say(None, f"    {one.stamp.stream_id} at {at}, {merged}, rule {one.rule}")
        if one.path:
            _say(None, f"    {one.path}, commit {one.commit} by {one.author}")
    for lost in one.losers:
        _say("red", f"    lost in frame {lost.frame}: {_text(lost.value)}")
        to = f"{lost.winner.stream_id} at {_when(lost.winner)}"
        _say(None, f"        {lost.stamp.stream_id} at {_when(lost.stamp)}, to {to}")
        if lost.path:
            _say(None, f"        {lost.path}, commit {lost.commit} by {lost.author}")


def _when(stamp: Stamp) -> str:
    """A stamp's time for people; microseconds for years that Python's calendar does not have."""
    return calendar_text(stamp.utc) or f"{stamp.utc} µs"
