"""A table of layers, or of groups of layers: data, a still picture, and a thin widget with one row selected."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from workbench.engine import kind_of_layer, layer_precision
from workbench.errors import ReportError
from workbench.views.engines.charts import precision_colour
from workbench.views.engines.comparison import speedup_colour
from workbench.views.engines.data import UNKNOWN, layer_label
from workbench.views.engines.layers import bytes_text, layers_by_name
from workbench.views.kit import DARK, LIGHT, OKABE_ITO, Pictured

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from workbench.engine import Comparison, EngineReport
    from workbench.views.kit import Chart, ThemeName

__all__ = ["Column", "LayerTable", "Row", "comparison_rows", "layer_rows"]

Value = str | float | int | None
_SPEEDUPS = (
    (OKABE_ITO["blue"], "faster"),
    (OKABE_ITO["sky"], "within 3%"),
    (OKABE_ITO["vermillion"], "slower"),
)


@dataclass(frozen=True)
class Column:
    """A column: how it is called, and whether it shows words, a number, a number with a bar, or one with a colour."""

    key: str
    label: str
    kind: Literal["text", "number", "bar", "colour"] = "text"
    title: str = ""


@dataclass
class Row:
    """A row: what it is sorted by, what it says, and its bars and colours, all by column."""

    id: str
    search: str
    values: dict[str, Value] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    looks: dict[str, dict[str, Any]] = field(default_factory=dict)

    def put(self, key: str, value: Value, text: str | None = None, **look: Any) -> None:
        """Fill a cell; None is unknown."""
        self.values[key] = value
        self.texts[key] = text if text is not None else UNKNOWN if value is None else str(value)
        if look:
            self.looks[key] = look


def layer_rows(report: EngineReport, profile: int = 0) -> tuple[list[Column], list[Row]]:
    """Return the table of an engine's layers; its rows are named like `layers_by_name`."""
    columns = [
        Column("place", "#", "number", "place in execution order"),
        Column("layer", "layer"),
        Column("type", "type"),
        Column("precision", "precision", "colour"),
        Column("ms", "ms", "bar", "average milliseconds an inference, and its share of the slowest layer's"),
        Column("share", "share", "number", "of the sum of all layers"),
        Column("bytes", "in + out", "number", "bytes of inputs and outputs"),
        Column("tactic", "tactic"),
    ]
    layers = layers_by_name(report, profile)
    slowest = max((layer.ms or 0.0 for layer in layers.values()), default=0.0) or 1.0
    total = sum(layer.ms or 0.0 for layer in layers.values())
    rows = []
    for at, (name, layer) in enumerate(layers.items()):
        precision = layer_precision(layer).name
        row = Row(name, " ".join([name, *layer.sources, layer.type or "", precision or UNKNOWN]))
        row.put("place", at + 1)
        row.put("layer", layer_label(layer))
        row.put("type", layer.type, f"{layer.type or UNKNOWN} ({kind_of_layer(layer)})")
        colour = precision_colour(precision or UNKNOWN, LIGHT)
        row.put("precision", precision, colour=colour)
        known = layer.ms is not None
        row.put("ms", layer.ms, f"{layer.ms:.4f}" if known else None, share=(layer.ms or 0.0) / slowest, colour=colour)
        row.put("share", layer.ms, f"{(layer.ms or 0) / total:.1%}" if known and total else None)
        sizes = [tensor.nbytes for tensor in (*layer.inputs, *layer.outputs)]
        size = None if None in sizes or not sizes else sum(one for one in sizes if one is not None)
        row.put("bytes", size, bytes_text(size))
        row.put("tactic", layer.tactic)
        rows.append(row)
    return columns, rows


def comparison_rows(comparison: Comparison) -> tuple[list[Column], list[Row]]:
    """Return the table of a comparison's groups; the id of a row is the group's place in `comparison.groups`."""
    columns = [Column("nodes", "source nodes")]
    for at, name in enumerate(comparison.names):
        columns += [
            Column(f"ms {at}", f"{name} ms", "bar", "milliseconds in the group's layers"),
            Column(f"precision {at}", "precision", "colour"),
        ]
        if at:
            columns += [
                Column(f"saved {at}", "saved ms", "number", f"milliseconds less than in {comparison.names[0]}"),
                Column(f"speedup {at}", "speedup", "colour", f"time in {comparison.names[0]} over time here"),
                Column(f"change {at}", "fusion"),
            ]
    slowest = max((ms or 0.0 for group in comparison.groups for ms in group.ms), default=0.0) or 1.0
    rows = []
    for place, group in enumerate(comparison.groups):
        row = Row(str(place), " ".join([*group.nodes, *(name for names in group.layers for name in names)]))
        row.put("nodes", group.name)
        for at in range(len(comparison.names)):
            ms, first, precision = group.ms[at], group.ms[0], group.precision[at]
            fill = OKABE_ITO["grey"] if not at else speedup_colour(ms or 0.0, first or 0.0)
            absent = not group.layers[at]
            text = "absent" if absent else None if ms is None else f"{ms:.4f}"
            row.put(f"ms {at}", None if absent else ms, text, share=(ms or 0.0) / slowest, colour=fill)
            colour = precision_colour((precision or UNKNOWN).split("+")[0], LIGHT)
            row.put(f"precision {at}", precision, "absent" if absent else None, colour=colour)
            if at:
                saved = None if ms is None or first is None else first - ms
                row.put(f"saved {at}", saved, None if saved is None else f"{saved:+.4f}")
                speedup = group.speedup(at)
                look = {} if speedup is None else {"colour": fill}
                row.put(f"speedup {at}", speedup, "" if speedup is None else f"{speedup:.2f}x", **look)
                row.put(f"change {at}", group.change[at])
        rows.append(row)
    return columns, rows


class LayerTable(Pictured):
    """A table with one row selected, sorted and searched in the page, and a chart where there is no page.

    Parameters
    ----------
    columns, rows
        From `layer_rows` or `comparison_rows`.
    chart
        The still picture.
    order
        Column to sort by at first, and whether downwards.
    legend
        Colours and what they mean.
    """

    def __init__(
        self,
        columns: Sequence[Column],
        rows: Sequence[Row],
        chart: Chart,
        *,
        order: tuple[str, bool] = ("place", False),
        legend: Sequence[tuple[str, str]] = (),
    ) -> None:
        self.columns, self.rows, self.chart = list(columns), list(rows), chart
        self.order, self.legend = order, list(legend)
        self._known = {row.id for row in self.rows}
        self._selected: str | None = None
        self._watchers: list[Callable[[str | None], object]] = []
        self._widget: Any = None

    @classmethod
    def of_layers(cls, report: EngineReport, chart: Chart, profile: int = 0) -> LayerTable:
        """Return the table of an engine's layers, slowest first where there is a profile."""
        columns, rows = layer_rows(report, profile)
        names = dict.fromkeys(str(row.values["precision"] or UNKNOWN) for row in rows)
        legend = [(precision_colour(name, LIGHT), name) for name in names]
        order = ("ms", True) if report.profiled else ("place", False)
        return cls(columns, rows, chart, order=order, legend=legend)

    @classmethod
    def of_groups(cls, comparison: Comparison, chart: Chart) -> LayerTable:
        """Return the table of a comparison's groups, what was saved most first."""
        columns, rows = comparison_rows(comparison)
        return cls(columns, rows, chart, order=("saved 1", True), legend=_SPEEDUPS)

    def __repr__(self) -> str:
        return f"<LayerTable: {len(self.rows)} rows, {self._selected or 'none'} selected>"

    @property
    def selected(self) -> str | None:
        """The id of the selected row, or None; assign to select."""
        return self._selected

    @selected.setter
    def selected(self, row: str | None) -> None:
        if row is not None and row not in self._known:
            raise ReportError(f"there is no row {row!r}", where=repr(self), fix="Select one of `rows`, by its id.")
        if row == self._selected:
            return
        self._selected = row
        if self._widget is not None:
            self._widget.selected = row
        for watcher in self._watchers:
            watcher(row)

    def on_select(self, watcher: Callable[[str | None], object]) -> None:
        """Call a function with the row's id whenever another one is selected, whoever selected it."""
        self._watchers.append(watcher)

    def svg(self, theme: ThemeName = "auto") -> str:
        """Return the chart as an SVG document."""
        return self.chart.svg(theme)

    def png(self, theme: ThemeName = "light") -> bytes:
        """Return the chart as a PNG."""
        return self.chart.png(theme)

    def widget(self) -> Any:
        """Return the Jupyter widget; it is made when it is first asked for."""
        if self._widget is None:
            self._widget = _widget_class()(scene=self.scene(), selected=self._selected)
            self._widget.observe(self._chosen, "selected")
        return self._widget

    def scene(self) -> dict[str, Any]:
        """Return what the page draws."""
        return {
            "columns": [asdict(column) for column in self.columns],
            "rows": [asdict(row) for row in self.rows],
            "order": {"key": self.order[0], "down": self.order[1]},
            "legend": [list(entry) for entry in self.legend],
            "themes": {"light": asdict(LIGHT), "dark": asdict(DARK)},
        }

    def _chosen(self, change: Any) -> None:
        if change["new"] is None or change["new"] in self._known:
            self.selected = change["new"]


@cache
def _widget_class() -> Any:
    import anywidget
    import traitlets

    class EngineTableWidget(anywidget.AnyWidget):  # type: ignore[misc, unused-ignore]
        _esm = Path(__file__).with_name("table.js")
        _css = Path(__file__).with_name("table.css")
        scene = traitlets.Dict().tag(sync=True)
        selected = traitlets.Unicode(None, allow_none=True).tag(sync=True)

    return EngineTableWidget
