"""What a tuning left in its folder, as whoever serves it needs it: the file, its inputs and outputs, the recipe.

The names of element types are those of KServe's open inference protocol, as Triton has them.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.calibration import Preprocessing
from workbench.errors import ModelError, RecipeError
from workbench.graph import load_model
from workbench.recipe import Recipe
from workbench.recipe.steps import CalibrateStep, RangesStep, RangeStep

if TYPE_CHECKING:
    import os

    import onnx_ir as ir

    from workbench.graph import Model, Tensor

__all__ = ["DATATYPES", "Deployment", "Port", "open_deployment"]

MODEL, RECIPE, WEIGHTS, STATISTICS = "tuned.onnx", "recipe.yaml", "tuned.onnx.data", "statistics.npz"

DATATYPES = {
    "BOOL": "BOOL",
    "UINT8": "UINT8",
    "UINT16": "UINT16",
    "UINT32": "UINT32",
    "UINT64": "UINT64",
    "INT8": "INT8",
    "INT16": "INT16",
    "INT32": "INT32",
    "INT64": "INT64",
    "FLOAT16": "FP16",
    "FLOAT": "FP32",
    "DOUBLE": "FP64",
    "BFLOAT16": "BF16",
    "STRING": "BYTES",
}
"""Element types as ONNX names them, to KServe's names; there are no others that a request can carry."""


@dataclass(frozen=True)
class Port:
    """An input or output as a request names it.

    Parameters
    ----------
    name
        The tensor's name.
    datatype
        KServe's name of its element type: ``FP32``, ``INT64``, ``BYTES``, ...
    shape
        One length an axis, the batch's included; -1 where it is free.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Deployment:
    """A tuned model that is ready to be handed over.

    Parameters
    ----------
    name
        How clients call it: letters, digits, ``_``, ``-`` and ``.``.
    folder
        Where the tuning wrote.
    model
        The model.
    inputs, outputs
        In the model's order.
    batches
        Every first axis is free and has one name, which no other axis of an input has. So the model says; whether rows
        are independent of each other shows when it runs.
    recipe
        What made it.
    preprocessing
        How an image became an input in calibration; ``None`` where samples were arrays.
    """

    name: str
    folder: Path
    model: Model
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    batches: bool
    recipe: Recipe
    preprocessing: Preprocessing | None = None

    @property
    def file(self) -> Path:
        """The model's file; where one file cannot hold it, its weights lie beside it."""
        return self.folder / MODEL

    @property
    def statistics(self) -> Path:
        """What calibration saw; a replayed folder has none."""
        return self.folder / STATISTICS

    @property
    def ranges(self) -> dict[str, float]:
        """Tensor name to the clipping threshold in force, of the tensors that the tuned model quantizes."""
        thresholds: dict[str, float] = {}
        for step in self.recipe.steps:
            if isinstance(step, RangesStep):
                thresholds |= step.ranges
            elif isinstance(step, RangeStep):
                thresholds[step.tensor] = step.amax
        quantized = _quantizing(self.model)
        return {name: amax for name, amax in thresholds.items() if name in quantized}

    def readers(self, tensor: str) -> list[str]:
        """Return the names of the nodes that read a tensor through its Q/DQ pairs."""
        pairs = _quantizing(self.model).get(tensor, [])
        dequantized = [usage.node for node in pairs for usage in node.outputs[0].uses()]
        return [str(usage.node.name) for node in dequantized for usage in node.outputs[0].uses()]

    @property
    def files(self) -> tuple[Path, ...]:
        """All files of the model."""
        return tuple(path for path in (self.file, self.folder / WEIGHTS) if path.is_file())


def open_deployment(folder: str | os.PathLike[str], *, name: str | None = None) -> Deployment:
    """Read what a tuning left in a folder.

    Parameters
    ----------
    folder
        The ``--out`` of ``workbench tune``, ``search`` or ``replay``.
    name
        What clients are to call it; the source model's file name, without its ending, where left out.

    Raises
    ------
    RecipeError
        It is no result of a tuning, or its model is not the one that its recipe made.
    ModelError
        The model cannot be loaded, or has an input or output that no request can carry.
    """
    folder = Path(folder)
    missing = next((file for file in (MODEL, RECIPE) if not (folder / file).is_file()), None)
    if missing is not None:
        absent = "a file, and no folder" if folder.exists() else "there is no such folder"
        raise RecipeError(
            f"not what a tuning writes: there is no {missing}" if folder.is_dir() else absent,
            where=folder,
            fix="Name the folder that was given to workbench tune as --out.",
        )
    recipe = Recipe.load(folder / RECIPE)
    model = load_model(folder / MODEL)
    if recipe.tuned is None or recipe.tuned.sha256 != _digest(folder, model):
        raise RecipeError(
            f"{MODEL} is not the model that its recipe makes",
            where=folder,
            fix="Write the folder again: workbench replay recipe.yaml --out FOLDER.",
        )
    return Deployment(
        name=_usable(Path(recipe.model.file).stem if name is None else name, chosen=name is not None),
        folder=folder,
        model=model,
        inputs=tuple(_port(tensor, "input") for tensor in model.inputs),
        outputs=tuple(_port(tensor, "output") for tensor in model.outputs),
        batches=_batches(model),
        recipe=recipe,
        preprocessing=_preprocessing(recipe),
    )


def _quantizing(model: Model) -> dict[str, list[ir.Node]]:
    """Return the QuantizeLinear nodes by the tensor that they read."""
    nodes: dict[str, list[ir.Node]] = {}
    for node in model.top_nodes.values():
        if node.op_type == "QuantizeLinear" and node.inputs[0] is not None:
            nodes.setdefault(str(node.inputs[0].name), []).append(node)
    return nodes


def _digest(folder: Path, model: Model) -> str:
    if (folder / WEIGHTS).is_file():
        return model.digest
    return hashlib.sha256((folder / MODEL).read_bytes()).hexdigest()


def _usable(name: str, *, chosen: bool) -> str:
    """Return a name that stands in a URL and can be a folder's."""
    usable = re.sub(r"[^A-Za-z0-9_.-]+", "_", name).lstrip(".-")
    if not re.search(r"[A-Za-z0-9]", usable):
        usable = "model"  # as of a file called 检测.onnx
    if chosen and usable != name:
        raise RecipeError(f"{name!r} cannot be the name of a model", fix=f"Call it for example {usable}.")
    return usable


def _port(tensor: Tensor, kind: str) -> Port:
    datatype = DATATYPES.get(tensor.dtype or "")
    if tensor.form or datatype is None:
        raise ModelError(
            f"it is {tensor.form or (tensor.dtype or 'of an unknown type')}, which KServe's protocol cannot carry",
            where=f"{kind} {tensor.name!r}",
            fix="Cut the model before or behind it (wb.edit('extract', ...)), or cast it, and tune again.",
        )
    if tensor.shape is None:
        raise ModelError(
            "its rank is not known, and a request states a shape",
            where=f"{kind} {tensor.name!r}",
            fix="State its shape in the model and tune again.",
        )
    return Port(tensor.name, datatype, tuple(n if isinstance(n, int) else -1 for n in tensor.shape))


def _batches(model: Model) -> bool:
    shapes = [tensor.shape for tensor in (*model.inputs, *model.outputs)]
    firsts = {shape[0] if shape else 0 for shape in shapes}
    others = {length for tensor in model.inputs for length in (tensor.shape or ())[1:]}
    batch = next(iter(firsts))
    named = not isinstance(batch, int) and (batch is None or batch not in others)
    return len(firsts) == 1 and named and bool(model.inputs)


def _preprocessing(recipe: Recipe) -> Preprocessing | None:
    for step in reversed(recipe.of_kind(CalibrateStep)):
        if step.samples.source.get("preprocessing"):
            return Preprocessing.of(step.samples.source["preprocessing"])
    return None
