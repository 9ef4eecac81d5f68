"""What a cause is, and what it is judged by."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import onnx_ir as ir

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from workbench.graph import Model

__all__ = ["Cause", "CauseSite", "Fix", "dtype_of"]


@dataclass(frozen=True)
class Fix:
    """What to do: a sentence, and where the workbench can do it, the edit and its arguments."""

    text: str
    edit: str | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Cause:
    """Why, in one sentence, and what helps.

    Attributes
    ----------
    name
        A stable word for programs.
    quiet
        TensorRT accepts the node but computes something else than the graph says.
    unnamed
        The compiler refuses this without naming the node.
    undecided
        The answer needs a GPU.
    """

    name: str
    reason: str
    fix: Fix
    quiet: bool = False
    unnamed: bool = False
    undecided: bool = False


@dataclass(frozen=True)
class CauseSite:
    """What a cause is judged by.

    The node, the opset it is read in, the target (86 for sm86), the compiler's words, whether the model has dynamic
    inputs, whose shapes came from an optimization profile, the node's address in the model, and the model.
    """

    node: ir.Node
    opset: int
    target: int
    message: str = ""
    dynamic: bool = False
    address: str = ""
    model: Model | None = None

    def dtype(self, value: ir.Value | None) -> ir.DataType | None:
        """Return the type of a tensor: as stored or stated, else as ONNX infers it."""
        stated = dtype_of(value)
        if stated is not None or value is None or self.model is None:
            return stated
        inferred = self.model.tensor(self.model.index.tensor(value)).dtype
        return None if inferred is None else ir.DataType[inferred]

    def types(self) -> Iterator[ir.DataType]:
        """Yield the types of the tensors that the node reads and makes, and that it casts to."""
        for value in (*self.node.inputs, *self.node.outputs):
            kind = self.dtype(value)
            if kind is not None:
                yield kind
        if self.node.op_type == "Cast" and "to" in self.node.attributes:
            yield ir.DataType(self.node.attributes["to"].as_int())

    def rank(self, value: ir.Value | None) -> int | None:
        """Return the number of axes of a tensor, ``None`` where it is not known."""
        if value is None or self.model is None:
            return None
        if value.const_value is not None:
            return value.const_value.shape.rank()
        shape = self.model.tensor(self.model.index.tensor(value)).shape
        return None if shape is None else len(shape)


def dtype_of(value: ir.Value | None) -> ir.DataType | None:
    """Return the type of a tensor as the file states or stores it."""
    if value is None:
        return None
    return value.dtype if value.const_value is None else value.const_value.dtype
