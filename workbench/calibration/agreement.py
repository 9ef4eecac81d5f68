"""How far what a GPU computes is from what a processor does, on a few samples of both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from workbench.calibration.observer import observe
from workbench.calibration.samples import first_samples
from workbench.runtime import CPU

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workbench.calibration.samples import Samples
    from workbench.calibration.statistics import Statistics
    from workbench.graph import Model
    from workbench.runtime import Device

__all__ = ["RangeAgreement", "against_processor"]

_SAMPLES = 8
"""How many samples both run: a processor takes a hundred times as long as a GPU."""


@dataclass(frozen=True)
class RangeAgreement:
    """How far the largest magnitudes of tensors, which ranges follow from, are apart.

    Parameters
    ----------
    samples, tensors
        On how many, and of how many.
    median, most
        Relative differences.
    worst
        The tensor that differs most.
    """

    samples: int
    tensors: int
    median: float
    most: float
    worst: str

    def __str__(self) -> str:
        if not self.most:
            return f"the largest values of {self.tensors} tensors on {self.samples} samples are the processor's"
        return (
            f"the largest values of {self.tensors} tensors on {self.samples} samples differ from the processor's by "
            f"{self.median:.1e} of them (median; at most {self.most:.1e}, in {self.worst!r})"
        )


def against_processor(
    model: Model, tensors: Sequence[str], samples: Samples, device: Device, *, batch: int
) -> RangeAgreement:
    """Run the first samples on a device and on the processor; compare the largest magnitude of each tensor.

    Raises
    ------
    SamplesError
        The samples do not fit the model, or it makes nothing finite of one.
    BackendError
        ONNX Runtime refuses the model or fails.
    """
    few = first_samples(samples, _SAMPLES)
    there, here = (observe(model, tensors, few, batch=batch, device=where) for where in (device, CPU))
    return _agreement(there, here, len(few))


def _agreement(there: Statistics, here: Statistics, samples: int) -> RangeAgreement:
    apart = {
        name: abs(there[name].amax - seen.amax) / seen.amax if seen.amax else there[name].amax
        for name, seen in here.items()
    }
    worst = max(apart, key=apart.__getitem__, default="")
    median = float(np.median(list(apart.values()))) if apart else 0.0
    return RangeAgreement(samples, len(apart), median, apart.get(worst, 0.0), worst)
