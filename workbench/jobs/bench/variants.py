"""The variants that are compared: which model and which build options each one is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.calibration import labels_for
from workbench.errors import BackendError
from workbench.graph import load_model
from workbench.graph.edits import edit_by_name
from workbench.precision.lowering import activation_tensors, lower, needed_opset
from workbench.precision.plan import preset
from workbench.session import history_of, opened

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    import numpy as np
    import numpy.typing as npt

    from workbench.backends import BuildOptions
    from workbench.calibration import Samples
    from workbench.graph import Model
    from workbench.jobs.options import Variant
    from workbench.precision import Target
    from workbench.precision.lowering import WeightStorage
    from workbench.precision.plan import PrecisionPlan
    from workbench.recipe import Build
    from workbench.session import PreprocessingLike

__all__ = ["VARIANTS", "Judging", "Source", "open_source", "variant_of"]

VARIANTS: Mapping[Variant, str] = {
    "qdq": "INT8 as the workbench writes it into the graph, FP16 elsewhere",
    "fp16": "FP16",
    "implicit-int8": "INT8 and FP16 as TensorRT 8 chooses, with a range for every tensor",
    "tf32": "FP32 with TF32 matrix products, TensorRT's default",
    "fp32": "FP32 without TF32",
    "given": "a model that was quantized elsewhere, FP16 allowed",
}
"""What there is, in the order in which it is built where time is short."""

GENERATED_RANGE = 4.0
"""Where nothing was calibrated: speed does not depend on ranges, and results mean nothing."""


@dataclass(frozen=True)
class Judging:
    """What the engines' results are judged on: samples, and one class index a sample where there are labels."""

    samples: Samples
    labels: npt.NDArray[np.int64] | None = None


@dataclass(frozen=True)
class Source:
    """A model, ready to be made into variants.

    Parameters
    ----------
    name
        What its files are called.
    model
        In floating point, in the form that quantization wants, with a fixed batch.
    ranges
        Tensor name to clipping threshold; None where nothing was calibrated.
    plan
        A recipe's plan; None for the best practice.
    quantized
        The model that was quantized elsewhere.
    evaluation
        What results are judged on; None where speed alone is asked for.
    weight_storage
        A recipe's; None lets the target decide. See `workbench.precision.lowering.lowering.lower`.
    build
        What is asked of engines, by a recipe or besides.
    """

    name: str
    model: Model
    ranges: Mapping[str, float] | None = None
    plan: PrecisionPlan | None = None
    quantized: Model | None = None
    evaluation: Judging | None = None
    weight_storage: WeightStorage | None = None
    build: Build | None = None

    @property
    def batch(self) -> int | None:
        """The length of the first input's first axis; None where it is free, or there is none."""
        shape = next((tensor.shape for tensor in self.model.inputs), None)
        return shape[0] if shape and isinstance(shape[0], int) else None

    @property
    def ranges_from(self) -> str:
        """Where the ranges come from, for the record."""
        if self.ranges is None:
            return f"none: {GENERATED_RANGE} for every tensor, which times the engine and computes nothing of meaning"
        return f"calibrated, {len(self.ranges)} tensors"


def open_source(
    path: str | os.PathLike[str],
    *,
    batch: int | None = None,
    named: str | None = None,
    samples: object = None,
    preprocessing: PreprocessingLike = None,
    recipe: str | os.PathLike[str] | None = None,
    quantized: str | os.PathLike[str] | None = None,
    evaluation: object = None,
    labels: str | os.PathLike[str] | None = None,
    allow_scripts: bool = False,
) -> Source:
    """Load a model and bring it into the form that its variants are made from.

    Parameters
    ----------
    path
        The ONNX file.
    batch
        The length of the inputs' first axis, written into the graph; None leaves it as it is.
    named
        What its files are called; like the file where left out.
    samples, preprocessing
        What to calibrate on; see `workbench.calibration.sources.open_samples`.
    recipe
        Takes edits, plan, ranges, the storage of weights, and what is asked of engines, from this recipe of the same
        model.
    quantized
        The same model, quantized elsewhere.
    evaluation, labels
        Samples to judge the engines' results on, and one class index a sample.
    allow_scripts
        Whether Python scripts of the recipe may run.

    Raises
    ------
    WorkbenchError
        Whatever is wrong with one of the files.
    """
    from workbench.session import open_model, open_recipe

    wb = open_model(path) if recipe is None else open_recipe(recipe, model=path, allow_scripts=allow_scripts)
    if recipe is None:
        wb.prepare()
    if samples is not None:
        wb.calibrate(samples, preprocessing=preprocessing)
    judged = None
    if evaluation is not None:
        data = opened(history_of(wb), evaluation, preprocessing)
        judged = Judging(data, None if labels is None else labels_for(labels, data, wb.model))
    return Source(
        name=named or Path(path).stem,
        model=_with_batch(wb.model, batch),
        ranges=dict(wb.ranges) or None,
        plan=wb.plan.rules if wb.plan.rules.rules else None,
        quantized=None if quantized is None else _with_batch(load_model(quantized), batch),
        evaluation=judged,
        weight_storage=wb.recipe.weight_storage,
        build=wb.recipe.build,
    )


def variant_of(source: Source, variant: Variant, options: BuildOptions, target: Target) -> tuple[Model, BuildOptions]:
    """Return the model and the options that make a variant.

    Parameters
    ----------
    source
        What it is made from.
    variant
        Which one.
    options
        What all variants have in common.
    target
        What builds it: where that is weakly typed FP16 is a flag, else it is written into the graph.

    Raises
    ------
    BackendError
        The variant cannot be had here.
    """
    weak = not target.strongly_typed
    if source.build is not None:
        options = source.build.added_to(options)
    cache = options.calibration_cache
    options = replace(options, calibration_cache=None)
    if variant in ("fp32", "tf32"):
        return source.model, replace(options, tf32=variant == "tf32")
    if variant == "given":
        if source.quantized is None:
            raise BackendError("there is no model that was quantized elsewhere", fix="Name it with --quantized.")
        return source.quantized, replace(options, weak_types=("fp16",)) if weak else options
    if variant == "implicit-int8":
        if not weak:
            raise BackendError("implicit INT8 ended with TensorRT 8", fix="Leave the variant out.")
        amax = GENERATED_RANGE if cache is None else None
        options = replace(options, weak_types=("fp16", "int8"), calibration_cache=cache, dynamic_range=amax)
        return source.model, options
    if variant == "fp16" and weak:
        return source.model, replace(options, weak_types=("fp16",))
    plan = preset("fp16" if variant == "fp16" else "int8+fp16", source.model)
    if variant == "qdq" and source.plan is not None:
        plan = source.plan
    model = _lowered(source, plan, target)
    return model, replace(options, weak_types=("fp16",)) if weak else options


def _lowered(source: Source, plan: PrecisionPlan, target: Target) -> Model:
    model, resolution = source.model, plan.resolve(source.model, target=target)
    conversion = needed_opset(model, resolution)
    if conversion is not None:
        model = edit_by_name("fold_constants")(conversion(model).model).model
        resolution = plan.resolve(model, target=target)
    ranges = source.ranges
    if ranges is None:
        ranges = dict.fromkeys(activation_tensors(model, resolution), GENERATED_RANGE)
    return lower(model, resolution, ranges, weight_storage=source.weight_storage).model


def _with_batch(model: Model, batch: int | None) -> Model:
    return model if batch is None else edit_by_name("set_batch", size=batch)(model).model
