"""How many standard errors a mean of few differences has to lie from 0 before that counts: Student's t.

An error that was itself estimated of few loadings is uncertain, so that more of it is asked for: of two loadings the
same engine beside itself differs by more than two standard errors three times in ten.
"""

from __future__ import annotations

import math
from functools import cache

__all__ = ["errors_apart"]

HALVINGS = 60
"""Of the angle that is looked for, to the last bit of its number."""


@cache
def errors_apart(count: int, mistaken: float) -> float:
    """Return the standard errors beyond which a mean lies by chance in so few cases, on either side of 0.

    Parameters
    ----------
    count
        Of how many differences it is the mean; infinite for one, of which nothing is certain.
    mistaken
        The share of cases, 0 to 1.

    Notes
    -----
    M. Abramowitz, I. Stegun, "Handbook of Mathematical Functions", 26.7.3 and 26.7.4.
    """
    if count < 2:
        return math.inf
    freedom, low, high = count - 1, 0.0, math.pi / 2
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if 1 - _within(middle, freedom) > mistaken else (low, middle)
    return math.sqrt(freedom) * math.tan(high)


def _within(angle: float, freedom: int) -> float:
    """Return the share of all t whose size is below the root of `freedom` times the tangent of an angle."""
    odd = freedom % 2
    term = math.cos(angle) if odd else 1.0
    total = 0.0
    for power in range(2 + odd, freedom + 1, 2):
        total += term
        term *= math.cos(angle) ** 2 * (power - 1) / power
    share = math.sin(angle) * total
    return 2 / math.pi * (angle + share) if odd else share
