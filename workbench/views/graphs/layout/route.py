"""Step 6: the points of every edge, from the foot of its tail to the top of its head, clear of all other nodes."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Point", "ports"]

Point = tuple[float, float]

_INSET = 8.0
_NEAR = 9.0


def ports(places: Sequence[float], rank: Sequence[float], low: float, high: float) -> list[float]:
    """Return x on one side of a box for each edge that wants to meet it at `places`, in order and not too close.

    Parameters
    ----------
    places
        Where each edge would like to meet the box.
    rank
        What their order from left to right goes by: where they come from or go to.
    low, high
        The ends of the side.
    """
    inset = min(_INSET, (high - low) / 2)
    low, high = low + inset, high - inset
    near = min(_NEAR, (high - low) / max(len(places) - 1, 1))
    order = sorted(range(len(places)), key=rank.__getitem__)
    x = [min(max(value, low), high) for value in places]
    for before, after in itertools.pairwise(order):
        x[after] = max(x[after], x[before] + near)
    ceiling = high
    for index in reversed(order):
        x[index] = min(x[index], ceiling)
        ceiling = x[index] - near
    return x
