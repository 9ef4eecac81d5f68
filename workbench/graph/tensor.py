"""What is known of a tensor before anything runs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Tensor", "is_floating", "packed_bytes"]


def is_floating(dtype: np.dtype[Any]) -> bool:
    """Say whether numbers are floating-point; BFLOAT16 and its like are of no kind that NumPy knows."""
    return dtype.kind == "f" or "float" in dtype.name


def packed_bytes(lengths: Iterable[int], dtype: ir.DataType) -> int:
    """Return the bytes of a tensor as ONNX stores it, types of less than a byte packed; exact, however many there are.

    Raises
    ------
    TypeError
        Elements of the type have no size of their own: text.
    """
    return -(-math.prod(lengths) * dtype.bitwidth // 8)


@dataclass(frozen=True)
class Tensor:
    """What is known of a tensor before anything runs.

    Parameters
    ----------
    name
        The tensor's name in the graph.
    shape
        One entry an axis: a length, a symbolic name, or ``None`` where nothing is known; ``None`` for unknown rank.
    dtype
        The element type as ONNX spells it (``FLOAT``, ``INT64``, ...), ``None`` where unknown.
    form
        What it is instead of a tensor, in words (``sequence of FLOAT``, ``map of INT64 to FLOAT``, ...); empty for a
        tensor. It then has no shape and no element type.
    """

    name: str
    shape: tuple[int | str | None, ...] | None
    dtype: str | None
    form: str = ""

    @cached_property
    def static_shape(self) -> tuple[int, ...] | None:
        """The shape where every axis has a known length, else ``None``."""
        if self.shape is None:
            return None
        lengths = tuple([length for length in self.shape if isinstance(length, int)])
        return lengths if len(lengths) == len(self.shape) else None

    @property
    def numpy_dtype(self) -> np.dtype[np.generic] | None:
        """The element type as NumPy has it, ``None`` where unknown."""
        return None if self.dtype is None else np.dtype(ir.DataType[self.dtype].numpy())

    @property
    def nbytes(self) -> int | None:
        """Bytes of its elements, ``None`` where that is not known."""
        shape = self.static_shape
        if shape is None or self.dtype in (None, "STRING"):
            return None
        return packed_bytes(shape, ir.DataType[str(self.dtype)])

    def __str__(self) -> str:
        if self.form:
            return f"{self.name} {self.form}"
        shape = "?" if self.shape is None else "x".join("?" if n is None else str(n) for n in self.shape)
        return f"{self.name} {(self.dtype or '?').lower()}[{shape}]"
