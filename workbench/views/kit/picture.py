"""What a notebook shows of a view: the live widget, and always a picture beside it.

A view inherits `Pictured` and writes two methods, `svg(theme)` and `png(theme)`; one that is also interactive overrides
`widget()`. The notebook then stores three things in the cell: the widget (needs a running kernel), the SVG (needs a
trusted notebook) and the PNG (shown everywhere, also in an untrusted notebook and in an export without a network). The
widget is named twice: by `VIEW_MIME` for the extension of JupyterLab and Notebook in ``views/lab``, which shows the
picture where the kernel is gone, and by `WIDGET_MIME` for whatever has not got it.

>>> class Histogram(Pictured):
...     def svg(self, theme="auto"): ...
...     def png(self, theme="light"): ...
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from workbench.progress import is_attended

if TYPE_CHECKING:
    from collections.abc import Collection

    from workbench.views.kit.themes import ThemeName

__all__ = ["PNG_MAX_HEIGHT", "PNG_SCALE", "VIEW_MIME", "WIDGET_MIME", "Pictured", "png_size"]

WIDGET_MIME = "application/vnd.jupyter.widget-view+json"
VIEW_MIME = "application/vnd.trt-workbench.view+json"
PNG_SCALE = 2
"""Pixels a CSS pixel: views draw their PNG twice as fine as they are shown, for sharp text."""
PNG_MAX_HEIGHT = 2400
"""Pixels; a taller drawing is scaled down, so that one cell never fills a notebook (or its file)."""


class Pictured(ABC):
    """A view that a notebook can show with, and without, a kernel."""

    @abstractmethod
    def svg(self, theme: ThemeName = "auto") -> str:
        """Return the picture as an SVG document."""

    def svgs(self) -> tuple[str, str]:
        """Return the light and the dark picture."""
        return self.svg("light"), self.svg("dark")

    @abstractmethod
    def png(self, theme: ThemeName = "light") -> bytes:
        """Return the picture as a PNG, `PNG_SCALE` pixels a CSS pixel, at most `PNG_MAX_HEIGHT` high."""

    def widget(self) -> Any:
        """Return the Jupyter widget that shows this view live, or None where the view is a picture only."""
        return None

    def _repr_mimebundle_(
        self, include: Collection[str] | None = None, exclude: Collection[str] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        def asked(kind: str) -> bool:
            return (not include or kind in include) and kind not in (exclude or ())

        data: dict[str, Any] = {"text/plain": repr(self)}
        metadata: dict[str, Any] = {}
        if asked("image/svg+xml"):
            data["image/svg+xml"] = self.svg()
        if asked("image/png"):
            png = self.png()
            width, height = png_size(png)
            data["image/png"] = png
            metadata["image/png"] = {"width": width // PNG_SCALE, "height": height // PNG_SCALE}
        # Run for nobody, a notebook keeps the picture alone: of a widget without its kernel an export shows a blank.
        if asked(WIDGET_MIME) and is_attended() and (widget := self.widget()) is not None:
            data[WIDGET_MIME] = {"version_major": 2, "version_minor": 0, "model_id": widget.model_id}
            if asked(VIEW_MIME):
                data[VIEW_MIME] = data[WIDGET_MIME]
        return data, metadata

    def _display_(self) -> Marimo:
        """Return what marimo shows, live or exported; it has no page for views that are made of others."""
        return Marimo(self.svg())


class Marimo:
    """A picture as marimo asks for it."""

    def __init__(self, svg: str) -> None:
        self._svg = svg

    def _mime_(self) -> tuple[str, str]:
        return "image/svg+xml", self._svg


def png_size(png: bytes) -> tuple[int, int]:
    """Return width and height in pixels, from the IHDR chunk that every PNG starts with."""
    return int.from_bytes(png[16:20], "big"), int.from_bytes(png[20:24], "big")
