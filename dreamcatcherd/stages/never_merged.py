"""Refs and files from which nothing is ever merged, and the reason to give."""

from __future__ import annotations

from dreamcatcherd.core import paths
from dreamcatcherd.core.settings import Settings

UNLISTED_RELAY = f"the lane of a relay that [lanes] relays in {paths.SETTINGS} does not list: nothing is merged from it"


def never_merged(ref: str, main: str, settings: Settings) -> str | None:
    """Why nothing is merged from a ref; None for the shared branch, lanes, and the primary's own refs."""
    prefix = settings.lane_prefix
    if ref == main or ref.startswith((prefix, "refs/dreamcatcher/")):
        return None
    if (relay := paths.relay_name(ref)) is not None:
        return None if relay in settings.relays else UNLISTED_RELAY
    lane = f"{paths.short_ref(prefix)}<stream_id>"
    if ref.lower().startswith(prefix.lower()):
        return f"not a lane: lanes are called {lane}, in lower case; nothing is merged from it"
    kind = "a tag" if ref.startswith("refs/tags/") else "neither the shared branch nor a lane"
    return f"{kind}: nothing is merged from it; push deltas to {paths.short_ref(main)} or to {lane}"


def not_a_delta(path: str) -> str:
    """Why a file below a delta root is never merged by itself."""
    if path.lower().endswith((".json", ".jsonl", ".json5", ".yaml", ".yml")):
        return "not a delta: a delta's name ends in .json, in lower case; it is never merged"
    return "neither a delta (its name would end in .json) nor named by a *_ref field of one: it is never merged"
