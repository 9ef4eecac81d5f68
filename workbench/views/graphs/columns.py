"""Tables as columns to colour by."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from workbench.views.graphs.overlay import Gather, Overlay

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from workbench.graph import Model
    from workbench.views.graphs.live import Column
    from workbench.views.graphs.overlay import Value

__all__ = ["columns_of", "cost_columns", "overlay_of"]

_COSTS = {"parameters": "", "macs": "MAC", "weight_bytes": "B", "activation_bytes": "B"}
_WORST: dict[str, Gather] = {"sqnr": "min", "snr": "min", "cosine": "min", "accuracy": "min", "depth": "min"}


def columns_of(table: pd.DataFrame) -> dict[str, Column]:
    """Return the columns of a table whose index is node names, those of numbers and of words.

    A scope shows the sum of its numbers, the least where a low one is what matters (SQNR), and its most frequent word.
    """
    columns: dict[str, Column] = {}
    for name in table.columns:
        if table[name].map(lambda value: isinstance(value, (tuple, list, dict))).any():
            continue
        columns[str(name)] = overlay_of(str(name), table[name])
    return columns


def cost_columns(model: Model) -> dict[str, Column]:
    """Return the columns of a model's costs; they are computed when one is first asked for."""
    return {name: partial(_cost, model, name, unit) for name, unit in _COSTS.items()}


def _cost(model: Model, name: str, unit: str) -> Overlay:
    from workbench.graph import batch_of_one, costs

    sizes = batch_of_one(model)
    at = f" at {', '.join(sizes)} = 1" if sizes and name != "parameters" else ""
    return Overlay(
        name.replace("_", " ").replace("macs", "MACs") + at,
        {node: getattr(cost, name) for node, cost in costs(model, sizes).items()},
        unit=unit,
    )


def overlay_of(
    title: str | None, values: pd.Series[Any] | Mapping[str, Value], gather: Gather | None = None
) -> Overlay:
    """Return values by node name as a column; pandas' and NumPy's ways of saying "unknown" are understood."""
    plain: dict[str, Value] = {}
    for name, value in values.items():
        if isinstance(value, str):
            plain[str(name)] = value
        else:
            # pandas.NA has no float.
            plain[str(name)] = None if value is None or type(value).__name__ == "NAType" else float(value)
    low = next((how for word, how in _WORST.items() if word in (title or "").lower()), None)
    words = any(isinstance(value, str) for value in plain.values())
    return Overlay(title or "value", plain, gather or (None if words else low))
