"""An exported notebook shows its pictures without a kernel, and a widget without a picture is refused."""

from __future__ import annotations

import base64
import re
from contextlib import nullcontext as nothing

import pytest

nbformat = pytest.importorskip("nbformat", reason="notebooks come with the extra [lab]")
pytest.importorskip("nbconvert", reason="notebooks come with the extra [lab]")

from tests.kit.places import ROOT  # noqa: E402
from workbench.errors import OutputError, ReportError, WorkbenchError  # noqa: E402
from workbench.handoff import notebook as module  # noqa: E402
from workbench.handoff.notebook import (  # noqa: E402
    WIDGET,
    _still,
    export_html,
    has_outputs,
    notebooks_home,
    parameters_of,
    run_notebook,
    typed,
)
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


def test_a_page_has_no_counts_of_cells_and_no_state_of_widgets(tmp_path):
    v4 = nbformat.v4
    cells = [v4.new_code_cell(f"cell {n}", execution_count=n, outputs=[]) for n in (77, 78)]
    page = v4.new_notebook(cells=cells, metadata={"widgets": {"application/x": {"state": "of a widget"}}})
    nbformat.write(page, tmp_path / "a.ipynb")
    html = export_html(tmp_path / "a.ipynb", tmp_path / "a.html").read_text()
    assert "cell" in html
    assert "[77]" not in html
    assert "of a widget" not in html


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


# Parameters


def with_parameters(path, source):
    cell = nbformat.v4.new_code_cell(source, metadata={"tags": ["parameters"]})
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("0"), cell]), path)
    return path


def test_parameters_are_what_the_tagged_cell_assigns(tmp_path):
    source = "!pip list\nimport os\nx: int = 1  # first\ny = [\n  1,\n]  # last\nv = w = 7\na.b = 2\nz: str\nprint()"
    assert parameters_of(with_parameters(tmp_path / "a.ipynb", source)) == {
        "x": {"type": "int", "default": "1", "about": "first"},
        "y": {"type": "None", "default": "[\n  1,\n]", "about": "last"},
        "v": {"type": "None", "default": "7", "about": ""},
    }
    with pytest.raises(WorkbenchError, match=r"a\.ipynb: its parameters are no Python"):
        parameters_of(with_parameters(tmp_path / "a.ipynb", "x = ("))
    with pytest.raises(ReportError, match="no such file"):
        parameters_of(tmp_path / "gone.ipynb")
    (tmp_path / "a.ipynb").write_text("{}")
    with pytest.raises(ReportError, match=r"not a readable notebook\. Give an \.ipynb"):
        has_outputs(tmp_path / "a.ipynb")


@pytest.mark.parametrize(
    "content", ["no notebook", "{}", "[]", '{"cells": [1]}', '{"cells": [{"source": "", "metadata": []}]}']
)
def test_what_is_no_notebook_has_no_parameters_and_that_is_said(tmp_path, content):
    (tmp_path / "a.ipynb").write_text(content)
    with pytest.raises(ReportError, match="not a readable notebook"):
        parameters_of(tmp_path / "a.ipynb")


def test_a_notebook_without_a_cell_for_parameters_has_none(tmp_path):
    assert parameters_of(notebook(tmp_path / "a.ipynb", {"text/plain": "1"})) == {}


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        *(("bool", word, True) for word in ("true", "YES", "1")),
        *(("bool", word, False) for word in ("false", "No", "0")),
        ("int", "7", 7),
        ("float", "1e-3", 0.001),
        ("str", "7", "7"),
        ("None", "7", "7"),
        ("list[int]", "[1, 2,]", [1, 2]),
        ("list[str]", "a, b", ["a", "b"]),
        ("list[bool]", "", []),
        ("int", 8, 8),
    ],
)
def test_a_text_becomes_what_the_parameter_is(monkeypatch, kind, text, value):
    monkeypatch.setattr(module, "parameters_of", lambda _: {"x": {"type": kind}})
    (read,) = typed("a.ipynb", {"x": text}).values()
    assert (read, type(read)) == (value, type(value))


def test_a_text_of_another_type_and_a_parameter_that_there_is_not_are_named(monkeypatch):
    monkeypatch.setattr(module, "parameters_of", lambda _: {"flag": {"type": "bool"}, "count": {"type": "int"}})
    for name, text, kind in (("flag", "maybe", "bool"), ("count", "1.5", "int")):
        with pytest.raises(WorkbenchError, match=f"a.ipynb: {name} is {kind}, not '{text}'"):
            typed("a.ipynb", {name: text})
    with pytest.raises(WorkbenchError, match=r"no parameter 'flags'; did you mean flag\?? It has count, flag"):
        typed("a.ipynb", {"flags": "yes"})


def test_a_cell_that_fails_is_named_by_its_first_line(tmp_path, monkeypatch):
    import papermill
    from papermill.exceptions import PapermillExecutionError

    asked, fails = [], []

    def execute(*given, **options):
        asked.append((given, options["cwd"], options["store_widget_state"], options["progress_bar"]))
        for one in fails:
            raise one

    monkeypatch.setattr(papermill, "execute_notebook", execute)
    monkeypatch.setattr(module, "typed", lambda _, values: {"typed": values})
    assert run_notebook("a.ipynb", tmp_path / "out.ipynb", {"x": "1"}, cwd=tmp_path) == tmp_path / "out.ipynb"
    run_notebook("a.ipynb", tmp_path / "out.ipynb")
    assert asked == [
        (("a.ipynb", str(tmp_path / "out.ipynb"), {"typed": {"x": "1"}}), str(tmp_path), False, False),
        (("a.ipynb", str(tmp_path / "out.ipynb"), {"typed": {}}), None, False, False),
    ]
    fails.append(PapermillExecutionError(3, 4, "\n  wb.tune()\nmore", "ValueError", "no", []))
    with pytest.raises(WorkbenchError, match=r"a\.ipynb: cell 3 \(wb\.tune\(\)\) fails: ValueError: no.*is in .*out"):
        run_notebook("a.ipynb", tmp_path / "out.ipynb")


def test_notebooks_are_in_the_package_or_beside_it(tmp_path, monkeypatch):
    assert notebooks_home() == ROOT
    package = tmp_path / "package"
    monkeypatch.setattr(module, "__file__", str(package / "handoff/notebook.py"))
    with pytest.raises(WorkbenchError, match="the notebooks are not here"):
        notebooks_home()
    for home in (tmp_path, package / "shipped"):
        (home / "notebooks").mkdir(parents=True)
        with pytest.raises(WorkbenchError, match="the notebooks are not here") if home == tmp_path else nothing():
            notebooks_home()
        (home / "sample_models").mkdir()
        assert notebooks_home() == home


def test_a_notebook_shows_something_where_a_cell_does(tmp_path):
    assert has_outputs(notebook(tmp_path / "a.ipynb", {"text/plain": "1"}))
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1")]), tmp_path / "b.ipynb")
    assert not has_outputs(tmp_path / "b.ipynb")


def test_a_widget_keeps_any_picture_that_stands_beside_it():
    for kind in ("image/png", "text/html"):
        output = {"data": {WIDGET: {}, kind: "shown"}}
        _still(output, "here")
        assert output == {"data": {kind: "shown"}}
    both = {"data": {WIDGET: {}, "image/svg+xml": "<svg/>", "text/html": "old"}}
    _still(both, "here")
    shown = base64.b64encode(b"<svg/>").decode()
    assert both["data"]["text/html"] == f'<img style="max-width: 100%" src="data:image/svg+xml;base64,{shown}">'
    plain = {"data": {"text/plain": "1"}}
    _still(plain, "here")
    _still({"name": "stdout"}, "here")
    assert plain == {"data": {"text/plain": "1"}}
