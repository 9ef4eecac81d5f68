"""What is worth knowing about a model before it meets a compiler; found by looking, nothing is changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx_ir as ir

from workbench.graph.check import checker_reason
from workbench.graph.domains import QDQ
from workbench.graph.quirk import Quirk
from workbench.graph.weights import is_stripped

if TYPE_CHECKING:
    from collections.abc import Iterator

    from workbench.graph.model import Model

__all__ = ["find_quirks"]

PER_CHANNEL_OPSET = 13
QDQ_OPSET = 10


def find_quirks(model: Model) -> tuple[Quirk, ...]:
    """Return what loading repaired, and what looking finds: see the functions of this module."""
    return (
        *model.quirks,
        *_opsets(model),
        *_shapes(model),
        *_dead_nodes(model),
        *_weights(model),
        *_quantization(model),
        *_checker(model),
    )


def _opsets(model: Model) -> Iterator[Quirk]:
    if 0 < model.opset < PER_CHANNEL_OPSET:
        kind = "Q/DQ at all" if model.opset < QDQ_OPSET else "per-channel Q/DQ"
        yield Quirk(
            "old-opset",
            f"opset {model.opset}",
            f"operator set {model.opset} is too old for {kind}; convert it to {PER_CHANNEL_OPSET} or newer",
        )
    used = {node.domain for node in model.nodes.values()}
    for domain in sorted(used - set(model.ir_model.opset_imports)):
        node = next(address for address, node in model.nodes.items() if node.domain == domain)
        yield Quirk(
            "no-opset-import", node, f"the model imports no version of the operator domain {domain or 'ai.onnx'!r}"
        )


def _shapes(model: Model) -> Iterator[Quirk]:
    for tensor in model.inputs:
        if tensor.form:
            text = f"input {tensor.name!r} is a {tensor.form}, and samples are tensors; cut the model behind it"
            yield Quirk("not-a-tensor", tensor.name, text)
        elif tensor.shape is None:
            yield Quirk(
                "input-without-shape", tensor.name, f"the file says nothing of the shape of input {tensor.name!r}"
            )
        elif None in tensor.shape:
            axes = ", ".join(str(axis) for axis, length in enumerate(tensor.shape) if length is None)
            yield Quirk("unnamed-axis", tensor.name, f"axis {axes} of input {tensor.name!r} is dynamic and has no name")
    if model.shape_problem is not None:
        yield Quirk("unknown-shapes", model.name, model.shape_problem)


def _dead_nodes(model: Model) -> Iterator[Quirk]:
    alive = {model.index.address[node] for _, graph in model.graphs for node in _ends(graph)}
    alive |= model.index.upstream(alive)
    for prefix, _ in model.graphs[1:]:
        # A node that holds a living one lives.
        if any(name.startswith(prefix) for name in alive):
            alive.add(prefix[:-1].rpartition("/")[0])
    dead = [address for address in model.nodes if address not in alive]
    if dead:
        yield Quirk("dead-nodes", dead[0], f"{len(dead)} nodes whose results nobody reads")


def _ends(graph: ir.Graph) -> Iterator[ir.Node]:
    yield from (node for value in graph.outputs if (node := value.producer()) is not None)


def _weights(model: Model) -> Iterator[Quirk]:
    wide = [
        name
        for name, value in model.initializers.items()
        if value.dtype in (ir.DataType.INT64, ir.DataType.DOUBLE) and value.shape is not None and value.shape.rank() > 1
    ]
    if wide:
        yield Quirk(
            "wide-weights", wide[0], f"{len(wide)} INT64 or DOUBLE weights; older TensorRT narrows them to 32 bits"
        )
    empty = [name for name, value in model.initializers.items() if (c := value.const_value) and is_stripped(c)]
    if empty:
        yield Quirk(
            "stripped-weights", empty[0], f"{len(empty)} weights without content; restore them before it can run"
        )
    unused = [name for name, value in model.initializers.items() if not value.uses() and not value.is_graph_output()]
    if unused:
        yield Quirk("unused-weights", unused[0], f"{len(unused)} weights that nobody reads")


def _quantization(model: Model) -> Iterator[Quirk]:
    quantizers = [address for address, node in model.nodes.items() if node.op_type in QDQ]
    if quantizers:
        yield Quirk(
            "quantized", quantizers[0], f"already quantized: {len(quantizers)} QuantizeLinear/DequantizeLinear nodes"
        )


def _checker(model: Model) -> Iterator[Quirk]:
    reason = checker_reason(model)
    if reason is not None:
        yield Quirk("refused-by-checker", model.name, f"ONNX's checker refuses it: {reason}")
