"""What there is to say of a selection: attributes, inputs and outputs, and the weights with their numbers."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.display import counted, shortened
from workbench.graph import constant_of, content_of, is_stripped, parameters_of
from workbench.names import percent

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx_ir as ir

    from workbench.graph import Model, Tensor

__all__ = ["of_many", "of_model", "of_node", "weight_facts", "weights_of_node"]

MOST_OPS = 6
MOST_VALUE = 200
MOST_WEIGHTS = 8
MOST_ELEMENTS = 20_000_000
"""Weights beyond it are not looked through for a click."""
BINS = 64
MOST_CHANNELS = 512


def of_model(model: Model, macs: int, unknown: Sequence[str]) -> dict[str, Any]:
    """Return a model in a few rows; of `unknown` nodes the multiply-accumulates are not known."""
    counts = {".".join(filter(None, operator)): len(nodes) for operator, nodes in model.operators.items()}
    most = sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))
    ops = ", ".join(f"{count} {op}" for op, count in most[:MOST_OPS])
    constants = sum(node.op_type == "Constant" for node in model.top_nodes.values())
    nodes = counted(len(model.top_nodes) - constants, "node") + f" and {counted(constants, 'constant')}" * bool(
        constants
    )
    producer = " ".join(filter(None, (model.ir_model.producer_name, model.ir_model.producer_version)))
    return {
        "title": model.name,
        "about": f"{nodes}, opset {model.opset}",
        "rows": [
            ["producer", producer or "not said"],
            ["operators", ops + " …" * (len(most) > MOST_OPS)],
            ["parameters", f"{parameters_of(model):,}"],
            ["MACs", f"{macs:,}" + (f" and {counted(len(unknown), 'node')} unknown" if unknown else "")],
            *[["input", f"{t.name} · {_shape(t)}"] for t in model.inputs],
            *[["output", f"{t.name} · {_shape(t)}"] for t in model.outputs],
        ],
    }


def of_node(model: Model, address: str) -> dict[str, Any]:
    """Return attributes, inputs and outputs of one node."""
    node = model.nodes[address]
    own = {id(value) for value in model.weights.get(address, ())}
    rows = []
    for kind, values in (("input", node.inputs), ("output", node.outputs)):
        for value in values:
            if value is None or not value.name:
                continue
            tensor = model.tensor(model.index.tensor(value))
            what = "weight" if id(value) in own else "constant" if constant_of(value) is not None else kind
            rows.append([what, f"{tensor.name} · {_shape(tensor)}"])
    rows += [[name, _value(attribute)] for name, attribute in node.attributes.items()]
    return {"title": address, "about": _kind(node, model), "rows": rows}


def of_many(model: Model, addresses: Sequence[str], shares: Sequence[float | None]) -> dict[str, Any]:
    """Return what several nodes are together."""
    ops = Counter(model.nodes[address].op_type for address in addresses)
    share = None if None in shares else sum(one or 0.0 for one in shares)
    rows = [
        ["operators", ", ".join(f"{count} {op}" for op, count in ops.most_common(8))],
        ["MACs", "unknown" if share is None else f"{percent(share)} of the model's"],
        ["first", addresses[0]],
        ["last", addresses[-1]],
    ]
    return {"title": f"{len(addresses):,} nodes", "about": "", "rows": rows}


def weights_of_node(model: Model, address: str) -> dict[str, ir.Value]:
    """Return the constant parameters of a node, by name."""
    return {str(value.name): value for value in model.weights.get(address, ())[:MOST_WEIGHTS]}


def weight_facts(model: Model, address: str, name: str, value: ir.Value) -> dict[str, Any]:
    """Return shape, extremes, histogram and the largest magnitude of each output channel of a weight."""
    from workbench.precision.operators import weight_axis

    content = constant_of(value)
    if content is None:
        return {"name": name, "text": "not a constant"}
    dtype = content.dtype.name.lower()
    text = f"{'×'.join(map(str, content.shape)) or 'scalar'} {_plain(dtype)}"
    facts: dict[str, Any] = {"name": name, "text": text}
    if is_stripped(content):
        return facts | {"text": f"{text}, without numbers: the file was stripped"}
    if content.size > MOST_ELEMENTS or not content.size:
        return facts
    numbers = content_of(value).numpy()
    if numbers.dtype.kind not in "fiu" and numbers.dtype.itemsize > 4:
        return facts
    flat = numbers.astype(np.float64).ravel()
    flat = flat[np.isfinite(flat)]
    if not flat.size:
        return facts | {"text": f"{text}, nothing finite"}
    low, high = float(flat.min()), float(flat.max())
    facts |= {"low": low, "high": high, "mean": float(flat.mean()), "zeros": float((flat == 0).mean())}
    if low < high:
        facts["bins"] = np.histogram(flat, BINS, (low, high))[0].tolist()
    node = model.nodes[address]
    position = next((at for at, one in enumerate(node.inputs) if one is value), None)
    axis = None if position is None else weight_axis(node, position)
    if axis is not None and numbers.ndim > 1:
        rows = np.abs(np.moveaxis(numbers, axis, 0).reshape(numbers.shape[axis], -1).astype(np.float64))
        facts["channels"] = np.nan_to_num(rows.max(1)).tolist()[:MOST_CHANNELS]
        facts["count"] = int(numbers.shape[axis])
    return facts


def _kind(node: ir.Node, model: Model) -> str:
    kind = f"{node.domain}::{node.op_type}" if node.domain else node.op_type
    group = node.attributes.get("group")
    groups = 1 if group is None else int(group.value)
    if node.op_type == "Conv" and groups > 1:
        shape = model.tensor(model.index.tensor(node.inputs[0])).shape if node.inputs[0] is not None else None
        depthwise = shape is not None and len(shape) > 1 and shape[1] == groups
        return f"{kind} ({'depthwise, ' * depthwise}group {groups})"
    return kind


def _shape(tensor: Tensor) -> str:
    if tensor.form:
        return tensor.form
    shape = "?" if tensor.shape is None else "×".join("?" if n is None else str(n) for n in tensor.shape)
    return f"{_plain((tensor.dtype or '?').lower())} {shape or 'scalar'}"


def _plain(dtype: str) -> str:
    return {"float": "float32", "double": "float64"}.get(dtype, dtype)


def _value(attribute: ir.Attr) -> str:
    value = attribute.value
    if hasattr(value, "num_nodes"):
        return "a subgraph"
    text = ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
    return shortened(" ".join(text.split()), MOST_VALUE)
