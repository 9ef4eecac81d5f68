"""Bodies of requests: received within a size and a time, and uncompressed within the same size."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

import anyio

from workbench.handoff.service.request_error import RequestError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, MutableMapping

    from workbench.handoff.service.settings import Settings

    Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

__all__ = ["Gone", "receive_body"]

_WINDOWS = {b"gzip": 16 + zlib.MAX_WBITS, b"deflate": zlib.MAX_WBITS}


class Gone(Exception):  # noqa: N818 - nobody is told: there is nobody left
    """The client went away before its request was whole."""


async def receive_body(receive: Receive, headers: Mapping[bytes, bytes], settings: Settings) -> bytes:
    """Receive a body.

    Raises
    ------
    RequestError
        411 to 415: it is too large, too slow, or compressed in an unknown way.
    Gone
        The client went away.
    """
    stated = headers.get(b"content-length", b"0")
    if not stated.isdigit() or int(stated) > settings.body_bytes:
        raise _too_large(settings)
    first = await _arrived(receive, settings)
    body = first.get("body", b"")
    if first.get("more_body"):
        body = await _rest(receive, body, settings)
    elif len(body) > settings.body_bytes:
        raise _too_large(settings)
    encoding = headers.get(b"content-encoding", b"identity").strip().lower()
    return body if encoding == b"identity" else _inflated(body, encoding, settings)


async def _arrived(receive: Receive, settings: Settings) -> MutableMapping[str, Any]:
    message: MutableMapping[str, Any] | None = None
    with anyio.move_on_after(settings.transfer_s):
        message = await receive()
    if message is None:
        raise _too_slow(settings)
    if message["type"] == "http.disconnect":
        raise Gone
    return message


async def _rest(receive: Receive, begun: bytes, settings: Settings) -> bytes:
    # A buffer that grows: pieces kept side by side would be as many objects as a client likes.
    body = bytearray(begun)
    whole = False
    with anyio.move_on_after(settings.transfer_s):
        while not whole:
            if len(body) > settings.body_bytes:
                raise _too_large(settings)
            message = await receive()
            if message["type"] == "http.disconnect":
                raise Gone
            body += message.get("body", b"")
            whole = not message.get("more_body")
    if not whole:
        raise _too_slow(settings)
    if len(body) > settings.body_bytes:
        raise _too_large(settings)
    return bytes(body)


def _inflated(body: bytes, encoding: bytes, settings: Settings) -> bytes:
    if encoding not in _WINDOWS:
        raise RequestError(
            415,
            f"Content-Encoding {encoding[:40].decode('latin-1')!r} is not known",
            fix="Send it as gzip, deflate or as it is.",
        )
    inflating = zlib.decompressobj(_WINDOWS[encoding])
    try:
        content = inflating.decompress(body, settings.body_bytes + 1)
    except zlib.error as error:
        raise RequestError(400, f"the body is no {encoding.decode()}: {error}", fix="Compress it again.") from None
    if len(content) > settings.body_bytes:
        raise _too_large(settings)
    if not inflating.eof:
        raise RequestError(400, f"the {encoding.decode()} body ends early", fix="Compress it again.")
    return content


def _too_large(settings: Settings) -> RequestError:
    return RequestError(
        413,
        f"the body is larger than {settings.body_bytes >> 20} MiB",
        fix="Send fewer rows at once, or in the binary extension, or raise --max-body-mib.",
        closing=True,
    )


def _too_slow(settings: Settings) -> RequestError:
    return RequestError(
        408,
        f"the body did not arrive within {settings.transfer_s:g} s",
        fix="Send it faster, or in smaller requests.",
        closing=True,
    )
