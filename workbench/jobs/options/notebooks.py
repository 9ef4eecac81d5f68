"""What listing and running notebooks can be asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator

from workbench.jobs.options.base import Cli, Options
from workbench.jobs.options.kinds import Junit, SummaryFile

__all__ = ["ListNotebooksOptions", "RunNotebooksOptions"]


class ListNotebooksOptions(Options):
    """Say which notebooks come with the package, and their parameters."""


class RunNotebooksOptions(Options):
    """Run notebooks with parameters, and export each as a page that shows its pictures without a network.

    Needs the extra [lab]. A notebook that fails keeps what it made until then, and does not stop the others.
    """

    names: Annotated[
        tuple[str, ...],
        Cli(argument=True),
        Field(description="Names of the list, or .ipynb files; all where left out."),
    ] = ()
    out: Annotated[Path, Field(description="The folder for executed notebooks and pages, one of each a notebook.")] = (
        Path("out/notebooks")
    )
    parameters: Annotated[
        tuple[str, ...],
        Cli(name="parameter", short="-p", metavar="KEY=VALUE"),
        Field(description="For every notebook named that has it; may come several times."),
    ] = ()
    junit: Junit = None
    summary: SummaryFile = None

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
