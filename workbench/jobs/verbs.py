"""The verbs of the command line, in the order of its help."""

from __future__ import annotations

from dataclasses import dataclass
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from workbench.jobs.options import Options
    from workbench.recipe import GateResult

__all__ = ["EXIT_GATE", "EXIT_REFUSED", "GROUPS", "VERBS", "Gated", "Verb"]

EXIT_GATE = 12
"""What the command line ends with where a gate failed."""
EXIT_REFUSED = 13
"""What it ends with where a compiler does not take a model."""


class Gated:
    """A result whose gates decide what the command line ends with."""

    verdicts: tuple[GateResult, ...]

    @property
    def passed(self) -> bool:
        """Whether every gate was met."""
        return all(verdict.passed for verdict in self.verdicts)

    @property
    def exit_code(self) -> int:
        """What the command line ends with."""
        return 0 if self.passed else EXIT_GATE


@dataclass(frozen=True)
class Verb:
    """A job that the command line offers.

    What the job returns has ``text()``; it may have ``files``, which were written, ``remarks``, a sentence each, and
    an ``exit_code``.

    Parameters
    ----------
    name
        What is typed; of two words where it is one of several of a kind, as ``recipe show``.
    place
        Module and function of the job, in this package: ``tuning:tune``.
    takes
        Its options in `workbench.jobs.options`, which load faster than the job; where left out, they stand beside it.
    json
        Whether what it returns has ``to_json()``, for ``--json``.
    """

    name: str
    place: str
    takes: str | None = None
    json: bool = False

    @property
    def job(self) -> Callable[..., Any]:
        """The function; loads its module."""
        function: Callable[..., Any] = resolve_name(f"{__package__}.{self.place}")
        return function

    @property
    def options(self) -> type[Options]:
        """What it can be asked for."""
        from workbench.jobs import options

        return options.options_of(self.job) if self.takes is None else getattr(options, self.takes)


VERBS = (
    Verb("open", "showing:open_screen", "OpenOptions"),
    Verb("tune", "tuning:tune", "TuneOptions"),
    Verb("search", "tuning:search", "SearchOptions"),
    Verb("replay", "replaying:replay", "ReplayOptions"),
    Verb("recipe show", "recipes:show_recipe", "ShowRecipeOptions"),
    Verb("recipe diff", "recipes:diff_recipes", "DiffRecipesOptions"),
    Verb("recipe verify", "recipes:verify_recipe", "VerifyRecipeOptions"),
    Verb("recipe schema", "recipes:schema", "SchemaOptions"),
    Verb("dossier", "dossier:write_dossier", "DossierOptions"),
    Verb("fleet", "fleet.job:fleet", "FleetOptions"),
    Verb("notebooks list", "notebooks:list_notebooks", "ListNotebooksOptions"),
    Verb("notebooks run", "notebooks:run_notebooks", "RunNotebooksOptions"),
    Verb("migrate", "migration:migrate", "MigrateOptions"),
    Verb("inspect", "reading:inspect", "InspectOptions", json=True),
    Verb("check", "checking:check", "CheckOptions", json=True),
    Verb("engine", "reading:read_engine", "EngineOptions", json=True),
    Verb("build", "engines:build_engine", "BuildEngineOptions"),
    Verb("run", "engines:run_engine", "RunEngineOptions"),
    Verb("bench", "bench:bench", "BenchOptions"),
    Verb("serve", "serving:serve", "ServeOptions"),
    Verb("export", "showing:export_notebook", "ExportOptions"),
    Verb("handoff triton", "handing_over:handoff_triton", "TritonOptions"),
    Verb("drift", "drifting:drift", "DriftOptions"),
)
"""A new verb is a module with its options and its job, and a line here."""

GROUPS = {
    "recipe": "Read recipes: show one, compare two, print the form they have. Runs nothing.",
    "notebooks": "List and run the notebooks that come with the package, with parameters, as pages for others.",
    "handoff": "Hand a tuned model over to what serves it.",
}
"""What verbs of two words have in common, by the first."""
