"""Looking changes nothing: no property, no display and no view adds a step to the recipe."""

from __future__ import annotations

import inspect

import pytest

import workbench
from tests.kit.places import RECORDED
from workbench import views
from workbench.engine.summary import load_engine
from workbench.session import Workbench


@pytest.fixture
def wb(small_cnn, small_data):
    wb = workbench.open_model(small_cnn)
    wb.prepare()
    wb.calibrate(small_data)
    return wb


@pytest.mark.parametrize("tuned", [False, True], ids=["not tuned", "tuned"])
def test_looking_changes_nothing(wb, tuned):
    if tuned:
        wb.tune()
    before = wb.recipe
    for name in dir(wb):
        kind = inspect.getattr_static(Workbench, name, None)
        value = getattr(wb, name)
        if isinstance(kind, property):
            repr(value)
            for part in dir(value) if name in ("ranges", "plan", "engines", "graph") else ():
                if isinstance(inspect.getattr_static(type(value), part, None), property):
                    getattr(value, part)
    for shown in (wb, wb.recipe, wb.plan, wb.ranges, wb.graph.summary()):
        repr(shown)
        if hasattr(shown, "_repr_html_"):
            shown._repr_html_()
    wb.compare(runs=0)
    assert wb.recipe is before


def test_a_look_at_advice_and_tuned_is_what_tune_would_give(wb):
    before = wb.recipe
    assert wb.advice is not None
    looked = wb.tuned.to_bytes()
    assert wb.recipe is before
    assert wb.tune().model.to_bytes() == looked
    assert len(wb.recipe.steps) > len(before.steps)


def test_no_view_changes_the_recipe(wb, small_data):
    engine = load_engine(RECORDED / "resnet50.fp16.graph.json")
    before = wb.recipe
    shown = [
        views.graph(wb),
        views.surgery(wb),
        views.tensor_table(wb),
        views.distribution(wb, "r1"),
        views.distributions(wb),
        views.weights(wb, "stem/conv"),
        views.precision(wb),
        views.engine(engine),
        views.engine_graph(engine),
        views.quantized(wb, "r1"),
        views.drift(wb, small_data, labels=("calibration", "field")),
    ]
    for view in shown:
        assert view._repr_mimebundle_()
    assert wb.recipe is before


def test_at_most_25_names_on_tab():
    names = [name for name in dir(Workbench) if not name.startswith("_")]
    assert len(names) <= 25, names
