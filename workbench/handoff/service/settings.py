"""What a service allows."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Settings"]


@dataclass(frozen=True)
class Settings:
    """What a service allows, so that no client takes it from the others.

    Parameters
    ----------
    body_bytes
        The largest body of a request, compressed and not; larger ones are answered 413.
    concurrency
        Inference requests at a time, those that still arrive among them; more are answered 429.
    timeout_s
        How long a request may wait for the engine where the client gives no shorter time; then it is answered 504.
    transfer_s
        How long a body may take to arrive (408), and an answer to leave.
    """

    body_bytes: int = 64 << 20
    concurrency: int = 256
    timeout_s: float = 30.0
    transfer_s: float = 30.0
