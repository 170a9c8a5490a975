"""Query parameters as structs, read strictly: a mistyped parameter is refused and not ignored.

The structs are also the source of the parameters in openapi.json (`web/openapi`)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, Literal, TypeAlias, TypeVar

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType
from starlette.requests import Request

from dreamcatcherd.core.codec import MAX_FRAME
from dreamcatcherd.core.errors import UsageError
from dreamcatcherd.history.search import PLACE

ROWS = 1_000
DEFAULT_ROWS = 100
DIFF_ROWS = 10_000
TEXT_CHARACTERS = 4_096

_BEHIND = "Only rows from this place on: `next` of a page, or what its link has."
_SKIP = "Leave out so many rows of the first frame that has any: what a link has."
_REMEDY = "see /api/v1/openapi.json"
_AT = re.compile(r"at `\$\.(\w+)`$")
_MISSING = re.compile(r"missing required field `(\w+)`")
_DIGITS = re.compile(r"[0-9]{1,16}")

_Limit: TypeAlias = Annotated[int, Meta(ge=1, le=ROWS, description="At most this many rows.")]
_Frame: TypeAlias = Annotated[int, Meta(ge=0, le=MAX_FRAME)]
_Text: TypeAlias = Annotated[str, Meta(min_length=1, max_length=TEXT_CHARACTERS)]
# A worker may give an entity any key, the empty text among them.
_Key: TypeAlias = Annotated[str, Meta(max_length=TEXT_CHARACTERS)]
_KEY_SAID = "The entity's key; several parts are joined by /, each percent-encoded."
_After: TypeAlias = Annotated[
    str, Meta(min_length=2, max_length=TEXT_CHARACTERS, pattern=r"^(?:[0-9a-f]{2})+$", description=_BEHIND)
]
_AfterHit: TypeAlias = Annotated[
    str, Meta(min_length=1, max_length=TEXT_CHARACTERS, pattern=PLACE, description=_BEHIND)
]
_AtFrame: TypeAlias = Annotated[_Frame, Meta(description="The state after this frame, instead of the newest.")]


class NoParams(Struct, frozen=True):
    """No parameter at all."""


class FrameParams(Struct, frozen=True):
    """Rows by frame, newest first. `before` and not an offset: new frames do not move the rows."""

    limit: _Limit = DEFAULT_ROWS
    before: Annotated[_Frame, Meta(description="Only frames before this one.")] | UnsetType = UNSET


class RowParams(FrameParams, frozen=True):
    """Rows of which one frame may have more than `limit`."""

    skip: Annotated[int, Meta(ge=0, le=MAX_FRAME, description=_SKIP)] = 0


class NamedParams(Struct, frozen=True):
    """Rows of a list by name."""

    limit: _Limit = DEFAULT_ROWS
    after: _After | UnsetType = UNSET


class CollectionParams(NamedParams, frozen=True):
    """Records of a collection by key. `after` is a key's place, so new records do not move the rows."""

    frame: _AtFrame | UnsetType = UNSET


class EntityParams(Struct, frozen=True):
    """An entity now or after a frame."""

    collection: Annotated[_Text, Meta(description="The collection's name, such as posts.")]
    key: Annotated[_Key, Meta(description=_KEY_SAID)]
    frame: _AtFrame | UnsetType = UNSET


class SearchParams(Struct, frozen=True):
    """What is searched for, and where."""

    q: Annotated[str, Meta(min_length=1, max_length=256, description="The text that is searched for.")]
    limit: _Limit = DEFAULT_ROWS
    after: _AfterHit | UnsetType = UNSET
    frame: _AtFrame | UnsetType = UNSET


class ReceiptParams(Struct, frozen=True):
    """A delta, as the command takes it."""

    delta: Annotated[_Text, Meta(description="The delta's path, blob id (or its first digits) or order key.")]


class ExplainParams(Struct, frozen=True):
    """An entity, or one of its fields, now or after a frame."""

    collection: Annotated[_Text, Meta(description="The collection's name, such as posts.")]
    key: Annotated[_Key, Meta(description=_KEY_SAID)]
    field: Annotated[_Text, Meta(description="Only this field.")] | UnsetType = UNSET
    frame: _AtFrame | UnsetType = UNSET


class StartParams(Struct, frozen=True):
    """The range of the trends on the first page; it fits the fleet's age unless it is given."""

    range: Literal["1h", "24h", "7d"] | UnsetType = UNSET


class PageParams(Struct, frozen=True, rename={"start": "from", "end": "to"}):
    """The two frames that the status page compares."""

    start: Annotated[_Frame, Meta(description="A closed frame.")]
    end: Annotated[_Frame, Meta(description="Another closed frame.")]


class FramesPageParams(Struct, frozen=True):
    """A page of the list of frames: those before one, and only those with some of a kind."""

    before: _Frame | UnsetType = UNSET
    kind: Literal["late", "conflicts", "quarantined"] | UnsetType = UNSET


class BeforeParams(Struct, frozen=True):
    """A page of rows by frame, newest first."""

    before: _Frame | UnsetType = UNSET


class RowsPageParams(BeforeParams, frozen=True):
    """A page of rows of which one frame may have more than a page."""

    skip: Annotated[int, Meta(ge=0, le=MAX_FRAME)] = 0


class OffsetParams(Struct, frozen=True):
    """A page of rows in a fixed order."""

    offset: Annotated[int, Meta(ge=0, le=10_000)] = 0


class FramePageParams(Struct, frozen=True):
    """The frame of a page."""

    frame: _Frame


class StreamsPageParams(OffsetParams, frozen=True):
    """A page of the list of streams, of one state or all."""

    state: Literal["silent", "active", "new"] | UnsetType = UNSET


class StreamPageParams(RowsPageParams, frozen=True, kw_only=True):
    """One stream, and the frame before which its deltas are listed."""

    id: _Text


class CollectionPageParams(Struct, frozen=True):
    """A page of a collection's entities; `after` is from the link to it."""

    name: _Text
    after: _Text | UnsetType = UNSET


class EntityPageParams(BeforeParams, frozen=True, kw_only=True):
    """One entity, and the frame before which its changes are listed."""

    collection: _Text
    key: _Key


class BookPageParams(Struct, frozen=True):
    """One book."""

    key: _Key


class SearchPageParams(Struct, frozen=True):
    """What is searched for; `after` and `frame` are from the link to more."""

    q: Annotated[str, Meta(max_length=200)] = ""
    after: _Text | UnsetType = UNSET
    frame: _Frame | UnsetType = UNSET


class DiffPageParams(Struct, frozen=True, rename={"start": "from", "end": "to"}):
    """The two frames to compare; without them the page has the form alone."""

    start: _Frame | UnsetType = UNSET
    end: _Frame | UnsetType = UNSET


class DiffParams(PageParams, frozen=True, rename={"start": "from", "end": "to"}):
    """Two frames and the size of the answer."""

    limit: Annotated[int, Meta(ge=1, le=DIFF_ROWS, description="At most this many entities.")] = ROWS


class ValidateParams(Struct, frozen=True):
    """What is known of the delta besides its bytes."""

    path: (
        Annotated[_Text, Meta(description="Its path in the repository: the frame in it and its name are checked too.")]
        | UnsetType
    ) = UNSET


_Params = TypeVar("_Params", bound=Struct)
_Value = TypeVar("_Value")


def optional(value: _Value | UnsetType) -> _Value | None:
    """The value of a parameter, or None if the request does not have it."""
    return None if isinstance(value, UnsetType) else value


def read_parameters(request: Request, shape: type[_Params], path: Mapping[str, str] | None = None) -> _Params:
    """The request's parameters, and those in its path; UsageError names the one that is wrong, and the values that it
    takes."""
    known = shape.__struct_encode_fields__
    wanted = _properties(shape)
    values: dict[str, str | int] = {}
    for name, text in [*(path or {}).items(), *request.query_params.multi_items()]:
        if name not in known:
            raise UsageError(f"there is no parameter {name[:64]!r}", f"known are {', '.join(known) or 'none'}")
        if name in values:
            raise UsageError(f"the parameter {name!r} is given twice", "give it once")
        if wanted[name].get("type") != "integer":
            values[name] = text
        elif _DIGITS.fullmatch(text):  # msgspec's lax conversion would take 1e2 and 5.0 too, and refuse 007
            values[name] = int(text)
        else:
            raise _refused(name, wanted)
    try:
        return msgspec.convert(values, shape)
    except msgspec.ValidationError as error:
        if missing := _MISSING.search(str(error)):
            raise UsageError(f"the parameter {missing[1]!r} is missing", _REMEDY) from error
        if (at := _AT.search(str(error))) is None:
            raise
        raise _refused(at[1], wanted) from error


@cache
def _properties(shape: type[Struct]) -> Mapping[str, Mapping[str, Any]]:
    """The JSON Schema of each parameter."""
    (_,), components = msgspec.json.schema_components([shape])
    properties: dict[str, dict[str, Any]] = components[shape.__name__]["properties"]
    return properties


def _refused(name: str, wanted: Mapping[str, Mapping[str, Any]]) -> UsageError:
    rule = wanted[name]
    if "enum" in rule:
        what = f"one of {', '.join(rule['enum'])}"
    elif rule["type"] == "integer":
        what = f"a whole number from {rule['minimum']} to {rule['maximum']}"
    else:
        what = f"a text of {rule.get('minLength', 0)} to {rule['maxLength']} characters"
        what += ", as an answer of this path has it" if "pattern" in rule else ""
    return UsageError(f"the parameter {name!r} is not {what}", _REMEDY)
