"""A model's nodes, tensors, weights and operators as pandas tables."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from workbench.graph.cost import costs
from workbench.graph.index import scope_of
from workbench.graph.structure import is_external
from workbench.graph.weights import constant_of, is_stripped

if TYPE_CHECKING:
    from collections.abc import Mapping

    import onnx_ir as ir
    import pandas as pd

    from workbench.graph.model import Model
    from workbench.graph.tensor import Tensor

__all__ = ["initializers", "nodes", "ops", "tensors"]


def nodes(model: Model, sizes: Mapping[str, int] | None = None) -> pd.DataFrame:
    """Return one row a node, subgraphs and local functions included, in graph order.

    Parameters
    ----------
    model
        The model.
    sizes
        Lengths to assume for symbolic axes, by name.

    Returns
    -------
    pandas.DataFrame
        Indexed by address, with the columns op, domain, scope, depth, inputs, outputs (tensor names), shape and dtype
        (of the first result), parameters, macs, macs_inside, macs_note, weight_bytes, activation_bytes, attributes.
        Unknown numbers are ``<NA>``. See `workbench.graph.cost.cost.Cost` for what is counted of loops and functions.
    """
    import pandas as pd

    table = costs(model, sizes)
    name = model.index.tensor
    rows = []
    for address, node in model.nodes.items():
        first = model.tensor(name(node.outputs[0])) if node.outputs else None
        cost = table[address]
        rows.append(
            {
                "node": address,
                "op": node.op_type,
                "domain": node.domain,
                "scope": scope_of(address),
                "depth": model.index.depth[address],
                "inputs": tuple("" if value is None else str(value.name) for value in node.inputs),
                "outputs": tuple(str(value.name) for value in node.outputs),
                "shape": None if first is None else _shape(first),
                "dtype": None if first is None else first.dtype,
                "parameters": cost.parameters,
                "macs": cost.macs,
                "macs_inside": cost.inside,
                "macs_note": cost.note,
                "weight_bytes": cost.weight_bytes,
                "activation_bytes": cost.activation_bytes,
                "attributes": {attribute.name: _plain(attribute) for attribute in node.attributes.values()},
            }
        )
    columns = (
        "node op domain scope depth inputs outputs shape dtype parameters macs macs_inside macs_note weight_bytes "
        "activation_bytes attributes"
    )
    numbers = ["depth", "parameters", "macs", "macs_inside", "weight_bytes", "activation_bytes"]
    return _whole(pd.DataFrame(rows, columns=columns.split()).set_index("node"), numbers)


def tensors(model: Model) -> pd.DataFrame:
    """Return one row a tensor: kind (input, weight, output, inner), dtype, shape, elements, maker, readers.

    Tensors of subgraphs are named after their subgraph's address.
    """
    import pandas as pd

    name = model.index.tensor
    maker = {name(value): address for address, node in model.nodes.items() for value in node.outputs}
    readers: dict[str, list[str]] = {}
    for address, node in model.nodes.items():
        for tensor in dict.fromkeys(name(value) for value in node.inputs if value is not None and value.name):
            readers.setdefault(tensor, []).append(address)
    inputs, outputs = {tensor.name for tensor in model.inputs}, {tensor.name for tensor in model.outputs}
    rows = [
        {
            "tensor": tensor.name,
            "kind": (
                "input"
                if tensor.name in inputs
                else "weight"
                if tensor.name in model.initializers
                else "output"
                if tensor.name in outputs
                else "inner"
            ),
            "dtype": tensor.dtype,
            "shape": _shape(tensor),
            "elements": None if tensor.static_shape is None else math.prod(tensor.static_shape),
            "maker": maker.get(tensor.name),
            "readers": tuple(readers.get(tensor.name, ())),
        }
        for tensor in model.tensors.values()
    ]
    columns = ["tensor", "kind", "dtype", "shape", "elements", "maker", "readers"]
    return _whole(pd.DataFrame(rows, columns=columns).set_index("tensor"), ["elements"])


def _whole(frame: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    """Return a table with columns of whole numbers, unknown where they are more than 64 bits hold."""
    import pandas as pd

    for name in names:
        numbers = [None if pd.isna(value) or value >= 2**63 else int(value) for value in frame[name]]
        frame[name] = pd.array(numbers, dtype="Int64")
    return frame


def initializers(model: Model, *, values: bool = False) -> pd.DataFrame:
    """Return one row a weight of the main graph: dtype, shape, elements, bytes, external, readers.

    Parameters
    ----------
    model
        The model.
    values
        Whether to read the weights and add min, max and the root mean square of the finite numbers among them; this
        reads external files.
    """
    import pandas as pd

    rows = []
    for name, value in model.initializers.items():
        content = constant_of(value)
        if content is None:
            continue
        row = {
            "initializer": name,
            "dtype": content.dtype.name,
            "shape": tuple(content.shape.numpy()),
            "elements": math.prod(content.shape.numpy()),
            "bytes": content.nbytes,
            "external": is_external(value),
            "readers": tuple(model.index.address[use.node] for use in value.uses()),
        }
        rows.append(row | (_statistics(content) if values else {}))
    columns = ["initializer", "dtype", "shape", "elements", "bytes", "external", "readers"]
    frame: pd.DataFrame = pd.DataFrame(rows, columns=columns + ["min", "max", "rms"] * values).set_index("initializer")
    return frame


def ops(model: Model, sizes: Mapping[str, int] | None = None) -> pd.DataFrame:
    """Return one row an operator: nodes, parameters, macs, macs_unknown (nodes), weight_bytes; most frequent first."""
    import pandas as pd

    frame = nodes(model, sizes)
    groups = frame.groupby("op")
    table = pd.DataFrame(
        {
            "nodes": groups.size(),
            "parameters": groups["parameters"].sum(),
            "macs": groups["macs"].sum(min_count=1),
            "macs_unknown": groups["macs"].agg(lambda column: int(column.isna().sum())),
            "weight_bytes": groups["weight_bytes"].sum(),
        }
    )
    ordered: pd.DataFrame = table.sort_values("nodes", ascending=False, kind="stable")
    return ordered


def _shape(tensor: Tensor) -> str | None:
    return None if tensor.shape is None else "x".join("?" if n is None else str(n) for n in tensor.shape)


def _plain(attribute: ir.Attr) -> object:
    """Return an attribute's value in a form that a table can show."""
    if attribute.is_ref():
        return f"@{attribute.ref_attr_name}"
    kind = attribute.type.name
    if kind in ("GRAPH", "GRAPHS"):
        return "graph"
    if kind.startswith(("TENSOR", "SPARSE", "TYPE")):
        return str(attribute.value)[:80]
    value = attribute.value
    return tuple(value) if isinstance(value, (list, tuple)) else value


def _statistics(content: ir.TensorProtocol) -> dict[str, float | None]:
    import numpy as np

    if is_stripped(content) or content.dtype.name == "STRING":
        return {"min": None, "max": None, "rms": None}
    numbers = content.numpy().astype(np.float64).ravel()
    numbers = numbers[np.isfinite(numbers)]
    if not numbers.size:
        return {"min": None, "max": None, "rms": None}
    return {"min": float(numbers.min()), "max": float(numbers.max()), "rms": float(np.sqrt(np.mean(numbers**2)))}
