"""A comparison ends in a verdict with one next step, and says what limits it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from onnx import TensorProto, helper

from tests.kit.models import model, weight
from workbench.errors import PrecisionError, RecipeError
from workbench.evaluate.comparison import Accuracy, Comparison, OutputDifference
from workbench.precision.placement import Pays
from workbench.precision.plan import Rule
from workbench.recipe import Evidence, Gate, check_gates
from workbench.recipe.parts import ranges_hash
from workbench.recipe.steps.set_plan import PlanStep
from workbench.session import history_of, open_model, verdict


def calibrated(small_cnn, small_data):
    wb = open_model(small_cnn)
    wb.calibrate(small_data, batch=4)
    wb.plan.use("int8")
    return wb


@pytest.fixture(scope="module")
def wb(small_cnn, small_data):
    """Not to be changed."""
    return calibrated(small_cnn, small_data)


def compared(sqnr_db, *, nonfinite=0, differing=0.0, accuracy=None, seconds=0.0, calibrated=False):
    output = OutputDifference("y", sqnr_db, 1.0, 0.0, differing, nonfinite, 60)
    return Comparison((output,), accuracy, 12, None, None, 1, 1, seconds=seconds, calibrated=calibrated)


@pytest.mark.parametrize(
    ("comparison", "kind", "ask", "message"),
    [
        (compared(4.3, seconds=4.0), "bad", "search", "in place of tune, with --min-sqnr 20 (about 40 s)."),
        (compared(24.0), "fair", "search", "--min-sqnr 30"),
        (compared(41.0), "good", "build", "engine"),
        (compared(math.inf), "good", "build", "engine"),
        (compared(50.0, nonfinite=3), "bad", "inspect", "FP32"),
        (compared(math.nan, differing=0.5), "bad", "precision", "Leave in floating point"),
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


@pytest.mark.parametrize(
    ("gate", "comparison", "headline", "step", "ask"),
    [
        (
            {"metric": "sqnr_db", "at_least": 50},
            compared(41.0, seconds=4.0),
            "41.0 dB at the worst output; gate sqnr_db >= 50: 41 dB, FAILED by 9 dB",
            "Try workbench search in place of tune, with --min-sqnr 50 (about 40 s).",
            "search",
        ),
        (
            {"metric": "top1_drop", "at_most": 0.5},
            compared(25.0, accuracy=Accuracy(0.75, 0.7421875, 128)),
            "top-1 75.00% -> 74.22%: 0.78 points lost; gate top1_drop <= 0.5: 0.781 points, FAILED by 0.281 points",
            "Try workbench search in place of tune, with --max-drop 0.5.",
            "search",
        ),
        (
            {"metric": "cosine", "at_least": 2},
            compared(41.0),
            "41.0 dB at the worst output; gate cosine >= 2: 1, FAILED by 1",
            "Build an engine where it will run, and time it there.",
            "build",
        ),
        (
            {"metric": "sqnr_db", "at_least": 50},
            compared(math.inf, nonfinite=2),
            "2 values became NaN or infinite; gate sqnr_db >= 50: inf dB, FAILED (2 values became NaN or infinite)",
            "Take the nodes that make them back to FP32 or BF16: see the note.",
            "inspect",
        ),
    ],
)
def test_what_misses_a_gate_is_bad_and_the_next_step_goes_towards_it(
    small_cnn, small_data, gate, comparison, headline, step, ask
):
    wb = calibrated(small_cnn, small_data)
    wb.require(**gate)
    judgement = verdict(wb, comparison)
    assert (judgement.kind, judgement.headline, judgement.next, judgement.ask) == ("bad", headline, step, ask)


def test_gates_that_a_job_has_checked_are_those_that_count(wb):
    fast = Gate(metric="speedup", at_least=1.02)
    judgement = verdict(wb, compared(41.0), check_gates([fast, fast], Evidence()))
    assert judgement.kind == "bad"
    assert judgement.headline.endswith("(2 gates are missed)")
    assert judgement.next == "Have engines built and timed where it will run: the same with --measure BACKEND."
    held = check_gates([fast], Evidence(pays=Pays(verdict="pays", ratio=0.9, error=0.01, against="fp32")))
    assert verdict(wb, compared(41.0), held).kind == "good"


def test_gates_on_what_no_comparison_tells_are_not_judged_by_one(small_cnn, small_data):
    wb = calibrated(small_cnn, small_data)
    wb.require("p95_ms <= 5")
    assert verdict(wb, compared(41.0)).kind == "good"


def test_what_limits_a_verdict_is_said(small_cnn, small_data):
    wb = calibrated(small_cnn, small_data)
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


@pytest.mark.parametrize(
    ("comparison", "kind", "headline"),
    [
        (compared(19.99), "bad", "20.0 dB at the worst output is too low"),
        (compared(20.0), "fair", "20.0 dB at the worst output: look at the task's own figure"),
        (compared(29.99), "fair", "30.0 dB at the worst output: look at the task's own figure"),
        (compared(30.0), "good", "30.0 dB at the worst output"),
        (compared(math.inf), "good", "equal to the original"),
        (compared(math.nan, differing=0.01), "good", "1.00% of the whole numbers differ"),
        (compared(math.nan, differing=0.0101), "bad", "1.01% of the whole numbers differ"),
        (compared(40.0, accuracy=Accuracy(0.5, 0.75, 100)), "good", "top-1 50.00% -> 75.00%: nothing lost"),
        (compared(40.0, accuracy=Accuracy(0.5, 0.5, 100)), "good", "top-1 50.00% -> 50.00%: nothing lost"),
        (compared(40.0, accuracy=Accuracy(0.75, 0.7421875, 128)), "good", "top-1 75.00% -> 74.22%: 0.78 points lost"),
        (compared(40.0, accuracy=Accuracy(1.0, 0.99, 100)), "good", "top-1 100.00% -> 99.00%: 1.00 points lost"),
        (compared(40.0, accuracy=Accuracy(0.75, 0.734375, 128)), "bad", "top-1 75.00% -> 73.44%: 1.56 points lost"),
        (compared(math.inf, nonfinite=12345), "bad", "12,345 values became NaN or infinite"),
    ],
)
def test_a_verdict_changes_at_its_bounds_and_says_the_figure(wb, comparison, kind, headline):
    judgement = verdict(wb, comparison)
    assert (judgement.kind, judgement.headline) == (kind, headline)
    assert judgement.text().splitlines()[0] == f"{kind}: {headline}"


def test_of_whole_numbers_the_worst_output_counts(wb):
    few, many = (OutputDifference("y", math.nan, 1.0, 0.0, share, 0, 60) for share in (0.001, 0.3))
    assert verdict(wb, Comparison((few, many), None, 12, None, None, 1, 1)).headline.startswith("30.00% of the whole")
    assert verdict(wb, Comparison((), None, 12, None, None, 1, 1)).headline.startswith("0.00% of the whole")


@pytest.mark.parametrize(
    ("seconds", "about"),
    [
        *((0.0, ""), (0.01, " (about 1 s)"), (0.5, " (about 5 s)")),
        *((8.9, " (about 89 s)"), (9.0, " (about 2 min)"), (300.0, " (about 50 min)")),
    ],
)
def test_how_long_a_search_takes_is_estimated_from_what_running_both_took(wb, seconds, about):
    judgement = verdict(wb, compared(4.0, seconds=seconds))
    assert judgement.next == f"Try workbench search in place of tune, with --min-sqnr 20{about}."


def test_a_method_is_not_proposed_to_whom_has_it(small_cnn, small_data):
    wb = open_model(small_cnn)
    assert verdict(wb, compared(4.0)).next == "Choose another preset or rules that select what multiplies."
    wb.plan.use("int8")
    search, leave = "workbench search in place of tune, with --min-sqnr 20.", "eave in floating point what"
    wb.calibrate(small_data, batch=4, method="entropy")
    assert verdict(wb, compared(4.0)).next == f"Try --method mse, or {search}"
    whole = verdict(wb, compared(math.nan, differing=0.5))
    assert whole.next == f"Try --method mse, or l{leave} wb.sensitivity() names first."
    assert (whole.kind, whole.ask) == ("bad", "calibrate")
    wb.calibrate(small_data, batch=4)
    assert verdict(wb, compared(4.0)).next == f"Try {search}"
    assert verdict(wb, compared(math.nan, differing=0.5)).next == f"L{leave} wb.sensitivity() names first."


def test_a_method_of_calibration_is_not_proposed_where_nothing_was_calibrated(small_cnn):
    wb = open_model(small_cnn)
    wb.plan.use("fp16")
    assert verdict(wb, compared(4.0)).next == "Try workbench search in place of tune, with --min-sqnr 20."


def test_a_searched_plan_is_not_searched_for_once_more(small_cnn, small_data):
    wb = calibrated(small_cnn, small_data)
    measured = Pays(verdict="pays", ratio=0.5, error=0.01, against="fp16", where="tensorrt on H200")
    rules = (Rule(select="op:Conv", precision="int8"),)
    history_of(wb).do(PlanStep(rules=rules, ranges={}, sha256=ranges_hash({}), pays=measured))
    judgement = verdict(wb, compared(25.0))
    assert (judgement.kind, judgement.headline, judgement.ask) == ("fair", "25.0 dB at the worst output", "build")
    assert judgement.next.startswith(f"It was built and timed: {measured}. Time it again")


def test_to_stay_in_floating_point_is_an_answer_with_its_reason(small_cnn, small_data):
    wb = calibrated(small_cnn, small_data)
    reason = "fp32: stay in FP32: the fastest in INT8 (placement-2) takes 0.990 ± 0.020 of its time"
    measured = Pays(
        verdict="within the error", ratio=0.99, error=0.02, against="fp32", where="onnxruntime", reason=reason
    )
    rules = (Rule(select="*", precision="fp32"),)
    history_of(wb).do(PlanStep(rules=rules, ranges={}, sha256=ranges_hash({}), pays=measured))
    assert verdict(wb, compared(140.0)).next.startswith(
        "Stay in FP32: the fastest in INT8 (placement-2) takes 0.990 ± 0.020 of its time"
        " (within the error; onnxruntime). Time it again"
    )


def test_a_plan_that_changed_nothing_is_no_success(tmp_path):
    relu = model([helper.make_node("Relu", ["x"], ["y"], "relu")], {"x": ["N", 4]}, {"y": ["N", 4]})
    relu.save(tmp_path / "m.onnx")
    wb = open_model(tmp_path / "m.onnx")
    wb.plan.use("fp16")
    judgement = verdict(wb, wb.compare({"x": np.ones((2, 4), np.float32)}, runs=0))
    assert (judgement.kind, judgement.ask) == ("fair", "precision")
    assert judgement.headline.startswith("the plan changed nothing: 1 Relu")


def test_what_has_nothing_to_search_is_not_told_to_calibrate(tmp_path):
    model([helper.make_node("Relu", ["x"], ["y"], "relu")], {"x": ["N", 4]}, {"y": ["N", 4]}).save(tmp_path / "r.onnx")
    samples = {"x": np.random.default_rng(0).normal(size=(4, 4)).astype(np.float32)}
    wb = open_model(tmp_path / "r.onnx")
    wb.calibrate(samples)
    with pytest.raises(PrecisionError, match="no node of it can be quantized, so there is nothing to search"):
        wb.plan.search("sqnr_db", at_least=20)
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["m"], "mm"),
        helper.make_node("ArgMax", ["m"], ["y"], "best", axis=1),
    ]
    model(nodes, {"x": ["N", 4]}, {"y": (TensorProto.INT64, ["N", 1])}, [weight("w", 4, 4)]).save(tmp_path / "a.onnx")
    wb = open_model(tmp_path / "a.onnx")
    with pytest.raises(RecipeError, match="nothing was calibrated"):
        wb.plan.search("sqnr_db", at_least=20)
    wb.calibrate(samples)
    with pytest.raises(PrecisionError, match="nothing floating-point in the outputs to measure sqnr_db >= 20 of"):
        wb.plan.search("sqnr_db", at_least=20)


def test_a_goal_without_a_plan_in_int8_and_rules_that_take_all_back_are_told_apart(small_cnn, small_data):
    wb = calibrated(small_cnn, small_data)
    wb.plan.set("*", "fp32")
    said = verdict(wb, wb.compare(runs=0))
    assert said.headline == "nothing was quantized: later rules take all of it back to floating point"
    rules = (Rule(select="op:Conv", precision="int8"), Rule(select="*", precision="fp32"))
    history_of(wb).do(PlanStep(rules=rules, ranges={}, sha256=ranges_hash({})))
    said = verdict(wb, wb.compare(runs=0))
    assert (
        said.headline
        == "nothing was quantized: no plan with a node in 8 bits was found to reach the goal of the search"
    )
    assert said.next == "Lower its goal, or take --preset fp16, which loses less than INT8."
