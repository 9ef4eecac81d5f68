"""The jobs about notebooks: show a model on one screen in one, and export what one shows as a page."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from workbench.display import Card, Shown
from workbench.errors import BackendError
from workbench.files import write_text
from workbench.graph import load_model
from workbench.handoff import export_html, has_outputs
from workbench.jobs.options import ExportOptions, OpenOptions, job

__all__ = ["WrittenNotebook", "export_notebook", "open_screen"]

PROGRAMS = {"lab": "jupyterlab", "notebook": "notebook", "voila": "voila"}
NEEDS = {"lab": "jupyterlab", "notebook": "'notebook>=7'", "voila": "voila"}


@dataclass(frozen=True)
class WrittenNotebook(Shown):
    """A file that was written, or was there.

    Parameters
    ----------
    sentence
        What came of it, a sentence.
    files
        What was written.
    remarks
        What one should know, a sentence each.
    """

    sentence: str
    files: tuple[Path, ...] = ()
    remarks: tuple[str, ...] = ()

    def text(self) -> str:
        """Return the result."""
        return self.sentence

    def _card(self) -> Card:
        return Card(self.sentence, notes=(*self.remarks, *(f"wrote {path}" for path in self.files)))


@job(OpenOptions)
def open_screen(options: OpenOptions) -> WrittenNotebook:
    """See `OpenOptions`."""
    load_model(options.model)  # what is no model is said here, and not in a cell
    notebook = options.notebook or Path(f"{options.model.stem}.ipynb")
    files = () if notebook.exists() else (_write(notebook, options.model),)
    if options.write_only:
        return WrittenNotebook(f"open it: jupyter lab {notebook}", files)
    if importlib.util.find_spec(PROGRAMS[options.program]) is None:
        raise BackendError(
            f"{PROGRAMS[options.program]} is not installed here",
            where=notebook,
            fix=f"Install it: pip install {NEEDS[options.program]}; or take --write-only and open the notebook.",
        )
    # The program is one of ours, and what it opens is one argument.
    subprocess.run([sys.executable, "-m", PROGRAMS[options.program], str(notebook)], check=False)  # noqa: S603
    return WrittenNotebook(f"{PROGRAMS[options.program]} has ended; {notebook} stays", files)


@job(ExportOptions)
def export_notebook(options: ExportOptions) -> WrittenNotebook:
    """See `ExportOptions`."""
    out = options.out or options.notebook.with_suffix(".html")
    export_html(options.notebook, out)
    empty = () if has_outputs(options.notebook) else ("it has no outputs: run the notebook, save it, export it again",)
    return WrittenNotebook(f"{options.notebook} as a page", (out,), empty)


def _write(notebook: Path, model: Path) -> Path:
    """Write a notebook that opens a model, by its way from there."""
    import nbformat

    way = Path(os.path.relpath(model.resolve(), notebook.resolve().parent)).as_posix()
    help_line = "# Shift+Enter runs this cell, and shows the model on one screen."
    cell = f"{help_line}\nimport workbench\n\nworkbench.open_model({way!r})"
    page = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(cell, id="open")],
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
    )
    return write_text(notebook, nbformat.writes(page))
