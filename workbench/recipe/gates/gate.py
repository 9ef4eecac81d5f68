"""A gate, and what happened to it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, Field, ValidationError, WithJsonSchema, model_validator

from workbench.errors import OptionError
from workbench.names import near
from workbench.recipe.gates.evidence import Evidence
from workbench.recipe.gates.metrics import METRICS
from workbench.recipe.parts import Part

if TYPE_CHECKING:
    from collections.abc import Iterable

    from typing_extensions import Self

    from workbench.evaluate import Agreement

__all__ = ["Gate", "GateResult", "check_gates"]


def _metric(name: str) -> str:
    if name not in METRICS:
        raise ValueError(f"there is no metric {name!r}; {near(name, METRICS)}")
    return name


MetricName = Annotated[str, AfterValidator(_metric), WithJsonSchema({"type": "string", "enum": list(METRICS)})]


class Gate(Part):
    """A condition that the tuned model has to meet.

    Parameters
    ----------
    metric
        One of `workbench.recipe.gates.metrics.METRICS`.
    at_most, at_least
        The bound; exactly one of them.
    output
        The output that it is about; the worst one where left out.
    confidence
        For a drop of accuracy: the end of its confidence interval, of this level, has to meet the bound, so that few
        samples cannot pass by luck.
    """

    metric: MetricName
    at_most: float | None = None
    at_least: float | None = None
    output: str | None = None
    confidence: Annotated[float, Field(gt=0, lt=1)] | None = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if (self.at_most is None) == (self.at_least is None):
            raise ValueError("give one bound: at_most or at_least")
        if math.isnan(self._bound):
            raise ValueError("its bound is no number")
        if self.output is not None and not METRICS[self.metric].of_output:
            raise ValueError(f"{self.metric} is not of one output")
        if self.confidence is not None and not self.metric.startswith("top1_drop"):
            raise ValueError(f"{self.metric} has no confidence interval")
        return self

    @classmethod
    def parse(cls, text: str) -> Gate:
        """Read a gate as it is printed: ``sqnr_db >= 25``, ``sqnr_db[logits] >= 25``, ``top1_drop@0.95 <= 1``.

        Raises
        ------
        ValueError
            It is not like that.
        """
        for sign, bound in (("<=", "at_most"), (">=", "at_least")):
            left, present, number = text.partition(sign)
            if present:
                left, _, level = left.strip().partition("@")
                name, _, output = left.strip().partition("[")
                content: dict[str, Any] = {"metric": name.strip(), bound: number.strip()}
                content |= {"output": output.rstrip("] ")} if output else {}
                return cls.model_validate(content | ({"confidence": level.strip()} if level else {}))
        raise ValueError(f"{text!r} is not like 'sqnr_db >= 25' or 'p95_ms <= 100'")

    @classmethod
    def read(cls, metric: str, **parts: Any) -> Gate:
        """Return the gate that a person gives in parts, or as a whole text.

        Raises
        ------
        OptionError
            There is no such metric, or the bound is none.
        """
        filled = {name: value for name, value in parts.items() if value is not None}
        try:
            return cls.parse(metric) if not filled and metric not in METRICS else cls(metric=metric, **filled)
        except ValidationError as error:
            reason = error.errors()[0]["msg"].removeprefix("Value error, ")
            raise OptionError(reason, where=f"gate {metric}") from error
        except ValueError as error:
            raise OptionError(str(error), fix=f"Metrics: {', '.join(METRICS)}.") from error

    def __str__(self) -> str:
        short = f"{self._bound:g}"
        number = short if float(short) == self._bound else repr(self._bound)
        bound = f"{'>=' if self.at_most is None else '<='} {number}"
        output = "" if self.output is None else f"[{self.output}]"
        level = "" if self.confidence is None else f"@{self.confidence:g}"
        return f"{self.metric}{output}{level} {bound}"

    @property
    def _bound(self) -> float:
        return (self.at_least or 0.0) if self.at_most is None else self.at_most

    def holds(self, value: float) -> bool:
        """Say whether a measured value meets the bound; NaN never does."""
        above = self.at_least is None or value >= self.at_least
        return above and (self.at_most is None or value <= self.at_most)

    def missed_by(self, value: float) -> float:
        """Return how far a value is beyond the bound; negative within it."""
        return value - self._bound if self.at_least is None else self._bound - value


@dataclass(frozen=True)
class GateResult:
    """The outcome of one gate.

    Parameters
    ----------
    gate
        The condition, as text.
    value
        What was measured; `None` where nothing was.
    passed
        Whether the condition holds; what was not measured does not pass, and no condition on numbers does where values
        became NaN or infinite.
    reason
        Why it does not pass, where the value does not say it.
    unit
        Of the value.
    missed_by
        How far the value is beyond the bound, where it is.
    conditions
        On what it was measured, where that is an engine.
    """

    gate: str
    value: float | None
    passed: bool
    reason: str = ""
    unit: str = ""
    missed_by: float | None = None
    conditions: str = ""

    @property
    def value_text(self) -> str:
        """The value as people read it."""
        return "not measured" if self.value is None else f"{_number(self.value, self.missed_by)} {self.unit}".rstrip()

    @property
    def outcome(self) -> str:
        """Passed or failed, and by how much."""
        if self.passed:
            return "passed"
        by = "" if self.missed_by is None else f" by {_number(self.missed_by)} {self.unit}".rstrip()
        return f"FAILED{by}" + (f" ({self.reason})" if self.reason else "")

    def __str__(self) -> str:
        return f"{self.gate}: {self.value_text}, {self.outcome}"


def _number(value: float, missed_by: float | None = None) -> str:
    """Return three digits of a number; more where it is larger, or where they would hide by how much it missed."""
    if not value or not math.isfinite(value):
        return f"{value:g}"
    leading = math.floor(math.log10(abs(value)))
    finest = math.floor(math.log10(abs(missed_by))) if missed_by and math.isfinite(missed_by) else leading
    return f"{value:.{min(max(3, leading + 1, leading - finest + 1), 17)}g}"


def check_gates(gates: Iterable[Gate], measured: Evidence | Agreement) -> list[GateResult]:
    """Check every gate against what was measured; a comparison alone will do for gates on results."""
    evidence = measured if isinstance(measured, Evidence) else Evidence(comparison=measured)
    return [_check(gate, evidence) for gate in gates]


def _check(gate: Gate, evidence: Evidence) -> GateResult:
    metric = METRICS[gate.metric]
    value = metric.of(evidence, gate)
    conditions = evidence.conditions if metric.source in ("timing", "engine") else ""
    broken = 0 if evidence.comparison is None else evidence.comparison.nonfinite
    if metric.numbers and broken:
        reason = f"{broken} values became NaN or infinite"
        return GateResult(str(gate), value, passed=False, reason=reason, unit=metric.unit)
    if value is None:
        return GateResult(str(gate), None, passed=False, reason=_why(gate, evidence), unit=metric.unit)
    passed = gate.holds(value)
    missed = None if passed else gate.missed_by(value)
    return GateResult(str(gate), value, passed, unit=metric.unit, missed_by=missed, conditions=conditions)


def _why(gate: Gate, evidence: Evidence) -> str:
    """Say why there is no value, as precisely as is known."""
    comparison = evidence.comparison
    if gate.metric == "speedup":
        return "no engine in floating point was timed beside it: tune or search with --measure BACKEND"
    if METRICS[gate.metric].source == "timing" and evidence.latency_ms and "timing" not in evidence.lacking:
        return "what timed the engine does not tell"
    if comparison is None or METRICS[gate.metric].source != "comparison":
        return METRICS[gate.metric].reason(evidence)
    if gate.metric.startswith("top1_drop"):
        return "no labels" if comparison.accuracy is None else "the original has no hits to lose, or none were counted"
    if gate.metric == "latency_ratio":
        return "no latency was measured: give runs"
    names = [one.name for one in comparison.outputs]
    if gate.output is not None and gate.output not in names:
        return f"there is no output {gate.output}; {near(gate.output, names)}"
    return "there is nothing floating-point to compare"
