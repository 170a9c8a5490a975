"""Tasks and results as bytes: pickles of plain values and of a few types of the core.

Nothing else is made of them: what a worker or a file sends cannot name a function or another class."""

from __future__ import annotations

import io
import pickle
from typing import Any, TypeVar

from dreamcatcherd.core.books.compile import Marks
from dreamcatcherd.core.claims import ClaimDecision
from dreamcatcherd.core.codec import Exact
from dreamcatcherd.core.errors import FatalError
from dreamcatcherd.core.fold import Column, Fold
from dreamcatcherd.core.merge_parts import MergedPart
from dreamcatcherd.core.model import Conflict, Deletion, Misfit, Stamp

_TYPES: dict[tuple[str, str], type] = {
    (one.__module__, one.__qualname__): one
    for one in (ClaimDecision, Column, Conflict, Deletion, Exact, Fold, Marks, MergedPart, Misfit, Stamp)
}


_Kind = TypeVar("_Kind", bound=type)


def sent(kind: _Kind) -> _Kind:
    """Let objects of a class be sent: a decorator."""
    _TYPES[kind.__module__, kind.__qualname__] = kind
    return kind


def to_bytes(value: object) -> bytes:
    """A value of the registered types as bytes."""
    return pickle.dumps(value, pickle.HIGHEST_PROTOCOL)


def from_bytes(raw: bytes) -> Any:
    """The value of such bytes; FatalError if they hold anything else."""
    try:
        return _Reader(io.BytesIO(raw)).load()
    except (pickle.UnpicklingError, EOFError, ValueError, TypeError, AttributeError, IndexError) as error:
        cause = f"a worker's answer cannot be read: {error}"
        raise FatalError(cause, "run the same version of dreamcatcherd on every worker") from error


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> type:
        if (module, name) in _TYPES:
            return _TYPES[module, name]
        raise pickle.UnpicklingError(f"{module}.{name} is not expected")
