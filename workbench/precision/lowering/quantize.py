"""The numbers of quantization: scales from thresholds, 8-bit values from weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import onnx_ir as ir

if TYPE_CHECKING:
    from workbench.names import Floating, Quantized

__all__ = ["QMAX", "STORED", "quantize_weight", "representable", "scale_of"]

QMAX: dict[Quantized, int] = {"int8": 127, "fp8": 448}
"""The largest number: symmetric INT8 uses -127 to 127 (TensorRT wants zero point 0, and -128 has no mirror image);
E4M3 ends at 448 (Micikevicius et al. 2022, "FP8 Formats for Deep Learning", table 1)."""

STORED: dict[Quantized, ir.DataType] = {"int8": ir.DataType.INT8, "fp8": ir.DataType.FLOAT8E4M3FN}
"""How the 8-bit numbers are stored."""

GRIDS: dict[Floating, tuple[npt.DTypeLike, float]] = {
    "fp16": (np.float16, 2.0**-20),
    "bf16": (ml_dtypes.bfloat16, float(np.finfo(np.float32).tiny)),
}
"""Type and smallest scale. An FP16 scale may be subnormal: it multiplies in a DequantizeLinear, and the values are
rounded with the very scale that is stored. At 2^-20 it has four bits left."""

_PART = 1 << 17
"""Values of a weight that are quantized at once."""


def scale_of(
    amax: npt.NDArray[Any] | float, quantized: Quantized = "int8", floating: Floating = "fp32"
) -> npt.NDArray[np.float32]:
    """Return the scale of a clipping threshold, ``amax / 127`` for INT8 and ``amax / 448`` for FP8, in float32.

    Nothing (0) gets scale 1, which represents it exactly; a threshold so small that its scale would be subnormal gets
    the smallest normal one, because GPUs flush subnormal numbers to zero and would divide by it.

    Parameters
    ----------
    amax
        The largest magnitude that has to be represented.
    quantized
        INT8 or FP8 (E4M3).
    floating
        The type in which the scale is stored: the result is a number of it, rounded up so that nothing is clipped that
        was not before.
    """
    values = np.asarray(amax, dtype=np.float32)
    scale = np.maximum(values / np.float32(QMAX[quantized]), np.finfo(np.float32).tiny)
    scale = np.asarray(np.where(values > 0, scale, np.float32(1)), dtype=np.float32)
    if floating == "fp32":
        return scale
    kind, smallest = GRIDS[floating]
    rounded = np.maximum(scale, np.float32(smallest)).astype(kind)
    up = np.nextafter(rounded, np.asarray(np.inf, dtype=kind))
    return np.asarray(np.where(rounded.astype(np.float32) < scale, up, rounded), dtype=np.float32)


def representable(amax: float, quantized: Quantized, floating: Floating, *, divides: bool = False) -> bool:
    """Say whether the scale of a threshold can be stored in a type.

    Parameters
    ----------
    amax, quantized, floating
        See `scale_of`.
    divides
        Whether it is a QuantizeLinear's, which divides by it: in FP16 it must be normal then, so that its reciprocal is
        finite.
    """
    scale = float(scale_of(amax, quantized))
    smallest = 2.0**-14 if divides else GRIDS["fp16"][1]
    return floating != "fp16" or amax == 0 or smallest <= scale <= float(np.finfo(np.float16).max)


def quantize_weight(
    weight: npt.NDArray[np.floating[Any]],
    axis: int | None,
    quantized: Quantized = "int8",
    floating: Floating = "fp32",
) -> tuple[npt.NDArray[Any], npt.NDArray[np.float32]]:
    """Quantize a weight: ``q = clip(round(w / scale))``, half to even, symmetric.

    Parameters
    ----------
    weight
        Floating point, any shape.
    axis
        The axis that counts output channels; ``None`` for one scale.
    quantized
        INT8, or FP8 (E4M3).
    floating
        The type in which the scale is stored; see `scale_of`.

    Returns
    -------
    tuple of ndarray
        8-bit values of the same shape, and the float32 scale: one a channel, or a scalar.
    """
    values = np.asarray(weight, dtype=np.float32)
    others = None if axis is None else tuple(i for i in range(values.ndim) if i != axis % values.ndim)
    largest = np.maximum(values.max(axis=others, initial=0.0), -values.min(axis=others, initial=0.0))
    scale = scale_of(np.abs(largest), quantized, floating)
    shape = [1] * values.ndim
    if axis is not None:
        shape[axis] = -1
    stored = np.empty(values.shape, np.int8 if quantized == "int8" else ml_dtypes.float8_e4m3fn)
    _fill(np.atleast_1d(stored), np.atleast_1d(values), scale.reshape(shape or 1), quantized)
    return stored, scale


def _fill(
    stored: npt.NDArray[Any], values: npt.NDArray[np.float32], scale: npt.NDArray[np.float32], quantized: Quantized
) -> None:
    """Quantize a part at a time: what lies between the weight and its 8 bits stays in the processor's cache."""
    rows = max(1, _PART * len(values) // max(values.size, 1))
    most = QMAX[quantized]
    for first in range(0, len(values), rows):
        part = slice(first, first + rows)
        scaled = values[part] / (scale[part] if len(scale) > 1 else scale)
        if quantized == "int8":
            np.rint(scaled, out=scaled)
        np.clip(scaled, -most, most, out=scaled)
        stored[part] = scaled
