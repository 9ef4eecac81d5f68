"""How far what a session makes is from what it came from: comparison and sensitivity."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from workbench.calibration import labels_for
from workbench.errors import PrecisionError, RecipeError
from workbench.evaluate import Comparison, Reference, compare
from workbench.graph import stored_bytes
from workbench.graph.edits import Edit
from workbench.precision.plan import BEST_PRACTICE
from workbench.recipe.steps import PlanStep
from workbench.runtime import on_device
from workbench.session.samples import samples_for

if TYPE_CHECKING:
    import os

    import numpy as np
    import numpy.typing as npt

    from workbench.precision.sensitivity import Sensitivity
    from workbench.session.history import History
    from workbench.session.samples import PreprocessingLike
    from workbench.session.tuning import Tuning

__all__ = ["compare_tuned", "measure_sensitivity", "reference_of"]


def compare_tuned(
    tuning: Tuning,
    samples: object = None,
    *,
    labels: str | os.PathLike[str] | npt.NDArray[np.int64] | None = None,
    batch: int | None = None,
    preprocessing: PreprocessingLike = None,
    runs: int = 30,
    device: str | None = None,
) -> Comparison:
    """Run the source and the tuned model on ONNX Runtime, and say how far apart they are.

    Inputs and outputs that edits gave other names, types or layouts are found again in the source. Where there is no
    way back, as after a part was cut out, the edited floating-point model stands in for it, and the result's `note`
    says so.

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
    device
        ``cuda``, ``cuda:1`` or ``cuda:0+tf32`` compute the outputs on a GPU; see `calibrate`. Latency is the
        processor's all the same.
    """
    history, tuned = tuning.history, tuning.lowered().model
    data, used = samples_for(history, samples, preprocessing)
    indices = None if labels is None else labels_for(labels, data, history.state.model)
    with on_device(device) as where:
        comparison = compare(reference_of(history), tuned, data, labels=indices, batch=batch or used, runs=runs)
    own = history.measured.samples
    same = own is not None and data.fingerprint == own.fingerprint
    notes = (comparison.note, f"computed on {where.describe()}" if where.index is not None else "")
    note, size = "; ".join(filter(None, notes)), stored_bytes(history.source)
    comparison = replace(comparison, original_bytes=size, calibrated=same, note=note)
    history.keep("comparison", comparison=comparison, compared=history.state)
    return comparison


def reference_of(history: History) -> Reference:
    """Return what versions of the model are compared with: the source, as long as it can be fed what they are fed."""
    edits = [
        edit
        for step in history.recipe.steps
        for edit in (step.edits if isinstance(step, PlanStep) else [step])
        if isinstance(edit, Edit)
    ]
    return Reference.source(history.source, history.state.model, edits)


def measure_sensitivity(
    history: History,
    samples: object = None,
    *,
    how: Literal["quick", "exact"] = "quick",
    preprocessing: PreprocessingLike = None,
    device: str | None = None,
) -> Sensitivity:
    """Measure what each node that the plan makes INT8 costs alone.

    Parameters
    ----------
    samples
        What to run; the calibration's samples where left out.
    how
        ``quick`` estimates it from a few forward passes, ``exact`` runs the model anew for every node.
    preprocessing
        For a folder of images.
    device
        ``cuda``, ``cuda:1`` or ``cuda:0+tf32`` run them on a GPU; see `calibrate`.

    Raises
    ------
    RecipeError
        Nothing was calibrated.
    PrecisionError
        No node computes in INT8 by this plan.
    """
    from workbench.precision.sensitivity import exact, quick

    state = history.state
    if not state.ranges:
        raise RecipeError(
            "sensitivity needs ranges, and nothing was calibrated",
            where=history.source.name,
            fix="Calibrate first: wb.calibrate(samples).",
        )
    data, batch = samples_for(history, samples, preprocessing)
    plan = state.plan if state.plan.rules else BEST_PRACTICE
    resolution = state.resolve(plan)
    candidates = [node for node in resolution.nodes("int8") if node in state.model.top_nodes]
    if not candidates:
        raise PrecisionError(
            "no node computes in INT8 by this plan", where=history.source.name, fix='Let some: wb.plan.use("int8").'
        )
    measure = quick if how == "quick" else exact
    with on_device(device):
        result = measure(state.model, candidates, state.ranges, data, batch=batch, resolution=resolution)
    history.keep("sensitivity", sensitivity=result)
    return result
