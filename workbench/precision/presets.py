"""Plans to start from, by name."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from workbench.errors import PrecisionError
from workbench.graph.selectors import select
from workbench.precision.existing import plan_of
from workbench.precision.plan import BEST_PRACTICE, PrecisionPlan, Rule

if TYPE_CHECKING:
    from collections.abc import Mapping

    from workbench.graph.model import Model
    from workbench.precision.targets import Floating

__all__ = ["ORIGINAL", "PRESETS", "preset"]

ORIGINAL = "original"
"""The preset that a quantized model brings itself."""

MULTIPLIES = BEST_PRACTICE.rules[0].select


def _all(floating: Floating) -> PrecisionPlan:
    return PrecisionPlan(rules=(Rule(select="*", precision=floating),))


PRESETS: Mapping[str, PrecisionPlan] = {
    "fp32": _all("fp32"),
    "fp16": _all("fp16"),
    "bf16": _all("bf16"),
    "int8": BEST_PRACTICE,
    "int8+fp16": _all("fp16").with_rules(*BEST_PRACTICE.rules),
    "fp8+fp16": _all("fp16").with_rule(MULTIPLIES, "fp8"),
}
"""The presets by name. ``int8+fp16`` is the best practice for strongly typed TensorRT: INT8 for what multiplies and for
residual Adds, FP16 for the rest, FP32 where range or precision demand it."""


def preset(name: str, model: Model) -> PrecisionPlan:
    """Return a preset's rules, those that select something in a model.

    Parameters
    ----------
    name
        One of `PRESETS`, or ``original``: what the model itself has quantized.
    model
        The model it is for.

    Raises
    ------
    PrecisionError
        There is no such preset, or the model has no quantization of its own.
    """
    if name == ORIGINAL:
        plan = plan_of(model)
        if not plan.rules:
            raise PrecisionError(
                "the model has no quantization of its own", where=model.name, fix="Choose another preset."
            )
        return plan
    if name not in PRESETS:
        near = difflib.get_close_matches(name, [*PRESETS, ORIGINAL], n=1, cutoff=0.3)
        fix = f"Did you mean {near[0]}?" if near else f"There are {', '.join((*PRESETS, ORIGINAL))}."
        raise PrecisionError("there is no such preset", where=name, fix=fix)
    rules = PRESETS[name].rules
    return PrecisionPlan(rules=tuple(rule for rule in rules if select(model, rule.select, required=False)))
