"""Damaged samples, and NaN and infinity that a model is meant to see: told apart by what comes out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.errors import SamplesError
from workbench.graph import is_floating
from workbench.runtime import Session

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from numpy.typing import NDArray

    from workbench.calibration.samples import Feed
    from workbench.graph import Model

__all__ = ["Damage"]


class Damage:
    """Looks at what holds NaN or infinity, and refuses samples of which the model makes nothing finite.

    A mask holds -inf, padding may be NaN, and a row of attention that is masked throughout becomes NaN: the model takes
    that and its outputs hold numbers all the same. A picture with a NaN in it makes every score NaN.

    Parameters
    ----------
    model
        The model to run.
    any_order
        Tensors whose arrays may hold their values in another order.
    """

    def __init__(self, model: Model, any_order: Collection[str] = ()) -> None:
        self._model, self._any_order = model, any_order
        self._session: Session | None = None
        self._last: Feed | None = None

    def look(self, feed: Feed, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Look at inputs or other tensors of a run.

        Raises
        ------
        SamplesError
            Some are not finite, and an output of the same sample holds no finite number at all.
        """
        floating = {name: array for name, array in arrays.items() if is_floating(array.dtype)}
        odd = {name: array for name, array in floating.items() if not np.isfinite(array).all()}
        if not odd or feed is self._last:
            return
        self._last = feed
        self._session = self._session or Session(self._model)
        for output, array in self._session.run(feed.arrays).items():
            sample = _dead(array, feed)
            if sample is not None:
                name, holder = next(iter(odd.items()))
                if name in self._any_order:
                    holder = Session(self._model, outputs=[name]).run(feed.arrays)[name]
                raise SamplesError(
                    f"{_first(holder)}, and its output {output!r} holds no finite number",
                    where=f"tensor {name!r}, {_which(feed, sample)}",
                    fix="Mend or remove the sample; if many do it, look for an overflow in the model",
                )


def _dead(array: Any, feed: Feed) -> int | None:
    """Return the first sample of a run of which an output holds numbers, but no finite one."""
    if not isinstance(array, np.ndarray) or not is_floating(array.dtype) or not array.size:
        return None
    real = array[feed.real(array)]
    apart = real.ndim > 0 and len(real) == feed.count == feed.rows
    dead = ~np.isfinite(real.reshape(feed.count if apart else 1, -1)).any(axis=1)
    return int(dead.argmax()) if dead.any() else None


def _which(feed: Feed, sample: int) -> str:
    if feed.count in (1, feed.rows):
        return f"sample {feed.first + sample}"
    return f"samples {feed.first} to {feed.first + feed.count - 1}"


def _first(array: NDArray[Any]) -> str:
    place = np.argwhere(~np.isfinite(array))[0]
    return f"{array[tuple(place)]} at {[int(i) for i in place]}"
