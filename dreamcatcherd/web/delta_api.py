"""The paths about one delta: whether it would merge, and what became of it (docs/protocol.md#the-api)."""

from __future__ import annotations

import hashlib

from starlette.requests import Request
from starlette.responses import Response

from dreamcatcherd.core.validation import NO_PATH, check_delta, validation_row
from dreamcatcherd.history.receipts import known_receipts
from dreamcatcherd.web.bodies import Bodies
from dreamcatcherd.web.live_status import LiveStatus, WaitingInbox
from dreamcatcherd.web.params import ReceiptParams, ValidateParams, optional, read_parameters
from dreamcatcherd.web.query_executor import QueryExecutor, Reading, not_read_yet
from dreamcatcherd.web.responses import json_response, within_bounds

VALIDATED_BYTES = 32 * 2**20
"""The largest delta that is validated over HTTP, however large one the settings allow."""


class DeltaApi:
    """The handlers, and the bodies that they hold."""

    def __init__(self, live_status: LiveStatus, executor: QueryExecutor, bodies: Bodies) -> None:
        self._live_status = live_status
        self._executor = executor
        self._bodies = bodies

    def _waiting(self) -> WaitingInbox:
        waiting = self._live_status.waiting
        if waiting is None:
            raise not_read_yet(self._live_status)
        return waiting

    async def receipt(self, request: Request) -> Response:
        """The receipts of a delta as of the last poll."""
        delta = read_parameters(request, ReceiptParams).delta
        number, inbox = self._waiting()

        def work(reading: Reading) -> bytes:
            # The last poll may have seen a commit that the reader's store does not know yet.
            if reading.base.commit != inbox.published.commit:
                reading.store.refresh()
            return within_bounds(known_receipts(reading.store, inbox, delta, reading.ledger_index))

        return json_response(await self._executor.ask(("receipt", delta, number), work))

    async def validate(self, request: Request) -> Response:
        """Whether the body would merge, by the settings and the open frame that the last poll found."""
        path = optional(read_parameters(request, ValidateParams).path) or NO_PATH
        inbox = self._waiting().inbox
        settings, frame = inbox.settings, inbox.published.state.frame
        async with self._bodies.read(request, min(settings.limits.delta_bytes, VALIDATED_BYTES)) as body:

            def work(_: Reading) -> bytes:
                return within_bounds(validation_row(path, check_delta(body, path, settings, frame)))

            # The same bytes under the same settings have the same answer, which clients that retry ask for again.
            what = ("validate", path, hashlib.sha256(body).digest(), settings.blob, frame)
            return json_response(await self._executor.ask(what, work))
