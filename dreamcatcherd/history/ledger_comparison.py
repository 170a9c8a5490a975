"""A ledger that was built again from its deltas, compared with the published one."""

from __future__ import annotations

from msgspec import structs

from dreamcatcherd.core.codec import canonical
from dreamcatcherd.core.ledger import Ledger


def with_seen_facts(made: Ledger, ledger: Ledger) -> Ledger:
    """The rebuilt ledger with the facts that only its primary could see: clock flags, and the streams it waited for."""
    flags = {(row.path, row.blob, row.commit): (row.ahead_s, row.backward) for row in ledger.deltas}
    deltas = []
    for row in made.deltas:
        ahead_s, backward = flags.get((row.path, row.blob, row.commit), (None, False))
        deltas.append(structs.replace(row, ahead_s=ahead_s, backward=backward))
    clocks = sum(row.ahead_s is not None or row.backward for row in deltas)
    return structs.replace(
        made, deltas=deltas, missing=ledger.missing, counts=structs.replace(made.counts, clocks=clocks)
    )


def ledger_difference(ledger: Ledger, made: Ledger) -> str:
    """The first difference between a published ledger and the rebuilt one, for people."""
    for name in ledger.__struct_fields__:
        given, found = getattr(ledger, name), getattr(made, name)
        if given == found:
            continue
        if isinstance(given, list) and isinstance(found, list):
            other = next((i for i, pair in enumerate(zip(given, found, strict=False)) if pair[0] != pair[1]), None)
            row = min(len(given), len(found)) if other is None else other
            return f"row {row + 1} of {name} is not what was merged ({len(given)} rows, {len(found)} computed)"
        if name == "counts":
            given, found = structs.asdict(given), structs.asdict(found)
            name, given, found = next(
                (f"counts.{key}", given[key], found[key]) for key in given if given[key] != found[key]
            )
        return f"{name} is {canonical(given).decode()}, computed {canonical(found).decode()}"
    return "it is not written as the frame wrote it"
