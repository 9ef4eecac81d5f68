"""What is ended early keeps what was computed: samples seen, nodes measured, plans tried."""

from __future__ import annotations

import pytest

from workbench.precision.search import MOST_TRIALS
from workbench.progress import Stopped, watched
from workbench.recipe.steps import PlanStep
from workbench.session import history_of, open_model


class Impatient:
    """Ends what it watches once so much of it is done."""

    def __init__(self, doing, most):
        self.doing, self.most, self.enough, self.told = doing, most, False, []

    def step(self, doing, done, total):
        self.told.append((doing, done, total))
        self.enough = self.enough or (doing == self.doing and done >= self.most)

    def best(self, text):
        self.told.append(text)

    def stopping(self):
        return self.enough


@pytest.fixture
def wb(small_cnn, small_data):
    wb = open_model(small_cnn)
    wb.calibrate(str(small_data), batch=4)
    return wb


def test_a_search_keeps_its_evaluations_and_goes_on_from_them(wb):
    steps = wb.recipe.steps
    impatient = Impatient("searching", 2)
    with watched(impatient):
        first = wb.plan.search("sqnr_db", at_least=48.0)
    assert first.stopped
    assert 2 <= len(first.trials) <= 3
    assert ("searching", 1, MOST_TRIALS) in impatient.told  # so that somebody can say how long it may take
    assert any(isinstance(message, str) and message.startswith("sqnr_db ") for message in impatient.told)
    if not first.chosen.passed:
        assert wb.recipe.steps == steps
        assert "goes on from here" in first.text()
    again = wb.plan.search("sqnr_db", at_least=48.0)
    assert not again.stopped
    assert all(one is other for one, other in zip(first.trials, again.trials, strict=False))
    assert again.chosen.passed
    assert isinstance(wb.recipe.steps[-1], PlanStep)
    other = wb.plan.search("sqnr_db", at_least=30.0)  # another goal is another search
    assert other.trials[0] is not first.trials[0]


def test_an_interrupt_is_no_loss_either(wb, monkeypatch):
    from workbench.precision.search.trials import Trials

    tried = Trials._try

    def interrupted(self, *arguments):
        if len(self.all) == 2:
            raise KeyboardInterrupt
        return tried(self, *arguments)

    monkeypatch.setattr(Trials, "_try", interrupted)
    result = wb.plan.search("sqnr_db", at_least=48.0)
    assert result.stopped
    assert len(result.trials) == 2
    assert history_of(wb).figures.search is result


def test_a_calibration_is_one_of_the_samples_seen(small_cnn, small_data):
    wb = open_model(small_cnn)
    with watched(Impatient("calibrating", 5)):
        statistics = wb.calibrate(str(small_data), batch=4)
    (step,) = wb.recipe.steps
    assert step.samples.count == 8 == max(tensor.samples for tensor in statistics.values())
    assert step.samples.source["first"] == 8
    assert len(wb.ranges) == len(statistics)
    assert wb.compare(runs=0).samples == 8


def test_before_the_first_sample_nothing_is_kept(small_cnn, small_data):
    wb = open_model(small_cnn)
    with watched(Impatient("calibrating", 0)), pytest.raises(Stopped):
        wb.calibrate(str(small_data), batch=4)
    assert wb.recipe.steps == ()


def test_sensitivity_is_of_the_nodes_measured(wb):
    with watched(Impatient("measuring sensitivity", 2)):
        actual = wb.sensitivity(how="exact")
    assert 2 <= len(actual.errors) <= 3
    assert history_of(wb).figures.sensitivity is actual
