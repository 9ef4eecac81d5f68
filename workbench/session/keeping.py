"""A recipe kept in a file beside its notebook as it grows, so that what was clicked survives a restart.

The file is named by the notebook and the model. Whoever opens it holds its lock: another kernel that opens the same is
told so and keeps nothing. In one kernel the newest session has it, for its cell was run again, and older ones say so.
"""

from __future__ import annotations

import contextlib
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from workbench.errors import RecipeError, WorkbenchError
from workbench.recipe import Recipe, check_model
from workbench.recipe.steps import CalibrateStep
from workbench.scratch import hold_name
from workbench.session.changes import Change

if TYPE_CHECKING:
    from workbench.session.history import History

__all__ = ["Keeper", "keeper_of", "kept_file", "notebook_name"]

_KEEPERS: WeakValueDictionary[Path, Keeper] = WeakValueDictionary()
ENDING = ".recipe.yaml"
SAVED = frozenset({"appended", "undone", "redone", "plan", "recipe"})


def notebook_name() -> str:
    """Return the name of the notebook whose kernel this is, without its ending; ``notebook`` where that is unknown."""
    session_name = os.environ.get("JPY_SESSION_NAME", "")
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    if shell is not None:
        session_name = shell.user_ns.get("__vsc_ipynb_file__") or session_name
    return Path(session_name).stem or "notebook"


def kept_file(history: History) -> Path:
    """Return where the recipe of a model is kept, in the folder of the notebook."""
    source = history.source
    stem = source.path.stem if source.path is not None else source.name
    plain = "".join(letter if letter.isalnum() or letter in "._-" else "_" for letter in stem)
    return Path.cwd() / f"{notebook_name()}.{plain}-{source.digest[:8]}{ENDING}"


def keeper_of(history: History) -> Keeper | None:
    """Return what keeps a session's recipe, if anything does."""
    return history.keeper if isinstance(history.keeper, Keeper) else None


class Keeper:
    """Keeps a session's recipe in a file.

    Parameters
    ----------
    history
        The session; its keeper becomes this one.
    file
        Where; see `kept_file`.

    Attributes
    ----------
    offer
        A recipe of an earlier session that lies there, until somebody decides what becomes of it; nothing is written
        before.
    problem
        Why nothing is kept; empty where it is.
    """

    def __init__(self, history: History, file: Path | None = None) -> None:
        self._history = history
        self.file = file or kept_file(history)
        self.offer: Recipe | None = None
        self.problem = ""
        self._lock = contextlib.ExitStack()
        history.keeper = self
        self._take()
        history.changes.on_change(self._changed)
        if self.offer is None:
            self.save()

    def _take(self) -> None:
        older = _KEEPERS.get(self.file)
        if older is not None:
            older.yield_to_newer()
        _KEEPERS[self.file] = self
        try:
            had = self._lock.enter_context(hold_name(self.file))
        except OSError as error:
            self.problem = f"the recipe is not kept: {error.strerror or error} ({self.file.parent})"
            return
        if not had:
            self.problem = f"another kernel keeps {self.file.name}, so that steps here are not kept"
            return
        if not self.file.exists():
            return
        try:
            recipe = Recipe.load(self.file)
            check_model(recipe, self._history.source)
        except RecipeError as error:
            self.problem = f"the recipe is not kept, for what lies there is something else: {error}"
            return
        if recipe.steps and recipe.steps != self._history.recipe.steps:
            self.offer = recipe

    @property
    def engines(self) -> Path | None:
        """Where a search keeps what it built, for one that goes on after a restart; nowhere where nothing is kept."""
        return None if self.problem else self.file.with_name(self.file.name.removesuffix(ENDING) + ".engines")

    def go_on(self) -> int:
        """Take over the recipe that lies there, in place of what was done since; return how many steps it has.

        Raises
        ------
        RecipeError
            There is none, or a step of it cannot be done.
        """
        if self.offer is None:
            raise RecipeError("no earlier recipe is kept", where=self.file.name)
        recipe = self.offer
        self._history.take_over(recipe)
        self._reopen()
        self.offer = None
        self.save()
        return len(recipe.steps)

    def start_over(self) -> None:
        """Forget what lies there; what was done since is kept from now on."""
        self.offer = None
        self.save()

    def save(self) -> None:
        """Write the recipe; without a step there is nothing to keep."""
        if self.problem or self.offer is not None:
            return
        try:
            if self._history.recipe.steps:
                self._history.recipe.save(self.file)
            else:
                self.file.unlink(missing_ok=True)
        except (WorkbenchError, OSError) as error:
            self.problem = f"the recipe is not kept: {error}"

    def yield_to_newer(self) -> None:
        """Let a newer session of this kernel have the file: its cell was run again."""
        self.close()
        self.offer = None
        self.problem = f"a newer screen of this model in this notebook keeps {self.file.name}"
        self._history.changes.tell(Change("measured", self.problem))

    def close(self) -> None:
        """Let others have the file."""
        self._lock.close()

    def _changed(self, change: Change) -> None:
        if change.kind in SAVED:
            self.save()

    def _reopen(self) -> None:
        """Open what was calibrated on again, where it is still what it was: comparing and measuring go on from it."""
        history = self._history
        step = history.recipe.newest(CalibrateStep)
        if step is None or "path" not in (source := step.samples.source):
            return
        from workbench.session.samples import opened

        try:
            samples = opened(history, source["path"], source.get("preprocessing"))
            if samples.fingerprint == step.samples.fingerprint:
                history.measured = replace(history.measured, samples=samples, batch=step.batch)
        except WorkbenchError:
            return
