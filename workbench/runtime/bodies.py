"""Bodies of Scan and Loop that hand on what they got: ONNX Runtime returns memory there that nobody wrote.

ONNX Runtime 1.32 lets a body write into the slice of the result that is its step's. Where an output is an input of the
body, or an output before it, nothing is computed and nothing written: the result is what lay in that memory, and of a
Loop's count the last one in all steps. A copy in between makes them right.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx_ir as ir

from workbench.graph import graphs_of, onnx_op, share_names

if TYPE_CHECKING:
    from collections.abc import Iterator

    from workbench.graph import Model

__all__ = ["with_copies"]


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


def _bodies(model: ir.Model) -> Iterator[ir.Graph]:
    for _, part in graphs_of(model):
        for node in part:
            body = node.attributes.get("body")
            if onnx_op(node) in ("Loop", "Scan") and body is not None and not body.is_ref():
                yield body.as_graph()


def _handed_on(body: ir.Graph) -> list[int]:
    """Return which outputs of a body are inputs of its own, or are there twice."""
    inputs, outputs = set(body.inputs), list(body.outputs)
    return [place for place, value in enumerate(outputs) if value in inputs or value in outputs[:place]]
