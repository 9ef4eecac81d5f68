"""What counts as a measured number in a file: JSON in the wild also has NaN, Infinity, negative times and texts."""

from __future__ import annotations

import sys
from typing import Any

__all__ = ["measured"]


def measured(value: Any) -> float | None:
    """Return a finite number that is not negative; ``None`` for anything else, and for more than a float can hold."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if number and 0 <= value <= sys.float_info.max else None
