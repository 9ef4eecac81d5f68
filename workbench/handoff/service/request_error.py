"""What a client is told: a status, what is wrong, and what to do."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import orjson

from workbench.errors import WorkbenchError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

__all__ = ["RequestError", "fault", "send_error"]


class RequestError(WorkbenchError):
    """A request that is not answered with a result.

    Parameters
    ----------
    status
        The HTTP status.
    what, where, fix
        As of every error.
    retry_after
        Seconds after which another try makes sense; ``None`` where none does.
    closing
        The connection ends with the answer: there may be more on its way that nobody will read.
    allow
        The methods that there are instead.
    """

    def __init__(
        self,
        status: int,
        what: str,
        *,
        where: object = None,
        fix: str | None = None,
        retry_after: int | None = None,
        closing: bool = False,
        allow: str | None = None,
    ) -> None:
        super().__init__(what, where=where, fix=fix)
        self.status = status
        self.retry_after = retry_after
        self.closing = closing
        self.allow = allow

    @property
    def headers(self) -> dict[str, str]:
        """What goes with the answer."""
        headers = {} if self.retry_after is None else {"retry-after": str(self.retry_after)}
        if self.allow is not None:
            headers["allow"] = self.allow
        return headers | ({"connection": "close"} if self.closing else {})

    @property
    def content(self) -> bytes:
        """The answer, as the protocol has it."""
        return orjson.dumps({"error": str(self)})


def fault(error: Exception) -> RequestError:
    """Return what a client is told of a fault inside of the service, and write it to the log."""
    logging.getLogger(__name__).error("a request failed", exc_info=error)
    fix = "This is a fault of the service: its log has more."
    return RequestError(500, f"the request failed inside of the service ({type(error).__name__})", fix=fix)


async def send_error(send: Send, error: RequestError) -> None:
    """Answer with what is wrong."""
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(error.content))]
    headers += [(name.encode(), value.encode()) for name, value in error.headers.items()]
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": error.content})
