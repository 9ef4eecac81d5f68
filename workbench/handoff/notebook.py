"""Run a notebook with parameters and export what it shows as one HTML page that needs no network."""

from __future__ import annotations

import ast
import base64
import io
import json
import re
import tokenize
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import OutputError, ReportError, WorkbenchError
from workbench.files import write_text
from workbench.names import near

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping, Sequence

__all__ = [
    "export_html",
    "has_outputs",
    "notebooks_home",
    "parameters_of",
    "run_notebook",
    "shipped_notebooks",
    "typed",
]

WIDGET = "application/vnd.jupyter.widget-view+json"
DARK_RULES = re.compile(r"@media \(prefers-color-scheme: dark\)\s*\{(?:[^{}]*\{[^{}]*\})*[^{}]*\}")
MAGIC = re.compile(r"^[ \t]*[%!].*$", re.MULTILINE)
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
        A parameter that the notebook does not have, or not of this type; a cell that fails, which the message names:
        what ran before it is kept in `out`.
    """
    import papermill
    from papermill.exceptions import PapermillExecutionError

    values = typed(notebook, parameters or {})
    try:
        papermill.execute_notebook(
            str(notebook),
            str(out),
            values,
            progress_bar=False,
            cwd=None if cwd is None else str(cwd),
            # Of a widget without its kernel an export would show a blank: without its state it shows the picture.
            store_widget_state=False,
        )
    except PapermillExecutionError as error:
        code = next((line for line in str(error.source).splitlines() if line.strip()), "")
        raise WorkbenchError(
            f"cell {error.cell_index} ({code.strip()}) fails: {error.ename}: {error.evalue}",
            where=notebook,
            fix=f"What came before it is in {out}.",
        ) from error
    return Path(out)


def notebooks_home() -> Path:
    """Return the folder that holds ``notebooks`` and what they run on: in the installed package, or in a checkout.

    Raises
    ------
    WorkbenchError
        There are none.
    """
    package = Path(__file__).resolve().parents[1]
    for home in (package / "shipped", package.parent):
        if (home / "notebooks").is_dir() and (home / "sample_models").is_dir():
            return home
    raise WorkbenchError("the notebooks are not here", where=package, fix="Install the package from its wheel.")


def shipped_notebooks() -> dict[str, Path]:
    """Return the notebooks that come with the package, name to file, in the order in which they are to be read."""
    return {path.stem: path for path in sorted((notebooks_home() / "notebooks").glob("[0-9]*.ipynb"))}


def parameters_of(notebook: str | os.PathLike[str]) -> dict[str, dict[str, str]]:
    """Return the parameters of a notebook: name to ``type``, ``default`` (as code) and ``about``.

    Raises
    ------
    ReportError
        It cannot be read.
    WorkbenchError
        The cell of its parameters is no Python.
    """
    # papermill's own reading drops a parameter with a second "=" on its line, such as a gate's.
    tagged = (source for source, tags in _cells(notebook) if "parameters" in tags)
    source = MAGIC.sub("", next(tagged, ""))
    try:
        statements = ast.parse(source).body
        tokens = list(tokenize.generate_tokens(io.StringIO(source).readline))
    except (SyntaxError, tokenize.TokenError) as error:
        raise WorkbenchError(f"its parameters are no Python: {error}", where=notebook) from error
    about = {token.start[0]: token.string.lstrip("# ") for token in tokens if token.type == tokenize.COMMENT}
    parameters = {}
    for one in statements:
        target = (
            one.target if isinstance(one, ast.AnnAssign) else one.targets[0] if isinstance(one, ast.Assign) else None
        )
        if isinstance(target, ast.Name) and (value := getattr(one, "value", None)) is not None:
            parameters[target.id] = {
                "type": ast.unparse(one.annotation) if isinstance(one, ast.AnnAssign) else "None",
                "default": str(ast.get_source_segment(source, value)),
                "about": about.get(one.end_lineno or one.lineno, ""),
            }
    return parameters


def typed(notebook: str | os.PathLike[str], texts: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters as a notebook wants them: text becomes what the type in its cell says.

    Raises
    ------
    WorkbenchError
        It has no such parameter (papermill itself would only log it), or a value is not of its type.
    """
    parameters, values = parameters_of(notebook), {}
    for name, value in texts.items():
        if name not in parameters:
            raise WorkbenchError(
                f"the notebook has no parameter {name!r}; {near(name, parameters)}",
                where=notebook,
                fix=f"It has {', '.join(sorted(parameters))}.",
            )
        kind = parameters[name]["type"]
        try:
            values[name] = _of_kind(kind, value) if isinstance(value, str) else value
        except ValueError as error:
            raise WorkbenchError(f"{name} is {kind}, not {value!r}", where=notebook) from error
    return values


def _truth(text: str) -> bool:
    if text.lower() not in ("true", "false", "yes", "no", "1", "0"):
        raise ValueError(text)
    return text.lower() in ("true", "yes", "1")


def _of_kind(kind: str, text: str) -> Any:
    if (several := re.fullmatch(r"list\[(\w+)\]", kind)) is not None:
        parts = text.strip().removeprefix("[").removesuffix("]").split(",")
        return [_of_kind(several[1], part.strip()) for part in parts if part.strip()]
    return KINDS.get(kind, str)(text)


KINDS: Mapping[str, Callable[[str], Any]] = {"int": int, "float": float, "bool": _truth}


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
    ReportError
        The file is no notebook.
    """
    from nbconvert import HTMLExporter

    content = _read(notebook)
    content.metadata.pop("widgets", None)
    for position, cell in enumerate(content.cells):
        for output in cell.get("outputs", []):
            _still(output, f"{notebook}, cell {position}")
    exporter = HTMLExporter(template_name="lab", mathjax_url="", require_js_url="", jquery_url="", mermaid_js_url="")
    exporter.exclude_input_prompt = exporter.exclude_output_prompt = True
    body, _ = exporter.from_notebook_node(content)
    return write_text(out, body)


def has_outputs(notebook: str | os.PathLike[str]) -> bool:
    """Say whether any cell of a notebook shows something."""
    return any(cell.get("outputs") for cell in _read(notebook).cells)


def _cells(notebook: str | os.PathLike[str]) -> list[tuple[str, Sequence[str]]]:
    """Return source and tags of each cell, without nbformat: that takes a second to load, and checks all else, too."""
    try:
        content = json.loads(Path(notebook).read_text(encoding="utf-8"))
        return [("".join(cell["source"]), cell["metadata"].get("tags", ())) for cell in content["cells"]]
    except (OSError, ValueError, LookupError, TypeError, AttributeError):  # an older form, or nbformat says what it is
        return [(cell.source, cell.metadata.get("tags", ())) for cell in _read(notebook).cells]


def _read(notebook: str | os.PathLike[str]) -> Any:
    import nbformat

    try:
        return nbformat.read(str(notebook), as_version=4)
    except FileNotFoundError as error:
        raise ReportError("no such file", where=notebook, fix="Check the path.") from error
    except Exception as error:  # nbformat and jsonschema raise about ten kinds
        raise ReportError("not a readable notebook", where=notebook, fix="Give an .ipynb.") from error


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
