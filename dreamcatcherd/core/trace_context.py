"""The trace context that a delta may carry, as W3C Trace Context defines it (docs/protocol.md#traces)."""

from __future__ import annotations

import re

from dreamcatcherd.core.model import Json

TRACEPARENT = "traceparent"
"""The field of a delta, at its top level. To the merge it is a section like any other."""

_FORM = re.compile(r"(?!ff)([0-9a-f]{2})-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-[ -~]*)?")
_LONGEST = 512


def read_traceparent(value: Json) -> str | None:
    """The first four parts of a `traceparent`: version, trace id, span id and flags, in lower-case hex.

    None for anything else: no string, another form, version ff, or an id of zeros. A version above 00 may have further
    parts, which are left out."""
    if type(value) is not str or len(value) > _LONGEST or (found := _FORM.fullmatch(value)) is None:
        return None
    # The standard promises that later versions only append; in version 00 an appendix is a mistake.
    return None if found[1] == "00" and found[2] is not None else value[:55]
