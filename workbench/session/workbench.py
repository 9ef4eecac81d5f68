"""The workbench as a notebook sees it: one object, each action a line of the recipe."""

from __future__ import annotations

from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

from workbench.display import Card, Shown
from workbench.graph import Graph
from workbench.progress import in_notebook
from workbench.recipe import Gate, Recipe
from workbench.results import refuse_source, results_folder
from workbench.session import editing
from workbench.session.changes import Changes
from workbench.session.engines import Engines
from workbench.session.evaluation import compare_tuned, measure_sensitivity
from workbench.session.handed import handed
from workbench.session.history import History, step_text
from workbench.session.plan import Plan
from workbench.session.ranges import Ranges
from workbench.session.tuning import Tuning

if TYPE_CHECKING:
    import os
    from collections.abc import Collection

    from workbench.backends.verdict import Verdict
    from workbench.evaluate import Comparison
    from workbench.graph import Model

__all__ = ["Workbench", "history_of"]

_PAGE = "workbench.handoff:page"
"""What writes the report; by name, since it looks at sessions from above."""
_APP = "workbench.views.app"
"""What shows a workbench in a notebook; by name too."""


class Workbench(Shown):
    """One model on its way: what was done to it is `recipe`, what happened to it is `model`.

    Everything that changes something appends a step to the recipe; looking changes nothing. Ranges, precision plan and
    engines have their own places: `ranges`, `plan`, `engines`.

    Parameters
    ----------
    source
        The model as it was loaded.
    recipe
        Steps that are to be done at once; none where left out.
    """

    def __init__(self, source: Model, *, recipe: Recipe | None = None) -> None:
        self._history = History(source, recipe)
        self._tuning = Tuning(self._history)

    def __dir__(self) -> list[str]:
        return [name for name in super().__dir__() if not name.startswith("_")]

    def _card(self) -> Card:
        steps = [step_text(step) for step in self.recipe.steps]
        headline = f"{self.source.name}: {len(steps)} steps, {len(self.model.nodes)} nodes"
        gates = tuple(f"gate {gate}" for gate in self.recipe.gates)
        return Card(headline, ("", "step"), tuple(enumerate(steps)), gates)

    def _repr_mimebundle_(
        self, include: Collection[str] | None = None, exclude: Collection[str] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Show the whole workbench on one screen in a notebook; a terminal gets the card's text."""
        if not in_notebook():
            return {"text/plain": repr(self)}, {}
        shown: tuple[dict[str, Any], dict[str, Any]] = resolve_name(_APP).bundle(self, include, exclude)
        return shown

    def _display_(self) -> Any:
        """Show the screen's picture in marimo."""
        return resolve_name(_APP).screen(self)._display_()

    def _repr_html_(self) -> str | None:  # type: ignore[override]
        """Leave a notebook to the screen and its picture: exports would take this before them."""
        return None if in_notebook() else super()._repr_html_()

    # What there is

    @property
    def source(self) -> Model:
        """The model as it was loaded."""
        return self._history.source

    @property
    def recipe(self) -> Recipe:
        """Everything that was done, as a document that can be saved and replayed."""
        return self._history.recipe

    @property
    def model(self) -> Model:
        """The model after the edits so far, in floating point."""
        return self._history.state.model

    @property
    def graph(self) -> Graph:
        """Questions about the model's graph: ``wb.graph.nodes()``, ``.select(...)``, ``.summary()``."""
        return Graph(self.model)

    @property
    def ranges(self) -> Ranges:
        """Tensor name to clipping threshold, and every way to choose them anew."""
        return Ranges(self._history)

    @property
    def plan(self) -> Plan:
        """The precision plan, to look at and to change."""
        return Plan(self._history)

    @property
    def engines(self) -> Engines:
        """What compilers make of the tuned model: build, read, compare, fix."""
        return Engines(self._history, self._tuning)

    @property
    def tuned(self) -> Model:
        """The lowered model as the plan is now; `tune` makes it the recipe's result."""
        return self._tuning.lowered().model

    @property
    def advice(self) -> tuple[str, ...]:
        """What to know when building an engine of the tuned model, a sentence each; `unchecked` comes first."""
        return (*self._history.unchecked, *self._tuning.lowered().advice)

    # What is done to it

    edit = handed(editing.edit, "_history")
    surgeon = handed(editing.run_surgeon, "_history")
    prepare = handed(editing.prepare, "_history")
    calibrate = handed(Ranges.calibrate, "ranges")
    set_range = handed(Ranges.set, "ranges")

    def require(
        self,
        metric: str,
        *,
        at_most: float | None = None,
        at_least: float | None = None,
        output: str | None = None,
        confidence: float | None = None,
    ) -> None:
        """Add a gate: a condition that the tuned model has to meet. See `workbench.recipe.Gate`.

        Parameters
        ----------
        metric
            What it is on, or the whole gate as text: ``"sqnr_db >= 20"``.
        at_most, at_least
            The bound; one of them.
        output
            The output that it is about; the worst one where left out.
        confidence
            Of a drop of accuracy: the end of its confidence interval counts.

        Raises
        ------
        OptionError
            There is no such metric, or the bound is none.
        """
        parts = {"at_most": at_most, "at_least": at_least, "output": output, "confidence": confidence}
        self._history.require(Gate.read(metric, **parts))

    tune = handed(Tuning.tune, "_tuning")
    undo = handed(History.undo, "_history")
    redo = handed(History.redo, "_history")
    on_change = handed(Changes.on_change, "_history.changes")

    # What comes of it

    compare = handed(compare_tuned, "_tuning")
    sensitivity = handed(measure_sensitivity, "_history")
    build = handed(Engines.build, "engines")

    def check(self, target: str = "sm86") -> Verdict:
        """Ask a real TensorRT compiler what it makes of the tuned model, node by node; needs no GPU.

        Parameters
        ----------
        target
            The compute capability: ``sm75`` to ``sm121``.

        Raises
        ------
        BackendError
            TensorRT-RTX is not installed, or does not know the target.
        """
        from workbench.backends.verdict import check

        return check(self.tuned, target)

    def save(self, folder: str | os.PathLike[str]) -> tuple[Path, ...]:
        """Tune, and write ``tuned.onnx`` and ``recipe.yaml`` into a folder, as a whole or not at all.

        Raises
        ------
        OutputError
            The folder holds something else, or the model itself under that name, or cannot be written.
        """
        names = ("tuned.onnx", "tuned.onnx.data", "recipe.yaml", *self.recipe.scripts(folder))
        refuse_source(folder, names, self.source.path)
        self.tune()
        with results_folder(folder, names) as place:
            return (*self.tuned.save(place / "tuned.onnx"), self.recipe.save(place / "recipe.yaml"))

    def export_html(self, path: str | os.PathLike[str], comparison: Comparison | None = None) -> Path:
        """Write the report as one page that needs no network.

        Parameters
        ----------
        path
            The ``.html`` file.
        comparison
            From `compare`; measured on the calibration's samples where left out.

        Raises
        ------
        OutputError
            It cannot be written, or is the model.
        """
        from workbench.files import write_text
        from workbench.recipe import check_gates

        refuse_source(Path(path).parent, (Path(path).name,), self.source.path)
        comparison = comparison or self.compare()
        return write_text(path, resolve_name(_PAGE)(self, comparison, check_gates(self.recipe.gates, comparison)))


def history_of(workbench: Workbench) -> History:
    """Return what lies beneath a workbench, for views and jobs: steps, states, what was measured."""
    return workbench._history  # noqa: SLF001 - the one door
