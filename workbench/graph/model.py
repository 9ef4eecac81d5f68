"""An ONNX model: loaded once, indexed once, never changed."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from workbench.graph.structure import Structure
from workbench.graph.tensor import Tensor

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping
    from pathlib import Path

    import onnx_ir as ir

    from workbench.graph.shapes import Inferred

__all__ = ["Model"]


class Model(Structure):
    """An ONNX model whose every node has a unique, stable name.

    A model is a value: edits return a new one. Get one from `workbench.graph.load_model`.
    """

    def __repr__(self) -> str:
        # Without the digest: that would read all weights.
        return f"<Model {self.name}: {len(self.nodes)} nodes, opset {self.opset}>"

    def replaced(self, graph: ir.Model) -> Model:
        """Return the model that an edit made of this one: another graph, the same origin."""
        return Model(graph, path=self.path, quirks=self.quirks)

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

    @cached_property
    def dtypes(self) -> frozenset[str | None]:
        """The element types of all tensors; ``None`` among them where one is unknown."""
        return frozenset([tensor.dtype for tensor in self.tensors.values()])

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

    def to_bytes(self) -> bytes:
        """Return the file's content: one message, the same bytes for the same model on every machine.

        Raises
        ------
        ModelError
            The model is over 2 GB, which one protobuf message cannot hold.
        """
        from workbench.graph.stored import file_content

        return file_content(self)

    def save(self, path: str | os.PathLike[str], *, external: bool | None = None) -> tuple[Path, ...]:
        """Write the model, with its weights in a file beside it where one cannot hold them, or where asked for.

        See `workbench.graph.save.save_model`.
        """
        from workbench.graph.save import save_model

        return save_model(self, path, external=external)

    @cached_property
    def digest(self) -> str:
        """Identity: SHA-256 (hex) over the graph and its weights, wherever those are stored."""
        from workbench.graph.collector import collector_off
        from workbench.graph.stored import identity

        with collector_off():
            return identity(self)
