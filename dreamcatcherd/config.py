"""Reads a primary's TOML file (docs/protocol.md#configuration) into the tables of `config_tables`.

Owns the file, the variables that override it, and the refusal with every mistake. The settings of the merge are in the
repository (`core/settings`)."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec import structs

from dreamcatcherd.config_remotes import MirrorConfig
from dreamcatcherd.config_rules import contradictions
from dreamcatcherd.config_tables import Config, EventsConfig
from dreamcatcherd.core.errors import UsageError
from dreamcatcherd.core.format_number import take_format
from dreamcatcherd.core.mistakes import (
    MISTAKES_MOST,
    Mistake,
    MistakesError,
    independent,
    mistakes_in,
    without_mistakes,
)

_VARIABLE = re.compile(rf"DREAMCATCHERD_({'|'.join(Config.__struct_fields__).upper()})(?:_([A-Z_]+))?")
_LISTS = {"events": EventsConfig, "mirrors": MirrorConfig}
"""Tables that there may be several of, each with the struct of one."""


class ConfigError(MistakesError):
    """A configuration that is refused. `valid` is what remains without the keys that are wrong, for a caller that goes
    on looking; None if nothing can be judged."""

    def __init__(self, mistakes: list[Mistake], file: Path | None, valid: Config | None = None) -> None:
        check = f"dreamcatcherd config check {shlex.quote(str(file))}" if file else "dreamcatcherd config check"
        super().__init__(mistakes, check)
        self.file = file
        self.valid = valid

    def joined(self, more: list[Mistake]) -> ConfigError:
        """The same refusal with further mistakes, of those that do not follow from known ones."""
        further = [structs.replace(one, source=str(self.file or "")) for one in independent(more, self.mistakes)]
        return ConfigError([*self.mistakes, *further], self.file, self.valid)

    def renamed(self, variable: str, option: str) -> ConfigError:
        """The same refusal, for whom a variable is the value of an option."""
        found = (
            structs.replace(one, where=one.where.replace(variable, option, 1))
            if one.where.startswith(variable)
            else one
            for one in self.mistakes
        )
        return ConfigError(list(found), self.file, self.valid)


def load_config(file: Path | None, environment: Mapping[str, str] = os.environ) -> Config:
    """Read a configuration file, or the defaults if none is named; ConfigError has every mistake.

    A variable such as `DREAMCATCHERD_FRAMES_INTERVAL=5` overrides the file."""
    document: dict[str, Any] = {}
    if file is not None:
        import tomllib  # without a configuration no command waits for it

        try:
            document = tomllib.loads(file.read_text("utf-8"))
        except OSError as error:
            cause = f"{file} cannot be read: {error.strerror}"
            raise UsageError(cause, "name a readable TOML file with --config") from error
        except (ValueError, RecursionError) as error:
            raise ConfigError([Mistake("", str(error), source=str(file))], file) from error
    if (why := take_format(document)) is not None:
        remedy = "upgrade dreamcatcherd, or use the file of this version"
        raise ConfigError([Mistake("", why, remedy, source=str(file))], file)
    variables, mistakes = _override(document, environment)
    valid = None
    try:
        valid = msgspec.convert(document, Config)
    except msgspec.ValidationError as error:
        mistakes += mistakes_in(document, Config) or [Mistake("", str(error))]
        if len(mistakes) < MISTAKES_MOST:  # else what is left may have further ones
            valid = _valid_part(document, mistakes)
    if valid is not None:
        mistakes += independent(contradictions(valid, environment), mistakes)
    if mistakes or valid is None:
        raise ConfigError([_named(one, file, variables) for one in mistakes], file, valid)
    return valid


def _valid_part(document: dict[str, Any], mistakes: list[Mistake]) -> Config | None:
    try:
        return msgspec.convert(without_mistakes(document, mistakes), Config)
    except msgspec.ValidationError:
        return None


def _override(
    document: dict[str, Any], environment: Mapping[str, str]
) -> tuple[dict[tuple[str, ...], str], list[Mistake]]:
    """Override the file by the variables of the environment: each is a TOML value, or else a plain text. Of a list of
    tables, one variable without a key overrides all. Returns the variables by the keys that they set, and mistakes."""
    variables: dict[tuple[str, ...], str] = {}
    mistakes = []
    for name, text in sorted(environment.items()):
        match = _VARIABLE.fullmatch(name)
        if match is None or (match[2] is None and match[1].lower() not in _LISTS):
            continue
        if match[2] is not None and match[1].lower() in _LISTS:
            remedy = f"set {name.removesuffix(f'_{match[2]}')} to a list of tables in TOML"
            mistakes.append(Mistake(name, "sets one key of several tables", remedy))
            continue
        import tomllib

        # `5` and `true` are TOML values; `main` is not, and means the text.
        try:
            value = tomllib.loads(f"value = {text}")["value"]
        except (ValueError, RecursionError):
            value = text
        if match[2] is None:
            document[match[1].lower()] = value
            variables[match[1].lower(),] = name
            continue
        table = document.setdefault(match[1].lower(), {})
        if isinstance(table, dict):
            table[match[2].lower()] = value
            variables[match[1].lower(), match[2].lower()] = name
    return variables, mistakes


def _named(one: Mistake, file: Path | None, variables: Mapping[tuple[str, ...], str]) -> Mistake:
    """A mistake with its source: the file, or the variable in place of the key that it sets."""
    at = tuple(map(str, one.at[0])) if one.at else ()
    for heading, keys in ((f"[{' '.join(at[:1])}] {' '.join(at[1:2])}", at[:2]), (f"[[{' '.join(at[:1])}]]", at[:1])):
        if keys in variables and one.where.startswith(heading):
            return structs.replace(one, where=variables[keys] + one.where.removeprefix(heading))
    # A variable that is wrong as such names itself.
    return structs.replace(one, source=str(file) if file is not None and at else "")
