"""A table of layers, or of groups of layers: data, a still picture, and a thin widget with one row selected."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workbench.engine import UNKNOWN, kind_of_layer, layer_label, layer_precision
from workbench.errors import ReportError
from workbench.views.engines.comparison import speedup_colour
from workbench.views.engines.layers import bytes_text, layers_by_name
from workbench.views.kit import OKABE_ITO, Column, Row, Table, css_colour, request, table_state

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from workbench.engine import EngineComparison, EngineReport, EngineSummary, NodePrecision
    from workbench.session import Workbench
    from workbench.views.kit import Chart, Pictured

__all__ = ["EngineTable", "LayerTable", "comparison_rows", "layer_rows"]

_SPEEDUPS = (
    (OKABE_ITO["blue"], "faster"),
    (OKABE_ITO["sky"], "within 3%"),
    (OKABE_ITO["vermillion"], "slower"),
)


def layer_rows(
    report: EngineReport, profile: int = 0, asked: Mapping[str, Sequence[NodePrecision]] | None = None
) -> tuple[list[Column], list[Row]]:
    """Return the table of an engine's layers; its rows are named like `layers_by_name`.

    Parameters
    ----------
    report
        The engine.
    profile
        The optimization profile.
    asked
        What a plan asked of the nodes of each layer; without it there is no such column.
    """
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
    if asked is not None:
        columns.insert(4, Column("requested", "requested", "colour", "what the plan asked of its nodes"))
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
        colour = css_colour(precision or UNKNOWN)
        row.put("precision", precision, colour=colour)
        if asked is not None:
            _put_requested(row, asked.get(layer.name, ()))
        timed = layer.ms is not None
        row.put("ms", layer.ms, f"{layer.ms:.4f}" if timed else None, share=(layer.ms or 0.0) / slowest, colour=colour)
        row.put("share", layer.ms, f"{(layer.ms or 0) / total:.1%}" if timed and total else None)
        sizes = [tensor.nbytes for tensor in (*layer.inputs, *layer.outputs)]
        size = None if None in sizes or not sizes else sum(one for one in sizes if one is not None)
        row.put("bytes", size, bytes_text(size))
        row.put("tactic", layer.tactic)
        rows.append(row)
    return columns, rows


def _put_requested(row: Row, verdicts: Sequence[NodePrecision]) -> None:
    """Say what was asked of a layer's nodes, and where the compiler made something else."""
    precisions = "+".join(sorted({verdict.requested for verdict in verdicts}))
    differing = sorted({verdict.status for verdict in verdicts} - {"as requested"})
    text = f"{precisions}: {', '.join(differing)}" if differing else precisions
    look = {"colour": css_colour(precisions)} if precisions else {}
    row.put("requested", text or None, text, **look)


def comparison_rows(comparison: EngineComparison) -> tuple[list[Column], list[Row]]:
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
            colour = css_colour((precision or UNKNOWN).split("+")[0])
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


class LayerTable(Table):
    """A table with one row selected, searched in the page, and a chart where there is no page.

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
    session
        The workbench that is followed, if there is one.
    """

    def __init__(
        self,
        columns: Sequence[Column],
        rows: Sequence[Row],
        chart: Chart,
        *,
        order: tuple[str, bool] = ("place", False),
        legend: Sequence[tuple[str, str]] = (),
        session: Workbench | None = None,
    ) -> None:
        super().__init__(session, order=order)
        self.columns, self.rows, self.chart, self.legend = list(columns), list(rows), chart, list(legend)
        self._ids = {row.id for row in self.rows}

    @classmethod
    def of_groups(cls, comparison: EngineComparison, chart: Chart) -> LayerTable:
        """Return the table of a comparison's groups, what was saved most first."""
        columns, rows = comparison_rows(comparison)
        return cls(columns, rows, chart, order=("saved 1", True), legend=_SPEEDUPS)

    def __repr__(self) -> str:
        return f"<LayerTable: {len(self.rows)} rows, {self.selected or 'none'} selected>"

    @property
    def selected(self) -> str | None:
        """The id of the selected row, or None; assign to select."""
        return self._chosen[0] if self._chosen else None

    @selected.setter
    def selected(self, row: str | None) -> None:
        if row is not None and row not in self._ids:
            raise ReportError(f"there is no row {row!r}", where=repr(self), fix="Select one of `rows`, by its id.")
        if row != self.selected:
            self.choose([] if row is None else [row])

    def ids(self) -> Collection[str]:
        """Return the ids of the rows."""
        return self._ids

    def sortable(self) -> list[str]:
        """Return the keys of the columns."""
        return [column.key for column in self.columns]

    def downwards(self, column: str) -> bool:
        """Say whether it holds numbers: the largest come first."""
        return any(one.key == column and one.kind != "text" for one in self.columns)

    def still(self) -> Pictured:
        """Return the picture that stands for the view."""
        return self.chart

    def scene_state(self) -> dict[str, Any]:
        """Return what the page draws."""
        return table_state(self.columns, self.rows, legend=[list(entry) for entry in self.legend])

    @request
    def _on_select(self, rows: list[str], add: bool = False) -> None:  # noqa: ARG002 - one row at a time
        if rows[-1:] and rows[-1] in self._ids:
            self.selected = rows[-1]


class EngineTable(LayerTable):
    """The layers of one engine, the slowest first where there is a profile.

    Parameters
    ----------
    summary
        The engine.
    chart
        The still picture.
    profile
        The optimization profile.
    session
        The workbench whose plan it is set against, if there is one.
    """

    def __init__(
        self, summary: EngineSummary, chart: Chart, profile: int = 0, *, session: Workbench | None = None
    ) -> None:
        self.summary, self.profile = summary, profile
        self._planned = bool(summary.verdicts) or session is not None
        columns, rows = self._table()
        names = dict.fromkeys(str(row.values["precision"] or UNKNOWN) for row in rows)
        legend = [(css_colour(name), name) for name in names]
        order = ("ms", True) if summary.report.profiled else ("place", False)
        super().__init__(columns, rows, chart, order=order, legend=legend, session=session)

    def renew(self) -> None:
        """Set the engine against the plan as it is now."""
        if self._session is not None:
            self.summary = self.summary.against(self._session.plan.precisions)
            self.columns, self.rows = self._table()

    def _table(self) -> tuple[list[Column], list[Row]]:
        verdicts = {verdict.node: verdict for verdict in self.summary.verdicts}
        asked = {
            layer: [verdicts[node] for node in group.nodes if node in verdicts]
            for layer, group in self.summary.fusion.by_layer.items()
        }
        return layer_rows(self.summary.report, self.profile, asked if self._planned else None)
