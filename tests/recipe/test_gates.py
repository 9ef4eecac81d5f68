"""A gate passes at its bound, fails beyond it, and never passes on what was not measured or is no number."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from workbench.calibration import Drift
from workbench.errors import OptionError
from workbench.evaluate.agreement import Accuracy, Comparison, Latency, OutputDifference
from workbench.precision.placement import Pays
from workbench.recipe.gates import METRICS, Evidence, Gate, GateResult, check_gates

OUTPUT = OutputDifference("y", sqnr_db=31.5, cosine=0.99, max_error=0.1, differing=0.2, nonfinite=0, values=8)
OTHER = replace(OUTPUT, name="z", sqnr_db=25.0)
MEASURED = Comparison(
    outputs=(OUTPUT, OTHER),
    accuracy=Accuracy(original=0.75, tuned=0.5, samples=8, lost=3, won=1),
    samples=8,
    original_latency=Latency(4.0, 5.0, 10, 1),
    tuned_latency=Latency(2.0, 9.0, 10, 1),
    original_bytes=100,
    tuned_bytes=50,
)


def check(comparison=MEASURED, **bound):
    (result,) = check_gates([Gate(**bound)], comparison)
    return result


@pytest.mark.parametrize(("metric", "value"), [("top1_drop", 25.0), ("sqnr_db", 25.0), ("latency_ratio", 0.5)])
def test_each_metric_is_its_own_number_and_the_bound_itself_passes(metric, value):
    for bound in ("at_most", "at_least"):
        result = check(metric=metric, **{bound: value})
        assert (result.value, result.passed, result.reason) == (value, True, "")
    assert not check(metric=metric, at_most=math.nextafter(value, -math.inf)).passed
    assert check(metric=metric, at_most=math.nextafter(value, math.inf)).passed
    assert not check(metric=metric, at_least=math.nextafter(value, math.inf)).passed
    assert check(metric=metric, at_least=math.nextafter(value, -math.inf)).passed


def test_a_drop_of_one_point_is_one_point():
    one = replace(MEASURED, accuracy=Accuracy(original=1.0, tuned=0.99, samples=100))
    assert check(one, metric="top1_drop", at_most=1.0).passed
    assert check(one, metric="top1_drop_relative", at_most=1.0).passed
    tenth = replace(MEASURED, accuracy=Accuracy(original=0.3, tuned=0.27, samples=100))
    assert check(tenth, metric="top1_drop_relative", at_most=10.0).passed


@pytest.mark.parametrize(
    ("metric", "lacking", "why"),
    [
        ("top1_drop", {"accuracy": None}, "no labels"),
        ("top1_drop_relative", {"accuracy": None}, "no labels"),
        ("latency_ratio", {"original_latency": None}, "no latency was measured: give runs"),
        ("latency_ratio", {"tuned_latency": None}, "no latency was measured: give runs"),
        ("sqnr_db", {"outputs": (replace(OUTPUT, sqnr_db=math.nan),)}, "there is nothing floating-point to compare"),
        ("cosine", {"outputs": ()}, "there is nothing floating-point to compare"),
        ("p95_ms", {}, "no engine was timed: give a backend, or times of whole inferences"),
        ("layers", {}, "no engine was looked at: give a backend, or an inspector's file"),
        ("int8_macs", {}, "the model does not tell"),
        ("field_clipped", {}, "nothing of the field was given: see workbench drift"),
    ],
)
def test_what_was_not_measured_does_not_pass_and_says_why(metric, lacking, why):
    result = check(replace(MEASURED, **lacking), metric=metric, at_most=1e9)
    assert (result.value, result.passed) == (None, False)
    assert str(result) == f"{metric} <= 1e+09: not measured, FAILED ({why})"


@pytest.mark.parametrize("metric", METRICS)
def test_every_metric_fails_with_a_reason_where_nothing_was_measured(metric):
    (result,) = check_gates([Gate(metric=metric, at_most=1e9)], Evidence())
    reasons = {
        "comparison": "nothing was compared",
        "timing": "no engine was timed: give a backend, or times of whole inferences",
        "engine": "no engine was looked at: give a backend, or an inspector's file",
        "model": "the model does not tell",
        "field": "nothing of the field was given: see workbench drift",
    }
    beside = "no engine in floating point was timed beside it: tune or search with --measure BACKEND"
    assert (result.passed, result.reason) == (False, beside if metric == "speedup" else reasons[METRICS[metric].source])


def test_every_metric_reads_its_own_evidence():
    from tests.kit.places import ROOT
    from workbench.engine import load_engine

    data = ROOT / "tests/data/engines"
    engine = load_engine(data / "resnet50.qdq.graph.json", profile=data / "resnet50.qdq.profile.json")
    evidence = Evidence(
        MEASURED,
        {"p50": 1.0, "p90": 2.0, "p95": 3.0, "p99": 4.0},
        throughput=500.0,
        engine=replace(engine, verdicts=[verdict("int8", "fp32"), verdict("fp16", "fp16"), verdict("int8", None)]),
        engine_bytes=3 * 2**20,
        device_bytes=5 * 2**20,
        file_bytes=7 * 2**20,
        int8_share=0.9,
        drifts=[Drift("a", 0.2, 1.0, 0.03, 0.0), Drift("b", 0.6, 1.0, 0.01, 0.0)],
        conditions="a GPU",
        pays=Pays(verdict="pays", ratio=0.8, error=0.01, against="fp16"),
    )
    by_name = {
        one.gate.split()[0]: one for one in check_gates([Gate(metric=m, at_least=-1) for m in METRICS], evidence)
    }
    layers, reformats = len(engine.report.layers), len(engine.report.reformat_layers)
    assert {name: one.value for name, one in by_name.items()} == {
        "top1_drop": 25.0,
        "top1_drop_relative": pytest.approx(100 / 3),
        "sqnr_db": 25.0,
        "cosine": 0.99,
        "nonfinite": 0,
        "latency_ratio": 0.5,
        "speedup": pytest.approx(1.25),
        "p50_ms": 1.0,
        "p90_ms": 2.0,
        "p95_ms": 3.0,
        "p99_ms": 4.0,
        "throughput": 500.0,
        "engine_mib": 3.0,
        "device_mib": 5.0,
        "file_mib": 7.0,
        "int8_macs": 0.9,
        "silent_fp32": 1,
        "layers": layers,
        "reformats": reformats,
        "field_clipped": 3.0,
        "field_drift": 0.6,
    }
    assert by_name["p95_ms"].conditions == "a GPU"
    assert by_name["sqnr_db"].conditions == ""


def verdict(requested, realized):
    from workbench.engine.precision import NodePrecision, Realized

    return NodePrecision("n", requested, Realized("n", realized, ("l",), ""), "as requested")


def test_a_gate_can_be_on_one_output_and_names_the_near_one():
    assert check(metric="sqnr_db", at_least=30, output="y").passed
    assert not check(metric="sqnr_db", at_least=30, output="z").passed
    assert "there is no output yy; did you mean y?" in str(check(metric="sqnr_db", at_least=30, output="yy"))


def test_few_samples_cannot_pass_by_luck():
    # Agresti and Min's interval by hand: (3.5 - 1.5) / 10 and 1.96 * sqrt(5 - 0.4) / 10.
    low, high = MEASURED.accuracy.interval(0.95)
    assert (low, high) == (pytest.approx(20 - 42.0363, abs=1e-3), pytest.approx(20 + 42.0363, abs=1e-3))
    assert check(metric="top1_drop", at_most=25).passed
    result = check(metric="top1_drop", at_most=25, confidence=0.95)
    assert str(result) == "top1_drop@0.95 <= 25: 62 points, FAILED by 37 points"
    same = replace(MEASURED, accuracy=Accuracy(1.0, 1.0, 8, lost=0, won=0))
    assert 10 < check(same, metric="top1_drop", at_most=0.0, confidence=0.95).value < 30
    uncounted = replace(MEASURED, accuracy=Accuracy(0.75, 0.5, 8))
    for metric in ("top1_drop", "top1_drop_relative"):
        assert "none were counted" in str(check(uncounted, metric=metric, at_most=1, confidence=0.95))


@pytest.mark.parametrize("text", ["sqnr_db >= 20", "sqnr_db[y] >= 20", "top1_drop@0.95 <= 1.5", "p95_ms <= 100"])
def test_a_gate_is_read_as_it_is_printed(text):
    assert str(Gate.parse(text)) == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sqnr_bd >= 20", "there is no metric 'sqnr_bd'; did you mean sqnr_db?"),
        ("sqnr_db", "is not like"),
        ("sqnr_db >= many", "valid number"),
        ("p95_ms[y] <= 1", "p95_ms is not of one output"),
        ("p95_ms@0.9 <= 1", "p95_ms has no confidence interval"),
    ],
)
def test_what_is_no_gate_is_refused(text, message):
    with pytest.raises(ValueError, match=message.replace("?", r"\?")):
        Gate.parse(text)


def test_values_that_became_nan_fail_what_is_about_numbers_and_not_the_time():
    broken = replace(MEASURED, outputs=(OUTPUT, replace(OTHER, nonfinite=3)))
    for metric in ("top1_drop", "sqnr_db"):
        result = check(broken, metric=metric, at_most=1e9)
        assert not result.passed
        assert "3 values became NaN or infinite" in str(result)
    assert check(broken, metric="latency_ratio", at_most=0.5).passed


def test_a_gate_says_its_bound_and_what_became_of_it():
    assert str(Gate(metric="sqnr_db", at_least=20)) == "sqnr_db >= 20"
    assert str(check(metric="sqnr_db", at_least=25.5)) == "sqnr_db >= 25.5: 25 dB, FAILED by 0.5 dB"
    assert str(check(metric="top1_drop", at_most=25.0)) == "top1_drop <= 25: 25 points, passed"


@pytest.mark.parametrize(
    ("gate", "value", "said"),
    [
        ("cosine >= 0.9999", 0.999668, "0.9997, FAILED by 0.000232"),
        ("cosine >= 0.99999999", 0.5, "0.5, FAILED by 0.5"),
        ("layers <= 1000", 1234.0, "1234 layers, FAILED by 234 layers"),
        ("throughput >= 30000", 29999.0, "29999 /s, FAILED by 1 /s"),
        ("sqnr_db <= 3", math.inf, "inf dB, FAILED by inf dB"),
    ],
)
def test_what_missed_its_bound_is_never_rounded_onto_it(gate, value, said):
    one = Gate.parse(gate)
    unit = METRICS[one.metric].unit
    result = GateResult(str(one), value, passed=one.holds(value), unit=unit, missed_by=one.missed_by(value))
    assert str(result) == f"{gate}: {said}"
    assert Gate.parse(str(one)) == one


def test_a_bound_is_a_number():
    with pytest.raises(ValueError, match="its bound is no number"):
        Gate.parse("sqnr_db >= nan")


def test_nan_meets_no_bound():
    assert not Gate(metric="sqnr_db", at_least=-math.inf).holds(math.nan)
    assert not Gate(metric="sqnr_db", at_most=math.inf).holds(math.nan)


def test_a_session_takes_a_gate_in_parts_or_as_text_and_refuses_what_is_none(small_cnn):
    import workbench
    from workbench.errors import OptionError

    wb = workbench.open_model(small_cnn)
    wb.require("cosine", at_least=0.9, output="y")
    wb.require("cosine[y] >= 0.9")
    wb.require("p99_ms <= 10")
    assert [str(gate) for gate in wb.recipe.gates] == ["cosine[y] >= 0.9", "p99_ms <= 10"]
    for gate, parts in (("cosin", {"at_least": 1}), ("cosine", {}), ("cosine", {"at_least": 1, "at_most": 2})):
        with pytest.raises(OptionError):
            wb.require(gate, **parts)
    assert len(wb.recipe.gates) == 2


@pytest.mark.parametrize("metric", [name for name, one in METRICS.items() if one.of_output])
def test_a_gate_on_one_output_reads_that_output_alone(metric):
    other = OutputDifference("z", sqnr_db=25.0, cosine=0.9, max_error=0.3, differing=0.4, nonfinite=2, values=8)
    both = replace(MEASURED, outputs=(OUTPUT, other))
    values = [check(both, metric=metric, output=name, at_least=-1).value for name in ("y", "z")]
    alone = [check(replace(MEASURED, outputs=(one,)), metric=metric, at_least=-1).value for one in both.outputs]
    assert values == alone
    assert values[0] != values[1]


def test_a_gate_is_read_from_parts_or_from_a_text_and_refused_with_what_is_wrong():
    gate = Gate(metric="sqnr_db", at_least=25.0, output="y")
    assert Gate.read("sqnr_db", at_least=25.0, output="y", at_most=None, confidence=None) == gate
    assert Gate.read("sqnr_db[y] >= 25") == gate
    for asked, parts, reason, fix in (
        ("sqnr_db", {}, "give one bound: at_most or at_least", ""),
        ("sqnr_db", {"at_least": 1.0, "at_most": 2.0}, "give one bound: at_most or at_least", ""),
        ("sqnr_db >= nan", {}, "its bound is no number", ""),
        ("at least 25", {}, "'at least 25' is not like 'sqnr_db >= 25' or 'p95_ms <= 100'", METRICS),
    ):
        with pytest.raises(OptionError) as caught:
            Gate.read(asked, **parts)
        assert caught.value.what == reason
        assert caught.value.fix == (f"Metrics: {', '.join(fix)}." if fix else None)
        assert caught.value.where == (None if fix else f"gate {asked}")
