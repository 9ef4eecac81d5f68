"""The jobs that list and run notebooks."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.display import ShownText
from workbench.errors import OptionError, WorkbenchError
from workbench.extras import require
from workbench.handoff import export_html, notebooks_home, parameters_of, run_notebook, shipped_notebooks
from workbench.handoff.ci import Case
from workbench.jobs.lines import Lines
from workbench.jobs.options import ListNotebooksOptions, RunNotebooksOptions, job
from workbench.jobs.telling import tell_ci
from workbench.names import near
from workbench.progress import progress

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

__all__ = ["NotebooksResult", "list_notebooks", "run_notebooks"]


@dataclass(frozen=True)
class NotebooksResult(ShownText):
    """The outcome of notebooks.

    Parameters
    ----------
    cases
        One a notebook.
    files
        What was written, of those that failed too.
    """

    cases: tuple[Case, ...]
    files: tuple[Path, ...]

    @property
    def exit_code(self) -> int:
        """What the command line ends with."""
        return WorkbenchError.exit_code if any(not case.passed for case in self.cases) else 0

    def text(self) -> str:
        """Return a line a notebook."""
        return "\n".join(f"{case.name}: {case.message}, {case.seconds:.0f} s" for case in self.cases)


@job(ListNotebooksOptions)
def list_notebooks(options: ListNotebooksOptions) -> Lines:  # noqa: ARG001 - there is nothing to choose
    """See `ListNotebooksOptions`."""
    return Lines(tuple(line for name, path in shipped_notebooks().items() for line in _listed(name, path)))


def _listed(name: str, path: Path) -> Iterator[str]:
    yield name
    for parameter, one in parameters_of(path).items():
        about = f"  {one['about']}" if one["about"] else ""
        yield f"  {parameter}: {one['type']} = {one['default']}{about}"


@job(RunNotebooksOptions)
def run_notebooks(options: RunNotebooksOptions) -> NotebooksResult:
    """See `RunNotebooksOptions`."""
    require("papermill", "nbconvert", "ipykernel")
    chosen = _chosen(options.names)
    texts = dict(text.split("=", 1) for text in options.parameters)
    _check_known(texts, chosen.values())
    out = options.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    cases, files = [], []
    for name, path in progress(chosen.items(), total=len(chosen), doing="running notebooks"):
        case, written = _run(name, path, out, texts)
        cases.append(case)
        files += written
    reports = tell_ci("notebooks", cases, junit_file=options.junit, summary=options.summary)
    return NotebooksResult(tuple(cases), (*files, *reports))


def _run(name: str, path: Path, out: Path, texts: Mapping[str, str]) -> tuple[Case, list[Path]]:
    parameters = parameters_of(path)
    mine: dict[str, Any] = {key: value for key, value in texts.items() if key in parameters}
    if "out" in parameters and "out" not in mine:
        mine["out"] = str(out / name)  # beside the page, and never in an installed package
    executed, page = out / f"{name}.ipynb", out / f"{name}.html"
    executed.unlink(missing_ok=True)
    page.unlink(missing_ok=True)  # the page of an earlier run says nothing of this one
    home, start, problem = notebooks_home(), time.perf_counter(), None
    at = home if path.is_relative_to(home) else path.parent
    try:
        run_notebook(path, executed, mine, cwd=at)
    except WorkbenchError as error:
        problem = error
    try:
        if executed.is_file():
            export_html(executed, page)
    except WorkbenchError as error:
        problem = problem or error
    message = "done" if problem is None else f"FAILED: {problem}"
    case = Case("notebooks", name, problem is None, message, seconds=time.perf_counter() - start)
    return case, [one for one in (executed, page) if one.is_file()]


def _chosen(names: tuple[str, ...]) -> dict[str, Path]:
    shipped = shipped_notebooks()
    if not names:
        return shipped
    chosen = {}
    for name in names:
        path = Path(name)
        if path.suffix == ".ipynb" and path.is_file():
            chosen[path.stem] = path.resolve()
        elif name in shipped:
            chosen[name] = shipped[name]
        else:
            raise OptionError(f"`names`: there is no notebook {name}; {near(name, shipped)}")
    return chosen


def _check_known(texts: Mapping[str, str], notebooks: Iterable[Path]) -> None:
    parameters = {name for path in notebooks for name in parameters_of(path)}
    for name in texts:
        if name not in parameters:
            raise OptionError(f"`parameters`: no notebook has {name}; {near(name, sorted(parameters))}")
