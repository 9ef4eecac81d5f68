"""Run a notebook with parameters and export what it shows as one HTML page that needs no network."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import OutputError, WorkbenchError
from workbench.files import write_text

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

__all__ = ["export_html", "run_notebook"]

WIDGET = "application/vnd.jupyter.widget-view+json"
DARK_RULES = re.compile(r"@media \(prefers-color-scheme: dark\)\s*\{(?:[^{}]*\{[^{}]*\})*[^{}]*\}")
PICTURES = ("image/svg+xml", "image/png", "text/html")


def run_notebook(
    notebook: str | os.PathLike[str],
    out: str | os.PathLike[str],
    parameters: Mapping[str, Any] | None = None,
    *,
    cwd: str | os.PathLike[str] | None = None,
) -> Path:
    """Execute a notebook with papermill.

    Parameters
    ----------
    notebook
        An ``.ipynb`` with a cell tagged ``parameters``.
    out
        Where the executed notebook goes.
    parameters
        Values for names in that cell.
    cwd
        The folder its relative paths start from.

    Returns
    -------
    Path
        The executed notebook.

    Raises
    ------
    WorkbenchError
        A parameter that the notebook does not have (papermill itself would only log it), or a cell that fails.
    """
    import papermill
    from papermill.exceptions import PapermillExecutionError

    known = set(papermill.inspect_notebook(str(notebook)))
    unknown = sorted(set(parameters or {}) - known)
    if unknown:
        raise WorkbenchError(
            f"the notebook has no parameter {unknown[0]!r}", where=notebook, fix=f"It has {', '.join(sorted(known))}."
        )
    try:
        papermill.execute_notebook(
            str(notebook), str(out), dict(parameters or {}), progress_bar=False, cwd=None if cwd is None else str(cwd)
        )
    except PapermillExecutionError as error:
        raise WorkbenchError(
            f"cell {error.exec_count} fails: {error.ename}: {error.evalue}", where=notebook, fix=f"See {out}."
        ) from error
    return Path(out)


def export_html(notebook: str | os.PathLike[str], out: str | os.PathLike[str]) -> Path:
    """Export an executed notebook as a page whose pictures show without a kernel, a script or a network.

    A live widget is nothing without its kernel: it is dropped and the picture beside it kept.

    Parameters
    ----------
    notebook
        The executed ``.ipynb``.
    out
        The ``.html`` to write.

    Raises
    ------
    OutputError
        A cell shows a widget and has no picture of it.
    """
    import nbformat
    from nbconvert import HTMLExporter

    content = nbformat.read(str(notebook), as_version=4)
    content.metadata.pop("widgets", None)
    for position, cell in enumerate(content.cells):
        for output in cell.get("outputs", []):
            _still(output, f"{notebook}, cell {position}")
    exporter = HTMLExporter(template_name="lab", mathjax_url="", require_js_url="", jquery_url="", mermaid_js_url="")
    exporter.exclude_input_prompt = exporter.exclude_output_prompt = True
    body, _ = exporter.from_notebook_node(content)
    return write_text(out, body)


def _still(output: Any, where: str) -> None:
    data = output.get("data", {})
    if isinstance(data.get("image/svg+xml"), str):
        # The page is light whatever its reader prefers, and so must its pictures be.
        data["image/svg+xml"] = DARK_RULES.sub("", data["image/svg+xml"])
    if WIDGET not in data:
        return
    if not any(kind in data for kind in PICTURES):
        raise OutputError(
            "a widget without a picture would be a blank in the page",
            where=where,
            fix="Show a view that carries SVG and PNG, or show its .svg() instead.",
        )
    del data[WIDGET]
    svg = data.get("image/svg+xml")
    if isinstance(svg, str):
        # As an image an SVG cannot run anything and its ids cannot meet those of another picture.
        encoded = base64.b64encode(svg.encode()).decode()
        data["text/html"] = f'<img style="max-width: 100%" src="data:image/svg+xml;base64,{encoded}">'
