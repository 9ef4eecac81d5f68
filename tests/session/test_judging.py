"""A comparison ends in a verdict with one next step, and says what limits it."""

from __future__ import annotations

import math

import pytest

from workbench.evaluate.comparison import Accuracy, Comparison, OutputDifference
from workbench.session import open_model, verdict


@pytest.fixture
def wb(small_cnn, small_data):
    wb = open_model(small_cnn)
    wb.calibrate(small_data, batch=4)
    wb.plan.use("int8")
    return wb


def compared(sqnr_db, *, nonfinite=0, differing=0.0, accuracy=None, seconds=0.0, calibrated=False):
    output = OutputDifference("y", sqnr_db, 1.0, 0.0, differing, nonfinite, 60)
    return Comparison((output,), accuracy, 12, None, None, 1, 1, seconds=seconds, calibrated=calibrated)


@pytest.mark.parametrize(
    ("comparison", "kind", "ask", "message"),
    [
        (compared(4.3, seconds=4.0), "bad", "search", "--min-sqnr 20 (about 40 s) or --method entropy"),
        (compared(24.0), "fair", "search", "--min-sqnr 30"),
        (compared(41.0), "good", "build", "engine"),
        (compared(math.inf), "good", "build", "engine"),
        (compared(50.0, nonfinite=3), "bad", "inspect", "FP32"),
        (compared(math.nan, differing=0.5), "bad", "search", "search"),
        (compared(math.nan, differing=0.001), "good", "build", "engine"),
        (compared(25.0, accuracy=Accuracy(0.9, 0.899, 100)), "good", "build", "engine"),
        (compared(25.0, accuracy=Accuracy(0.9, 0.8, 100)), "bad", "search", "--max-drop 1"),
    ],
)
def test_a_figure_becomes_a_verdict_and_one_next_step(wb, comparison, kind, ask, message):
    judgement = verdict(wb, comparison)
    assert (judgement.kind, judgement.ask) == (kind, ask)
    assert message in judgement.next
    assert judgement.text().splitlines()[1] == f"next: {judgement.next}"


def test_what_limits_a_verdict_is_said(wb):
    assert any("calibration's samples" in note for note in verdict(wb, compared(40.0, calibrated=True)).notes)
    assert verdict(wb, compared(40.0)).notes == ()
    assert wb.compare(runs=0).calibrated
    wb.edit("fold_constants", check=False)
    wb.edit("state_kernel_shape", check=False)
    unchecked = [note for note in verdict(wb, compared(40.0)).notes if note.startswith("Not checked")]
    assert len(unchecked) == 1


def test_a_plan_that_quantized_nothing_is_no_success(small_cnn, small_data):
    wb = open_model(small_cnn)
    wb.calibrate(small_data, batch=4)
    wb.plan.set("op:Flatten", "int8")
    judgement = verdict(wb, wb.compare(runs=0))
    assert judgement.kind == "fair"
    assert judgement.headline.startswith("nothing was quantized: ")
