"""Run an engineer's own GraphSurgeon function as a step of the recipe."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, JsonValue, PrivateAttr

from workbench.errors import EditError, RecipeError
from workbench.graph.edits.base import Edit
from workbench.graph.edits.scripts import Script, plain

if TYPE_CHECKING:
    from collections.abc import Callable

    import onnx_ir as ir
    from typing_extensions import Self

    from workbench.graph.model import Model

__all__ = ["Surgeon"]


class Surgeon(Edit):
    """Run a function of one's own on the model as an onnx-graphsurgeon graph.

    The function gets the main graph; subgraphs are attributes of its nodes, and each local function is in its
    ``functions``. It may be meant to change what the model computes: `Workbench.surgeon` compares only where asked.

    A step that was read from a recipe runs nothing until it is told that it may: see `allowed`.

    Parameters
    ----------
    script
        The Python file; a recipe keeps a copy beside it.
    sha256
        Of the file's content.
    function
        The function's name. It takes a ``gs.Graph``, changes it or returns another.
    arguments
        What else it is called with, by keyword.
    """

    do: Literal["surgeon"] = "surgeon"
    title: ClassVar[str] = "Run a GraphSurgeon function"
    equivalent: ClassVar[bool] = False

    script: str
    sha256: str
    function: str
    arguments: dict[str, JsonValue] = Field(default={})

    _code: bytes | None = PrivateAttr(default=None)
    """What runs: the script as it was when the step was made. ``None`` where running it was not allowed."""

    @classmethod
    def of(cls, function: str | Callable[..., object], arguments: dict[str, Any]) -> Self:
        """Make the step, ready to run, of a function or of ``"script.py:function"``.

        Raises
        ------
        EditError
            The script cannot be read, a recipe could not keep the function, or an argument is nothing for JSON.
        """
        if isinstance(function, str):
            path, colon, name = function.rpartition(":")
            if not colon or not name.isidentifier():
                raise EditError("no function is named", where=function, fix='Write "script.py:function".')
            script = Script.read(path)
        else:
            script, name = Script.of(function), function.__name__
        plain_arguments = {key: plain(value, key) for key, value in arguments.items()}
        step = cls(script=script.path, sha256=script.sha256, function=name, arguments=plain_arguments)
        step._code = script.code
        return step

    def allowed(self) -> Self:
        """Return the step with leave to run its script, which must be what it was.

        Raises
        ------
        RecipeError
            The script is missing, or is not the one of the step.
        """
        step = self.model_copy()
        step._code = self.content()  # noqa: SLF001 - its own
        return step

    def content(self) -> bytes:
        """Return the script, read but not run.

        Raises
        ------
        RecipeError
            As for `allowed`.
        """
        if self._code is not None:
            return self._code
        try:
            code = Path(self.script).read_bytes()
        except OSError as error:
            fix = "It belongs beside the recipe; copy it there."
            raise RecipeError(f"the script of {self.function} is missing", where=self.script, fix=fix) from error
        if hashlib.sha256(code).hexdigest() != self.sha256:
            raise RecipeError(
                f"the script of {self.function} is not the one of the recipe: its sha256 differs",
                where=self.script,
                fix="Restore it, or run the function anew with wb.surgeon.",
            )
        return code

    def file_beside(self, folder: Path) -> str:
        """Return what the script is called in a recipe's folder: its own name where it lies there, unchanged.

        Else the name holds its hash, so that it never takes the place of another version.
        """
        here = Path(self.script)
        there = here.is_file() and here.parent.resolve() == folder.resolve()
        if there and hashlib.sha256(here.read_bytes()).hexdigest() == self.sha256:
            return here.name
        stem = re.sub(r"-[0-9a-f]{8}$", "", here.stem)
        return f"{stem}-{self.sha256[:8]}.py"

    def moved(self, move: Callable[[str], str]) -> Self:
        """Return the step with its path given to `move`."""
        return self.model_copy(update={"script": move(self.script)})

    def python_line(self) -> str:
        """Return the step as one writes it in Python."""
        arguments = "".join(f", {name}={value!r}" for name, value in self.arguments.items())
        return f'wb.surgeon("{Path(self.script).name}:{self.function}"{arguments})'

    def requires(self, model: Model) -> None:
        if self._code is None:
            raise RecipeError(
                f"this step runs {self.function} of a script, and a recipe runs no code that was not allowed",
                where=self.script,
                fix="Read the script, then open the recipe with allow_scripts=True (--allow-scripts); "
                "a new step is made by wb.surgeon.",
            )

    def unchecked(self, model: Model) -> str | None:
        return None  # asking for a comparison says that the function is to keep what the model computes

    def apply(self, graph: ir.Model, model: Model) -> list[str] | None:
        from workbench.graph.edits.round_trip import changed_by

        script = Script(self.script, self.content())
        where = f"{Path(self.script).name}:{self.function}"

        def function(twin: object) -> object:
            return script.call(self.function, twin, dict(self.arguments))

        notes = changed_by(graph, function, where=where, tensors=model.tensors)
        for value in (*graph.graph.inputs, *graph.graph.outputs):
            if value.type is None and value.name not in model.tensors:
                raise EditError(
                    f"tensor {value.name!r} has no element type, as an input or output must",
                    where=where,
                    fix="Set its dtype in the function.",
                )
        return None if notes is None else [f"{self.function}: {notes[0]}", *notes[1:]]
