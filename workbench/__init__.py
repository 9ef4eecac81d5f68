"""The optimization workbench for ONNX models on the way to NVIDIA TensorRT.

>>> import workbench
>>> wb = workbench.open_model("model.onnx")  # doctest: +SKIP
>>> wb.prepare(); wb.calibrate("samples.npz"); wb.tune()  # doctest: +SKIP
>>> wb.compare("samples.npz", labels="labels.npy")  # doctest: +SKIP
>>> wb.recipe.save("recipe.yaml")  # doctest: +SKIP
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from workbench.telemetry import switch_off

if TYPE_CHECKING:
    from workbench.errors import WorkbenchError as WorkbenchError
    from workbench.recipe.document import Recipe as Recipe
    from workbench.session import Workbench as Workbench
    from workbench.session import open_model as open_model
    from workbench.session import open_recipe as open_recipe

__version__ = "0.1.0"

__all__ = ["Recipe", "Workbench", "WorkbenchError", "open_model", "open_recipe"]

_HOMES = {
    "Recipe": "workbench.recipe.document",
    "Workbench": "workbench.session",
    "WorkbenchError": "workbench.errors",
    "open_model": "workbench.session",
    "open_recipe": "workbench.session",
}

switch_off()


def __getattr__(name: str) -> Any:
    # Importing the package must stay cheap: the heavy libraries come with the first name that needs them.
    if name not in _HOMES:
        raise AttributeError(f"module 'workbench' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
