"""Every kind of step. A new one is a file here and a line below."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from workbench.graph.edits import AnyEdit
from workbench.recipe.steps.calibrate import CalibrateStep
from workbench.recipe.steps.choose_ranges import ChooseStep
from workbench.recipe.steps.set_plan import PlanStep
from workbench.recipe.steps.set_precision import PrecisionStep
from workbench.recipe.steps.set_range import RangeStep
from workbench.recipe.steps.use_cache import CacheStep

__all__ = ["AnyStep"]

AnyStep = Annotated[
    AnyEdit | CalibrateStep | ChooseStep | CacheStep | RangeStep | PrecisionStep | PlanStep, Field(discriminator="do")
]
"""Any step, told apart by its field ``do``."""
