"""The page of a precision view: what it draws, as plain values, and what it asks for."""

from __future__ import annotations

import math
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import WorkbenchError
from workbench.views.kit import DARK, LIGHT, answered
from workbench.views.plans.chart import COLOURS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from workbench.calibration import TensorStatistics
    from workbench.names import Precision
    from workbench.views.plans.view import PrecisionView

__all__ = ["PrecisionPage"]

_FIELDS: dict[str, set[str]] = {
    "select": {"nodes"},
    "toggle": {"node"},
    "find": {"selector"},
    "preview": {"precision"},
    "set": {"precision"},
    "take": {"point"},
    "undo": set(),
}


class PrecisionPage:
    """What is on the page of a view. It keeps no state but the last picture drawn.

    Parameters
    ----------
    view
        Whose page it is.
    """

    def __init__(self, view: PrecisionView) -> None:
        self._view = view
        self._drawn: tuple[object, dict[str, str]] = (None, {})
        self._widget: Any = None

    def widget(self) -> Any:
        """Return the Jupyter widget; it is made when it is first asked for."""
        if self._widget is None:
            self._widget = _widget_class()(scene=self.scene(), marks=self.marks())
            self._widget.on_msg(lambda _widget, content, _buffers: self.handle(content))
        return self._widget

    def refresh(self) -> None:
        """Show the plan as it is now."""
        if self._widget is not None:
            scene, marks = self.scene(), self.marks()
            self._widget.scene, self._widget.marks = scene, marks

    def mark(self, precision: Precision | None = None) -> None:
        """Show the selection as it is now, and what a precision would do to it."""
        marks = self.marks(precision)
        if self._widget is not None:
            self._widget.marks = marks

    def scene(self) -> dict[str, Any]:
        """Return what the page draws: rows, rules, estimate and front."""
        view = self._view
        search = view.search
        points = [] if search is None else [_plain(asdict(p)) | {"text": p.text(search.goal.name)} for p in view.front]
        return {
            "title": view.workbench.model.name,
            "estimate": view.estimate().text(),
            "engine": "" if view.engine is None else view.engine.name,
            "rows": [_plain(asdict(row)) for row in view.rows],
            "rules": [str(rule) for rule in view.workbench.plan.rules.rules],
            "front": points,
            "point": view.point,
            "metric": "" if search is None else search.goal.name,
            "colours": COLOURS,
            "themes": {"light": asdict(LIGHT), "dark": asdict(DARK)},
        }

    def marks(self, precision: Precision | None = None) -> dict[str, Any]:
        """Return what depends on the selection: its selector, what a change would do, and the first node's story."""
        view, wb = self._view, self._view.workbench
        marks: dict[str, Any] = {"selected": view.selected, "selector": "", "line": "", "preview": ""}
        if not view.selected:
            return marks
        tensor, seen = view.tensor(), wb.ranges.statistics
        marks |= {"selector": view.selector, "explain": wb.plan.explain(view.selected[0])}
        if precision is not None:
            marks["line"] = f'wb.plan.set("{view.selector}", "{precision}")'
            marks["preview"] = view.estimate_with(precision).text()
        if tensor is not None and seen is not None:
            marks["distribution"] = self._distribution(tensor, seen[tensor], wb.ranges.get(tensor))
        return marks

    def tell(self, message: Mapping[str, Any]) -> None:
        """Send the page a message."""
        if self._widget is not None:
            self._widget.send(dict(message))

    @answered
    def handle(self, request: Mapping[str, Any]) -> None:
        """Do what the page asks for; what is refused is said there."""
        view, kind = self._view, request.get("type")
        if kind not in _FIELDS or not _FIELDS[kind] <= set(request):
            raise WorkbenchError("the page asked for something unknown", where=repr(dict(request)))
        if kind == "select":
            view.selected = [self._known(node) for node in request["nodes"]]
        elif kind == "toggle":
            view.selected = [*(set(view.selected) ^ {self._known(request["node"])})]
        elif kind == "find":
            view.select(str(request["selector"]))
        elif kind == "preview":
            self.mark(request["precision"] or None)
        elif kind == "set":
            view.set(request["precision"])
        elif kind == "take":
            view.take(int(request["point"]))
        else:
            view.undo()

    def _known(self, node: object) -> str:
        if node not in self._view.workbench.model.nodes:
            raise WorkbenchError("there is no such node", where=ascii(node))
        return str(node)

    def _distribution(self, tensor: str, seen: TensorStatistics, amax: float | None) -> dict[str, str]:
        """Draw what a node reads, in both themes; drawing takes longer than all else, so the last one is kept."""
        from workbench.calibration import at
        from workbench.views.calibration import distribution_chart

        if self._drawn[0] != (tensor, id(seen), amax):
            chart = distribution_chart(tensor, seen, chosen=None if amax is None else at(seen, amax))
            self._drawn = (tensor, id(seen), amax), {"light": chart.svg("light"), "dark": chart.svg("dark")}
        return self._drawn[1]


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """JSON has no infinity: what makes no error, or has no figure, is said as None."""
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in values.items()
    }


@cache
def _widget_class() -> Any:
    import anywidget
    import traitlets

    class PrecisionWidget(anywidget.AnyWidget):  # type: ignore[misc, unused-ignore]
        _esm = Path(__file__).with_name("page.js")
        _css = Path(__file__).with_name("page.css")
        scene = traitlets.Dict().tag(sync=True)
        marks = traitlets.Dict().tag(sync=True)

    return PrecisionWidget
