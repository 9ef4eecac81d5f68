"""Layer normalization written out in single operators, as exporters wrote it before operator set 17."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx_ir as ir

    from workbench.graph import Model

__all__ = ["written_out_normalizations"]


def written_out_normalizations(model: Model) -> dict[ir.Node, str]:
    """Find ``(x - mean(x)) / sqrt(mean((x - mean(x))^2) + epsilon) * gain + shift``.

    Returns
    -------
    dict
        Every node that is part of one, to the name of its division; gain and shift are optional.
    """
    divisions: dict[ir.Node, str] = {}
    for node in model.top_nodes.values():
        if node.op_type == "Div" and (members := _members(node)) is not None:
            divisions.update(dict.fromkeys(members, node.name or ""))
    return divisions


def _members(divide: ir.Node) -> list[ir.Node] | None:
    centre, root = _maker(divide, 0, "Sub"), _maker(divide, 1, "Sqrt")
    stable = _maker(root, 0, "Add")
    variance = _maker(stable, 0, "ReduceMean") or _maker(stable, 1, "ReduceMean")
    square = _maker(variance, 0, "Pow", "Mul")
    deviation = _maker(square, 0, "Sub")
    if centre is None or deviation is None or root is None or stable is None or variance is None or square is None:
        return None
    # Some exporters subtract the mean twice.
    means = [_maker(centre, 1, "ReduceMean"), _maker(deviation, 1, "ReduceMean")]
    if any(mean is None or mean.inputs[0] is not centre.inputs[0] for mean in means):
        return None
    members = [*(mean for mean in means if mean is not None), centre, deviation, square, variance, stable, root, divide]
    last = divide
    for op_type in ("Mul", "Add"):
        readers = [use.node for use in last.outputs[0].uses()]
        if len(readers) != 1 or last.outputs[0].is_graph_output():
            break
        after = readers[0]
        if after.op_type != op_type or not any(value is not None and value.is_initializer() for value in after.inputs):
            break
        members.append(after)
        last = after
    return members


def _maker(node: ir.Node | None, position: int, *op_types: str) -> ir.Node | None:
    """Return what makes a node's input, if it is one of some operators."""
    value = None if node is None or position >= len(node.inputs) else node.inputs[position]
    producer = None if value is None else value.producer()
    return producer if producer is not None and producer.op_type in op_types else None
