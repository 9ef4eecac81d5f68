"""What making, listing and running notebooks can be asked for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, field_validator, model_validator

from workbench.jobs.options.base import Cli, Options
from workbench.jobs.options.kinds import Junit, Model, SummaryFile
from workbench.jobs.options.written import NamesFiles, Written

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["ExportOptions", "ListNotebooksOptions", "OpenOptions", "RunNotebooksOptions"]


class OpenOptions(Options):
    """Show a model on one screen, in a notebook that this writes and JupyterLab opens.

    The notebook is MODEL.ipynb in this folder, unless `notebook` says otherwise; one that is there is opened as it is.
    What is clicked is kept beside it, and offered when it is opened again.
    """

    model: Model
    notebook: Annotated[Path | None, Written(), Field(description="The notebook to write, or to open.")] = None
    program: Annotated[Literal["lab", "notebook", "voila"], Cli(name="in"), Field(description="What opens it.")] = "lab"
    write_only: Annotated[bool, Field(description="Write the notebook, and open nothing.")] = False


class ExportOptions(Options):
    """Export a notebook that was run as one HTML page that needs no kernel, no script and no network.

    Live views are shown by their pictures.
    """

    notebook: Annotated[Path, Cli(argument=True), Field(description="The notebook, with its outputs.")]
    out: Annotated[
        Path | None, Written(), Field(description="The page to write; beside the notebook where left out.")
    ] = None


class ListNotebooksOptions(Options):
    """Say which notebooks come with the package, and their parameters."""


class RunNotebooksOptions(Options):
    """Run notebooks with parameters, and export each as a page that shows its pictures without a network.

    Needs the extra [lab]. A notebook that fails keeps what it made until then, and does not stop the others.
    """

    names: Annotated[
        tuple[str, ...],
        NamesFiles(),
        Cli(argument=True),
        Field(description="Names of the list, or .ipynb files; all where left out."),
    ] = ()
    out: Annotated[
        Path, Written(), Field(description="The folder for executed notebooks and pages, one of each a notebook.")
    ] = Path("out/notebooks")
    parameters: Annotated[
        tuple[str, ...],
        Cli(name="parameter", short="-p", metavar="KEY=VALUE"),
        Field(description="For every notebook named that has it; may come several times."),
    ] = ()
    junit: Junit = None
    summary: SummaryFile = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        places: dict[Path, str] = {}
        for name in self.names:
            place = self.out / f"{Path(name).stem}.ipynb"
            if place.is_file() and Path(name).is_file() and place.samefile(name):
                raise ValueError(f"`out` would replace {name}, which `names` reads: choose another path")
            if places.setdefault(place, name) != name:
                raise ValueError(f"`names`: {places[place]} and {name} would both be written to {place}")
        return self

    @field_validator("parameters", mode="before")
    @classmethod
    def _of_mapping(cls, value: object) -> object:
        """Take a mapping as Python has it, too."""
        return tuple(f"{key}={one}" for key, one in value.items()) if isinstance(value, dict) else value

    @field_validator("parameters")
    @classmethod
    def _pairs(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            if not text.partition("=")[1] or not text.partition("=")[0]:
                raise ValueError(f"`parameters`: {text!r} is not like KEY=VALUE")
        return value
