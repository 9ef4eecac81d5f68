"""Each notebook is a reviewed .py and an .ipynb of the same cells, without outputs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

jupytext = pytest.importorskip("jupytext", reason="jupytext comes with the extra [lab]")

FOLDER = Path(__file__).resolve().parents[2] / "notebooks"
SOURCES = sorted(path for path in FOLDER.glob("[0-9]*.py"))


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_the_two_forms_say_the_same(source):
    text, notebook = jupytext.read(source), jupytext.read(source.with_suffix(".ipynb"))
    assert [(c.cell_type, c.source) for c in text.cells] == [(c.cell_type, c.source) for c in notebook.cells]
    assert [c.metadata.get("tags") for c in text.cells] == [c.metadata.get("tags") for c in notebook.cells]


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_the_notebook_holds_no_outputs(source):
    notebook = jupytext.read(source.with_suffix(".ipynb"))
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in code)
    assert "widgets" not in notebook.metadata


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_the_parameters_are_tagged_and_typed(source):
    cells = [cell for cell in jupytext.read(source).cells if "parameters" in cell.metadata.get("tags", ())]
    assert len(cells) == 1
    lines = [line for line in cells[0].source.splitlines() if line and not line.startswith((" ", "#"))]
    assert lines
    assert all(": " in line.split("=")[0] for line in lines)


def test_no_notebook_is_without_its_source():
    assert {path.stem for path in FOLDER.glob("*.ipynb")} == {path.stem for path in SOURCES}


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_a_notebook_needs_no_more_than_the_public_face(source):
    imported = re.findall(r"^\s*(?:from|import) (workbench[\w.]*)", source.read_text(), re.MULTILINE)
    assert set(imported) == {"workbench"}


@pytest.mark.parametrize("at", range(len(SOURCES)), ids=[path.stem for path in SOURCES])
def test_a_notebook_ends_by_naming_the_next(at):
    last = jupytext.read(SOURCES[at]).cells[-1]
    following = SOURCES[(at + 1) % len(SOURCES)].stem
    assert last.cell_type == "markdown"
    assert f"Next: [{following}]({following}.ipynb)" in last.source


def test_the_quickstart_shows_the_screen_at_once_and_looks_for_no_path():
    head, parameters, screen = jupytext.read(SOURCES[0]).cells[:3]
    assert screen.source.splitlines()[-1] == "wb"
    assert sum(len(cell.source.splitlines()) for cell in (head, parameters, screen)) < 25
    code = "\n".join(cell.source for cell in jupytext.read(SOURCES[0]).cells if cell.cell_type == "code")
    assert "Path" not in code
    assert "subprocess" not in code
