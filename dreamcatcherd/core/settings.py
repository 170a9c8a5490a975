"""The settings that the merge depends on: `state/dreamcatcher.toml` as a frozen struct
(docs/protocol.md#configuration).

Owns the reading and the refusal of settings; callers decide where they come from and which ones count."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from itertools import chain
from types import MappingProxyType

from msgspec import Struct

from dreamcatcherd.core import paths
from dreamcatcherd.core.collection_settings import claimed_once, read_table, unmatched
from dreamcatcherd.core.collections import DEFAULT_TABLE, DERIVED, Collection
from dreamcatcherd.core.decimals import SummedSections, summed_sections
from dreamcatcherd.core.delta_sections import Sections, known_sections
from dreamcatcherd.core.intake import Intake, intake_mistakes
from dreamcatcherd.core.mistakes import Mistake, independent
from dreamcatcherd.core.model import Limits as Limits
from dreamcatcherd.core.settings_schema import LANES, Lanes, Security, parse_settings
from dreamcatcherd.core.settings_schema import SettingsError as SettingsError
from dreamcatcherd.core.signers import Signers, read_signers, speaks_for
from dreamcatcherd.core.view_settings import Views, view_mistakes

_PREFIX = re.compile(
    r"refs/(?:heads/|(?!heads/|tags/|remotes/|notes/|dreamcatcher/))[A-Za-z0-9_-]+(?:/[A-Za-z0-9_-]+)*/"
)


class Settings(Struct, frozen=True, dict=True):
    """The settings that a frame is merged under. `blob` is the file that they were read from, if any; `warnings` name
    what in it can never match anything."""

    table: Mapping[str, Collection]
    limits: Limits = Limits()
    lane_prefix: str = LANES
    signers: Signers = Signers()
    blob: str | None = None
    linear: bool = False
    intake: Intake = Intake()
    views: Views = MappingProxyType({})
    warnings: tuple[str, ...] = ()
    relays: tuple[str, ...] = ()

    def is_lane(self, ref: str) -> bool:
        """Whether deltas are read from a ref that is not the shared branch: a stream's lane, or a listed relay's."""
        return paths.lane_stream(ref, self.lane_prefix) is not None or paths.relay_name(ref) in self.relays

    @property
    def lane_patterns(self) -> tuple[str, ...]:
        """What to ask a server for, as ls-remote takes it, to be given all lanes; it may give other refs as well."""
        return (f"{self.lane_prefix}*", *(f"{paths.RELAYS}{name}" for name in self.relays))

    @cached_property
    def sections(self) -> Sections:
        """The sections that the table knows."""
        return known_sections(self.table)

    @cached_property
    def summed(self) -> SummedSections:
        """The sections in which numbers are added up."""
        return summed_sections(self.table)


DEFAULT = Settings({**DEFAULT_TABLE, **DERIVED})


def read_settings(raw: bytes, blob: str | None = None) -> Settings:
    """Settings from TOML; SettingsError with every mistake if they cannot count."""
    import tomllib  # slow to load, and most repositories that a push is checked for have no settings

    try:
        document = tomllib.loads(raw.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise SettingsError(str(error)) from error
    parsed, mistakes = parse_settings(document)
    rows, of_rows = read_table(parsed.collections)
    # Collections of the protocol stay although the file does not name them; the file changes or adds.
    named, lost = claimed_once(rows)
    table = {**named, **DERIVED}
    signers, of_signers = _signers(parsed.security)
    contradictions = chain(
        _lanes(parsed.lanes), intake_mistakes(parsed.intake), of_rows, of_signers,
        view_mistakes(parsed.views, table, parsed.intake),
    )  # fmt: skip
    if mistakes := [*mistakes, *independent(contradictions, mistakes)]:
        raise SettingsError(mistakes)
    return Settings(
        table=table,
        limits=parsed.limits,
        lane_prefix=parsed.lanes.prefix,
        signers=signers,
        blob=blob,
        linear=parsed.publish.history == "linear",
        intake=parsed.intake,
        views=parsed.views,
        warnings=(*lost, *unmatched(named, parsed.intake)),
        relays=tuple(dict.fromkeys(parsed.lanes.relays)),
    )


def _lanes(lanes: Lanes) -> Iterator[Mistake]:
    if not _PREFIX.fullmatch(lanes.prefix):
        yield Mistake("[lanes]", f"prefix {lanes.prefix!r} is not a prefix of refs such as {LANES!r}")
    elif lanes.prefix.startswith(paths.RELAYS):
        yield Mistake("[lanes]", f"prefix {lanes.prefix!r} is where the lanes of relays are")
    for name in lanes.relays:
        if not paths.is_relay_name(name):
            yield Mistake("[lanes]", f"relays names {name!r}: a relay's name has 1 to 40 letters, digits, - and _")


def _signers(security: Security) -> tuple[Signers, list[Mistake]]:
    """The signers, and what is wrong with them."""
    given = security.allowed_signers
    text = given if isinstance(given, str) else "\n".join(given)
    listed, named = ("security", "allowed_signers"), ("security", "operators")
    try:
        signers = read_signers(text.split("\n"), security.operators)
    except ValueError as error:
        return Signers(), [Mistake("[security] allowed_signers:", str(error), at=(listed,))]
    known = [name for name in signers.operators if any(speaks_for(signers, key, name) for key in _keys(signers))]
    # Without an operator nobody could ever change the file again, not even to remove the signers.
    if signers and not known:
        why = "operators must name one of allowed_signers: nobody could change this file"
        return signers, [Mistake("[security]", why, at=(named,), needs=(listed,))]
    if signers.operators and not signers:
        return signers, [Mistake("[security]", "operators goes with allowed_signers", at=(named,), needs=(listed,))]
    return signers, []


def _keys(signers: Signers) -> set[str]:
    return {signer.fingerprint for signer in signers.signers}


def why_refused(new: Settings, old: Settings, has_entities: frozenset[str]) -> str | None:
    """Why `new` must not follow `old`, or None: the key and rule of a collection cannot change while it has entities
    (docs/protocol.md#configuration)."""
    for name in sorted(has_entities & old.table.keys()):
        if name not in new.table:
            return f"collection {name} has entities and cannot be taken away"
        if new.table[name].identity != old.table[name].identity:
            return f"collection {name} has entities: its key fields and rule cannot change"
    return None
