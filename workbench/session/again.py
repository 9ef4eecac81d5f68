"""The steps of a recipe done again, on other data or on the same network trained again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.calibration import first_samples
from workbench.errors import RecipeError
from workbench.graph.edits import CorrectBias, EqualizeChannels
from workbench.names import DEFAULT_PERCENTILE
from workbench.recipe.steps import CacheStep, CalibrateStep, ChooseStep, PlanStep, RangeStep
from workbench.session.editing import edit
from workbench.session.plan import Plan
from workbench.session.ranges import Ranges
from workbench.session.samples import opened

if TYPE_CHECKING:
    from workbench.calibration import Samples
    from workbench.recipe import SamplesReference
    from workbench.session.history import History

__all__ = ["Again", "samples_of"]


class Again:
    """Does what a recipe did, and measures where it measured.

    Parameters
    ----------
    history
        A session with the model and no steps.
    samples
        What to calibrate on; what the recipe calibrated on where left out.
    anew
        Whether everything that came from data is measured again: the model or the data is another one. Else only
        ranges are, and edits keep the numbers that they have.

    Attributes
    ----------
    notes
        What could not be done as it was, a sentence each.
    """

    def __init__(self, history: History, samples: object = None, *, anew: bool = False) -> None:
        self._history = history
        self._samples = samples
        self._anew = anew
        self.notes: list[str] = []

    def do(self, step: Any) -> None:
        """Do one step."""
        ranges, history = Ranges(self._history), self._history
        if isinstance(step, CalibrateStep):
            ranges.calibrate(
                self._data(step.samples),
                method=step.method,
                percentile=step.percentile or DEFAULT_PERCENTILE,
                batch=step.batch,
                overflow=True if step.overflow is not None else None,
                preprocessing=step.samples.source.get("preprocessing"),
            )
        elif isinstance(step, ChooseStep) and (step.statistics is None or self._from_data(step)):
            ranges.choose(step.method, percentile=step.percentile or DEFAULT_PERCENTILE, overrides=step.overrides)
        elif isinstance(step, CacheStep) and self._from_data(step):
            return
        elif self._anew and isinstance(step, EqualizeChannels):
            self._equalize()
        elif self._anew and isinstance(step, CorrectBias):
            Plan(history).correct_bias()
        elif self._anew and isinstance(step, PlanStep):
            self._plan(step)
        else:
            if self._anew and isinstance(step, RangeStep):
                self.notes.append(f"the range of {step.tensor} was set by hand, and stays {step.amax:g}")
            history.do(step)

    def _data(self, reference: SamplesReference) -> object:
        return samples_of(self._history, reference) if self._samples is None else self._samples

    def _from_data(self, step: CacheStep | ChooseStep) -> bool:
        """Measure ranges that came out of a file, where the data or the model is another one."""
        if not self._anew:
            return False
        file = step.cache if isinstance(step, CacheStep) else step.statistics
        name = "" if file is None else Path(file.file).name
        if self._samples is None:
            raise RecipeError(
                f"its ranges came out of {name}, which is of the former model",
                fix="Give samples to measure them on: --set samples=FILE.",
            )
        if Ranges(self._history).statistics is None or isinstance(step, CacheStep):
            Ranges(self._history).calibrate(self._samples)
        self.notes.append(f"ranges that came out of {name} are measured on the samples")
        return True

    def _equalize(self) -> None:
        from workbench.precision.measured_edits import equalization

        measured, ranges = self._history.measured, Ranges(self._history)
        if measured.samples is None:
            raise RecipeError("channels were equalized before anything was calibrated", fix="Tune the model anew.")
        edit(
            self._history,
            equalization(self._history.state.model, ranges.tensors, measured.samples, batch=measured.batch),
        )

    def _plan(self, step: PlanStep) -> None:
        """Take a search's rules; its ranges and shifts were of the former data."""
        if step.ranges:
            self.notes.append(f"{len(step.ranges)} ranges that the search chose are those of the calibration again")
        others = tuple(one for one in step.edits if not isinstance(one, CorrectBias))
        self._history.do(PlanStep(move=step.move, edits=others, rules=step.rules))
        if len(others) < len(step.edits):
            Plan(self._history).correct_bias()


def samples_of(history: History, reference: SamplesReference) -> Samples:
    """Open what a recipe refers to.

    Raises
    ------
    RecipeError
        It was no file.
    SamplesError
        It is not there, or does not fit the model.
    """
    source = reference.source
    if "path" not in source:
        raise RecipeError("its samples were no file", fix="Give some: --set samples=FILE.")
    data = opened(history, source["path"], source.get("preprocessing"))
    return first_samples(data, int(source["first"])) if "first" in source else data
