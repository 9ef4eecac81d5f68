"""Looking changes nothing: no property, no display and no view adds a step to the recipe."""

from __future__ import annotations

import inspect

import pytest

import workbench
from workbench import views
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
    wb.sensitivity()
    wb.plan.search("sqnr_db", at_least=20.0, samples=small_data)
    engine = wb.engines.inspect(wb.build())
    shows = {
        "compare": lambda: views.compare(engine, engine),
        "distribution": lambda: views.distribution(wb, "r1"),
        "distributions": lambda: views.distributions(wb),
        "drift": lambda: views.drift(wb, small_data, labels=("calibration", "field")),
        "engine": lambda: views.engine(engine),
        "engine_chart": lambda: views.engine_chart(engine, "precision", wb=wb),
        "engine_graph": lambda: views.engine_graph(engine),
        "front": lambda: views.front(wb),
        "fusion": lambda: views.fusion(engine, wb),
        "graph": lambda: views.graph(wb),
        "precision": lambda: views.precision(wb),
        "quantized": lambda: views.quantized(wb, "r1"),
        "report_card": lambda: views.report_card(engine),
        "screen": lambda: views.screen(wb),
        "sensitivity": lambda: views.sensitivity(wb),
        "side_by_side": lambda: views.side_by_side(wb.source, wb),
        "surgery": lambda: views.surgery(wb),
        "tensor_table": lambda: views.tensor_table(wb),
        "tuning": lambda: views.tuning(wb),
        "weights": lambda: views.weights(wb, "stem/conv"),
    }
    assert set(shows) == set(views.__all__), "show every view here"
    before = wb.recipe
    for name, show in shows.items():
        shown = show()
        assert isinstance(shown, str) or shown._repr_mimebundle_(include=["image/svg+xml"]), name
        assert wb.recipe is before, name


def test_at_most_25_names_on_tab():
    names = [name for name in dir(Workbench) if not name.startswith("_")]
    assert len(names) <= 25, names
