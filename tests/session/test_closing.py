"""A tuning that did nothing, or went badly, says so and names the next step."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import workbench
from tests.kit.models import model as small_model
from workbench.evaluate.agreement import Comparison, OutputDifference
from workbench.graph.edits import applicable
from workbench.handoff.tuning_report import before_after, report
from workbench.names import percent
from workbench.session import closing, history_of
from workbench.session.closing import INSIDE, remarks

RNG = np.random.default_rng(0)
W, V = RNG.normal(size=(8, 4)).astype(np.float32), RNG.normal(size=(8, 4)).astype(np.float32)
X = RNG.normal(size=(8, 1, 8)).astype(np.float32)


def info(name, shape=None, kind=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, kind, shape)


def node(op, inputs, outputs, name="", **attributes):
    return helper.make_node(op, inputs.split(), outputs.split(), name or op, **attributes)


def opened(tmp_path, nodes, weights=()):
    constants = [numpy_helper.from_array(array, name) for name, array in weights]
    graph = helper.make_graph(nodes, "g", [info("x", [1, 8])], [info("y", [1, 4])], constants)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    onnx.save(proto, tmp_path / "m.onnx")
    wb = workbench.open_model(tmp_path / "m.onnx")
    wb.prepare()
    wb.calibrate([{"x": x} for x in X])
    return wb


def said(wb, preset):
    wb.plan.use(preset)
    wb.tune()
    return remarks(wb, wb.compare(runs=0))


@pytest.mark.parametrize("preset", ["int8", "fp16", "fp32"])
def test_what_was_done_as_asked_needs_no_word(tmp_path, preset):
    assert said(opened(tmp_path, [node("MatMul", "x w", "y")], [("w", W)]), preset) == ()


def test_products_inside_of_a_body_are_said_to_be_left_out(tmp_path):
    branches = {
        f"{which}_branch": helper.make_graph([node("MatMul", f"x {weight}", which)], which, [], [info(which)])
        for which, weight in (("then", "w"), ("else", "v"))
    }
    nodes = [
        node("ReduceMax", "x", "s", keepdims=0),
        node("Greater", "s one", "k"),
        node("If", "k", "y", **branches),
    ]
    wb = opened(tmp_path, nodes, [("w", W), ("v", V), ("one", np.float32(1))])
    nothing, inside = said(wb, "int8")
    assert nothing.startswith("nothing was quantized: 2 MatMul: it is inside a subgraph or function")
    assert inside.startswith("2 nodes (2 MatMul) inside of bodies")


def test_a_model_that_came_quantized_a_model_in_fp16_and_one_without_products(tmp_path):
    pair = [
        node("QuantizeLinear", "x s z", "q"),
        node("DequantizeLinear", "q s z", "d"),
        node("DequantizeLinear", "w s z", "wd", "weight"),
        node("MatMul", "d wd", "y"),
    ]
    weights = [("s", np.float32(0.03)), ("z", np.int8(0)), ("w", np.rint(W * 40).astype(np.int8))]
    own = opened(tmp_path, pair, weights)
    came, nothing = said(own, "int8")
    pairs = "its Q/DQ pairs stay as they are; the edit remove_qdq takes them out"
    assert came == f"1 node (1 MatMul) came quantized: {pairs}"
    assert nothing.startswith("nothing more was quantized")
    (row,) = (row for row in before_after(own, own.compare(runs=0)) if row.what == "MACs in INT8")
    assert (row.original, row.tuned) == ("100.0%", "100.0%")

    half = [node("Cast", "x", "c", to=10), node("MatMul", "c w", "m"), node("Cast", "m", "y", "back", to=1)]
    (already,) = said(opened(tmp_path, half, [("w", W.astype(np.float16))]), "fp16")
    assert already.startswith("the plan changed nothing: 2 nodes (1 Cast, 1 MatMul) are fp16 already")

    none = [node("Relu", "x", "r"), node("TopK", "r k", "y i")]
    assert said(opened(tmp_path, none, [("k", np.array([4]))]), "int8") == (
        "nothing was quantized: no node of the model multiplies",
    )


def test_what_multiplies_without_pairs_is_named(tmp_path):
    nodes = [node("Einsum", "x w", "y", equation="ij,jk->ik")]
    (nothing,) = said(opened(tmp_path, nodes, [("w", W)]), "int8")
    assert nothing.startswith("nothing was quantized: 1 node (1 Einsum) multiplies, and of what multiplies Conv, ")


def test_what_computes_on_integers_is_not_promised_an_edit_that_takes_it_out(tmp_path):
    nodes = [
        node("QuantizeLinear", "x s z", "q"),
        node("QLinearMatMul", "q s z w s z s z", "p"),
        node("DequantizeLinear", "p s z", "y"),
    ]
    weights = [("s", np.float32(0.05)), ("z", np.int8(0)), ("w", np.rint(W * 20).astype(np.int8))]
    wb = opened(tmp_path, nodes, weights)
    integers, nothing = said(wb, "int8")
    assert integers.startswith("1 node (1 QLinearMatMul) computes on integers by definition")
    assert nothing.startswith("nothing more was quantized")
    assert "remove_qdq" not in integers + nothing + wb.plan.explain("QLinearMatMul")
    assert not [edit for edit in applicable(wb.model, []) if edit.do == "remove_qdq"]


def test_low_sqnr_names_a_next_step(tmp_path):
    scale = np.logspace(-3, 1, 8).astype(np.float32)
    nodes = [node("Mul", "x s", "a"), node("MatMul", "a w", "b"), node("MatMul", "b v", "y", "second")]
    weights = [("s", scale), ("w", np.diag(1 / scale)), ("v", np.eye(8, 4, dtype=np.float32))]
    (low,) = said(opened(tmp_path, nodes, weights), "int8")
    assert low.startswith("little is left of output y (SQNR ")
    assert "workbench search" in low
    assert "--method" in low


@pytest.mark.parametrize(
    ("output", "started"),
    [
        (OutputDifference("y", -math.inf, 1.0, 0.0, 0.2, nonfinite=2, values=10), "of output y values became NaN"),
        (
            OutputDifference("y", math.nan, math.nan, 0.0, 0.2, nonfinite=0, values=10),
            "little is left of output y (20.00%",
        ),
        (
            OutputDifference("y", 50.0, 1.0, 0.0, 0.2, nonfinite=0, values=10, became_finite=2),
            "of output y values were NaN or infinite and are finite",
        ),
        (OutputDifference("y", math.nan, math.nan, 0.0, 0.01, nonfinite=0, values=10), None),
        (OutputDifference("y", 25.0, 1.0, 0.0, 0.9, nonfinite=0, values=10), None),
        (OutputDifference("y", math.nan, math.nan, 0.0, 0.0, nonfinite=0, values=0), None),
    ],
)
def test_outputs_of_which_little_is_left(tmp_path, output, started):
    wb = opened(tmp_path, [node("MatMul", "x w", "y")], [("w", W)])
    wb.tune()
    actual = remarks(wb, Comparison((output,), None, 8, None, None, 1, 1))
    assert [one.startswith(started or "") for one in actual] == ([True] if started else [])


def test_an_edit_that_was_not_checked_is_said_until_it_is_undone(tmp_path):
    nodes = [node("Add", "one two", "three"), node("MatMul", "x w", "m"), node("Add", "m three", "y", "add")]
    ones = np.ones(4, np.float32)
    wb = opened(tmp_path, nodes, [("w", W), ("one", ones), ("two", ones)])
    assert history_of(wb).unchecked == ()
    wb.edit("rename_tensor", tensor="m", to="product", check=False)
    (messages,) = history_of(wb).unchecked
    assert messages.endswith("not checked, because check=False was given")
    assert messages in report(wb, wb.compare(runs=0), [])["advice"]
    wb.undo()
    assert history_of(wb).unchecked == ()
    wb.redo()
    assert len(history_of(wb).unchecked) == 1


def test_an_unknown_share_is_not_zero():
    assert (percent(None), percent(0.0), percent(0.125)) == ("unknown", "0.0%", "12.5%")


def decided(*ops, reasons=(INSIDE,)):
    return [SimpleNamespace(op_type=op, reasons=reasons) for op in ops]


def resolved(*ops, reasons=(f"{INSIDE}: If",)):
    """A session whose plan decides so of some nodes."""
    resolution = SimpleNamespace(decisions=dict(enumerate(decided(*ops, reasons=reasons))))
    return SimpleNamespace(plan=SimpleNamespace(resolve=lambda: resolution))


@pytest.mark.parametrize(
    ("wb", "message"),
    [
        (resolved("MatMul"), ["1 node (1 MatMul) inside of bodies (If, Loop, Scan, local functions): left as it is"]),
        (
            resolved("MatMul", "Add", "Conv", "MatMul"),
            ["3 nodes (2 MatMul, 1 Conv) inside of bodies (If, Loop, Scan, local functions): left as they are"],
        ),
        (resolved("Add"), ["1 node (1 Add) inside of bodies (If, Loop, Scan, local functions): left as it is"]),
        (resolved("MatMul", reasons=("another",)), []),
        (resolved("MatMul", reasons=("another", f"{INSIDE}: If")), ["1 node (1 MatMul) inside of bodies"]),
    ],
)
def test_of_what_is_inside_of_bodies_what_multiplies_is_named(wb, message):
    actual = list(closing._inside(wb))
    assert len(actual) == len(message)
    assert all(one.startswith(beginning) for one, beginning in zip(actual, message, strict=True))


def test_the_three_most_frequent_kinds_and_reasons_are_named():
    ops = ["Conv", "Gemm", "Conv", "MatMul", "Conv", "Gemm", "Add", "MatMul"]
    assert closing._count(decided(*ops)) == "8 nodes (3 Conv, 2 Gemm, 2 MatMul)"
    assert (
        closing._reasons(decided(*ops, reasons=("a", "b"))) == "3 Conv: a; 2 Gemm: a; 2 MatMul: a; and 1 more reasons"
    )
    assert closing._reasons(decided("Conv", "Conv", "Gemm", reasons=("a",))) == "2 Conv: a; 1 Gemm: a"
    assert closing._reasons(decided("Conv", "Gemm", "Add", reasons=("a",))) == "1 Conv: a; 1 Gemm: a; 1 Add: a"
    assert closing._reasons(decided("Conv", reasons=())) == ""
    outputs = [SimpleNamespace(name=name) for name in "abcd"]
    assert [closing._named(outputs[:count]) for count in (1, 2, 4)] == ["output a", "outputs a, b", "outputs a, b, c"]


@pytest.mark.parametrize(
    ("output", "low"),
    [
        (OutputDifference("y", 19.99, 1.0, 0.0, 0.9, 0, 10), True),
        (OutputDifference("y", 20.0, 1.0, 0.0, 0.9, 0, 10), False),
        (OutputDifference("y", math.nan, math.nan, 0.0, 0.1, 0, 10), False),
        (OutputDifference("y", math.nan, math.nan, 0.0, 0.101, 0, 10), True),
    ],
)
def test_little_is_left_below_a_hundredth_of_the_power_or_where_a_tenth_differs(output, low):
    assert closing._is_low(output) == low


@pytest.mark.parametrize(("sqnr", "worst"), [(0.5, "labels"), (-0.5, "y")])
def test_whole_numbers_that_differ_are_as_bad_as_an_error_of_the_power_of_the_output(sqnr, worst):
    outputs = (
        OutputDifference("y", sqnr, 1.0, 0.0, 0.9, 0, 10),
        OutputDifference("labels", math.nan, math.nan, 0.0, 0.5, 0, 10),
    )
    wb = SimpleNamespace(plan=SimpleNamespace(resolve=lambda: SimpleNamespace(to_quantize=list)))
    (low,) = closing._poor(wb, SimpleNamespace(outputs=outputs))
    (expected,) = (output for output in outputs if output.name == worst)
    assert low.startswith(f"little is left of outputs y, labels ({expected}); try --preset bf16")


SEARCH = "let workbench search find the nodes to leave in floating point (--min-sqnr 20), "
METHODS = "take --method mse if another was taken, or see wb.sensitivity()"
LOW, WHOLE, BROKEN = (
    OutputDifference("y", 5.0, 1.0, 0.0, 0.9, 0, 10),
    OutputDifference("y", math.nan, math.nan, 0.0, 0.5, 0, 10),
    OutputDifference("y", 50.0, 1.0, 0.0, 0.0, 2, 10),
)


@pytest.mark.parametrize(
    ("output", "quantized", "step"),
    [
        (BROKEN, True, "look for weights and samples that are not finite"),
        (
            BROKEN,
            False,
            "FP16 ends at 65504: calibrate with overflow=True on such samples, or take --preset bf16",
        ),
        (LOW, True, SEARCH + METHODS),
        (WHOLE, True, METHODS),
        (LOW, False, "try --preset bf16 or fp32, or rules for the nodes that need them"),
        (WHOLE, False, "try --preset bf16 or fp32, or rules for the nodes that need them"),
    ],
)
def test_what_helps_depends_on_what_was_done(output, quantized, step):
    resolution = SimpleNamespace(to_quantize=lambda: ["conv"] * quantized)
    wb = SimpleNamespace(plan=SimpleNamespace(resolve=lambda: resolution))
    (message,) = closing._poor(wb, SimpleNamespace(outputs=(output,)))
    what = "of output y values became NaN or infinite" if output is BROKEN else f"little is left of output y ({output})"
    assert message == f"{what}; {step}"


def test_the_device_of_a_calibration_is_named():
    for step, said in (
        (None, []),
        (SimpleNamespace(device=None), []),
        (SimpleNamespace(device="a GPU"), ["calibrated on a GPU"]),
    ):
        wb = SimpleNamespace(recipe=SimpleNamespace(newest=lambda _, step=step: step))
        assert list(closing._calibrated(wb)) == said


def test_a_plan_that_changed_nothing_says_what_kept_the_nodes_from_it():
    def nothing(*decisions):
        rules = [SimpleNamespace(precision="fp16")]
        resolution = SimpleNamespace(decisions=dict(enumerate(decisions)), rules=rules, to_quantize=list)
        same = SimpleNamespace(digest="d")
        wb = SimpleNamespace(plan=SimpleNamespace(resolve=lambda: resolution), tuned=same, model=same)
        (said,) = closing._nothing(wb)
        return said.removeprefix("the plan changed nothing: ")

    def decision(op, *reasons, precision="fp32"):
        return SimpleNamespace(
            op_type=op, reasons=reasons, own=False, precision=precision, floating=precision, requested="fp16"
        )

    assert nothing(decision("Conv", "too wide")) == "1 Conv: too wide"
    assert nothing(decision("Conv")) == "no node takes what its rules ask for"
    half = [decision(op, precision="fp16") for op in ("Conv", "Add")]
    assert nothing(*half) == "2 nodes (1 Conv, 1 Add) are fp16 already"
    assert nothing(half[0]) == "1 node (1 Conv) is fp16 already"


def test_why_nothing_was_quantized_is_of_what_was_asked_for_and_came_in_floating_point():
    def decision(op, reason, *, own=False, requested="int8"):
        return SimpleNamespace(op_type=op, reasons=(reason,), own=own, requested=requested)

    decisions = [
        decision("Conv", "no range"),
        decision("MatMul", "came so", own=True),
        decision("Gemm", "not asked", requested="fp16"),
        decision("Add", "came so and not asked", own=True, requested="fp16"),
    ]
    resolution = SimpleNamespace(
        decisions=dict(enumerate(decisions)), rules=[SimpleNamespace(precision="int8")], to_quantize=list
    )
    model = SimpleNamespace(ir_model=None)
    wb = SimpleNamespace(plan=SimpleNamespace(resolve=lambda: resolution), model=model)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(closing, "EDITS", {"remove_qdq": SimpleNamespace(offers=lambda *_: [])})
        came, nothing = closing._nothing(wb)
    assert came.startswith("2 nodes (1 MatMul, 1 Add) came quantized")
    assert "remove_qdq" not in came
    assert nothing == "nothing more was quantized: 1 Conv: no range"


def nothing(decisions, *precisions, quantized=(), tuned="b", model=None):
    """What is said of a plan that decides so, whose rules ask for these precisions; its source has the digest "b"."""
    resolution = SimpleNamespace(
        decisions=dict(enumerate(decisions)),
        rules=[SimpleNamespace(precision=precision) for precision in precisions],
        to_quantize=lambda: list(quantized),
    )
    wb = SimpleNamespace(
        plan=SimpleNamespace(resolve=lambda: resolution),
        model=model or SimpleNamespace(digest="b"),
        tuned=SimpleNamespace(digest="".join(tuned)),
    )
    return list(closing._nothing(wb))


def decision(op="Conv", precision="fp32", floating=None, requested="fp16", *, own=False):
    return SimpleNamespace(
        op_type=op,
        node=op.lower(),
        reasons=(),
        own=own,
        precision=precision,
        floating=floating or precision,
        requested=requested,
    )


def test_what_computes_on_integers_or_came_quantized_is_counted():
    ops = ("QLinearMatMul", "QLinearConv")
    (integers,) = nothing([decision(op, own=True) for op in ops], "int8", quantized=["conv"])
    assert integers == (
        "2 nodes (1 QLinearMatMul, 1 QLinearConv) compute on integers by definition, which TensorRT has no operator "
        "for: tune the floating-point model that it was made of"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(closing, "EDITS", {"remove_qdq": SimpleNamespace(offers=lambda *_: [])})
        (paired,) = nothing([decision(own=True), decision("Gemm", own=True)], "int8", quantized=["conv"])
    assert paired == "2 nodes (1 Conv, 1 Gemm) came quantized: their Q/DQ pairs stay as they are"


@pytest.mark.parametrize(
    ("precisions", "tuned", "quantized", "said"),
    [
        (["fp16"], "b", [], True),
        (["fp16", "fp32"], "b", [], True),
        (["fp16"], "a", [], False),
        (["fp16"], "c", [], False),
        (["fp32"], "b", [], False),
        (["fp16", "int8"], "b", ["conv"], False),
    ],
)
def test_a_plan_for_another_floating_type_changed_nothing_where_the_model_is_the_same(
    precisions, tuned, quantized, said
):
    actual = nothing([decision()], *precisions, tuned=tuned, quantized=quantized)
    assert actual == ["the plan changed nothing: no node takes what its rules ask for"] * said


@pytest.mark.parametrize(
    ("one", "already"),
    [
        (decision(precision="fp16"), True),
        (decision(precision="bf16"), False),  # asked for FP16
        (decision(precision="fp16", requested="bf16"), False),
        (decision(precision="fp32", requested="fp32"), False),
        (decision(precision="int8", floating="fp16", requested="int8"), False),
        (decision(precision="fp16", floating="bf16", requested="fp16"), False),
    ],
)
def test_a_node_has_a_type_already_where_it_gets_what_was_asked_for_in_its_own(one, already):
    (message,) = nothing([one], "fp16")
    why = "1 node (1 Conv) is fp16 already" if already else "no node takes what its rules ask for"
    assert message == f"the plan changed nothing: {why}"


def test_without_a_rule_it_is_said_what_multiplies():
    inputs, outputs = {"x": ["N", 8]}, {"y": ["N", 8], "z": ["N", 4], "u": ["N", 4]}
    nodes = [
        node("Relu", "x", "y"),
        node("Einsum", "x w", "z", "einsum", equation="ij,jk->ik"),
        node("Einsum", "x w", "u", "other", equation="ij,jk->ik"),
    ]
    graph = small_model(nodes, inputs, outputs, [numpy_helper.from_array(W, "w")])
    relu, one, other = decision("Relu"), decision("Einsum"), decision("Einsum")
    other.node = "other"
    relu.node = "Relu"
    assert nothing([decision("MatMul")], model=graph) == ["nothing was quantized: the plan has no rule"]
    assert nothing([relu], model=graph) == ["nothing was quantized: no node of the model multiplies"]
    (message,) = nothing([relu, one, other], model=graph)
    assert message.startswith("nothing was quantized: 2 nodes (2 Einsum) multiply, and of what multiplies Conv, ")
    (message,) = nothing([relu, one], model=graph)
    assert message.startswith("nothing was quantized: 1 node (1 Einsum) multiplies, and of what multiplies Conv, ")
    came, message = nothing([relu, decision("Relu", own=True)], model=graph)
    assert came.startswith("1 node (1 Relu) came quantized")
    assert message == "nothing more was quantized: no other node of the model multiplies"
