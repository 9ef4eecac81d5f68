"""How far what a session makes is from what it came from: comparison and sensitivity."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from workbench.calibration import labels_for
from workbench.errors import RecipeError
from workbench.evaluate import Comparison, compare
from workbench.precision.plan import BEST_PRACTICE
from workbench.session.samples import samples_for

if TYPE_CHECKING:
    import os

    import numpy as np
    import numpy.typing as npt

    from workbench.graph import Model
    from workbench.precision.sensitivity import Sensitivity
    from workbench.session.history import History
    from workbench.session.samples import PreprocessingLike

__all__ = ["compare_tuned", "measure_sensitivity", "reference_for"]


def compare_tuned(
    history: History,
    tuned: Model,
    samples: object = None,
    *,
    labels: str | os.PathLike[str] | npt.NDArray[np.int64] | None = None,
    batch: int | None = None,
    preprocessing: PreprocessingLike = None,
    runs: int = 30,
) -> Comparison:
    """Run the source and the tuned model on ONNX Runtime, and say how far apart they are.

    Where edits changed the model's inputs or outputs, the edited floating-point model stands in for the source.

    Parameters
    ----------
    samples
        What to run; the calibration's samples where left out.
    labels
        One class index a sample, as an array or a file: top-1 is measured.
    batch
        Samples a run for a model of dynamic batch; the calibration's where left out.
    preprocessing
        For a folder of images.
    runs
        Timed runs; 0 measures no latency.
    """
    data, used = samples_for(history, samples, preprocessing)
    indices = None if labels is None else labels_for(labels, data, history.state.model)
    return compare(reference_for(history, tuned), tuned, data, labels=indices, batch=batch or used, runs=runs)


def reference_for(history: History, model: Model) -> Model:
    """Return what a version of the model is compared with: the source, if its inputs and outputs are the same."""
    return history.source if _same_interface(history.source, model) else history.state.model


def measure_sensitivity(
    history: History,
    *,
    how: Literal["quick", "exact"] = "quick",
    samples: object = None,
    preprocessing: PreprocessingLike = None,
) -> Sensitivity:
    """Measure what each node that the plan makes INT8 costs alone; see `Workbench.sensitivity`."""
    from workbench.precision.sensitivity import candidates_of, exact, quick

    state = history.state
    if not state.ranges:
        raise RecipeError(
            "sensitivity needs ranges, and nothing was calibrated",
            where=history.source.name,
            fix="Calibrate first: wb.calibrate(samples).",
        )
    data, batch = samples_for(history, samples, preprocessing)
    plan = state.plan if state.plan.rules else BEST_PRACTICE
    candidates = [node for node in candidates_of(state.model, plan) if node in state.model.top_nodes]
    measure = quick if how == "quick" else exact
    return measure(state.model, candidates, state.ranges, data, batch=batch)


def _same_interface(a: Model, b: Model) -> bool:
    return [(t.name, t.shape, t.dtype) for t in (*a.inputs, *a.outputs)] == [
        (t.name, t.shape, t.dtype) for t in (*b.inputs, *b.outputs)
    ]
