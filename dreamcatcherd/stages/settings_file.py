"""Reading the settings file of a tree (docs/protocol.md#the-repository).

A module of its own with few imports, since the server-side check loads it at every push."""

from __future__ import annotations

from dreamcatcherd.core.settings import DEFAULT, Settings, SettingsError, read_settings
from dreamcatcherd.core.tree import Entry
from dreamcatcherd.git.protocols import ObjectReader

SETTINGS_BYTES = 2**20
"""The largest settings file that is read, in bytes."""


def read_settings_file(store: ObjectReader, entry: Entry | None) -> Settings:
    """The settings in a tree's entry of `state/dreamcatcher.toml`; the defaults if there is none.

    SettingsError if the entry is not a plain file, is larger than SETTINGS_BYTES, or does not parse."""
    if entry is None:
        return DEFAULT
    if not entry.is_file or store.size(entry.oid) > SETTINGS_BYTES:
        raise SettingsError("it is no plain file of less than 1 MiB")
    return read_settings(store.read(entry.oid), entry.oid)
