"""A model, a table or a number as text that is equal on every machine: what snapshots hold."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import numpy_helper

if TYPE_CHECKING:
    import pandas as pd

    from workbench.graph.model import Model


def of_model(model: Model) -> str:
    """Nodes, attributes, bodies, functions and what is stated of tensors; weights by shape and two sums."""
    proto = onnx.ModelProto.FromString(model.to_bytes())
    lines = [
        f"ir {proto.ir_version}, " + ", ".join(f"{one.domain or 'onnx'} {one.version}" for one in proto.opset_import)
    ]
    lines += [f"meta {one.key}={one.value}" for one in proto.metadata_props]
    lines += _graph(proto.graph, "")
    for function in proto.functions:
        lines.append(f"function {function.domain}:{function.name} {list(function.input)} -> {list(function.output)}")
        lines += [line for node in function.node for line in _node(node, "  ")]
    return "\n".join(lines)


def _graph(graph: onnx.GraphProto, indent: str) -> list[str]:
    lines = [f"{indent}{word} {_value(value)}" for word in ("input", "output") for value in getattr(graph, word)]
    lines += [f"{indent}weight {tensor.name} {_tensor(tensor)}" for tensor in graph.initializer]
    lines += [f"{indent}states {_value(value)}" for value in graph.value_info]
    return lines + [line for node in graph.node for line in _node(node, indent)]


def _node(node: onnx.NodeProto, indent: str) -> list[str]:
    plain = [a for a in node.attribute if a.type != onnx.AttributeProto.GRAPH]
    settings = ", ".join(f"{a.name}={_attribute(a)}" for a in plain)
    operator = f"{node.domain}:{node.op_type}" if node.domain else node.op_type
    lines = [f"{indent}{node.name}: {', '.join(node.output)} = {operator}({', '.join(node.input)}) {settings}".rstrip()]
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            lines += [f"{indent}  {attribute.name}:", *_graph(attribute.g, f"{indent}    ")]
    return lines


def _attribute(attribute: onnx.AttributeProto) -> str:
    if attribute.ref_attr_name:
        return f"@{attribute.ref_attr_name}"
    if attribute.type == onnx.AttributeProto.TENSOR:
        return _tensor(attribute.t)
    value = onnx.helper.get_attribute_value(attribute)
    return text_of(value.decode() if isinstance(value, bytes) else value)


def _tensor(tensor: onnx.TensorProto) -> str:
    dtype = onnx.TensorProto.DataType.Name(tensor.data_type).lower()
    shape = "x".join(map(str, tensor.dims)) or "scalar"
    try:
        array = numpy_helper.to_array(tensor)
    except ValueError:
        return f"{dtype} {shape} without its numbers"
    if array.dtype.kind not in "fiub":
        array = np.zeros(0) if array.dtype.kind in "OSU" else array.astype(np.float32)
    if array.size <= 4:
        return f"{dtype} {shape} {text_of(array.reshape(-1).tolist())}"
    numbers = array.astype(np.float64).reshape(-1)
    # The second sum tells the order, too; what cancels out is the order of additions alone.
    sums = [numbers.sum(), numbers @ np.arange(numbers.size)]
    return f"{dtype} {shape} {text_of([one if abs(one) > 1e-6 else 0.0 for one in sums])}"


def _value(value: onnx.ValueInfoProto) -> str:
    kind = value.type.WhichOneof("value") or "nothing"
    if kind != "tensor_type":
        return f"{value.name} {kind}"
    tensor = value.type.tensor_type
    lengths = [d.dim_param or (str(d.dim_value) if d.HasField("dim_value") else "?") for d in tensor.shape.dim]
    shape = f"[{', '.join(lengths)}]" if tensor.HasField("shape") else "of unknown rank"
    return f"{value.name} {onnx.TensorProto.DataType.Name(tensor.elem_type).lower()} {shape}"


def of_table(table: pd.DataFrame) -> str:
    """A table as CSV of four digits."""
    return str(table.to_csv(float_format="%.4g", lineterminator="\n"))


def text_of(value: Any) -> str:
    """A value as JSON, each number with four digits: the last ones are a processor's own."""
    return json.dumps(_rounded(value), default=str)


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _rounded(one) for key, one in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_rounded(one) for one in value]
    if isinstance(value, (float, np.floating)):
        return float(f"{value:.4g}")
    return int(value) if isinstance(value, np.integer) else value
