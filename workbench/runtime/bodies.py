"""Bodies of Scan and Loop that hand on what they got: ONNX Runtime returns memory there that nobody wrote.

ONNX Runtime 1.32 lets a body write into the slice of the result that is its step's. Where an output is an input of the
body, or an output before it, nothing is computed and nothing written: the result is what lay in that memory, and of a
Loop's count the last one in all steps. A copy in between makes them right.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx_ir as ir

from workbench.graph import STANDARD_DOMAINS, graphs_of, qdq_op, share_names

if TYPE_CHECKING:
    from collections.abc import Iterator

    from workbench.graph import Model

__all__ = ["borrows_weights", "with_copies"]


def with_copies(model: Model) -> Model:
    """Return a model whose bodies compute each of their outputs; itself where all do."""
    if not any(_handed_on(body) for body in _bodies(model.ir_model)):
        return model
    graph = model.thaw()
    fresh = share_names(graph)
    for body in list(_bodies(graph)):
        for place in _handed_on(body):
            value = body.outputs[place]
            copy = ir.node("Identity", [value], name=fresh.node(f"{value.name}/copy"))
            (result,) = copy.outputs
            result.name, result.type, result.shape = fresh.tensor(f"{value.name}/copy"), value.type, value.shape
            body.append(copy)
            body.outputs[place] = result
    return model.replaced(graph)


def borrows_weights(model: Model) -> bool:
    """Say whether a body dequantizes a weight of a graph around it."""
    inner = (node for address, node in model.nodes.items() if address not in model.top_nodes and node.graph is not None)
    return any(
        qdq_op(node) == "DequantizeLinear"
        and (weight := node.inputs[0]) is not None
        and weight.is_initializer()
        and weight.graph is not node.graph
        for node in inner
    )


def _bodies(model: ir.Model) -> Iterator[ir.Graph]:
    for _, part in graphs_of(model):
        for node in part:
            body = node.attributes.get("body")
            loops = node.domain in STANDARD_DOMAINS and node.op_type in ("Loop", "Scan")
            if loops and body is not None and not body.is_ref():
                yield body.as_graph()


def _handed_on(body: ir.Graph) -> list[int]:
    """Return which outputs of a body are inputs of its own, or are there twice."""
    inputs, outputs = set(body.inputs), list(body.outputs)
    return [place for place, value in enumerate(outputs) if value in inputs or value in outputs[:place]]
