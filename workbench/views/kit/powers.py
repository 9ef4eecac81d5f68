"""Powers of ten on an axis in plain characters: names may hold dollar signs, so that no text is read as mathematics."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from matplotlib.ticker import Formatter, LogFormatterMathtext

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["write_plainly"]

_RAISED = str.maketrans("-\u22120123456789", "⁻⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


class _Plain(Formatter):
    """What another formatter says, without TeX."""

    def __init__(self, other: LogFormatterMathtext) -> None:
        self.other = other

    def set_axis(self, axis: Any) -> None:
        super().set_axis(axis)
        self.other.set_axis(axis)

    def set_locs(self, locs: Any) -> None:
        super().set_locs(locs)
        self.other.set_locs(locs)

    def __call__(self, x: float, pos: int | None = None) -> str:
        text = re.sub(r"\$\\mathdefault\{(.*)\}\$", r"\1", self.other(x, pos)).replace(r"\times", "×")
        return re.sub(r"\^\{(.*?)\}", lambda power: power[1].translate(_RAISED), text)


def write_plainly(figure: Figure) -> None:
    """Let the logarithmic axes of a figure write 10² where they would write TeX."""
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            for get, put in (
                (axis.get_major_formatter, axis.set_major_formatter),
                (axis.get_minor_formatter, axis.set_minor_formatter),
            ):
                formatter = get()
                if isinstance(formatter, LogFormatterMathtext):
                    put(_Plain(formatter))
