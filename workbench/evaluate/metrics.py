"""How far two versions of an output are apart, summed up batch by batch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.graph import is_floating

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["Difference", "sqnr_db", "sqnr_text", "top1_hits"]


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
    ratio = signal / noise
    return -math.inf if ratio <= 0.0 else 10.0 * math.log10(ratio)


def sqnr_text(value: float) -> str:
    """Return an SQNR in words: infinite only where equal, minus infinity where nothing of it is left."""
    if math.isnan(value):
        return "no SQNR"
    return f"{value:.1f} dB" if math.isfinite(value) else "equal" if value > 0 else "nothing left"


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
    finite
        Floating-point values of which both are finite; the sums are of these.
    nonfinite
        Values of the test that are NaN or infinite where the reference is something else.
    became_finite
        Values of the test that are finite where the reference is NaN or infinite. They differ, and no sum holds them:
        behind a row that is masked as a whole, and at padding, nothing is right or wrong.
    reshaped
        Runs in which the test has another shape, as where an output lists what was found. It counts as if the test were
        zero, and all of its values differ.
    """

    signal: float = 0.0
    other: float = 0.0
    product: float = 0.0
    noise: float = 0.0
    max_error: float = 0.0
    elements: int = 0
    differing: int = 0
    finite: int = 0
    nonfinite: int = 0
    became_finite: int = 0
    reshaped: int = 0
    floating: bool = True

    def update(self, reference: npt.NDArray[Any], test: npt.NDArray[Any]) -> None:
        """Add a batch."""
        self.floating = is_floating(reference.dtype)
        self.elements += max(reference.size, test.size)
        if reference.shape != test.shape:
            self.reshaped += 1
            self.differing += max(reference.size, test.size)
            if self.floating:
                self.nonfinite += int((~np.isfinite(test.astype(np.float64))).sum())
                self._add(reference.astype(np.float64).ravel(), np.zeros(reference.size))
        elif not reference.size:
            return  # of no elements there may be any number along the other axes, which NumPy refuses to copy
        elif self.floating:
            a, b = reference.astype(np.float64).ravel(), test.astype(np.float64).ravel()
            unequal = a != b
            finite = np.isfinite(b)
            if not finite.all():
                unequal &= ~(np.isnan(a) & np.isnan(b))
                self.nonfinite += int((unequal & ~finite).sum())
            self.became_finite += int((finite & ~np.isfinite(a)).sum())
            self.differing += int(np.count_nonzero(unequal))
            self._add(a, b)
        else:
            self.differing += int((reference != test).sum())

    def _add(self, a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> None:
        both = np.isfinite(a) & np.isfinite(b)
        if not both.all():
            a, b = a[both], b[both]
        self.finite += a.size
        error = a - b
        self.signal += float(np.square(a).sum())
        self.other += float(np.square(b).sum())
        self.product += float((a * b).sum())
        self.noise += float(np.square(error).sum())
        self.max_error = max(self.max_error, float(np.abs(error).max(initial=0.0)))

    @property
    def sqnr(self) -> float:
        """Signal to quantization noise ratio in dB.

        Infinite where equal, minus infinity where values became NaN or infinite, NaN for integers and where there was
        no value to compare.
        """
        if self.floating and self.nonfinite:
            return -math.inf
        return sqnr_db(self.signal, self.noise) if self.floating and self.finite else math.nan

    @property
    def cosine(self) -> float:
        """Cosine of the angle between the two; NaN where one of them is all zero, and for integers."""
        norms = math.sqrt(self.signal * self.other)
        return self.product / norms if norms and self.floating else math.nan


def top1_hits(scores: npt.NDArray[Any], labels: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Return, for each sample, whether its largest score is that of its label.

    Parameters
    ----------
    scores
        [N, C], or [N, ...] that flattens to it.
    labels
        [N] class indices. A row that holds NaN is no hit.
    """
    rows = scores.reshape(len(labels), -1)
    numbers = ~np.isnan(rows).any(axis=1)  # argmax takes NaN for the largest
    hits: npt.NDArray[np.bool_] = numbers & (rows.argmax(axis=1) == labels)
    return hits
