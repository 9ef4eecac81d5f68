"""Counts as they lie in a file: bytes of one significance together, which compress."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["by_significance", "from_significance"]


def by_significance(counts: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Return bytes, the least significant of all counts first: the upper ones are nearly all zero and compress away."""
    return np.moveaxis(counts.view(np.uint8).reshape(*counts.shape, 8), -1, 0)


def from_significance(planes: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return counts from what `by_significance` made."""
    return np.asarray(np.moveaxis(planes, 0, -1), order="C").view("<i8")[..., 0].astype(np.int64)
