"""The recipe: everything that was done to a model, in order, as one readable YAML document."""

from __future__ import annotations

import hashlib
import json
import os.path
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from workbench.errors import RecipeError
from workbench.files import write_text
from workbench.graph.edits import AnyEdit
from workbench.names import Method, Metric
from workbench.precision.plan import Rule

if TYPE_CHECKING:
    from collections.abc import Callable


__all__ = [
    "SCHEMA",
    "CacheStep",
    "CalibrateStep",
    "ChooseStep",
    "FileReference",
    "Gate",
    "ModelReference",
    "PlanStep",
    "PrecisionStep",
    "RangeStep",
    "RangesStep",
    "Recipe",
    "Step",
    "Tuned",
]

SCHEMA = 1
"""Version of the document's form. A recipe of another version is refused, never guessed at."""

StepType = TypeVar("StepType", bound=BaseModel)


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ModelReference(_Part):
    """Which model the recipe is for.

    Parameters
    ----------
    file
        Where it was; absolute in memory, relative to the recipe's folder once saved.
    sha256
        `Model.digest`: what it must be.
    """

    file: str
    sha256: str


class SamplesReference(_Part):
    """Which samples were used, so that a person finds them again and a program knows them again."""

    source: dict[str, Any]
    count: int
    fingerprint: str


class FileReference(_Part):
    """A file that something was read from.

    Parameters
    ----------
    file
        Where it was; absolute in memory, relative to the recipe's folder once saved.
    sha256
        Of its bytes.
    """

    file: str
    sha256: str

    @classmethod
    def of(cls, path: str | os.PathLike[str]) -> FileReference:
        """Return the reference to a file as it is now."""
        path = Path(path)
        return cls(file=str(path.resolve()), sha256=hashlib.sha256(path.read_bytes()).hexdigest())

    def moved(self, move: Callable[[str], str]) -> FileReference:
        """Return the reference with its path given to `move`."""
        return self.model_copy(update={"file": move(self.file)})


class CalibrateStep(_Part):
    """A calibration and the ranges it found, in full precision: replaying needs no forward pass.

    Parameters
    ----------
    method, percentile
        How thresholds were picked from the statistics.
    batch
        Samples a run, where the model's batch is dynamic.
    samples
        What was run.
    ranges
        Tensor name to clipping threshold (``amax``).
    sha256
        Over the ranges, so that a slip of an editor is noticed.
    overflow
        Tensors in which values beyond 65504 were seen, which FP16 cannot hold, with the largest magnitude; ``None``
        where the calibration did not look for any.
    """

    do: Literal["calibrate"] = "calibrate"
    method: Method
    percentile: float | None = None
    batch: int
    samples: SamplesReference
    ranges: dict[str, float]
    sha256: str = ""
    overflow: dict[str, float] | None = None

    @property
    def origins(self) -> dict[str, str]:
        """Where each range comes from."""
        return dict.fromkeys(self.ranges, self.method)


class ChooseStep(_Part):
    """Ranges picked anew from statistics that were there already.

    Parameters
    ----------
    method, percentile
        How thresholds were picked from the statistics.
    overrides
        Another method, or a threshold, for some tensors.
    statistics
        The file of the statistics; ``None`` where they are those of the calibration before.
    ranges, sha256
        As for `CalibrateStep`.
    """

    do: Literal["choose_ranges"] = "choose_ranges"
    method: Method
    percentile: float | None = None
    overrides: dict[str, Annotated[float, Field(gt=0, allow_inf_nan=False)] | Method] = {}
    statistics: FileReference | None = None
    ranges: dict[str, float]
    sha256: str = ""

    @property
    def origins(self) -> dict[str, str]:
        """Where each range comes from."""
        manual = {name: one if isinstance(one, str) else "manual" for name, one in self.overrides.items()}
        return {**dict.fromkeys(self.ranges, self.method), **manual}


class CacheStep(_Part):
    """Ranges out of a calibration cache, those of tensors that the model has.

    Parameters
    ----------
    cache
        The file.
    ranges, sha256
        As for `CalibrateStep`.
    """

    do: Literal["use_cache"] = "use_cache"
    cache: FileReference
    ranges: dict[str, float]
    sha256: str = ""

    @property
    def origins(self) -> dict[str, str]:
        """Where each range comes from."""
        return dict.fromkeys(self.ranges, "cache")


RangesStep = CalibrateStep | ChooseStep | CacheStep
"""The steps that bring ranges of many tensors."""


class RangeStep(_Part):
    """One tensor's clipping threshold, set by hand."""

    do: Literal["set_range"] = "set_range"
    tensor: str
    amax: Annotated[float, Field(gt=0, allow_inf_nan=False)]


class PrecisionStep(Rule):
    """One more rule of the precision plan, with its options; see `workbench.precision.plan.plan.Rule`."""

    do: Literal["set_precision"] = "set_precision"

    @property
    def rule(self) -> Rule:
        """The rule alone."""
        return Rule(**self.model_dump(exclude={"do"}))


class PlanStep(_Part):
    """A whole plan, as a search found it, in place of all rules before.

    Parameters
    ----------
    move
        What the search tried when it found it, in words.
    edits
        What is done to the model for this plan: biases corrected for its INT8 nodes.
    ranges, sha256
        As for `CalibrateStep`; those that differ from the ranges before.
    rules
        All rules of the plan, in order.
    """

    do: Literal["set_plan"] = "set_plan"
    move: str = ""
    edits: tuple[AnyEdit, ...] = ()
    ranges: dict[str, float] = {}
    sha256: str = ""
    rules: tuple[Rule, ...]

    @property
    def origins(self) -> dict[str, str]:
        """Where each range comes from."""
        return dict.fromkeys(self.ranges, "search")


Step = Annotated[
    AnyEdit | CalibrateStep | ChooseStep | CacheStep | RangeStep | PrecisionStep | PlanStep, Field(discriminator="do")
]


class Gate(_Part):
    """A condition that the tuned model has to meet.

    Parameters
    ----------
    metric
        ``top1_drop`` (percentage points), ``sqnr_db`` (of the worst output) or ``latency_ratio`` (tuned / original,
        medians on the backend that measured them).
    at_most, at_least
        The bound; exactly one of them.
    """

    metric: Metric
    at_most: float | None = None
    at_least: float | None = None

    def __str__(self) -> str:
        bound = f"<= {self.at_most:g}" if self.at_most is not None else f">= {self.at_least:g}"
        return f"{self.metric} {bound}"

    def holds(self, value: float) -> bool:
        """Say whether a measured value meets the bound; NaN never does."""
        above = self.at_least is None or value >= self.at_least
        return above and (self.at_most is None or value <= self.at_most)


class Tuned(_Part):
    """What the recipe makes: the SHA-256 of the file ``tuned.onnx``; see `workbench.graph.save.file_digest`."""

    sha256: str


class Recipe(_Part):
    """The document. Immutable: adding a step gives a new one.

    Parameters
    ----------
    workbench
        The document's schema version.
    model
        The model it starts from.
    steps
        What was done, in order.
    target
        What it is lowered for, as `workbench.precision.targets.parse_target` reads it; ``None`` for any.
    weight_storage
        How the lowering stores quantized weights; ``None`` for what the target takes.
    gates
        Conditions on the result.
    tuned
        What came out.
    environment
        Versions that made it, for people who find a difference.
    """

    workbench: Literal[1] = 1
    model: ModelReference
    steps: tuple[Step, ...] = ()
    target: str | None = None
    weight_storage: Literal["int8", "float"] | None = None
    gates: tuple[Gate, ...] = ()
    tuned: Tuned | None = None
    environment: dict[str, str] = {}

    def with_step(self, step: BaseModel) -> Recipe:
        """Return the recipe with one more step; what it made before is no longer known."""
        return self.model_copy(update={"steps": (*self.steps, step), "tuned": None})

    def of_kind(self, kind: type[StepType]) -> list[StepType]:
        """Return the steps of one kind, in order."""
        return [step for step in self.steps if isinstance(step, kind)]

    def to_yaml(self) -> str:
        """Return the document as text."""
        content = self.model_dump(mode="json", exclude_none=True)
        return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the document; the model's path in it becomes relative to it.

        Raises
        ------
        OutputError
            The file cannot be written.
        """
        path = Path(path)
        return write_text(path, self.relocated(lambda file: relative_to(file, path.parent)).to_yaml())

    def relocated(self, move: Callable[[str], str]) -> Recipe:
        """Return the recipe with every path in it given to `move`."""
        steps: list[BaseModel] = []
        for step in self.steps:
            if isinstance(step, CalibrateStep) and "path" in step.samples.source:
                source = {**step.samples.source, "path": move(step.samples.source["path"])}
                samples = step.samples.model_copy(update={"source": source})
                steps.append(step.model_copy(update={"samples": samples}))
            elif isinstance(step, ChooseStep) and step.statistics is not None:
                steps.append(step.model_copy(update={"statistics": step.statistics.moved(move)}))
            elif isinstance(step, CacheStep):
                steps.append(step.model_copy(update={"cache": step.cache.moved(move)}))
            else:
                steps.append(step)
        model = self.model.model_copy(update={"file": move(self.model.file)})
        return self.model_copy(update={"model": model, "steps": tuple(steps)})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Recipe:
        """Read a document; its paths become absolute.

        Raises
        ------
        RecipeError
            Not readable, not a recipe, of another schema version, or with ranges that were changed by hand.
        """
        path = Path(path)
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise RecipeError("no such file", where=path, fix="Check the path.") from error
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            reason = str(error).splitlines()[0]
            raise RecipeError(f"not readable as YAML: {reason}", where=path, fix="Restore it from a copy.") from error
        if not isinstance(content, dict) or "workbench" not in content:
            raise RecipeError("not a recipe", where=path, fix="A recipe starts with 'workbench: 1'.")
        if content["workbench"] != SCHEMA:
            raise RecipeError(
                f"schema version {content['workbench']}; this workbench reads version {SCHEMA}",
                where=path,
                fix="Use the release of trt-workbench that wrote it, named in its 'environment'.",
            )
        try:
            recipe = cls.model_validate(content)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"])
            raise RecipeError(f"{place}: {first['msg']}", where=path, fix="Mend this line.") from error
        for step in recipe.steps:
            if isinstance(step, RangesStep | PlanStep) and step.sha256 != ranges_hash(step.ranges):
                raise RecipeError(
                    f"the ranges of a {step.do} step were changed",
                    where=path,
                    fix="Change a range with a set_range step, or calibrate again.",
                )
        return recipe.relocated(lambda file: str((path.parent / file).resolve()))


def ranges_hash(ranges: dict[str, float]) -> str:
    """Return SHA-256 (hex) over names and thresholds in full precision."""
    return hashlib.sha256(json.dumps(ranges, sort_keys=True).encode()).hexdigest()


def relative_to(file: str, folder: Path) -> str:
    """Return a path as seen from a folder, so that the two can move together to another machine."""
    return Path(os.path.relpath(Path(file).resolve(), folder.resolve())).as_posix()
