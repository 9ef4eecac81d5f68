"""How wrong the outputs are: SQNR, Kullback-Leibler divergence, and any figure of the task."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from workbench.evaluate import Difference
from workbench.graph import is_floating

__all__ = ["ErrorSum", "Outputs", "TaskMetric", "divergence"]

Outputs = Mapping[str, npt.NDArray[Any]]
"""What one run computed: output name to array."""

TaskMetric = Callable[[Sequence[Outputs]], float]
"""A figure of the task, higher is better, from the outputs of all runs in the order of the samples."""


def divergence(reference: npt.NDArray[Any], test: npt.NDArray[Any]) -> tuple[float, int]:
    """Return the summed Kullback-Leibler divergence between rows of two outputs, in nats, and how many rows there are.

    A row is the last axis: probabilities where the reference's rows are such, else logits, of which the softmax is
    taken. KL(p || q) = sum p log(p / q) with p of the reference; probabilities below 1e-12 count as that.

    Parameters
    ----------
    reference, test
        Integers, rows of one value, rows with NaN and arrays of different shapes have no divergence: 0 rows.
    """
    if not is_floating(reference.dtype) or reference.ndim == 0 or reference.shape[-1] < 2:
        return 0.0, 0
    if reference.shape != test.shape:
        return 0.0, 0
    a, b = (x.astype(np.float64).reshape(-1, x.shape[-1]) for x in (reference, test))
    if not (a.min(initial=0.0) >= 0 and np.allclose(a.sum(axis=1), 1, atol=1e-3)):
        a, b = _softmax(a), _softmax(b)
    finite = np.isfinite(a).all(axis=1) & np.isfinite(b).all(axis=1)
    p, q = np.maximum(a[finite], 1e-12), np.maximum(b[finite], 1e-12)
    return float((p * np.log(p / q)).sum()), len(p)


def _softmax(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    with np.errstate(invalid="ignore"):  # a row of infinities, which is then left out
        e = np.exp(x - x.max(axis=1, keepdims=True))
        return np.asarray(e / e.sum(axis=1, keepdims=True))


@dataclass
class ErrorSum:
    """Running error of a model's outputs against their reference.

    Attributes
    ----------
    differences
        One running comparison an output.
    kl, rows
        Summed divergence in nats, and the rows it is of.

    Parameters
    ----------
    diverging
        Whether the divergence is wanted, which takes longer than all else.
    """

    diverging: bool = True
    differences: dict[str, Difference] = field(default_factory=dict)
    kl: float = 0.0
    rows: int = 0

    def update(self, reference: Outputs, test: Outputs) -> None:
        """Add a run. Outputs that `test` lacks are as the reference has them."""
        for name, original in reference.items():
            changed = test.get(name, original)
            self.differences.setdefault(name, Difference()).update(original, changed)
            if self.diverging:
                kl, rows = divergence(original, changed)
                self.kl, self.rows = self.kl + kl, self.rows + rows

    @property
    def sqnr_db(self) -> float:
        """The lowest SQNR of any floating-point output in dB; NaN where there is none."""
        values = [difference.sqnr for difference in self.differences.values()]
        return min((value for value in values if not math.isnan(value)), default=math.nan)

    @property
    def differing(self) -> float | None:
        """The largest share of values that differ in an output, where all are whole numbers; else `None`."""
        if any(one.floating for one in self.differences.values()):
            return None
        return max((one.differing / max(one.elements, 1) for one in self.differences.values()), default=None)

    @property
    def nonfinite(self) -> int:
        """Values of all outputs that became NaN or infinite."""
        return sum(difference.nonfinite for difference in self.differences.values())

    @property
    def mean_kl(self) -> float:
        """Mean divergence of a row in nats; NaN where no output has rows."""
        return self.kl / self.rows if self.rows else math.nan
