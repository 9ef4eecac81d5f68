"""Pages of the documentation that are made of the notebooks."""

from __future__ import annotations

import importlib.util

import pytest

from tests.kit.places import ROOT

nbformat = pytest.importorskip("nbformat", reason="nbformat comes with the extra [lab]")
pytest.importorskip("sphinx", reason="Sphinx comes with the extra [docs]")
WIDGET = "application/vnd.jupyter.widget-view+json"


@pytest.fixture(scope="module")
def notebooks():
    spec = importlib.util.spec_from_file_location("pages_of_notebooks", ROOT / "docs/_ext/notebooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def source(tmp_path):
    cells = [
        nbformat.v4.new_markdown_cell("# Title", id="a"),
        nbformat.v4.new_code_cell("n: int = 1", id="b", metadata={"tags": ["parameters"]}),
        nbformat.v4.new_code_cell("view", id="c"),
    ]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "source.ipynb")
    return tmp_path / "source.ipynb"


def executed(source, code="view"):
    """Return the notebook as papermill leaves it, with a live view in its last cell."""
    notebook = nbformat.read(source, as_version=4)
    notebook.cells.insert(2, nbformat.v4.new_code_cell("n = 2", metadata={"tags": ["injected-parameters"]}))
    data = {WIDGET: {"model_id": "1"}, "image/png": "cG5n", "image/svg+xml": "<svg/>", "text/plain": "<View>"}
    notebook.cells[-1].source = code
    notebook.cells[-1].outputs = [
        nbformat.v4.new_output("stream", text="\x1b[31mred\x1b[0m"),
        nbformat.v4.new_output("execute_result", data, execution_count=3),
    ]
    nbformat.write(notebook, source.with_name("executed.ipynb"))
    return source.with_name("executed.ipynb")


def test_a_page_has_the_cells_and_a_picture_in_place_of_a_view(notebooks, source):
    page = notebooks.page_of(source, executed(source))
    assert [cell.source for cell in page.cells] == ["# Title", "n: int = 1", "view"]
    stream, view = page.cells[-1].outputs
    assert stream.text == "red"
    assert view.data == {"image/png": "cG5n"}


@pytest.mark.parametrize("run", ["never", "of other cells"])
def test_a_page_without_results_says_so(notebooks, source, run):
    results = executed(source, "another_view") if run == "of other cells" else source.with_name("none.ipynb")
    page = notebooks.page_of(source, results)
    assert "make notebooks" in page.cells[1].source
    assert not any(cell.get("outputs") for cell in page.cells)


def test_every_notebook_has_a_page(notebooks, tmp_path):
    notebooks.write_pages(tmp_path / "pages", tmp_path / "nothing")
    pages = sorted((tmp_path / "pages").iterdir())
    assert [page.name for page in pages] == sorted(path.name for path in (ROOT / "notebooks").glob("*.ipynb"))
    before = [page.stat().st_mtime_ns for page in pages]
    notebooks.write_pages(tmp_path / "pages", tmp_path / "nothing")
    assert [page.stat().st_mtime_ns for page in pages] == before
