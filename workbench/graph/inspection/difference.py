"""What differs between two models, node by node and weight by weight."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from workbench.graph.structure import graphs_of
from workbench.graph.weights import bytes_of, is_stripped

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import onnx_ir as ir
    import pandas as pd

    from workbench.graph.model import Model

__all__ = ["GraphChange", "GraphDiff", "diff"]


@dataclass(frozen=True)
class GraphChange:
    """One difference.

    Parameters
    ----------
    kind
        ``node added``, ``node removed``, ``node renamed``, ``attribute``, ``rewired``, ``weight added``,
        ``weight removed``, ``weight``, ``interface`` (an input, an output, an operator set).
    where
        The node's address or the tensor's name; in the second model where it is in both.
    what
        Which part of it: an attribute's name, ``input 1``, ``values``, ...
    before, after
        How it was and how it is; empty where there is nothing to say.
    relative_norm
        For a weight that kept its shape: ||after - before|| / ||before|| (Frobenius), in float64; infinite where the
        weight was zero. ``None`` otherwise.
    """

    kind: str
    where: str
    what: str = ""
    before: str = ""
    after: str = ""
    relative_norm: float | None = None

    def __str__(self) -> str:
        line = f"{self.kind:<14} {self.where}" + (f"  {self.what}" * bool(self.what))
        if self.before or self.after:
            line += f": {self.before or '-'} -> {self.after or '-'}"
        return line if self.relative_norm is None else f"{line}  (relative norm {self.relative_norm:.3g})"


@dataclass(frozen=True)
class GraphDiff:
    """All differences between two models, in the order of the second; false where there is none."""

    changes: tuple[GraphChange, ...]

    def __bool__(self) -> bool:
        return bool(self.changes)

    def of_kind(self, kind: str) -> tuple[GraphChange, ...]:
        """Return the changes of one kind."""
        return tuple(change for change in self.changes if change.kind == kind)

    @property
    def added(self) -> tuple[str, ...]:
        """Addresses of nodes that only the second model has."""
        return tuple(change.where for change in self.of_kind("node added"))

    @property
    def removed(self) -> tuple[str, ...]:
        """Addresses of nodes that only the first model has."""
        return tuple(change.where for change in self.of_kind("node removed"))

    @property
    def changed(self) -> tuple[str, ...]:
        """Addresses of nodes that both have, with other attributes or other inputs, each once."""
        return tuple(dict.fromkeys(c.where for c in self.changes if c.kind in ("attribute", "rewired")))

    def text(self, most: int = 50) -> str:
        """Return one line a change, at most `most`, under a line that counts them."""
        if not self.changes:
            return "no difference"
        counts: dict[str, int] = {}
        for change in self.changes:
            counts[change.kind] = counts.get(change.kind, 0) + 1
        lines = [", ".join(f"{count} {kind}" for kind, count in counts.items())]
        lines += [f"  {change}" for change in self.changes[:most]]
        if len(self.changes) > most:
            lines.append(f"  ... and {len(self.changes) - most} more")
        return "\n".join(lines)

    def frame(self) -> pd.DataFrame:
        """Return one row a change, with the fields of `GraphChange` as columns."""
        import pandas as pd

        columns = ["kind", "where", "what", "before", "after", "relative_norm"]
        rows = [[getattr(change, column) for column in columns] for change in self.changes]
        frame: pd.DataFrame = pd.DataFrame(rows, columns=columns).astype({"relative_norm": "float64"})
        return frame


def diff(before: Model, after: Model) -> GraphDiff:
    """Compare two models.

    Nodes are matched by address. A node that only changed its address (the same operator making the same tensors) is
    renamed, not removed and added. Weights are compared by the SHA-256 of their bytes, and, where they differ,
    by relative norm.
    """
    renamed = _renamed(before, after)
    return GraphDiff(
        (
            *_interface(before, after),
            *(GraphChange("node removed", name, node.op_type) for name, node in _missing(before, after, set(renamed))),
            *(GraphChange("node added", n, node.op_type) for n, node in _missing(after, before, set(renamed.values()))),
            *(GraphChange("node renamed", new, "", old, new) for old, new in renamed.items()),
            *_nodes(before, after, renamed),
            *_weights(before, after),
        )
    )


def _missing(model: Model, other: Model, present: set[str]) -> Iterator[tuple[str, ir.Node]]:
    yield from ((name, node) for name, node in model.nodes.items() if name not in other.nodes and name not in present)


def _renamed(before: Model, after: Model) -> dict[str, str]:
    def key(model: Model, node: ir.Node) -> tuple[str, ...]:
        return (node.domain, node.op_type, *(model.index.tensor(value) for value in node.outputs))

    gone = {key(before, node): name for name, node in _missing(before, after, set())}
    come = ((key(after, node), name) for name, node in _missing(after, before, set()))
    return {gone[identity]: name for identity, name in come if identity in gone and len(identity) > 2}


def _interface(before: Model, after: Model) -> Iterator[GraphChange]:
    for kind in ("inputs", "outputs"):
        old, new = ({tensor.name: str(tensor) for tensor in getattr(model, kind)} for model in (before, after))
        for name in dict.fromkeys([*old, *new]):
            if old.get(name) != new.get(name):
                yield GraphChange("interface", name, kind[:-1], old.get(name, ""), new.get(name, ""))
    opsets = [model.ir_model.opset_imports for model in (before, after)]
    for domain in sorted({*opsets[0], *opsets[1]}):
        old_version, new_version = (str(versions.get(domain, "")) for versions in opsets)
        if old_version != new_version:
            yield GraphChange("interface", domain or "ai.onnx", "opset", old_version, new_version)


def _nodes(before: Model, after: Model, renamed: Mapping[str, str]) -> Iterator[GraphChange]:
    pairs = {new: old for old, new in renamed.items()}
    for name, node in after.nodes.items():
        old = before.nodes.get(pairs.get(name, name))
        if old is None:
            continue
        yield from _attributes(name, old, node)
        for kind, was, is_now in (("input", old.inputs, node.inputs), ("output", old.outputs, node.outputs)):
            for place in range(max(len(was), len(is_now))):
                first, second = _name(was, place), _name(is_now, place)
                if first != second:
                    yield GraphChange("rewired", name, f"{kind} {place}", first, second)


def _name(values: Sequence[ir.Value | None], place: int) -> str:
    value = values[place] if place < len(values) else None
    return "" if value is None else str(value.name)


def _attributes(name: str, old: ir.Node, new: ir.Node) -> Iterator[GraphChange]:
    first, second = old.op_identifier(), new.op_identifier()
    if first != second:
        yield GraphChange("attribute", name, "operator", ".".join(filter(None, first)), ".".join(filter(None, second)))
    for key in dict.fromkeys([*old.attributes, *new.attributes]):
        was, is_now = (_value(node.attributes.get(key)) for node in (old, new))
        if was != is_now:
            yield GraphChange("attribute", name, key, was, is_now)


def _value(attribute: ir.Attr | None) -> str:
    if attribute is None:
        return ""
    if attribute.is_ref():
        return f"@{attribute.ref_attr_name}"
    kind = attribute.type.name
    if kind.startswith("GRAPH"):
        return "graph"  # its nodes are compared one by one
    if kind == "TENSOR":
        return _described(attribute.as_tensor())
    return str(attribute.value)


def _described(content: ir.TensorProtocol) -> str:
    shape = "x".join(str(length) for length in content.shape.numpy())
    return f"{content.dtype.name.lower()}[{shape}] {_digest(content)[:8]}"


def _digest(content: ir.TensorProtocol) -> str:
    return "stripped" if is_stripped(content) else hashlib.sha256(bytes_of(content)).hexdigest()


def _contents(model: Model) -> dict[str, ir.TensorProtocol]:
    return {
        f"{prefix}{name}": value.const_value
        for prefix, graph in graphs_of(model.ir_model)
        for name, value in getattr(graph, "initializers", {}).items()
        if value.const_value is not None
    }


def _weights(before: Model, after: Model) -> Iterator[GraphChange]:
    old, new = _contents(before), _contents(after)
    for name in dict.fromkeys([*old, *new]):
        if name not in new:
            yield GraphChange("weight removed", name, "", _described(old[name]))
        elif name not in old:
            yield GraphChange("weight added", name, "", "", _described(new[name]))
        elif old[name] is not new[name] and (was := _described(old[name])) != (is_now := _described(new[name])):
            yield GraphChange("weight", name, "values", was, is_now, _relative_norm(old[name], new[name]))


def _relative_norm(old: ir.TensorProtocol, new: ir.TensorProtocol) -> float | None:
    import numpy as np

    if old.shape != new.shape or "STRING" in (old.dtype.name, new.dtype.name) or is_stripped(old) or is_stripped(new):
        return None
    first, second = (np.asarray(content.numpy()).astype(np.float64) for content in (old, new))
    size = float(np.linalg.norm(first))
    return float(np.linalg.norm(second - first)) / size if size else float("inf")
