"""One model, several releases of TensorRT-RTX, several GPUs: who takes it, and what changed between two of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from workbench.display import Card, Shown

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["Cell", "Matrix"]

MOST_NAMES = 8
"""Nodes that a change is told of one by one."""


@dataclass(frozen=True)
class Cell:
    """What one release said for one GPU.

    Parameters
    ----------
    release, target
        Of the compiler, as ``1.7``; the GPU, as ``sm86``.
    outcome
        ``accepted``, ``refused``, ``undecided`` (it needs a GPU to tell) or ``unknown`` (it could not be asked).
    nodes
        Address to what happened to the node: ``status``, ``types``, ``arithmetic``, ``reason``, ``op``.
    reason
        Why it is not accepted, in a sentence.
    seconds
        Of parser and builder.
    """

    release: str
    target: str
    outcome: str
    nodes: Mapping[str, Mapping[str, Any]]
    reason: str = ""
    seconds: float = 0.0

    @classmethod
    def of(cls, release: str, verdict: Mapping[str, Any]) -> Cell:
        """Take a verdict as `workbench check --json` writes it."""
        keys = ("op", "status", "reason", "types", "arithmetic")
        nodes = {one["node"]: {key: one[key] for key in keys} for one in verdict["nodes"]}
        refused = [one for one in verdict["nodes"] if one["status"] == "refused"]
        undecided = any(one["status"] == "undecided" for one in verdict["nodes"])
        outcome = "accepted" if verdict["accepted"] else "refused"
        if outcome == "refused" and undecided and not refused and not verdict["problems"]:
            outcome = "undecided"
        reasons = [f"{one['node']} ({one['op']}): {one['reason']}" for one in refused]
        reasons += [str(one.get("text") or one.get("reason") or one) for one in verdict["problems"]]
        seconds = float(verdict["parse_s"]) + float(verdict["build_s"])
        return cls(release, verdict["target"], outcome, nodes, reasons[0] if reasons else "", seconds)


@dataclass(frozen=True)
class Matrix(Shown):
    """Verdicts of several releases for several GPUs.

    Parameters
    ----------
    model
        Its name.
    cells
        One a release and GPU.
    """

    model: str
    cells: tuple[Cell, ...]

    @property
    def releases(self) -> tuple[str, ...]:
        """The releases, in the order asked."""
        return tuple(dict.fromkeys(cell.release for cell in self.cells))

    @property
    def targets(self) -> tuple[str, ...]:
        """The GPUs, in the order asked."""
        return tuple(dict.fromkeys(cell.target for cell in self.cells))

    @property
    def accepted(self) -> bool:
        """Whether every release takes the model for every GPU."""
        return all(cell.outcome == "accepted" for cell in self.cells)

    def cell(self, release: str, target: str) -> Cell:
        """Return what one release said for one GPU."""
        return next(cell for cell in self.cells if (cell.release, cell.target) == (release, target))

    def changes(self, before: str, after: str) -> tuple[str, ...]:
        """Say what changed between two releases, a sentence each; what is the same for several GPUs is said once."""
        targets_of: dict[str, list[str]] = {}
        for target in self.targets:
            for sentence in _changes(self.cell(before, target), self.cell(after, target)):
                targets_of.setdefault(sentence, []).append(target)
        everywhere = list(self.targets)
        return tuple(
            sentence if targets == everywhere else f"{', '.join(targets)}: {sentence}"
            for sentence, targets in targets_of.items()
        )

    def rows(self) -> list[tuple[str, ...]]:
        """Return one row a release: its verdict for each GPU."""
        return [(release, *(self.cell(release, one).outcome for one in self.targets)) for release in self.releases]

    def text(self) -> str:
        """Return the table, why some refuse, and what changed from each release to the next."""
        head = ("TensorRT-RTX", *self.targets)
        table = [head, *self.rows()]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table
        ]
        reasons: dict[str, list[str]] = {}
        for cell in self.cells:
            if cell.outcome != "accepted":
                reasons.setdefault(cell.reason or cell.outcome, []).append(f"{cell.release} {cell.target}")
        lines += [f"{_few(cells)}: {reason}" for reason, cells in reasons.items()]
        for before, after in zip(self.releases, self.releases[1:], strict=False):
            changes = self.changes(before, after) or ("nothing",)
            lines += [f"changed from {before} to {after}:", *(f"  {sentence}" for sentence in changes)]
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values."""
        pairs = zip(self.releases, self.releases[1:], strict=False)
        return {
            "model": self.model,
            "cells": [
                {
                    "release": cell.release,
                    "target": cell.target,
                    "outcome": cell.outcome,
                    "reason": cell.reason,
                    "seconds": cell.seconds,
                    "nodes": dict(cell.nodes),
                }
                for cell in self.cells
            ],
            "changes": [
                {"before": before, "after": after, "what": list(self.changes(before, after))} for before, after in pairs
            ],
        }

    def card(self) -> Card:
        """Return it in one screen."""
        return self._card()

    def _card(self) -> Card:
        taken = sum(cell.outcome == "accepted" for cell in self.cells)
        headline = f"{self.model}: {taken} of {len(self.cells)} combinations take it"
        notes = self.text().splitlines()[len(self.releases) + 1 :]
        return Card(headline, ("TensorRT-RTX", *self.targets), tuple(self.rows()), tuple(notes))


def _changes(before: Cell, after: Cell) -> Iterator[str]:
    if before.outcome != after.outcome:
        why = f" ({after.reason or before.reason})" if after.reason or before.reason else ""
        yield f"{before.outcome} -> {after.outcome}{why}"
    for what in ("status", "arithmetic", "types", "reason"):
        moved: dict[str, list[str]] = {}
        for name, old in before.nodes.items():
            new = after.nodes.get(name)
            if new is not None and _plain(old[what]) != _plain(new[what]):
                moved.setdefault(f"{_plain(old[what])} -> {_plain(new[what])}", []).append(f"{name} ({new['op']})")
        yield from (f"{what} {change} of {_few(nodes)}" for change, nodes in moved.items())


def _plain(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return "+".join(map(str, value)) or "none"
    return "none" if value is None else str(value)


def _few(names: list[str]) -> str:
    more = len(names) - MOST_NAMES
    return ", ".join(names[:MOST_NAMES]) + (f" and {more} more" if more > 0 else "")
