"""Causes that TensorRT-RTX does not tell by itself: each is asked of the real compiler, on the smallest model."""

from __future__ import annotations

import re
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

import workbench
from workbench.backends.compiler import rtx_capabilities
from workbench.backends.profiles import ProfileInput, default_range
from workbench.backends.protocol import ShapeRange
from workbench.backends.verdict.assumed import alternatives, assumed_text, written
from workbench.backends.verdict.blame import first_line
from workbench.backends.verdict.cause import CauseSite
from workbench.backends.verdict.checking import check
from workbench.backends.verdict.mending import mend
from workbench.backends.verdict.tensor_types import range_length
from workbench.graph import Tensor, from_proto
from workbench.graph.edits import EDITS
from workbench.runtime import Session

pytestmark = pytest.mark.skipif(
    not rtx_capabilities().build, reason="tensorrt_rtx is not installed: pip install trt-workbench[rtx]"
)

FLOAT, HALF = TensorProto.FLOAT, TensorProto.FLOAT16
node = helper.make_node


def made(nodes, inputs, outputs, weights=(), *, opset=21, domains=()):
    """A model; inputs and outputs are {name: shape} of floats, or {name: (dtype, shape)}."""
    both = [
        [
            helper.make_tensor_value_info(name, *(arguments if isinstance(arguments, tuple) else (FLOAT, arguments)))
            for name, arguments in stated.items()
        ]
        for stated in (inputs, outputs)
    ]
    graph = helper.make_graph(nodes, "made", *both, list(weights))
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
    return helper.make_model(graph, opset_imports=imports, ir_version=10 if opset < 23 else 12)


def numbers(name, values, dtype=np.float32):
    return numpy_helper.from_array(np.asarray(values, dtype), name)


def four_bits(kind, rows=64, columns=32):
    values = np.random.default_rng(0).integers(0, 6, rows * columns)
    return helper.make_tensor("q", kind, [rows, columns], values)


def block_weights(kind, scale, block, *, opset=23):
    """A product whose weights have 4 bits and one scale a block."""
    nodes = [
        node("DequantizeLinear", ["q", "s"], ["d"], "dq", axis=0, block_size=block, output_dtype=FLOAT),
        node("MatMul", ["x", "d"], ["y"], "mm"),
    ]
    if opset < 23:
        del nodes[0].attribute[-1]
    return made(nodes, {"x": [4, 64]}, {"y": [4, 32]}, [four_bits(kind), scale], opset=opset)


def scales(block, dtype=np.float32):
    return numbers("s", np.full((64 // block, 32), 0.25), dtype)


def pair_of(first, second):
    """A product of an activation quantized to one type and weights stored in another."""
    zero = {"int8": np.int8, "fp8": ml_dtypes.float8_e4m3fn}
    weights = [numbers("s", 0.1), numbers("z", 0, zero[first]), numbers("wz", 0, zero[second])]
    weights.append(numbers("w", np.ones((8, 8)), zero[second]))
    nodes = [
        node("QuantizeLinear", ["x", "s", "z"], ["q"], "q"),
        node("DequantizeLinear", ["q", "s", "z"], ["d"], "dq"),
        node("DequantizeLinear", ["w", "s", "wz"], ["e"], "wdq"),
        node("Transpose", ["e"], ["f"], "turn"),
        node("MatMul", ["d", "f"], ["y"], "mm"),
    ]
    return made(nodes, {"x": [4, 8]}, {"y": [4, 8]}, weights)


def attention(kind, shape, **attributes):
    inputs = dict.fromkeys("qkv", (kind, shape))
    return made([node("Attention", [*"qkv"], ["y"], "att", **attributes)], inputs, {"y": (kind, shape)}, opset=23)


def of_domain(domain, op, kind=FLOAT):
    return made([node(op, ["x"], ["y"], "it", domain=domain)], {"x": (kind, [4])}, {"y": (kind, [4])}, domains=[domain])


NINE = made([node("Transpose", ["x"], ["y"], "turn")], {"x": [1, 2] * 4 + [2]}, {"y": [2, *[2, 1] * 4]})
NINE_INSIDE = made(
    [node("Reshape", ["x", "k"], ["t"], "wide"), node("Neg", ["t"], ["n"], "neg"), node("Reshape", ["n", "l"], ["y"])],
    {"x": [16]},
    {"y": [16]},
    [numbers("k", [1, 2] * 4 + [1], np.int64), numbers("l", [16], np.int64)],
)


BOXES = made(
    [node("NonMaxSuppression", ["b", "s", "m"], ["pick"], "")],
    {"b": [1, 6, 4], "s": [1, 1, 6]},
    {"pick": (TensorProto.INT64, ["n", 3])},
    [numbers("m", [3], np.int64)],
)
FED_AXES = made(
    [node("ReduceSum", ["x", "a"], ["y"], "sum")], {"x": [2, 4], "a": (TensorProto.INT64, [1])}, {"y": [2, 1]}
)
CACHED = made(
    [node("Attention", ["q", "k", "v", "", "pk", "pv"], ["y", "nk", "nv"], "att")],
    dict.fromkeys(["q", "k", "v", "pk", "pv"], (HALF, [1, 2, 16, 16])),
    {"y": (HALF, [1, 2, 16, 16]), "nk": (HALF, [1, 2, 32, 16]), "nv": (HALF, [1, 2, 32, 16])},
    opset=23,
)


def trains(op):
    if op == "Dropout":
        weights = [numbers("r", 0.5), numbers("t", True, np.bool_)]
        return made([node(op, ["x", "r", "t"], ["y"], "it")], {"x": [4]}, {"y": [4]}, weights)
    weights = [numbers(name, np.ones(3)) for name in "sbmv"]
    norm = node(op, ["x", *"sbmv"], ["y", "rm", "rv"], "it", training_mode=1)
    return made([norm], {"x": [2, 3, 4, 4]}, {"y": [2, 3, 4, 4]}, weights)


INTEGER = made(
    [node("MatMulInteger", ["x", "w"], ["y"], "it")],
    {"x": (TensorProto.INT8, [2, 4])},
    {"y": (TensorProto.INT32, [2, 3])},
    [numbers("w", np.ones((4, 3)), np.int8)],
)
AT_RUN_TIME = made(
    [
        node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"], "it"),
        node("DequantizeLinear", ["q", "s", "z"], ["y"], "dq"),
    ],
    {"x": [4]},
    {"y": [4]},
)
UINT8_INSIDE = made(
    [node("Cast", ["x"], ["t"], "to", to=TensorProto.UINT8), node("Cast", ["t"], ["y"], "back", to=FLOAT)],
    {"x": [4]},
    {"y": [4]},
)


@pytest.mark.parametrize(
    ("name", "model", "target", "cause", "at", "words"),
    [
        ("E8M0", block_weights(TensorProto.FLOAT4E2M1, scales(32, ml_dtypes.float8_e8m0fnu), 32), "sm120",
         "data-type", "dq", "FLOAT8E8M0"),
        ("FP4", block_weights(TensorProto.FLOAT4E2M1, scales(16), 16), "sm89", "fp4-target", "dq", "Blackwell"),
        ("INT4", block_weights(TensorProto.INT4, scales(32), 32, opset=21), "sm75", "int4-target", "dq", "sm80"),
        ("UINT4", block_weights(TensorProto.UINT4, scales(32), 32, opset=21), "sm86", "width", "dq", "INT4"),
        ("FP8 with INT8", pair_of("fp8", "int8"), "sm89", "two-kinds", "mm", "INT8 and the other to FP8"),
        ("INT8 with FP8", pair_of("int8", "fp8"), "sm89", "two-kinds", "mm", "fp8"),
        ("nine axes", NINE, "sm86", "rank", "turn", "9 axes"),
        ("nine axes inside", NINE_INSIDE, "sm86", "rank", "wide", "Reshape"),
        ("Attention", attention(FLOAT, [1, 2, 16, 16]), "sm86", "attention-type", "att", "FP16"),
        ("small heads", attention(HALF, [1, 2, 16, 8]), "sm86", "attention-shape", "att", "heads"),
        ("Attention with a cache", CACHED, "sm86", "attention-outputs", "att", "Concat"),
        ("BatchNormalization that trains", trains("BatchNormalization"), "sm86", "training", "it", "model.eval()"),
        ("Dropout that trains", trains("Dropout"), "sm86", "training", "it", "training mode"),
        ("extensions", of_domain("ai.onnx.contrib", "BBox"), "sm86", "extensions", "it", "onnxruntime-extensions"),
        ("text", of_domain("ai.onnx.contrib", "Lower", TensorProto.STRING), "sm86", "extensions", "it", "outside"),
        ("contrib", of_domain("com.microsoft", "BiasGelu"), "sm86", "custom-domain", "it", "graph optimizations"),
        ("integer, ONNX's own", INTEGER, "sm86", "integer-operator", "it", "Q/DQ pairs"),
        ("quantized at run time", AT_RUN_TIME, "sm86", "integer-operator", "it", "QuantFormat.QDQ"),
        ("integer", of_domain("com.microsoft", "QLinearAdd"), "sm86", "integer-operator", "it", "QuantFormat.QDQ"),
        ("axes that are fed", FED_AXES, "sm86", "computed", "sum", "fold constants"),
        ("UINT8 between nodes", UINT8_INSIDE, "sm86", "uint8-inside", "to", "INT32"),
        ("no kernel", BOXES, "sm86", "no-kernel", "pick", "extract"),
        ("own", of_domain("my.ops", "Own"), "sm86", "custom-domain", "it", "plugin"),
    ],
)  # fmt: skip
def test_a_refusal_has_its_cause_at_its_node(name, model, target, cause, at, words):
    verdict = check(model, target)
    assert not verdict.accepted
    by_name = {node.node: node for node in verdict.refused}
    assert by_name[at].cause == cause, name
    assert words in f"{by_name[at].reason} {by_name[at].fix.text}"
    assert "named no node" not in str(verdict)


@pytest.mark.parametrize(
    ("model", "target"),
    [
        (block_weights(TensorProto.FLOAT4E2M1, scales(32), 32), "sm120"),  # what the fix for E8M0 says
        (block_weights(TensorProto.INT4, scales(32), 32, opset=21), "sm80"),
        (attention(HALF, [1, 2, 16, 16]), "sm86"),
        (attention(FLOAT, [1, 16, 32], q_num_heads=2, kv_num_heads=2), "sm86"),
        (pair_of("fp8", "fp8"), "sm89"),
    ],
)
def test_what_the_fixes_say_is_taken(model, target):
    assert check(model, target).accepted


def quantized_16_bits(domain):
    weights = [numbers("s", 0.1), numbers("z", 0, np.int16)]
    nodes = [
        node("QuantizeLinear", ["x", "s", "z"], ["q"], "q", domain=domain),
        node("DequantizeLinear", ["q", "s", "z"], ["y"], "dq", domain=domain),
    ]
    return made(nodes, {"x": [4]}, {"y": [4]}, weights, domains=[domain] * bool(domain))


@pytest.mark.parametrize("domain", ["", "com.microsoft"])
def test_quantization_to_16_bits_says_so_in_both_domains(domain):
    verdict = check(quantized_16_bits(domain))
    assert [(entry.node, entry.cause) for entry in verdict.refused] == [("q", "width"), ("dq", "width")]
    assert "INT16" in str(verdict)
    assert {entry.fix.text for entry in verdict.refused} == {"Quantize to INT8, or leave this in floating point."}


@pytest.mark.parametrize("name", ["mm", "", "x", "w", "y"])
def test_a_cause_finds_its_node_whatever_that_is_called(name):
    model = made([node("MatMul", ["x", "w"], ["y"], name)], {"x": [4, 8]}, {"y": [4, 8]}, [numbers("w", np.eye(8))])
    (refused,) = check(model, "sm75").refused
    assert refused.cause == "turing-matrix-product"
    assert refused.node == (name or "y")


def test_an_input_that_tensorrt_does_not_have_is_named():
    verdict = check(of_domain("ai.onnx.contrib", "Lower", TensorProto.STRING))
    assert "input 'x' is STRING" in str(verdict)


def test_every_edit_that_a_message_names_is_there():
    sources = [*Path(workbench.__file__).parent.rglob("*.py")]
    named = {name for path in sources for name in re.findall(r"wb\.edit\('(\w+)'", path.read_text())}
    assert len(named) > 2
    assert named <= EDITS.keys()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            'softcap == 0.0 && "Setting softcap is not supported." (in function check, X)',
            "Setting softcap is not supported.",
        ),
        ("Assertion failed: f(axes): Axis must be constant! (in function import, X)", "Axis must be constant!"),
        ("Assertion failed: (t == Kind::kA): This version only. (in function import, X)", "This version only"),
        ("Invalid Node - Y\nKey and Value must agree", "Key and Value must agree"),
    ],
)
def test_the_sentence_for_people_is_what_is_told_of_an_assertion(text, message):
    assert first_line(text) == message


def test_an_error_of_an_importer_finds_the_nodes_of_its_operator():
    inputs = {"x": [4], "i": (TensorProto.INT64, [2]), "u": [2]}
    model = made([node("ScatterElements", [*"xiu"], ["y"], "scatter", reduction="mul")], inputs, {"y": [4]})
    (refused,) = check(model).refused
    assert refused.node == "scatter"
    assert "Unsupported reduction type" in refused.reason


def test_four_bits_at_the_end_of_a_model_are_named():
    model = made([node("Cast", ["x"], ["y"], "cast", to=FLOAT)], {"x": (TensorProto.INT4, [4])}, {"y": [4]})
    assert "'x' is an input of type INT4" in str(check(model))


def test_an_edit_is_offered_where_it_can_be_done_and_changes_something():
    nodes = [node("DequantizeLinear", ["q", "s", "z"], ["y"], "dq")]
    inputs = {"q": (TensorProto.UINT8, [4]), "s": [], "z": (TensorProto.UINT8, [])}
    verdict = check(made(nodes, inputs, {"y": [4]}))
    assert not verdict.accepted
    assert verdict.fixes == ()
    assert verdict.refused[0].fix.text
    mended = mend(
        from_proto(
            made(
                [node("Gemm", ["x", "w"], ["y"], "gemm")],
                {"x": [2, 3, 4]},
                {"y": [2, 3, 5]},
                [numbers("w", np.ones((4, 5)))],
            )
        )
    )
    assert mended.verdict.accepted == bool(mended.edits)


def test_an_input_that_is_no_tensor_is_named():
    model = made([node("ConcatFromSequence", ["s"], ["y"], "join", axis=0)], {}, {"y": [None, 4]})
    model.graph.input.append(helper.make_tensor_sequence_value_info("s", FLOAT, [None, 4]))
    assert "input 's' is a sequence of FLOAT" in str(check(model))


def test_scales_of_blocks_are_no_operands_that_could_be_dequantized():
    eight = helper.make_tensor("t", TensorProto.FLOAT8E4M3FN, [4, 32], np.ones(128))
    nodes = [
        node("DequantizeLinear", ["t", "u"], ["s"], "scale"),
        node("DequantizeLinear", ["q", "s"], ["d"], "dq", axis=0, block_size=16),
        node("MatMul", ["x", "d"], ["y"], "mm"),
    ]
    weights = [four_bits(TensorProto.FLOAT4E2M1), eight, numbers("u", 0.1)]
    model = from_proto(made(nodes, {"x": [4, 64]}, {"y": [4, 32]}, weights, opset=23))
    mended = mend(model, "sm89")
    assert [entry.cause for entry in mended.verdict.refused] == ["fp4-target"]
    assert mended.edits == ()


def computes():
    """What the network may compute each operator in, all of which read one dequantized tensor."""
    more = [numbers("k", np.ones((4, 4, 1, 1))), numbers("m", np.ones((8, 8))), numbers("g", np.ones(8))]
    quantized = [
        node("QuantizeLinear", ["x", "s", "z"], ["q"], "q"),
        node("DequantizeLinear", ["q", "s", "z"], ["d"], "dq"),
    ]
    nodes = {
        "Conv": node("Conv", ["d", "k"], ["Conv"], "Conv"),
        "MatMul": node("MatMul", ["d", "m"], ["MatMul"], "MatMul"),
        "square": node("MatMul", ["d", "d"], ["square"], "square"),
        "Softmax": node("Softmax", ["d"], ["Softmax"], "Softmax"),
        "Erf": node("Erf", ["d"], ["Erf"], "Erf"),
        "Add": node("Add", ["d", "d"], ["Add"], "Add"),
        "pool": node("MaxPool", ["d"], ["pool"], "pool", kernel_shape=[2, 2]),
        "norm": node("LayerNormalization", ["d", "g"], ["norm"], "norm"),
        "mean": node("ReduceMean", ["d"], ["mean"], "mean"),
    }
    weights = [numbers("s", 0.1), numbers("z", 0, np.int8), *more]
    outputs = dict.fromkeys(nodes)
    verdict = check(made([*quantized, *nodes.values()], {"x": [1, 4, 8, 8]}, outputs, weights))
    return {entry.node: entry.arithmetic for entry in verdict.nodes}


def test_int8_is_said_of_what_can_compute_in_it():
    actual = computes()
    assert {name for name, kind in actual.items() if kind == "INT8"} == {"dq", "square", "Add", "pool"}
    assert {kind for name, kind in actual.items() if kind != "INT8"} == {"FLOAT"}


def test_a_scalar_that_becomes_a_shape_has_a_profile():
    nodes = [node("Range", ["s", "n", "d"], ["r"], "range"), node("Cast", ["r"], ["y"], "cast", to=1)]
    weights = [numbers("s", 0, np.int64), numbers("d", 1, np.int64)]
    verdict = check(made(nodes, {"n": (TensorProto.INT64, [])}, {"y": ["length"]}, weights))
    assert verdict.accepted
    assert verdict.profile[0].range == ShapeRange.fixed((1,))


def test_channels_may_come_last():
    assert default_range((-1, -1, -1, 3)).opt == (1, 224, 224, 3)
    assert default_range((-1, -1, -1, 64)).opt == (1, 3, 224, 64)
    assert default_range((-1, 3, -1, -1)).opt == (1, 3, 224, 224)


def needs_length(length):
    """A model that is dynamic and takes one length alone."""
    nodes = [node("Reshape", ["x", "k"], ["t"], "reshape"), node("MatMul", ["t", "w"], ["y"], "mm")]
    weights = [numbers("k", [1, length], np.int64), numbers("w", np.ones((length, 4)))]
    return made(nodes, {"x": ["n", "t"]}, {"y": [1, 4]}, weights)


def test_other_shapes_are_tried_before_a_model_is_refused_for_those_that_were_made_up():
    verdict = check(needs_length(256))
    assert verdict.accepted
    assert [assumed_text(profile) for profile in verdict.tried] == ["x 1x128 to 8x128", "x 1x128"]
    assert "shapes were assumed: x 1x256; refused for x 1x128 to 8x128" in str(verdict)
    refused = check(needs_length(57))
    assert not refused.accepted
    assert "give those it is made for, like --shape x:1x128" in str(refused)
    assert len(refused.tried) > 2
    arguments = check(needs_length(57), shapes={"x": (1, 57)})
    assert arguments.accepted
    assert (arguments.tried, "assumed" in str(arguments)) == ((), False)


def test_given_shapes_and_stated_lengths_stay_in_every_trial():
    profile = (
        ProfileInput("x", ShapeRange((1, 3, 224, 224), (1, 3, 224, 224), (8, 3, 224, 224)), stated=False),
        ProfileInput("y", ShapeRange.fixed((1, 128)), stated=True),
        ProfileInput("z", ShapeRange((1, 128, 128), (1, 128, 128), (8, 128, 128)), stated=False),
    )
    inputs = [Tensor("x", ("n", 3, "h", None), "FLOAT"), Tensor("z", ("n", "t", 128), "FLOAT")]
    trials = list(alternatives(profile, inputs))
    assert [trial["x"].opt for trial in trials][:2] == [(1, 3, 224, 224), (1, 3, 256, 256)]
    assert {trial["y"].opt for trial in trials} == {(1, 128)}
    assert {trial["z"].opt[2] for trial in trials} == {128}
    assert all(trial["x"].max[0] == 1 for trial in trials)
    assert written(profile) == "--shape x:1x3x224x224 --shape z:1x128x128"


@pytest.mark.parametrize(
    ("ends", "length", "of_onnx"),
    [((0, 1, 0.01), 100, 101), ((0, 1.1, 0.1), 11, 12), ((0, 1, 0.1), 10, 10), ((3, 1, -0.5), 4, 4)],
)
def test_a_range_of_fractions_may_have_another_length(ends, length, of_onnx):
    weights = [numbers(name, value) for name, value in zip("abc", ends, strict=True)]
    nodes = [
        node("Range", ["a", "b", "c"], ["r"], "range"),
        node("Neg", ["r"], ["n"], "minus"),
        node("Mul", ["x", "n"], ["y"], "mul"),
    ]

    def ranged(x):
        return from_proto(made(nodes, {"x": [x]}, {"y": [None]}, weights))

    assert Session(ranged(1)).run({"x": np.ones(1, np.float32)})["y"].shape == (of_onnx,)
    verdict = check(ranged(length), "sm86")  # a product of as many numbers
    assert verdict.accepted
    if length == of_onnx:
        assert (verdict.nodes[0].status, verdict.nodes[0].cause) == ("accepted", None)
    else:
        assert (verdict.nodes[0].status, verdict.nodes[0].cause) == ("changed", "range-length")
        reason = f"TensorRT counts its elements in FP32: {length}, where ONNX has {of_onnx}"
        assert verdict.nodes[0].reason == reason
        refused = next(one for one in check(ranged(of_onnx), "sm86").nodes if one.status == "refused")
        assert (refused.node, refused.cause) == ("mul", "behind-range")
        assert refused.reason == (
            f"the Range range before it has {length} elements in TensorRT, which counts them in FP32, "
            f"and {of_onnx} in ONNX: shapes do not fit"
        )
        assert refused.fix.text.startswith("range: Store its values as a constant")


@pytest.mark.parametrize("ends", [(1, 0, 0.5), (0, 1, 0), (0, np.inf, 1), (0, 0, 0)])
def test_a_range_of_nothing_or_without_an_end_has_no_length_to_compare(ends):
    values = [
        ir.Value(name=name, const_value=ir.Tensor(np.array(end, np.float32)))
        for name, end in zip("abc", ends, strict=True)
    ]
    assert range_length(CauseSite(ir.Node("", "Range", values), 17, 86)) is None
    fraction = [
        ir.Value(name=name, const_value=ir.Tensor(np.array(end, np.float64)))
        for name, end in zip("abc", (0, 1, 0.01), strict=True)
    ]
    assert range_length(CauseSite(ir.Node("", "Range", fraction), 17, 86)) is None
    assert range_length(CauseSite(ir.Node("", "Range", [ir.Value(name="a"), *values[1:]]), 17, 86)) is None
