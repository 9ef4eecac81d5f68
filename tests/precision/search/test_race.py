"""Plans race on few samples where these say enough, and the best of them is what all samples say it is."""

from __future__ import annotations

import numpy as np
import pytest

from tests.kit.searching import calibrated, small
from workbench.evaluate.comparison import compare
from workbench.precision.search.goal import FEW, Evaluator, Goal
from workbench.session import history_of, samples_for

COUNT = 16


def searched(tmp_path, scale=None):
    """Search a network of which one channel makes plain INT8 useless, one sample a run."""
    wb = calibrated(small(broken=True), tmp_path, COUNT, scale=scale)
    return wb, wb.plan.search("sqnr_db", at_least=28)


def sqnr(wb):
    return compare(wb.source, wb.tuned, wb.ranges.samples, runs=0).worst_sqnr_db


@pytest.fixture(scope="module")
def raced(tmp_path_factory):
    return searched(tmp_path_factory.mktemp("raced"))


def test_only_the_best_plan_is_run_on_all_samples_and_every_figure_says_how_many_it_is_of(raced):
    wb, result = raced
    assert result.chosen.passed
    assert result.chosen.measured.samples == COUNT
    assert result.chosen.measured.sqnr_db == pytest.approx(sqnr(wb), abs=1e-3)
    few = [trial for trial in result.trials if not trial.on_all]
    assert len(few) > len(result.trials) / 2
    assert all(trial.measured.samples == FEW and not trial.passed for trial in few)
    assert all(trial.move.endswith(f" (on {FEW} of {COUNT} samples)") for trial in few)
    assert "samples" not in result.chosen.move
    assert result.table()["samples"].tolist() == [trial.measured.samples for trial in result.trials]
    on_all = len(result.trials) - len(few)
    assert f"{len(result.trials)} evaluations on {FEW} samples, {on_all} on all, in" in result.text()
    assert f"on {FEW} of {COUNT} samples)" in result.text().splitlines()[0]


def test_the_plan_is_the_one_that_is_found_on_all_samples(raced, tmp_path, monkeypatch):
    monkeypatch.setattr(Evaluator, "races", False)
    _, whole = searched(tmp_path)
    assert all(trial.measured.samples == COUNT for trial in whole.trials)
    assert raced[1].chosen.demoted == whole.chosen.demoted
    assert raced[1].chosen.measured == whole.chosen.measured


def test_the_same_search_again_gives_the_same(raced, tmp_path):
    _, again = searched(tmp_path)
    one, other = raced[1].to_dict(), again.to_dict()
    assert one.pop("seconds") > 0
    assert other.pop("seconds") > 0
    assert one == other


def test_few_samples_that_are_easier_than_all_choose_no_plan_that_fails_on_all(tmp_path):
    """The few are much smaller or much larger images: what they say is too bad by far, or too good."""
    for factor in (0.1, 10.0):
        scale = np.ones(COUNT, np.float32)
        scale[[2, 6, 10, 14]] = factor
        wb, result = searched(tmp_path, scale)
        assert result.chosen.passed
        assert sqnr(wb) >= 28
        assert result.chosen.measured.samples == COUNT
        assert all(t.cost_ms >= result.chosen.cost_ms for t in result.trials if t.passed)


def test_a_figure_of_the_task_is_always_of_all_samples(tmp_path):
    wb = calibrated(small(broken=True), tmp_path, COUNT)
    samples, batch = samples_for(history_of(wb), None)
    with Evaluator(wb.model, samples, Goal(len, at_least=1), batch=batch, memory=1 << 20) as evaluate:
        assert not evaluate.races
        assert evaluate(wb.model).figure == COUNT
    with Evaluator(wb.model, samples, Goal("sqnr_db", at_least=1), batch=batch, memory=1 << 20) as evaluate:
        assert evaluate.races
        assert evaluate.race(wb.model).samples == FEW
    with Evaluator(wb.model, samples, Goal("sqnr_db", at_least=1), batch=4, memory=1 << 20) as evaluate:
        assert not evaluate.races  # four runs are few themselves
