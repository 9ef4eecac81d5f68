"""What a check of an edit came to: how far the outputs moved, or why they were not compared."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["OUTSIDE", "TOLERANCE", "Equivalence", "Unchecked"]

TOLERANCE = 1e-4
"""Of an output's largest value: folding rounds anew, which is some 1e-6; a mistake is seldom below 1e-2."""


@dataclass(frozen=True)
class Equivalence:
    """How far the outputs of two versions of a model are apart.

    Parameters
    ----------
    errors
        Output to the largest absolute difference over the largest absolute value of the first model's; infinite where
        the shape or the type differs, or where a finite value became NaN or infinite. For integers the share of values
        that differ.
    inputs
        What was fed, in words.
    sqnr
        Signal to noise ratio of the worst output, in dB; infinite where all are equal.
    allowed
        Up to which error the two count as equal.
    empty
        Outputs without a finite value to compare.
    partly
        Why not the model as a whole was compared, but the part that was touched; ``None`` where the whole was.
    """

    errors: Mapping[str, float]
    inputs: str
    sqnr: float = math.inf
    allowed: float = TOLERANCE
    empty: tuple[str, ...] = ()
    partly: str | None = None

    @property
    def worst(self) -> tuple[str, float]:
        """The output that differs most, and by how much."""
        return max(self.errors.items(), key=lambda entry: entry[1])

    def holds(self, tolerance: float | None = None) -> bool:
        """Say whether every output is within a tolerance, `allowed` where left out; see `errors` for what of."""
        return self.worst[1] <= (self.allowed if tolerance is None else tolerance)

    def __str__(self) -> str:
        name, error = self.worst
        count = f"{len(self.errors)} outputs" if len(self.errors) > 1 else "the output"
        details = f", on {self.inputs}" + (f"; nothing to compare in {', '.join(self.empty)}" if self.empty else "")
        details += "" if self.partly is None else f"; the whole was not checked: {self.partly}"
        if error == 0.0:
            return f"{count} exactly as before{details}"
        most = f", the most in {name}" if len(self.errors) > 1 else ""
        ratio = f" (SQNR {self.sqnr:.0f} dB)" if math.isfinite(self.sqnr) else ""
        own = f", {self.allowed:.2g} allowed" if self.allowed != TOLERANCE else ""
        return f"{count} within {error:.2g} of the largest value{ratio}{most}{own}{details}"


@dataclass(frozen=True)
class Unchecked:
    """Why no numbers were compared.

    Parameters
    ----------
    reason
        In words that follow "because".
    """

    reason: str

    def __str__(self) -> str:
        return f"not checked, because {self.reason}"


OUTSIDE = Unchecked("the edit was made outside of a workbench")
