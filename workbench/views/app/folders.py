"""Where the screen saves: no click takes the place of what another model or job has left."""

from __future__ import annotations

from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.errors import WorkbenchError
from workbench.recipe import Recipe

if TYPE_CHECKING:
    from workbench.session import Workbench

__all__ = ["free_folder"]

FOLDER, RECIPE = "tuned", "recipe.yaml"


def free_folder(wb: Workbench) -> Path:
    """Return ``tuned``, or ``tuned-2`` and so on where that holds something else than an earlier save of this model."""
    names = chain([FOLDER], (f"{FOLDER}-{number}" for number in count(2)))
    return next(Path(name) for name in names if _is_free(Path(name), wb))


def _is_free(folder: Path, wb: Workbench) -> bool:
    if not folder.is_dir():
        return not folder.exists()
    held = {entry.name for entry in folder.iterdir()}
    if not held:
        return True
    try:
        recipe = Recipe.load(folder / RECIPE)
    except WorkbenchError:
        return False
    own = {"tuned.onnx", "tuned.onnx.data", RECIPE, *recipe.scripts(folder)}
    return recipe.model.sha256 == wb.source.digest and held <= own
