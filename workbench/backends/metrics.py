"""How far two versions of an output are apart, summed up batch by batch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["Difference", "sqnr_db", "top1_hits"]


def sqnr_db(signal: float, noise: float) -> float:
    """Return the signal to quantization noise ratio, ``10 log10(signal / noise)``, in dB.

    Parameters
    ----------
    signal
        Sum of the squared reference.
    noise
        Sum of the squared error; 0 gives infinity.
    """
    if noise == 0.0:
        return math.inf
    return 10.0 * math.log10(signal / noise) if signal > 0.0 else -math.inf


@dataclass
class Difference:
    """Running comparison of one output with its reference, in float64 sums.

    Attributes
    ----------
    signal, other, product, noise
        Sums of x^2, y^2, x y and (x - y)^2 over reference x and test y; 0 for integer outputs.
    max_error
        The largest |x - y|.
    elements, differing
        Values compared, and those that are not equal.
    nonfinite
        Values of the test that are NaN or infinite where the reference is finite. They enter no sum.
    """

    signal: float = 0.0
    other: float = 0.0
    product: float = 0.0
    noise: float = 0.0
    max_error: float = 0.0
    elements: int = 0
    differing: int = 0
    nonfinite: int = 0
    floating: bool = True

    def update(self, reference: npt.NDArray[Any], test: npt.NDArray[Any]) -> None:
        """Add a batch: two arrays of one shape."""
        self.elements += reference.size
        self.differing += int((reference != test).sum())
        self.floating = reference.dtype.kind == "f"
        if not self.floating:
            return
        a, b = reference.astype(np.float64).ravel(), test.astype(np.float64).ravel()
        both = np.isfinite(a) & np.isfinite(b)
        self.nonfinite += int((np.isfinite(a) & ~np.isfinite(b)).sum())
        a, b = a[both], b[both]
        error = a - b
        self.signal += float(np.square(a).sum())
        self.other += float(np.square(b).sum())
        self.product += float((a * b).sum())
        self.noise += float(np.square(error).sum())
        self.max_error = max(self.max_error, float(np.abs(error).max(initial=0.0)))

    @property
    def sqnr(self) -> float:
        """Signal to quantization noise ratio in dB; infinite where equal, NaN for integers."""
        return sqnr_db(self.signal, self.noise) if self.floating else math.nan

    @property
    def cosine(self) -> float:
        """Cosine of the angle between the two; NaN where one of them is all zero, and for integers."""
        norms = math.sqrt(self.signal * self.other)
        return self.product / norms if norms and self.floating else math.nan


def top1_hits(scores: npt.NDArray[Any], labels: npt.NDArray[np.int64]) -> int:
    """Count the samples whose largest score is that of their label.

    Parameters
    ----------
    scores
        [N, C], or [N, ...] that flattens to it.
    labels
        [N] class indices.
    """
    return int((scores.reshape(len(labels), -1).argmax(axis=1) == labels).sum())
