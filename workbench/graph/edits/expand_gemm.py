"""Write Gemm as MatMul and Add, which take tensors of any rank."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from workbench.errors import EditError
from workbench.graph.domains import onnx_op
from workbench.graph.edits.base import BROADCASTS
from workbench.graph.edits.inside import tensor_at
from workbench.graph.edits.surgery import add_constant, add_node, constant_array, drop_unused
from workbench.graph.edits.wide import WideEdit

if TYPE_CHECKING:
    import onnx_ir as ir

    from workbench.graph.edits.wide import Area

__all__ = ["ExpandGemm"]


class ExpandGemm(WideEdit):
    """Turn Gemm on tensors that are no matrices into MatMul and Add.

    ONNX defines Gemm for matrices alone; some exporters write it for more axes all the same, and some runtimes compute
    it. In the whole model only a Gemm is touched whose first input is known to have another rank than 2; where `only`
    names nodes, every Gemm among them.
    """

    do: Literal["expand_gemm"] = "expand_gemm"
    title: ClassVar[str] = "Write Gemm as MatMul and Add"
    oldest: ClassVar[int] = BROADCASTS

    def sweep(self, area: Area) -> list[str] | None:
        count = 0
        for prefix, part, node in area:
            if onnx_op(node) != "Gemm":
                continue
            address, first = f"{prefix}{node.name}", node.inputs[0]
            shape = None if first is None else tensor_at(area.model, f"{prefix}{first.name}").shape
            if not area.whole or (shape is not None and len(shape) != 2):
                _expand(part, node, address)
                count += 1
        return [f"wrote {count} Gemm as MatMul and Add"] if count else None


def _expand(part: ir.Graph, node: ir.Node, address: str) -> None:
    numbers = {name: attribute.as_float() for name, attribute in node.attributes.items() if name in ("alpha", "beta")}
    turned = {name: bool(a.as_int()) for name, a in node.attributes.items() if name in ("transA", "transB")}
    a, b, c = (*node.inputs, None)[:3]
    weight = constant_array(b)
    if turned.get("transA") or weight is None or a is None or b is None:
        raise EditError("its first operand is transposed, or its second is no constant", where=address)
    weight = weight.T if turned.get("transB") else weight
    weight = (weight * np.asarray(numbers.get("alpha", 1.0), weight.dtype)).astype(weight.dtype)
    result = node.outputs[0]
    product = add_node(
        part, "MatMul", [a, add_constant(part, f"{b.name}/columns", weight)], name=f"{node.name}/product", before=node
    )
    if c is not None:
        addend, beta = constant_array(c), numbers.get("beta", 1.0)
        if beta != 1.0 and addend is None:
            raise EditError("its third operand is no constant and multiplied by beta", where=address)
        if beta != 1.0 and addend is not None:
            c = add_constant(part, f"{c.name}/scaled", (addend * np.asarray(beta, addend.dtype)).astype(addend.dtype))
        product = add_node(part, "Add", [product.outputs[0], c], name=f"{node.name}/sum", before=node)
    output = product.outputs[0]
    # What a graph gives out has to have a shape; elsewhere that of a Gemm of more axes may be stated wrongly.
    output.type, output.shape = result.type, result.shape if result.is_graph_output() else None
    for user, place in tuple(result.uses()):
        user.replace_input_with(place, output)
    for place, value in enumerate(part.outputs):
        if value is result:
            part.outputs[place] = output
    sources = list(node.inputs)
    part.remove(node, safe=True)
    # Whoever knows the result by its name finds it as before, and so does who knows the node.
    result.name, output.name = None, result.name
    product.name = node.name
    drop_unused(part, sources)
