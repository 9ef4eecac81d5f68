"""What a dossier can be asked for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, model_validator

from workbench.jobs.options.base import Cli, Options
from workbench.jobs.options.kinds import AllowScripts, Gates, Numbers, Out
from workbench.names import BackendName

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["DossierOptions"]


class DossierOptions(Options):
    """Measure a recipe's result on this machine, and write the page that a customer files: report.html, and a PDF.

    Every number is of this run, with its conditions. What was not measured is said to be so, with the reason.
    """

    recipe: Annotated[Path, Cli(argument=True), Field(description="The recipe.")]
    out: Out
    model: Annotated[Path | None, Field(description="Where its model is, if not where the recipe says.")] = None
    title: Annotated[str | None, Field(description="Of the page; the model's name where left out.")] = None
    backend: Annotated[BackendName, Field(description="What builds and times the engines.")] = "onnxruntime"
    batches: Annotated[
        tuple[int, ...],
        Numbers,
        Cli(metavar="A,B"),
        Field(min_length=1, description="Samples an inference, for throughput and memory, where the batch is dynamic."),
    ] = (1, 2, 4, 8)
    runs: Annotated[int, Field(ge=10, description="Timed inferences of each engine.")] = 100
    gates: Gates = ()
    field: Annotated[
        Path | None, Field(description="Samples from where the model is used: how far they are from the calibration's.")
    ] = None
    pdf: Annotated[bool, Field(description="Print the page to report.pdf with a Chromium browser.")] = False
    allow_scripts: AllowScripts = False

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if min(self.batches) < 1:
            raise ValueError("`batches` are whole numbers from 1")
        return self
