"""Whether an engine is worse than another one of the same model: what a build in CI is stopped for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from workbench.engine.precision import RANK

if TYPE_CHECKING:
    from workbench.engine.compare import EngineComparison
    from workbench.engine.report import EngineReport

__all__ = ["Judged", "judge_against"]


@dataclass(frozen=True)
class Judged:
    """One thing that must not get worse.

    Parameters
    ----------
    what
        ``layers``, ``reformats``, ``precision`` or ``milliseconds``.
    passed
        Whether it did not; what was not measured does not pass.
    message
        Before and after, in a few words.
    details
        Where it got worse, a line each.
    """

    what: str
    passed: bool
    message: str
    details: tuple[str, ...] = ()


def judge_against(
    before: EngineReport, after: EngineReport, comparison: EngineComparison, *, tolerance: float = 0.0
) -> tuple[Judged, ...]:
    """Judge an engine against an earlier one.

    Parameters
    ----------
    before, after
        The earlier one, and the one that is judged.
    comparison
        Of the two, in this order.
    tolerance
        By how many percent milliseconds may grow: two measurements of one engine differ, too.
    """
    reformats = len(before.reformat_layers), len(after.reformat_layers)
    fused = [f"{group.name}: {group.change[1]}" for group in comparison.groups if _more(group.layers)]
    return (
        _counted("layers", len(before.layers), len(after.layers), fused),
        _counted("reformats", *reformats, [layer.name for layer in after.reformat_layers]),
        _precision(comparison),
        _milliseconds(before, after, comparison, tolerance),
    )


def _counted(what: str, before: int, after: int, details: list[str]) -> Judged:
    worse = after > before
    return Judged(what, not worse, f"{before} -> {after}", tuple(details) if worse else ())


def _more(layers: tuple[tuple[str, ...], ...]) -> bool:
    return len(layers[1]) > len(layers[0])


def _precision(comparison: EngineComparison) -> Judged:
    wider = [
        f"{group.name}: {group.precision[0]} -> {group.precision[1]}"
        for group in comparison.groups
        if (was := _widest(group.precision[0])) is not None
        and (now := _widest(group.precision[1])) is not None
        and now > was
    ]
    message = f"wider in {len(wider)} of {len(comparison.groups)} groups" if wider else "nowhere wider"
    return Judged("precision", not wider, message, tuple(wider))


def _widest(precision: str | None) -> int | None:
    ranks = [RANK.get(part) for part in (precision or "").split("+")]
    return None if None in ranks else max(rank for rank in ranks if rank is not None)


def _milliseconds(before: EngineReport, after: EngineReport, comparison: EngineComparison, tolerance: float) -> Judged:
    whole = [None if one.timing is None else one.timing.ms.get("median") for one in (before, after)]
    was, now = whole if None not in whole else (before.layers_ms, after.layers_ms)
    if not was or now is None:
        return Judged("milliseconds", passed=False, message="not measured: give times of both engines")
    grown = 100 * (now / was - 1)
    kind = "median of inferences" if None not in whole else "sum of layers"
    slower = sorted(
        ((a - b, group.name) for group in comparison.groups if (b := group.ms[0]) is not None and (a := group.ms[1])),
        reverse=True,
    )
    details = [f"{name}: +{more:.4f} ms" for more, name in slower if more > 0]
    passed = grown <= tolerance
    message = f"{was:.4f} -> {now:.4f} ms ({grown:+.1f}%, {kind}; allowed +{tolerance:g}%)"
    return Judged("milliseconds", passed, message, () if passed else tuple(details))
