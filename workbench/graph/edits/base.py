"""What every surgery step is: `requires`, `call`, `ensures`.

An edit is a small frozen pydantic model: its fields are the arguments that the recipe keeps, ``do`` is its name there.
Calling it with a `Model` gives a new `Model`; the one it was given never changes.

Edits change an `onnx_ir` copy: it keeps ``metadata_props`` and ``doc_string`` of models, graphs, nodes and tensors,
which onnx-graphsurgeon drops on a round trip, and it shares the weights instead of copying them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict

from workbench.display import Card, Shown
from workbench.errors import EditError
from workbench.graph.check import bring_in_order, broken_edge, checker_reason, contradiction, node_reason
from workbench.graph.edits.equivalence import OUTSIDE, Equivalence, Unchecked
from workbench.graph.edits.restate import forgotten, restated
from workbench.graph.edits.surgery import constants_to_nodes, import_default
from workbench.graph.naming import repair_names, share_names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import onnx_ir as ir
    from numpy.typing import NDArray
    from typing_extensions import Self

    from workbench.graph.model import Model

__all__ = ["BROADCASTS", "Edit", "EditResult", "python_line"]

BROADCASTS = 7
"""The operator set since which operands broadcast without an attribute that says so."""


@dataclass(frozen=True)
class EditResult(Shown):
    """What an edit did.

    Parameters
    ----------
    model
        The model after the edit; the very model given where nothing changed.
    changed
        Whether anything changed.
    notes
        One sentence for each thing worth telling (what was folded, what was left and why).
    check
        How far the outputs moved, or why they were not compared; see `Workbench.edit`.
    """

    model: Model
    changed: bool
    notes: tuple[str, ...] = ()
    check: Equivalence | Unchecked = OUTSIDE

    def _card(self) -> Card:
        done = "changed" if self.changed else "nothing changed in"
        return Card(f"{done} {self.model.name}; {self.check}", notes=self.notes)


class Stage(Protocol):
    """Where a recipe has got to, as far as an edit cares."""

    @property
    def model(self) -> Model:
        """The model so far."""

    def edited(self, result: EditResult) -> Self:
        """Return what comes after an edit."""


StateType = TypeVar("StateType", bound=Stage)


class Edit(BaseModel):
    """One surgery step.

    Subclasses set `title` and implement `apply`; they may add `requires` and `ensures`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    do: str
    """The edit's name in a recipe; each subclass narrows it to one literal."""

    title: ClassVar[str]
    """A short imperative for people: "Fold constants"."""

    equivalent: ClassVar[bool] = True
    """Whether the outputs that are left are to be what they were, from the same inputs."""

    runnable: ClassVar[bool] = True
    """Whether the result is to run where the model did before."""

    oldest: ClassVar[int] = 1
    """The first operator set in which what it writes means what it is meant to."""

    @classmethod
    def offers(cls, model: Model, addresses: Sequence[str]) -> Iterable[Self]:
        """Return this edit with the arguments under which it applies to some nodes; nothing where it does not.

        Parameters
        ----------
        model
            The model the nodes belong to.
        addresses
            Nodes as `Model.nodes` names them; empty asks about the whole model.
        """
        return ()

    def requires(self, model: Model) -> None:
        """Check that the edit can be applied.

        Raises
        ------
        EditError
            It cannot; the message says why and what to do.
        """

    def apply(self, graph: ir.Model, model: Model) -> list[str] | None:
        """Do the edit.

        Parameters
        ----------
        graph
            A copy that this method changes.
        model
            The model the copy was made of, for its tensors, shapes and names.

        Returns
        -------
        list of str or None
            Notes on what was done; ``None`` where nothing was changed.
        """
        raise TypeError(f"{type(self).__name__} does not say what it does")

    def ensures(self, before: Model, after: Model) -> None:
        """Check what must hold afterwards, beyond the result being a valid ONNX graph.

        Raises
        ------
        EditError
            It does not hold; the model stays as it was.
        """

    def python_line(self) -> str:
        """Return the edit as one writes it in Python: ``wb.edit("fold_constants")``."""
        fields = self.model_dump(exclude={"do"}, exclude_defaults=True)
        arguments = "".join(f", {name}={value!r}" for name, value in fields.items())
        return f'wb.edit("{self.do}"{arguments})'

    def unchecked(self, model: Model) -> str | None:
        """Return why no run can tell whether the edit keeps what a model computes; ``None`` where one can."""
        return None if self.equivalent else "this edit is not meant to keep what the model computes"

    def origin(self, tensor: str) -> str:
        """Return what an input or output of the model afterwards was called before."""
        return tensor

    def fed(self, tensor: str, array: NDArray[Any]) -> NDArray[Any]:
        """Return what was fed to an input as the model afterwards wants it."""
        return array

    def unfed(self, tensor: str, array: NDArray[Any]) -> NDArray[Any]:
        """Return what is fed to an input of the model afterwards as the model before wants it, but for its type."""
        return array

    def __call__(self, model: Model) -> EditResult:
        """Apply the edit to a model.

        Raises
        ------
        EditError
            It does not apply, or would leave an invalid graph. `model` is unchanged in any case.
        """
        if 0 < model.opset < self.oldest:
            raise EditError(
                f"{self.title.lower()} writes what operator set {model.opset} does not have",
                where=model.name,
                fix=f"Convert it first: wb.edit('convert_opset', version={self.oldest}).",
            )
        self.requires(model)
        graph = model.thaw()
        share_names(graph)
        try:
            notes = self.apply(graph, model)
        except ValueError as error:  # how onnx_ir refuses a move
            reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
            raise EditError(
                f"{self.title.lower()} cannot be done: {reason}", where=model.name, fix="The model is unchanged."
            ) from error
        if notes is None:
            return EditResult(model, changed=False, check=Unchecked("nothing changed"))
        try:
            bring_in_order(graph)
        except ValueError as error:
            raise EditError(
                f"{self.title.lower()} would leave a graph with a cycle",
                where=model.name,
                fix="The model is unchanged.",
            ) from error
        import_default(graph)
        constants_to_nodes(graph)
        repair_names(graph)
        after = model.replaced(graph)
        self._check(model, after)
        after, changes = self._consistent(model, after)
        self.ensures(model, after)
        return EditResult(after, changed=True, notes=(*notes, *changes))

    def apply_to(self, state: StateType) -> StateType:
        """Return the state after this step of a recipe."""
        return state.edited(self(state.model))

    def moved(self, move: Callable[[str], str]) -> Self:
        """Return the step with the path of every file that it needs given to `move`."""
        return self

    def problem(self) -> str | None:
        """Say what a person broke in it by hand; ``None`` where nothing is seen."""
        return None

    def _check(self, before: Model, after: Model) -> None:
        """Refuse a result that is no valid graph, unless the checker refused the original for the same."""
        where, reason = "", None
        if (broken := broken_edge(after.ir_model)) is not None:
            where, tensor = broken
            reason = f"tensor {tensor!r} is {'read' if where else 'an output'}, but nothing makes it"
        elif (refusal := checker_reason(after)) is not None:
            old_refusal = checker_reason(before)
            if old_refusal is not None:
                where, reason = _newly_refused(before, after)
            named = _named(refusal, after)
            if reason is None and refusal != old_refusal and not (named is not None and _is_refused(before, named)):
                where, reason = named or "", refusal
        if reason is None:
            return
        # What the checker calls the context is the node, which is named already.
        sentence = reason.partition(" ==> Context")[0] if where else reason
        raise EditError(
            f"{self.title.lower()} would leave an invalid graph: {sentence}",
            where=where or before.name,
            fix="The model is unchanged.",
        )

    def _consistent(self, before: Model, after: Model) -> tuple[Model, list[str]]:
        """Return a result whose stated types and shapes are those that its nodes make, and what had to change for it.

        Shapes that the file states inside are dropped where they are those of before the edit. Outputs may become
        others only where the edit is not meant to keep them.
        """
        conflict = contradiction(after)
        if conflict is None or contradiction(before) is not None:
            return after, []
        trial = forgotten(after)
        if contradiction(trial) is None:
            return trial, []
        if not self.equivalent:
            trial, changes = restated(trial)
            if contradiction(trial) is None:
                return trial, changes
        where = next((address for address, node in after.nodes.items() if node.name == conflict.node), before.name)
        raise EditError(
            f"{self.title.lower()} would leave an invalid graph: {conflict.text}",
            where=where,
            fix="The model is unchanged.",
        )


def _newly_refused(before: Model, after: Model) -> tuple[str, str | None]:
    """Return the first node that the checker refuses and did not refuse before, and why.

    It stops at the first node that it refuses, which in a model that was refused already hides all that follow.
    """
    for address, node in after.nodes.items():
        reason = node_reason(node, after.ir_model)
        if reason is not None and not _is_refused(before, address):
            return address, reason
    return "", None


def _is_refused(model: Model, address: str) -> bool:
    node = model.nodes.get(address)
    return node is not None and node_reason(node, model.ir_model) is not None


def _named(reason: str, model: Model) -> str | None:
    """Return the node that ONNX's checker names, by its address."""
    match = re.search(r"node\. Name: (.+?) OpType: ", reason)
    name = match[1] if match else None
    return next((address for address, node in model.nodes.items() if node.name == name), None) if name else None


def python_line(edit: Edit) -> str:
    """Return an edit as one writes it in Python."""
    return edit.python_line()
