from __future__ import annotations

import numpy as np
import pytest

from workbench.calibration.methods import at
from workbench.calibration.statistics import TensorStatistics
from workbench.errors import SamplesError
from workbench.names import METHODS
from workbench.views.calibration.threshold import ThresholdView
from workbench.views.kit.picture import WIDGET_MIME


@pytest.fixture
def view():
    tensor = TensorStatistics()
    tensor.update(np.random.default_rng(0).normal(size=20_000).astype(np.float32))
    calls = []
    view = ThresholdView("conv", tensor, lambda *change: calls.append(change))
    view.calls = calls
    return view


def test_dragging_calls_back_and_answers_with_its_figures(view):
    widget = view.widget()
    assert [m["method"] for m in widget.scene["methods"]] == list(METHODS)
    assert [m["clipped"] for m in widget.scene["methods"]] == [one.clipped for one in widget.chart.ranges]
    widget._handle_msg(
        {"content": {"data": {"method": "custom", "content": {"type": "threshold", "amax": 2.5}}}, "buffers": []}
    )
    assert view.calls == [("conv", 2.5)]
    assert view.chosen == at(view.tensor, 2.5)
    assert widget.marks["amax"] == 2.5
    assert widget.marks["clipped"] == view.chosen.clipped
    assert "manual*" in view.svg()


def test_a_refused_threshold_changes_nothing(view):
    before = view.chosen
    with pytest.raises(SamplesError, match="conv: a threshold of -1"):
        view.set(-1)
    assert view.chosen == before
    assert view.calls == []


def test_a_callback_that_fails_leaves_the_threshold(view):
    def refuse(*_):
        raise RuntimeError

    view.on_change, before = refuse, view.chosen
    with pytest.raises(RuntimeError):
        view.set(2.0)
    assert view.chosen == before


def test_pictures_stand_beside_the_widget(view):
    data, _ = view._repr_mimebundle_()
    assert {"image/svg+xml", "image/png", WIDGET_MIME} <= set(data)


def test_shows_the_range_in_force_whatever_changes_it(view):
    in_force = [at(view.tensor, 1.5)]
    follows = ThresholdView("conv", view.tensor, print, read=lambda: (view.tensor, in_force[-1]))
    assert follows.chosen.amax == 1.5
    in_force.append(at(view.tensor, 1.25))
    assert follows.chart.chosen.amax == 1.25


def test_without_a_range_in_force_it_starts_at_the_least_error(view):
    assert ThresholdView("conv", view.tensor, print).chosen.method == "mse"
