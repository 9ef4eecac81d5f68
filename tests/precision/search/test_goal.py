"""What an evaluation measures of a changed model, on all samples or on few: models of one node really run."""

from __future__ import annotations

import math

import numpy as np
import pytest
from onnx import helper

from tests.kit.models import constant, model
from workbench.calibration import open_samples
from workbench.errors import PrecisionError
from workbench.precision.search.goal import Evaluator, Goal, Score

SQNR = Goal("sqnr_db", at_least=20)


def network(op, value, batch="N"):
    """y = x (op) value, of rows of three."""
    node = helper.make_node(op, ["x", "c"], ["y"], "n")
    return model([node], {"x": [batch, 3]}, {"y": [batch, 3]}, [constant("c", value, "float32")])


def rows(count):
    return np.outer(np.arange(1, count + 1), [1, 1, 1]).astype(np.float32)


def evaluator(goal, data, *, batch=1, fixed="N", memory=1 << 20):
    reference = network("Add", 0.0, fixed)
    return Evaluator(reference, open_samples({"x": data}, reference), goal, batch=batch, memory=memory)


@pytest.mark.parametrize("memory", [1 << 20, 0])
def test_a_model_is_measured_against_what_the_reference_computed(memory):
    with evaluator(SQNR, rows(5), batch=2, memory=memory) as evaluate:
        assert evaluate.count == 5
        score = evaluate(network("Mul", 1.1))
        assert score == Score(pytest.approx(20.0, abs=1e-4), pytest.approx(0.0, abs=1e-9), score.sqnr_db, 5)
        assert evaluate(network("Add", 0.0)).figure == math.inf
        assert math.isnan(evaluate(network("Div", 0.0)).figure)


@pytest.mark.parametrize(
    ("goal", "count", "batch", "races"),
    [
        (SQNR, 12, 1, True),
        (SQNR, 11, 1, False),
        (SQNR, 24, 2, True),
        (SQNR, 22, 2, False),
        (Goal("sqnr_db", at_most=20), 12, 1, False),
        (Goal(len, at_least=20), 12, 1, False),
    ],
)
def test_plans_race_where_there_are_three_times_as_many_runs_as_a_race_has(goal, count, batch, races):
    with evaluator(goal, rows(count), batch=batch) as evaluate:
        assert evaluate.races == races


@pytest.mark.parametrize(("count", "chosen"), [(12, [1, 4, 7, 10]), (13, [1, 4, 8, 11]), (40, [5, 15, 25, 35])])
def test_a_race_runs_four_samples_that_lie_evenly_among_all(count, chosen):
    with evaluator(SQNR, rows(count)) as evaluate:
        score = evaluate.race(network("Add", 1.0))
        # Every sample has the same noise, and a signal of its own.
        signal = sum((at + 1) ** 2 for at in chosen) / 4
        assert score.figure == pytest.approx(10 * math.log10(signal), abs=1e-4)
        assert (score.samples, score.sqnr_db, math.isnan(score.kl)) == (4, score.figure, True)


def test_a_figure_of_the_task_is_of_the_outputs_in_order_and_without_padding():
    seen = []

    def task(outputs):
        seen.extend(result["y"][:, 0].tolist() for result in outputs)
        return 3

    with evaluator(Goal(task, at_least=1), rows(6), fixed=4) as evaluate:
        score = evaluate(network("Add", 1.0, 4))
    assert seen == [[2, 3, 4, 5], [6, 7]]
    assert (score.figure, type(score.figure), score.samples) == (3.0, float, 6)


def test_a_drop_is_in_percentage_points_of_the_samples():
    data = np.eye(3, dtype=np.float32)[[0, 1, 2, 0]]
    goal = Goal("top1_drop", at_most=1, labels=np.array([0, 1, 2, 1]))
    with evaluator(goal, data, batch=2) as evaluate:
        assert evaluate(network("Add", 0.0)).figure == 0.0
        # The last class is raised over all others: only the third sample is right, of three before.
        assert evaluate(network("Add", [0.0, 0.0, 9.0])).figure == 50.0


def test_as_many_labels_as_rows_are_given():
    goal = Goal("top1_drop", at_most=1, labels=np.zeros(5, np.int64))
    with pytest.raises(PrecisionError, match=r"^5 labels for 4 rows of scores\. Give one class index a sample, or one"):
        evaluator(goal, rows(4))


def test_a_figure_is_told_with_the_unit_of_its_metric():
    def task(_outputs):
        return 1.0

    goals = (Goal("sqnr_db", at_least=1), Goal("top1_drop", at_most=1, labels=np.arange(3)), Goal(task, at_least=1))
    assert [goal.with_unit(1.23456) for goal in goals] == ["1.235 dB", "1.235 points", "1.235"]
