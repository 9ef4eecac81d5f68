"""How a workbench starts: from a model, or from a recipe."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.graph import load_model
from workbench.recipe import Recipe, check_model
from workbench.session.workbench import Workbench, history_of

if TYPE_CHECKING:
    import os


__all__ = ["open_model", "open_recipe"]


def open_model(path: str | os.PathLike[str], *, resume: bool | None = None) -> Workbench:
    """Open an ONNX file on a new workbench; as the last line of a cell it shows the workbench on one screen.

    Parameters
    ----------
    path
        The file.
    resume
        A screen keeps its recipe beside the notebook. ``True`` goes on with the one that is kept for this model,
        ``False`` starts over, and where left out the screen asks. A parameter of a notebook that runs unattended.

    Raises
    ------
    ModelError
        It cannot be loaded; the message says why.
    RecipeError
        A step of the recipe that was kept cannot be done.
    """
    opened = Workbench(load_model(path))
    if resume is not None:
        from workbench.session.keeping import Keeper

        keeper = Keeper(history_of(opened))
        if not resume:
            keeper.start_over()
        elif keeper.offer is not None:
            keeper.go_on()
    return opened


def open_recipe(
    path: str | os.PathLike[str], *, model: str | os.PathLike[str] | None = None, allow_scripts: bool = False
) -> Workbench:
    """Open a recipe with its model, every step done again.

    Parameters
    ----------
    path
        The recipe.
    model
        Where its model is now, if not where the recipe says.
    allow_scripts
        Whether Python scripts of the recipe (see `Workbench.surgeon`) may run. Read them first, as any program.

    Raises
    ------
    RecipeError
        The recipe cannot be read, or the model is not the one it was made for; a script is another, or may not run.
    """
    recipe = Recipe.load(path)
    recipe = recipe.with_scripts_allowed() if allow_scripts else recipe
    source = load_model(recipe.model.file if model is None else model)
    check_model(recipe, source)
    return Workbench(source, recipe=recipe)
