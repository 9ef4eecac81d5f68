"""What a cell shows of anything that a person gets from the workbench is at most a screen."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from tests.kit.places import RECORDED
from workbench.engine.compare import compare_engines
from workbench.engine.fusion import fusion_map
from workbench.engine.load import load_report
from workbench.session import open_model

LINES, CHARACTERS = 25, 2500


@pytest.fixture(scope="module")
def shown(small_cnn, small_data):
    wb = open_model(small_cnn)
    wb.prepare()
    statistics = wb.calibrate(small_data)
    for node in list(wb.model.nodes) * 3:
        wb.plan.set(f"name:{node}", "int8")
    one, other = (
        load_report(RECORDED / f"resnet50.{name}.graph.json", profile=RECORDED / f"resnet50.{name}.profile.json")
        for name in ("fp16", "qdq")
    )
    return {
        "workbench": wb,
        "ranges": wb.ranges,
        "statistics": statistics,
        "plan": wb.plan,
        "rules": wb.plan.rules,
        "resolution": wb.plan.resolve(),
        "recipe": wb.recipe,
        "report": other,
        "fusion": fusion_map(other),
        "comparison": compare_engines([one, other]),
    }


@pytest.mark.parametrize(
    ("what", "tells"),
    [
        ("workbench", "small_cnn"),
        ("ranges", "amax"),
        ("statistics", "tensors"),
        ("plan", "int8"),
        ("rules", "int8"),
        ("resolution", "int8"),
        ("recipe", "set_precision"),
        ("report", "57 layers"),
        ("fusion", "source nodes"),
        ("comparison", "saved ms"),
    ],
)
def test_a_cell_shows_a_screen_with_what_matters(shown, what, tells):
    text, html = repr(shown[what]), shown[what]._repr_html_()
    assert tells in text
    assert tells in html
    assert len(text.splitlines()) <= LINES
    assert len(text) <= CHARACTERS
    assert html.count("<tr>") <= LINES


def test_a_notebook_leaves_a_workbench_to_its_screen_and_a_terminal_has_its_text(shown, monkeypatch):
    wb = shown["workbench"]
    assert wb._repr_mimebundle_() == ({"text/plain": repr(wb)}, {})
    assert "small_cnn" in wb._repr_html_()
    kernel = SimpleNamespace(config={"IPKernelApp": {}})
    monkeypatch.setattr("IPython.get_ipython", lambda: kernel)
    monkeypatch.setattr("workbench.views.app.bundle", lambda *given: (given, {}))
    assert wb._repr_html_() is None
    assert wb._repr_mimebundle_(["a"], ["b"]) == ((wb, ["a"], ["b"]), {})


def test_what_a_person_may_use_is_offered_and_nothing_else(shown):
    names = dir(shown["workbench"])
    assert {"calibrate", "plan", "ranges", "engines", "tune", "undo"} <= set(names)
    assert not [name for name in names if name.startswith("_")]
