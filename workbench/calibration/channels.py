"""The extremes of each channel of a tensor."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from workbench.errors import SamplesError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from workbench.graph import Model

__all__ = ["ChannelExtremes", "channel_axes"]


@dataclass
class ChannelExtremes:
    """The extremes of each channel, exact.

    Attributes
    ----------
    axis
        Which axis of the tensor holds the channels.
    minimum, maximum
        float32 arrays, one value a channel; empty before the first update.
    """

    axis: int
    minimum: NDArray[np.float32] = field(default_factory=lambda: np.empty(0, np.float32))
    maximum: NDArray[np.float32] = field(default_factory=lambda: np.empty(0, np.float32))

    def update(self, array: NDArray[np.float32]) -> None:
        """Widen by the finite values of an array."""
        others = tuple(i for i in range(array.ndim) if i != self.axis % array.ndim)
        finite = np.isfinite(array)
        whole = bool(finite.all())
        low = array.min(others) if whole else np.where(finite, array, np.inf).min(others)
        high = array.max(others) if whole else np.where(finite, array, -np.inf).max(others)
        self.widen(low, high)

    def merge(self, other: ChannelExtremes) -> None:
        """Widen by what other values showed."""
        if other.minimum.size:
            self.widen(other.minimum, other.maximum)

    def widen(self, low: NDArray[np.float32], high: NDArray[np.float32]) -> None:
        """Widen by the extremes of each channel, infinity and minus infinity where there is none."""
        if not self.minimum.size:
            self.minimum, self.maximum = low.astype(np.float32), high.astype(np.float32)
            return
        if self.minimum.shape != low.shape:
            raise SamplesError(
                f"a tensor had {self.minimum.size} channels and now has {low.size}",
                fix="Observe tensors whose channels vary in number without per-channel extremes",
            )
        self.minimum, self.maximum = np.minimum(self.minimum, low), np.maximum(self.maximum, high)


def channel_axes(model: Model, tensors: Iterable[str], axis: int) -> dict[str, int]:
    """Return those tensors whose length along an axis is fixed, with that axis."""
    shapes = {name: model.tensor(name).shape for name in tensors}
    return {
        name: axis
        for name, shape in shapes.items()
        if shape is not None and -len(shape) <= axis < len(shape) and isinstance(shape[axis], int)
    }
