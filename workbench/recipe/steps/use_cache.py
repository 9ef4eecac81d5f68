"""Ranges out of a calibration cache."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from workbench.recipe.parts import FileReference
from workbench.recipe.steps.base import RangesStep

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["CacheStep"]


class CacheStep(RangesStep):
    """Ranges out of a calibration cache, those of tensors that the model has.

    Parameters
    ----------
    cache
        The file.
    ranges, sha256
        As for `CalibrateStep`.
    """

    do: Literal["use_cache"] = "use_cache"
    cache: FileReference
    ranges: dict[str, float]
    sha256: str = ""

    @property
    def origins(self) -> dict[str, str]:
        """Where each range comes from."""
        return dict.fromkeys(self.ranges, "cache")

    def moved(self, move: Callable[[str], str]) -> CacheStep:
        """Return the step with the path of its file given to `move`."""
        return self.model_copy(update={"cache": self.cache.moved(move)})
