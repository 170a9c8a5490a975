"""What the description of the API says of each path: `openapi` makes openapi.json of it, with the types named here."""

from __future__ import annotations

from typing import Any, NamedTuple

from msgspec import Struct

from dreamcatcherd.core.books.shelf import ShelfEntry
from dreamcatcherd.core.codec import MAX_FRAME
from dreamcatcherd.core.validation import ValidationRow
from dreamcatcherd.history.provenance import Explanation
from dreamcatcherd.history.receipts import Receipt
from dreamcatcherd.history.search import Hit
from dreamcatcherd.web import answers, params

Schema = dict[str, Any]

_TROUBLES = (
    "Searches 1,000 frames. `truncated` says that one frame alone has more than `limit`; then the link leads to the"
    " rest of it, and `before`, the frame to ask before for earlier ones, leaves that rest out."
)


class Endpoint(NamedTuple):
    """What is said of one path. `answer` is the 200's schema; `paged` answers may have a Link header."""

    summary: str
    answer: Any
    parameters: type[Struct] = params.NoParams
    description: str = ""
    paged: bool = False
    not_found: bool = False
    tagged: bool = True
    """Whether it has an ETag: it is made of published commits alone."""
    path: dict[str, Schema] = {}  # noqa: RUF012 (not changed)
    """The schemas of the parts of the path in braces, described."""
    reads: bool = True
    media: str = "application/json"
    body: str = ""
    """What is posted; empty for a path that is read with GET."""


ENDPOINTS = {
    "": Endpoint("The paths of the API.", answers.Index, reads=False, tagged=False),
    "/status": Endpoint(
        "The open frame, the pending deltas by stream, and the last snapshot.", answers.Status, tagged=False
    ),
    "/collections": Endpoint(
        "Every collection, and every section of `extra`, by name.",
        list[answers.CollectionRow],
        params.NamedParams,
        paged=True,
    ),
    "/collections/{name}": Endpoint(
        "Records of a collection in key order, as `show` prints them.",
        answers.Records,
        params.CollectionParams,
        "`next` is what to ask `after` for more, null at the end. It is a key's place, which stays good when frames"
        " close: what is there all the time is answered once. With `frame` all pages are of one state.",
        paged=True,
        not_found=True,
        path={"name": {"type": "string", "minLength": 1, "description": "Such as posts, or extra/x."}},
    ),
    "/entity": Endpoint("One entity, as `show` prints it.", dict[str, Any], params.EntityParams, not_found=True),
    "/search": Endpoint(
        "Texts in keys and fields that contain `q`, whatever its case.",
        list[Hit],
        params.SearchParams,
        "A page may have fewer rows than `limit`, even none, and yet a `Link` to the next. Its link names the frame.",
        paged=True,
        not_found=True,
    ),
    "/log": Endpoint("Closed frames, newest first.", list[answers.Frame], params.FrameParams, paged=True),
    "/frames/{frame}": Endpoint(
        "The ledger of a closed frame, byte for byte as it is stored.",
        dict[str, Any],
        not_found=True,
        path={"frame": {"type": "integer", "minimum": 0, "maximum": MAX_FRAME, "description": "A closed frame."}},
    ),
    "/receipt": Endpoint(
        "What became of a delta as of the last poll, each pushed version in a row of its own.",
        list[Receipt],
        params.ReceiptParams,
        not_found=True,
        tagged=False,
    ),
    "/explain": Endpoint(
        "Who set each field of an entity, when, in which delta, and who lost.",
        Explanation,
        params.ExplainParams,
        not_found=True,
    ),
    "/diff": Endpoint(
        "Entities added and fields changed between two closed frames.",
        answers.DiffAnswer,
        params.DiffParams,
        "At most `limit` entities and about 4 MiB of them; `truncated` is true if there are more.",
        not_found=True,
    ),
    "/streams": Endpoint(
        "Every stream with pending deltas or deltas in the last 100 frames, by name.",
        list[answers.Stream],
        params.NamedParams,
        paged=True,
        tagged=False,
    ),
    "/quarantine": Endpoint(
        "Deltas that could not be merged, by the frame that first listed them, newest first.",
        answers.Quarantine,
        params.RowParams,
        _TROUBLES,
        paged=True,
    ),
    "/conflicts": Endpoint(
        "Fields that two streams set to different values in one frame: winner, loser and the lost value, newest first.",
        answers.Conflicts,
        params.RowParams,
        _TROUBLES,
        paged=True,
    ),
    "/books": Endpoint(
        "The shelf: every book, its progress, and when it was published.",
        list[ShelfEntry],
        params.NamedParams,
        paged=True,
    ),
    "/events": Endpoint(
        "Server-sent events: `status` at every change, at most four a second, each with an Event as its data.",
        str,
        media="text/event-stream",
        tagged=False,
    ),
    "/validate": Endpoint(
        "Whether the body would merge as a delta; if not, with the reason and the JSON path.",
        ValidationRow,
        params.ValidateParams,
        "By the settings and open frame that the last poll found. Nothing is stored. Attachments are not looked up.",
        body="The bytes of one delta: no more than `delta_bytes` of the settings, nor than 32 MiB.",
        tagged=False,
    ),
    "/openapi.json": Endpoint("This description.", dict[str, Any], reads=False, tagged=False),
}
"""The paths below `/api/v1`."""
