"""From a matplotlib drawing to SVG and PNG, in either theme: what every chart of the workbench has in common.

A chart is data with a function ``draw(figure, theme)``. `Chart` makes a notebook view of it. What is marked as a `Spot`
can be pointed at, and selected, in the live twin that a running notebook shows.
"""

from __future__ import annotations

import hashlib
import io
import re
from abc import abstractmethod
from dataclasses import fields
from typing import TYPE_CHECKING, Any, ClassVar

from workbench.views.kit.picture import PNG_MAX_HEIGHT, PNG_SCALE, Pictured
from workbench.views.kit.text import without_forbidden
from workbench.views.kit.themes import DARK, LIGHT, mpl_rc, theme

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.figure import Figure
    from typing_extensions import Self

    from workbench.session import Workbench
    from workbench.views.kit.spot import Spot
    from workbench.views.kit.themes import Theme, ThemeName

__all__ = ["Chart"]

DPI = 96
"""CSS pixels an inch."""
_COLOUR = re.compile(r"(#[0-9a-f]{6})\b")
_IN_THE_DARK: dict[str, str] = {getattr(LIGHT, one.name): getattr(DARK, one.name) for one in fields(LIGHT)}
_SPOT = re.compile(r' id="spot-[^"]*"')


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

    session: ClassVar[Workbench | None] = None

    def within(self, session: Workbench | None) -> Self:
        """Let the live twin share the selection of a workbench; return the chart."""
        vars(self)["session"] = session
        return self

    def spots(self) -> Sequence[Spot]:
        """Return what can be pointed at."""
        return ()

    def widget(self) -> Any:
        """Return the live twin."""
        from workbench.views.kit.live_chart import LiveChart

        return LiveChart(self, self.spots(), self.spotted_svgs, self.session).widget()

    def svg(self, theme: ThemeName = "auto") -> str:
        """Return the picture as an SVG document no wider than its place; "auto" follows `prefers-color-scheme`."""
        if theme == "auto":
            return _in_both(*self.svgs())
        return _SPOT.sub("", self.spotted_svg(theme))  # a page may hold several charts

    def svgs(self) -> tuple[str, str]:
        """Return the light and the dark picture: drawn once, since they differ in colours alone."""
        light = self.svg("light")
        return light, _in_the_dark(light)

    def spotted_svgs(self) -> tuple[str, str]:
        """Return both SVG documents in which each spot has an id."""
        light = self.spotted_svg("light")
        return light, _in_the_dark(light)

    def spotted_svg(self, theme: ThemeName) -> str:
        """Return the SVG document in which each spot has an id: ``spot-`` and its key."""
        text = self._saved("svg", theme, DPI).decode()
        # The document's prologue has no place in a page that the picture is put into.
        text = re.sub(r"^.*?<svg", '<svg style="max-width: 100%; height: auto"', text, flags=re.DOTALL)
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


def _in_the_dark(light: str) -> str:
    return _COLOUR.sub(lambda match: _IN_THE_DARK.get(match[1], match[1]), light)


def _in_both(light: str, dark: str) -> str:
    """Return one drawing of two that differ in colours alone; a reader's theme decides which it has."""
    parts, others = _COLOUR.split(light), _COLOUR.findall(dark)
    pairs = list(zip(parts[1::2], others, strict=True))
    names = {pair: f"--c{at}" for at, pair in enumerate(dict.fromkeys(pairs)) if pair[0] != pair[1]}
    parts[1::2] = [f"var({names[pair]})" if pair in names else pair[0] for pair in pairs]
    name = f"wb-{hashlib.sha256(repr(names).encode()).hexdigest()[:8]}"  # a page may hold several
    rules = [f"svg.{name}{{{''.join(f'{names[pair]}:{pair[at]};' for pair in names)}}}" for at in (0, 1)]
    style = f"<style>{rules[0]}@media (prefers-color-scheme: dark){{{rules[1]}}}</style>"
    return re.sub(r"<svg([^>]*)>", rf'<svg class="{name}"\1>{style}', "".join(parts), count=1)
