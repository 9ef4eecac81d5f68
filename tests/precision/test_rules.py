"""What rules, decisions, costs and limits say, on ones made by hand."""

from __future__ import annotations

import onnx_ir as ir
import pytest
from pydantic import ValidationError

from workbench.backends import BuildOptions
from workbench.errors import PrecisionError
from workbench.precision.measuring.candidates import Candidate
from workbench.precision.operators.limits import LIMITS, limit_of
from workbench.precision.plan.resolution import Decision, Resolution
from workbench.precision.plan.rule import Rule
from workbench.precision.search.cost import BANDWIDTH, MACS_A_SECOND, NodeCosts

RULES = (
    Rule(select="*", precision="fp16"),
    Rule(select="op:Conv", precision="int8"),
    Rule(select="x", precision="fp32"),
)


def decision(node, requested, precision, rule=None, **more):
    return Decision(node, "Conv", requested, precision, rule, **more)


@pytest.fixture
def resolution():
    decisions = [
        decision("plain", "fp32", "fp32"),
        decision("own", "fp32", "int8", own=True),
        decision("done", "int8", "int8", 1, floating="fp16", floating_rule=0),
        decision("over32", "int8", "int8", 1, floating="fp32", floating_rule=2),
        decision("refused", "int8", "fp16", 1, reasons=("no weight", "too small"), floating="fp16", floating_rule=0),
        decision("island", "int8", "int8", 1, reasons=("it overflows",), floating="fp32", floating_rule=0),
    ]
    return Resolution(RULES, {one.node: one for one in decisions})


def test_a_decision_is_explained_with_its_rules_and_what_changed_it(resolution):
    said = {node: resolution.explain(node).partition(": ")[2] for node in resolution.decisions}
    asks, over = "rule 1 (op:Conv -> int8) asks for int8", ", over fp16 by rule 0 (* -> fp16)"
    assert said == {
        "plain": "no rule selects it, so it stays in floating point.",
        "own": "no rule selects it; the model itself has it in int8.",
        "done": f"{asks}{over}.",
        "over32": f"{asks}.",
        "refused": f"{asks}; it gets fp16, because no weight; too small.",
        "island": f"{asks}{over}; it gets int8 over fp32, because it overflows.",
    }
    with pytest.raises(PrecisionError, match="there is no such node"):
        resolution.explain("none")


def test_what_a_plan_decided_is_listed_with_what_was_refused_first(resolution):
    assert resolution.nodes("int8") == ["own", "done", "over32", "island"]
    assert resolution.nodes("fp16", "fp32") == ["plain", "refused"]
    assert resolution.to_quantize() == ["done", "over32", "island"]
    assert (resolution.rule("plain"), resolution.rule("done")) == (None, RULES[1])
    assert (resolution.floating_rule("plain"), resolution.floating_rule("done")) == (None, RULES[0])
    card = resolution._card()
    assert card.headline == "6 nodes: 1 fp32, 4 int8, 1 fp16"
    assert [row[0] for row in card.rows] == ["own", "refused", "plain", "done", "over32", "island"]
    assert card.rows[1][2:] == ("int8", "fp16", 1, "no weight; too small")


@pytest.mark.parametrize(
    ("precision", "options", "text"),
    [
        ("int8", {"per_channel": False, "amax": 2.0}, "op:Conv -> int8 (per_channel=False, amax=2.0)"),
        ("fp8", {"weight_only": True}, "op:Conv -> fp8 (weight_only=True)"),
        ("fp16", {"islands": False, "keep_inputs": False}, "op:Conv -> fp16 (islands=False, keep_inputs=False)"),
        ("bf16", {"keep_outputs": False}, "op:Conv -> bf16 (keep_outputs=False)"),
        ("fp32", {"islands": True, "amax": None}, "op:Conv -> fp32"),
    ],
)
def test_a_rule_says_what_differs_from_what_stands_where_nothing_is_said(precision, options, text):
    rule = Rule(select="op:Conv", precision=precision, **options)
    assert str(rule) == text
    written = rule.model_dump()
    assert written == {"select": "op:Conv", "precision": precision} | rule.options
    assert Rule(**written) == rule


@pytest.mark.parametrize(
    ("precision", "options"),
    [
        ("int8", {"islands": False}),
        ("fp8", {"keep_inputs": False}),
        ("fp16", {"amax": 1.0}),
        ("bf16", {"per_channel": False}),
        ("fp32", {"islands": False}),
        ("fp32", {"weight_only": True}),
        ("int8", {"amax": 0.0}),
        ("int8", {"amax": float("inf")}),
    ],
)
def test_an_option_that_means_nothing_is_refused(precision, options):
    with pytest.raises(ValidationError):
        Rule(select="*", precision=precision, **options)


def test_costs_are_summed_over_what_has_some():
    costs = NodeCosts({"a": {"int8": 1.0, "fp16": 2.0, "fp32": 4.0}, "b": {"int8": 0.5}}, {"a": 30, "b": 10, "c": 0})
    assert (costs.of("a", "fp16"), costs.of("b", "int8")) == (2.0, 0.5)
    for node, precision in (("b", "fp16"), ("z", "int8")):
        with pytest.raises(PrecisionError, match=f"no latency in {precision} is known"):
            costs.of(node, precision)
    assert (costs.share(["a"]), costs.share(["b", "c", "z"]), costs.share([])) == (0.75, 0.25, 0.0)
    none = NodeCosts({}, {"a": 0})
    assert (none.share(["a"]), none.share([])) == (None, 0.0)
    decisions = {node: decision(node, "int8", "int8", 0) for node in ("a", "b", "other")}
    assert costs.total(Resolution(RULES, decisions)) == 1.5


def test_the_rates_are_those_of_the_data_sheet():
    """Of an A100 of 40 GB: TF32 156, FP16 312 TFLOPS, INT8 624 TOPS, two operations a MAC; 1555 GB/s."""
    assert {name: 2 * rate / 1e12 for name, rate in MACS_A_SECOND.items()} == {
        "fp32": 156,
        "fp16": 312,
        "bf16": 312,
        "int8": 624,
        "fp8": 624,
    }
    assert BANDWIDTH / 1e9 == 1555


def made(operator, count=1, **attributes):
    return ir.node(operator, [ir.Value(name=f"x{at}") for at in range(count)], attributes)


@pytest.mark.parametrize(
    ("node", "floating", "compiler", "limited"),
    [
        (made("ConvTranspose"), "bf16", "rtx", True),
        (made("ConvTranspose"), "fp16", "rtx", False),
        (made("ConvTranspose"), "bf16", None, True),
        (made("ConvTranspose"), "bf16", "onnxruntime", False),
        (made("Conv"), "bf16", "rtx", False),
        (made("Mish"), "bf16", "tensorrt-10", True),
        (made("Celu"), "fp16", "tensorrt-11", True),
        (made("LSTM", 7), "fp16", "rtx", False),
        (made("LSTM", 8), "fp16", "rtx", True),
        (made("MeanVarianceNormalization"), "fp16", "onnxruntime", True),
        (made("MeanVarianceNormalization"), "fp16", "tensorrt-8.6", False),
        (made("ScatterND"), "fp16", "rtx", False),
        (made("ScatterND", reduction="none"), "fp16", "rtx", False),
        (made("ScatterND", reduction="add"), "fp16", "onnxruntime", True),
        (made("ScatterND", reduction="add"), "bf16", "onnxruntime", False),
    ],
)
def test_a_limit_is_of_an_operator_a_type_and_a_compiler(node, floating, compiler, limited):
    reason = limit_of(node, floating, compiler)
    assert (reason is not None) == limited
    if limited:
        assert node.op_type in reason
        assert "{" not in reason


def test_a_peephole_that_is_left_out_is_none():
    inputs = [ir.Value(name=f"x{at}") for at in range(7)]
    assert limit_of(ir.node("LSTM", [*inputs, None]), "fp16", "rtx") is None
    assert all(limit.types and limit.compilers and limit.operators for limit in LIMITS)


def test_build_options_that_are_not_the_builders_own_belong_to_a_candidate():
    options = BuildOptions(optimization_level=0, aux_streams=2, timing_cache="c")
    assert Candidate("a", "m", "options", None, None, options).ways == {"optimization_level": 0, "aux_streams": 2}
    assert Candidate("a", "m", "int8", None, None, BuildOptions()).ways == {}
