"""The workbench as a notebook sees it: one object, each action a line of the recipe."""

from workbench.session.plan import Plan
from workbench.session.workbench import PreprocessingLike, Workbench, open_model, open_recipe

__all__ = ["Plan", "PreprocessingLike", "Workbench", "open_model", "open_recipe"]
