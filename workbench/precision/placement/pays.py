"""Whether a tuned engine is faster than the fastest in floating point: measured, or said not to be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict

from workbench.backends import ratio_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from workbench.backends import Timing

__all__ = ["Pays", "Speed"]

Payoff = Literal["pays", "does not pay", "within the error", "not measured"]


class Speed(BaseModel):
    """One engine of a front of latency against accuracy.

    Parameters
    ----------
    name
        What it was called in the search.
    ratio, error
        Its latency over that of the engine in floating point, and the standard error.
    latency_ms
        Median of one inference.
    figure
        What the goal was about; None where it is infinite.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    ratio: float
    error: float
    latency_ms: float
    figure: float | None = None


class Pays(BaseModel):
    """Whether INT8 pays.

    Parameters
    ----------
    verdict
        ``pays``: it is faster by more than the error; ``does not pay``: slower by more than it; ``within the error``:
        the two cannot be told apart; ``not measured``: no engine was built, or none in INT8 reaches the goal.
    ratio, error
        Its latency over that of the fastest engine in floating point, and the standard error.
    against
        That engine.
    where
        What ran it: backend, version, device, shapes.
    reason
        Why this plan was taken, where a search took it.
    build
        Options of the build that belong to it, by their names in `BuildOptions`; None for the builder's own.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    verdict: Payoff = "not measured"
    ratio: float | None = None
    error: float | None = None
    against: str | None = None
    where: str | None = None
    reason: str | None = None
    build: dict[str, int | str] | None = None

    @classmethod
    def of(cls, tuned: Timing, floating: Mapping[str, Timing]) -> Pays:
        """Compare an engine with those in floating point that took turns with it.

        Parameters
        ----------
        tuned
            Its timing.
        floating
            Name to timing of every engine in floating point.
        """
        fastest = min(floating, key=lambda name: floating[name].median_ms)
        ratio = ratio_of(tuned, floating[fastest])
        faster: Payoff = "pays" if ratio.value < 1 else "does not pay"
        verdict: Payoff = faster if ratio.certain else "within the error"
        return cls(verdict=verdict, ratio=ratio.value, error=ratio.error, against=fastest, where=_where(tuned))

    @property
    def speedup(self) -> float | None:
        """How many times faster the result is than the fastest in floating point; None where that was not measured.

        One where it stays in floating point, whatever the ratio of what was not taken.
        """
        return 1.0 if self.stay else None if self.ratio is None else 1 / self.ratio

    @property
    def stay(self) -> str:
        """Why the plan stays in floating point, as a sentence without its full stop; empty where it does not."""
        return f"S{reason[at + 1 :]}" if (at := (reason := self.reason or "").find("stay in ")) >= 0 else ""

    def __str__(self) -> str:
        if self.ratio is None or self.error is None:
            why = self.stay.partition(": ")[2] or self.reason
            return f"not measured: {why or 'no engine was built, so whether INT8 is faster is not known'}"
        times = f"{self.ratio:.3f} ± {self.error:.3f} of the time of {self.against}"
        return f"{self.verdict}: {times}" + (f" ({self.where})" if self.where else "")


def _where(timing: Timing) -> str:
    conditions = timing.conditions
    device = conditions.get("device")
    name = device.get("name") if isinstance(device, dict) else device
    shapes = ", ".join("x".join(map(str, shape)) for shape in conditions.get("shapes", {}).values())
    graph = ", CUDA graph" if conditions.get("cuda_graph") else ""
    return f"{conditions.get('backend')} {conditions.get('version')}, {name}, {shapes}{graph}"
