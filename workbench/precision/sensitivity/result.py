"""What each node costs: the result of a sensitivity measurement."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from workbench.display import Card, Shown
from workbench.errors import PrecisionError

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd

__all__ = ["NodeError", "Sensitivity"]


@dataclass(frozen=True)
class NodeError:
    """What quantizing one node alone does to the model's outputs.

    Parameters
    ----------
    node, op_type
        The node.
    sqnr_db
        Of the worst output, in dB; infinite where nothing changes, NaN where all outputs are whole numbers.
    kl
        Mean Kullback-Leibler divergence of the outputs' rows in nats; NaN where outputs have no rows, or not measured.
    task
        The figure of the callback; `None` without one.
    differing
        Share of the values that differ in the output that does most, where all outputs are whole numbers; else `None`.
    """

    node: str
    op_type: str
    sqnr_db: float
    kl: float = math.nan
    task: float | None = None
    differing: float | None = None

    @property
    def noise(self) -> float:
        """Noise power over signal power, the inverse of the SQNR; for whole numbers the share that differs."""
        if math.isnan(self.sqnr_db):
            return self.differing or 0.0
        return float(10.0 ** (-self.sqnr_db / 10.0))

    @property
    def text(self) -> str:
        """The error in words: its SQNR, or the share of whole numbers that differ."""
        return f"{self.differing or 0.0:.1%} differ" if math.isnan(self.sqnr_db) else f"{self.sqnr_db:.1f} dB"


@dataclass(frozen=True)
class Sensitivity(Shown):
    """What each quantizable node costs in end-to-end error.

    Parameters
    ----------
    errors
        One entry a node, in graph order.
    kind
        ``exact``: measured. ``quick``: estimated.
    samples
        How many samples it is of.
    forwards
        Work that was done, in forward passes a sample: multiply-accumulates, or nodes where those of one are unknown.
    seconds
        Wall time.
    resumed
        How many entries were taken from a journal.
    """

    errors: tuple[NodeError, ...]
    kind: Literal["exact", "quick"]
    samples: int
    forwards: float
    seconds: float
    resumed: int = 0

    def __getitem__(self, node: str) -> NodeError:
        match = next((error for error in self.errors if error.node == node), None)
        if match is None:
            raise PrecisionError("its sensitivity was not measured", where=node, fix="Name a node of the table.")
        return match

    def ranking(self, by: Literal["sqnr", "kl", "task"] = "sqnr") -> list[str]:
        """Return the nodes, the one that hurts most first; ties keep the graph's order."""
        keys: dict[str, Callable[[NodeError], float]] = {
            "sqnr": lambda error: -error.noise,
            "kl": lambda error: -error.kl,
            "task": lambda error: math.nan if error.task is None else error.task,
        }
        return [error.node for error in sorted(self.errors, key=keys[by])]

    def table(self) -> pd.DataFrame:
        """Return one row a node, the one that hurts most first."""
        import pandas as pd

        columns = ["node", "op", "sqnr_db", "differing", "kl", "task"]
        errors = sorted(self.errors, key=lambda error: -error.noise)
        rows = [(e.node, e.op_type, e.sqnr_db, e.differing, e.kl, e.task) for e in errors]
        table: pd.DataFrame = pd.DataFrame(rows, columns=columns)
        return table.dropna(axis="columns", how="all") if rows else table

    def _card(self) -> Card:
        worst = sorted(self.errors, key=lambda error: -error.noise)
        headline = f"{worst[0].node} hurts most: {worst[0].text} when it alone is in INT8" if worst else "no node"
        rows = tuple((error.node, error.op_type, error.text) for error in worst)
        how = f"{self.kind}, {self.samples} samples, {self.forwards:.1f} forward passes a sample, {self.seconds:.1f} s"
        return Card(headline, ("node", "operator", "alone"), rows, (how,))
