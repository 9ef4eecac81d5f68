"""What TensorRT 8's compiler of transformers does to a plan that quantizes a part of one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.names import QUANTIZED
from workbench.precision.operators import POOLS

if TYPE_CHECKING:
    from workbench.precision.plan.resolution import Resolution

__all__ = ["left_in_fp32"]


def left_in_fp32(resolution: Resolution) -> list[str]:
    """Return the floating nodes that TensorRT 8 computes in FP32 whatever its flags allow.

    Where one matrix product has Q/DQ, Myelin, which takes all of a transformer but its convolutions, leaves the rest in
    FP32: on an H200 (8.6.0, ViT-S, batch 32) INT8 in the MLPs alone took 3.1 ms, in all products 1.8, FP16 alone 1.8.
    """
    decisions = resolution.decisions
    weak = resolution.target is not None and not resolution.target.strongly_typed
    if not weak or not any(d.op_type == "MatMul" and d.precision in QUANTIZED for d in decisions.values()):
        return []
    elsewhere = ("Conv", "ConvTranspose", *POOLS)
    return [node for node, d in decisions.items() if d.precision not in QUANTIZED and d.op_type not in elsewhere]
