"""Connections whose client never says what it wants are closed: uvicorn alone waits for them for ever.

It also takes headers of any length, answers what is no HTTP in plain text, and loses the body of a request that offers
another protocol, as Java's client and ``curl --http2`` do in each connection's first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from workbench.handoff.service.request_error import RequestError

if TYPE_CHECKING:
    import asyncio

__all__ = ["PatientProtocol"]


class PatientProtocol(HttpToolsProtocol):
    """HTTP for clients that are slow, but not for ever.

    Attributes
    ----------
    patience_s
        How long the headers of a request may take, from the connection or from their first byte.
    head_bytes
        How long they may be.
    """

    patience_s = 30.0
    head_bytes = 64 << 10
    _timer: asyncio.TimerHandle | None = None
    _headers_bytes = 0
    _unfinished_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as the library has it
        """Begin to wait."""
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Read on; one header without an end is seen by no callback."""
        before = self._timer
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            self._go_on(data[offer.args[0] :])
        except httptools.HttpParserError:
            self.send_400_response("")
        if before is not None and self._timer is before and not self.transport.is_closing():
            self._unfinished_bytes += len(data)
            if self._unfinished_bytes > self.head_bytes:
                self.send_400_response("")

    def on_message_begin(self) -> None:
        """Begin to wait for the rest of the headers."""
        super().on_message_begin()
        self._headers_bytes = self._unfinished_bytes = 0
        self._wait()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; an error ends the reading, and `send_400_response` is called."""
        self._headers_bytes += len(name) + len(value)
        if self._headers_bytes > self.head_bytes:
            raise ValueError(self._headers_bytes)
        super().on_header(name, value)

    def send_400_response(self, msg: str) -> None:
        """Say what is wrong, as the service always does, and end the connection."""
        del msg
        error = RequestError(400, "this is no HTTP/1.1 request", fix="Send it with a client of HTTP.")
        if max(self._headers_bytes, self._unfinished_bytes) > self.head_bytes:
            what = f"the headers are longer than {self.head_bytes >> 10} KiB"
            error = RequestError(431, what, fix="Send what is long in the body.")
        head = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(error.content)
        self.transport.write(STATUS_LINE[error.status] + head + error.content)
        self.transport.close()

    def on_headers_complete(self) -> None:
        """Wait no more: how long a body may take is the service's to say."""
        self._stop()
        if not self.parser.should_upgrade():
            super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Go on with what came, unless the request is read once more."""
        if not self.parser.should_upgrade():
            super().on_message_complete()

    def _go_on(self, rest: bytes) -> None:
        """Read a request once more without the offer of another protocol, which nobody has to take."""
        method = self.parser.get_method()
        if method == b"CONNECT":
            self.send_400_response("")
            return
        kept = [b"%b: %b\r\n" % pair for pair in self.headers if pair[0] != b"upgrade"]
        self.parser = httptools.HttpRequestParser(self)
        self.data_received(b"%b %b HTTP/1.1\r\n%b\r\n%b" % (method, self.url, b"".join(kept), rest))

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._stop()
        super().connection_lost(exc)

    def _wait(self) -> None:
        self._stop()
        self._timer = self.loop.call_later(self.patience_s, self.transport.close)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
