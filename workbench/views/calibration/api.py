"""What calibration saw, as views of a workbench. A threshold that is set in one is a step of its recipe."""

from __future__ import annotations

import difflib
import warnings
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary, WeakValueDictionary

from workbench.calibration import Range, Statistics, at, calibration_table
from workbench.errors import SelectorError
from workbench.session import history_of, observed, samples_for
from workbench.views.calibration.drift_picture import DriftChart, drift_chart
from workbench.views.calibration.histogram import QuantizedChart, quantized_chart
from workbench.views.calibration.overview import OverviewChart, overview_chart
from workbench.views.calibration.table import TensorTable
from workbench.views.calibration.threshold import ThresholdView
from workbench.views.calibration.weights_chart import WeightsChart, weights_chart
from workbench.views.kit import of_opened

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from workbench.calibration import TensorStatistics
    from workbench.names import Quantized
    from workbench.session import PreprocessingLike, Workbench
    from workbench.views.graphs import LiveGraph

__all__ = [
    "RangeWarning",
    "distribution",
    "distributions",
    "drift",
    "quantized",
    "tensor_table",
    "weights",
]


_DISTRIBUTIONS: WeakKeyDictionary[Workbench, WeakValueDictionary[tuple[str, Quantized], ThresholdView]]
_DISTRIBUTIONS = WeakKeyDictionary()


class RangeWarning(UserWarning):
    """Values lie outside the calibrated ranges."""


@of_opened
def distribution(wb: Workbench, tensor: str, *, target: Quantized = "int8") -> ThresholdView:
    """Show the distribution of one tensor with a threshold to drag, which sets the range in the recipe.

    Parameters
    ----------
    wb
        A workbench that was calibrated.
    tensor
        A tensor that was observed.
    target
        The grid that SQNR and step are of.

    Raises
    ------
    RecipeError
        Nothing was calibrated.
    SelectorError
        The tensor was not observed.
    """

    def read() -> tuple[TensorStatistics, Range]:
        seen = observed(history_of(wb))[_tensor_of(wb, tensor)]
        return seen, at(
            seen, wb.ranges.get(tensor, seen.amax), target=target, method=wb.ranges.origins.get(tensor, "minmax")
        )

    # Shown again, it is the same view: a cell that is run four times leaves one.
    views = _DISTRIBUTIONS.setdefault(wb, WeakValueDictionary())
    view = views.get((tensor, target))
    if view is None:
        seen, _ = read()
        view = ThresholdView(tensor, seen, wb.set_range, read=read, target=target, session=wb)
        views[tensor, target] = view
    return view


@of_opened
def distributions(wb: Workbench, tensors: Sequence[str] | None = None, *, limit: int = 24) -> OverviewChart:
    """Show the distributions of many tensors, those of lowest SQNR first.

    Parameters
    ----------
    wb
        A workbench that was calibrated.
    tensors
        Which ones, in this order.
    limit
        At most so many.

    Raises
    ------
    RecipeError
        Nothing was calibrated.
    SelectorError
        A tensor was not observed.
    """
    for name in tensors or ():
        _tensor_of(wb, name)
    return overview_chart(observed(history_of(wb)), wb.ranges.in_force(), tensors, limit=limit)


@of_opened
def tensor_table(wb: Workbench, graph: LiveGraph | None = None, *, target: Quantized = "int8") -> TensorTable:
    """Show one row a tensor: range, expected error, outliers, disagreement of the methods; sorted by a click.

    Parameters
    ----------
    wb
        A workbench that was calibrated.
    graph
        A graph view of the same model to be linked with: selected rows select the nodes that make their tensors there,
        and selected nodes their rows here.
    target
        The grid that SQNR is of.

    Raises
    ------
    RecipeError
        Nothing was calibrated.
    """

    def read() -> pd.DataFrame:
        frame = calibration_table(observed(history_of(wb)), wb.ranges.in_force(target), target=target)
        frame.insert(0, "origin", [wb.ranges.origins.get(str(name), "") for name in frame.index])
        return frame

    table = TensorTable(read, wb)
    if graph is not None:
        table.link(graph, wb.model)
    return table


@of_opened
def weights(wb: Workbench, node: str) -> WeightsChart:
    """Show the weights of one node, channel by channel.

    Parameters
    ----------
    wb
        A workbench.
    node
        The node's address.

    Raises
    ------
    SelectorError
        There is no such node, or it has no weights of channels.
    """
    return weights_chart(wb.model, node)


@of_opened
def quantized(wb: Workbench, tensor: str, *, target: Quantized = "int8") -> QuantizedChart:
    """Show a tensor before and after quantization with the range in force, and where its error comes from.

    Parameters
    ----------
    wb
        A workbench that was calibrated.
    tensor
        A tensor that was observed.
    target
        The grid.

    Raises
    ------
    RecipeError
        Nothing was calibrated.
    SelectorError
        The tensor was not observed.
    """
    return quantized_chart(_tensor_of(wb, tensor), observed(history_of(wb))[tensor], wb.ranges.in_force(target)[tensor])


@of_opened
def drift(
    wb: Workbench,
    samples: object,
    *,
    batch: int | None = None,
    preprocessing: PreprocessingLike = None,
    labels: tuple[str, str] = ("calibration", "evaluation"),
) -> DriftChart:
    """Compare what other samples make of the tensors with what calibration saw, the worst first.

    Warns with `RangeWarning` where values of the other samples lie outside the calibrated ranges.

    Parameters
    ----------
    wb
        A workbench that was calibrated.
    samples
        Anything that `Workbench.calibrate` takes, which are run once; or statistics of them, or a file of those.
    batch
        Samples a run for a model of dynamic batch; the calibration's where left out.
    preprocessing
        For a folder of images.
    labels
        What the two sets are called.

    Raises
    ------
    RecipeError
        Nothing was calibrated.
    SamplesError
        The samples do not fit the model or hold NaN or infinity.
    """
    first = observed(history_of(wb))
    if isinstance(samples, Statistics):
        second = samples
    elif isinstance(samples, (str, Path)) and Statistics.is_file(samples):
        second = Statistics.load(samples)
    else:
        data, used = samples_for(history_of(wb), samples, preprocessing)
        second = wb.ranges.observe(data, batch=batch or used)
    chart = drift_chart(first, second, wb.ranges.in_force(), labels=labels)
    drifts = chart.warnings
    if drifts:
        rest = f"; and {len(drifts) - 3} tensors more" if len(drifts) > 3 else ""
        warnings.warn("; ".join(drifts[:3]) + rest, RangeWarning, stacklevel=2)
    return chart


def _tensor_of(wb: Workbench, tensor: str) -> str:
    seen = observed(history_of(wb))
    if tensor not in seen:
        near = difflib.get_close_matches(tensor, seen, n=3, cutoff=0.4) or list(seen)[:3]
        raise SelectorError(
            "this tensor was not observed", where=tensor, fix=f"Observed are, for example, {', '.join(near)}."
        )
    return tensor
