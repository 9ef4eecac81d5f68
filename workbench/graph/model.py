"""An ONNX model: loaded once, indexed once, never changed."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnx_ir as ir

from workbench.errors import ModelError

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from workbench.graph.flat import Flat
    from workbench.graph.index import Index
    from workbench.graph.shapes import Inferred

__all__ = ["Model", "Quirk", "Tensor", "content_of", "graphs_of", "is_external", "walk"]

PROTOBUF_LIMIT = 2**31 - 1


@dataclass(frozen=True)
class Quirk:
    """Something odd about a model that loading repaired or that is worth knowing.

    Parameters
    ----------
    kind
        A stable word for programs, for example ``"duplicate-name"``.
    where
        The node, tensor or file it is about.
    text
        One sentence for people, which says what was done about it.
    """

    kind: str
    where: str
    text: str


@dataclass(frozen=True)
class Tensor:
    """What is known of a tensor before anything runs.

    Parameters
    ----------
    name
        The tensor's name in the graph.
    shape
        One entry an axis: a length, a symbolic name, or ``None`` where nothing is known; ``None`` for unknown rank.
    dtype
        The element type as ONNX spells it (``FLOAT``, ``INT64``, ...), ``None`` where unknown.
    form
        What it is instead of a tensor, in words (``sequence of FLOAT``, ``map of INT64 to FLOAT``, ...); empty for a
        tensor. It then has no shape and no element type.
    """

    name: str
    shape: tuple[int | str | None, ...] | None
    dtype: str | None
    form: str = ""

    @property
    def static_shape(self) -> tuple[int, ...] | None:
        """The shape where every axis has a known length, else ``None``."""
        if self.shape is None or not all(isinstance(length, int) for length in self.shape):
            return None
        return tuple(int(length) for length in self.shape if isinstance(length, int))

    @property
    def numpy_dtype(self) -> np.dtype[np.generic] | None:
        """The element type as NumPy has it, ``None`` where unknown."""
        return None if self.dtype is None else np.dtype(ir.DataType[self.dtype].numpy())

    def __str__(self) -> str:
        if self.form:
            return f"{self.name} {self.form}"
        shape = "?" if self.shape is None else "x".join("?" if n is None else str(n) for n in self.shape)
        return f"{self.name} {(self.dtype or '?').lower()}[{shape}]"


class Model:
    """An ONNX model whose every node has a unique, stable name.

    A model is a value: edits return a new one. Get one from `workbench.graph.load.load_model`.

    Parameters
    ----------
    graph
        The model in memory. It belongs to this object from now on and must not be changed; `thaw` gives a copy to edit.
    path
        Where it was read from.
    quirks
        What loading found or repaired.
    flat
        The message it was read from, where that says the very same and holds no subgraph; it makes some answers faster.
    """

    def __init__(
        self,
        graph: ir.Model,
        *,
        path: Path | None = None,
        quirks: tuple[Quirk, ...] = (),
        flat: Flat | None = None,
    ) -> None:
        self._ir = graph
        self.path = path
        self.quirks = quirks
        self.flat = flat

    def __repr__(self) -> str:
        # Without the digest: that would read all weights.
        return f"<Model {self.name}: {len(self.nodes)} nodes, opset {self.opset}>"

    @property
    def name(self) -> str:
        """The file's name without its ending, else the graph's own name."""
        return self.path.stem if self.path is not None else (self._ir.graph.name or "model")

    @property
    def ir_model(self) -> ir.Model:
        """The model as `onnx_ir` has it: producers, consumers, attributes. To be read, not changed."""
        return self._ir

    def thaw(self) -> ir.Model:
        """Return a copy that an edit may change. Weights are shared with this model, not copied."""
        return self._ir.clone()

    def replaced(self, graph: ir.Model) -> Model:
        """Return the model that an edit made of this one: another graph, the same origin."""
        return Model(graph, path=self.path, quirks=self.quirks)

    @property
    def opset(self) -> int:
        """The version of the default operator set; 0 where the model imports none."""
        return self._ir.opset_imports.get("", 0)

    @cached_property
    def nodes(self) -> Mapping[str, ir.Node]:
        """Every node by its address, subgraphs and local functions included.

        A node of the main graph has its own name as address; one in a subgraph its parent's address, the branch, and
        its own name (``If_12/then/Conv_3``); one in a local function ``function(domain:name)/Conv_3``.
        """
        if self.flat is not None:
            return self.flat.nodes
        return {f"{prefix}{node.name}": node for prefix, graph in self.graphs for node in graph}

    @cached_property
    def graphs(self) -> tuple[tuple[str, ir.Graph], ...]:
        """Address prefix and graph: the main graph, every subgraph and every local function's graph."""
        return (("", self._ir.graph),) if self.flat is not None else tuple(graphs_of(self._ir))

    @cached_property
    def index(self) -> Index:
        """Who feeds whom, by address: predecessors, successors, depth."""
        from workbench.graph.collector import collector_off
        from workbench.graph.index import build_index

        with collector_off():
            return build_index(self)

    @cached_property
    def weights(self) -> Mapping[str, tuple[ir.Value, ...]]:
        """The constants that are a node's parameters, by address; a node without parameters is not in it."""
        from workbench.graph.weights import node_weights

        return node_weights(self)

    @cached_property
    def top_nodes(self) -> Mapping[str, ir.Node]:
        """The nodes of the main graph by name, in the order they run."""
        return {node.name or "": node for node in self._ir.graph}

    @cached_property
    def initializers(self) -> Mapping[str, ir.Value]:
        """The weights of the main graph by name."""
        return dict(self._ir.graph.initializers)

    @cached_property
    def inputs(self) -> tuple[Tensor, ...]:
        """What has to be fed: the graph's inputs that are not weights."""
        return tuple(self.tensor(str(v.name)) for v in self._ir.graph.inputs if v.name not in self.initializers)

    @cached_property
    def outputs(self) -> tuple[Tensor, ...]:
        """What the model computes."""
        return tuple(self.tensor(str(v.name)) for v in self._ir.graph.outputs)

    def tensor(self, name: str) -> Tensor:
        """Return shape and dtype of a tensor, as far as shape inference knows them."""
        return self.tensors.get(name, Tensor(name, None, None))

    @property
    def tensors(self) -> Mapping[str, Tensor]:
        """Every tensor by name, with shapes inferred as far as they can be.

        A tensor of a subgraph is found under its subgraph's address and its own name: ``If_12/then/x``.
        """
        return self._inferred.tensors

    @property
    def shape_problem(self) -> str | None:
        """Why some shapes are unknown; ``None`` where inference knows all of them."""
        return self._inferred.problem

    @cached_property
    def _inferred(self) -> Inferred:
        from workbench.graph.collector import collector_off
        from workbench.graph.shapes import infer

        with collector_off():
            return infer(self)

    @cached_property
    def proto(self) -> onnx.ModelProto:
        """The model as a protobuf message. Weights in external files stay there. Not to be changed."""
        from workbench.graph.message import to_message

        return to_message(self._ir)

    def to_bytes(self) -> bytes:
        """Return the file's content: one message, the same bytes for the same model on every machine.

        Raises
        ------
        ModelError
            The model is over 2 GB, which one protobuf message cannot hold.
        """
        weights = [value.const_value for value in self.initializers.values() if value.const_value is not None]
        size = sum(weight.nbytes for weight in weights)
        proto = self.proto if size <= PROTOBUF_LIMIT else None
        if proto is not None and any(is_external(value) for value in self.initializers.values()):
            proto = onnx.ModelProto()
            proto.CopyFrom(self.proto)
            for tensor in proto.graph.initializer:
                if tensor.external_data:
                    weight = ir.to_proto(
                        ir.Tensor(content_of(self.initializers[tensor.name]).numpy(), name=tensor.name)
                    )
                    tensor.CopyFrom(weight)
        if proto is None or proto.ByteSize() > PROTOBUF_LIMIT:
            raise ModelError(
                "over 2 GB, which one ONNX file cannot hold",
                where=self.name,
                fix="Save it with its weights beside it: model.save(path).",
            )
        return proto.SerializeToString(deterministic=True)

    def save(self, path: str | os.PathLike[str], *, external: bool | None = None) -> tuple[Path, ...]:
        """Write the model, with its weights in a file beside it where one cannot hold them, or where asked for.

        See `workbench.graph.save.save_model`.
        """
        from workbench.graph.save import save_model

        return save_model(self, path, external=external)

    @cached_property
    def digest(self) -> str:
        """Identity: SHA-256 (hex) over the graph and its weights, wherever those are stored.

        The message without weights is hashed first, in protobuf's deterministic form, then each weight's name, dtype,
        shape and little-endian bytes. So the same model has one identity with weights inside or beside the file.
        """
        from workbench.graph.weights import bytes_of

        skeleton = onnx.ModelProto()
        skeleton.CopyFrom(self.proto)
        del skeleton.graph.initializer[:]
        digest = hashlib.sha256(skeleton.SerializeToString(deterministic=True))
        for name, value in self.initializers.items():
            weight = content_of(value)
            digest.update(f"\0{name}\0{weight.dtype.name}\0{tuple(weight.shape)}\0".encode())
            if isinstance(weight, ir.ExternalTensor):
                weight.tofile(_Hashed(digest))
            else:
                digest.update(bytes_of(weight))
        return digest.hexdigest()


class _Hashed:
    """Takes a file's bytes piece by piece, so that a large weight is never in memory as a whole."""

    def __init__(self, digest: hashlib._Hash) -> None:
        self.write = digest.update


def walk(model: ir.Model) -> Iterator[tuple[str, ir.Node]]:
    """Yield (address, node) for every node of a model, depth first, in the order they run."""
    for prefix, graph in graphs_of(model):
        for node in graph:
            yield f"{prefix}{node.name}", node


def graphs_of(model: ir.Model) -> Iterator[tuple[str, ir.Graph]]:
    """Yield (address prefix, graph) for the main graph, every subgraph and every local function's graph."""
    yield from _nested("", model.graph)
    for function in model.functions.values():
        yield from _nested(f"function({function.domain}:{function.name})/", function.graph)


def _nested(prefix: str, graph: ir.Graph) -> Iterator[tuple[str, ir.Graph]]:
    yield prefix, graph
    for node in graph:
        for attribute in node.attributes.values():
            if attribute.type == ir.AttributeType.GRAPH:
                branch = attribute.name.removesuffix("_branch")
                yield from _nested(f"{prefix}{node.name}/{branch}/", attribute.as_graph())
            elif attribute.type == ir.AttributeType.GRAPHS:
                for position, subgraph in enumerate(attribute.as_graphs()):
                    yield from _nested(f"{prefix}{node.name}/{attribute.name}[{position}]/", subgraph)


def is_external(value: ir.Value) -> bool:
    """Say whether a weight's bytes lie in a file beside the model."""
    return isinstance(value.const_value, ir.ExternalTensor)


def content_of(value: ir.Value) -> ir.TensorProtocol:
    """Return the content of a weight.

    Raises
    ------
    ModelError
        The weight has no content.
    """
    if value.const_value is None:
        raise ModelError("an initializer without content", where=value.name, fix="Export the model again.")
    return value.const_value
