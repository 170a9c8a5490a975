"""What a reload changed, for the log: every key with its old and new value, and the files that hold something else.

Owns what is shown of them: never a secret, nor a part of a value that can be one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from dreamcatcherd.config_remotes import MirrorConfig
from dreamcatcherd.config_rules import without_path
from dreamcatcherd.config_tables import Config, EventsConfig
from dreamcatcherd.core.errors import DreamcatcherError
from dreamcatcherd.daemon.bootstrap import Runtime
from dreamcatcherd.git.access import without_secrets

_HIDDEN = "(not shown)"


def changed_keys(old: Config, new: Config) -> dict[str, list[Any]]:
    """The keys whose effective values differ, each with [old, new]; `[frames] interval` is how a key is named."""
    found: dict[str, list[Any]] = {}
    for table in Config.__struct_fields__:
        if table not in ("events", "mirrors"):
            found |= _changed(f"[{table}]", getattr(old, table), getattr(new, table))
    for number in range(max(len(old.events), len(new.events))):
        name = f"[[events]] table {number + 1}"
        before, after = (one.events[number] if number < len(one.events) else None for one in (old, new))
        if before is not None and after is not None:
            found |= _changed(name, before, after)
        else:
            found[name] = [_receiver(before), _receiver(after)]
    return found | _mirrors(old, new)


def _mirrors(old: Config, new: Config) -> dict[str, list[Any]]:
    """The mirrors that came, went or changed; each has its name."""
    before, after = ({one.name: one for one in config.mirrors} for config in (old, new))
    found: dict[str, list[Any]] = {}
    for name in sorted(before.keys() | after.keys()):
        where = f"[[mirrors]] {name}"
        if name in before and name in after:
            found |= _changed(where, before[name], after[name])
        else:
            found[where] = [_shown(where, "url", one.url) if one else None for one in map(_get(name), (before, after))]
    return found


def _get(name: str) -> Callable[[dict[str, MirrorConfig]], MirrorConfig | None]:
    return lambda tables: tables.get(name)


def _changed(where: str, old: Any, new: Any) -> dict[str, list[Any]]:
    found = {}
    for key in old.__struct_fields__:
        before, after = getattr(old, key), getattr(new, key)
        if before != after:
            shown = [_shown(where, key, before), _shown(where, key, after)]
            # Only what is not shown differs, such as a password in the URL.
            found[f"{where} {key}"] = [_HIDDEN, _HIDDEN] if shown[0] == shown[1] else shown
    return found


def _shown(where: str, key: str, value: Any) -> Any:
    """A value as far as it can be shown."""
    if value is None:
        return None
    remote = where.startswith(("[repository]", "[[mirrors]]", "[relay]"))
    if remote and key in ("url", "upstream"):
        try:
            return without_secrets(value)[0]
        except DreamcatcherError:
            return _HIDDEN
    if remote and key == "user":  # forges accept a token in its place
        return _HIDDEN
    if where.startswith("[[events]]") and key == "url":
        return without_path(value)
    if where.startswith("[[events]]") and key == "exec":
        return [*value[:1], *(["…"] if len(value) > 1 else [])]
    return msgspec.to_builtins(value)


def _receiver(table: EventsConfig | None) -> Any:
    if table is None:
        return None
    return without_path(table.url) if table.url else _shown("[[events]]", "exec", table.exec)


def changed_files(old: Runtime, new: Runtime) -> list[str]:
    """The keys whose files hold something else than before, whether or not they are the same files."""
    pairs = {
        "[http] token_file": (old.listening.auth_policy.token, new.listening.auth_policy.token),
        "[http] tls_cert": (_content(old.listening.certificate), _content(new.listening.certificate)),
        "[http] tls_key": (_content(old.listening.key), _content(new.listening.key)),
        "[hint] secret_file": (old.hint_secrets, new.hint_secrets),
        "[otel] headers_file": tuple(one.tracing.headers if one.tracing else () for one in (old, new)),
    }
    return [key for key, (before, after) in pairs.items() if before != after]


def _content(file: tuple[str, bytes] | None) -> bytes | None:
    return file[1] if file else None
