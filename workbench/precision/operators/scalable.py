"""Which weights a scale can cover."""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np

if TYPE_CHECKING:
    import onnx_ir as ir

__all__ = ["unscalable"]


def unscalable(weight: ir.TensorProtocol) -> str | None:
    """Say why no scale covers a weight, ``None`` where one does."""
    if weight not in _unscalable:
        array = weight.numpy()
        finite = np.isfinite(array)
        if not array.size:
            reason = "holds no number"
        elif finite.all():
            reason = None
        else:
            bad = array[~finite]
            reason = f"holds {bad.flat[0]} ({bad.size} of {array.size} numbers are not finite), which no scale covers"
        _unscalable[weight] = reason
    return _unscalable[weight]


# Plans are resolved often, and weights are large.
_unscalable: WeakKeyDictionary[ir.TensorProtocol, str | None] = WeakKeyDictionary()
