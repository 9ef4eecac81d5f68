"""What a fleet can be asked for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, model_validator

from workbench.jobs.options.base import Cli, Options
from workbench.jobs.options.kinds import Junit, SummaryFile
from workbench.jobs.options.written import Written

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["FleetOptions"]


class FleetOptions(Options):
    """Do one recipe, or one way of tuning, for many models, sites or GPUs. Needs the extra [cluster].

    Every site has a folder of its own in `out`; a page names them all, with what passed and the worst figure. A site
    that fails stops no other. Stopped at any moment, the next run goes on with the sites that are not done.
    """

    fleet: Annotated[Path, Cli(argument=True), Field(description="The sites, as YAML.")]
    out: Annotated[Path, Written(), Field(description="The folder for the sites' folders, the page and the table.")]
    workers: Annotated[
        int | None,
        Field(
            ge=1,
            description="Processes on this machine, each with a core, or more where there are fewer sites than cores; "
            "as many as there are cores where left out.",
        ),
    ] = None
    scheduler: Annotated[
        str | None,
        Cli(metavar="ADDRESS"),
        Field(description="A Dask scheduler whose workers do it instead; they see the same files."),
    ] = None
    junit: Junit = None
    summary: SummaryFile = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.workers is not None and self.scheduler is not None:
            raise ValueError("`workers` are of this machine; a `scheduler` has its own")
        return self
