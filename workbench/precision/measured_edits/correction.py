"""How far quantization shifts the mean of each channel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from workbench.calibration import feeds
from workbench.graph import names_in
from workbench.graph.edits import CorrectBias, uncorrectable
from workbench.precision.sensitivity import all_quantized, beside
from workbench.runtime import Session

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from workbench.calibration import Samples
    from workbench.graph import Model
    from workbench.precision.plan import Resolution

__all__ = ["bias_shifts"]


def bias_shifts(
    model: Model,
    candidates: Sequence[str],
    ranges: Mapping[str, float],
    samples: Samples,
    *,
    batch: int = 1,
    resolution: Resolution | None = None,
) -> CorrectBias:
    """Return the edit that takes the mean error of each quantized node out of its bias; one pass over the samples.

    The shift of a channel is the mean of its floating-point result less the mean of its quantized result, both on the
    floating-point input: what a node adds itself, without what nodes before it do, whose own shifts are taken back in
    their own biases.

    Parameters
    ----------
    model
        The model after its edits.
    candidates
        Nodes that get INT8; those without a bias of their own (Add, MatMul) are left out, and those whose bias takes
        no number a channel.
    ranges
        Tensor name to clipping threshold.
    samples
        What to run.
    batch
        Samples a run for a model of dynamic batch.
    resolution
        The plan whose rules say how the nodes are quantized; see `workbench.precision.sensitivity.measured.exact`.

    Raises
    ------
    PrecisionError
        A node cannot be INT8, or a range is missing.
    """
    biased = [node for node in candidates if uncorrectable(model.top_nodes[node]) is None]
    if not biased:
        return CorrectBias(shifts={})
    lowered = all_quantized(model, candidates, ranges, resolution)
    whole, pairs = beside(model, lowered, biased)
    names, outputs = names_in(whole.graph), {}
    for name, original, copy in pairs:
        difference = ir.node("Sub", [original, copy], name=names.node(f"{name}/difference"))
        outputs[name] = difference.outputs[0].name = names.tensor(f"{name}/difference")
        difference.outputs[0].type = ir.TensorType(ir.DataType.FLOAT)
        whole.graph.append(difference)
        whole.graph.outputs.append(difference.outputs[0])
    copied = model.replaced(whole)
    session: Session | None = None
    sums: dict[str, NDArray[np.float64]] = {}
    seen = dict.fromkeys(biased, 0)
    for feed in feeds(samples, model, batch=batch):
        session = session or Session(copied, untried=feed.arrays)
        results = session.run(feed.arrays)
        for name in biased:
            result = results[outputs[name]]
            real = result[feed.real(result)]
            # Channels are axis 1 of a convolution's result and of a Gemm's.
            added = real.sum(axis=tuple(axis for axis in range(real.ndim) if axis != 1), dtype=np.float64)
            sums[name] = sums.get(name, np.zeros_like(added)) + added
            seen[name] += real.size // real.shape[1]
    means = {name: np.float32(total / seen[name]) for name, total in sums.items() if seen[name]}
    # A sample that is NaN there tells nothing of the mean.
    means = {name: mean for name, mean in means.items() if np.isfinite(mean).all()}
    shifts = {name: tuple(float(x) for x in mean) for name, mean in means.items()}
    return CorrectBias(shifts=shifts)
