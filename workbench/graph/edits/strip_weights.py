"""Take the numbers out of a model's weights, and put them back from another file."""

from __future__ import annotations

import hashlib
from typing import ClassVar, Literal

import onnx
import onnx_ir as ir

from workbench.errors import EditError
from workbench.graph.edits.wide import Area, WideEdit
from workbench.graph.weights import bytes_of, is_stripped

__all__ = ["RestoreWeights", "StripWeights"]

KEY = "stripped.sha256"
SMALL = 1024


class StripWeights(WideEdit):
    """Take the numbers out of large weights: structure, shapes and element types stay, to be shown to others.

    Each stripped weight keeps the SHA-256 of its bytes among its metadata, so that restoring can tell whether what
    comes back is what was taken. Weights of at most `keep` elements stay, for shapes and axes are among them. A local
    function stores no weights, only constants, which stay too.
    """

    do: Literal["strip_weights"] = "strip_weights"
    title: ClassVar[str] = "Strip weights"
    equivalent: ClassVar[bool] = False
    runnable: ClassVar[bool] = False

    keep: int = SMALL

    def sweep(self, area: Area) -> list[str] | None:
        stripped = 0
        for _, _, value in area.weights():
            content = value.const_value
            if content is None or content.size <= self.keep or is_stripped(content):
                continue
            value.metadata_props[KEY] = hashlib.sha256(bytes_of(content)).hexdigest()
            empty = onnx.TensorProto(name=str(value.name), data_type=int(content.dtype), dims=content.shape.numpy())
            value.const_value = ir.serde.deserialize_tensor(empty)
            stripped += 1
        return [f"stripped {stripped} weights"] if stripped else None


class RestoreWeights(WideEdit):
    """Put the numbers of stripped weights back, from a model that has weights of the same names.

    A local function stores no weights.

    Parameters
    ----------
    source
        Path of the ``.onnx`` file that has them.
    """

    do: Literal["restore_weights"] = "restore_weights"
    title: ClassVar[str] = "Restore weights"
    equivalent: ClassVar[bool] = False

    source: str

    def sweep(self, area: Area) -> list[str] | None:
        from workbench.graph.load import load_model

        source = load_model(self.source)
        weights = {f"{prefix}{value.name}": value for prefix, _, value in Area(source.ir_model, source).weights()}
        restored = 0
        for prefix, _, value in area.weights():
            name = f"{prefix}{value.name}"
            content = value.const_value
            if content is None or not is_stripped(content):
                continue
            weight = weights[name].const_value if name in weights else None
            if weight is None or is_stripped(weight) or (weight.dtype, weight.shape) != (content.dtype, content.shape):
                raise EditError(
                    "it has no weight of this name, shape and element type",
                    where=f"{self.source}, {name}",
                    fix="Name the file that the weights were stripped from.",
                )
            digest = value.metadata_props.pop(KEY, None)
            if digest is not None and hashlib.sha256(bytes_of(weight)).hexdigest() != digest:
                raise EditError(
                    "it holds other numbers than the ones that were stripped",
                    where=f"{self.source}, {name}",
                    fix="Name the file that the weights were stripped from.",
                )
            value.const_value = weight
            restored += 1
        return [f"restored {restored} weights"] if restored else None
