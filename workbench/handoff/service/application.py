"""The ASGI application: inference requests go straight to the service, everything else through FastAPI.

FastAPI's routing and checking would take longer than a small model.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from workbench.handoff.service.request_error import RequestError, send_error
from workbench.handoff.service.routes import routes

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    from workbench.handoff.service.service import Service

    Message = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]

__all__ = ["Application"]

_INFER = re.compile(r"/v2/models/([^/]+)(?:/versions/([^/]+))?/infer\Z")


class Application:
    """A service as an ASGI application.

    Parameters
    ----------
    service
        What answers.
    """

    def __init__(self, service: Service) -> None:
        self.service = service
        self._others = routes(service)

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer a request."""
        path = _INFER.match(scope["path"]) if scope["type"] == "http" else None
        if path is None:
            await self._others(scope, receive, send)
        elif scope["method"] != "POST":
            what = f"inference takes no {scope['method']:.20}"
            await send_error(send, RequestError(405, what, fix="Send the request as POST.", allow="POST"))
        else:
            await self.service.infer(path[1], path[2], dict(scope["headers"]), receive, send)
