"""HTTP connections with bounds: seconds for a request's header, connections of one address and of all."""

from __future__ import annotations

import asyncio
from collections import Counter

from uvicorn.protocols.http.h11_impl import H11Protocol

#: Seconds in which the header of a request must be complete.
HEADER_SECONDS = 10.0
#: Connections of one address, and of all. Beyond, that one is closed whose client has been silent for longest.
OF_ONE_ADDRESS, OF_ALL = 256, 480


class BoundedConnection(H11Protocol):
    """A connection of uvicorn's that makes room: who connects and sends nothing locks nobody out."""

    heard = 0.0  # when the client sent something, in the loop's seconds
    _timer: asyncio.TimerHandle | None = None

    @property
    def address(self) -> str:
        return self.client[0] if self.client else ""

    @property
    def waits(self) -> bool:
        """Whether the client's next bytes are waited for, of a header or of a body."""
        return self.cycle is None or self.cycle.response_complete or self.cycle.more_body

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]  # as uvicorn's
        super().connection_made(transport)
        self.heard = self.loop.time()
        self._expect_header()
        self._make_room()

    def data_received(self, data: bytes) -> None:
        self.heard = self.loop.time()
        super().data_received(data)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._expect_header()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._timer:
            self._timer.cancel()

    def _expect_header(self) -> None:
        if self._timer:
            self._timer.cancel()
        self._timer = self.loop.call_later(HEADER_SECONDS, self._close_without_header, self.cycle)

    def _close_without_header(self, last: object) -> None:
        """Close unless a request has begun since the ``last`` one, which is complete."""
        if self.cycle is last and self.waits:
            self.transport.abort()

    def _make_room(self) -> None:
        """Close another connection if there are too many, or have this one answered with 503."""
        others = [
            each
            for each in self.connections
            if isinstance(each, BoundedConnection) and each is not self and not each.transport.is_closing()
        ]
        counts = Counter(each.address for each in others)
        crowd = self.address
        if counts[crowd] < OF_ONE_ADDRESS:
            if len(others) < OF_ALL:
                return
            crowd = counts.most_common(1)[0][0]
        silent = [each for each in others if each.address == crowd and each.waits]
        if silent:
            min(silent, key=lambda each: each.heard).transport.abort()
        elif crowd == self.address:
            self.limit_concurrency = 0
