"""The command that runs language-neutral test vectors."""

from __future__ import annotations

from pathlib import Path

import click

from dreamcatcherd.cli.common import plain, with_json, write_json, write_table
from dreamcatcherd.core.codec import canonical
from dreamcatcherd.core.model import Json
from dreamcatcherd.core.report import plural

MOST_SHOWN = 300
"""How many characters of a value a failure shows."""

LEAD = 60
"""How many characters before the first one that differs are shown of long texts."""


@click.command(short_help="Run test vectors for implementations of the protocol.")
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
@with_json
def conformance(folder: Path, as_json: bool) -> int:
    """Run the test vectors of DIR, and of the folders below it, against this implementation.

    A vector is deltas in, and state, ledger rows and digest out, as plain JSON that any language can read. Its format
    and the canonical encodings are described in conformance/README.md of the source, which has the vectors too.

    For a case that fails, the first deviation is shown. Exit code 1 if a case fails."""
    from dreamcatcherd.conformance.running import by_section, run_cases
    from dreamcatcherd.conformance.vectors import read_vectors

    outcomes = list(run_cases(read_vectors(folder)))
    failed = [one for one in outcomes if one.deviation is not None]
    sections = by_section(outcomes)
    if as_json:
        write_json(
            {
                "cases": len(outcomes),
                "failed": [{"case": one.case, "deviation": one.deviation} for one in failed],
                "sections": sections,
            }
        )
        return 1 if failed else 0
    for one in failed:
        if one.deviation is not None:
            expected, found = both_shown(one.deviation.expected, one.deviation.found)
            click.echo(plain(f"{one.case}: {one.deviation.at}"))
            click.echo(plain(f"  expected {expected}"))
            click.echo(plain(f"  found    {found}"))
    rows = [(one.section, one.cases, one.failed) for one in sections]
    write_table("Test vectors", ("section", "cases", "failed"), rows)
    click.echo(f"{plural(len(outcomes), 'case')}, {len(failed)} failed" if failed else f"{len(outcomes)} cases passed")
    return 1 if failed else 0


def both_shown(expected: Json, found: Json) -> tuple[str, str]:
    """Two values as text, each cut to the part around the first character in which they differ."""
    texts = [canonical(one).decode() for one in (expected, found)]
    same = next((at for at, pair in enumerate(zip(*texts, strict=False)) if pair[0] != pair[1]), min(map(len, texts)))
    start = max(0, same - LEAD) if max(map(len, texts)) > MOST_SHOWN else 0
    shown = [("…" if start else "") + one[start : start + MOST_SHOWN] for one in texts]
    return shown[0], shown[1]
