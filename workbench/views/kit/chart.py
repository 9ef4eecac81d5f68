"""From a matplotlib drawing to SVG and PNG, in either theme: what every chart of the workbench has in common.

A chart is data with a function ``draw(figure, theme)``. `Chart` makes a notebook view of it.
"""

from __future__ import annotations

import io
import re
from abc import abstractmethod
from typing import TYPE_CHECKING

from workbench.views.kit.picture import PNG_MAX_HEIGHT, PNG_SCALE, Pictured
from workbench.views.kit.text import without_forbidden
from workbench.views.kit.themes import mpl_rc, theme

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from workbench.views.kit.themes import Theme, ThemeName

__all__ = ["Chart"]

DPI = 96
"""CSS pixels an inch."""


class Chart(Pictured):
    """A picture drawn with matplotlib.

    A subclass is usually a frozen dataclass that holds what is shown, and implements `draw`.
    """

    @property
    @abstractmethod
    def size(self) -> tuple[float, float]:
        """Width and height in inches."""

    @abstractmethod
    def draw(self, figure: Figure, colours: Theme) -> None:
        """Draw onto an empty figure with constrained layout, so that nothing is clipped."""

    def svg(self, theme: ThemeName = "auto") -> str:
        """Return the picture as an SVG document; "auto" draws the light one."""
        text = self._saved("svg", theme, DPI).decode()
        # The document's prologue has no place in a page that the picture is put into.
        text = re.sub(r"^.*?(?=<svg)", "", text, flags=re.DOTALL)
        # Columns of a legend are made of spaces, which a browser would fold into one.
        return without_forbidden(text.replace("<text ", '<text xml:space="preserve" '))

    def png(self, theme: ThemeName = "light") -> bytes:
        """Return the picture as a PNG, `PNG_SCALE` pixels a CSS pixel, at most `PNG_MAX_HEIGHT` high."""
        dpi = min(DPI * PNG_SCALE, PNG_MAX_HEIGHT / self.size[1])
        return self._saved("png", theme, dpi)

    def figure(self, name: ThemeName = "light") -> Figure:
        """Return the drawing as a matplotlib figure, to be changed further."""
        import matplotlib as mpl
        from matplotlib.figure import Figure

        from workbench.views.kit.powers import write_plainly

        with mpl.rc_context(mpl_rc(name)):
            # A figure made without pyplot belongs to nobody's list of open figures and needs no display.
            figure = Figure(figsize=self.size, layout="constrained")
            self.draw(figure, theme(name))
            write_plainly(figure)
        return figure

    def _saved(self, kind: str, name: ThemeName, dpi: float) -> bytes:
        import matplotlib as mpl

        stream = io.BytesIO()
        figure = self.figure(name)
        with mpl.rc_context(mpl_rc(name)):
            # Without a date the same picture gives the same bytes.
            figure.savefig(stream, format=kind, dpi=dpi, metadata={"Date": None} if kind == "svg" else None)
        return stream.getvalue()
