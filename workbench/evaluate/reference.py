"""What a version of a model is compared with: its source, whatever edits made of names, types and layouts."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from workbench.errors import EditError
from workbench.graph.edits import ConvertOpset
from workbench.runtime import OLDEST_OPSET, Session

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from workbench.graph import Model, Tensor
    from workbench.graph.edits import Edit
    from workbench.runtime import Mode

    Arrays = Mapping[str, npt.NDArray[Any]]

__all__ = ["Reference", "as_type_of"]


@dataclass(frozen=True)
class Reference:
    """A model to compare with, and how it is fed and read as a later version of it would be.

    Parameters
    ----------
    model
        The model that is run.
    form
        The version whose inputs samples are for, and after whose outputs results are called.
    edits
        What made `form` of `model`, in order.
    note
        What the comparison does not say, empty where it is all there.
    """

    model: Model
    form: Model
    edits: Sequence[Edit] = ()
    note: str = ""

    @classmethod
    def of(cls, model: Model | Reference) -> Reference:
        """Return a reference; a model is its own."""
        return model if isinstance(model, Reference) else cls(model, model)

    @classmethod
    def source(cls, source: Model, form: Model, edits: Sequence[Edit]) -> Reference:
        """Return the source where it can be fed what `form` is fed and has an output of it, else `form` itself."""
        reference = cls(source, form, edits)
        lacking = reference._lacking()
        if lacking:
            return cls(form, form, note=f"compared with the edited model instead of the source, {lacking}")
        new = [tensor.name for tensor in form.outputs if tensor.name not in reference.outputs]
        notes = [f"not compared, since the source has no such tensor: {', '.join(new)}"] if new else []
        if 0 < source.opset < OLDEST_OPSET:
            notes.append(
                f"the source runs in operator set {OLDEST_OPSET}, since few of set {source.opset} are run here"
            )
        return cls(source, form, edits, "; ".join(notes))

    @property
    def outputs(self) -> tuple[str, ...]:
        """The outputs that are compared, as `form` calls them."""
        if self.model is self.form:
            return tuple(tensor.name for tensor in self.form.outputs)
        tensors = {tensor.name: tensor for tensor in self.model.outputs}
        tensors |= {
            str(value.name): self.model.tensor(str(value.name))
            for node in self.model.top_nodes.values()
            for value in node.outputs
        }
        return tuple(
            tensor.name
            for tensor in self.form.outputs
            if (was := tensors.get(self._origin(tensor.name))) is not None and _fits(was, tensor)
        )

    def session(self, mode: Mode = "numerics") -> Session:
        """Return the model ready to run."""
        model = self.model
        if 0 < model.opset < OLDEST_OPSET:
            with contextlib.suppress(EditError):  # then it runs as it is, or ONNX Runtime says why not
                model = ConvertOpset(version=OLDEST_OPSET)(model).model
        return Session(model, mode=mode, outputs=[self._origin(name) for name in self.outputs])

    def fed(self, arrays: Arrays) -> dict[str, npt.NDArray[Any]]:
        """Return inputs of `form` as the model takes them."""
        if self.model is self.form:
            return dict(arrays)
        unfed = {}
        for tensor, content in arrays.items():
            name, array = tensor, content
            for edit in reversed(self.edits):
                array = edit.unfed(name, array)
                name = edit.origin(name)
            unfed[name] = array
        return as_type_of(self.model, unfed)

    def run(self, session: Session, arrays: Arrays) -> dict[str, npt.NDArray[Any]]:
        """Run on inputs of `form`; return its outputs."""
        results = session.run(self.fed(arrays))
        return {name: results[self._origin(name)] for name in self.outputs}

    def _origin(self, tensor: str) -> str:
        for edit in reversed(self.edits):
            tensor = edit.origin(tensor)
        return tensor

    def _lacking(self) -> str:
        """Say why the model cannot stand for `form`; empty where it can."""
        own = {tensor.name: tensor for tensor in self.model.inputs}
        fed = {self._origin(tensor.name): tensor for tensor in self.form.inputs}
        if own.keys() != fed.keys():
            other = min(own.keys() ^ fed.keys())
            return f"of which {other!r} is an input" if other in own else f"of which {other!r} is no input"
        # Types and layouts that an edit changed are changed back.
        reformed = {str(getattr(edit, "input", "")) for edit in self.edits}
        for name, tensor in fed.items():
            if tensor.name not in reformed and not _fits(own[name], tensor):
                return f"whose input is {own[name]}"
        return "" if self.outputs else "which has none of its outputs"


def as_type_of(model: Model, arrays: Arrays) -> dict[str, npt.NDArray[Any]]:
    """Return inputs with numbers in the element types of a model."""
    types = {tensor.name: tensor.numpy_dtype for tensor in model.inputs}
    return {name: _cast(array, types.get(name)) for name, array in arrays.items()}


def _cast(array: npt.NDArray[Any], dtype: Any) -> npt.NDArray[Any]:
    return array if dtype is None or dtype == array.dtype or array.dtype.kind in "OSU" else array.astype(dtype)


def _fits(was: Tensor, tensor: Tensor) -> bool:
    """Say whether two versions of a tensor may be the same: a made-up name of an axis is no length."""
    if was.dtype is not None and tensor.dtype is not None and was.dtype != tensor.dtype:
        return False
    if was.shape is None or tensor.shape is None:
        return True
    pairs = zip(was.shape, tensor.shape, strict=False)
    return len(was.shape) == len(tensor.shape) and all(
        a == b or not isinstance(a, int) or not isinstance(b, int) for a, b in pairs
    )
