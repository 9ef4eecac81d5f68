"""Why a model cannot be brought to another operator set, in words that help: ONNX's converter ends in assertions."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import onnx
import onnx_ir as ir

from workbench.errors import EditError
from workbench.graph.edits.inside import tensor_at
from workbench.graph.edits.surgery import constant_array
from workbench.graph.native import convert_version
from workbench.graph.shapes import SMALL
from workbench.graph.structure import walk

if TYPE_CHECKING:
    from collections.abc import Iterator

    from workbench.graph.model import Model
    from workbench.graph.tensor import Tensor

__all__ = ["FAILURES", "refusal"]

FAILURES = (RuntimeError, ValueError, IndexError, KeyError, onnx.shape_inference.InferenceError)
"""What the converter raises."""


def refusal(model: Model, version: int, error: Exception) -> EditError:
    """Return the error that says why a model cannot be converted to operator set `version`.

    Parameters
    ----------
    model
        The model, as it is.
    version
        The set that was asked for.
    error
        What the converter raised for the whole model.
    """
    whole = f"operator set {model.opset} cannot be converted to {version}"
    for address, node in walk(model.ir_model):
        if node.domain not in ("", "ai.onnx"):
            continue
        if not onnx.defs.has(node.op_type, version, ""):
            history = _history(node.op_type)
            if not history:
                return EditError(
                    f"{whole}: no operator set of ONNX has {node.op_type}",
                    where=address,
                    fix="Give it the domain that it comes from, or replace this node first.",
                )
            came = min(schema.since_version for schema in history)
            what = f"it came with {came}" if came > version else "it went with a later one"
            return EditError(
                f"{whole}: that has no {node.op_type}, {what}",
                where=address,
                fix=f"Convert to {came} or later, or replace this node first." if came > version else _again(version),
            )
    for address, node in _changed(model, version):
        if (reason := _alone(model, address, node, version)) is not None:
            return EditError(f"{whole}: {node.op_type}: {reason}", where=address, fix=_kept(model, version))
    return EditError(f"{whole}: {_words(error)}", where=model.name, fix=_kept(model, version))


def _again(version: int) -> str:
    return f"Export the model again with operator set {version}."


def _kept(model: Model, version: int) -> str:
    return f"Keep operator set {model.opset}, or export the model again." if version < model.opset else _again(version)


def _history(op: str) -> list[onnx.defs.OpSchema]:
    return [s for s in onnx.defs.get_all_schemas_with_history() if s.name == op and s.domain == ""]


def _changed(model: Model, version: int) -> Iterator[tuple[str, ir.Node]]:
    """Yield the nodes whose operator is another in set `version`."""
    for address, node in walk(model.ir_model):
        if node.domain in ("", "ai.onnx") and onnx.defs.has(node.op_type, model.opset, ""):
            now = onnx.defs.get_schema(node.op_type, model.opset, "").since_version
            if onnx.defs.get_schema(node.op_type, version, "").since_version != now:
                yield address, node


def _alone(model: Model, address: str, node: ir.Node, version: int) -> str | None:
    """Convert one node as a model of its own; return why that fails, ``None`` where it does not."""
    graph = onnx.GraphProto(name="alone", node=[ir.serde.serialize_node(node)])
    prefix = address.removesuffix(str(node.name))
    for value in dict.fromkeys(value for value in node.inputs if value is not None):
        numbers = constant_array(value)
        if numbers is not None and numbers.size <= SMALL:
            graph.initializer.append(onnx.numpy_helper.from_array(numbers, str(value.name)))
        graph.input.append(_info(tensor_at(model, f"{prefix}{value.name}"), str(value.name)))
    graph.output.extend(
        _info(tensor_at(model, f"{prefix}{value.name}"), str(value.name)) for value in node.outputs if value.name
    )
    proto = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", model.opset)])
    try:
        convert_version(proto, version)
    except FAILURES as error:
        return _words(error)
    return None


def _info(tensor: Tensor, name: str) -> onnx.ValueInfoProto:
    kind = ir.DataType.UNDEFINED if tensor.dtype is None else ir.DataType[tensor.dtype]
    return onnx.helper.make_tensor_value_info(name, kind.value, tensor.shape)


def _words(error: Exception) -> str:
    """Return what the converter says without the place in its source where it says so."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    last = lines[-1] if lines else type(error).__name__
    failure = re.search(r"failed: (.+)", last)
    text = (failure[1] if failure else last).strip(" .")
    lacking = re.search(r"No Adapter (From|To) Version \$?(\d+) for (\w+)", text)
    if lacking is not None:
        return f"ONNX has no way {lacking[1].lower()} its version of set {lacking[2]}"
    if _SOURCE.search(text):
        return "ONNX's converter refuses it without a reason"
    return text


_SOURCE = re.compile(r"\.(cc|cpp|h)\b|Assertion|\w::\w")
