"""Samples were run, and every range follows from what they showed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from workbench.names import Method
from workbench.recipe.parts import SamplesReference
from workbench.recipe.steps.base import RangesStep

if TYPE_CHECKING:
    from collections.abc import Callable

    from workbench.recipe.state import State

__all__ = ["CalibrateStep"]


class CalibrateStep(RangesStep):
    """A calibration and the ranges it found, in full precision: replaying needs no forward pass.

    Parameters
    ----------
    method, percentile
        How thresholds were picked from the statistics.
    batch
        Samples a run, where the model's batch is dynamic.
    samples
        What was run.
    ranges
        Tensor name to clipping threshold (``amax``).
    sha256
        Over the ranges, so that a slip of an editor is noticed.
    overflow
        Tensors in which values beyond 65504 were seen, which FP16 cannot hold, with the largest magnitude; ``None``
        where the calibration did not look for any.
    unranged
        Tensors of which no range follows, and why; ``None`` where there are none. What reads them stays floating.
    device
        The GPU that ran the samples, and how far what it computed is from a processor's; ``None`` for the processor.
    """

    do: Literal["calibrate"] = "calibrate"
    method: Method
    percentile: float | None = None
    batch: int
    samples: SamplesReference
    ranges: dict[str, float]
    sha256: str = ""
    overflow: dict[str, float] | None = None
    unranged: dict[str, str] | None = None
    device: str | None = None

    @property
    def origins(self) -> dict[str, str]:
        """Where each range comes from."""
        return dict.fromkeys(self.ranges, self.method)

    def apply_to(self, state: State) -> State:
        """Return the state with the ranges, and with what FP16 could not hold."""
        state = super().apply_to(state).without_ranges(self.unranged or {})
        return state if self.overflow is None else state.with_overflow(self.overflow)

    def moved(self, move: Callable[[str], str]) -> CalibrateStep:
        """Return the step with the path of its file given to `move`."""
        moved = self.samples.moved(move)
        return self if moved is self.samples else self.model_copy(update={"samples": moved})
