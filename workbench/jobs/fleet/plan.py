"""The document of a fleet: what all sites have in common, and what each has of its own."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, ValidationError, field_validator

from workbench.errors import RecipeError
from workbench.names import BackendName, Method
from workbench.recipe import Part, read_document, what_is_wrong

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

__all__ = ["FleetPlan", "Site", "load_plan"]

SCHEMA = 1
FILES = ("recipe", "model", "samples", "eval_samples", "labels")


class Site(Part):
    """What is done for one site: a recipe re-targeted to it, or its model tuned.

    Parameters
    ----------
    recipe
        What is replayed; without one `model` is tuned on `samples`.
    model, samples, eval_samples, labels, target
        As ``--set`` of a replay has them, or as the options of a tuning.
    gates
        As ``--gate``, beside those of the recipe.
    backend
        Builds and times an engine on the machine of the worker, for gates on engines; of a recipe only.
    preset, method, batch
        Of a tuning only.
    runs
        Timed runs of each model on the worker's processor.
    allow_scripts
        Whether the recipe's Python scripts may run.
    """

    recipe: str | None = None
    model: str | None = None
    samples: str | None = None
    eval_samples: str | None = None
    labels: str | None = None
    target: str | None = None
    gates: tuple[str, ...] = ()
    backend: BackendName | None = None
    preset: str | None = None
    method: Method | None = None
    batch: Annotated[int, Field(ge=1)] | None = None
    runs: Annotated[int, Field(ge=0)] = 0
    allow_scripts: bool = False

    def at(self, folder: Path) -> Site:
        """Return it with its paths taken from a folder."""
        moved = {name: str((folder / path).resolve()) for name in FILES if (path := getattr(self, name)) is not None}
        return self.model_copy(update=moved)

    def problem(self) -> str | None:
        """Say what is missing or does not fit; ``None`` where nothing is."""
        if self.recipe is None and (self.model is None or self.samples is None):
            return "give a recipe, or a model with samples to tune it on"
        if self.recipe is None and self.backend is not None:
            return "backend goes with a recipe"
        of_tuning = [name for name in ("preset", "method", "batch") if getattr(self, name) is not None]
        if self.recipe is not None and of_tuning:
            return f"{of_tuning[0]} is the recipe's own"
        gone = [path for name in FILES if (path := getattr(self, name)) is not None and not Path(path).exists()]
        return f"there is no {gone[0]}" if gone else None

    def size(self) -> int:
        """Return the bytes of what it reads, in folders too: what stands for the time that it takes."""
        files = [Path(path) for name in FILES if (path := getattr(self, name)) is not None]
        each = [one for path in files for one in (path.iterdir() if path.is_dir() else [path])]
        return sum(one.stat().st_size for one in each if one.is_file())

    def key(self) -> str:
        """Return a digest of all that its result follows from: files by size and time, folders by those in them."""
        content = self.model_dump(mode="json")
        stats = {name: _stat(Path(path)) for name in FILES if (path := getattr(self, name)) is not None}
        return hashlib.sha256(json.dumps([content, stats], sort_keys=True).encode()).hexdigest()


class FleetPlan(Part):
    """The document.

    Parameters
    ----------
    fleet
        Its schema version.
    defaults
        What sites have that do not say otherwise.
    sites
        Name to what it has of its own; the name is that of its folder, too.
    """

    fleet: Annotated[int, Field(ge=SCHEMA, le=SCHEMA)]
    defaults: Site = Site()
    sites: dict[str, Site]

    @field_validator("sites")
    @classmethod
    def _names(cls, sites: dict[str, Site]) -> dict[str, Site]:
        if not sites:
            raise ValueError("a fleet has at least one site")
        for name in sites:
            # A name is a folder: it must not lead out of the one that results go to, on any system.
            if not re.fullmatch(r"[\w][\w .@+-]*", name) or name.endswith((".", " ")):
                raise ValueError(f"{name!r} is no name for a site: take letters, digits, spaces and .@+-_")
        if len({name.casefold() for name in sites}) < len(sites):
            raise ValueError("two sites differ in capital letters alone, which some file systems take for one")
        return sites

    def resolved(self, folder: Path) -> dict[str, Site]:
        """Return every site with the defaults and with absolute paths."""
        common = self.defaults.model_dump(exclude_unset=True)
        paths = {}
        for name, site in self.sites.items():
            own = site.model_dump(exclude_unset=True)
            gates = (*common.get("gates", ()), *own.get("gates", ()))
            paths[name] = Site(**{**common, **own, "gates": tuple(dict.fromkeys(gates))}).at(folder)
        return paths


def load_plan(path: str | os.PathLike[str]) -> Mapping[str, Site]:
    """Read a fleet; its paths are taken from its folder.

    Raises
    ------
    RecipeError
        It cannot be read, or is of another form.
    """
    path = Path(path)
    _, content = read_document(path, SCHEMA, key="fleet")
    try:
        plan = FleetPlan.model_validate(content)
    except ValidationError as error:
        raise RecipeError(what_is_wrong(error, FleetPlan), where=path, fix="Mend this line.") from error
    return plan.resolved(path.resolve().parent)


def _stat(path: Path) -> Any:
    try:
        if path.is_dir():
            return sorted([one.name, *_stat(one)] for one in path.iterdir() if one.is_file())
        status = path.stat()
    except OSError:
        return []
    return [status.st_size, status.st_mtime_ns]
