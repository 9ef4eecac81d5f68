"""Pages made of the notebooks: their cells, and what they showed where ``make notebooks`` has run them.

A build runs nothing: it takes the executed notebooks of ``out/notebooks``, and where there are none, or they are of
other cells, the notebooks as they are, with a line that says so.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nbformat

if TYPE_CHECKING:
    from sphinx.application import Sphinx

ROOT = Path(__file__).resolve().parents[2]
PICTURE = "image/png"
SHOWN = (PICTURE, "text/html", "text/plain")
"""What a page shows of an output: the first of these that it has."""
NOT_RUN = "```{note}\nThis build shows no results: `make notebooks` runs the notebooks, `make docs` then has them.\n```"
ESCAPES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


def setup(app: Sphinx) -> dict[str, bool]:
    """Tell Sphinx."""
    app.connect("builder-inited", lambda app: write_pages(Path(app.srcdir) / "notebooks", ROOT / "out" / "notebooks"))
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def write_pages(folder: Path, executed: Path) -> None:
    """Write a page a notebook into a folder; one that has not changed is left alone, so that it is not built anew."""
    folder.mkdir(exist_ok=True)
    for source in sorted((ROOT / "notebooks").glob("*.ipynb")):
        text = nbformat.writes(page_of(source, executed / source.name))
        page = folder / source.name
        if not page.exists() or page.read_text(encoding="utf-8") != text:
            page.write_text(text, encoding="utf-8")


def page_of(source: Path, executed: Path) -> Any:
    """Return a notebook with its results, if there are any of these very cells."""
    page = nbformat.read(source, as_version=4)
    results = nbformat.read(executed, as_version=4) if executed.exists() else None
    cells = [] if results is None else [cell for cell in results.cells if "injected-parameters" not in tags(cell)]
    if [cell.source for cell in cells] == [cell.source for cell in page.cells]:
        for cell, run in zip(page.cells, cells, strict=True):
            if cell.cell_type == "code":
                cell.outputs = [still(output) for output in run.outputs]
    else:
        page.cells.insert(1, nbformat.v4.new_markdown_cell(NOT_RUN, id="not-run"))
    return page


def tags(cell: Any) -> list[str]:
    """Return the tags of a cell."""
    return list(cell.metadata.get("tags", ()))


def still(output: Any) -> Any:
    """Return an output without what only a kernel or a terminal can show."""
    if "data" in output:
        kind = next((kind for kind in SHOWN if kind in output.data), None)
        output.data = {} if kind is None else {kind: output.data[kind]}
        output.metadata = {}
    elif "text" in output:
        output.text = ESCAPES.sub("", output.text)
    return output
