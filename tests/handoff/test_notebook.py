"""An exported notebook shows its pictures without a kernel, and a widget without a picture is refused."""

from __future__ import annotations

import base64
import re

import pytest

nbformat = pytest.importorskip("nbformat", reason="notebooks come with the extra [lab]")
pytest.importorskip("nbconvert", reason="notebooks come with the extra [lab]")

from tests.kit.places import ROOT  # noqa: E402
from workbench.errors import OutputError, WorkbenchError  # noqa: E402
from workbench.handoff.notebook import WIDGET, export_html, run_notebook  # noqa: E402
from workbench.views.kit.themes import css_variables  # noqa: E402

SVG = f'<svg xmlns="http://www.w3.org/2000/svg"><style>{css_variables("auto")}</style><text>label</text></svg>'


def notebook(path, data):
    v4 = nbformat.v4
    cell = v4.new_code_cell("view", outputs=[v4.new_output("display_data", data=data)])
    nbformat.write(v4.new_notebook(cells=[cell]), path)
    return path


def test_the_picture_is_kept_and_the_widget_dropped(tmp_path):
    data = {"text/plain": "view", WIDGET: {"model_id": "1"}, "image/svg+xml": SVG}
    html = export_html(notebook(tmp_path / "a.ipynb", data), tmp_path / "a.html").read_text()
    assert "data:image/svg+xml;base64," in html
    assert "widget-view+json" not in html


def test_a_widget_without_a_picture_is_refused(tmp_path):
    data = {"text/plain": "view", WIDGET: {"model_id": "1"}}
    with pytest.raises(OutputError, match="cell 0: a widget without a picture"):
        export_html(notebook(tmp_path / "a.ipynb", data), tmp_path / "a.html")
    assert not (tmp_path / "a.html").exists()


def test_nothing_is_fetched_from_elsewhere(tmp_path):
    html = export_html(notebook(tmp_path / "a.ipynb", {"text/plain": "x"}), tmp_path / "a.html").read_text()
    # What a page loads by itself; the addresses in nbconvert's diagram code are used by diagrams alone.
    assert not re.search(r'<(script|img|link|iframe)[^>]*(src|href)="(http|//)', html)


def test_pictures_stay_light_on_a_light_page(tmp_path):
    data = {"text/plain": "view", WIDGET: {"model_id": "1"}, "image/svg+xml": SVG}
    html = export_html(notebook(tmp_path / "a.ipynb", data), tmp_path / "a.html").read_text()
    matches = re.findall(r"data:image/svg\+xml;base64,([A-Za-z0-9+/=]+)", html)
    shown = [text for text in (base64.b64decode(part).decode() for part in matches) if "label" in text]
    assert "prefers-color-scheme" in SVG
    assert shown
    assert all("prefers-color-scheme" not in text for text in shown)


def test_an_unknown_parameter_is_an_error(tmp_path):
    pytest.importorskip("papermill", reason="notebooks come with the extra [lab]")
    v4 = nbformat.v4
    cell = v4.new_code_cell("count: int = 1")
    cell.metadata["tags"] = ["parameters"]
    page = v4.new_notebook(cells=[cell])
    page.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(page, tmp_path / "a.ipynb")
    with pytest.raises(WorkbenchError, match="no parameter 'cuont'"):
        run_notebook(tmp_path / "a.ipynb", tmp_path / "b.ipynb", {"cuont": 2})


def test_a_workbench_that_was_run_is_a_picture_in_any_export(tmp_path, small_cnn, monkeypatch):
    pytest.importorskip("papermill", reason="notebooks come with the extra [lab]")
    from nbconvert import HTMLExporter

    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    v4 = nbformat.v4
    cells = [v4.new_code_cell('model: str = ""'), v4.new_code_cell("import workbench\nworkbench.open_model(model)")]
    cells[0].metadata["tags"] = ["parameters"]
    outcome = v4.new_notebook(cells=cells)
    outcome.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(outcome, tmp_path / "a.ipynb")
    ran = run_notebook(tmp_path / "a.ipynb", tmp_path / "b.ipynb", {"model": str(small_cnn)}, cwd=tmp_path)
    shown = nbformat.read(ran, as_version=4).cells[-1].outputs[0].data
    assert WIDGET not in shown  # nobody sat before it
    plain, _ = HTMLExporter().from_filename(str(ran))
    assert "widget-view+json" not in plain
    for page in (plain, export_html(ran, tmp_path / "b.html").read_text()):
        matches = re.findall(r"data:image/svg\+xml;base64,([A-Za-z0-9+/=]+)", page)
        assert any("head/fc" in base64.b64decode(one).decode() for one in matches)  # the table of the picture
    assert list(tmp_path.glob("*.yaml")) == []  # looking keeps nothing
