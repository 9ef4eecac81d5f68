"""Pictures and widgets: data, renderer and widget apart.

For notebooks: functions that take a `Workbench` and return a view.

>>> from workbench import views
>>> views.graph(wb)  # doctest: +SKIP
>>> views.engine(summary)  # doctest: +SKIP
>>> views.tensor_table(wb)  # doctest: +SKIP
>>> views.distribution(wb, "conv1")  # doctest: +SKIP
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workbench.views.calibration import distribution as distribution
    from workbench.views.calibration import distributions as distributions
    from workbench.views.calibration import drift as drift
    from workbench.views.calibration import quantized as quantized
    from workbench.views.calibration import tensor_table as tensor_table
    from workbench.views.calibration import weights as weights
    from workbench.views.engines import compare as compare
    from workbench.views.engines import engine as engine
    from workbench.views.engines import engine_graph as engine_graph
    from workbench.views.engines import fusion as fusion
    from workbench.views.graphs import graph as graph
    from workbench.views.graphs import side_by_side as side_by_side
    from workbench.views.graphs import surgery as surgery
    from workbench.views.precision_view import precision as precision

_HOMES = {
    "compare": "workbench.views.engines",
    "distribution": "workbench.views.calibration",
    "distributions": "workbench.views.calibration",
    "drift": "workbench.views.calibration",
    "engine": "workbench.views.engines",
    "engine_graph": "workbench.views.engines",
    "fusion": "workbench.views.engines",
    "graph": "workbench.views.graphs",
    "precision": "workbench.views.precision_view",
    "quantized": "workbench.views.calibration",
    "side_by_side": "workbench.views.graphs",
    "surgery": "workbench.views.graphs",
    "tensor_table": "workbench.views.calibration",
    "weights": "workbench.views.calibration",
}

__all__ = [
    "compare",
    "distribution",
    "distributions",
    "drift",
    "engine",
    "engine_graph",
    "fusion",
    "graph",
    "precision",
    "quantized",
    "side_by_side",
    "surgery",
    "tensor_table",
    "weights",
]


def __getattr__(name: str) -> Any:
    # As in the package itself: what a view needs is loaded with the first name that needs it.
    if name not in _HOMES:
        raise AttributeError(f"module 'workbench.views' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
