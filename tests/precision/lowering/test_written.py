"""What is written into a graph, node by node: the pairs, casts and constants, with their names, axes and types."""

from __future__ import annotations

import pytest

from tests.kit.networks import Net, network
from workbench.precision.lowering import activation_tensors, lower
from workbench.precision.plan import PrecisionPlan
from workbench.precision.plan.presets import PRESETS

INT8, MIXED, FP16 = PRESETS["int8"], PRESETS["int8+fp16"], PRESETS["fp16"]


def written(model, plan, storage=None, **ranges):
    """Return nodes and constants in the order of the graph, a line each."""
    resolution = plan.resolve(model, overflow={})
    needed = dict.fromkeys(activation_tensors(model, resolution), 127.0) | ranges
    lowered = lower(model, resolution, needed, weight_storage=storage).model
    lines = []
    for node in lowered.nodes.values():
        read, made = ([value.name for value in side] for side in (node.inputs, node.outputs))
        told = [f" {key}={node.attributes[key].as_int()}" for key in ("axis", "to") if key in node.attributes]
        lines.append(f"{node.name}: {', '.join(read)} -> {', '.join(made)}{''.join(told)}")
    constants = {
        name: f"{value.dtype.name} {'x'.join(map(str, value.shape.numpy()))}".strip()
        for name, value in lowered.initializers.items()
    }
    ends = [f"{tensor.name} {tensor.dtype}" for tensor in (*lowered.inputs, *lowered.outputs)]
    return lines, constants, ends


def pair(name, *, scale="scale", back="scale", source=None):
    """The lines of a Q/DQ pair of an activation."""
    point = f"{name}/zero_point"
    return [
        f"{name}/QuantizeLinear: {source or name}, {name}/{scale}, {point} -> {name}/quantized",
        f"{name}/DequantizeLinear: {name}/quantized, {name}/{back}, {point} -> {name}/dequantized",
    ]


def stored(name):
    """The line of a weight in 8 bits."""
    inputs = ", ".join(f"{name}/{part}" for part in ("quantized", "scale", "zero_point"))
    return f"{name}/DequantizeLinear: {inputs} -> {name}/dequantized axis=0"


def test_a_convolution_in_int8_reads_a_pair_and_a_weight_in_8_bits():
    nodes = [*pair("x"), stored("w0"), "Conv_0: x/dequantized, w0/dequantized, w1 -> t0"]
    constants = {"w1": "FLOAT 4", "x/scale": "FLOAT", "x/zero_point": "INT8", "w0/scale": "FLOAT 4"}
    constants |= {"w0/zero_point": "INT8 4", "w0/quantized": "INT8 4x4x3x3"}
    assert written(network("conv"), INT8) == (nodes, constants, ["x FLOAT", "t0 FLOAT"])
    assert written(network("conv"), INT8, "int8") == (nodes, constants, ["x FLOAT", "t0 FLOAT"])


def test_a_weight_that_is_stored_as_it_was_stands_behind_a_pair():
    nodes, constants, _ = written(network("conv"), INT8, "float")
    assert nodes[2:] == [
        "w0/QuantizeLinear: w0, w0/scale, w0/zero_point -> w0/quantized axis=0",
        "w0/DequantizeLinear: w0/quantized, w0/scale, w0/zero_point -> w0/dequantized axis=0",
        "Conv_0: x/dequantized, w0/dequantized, w1 -> t0",
    ]
    assert (constants["w0"], "w0/quantized" in constants) == ("FLOAT 4x4x3x3", False)


def test_over_fp16_pairs_are_the_casts_and_only_the_end_of_the_model_has_one():
    nodes, constants, ends = written(network("conv", "conv", opset=19), MIXED)
    assert nodes == [
        *pair("x", scale="scale/float"),
        stored("w0"),
        "Conv_0: x/dequantized, w0/dequantized, w1/float16 -> t0",
        *pair("t0"),
        stored("w2"),
        "Conv_1: t0/dequantized, w2/dequantized, w3/float16 -> t1/float16",
        "t1/Cast: t1/float16 -> t1 to=1",
    ]
    assert {name: kind for name, kind in constants.items() if "zero" not in name and "quantized" not in name} == {
        "x/scale": "FLOAT16",
        "x/scale/float": "FLOAT",
        "t0/scale": "FLOAT16",
        "w0/scale": "FLOAT16 4",
        "w2/scale": "FLOAT16 4",
        "w1/float16": "FLOAT16 4",
        "w3/float16": "FLOAT16 4",
    }
    assert ends == ["x FLOAT", "t1 FLOAT"]


def test_a_scale_that_fp16_cannot_hold_has_a_pair_in_fp32_with_casts_around():
    nodes, constants, _ = written(network("conv", "conv", opset=19), MIXED, "float", t0=1e-5)
    assert nodes[4:9] == [
        "Conv_0: x/dequantized, w0/dequantized, w1/float16 -> t0",
        "t0/float/Cast: t0 -> t0/float to=1",
        *pair("t0/float"),
        "t0/float/dequantized/float16/Cast: t0/float/dequantized -> t0/float/dequantized/float16 to=10",
    ]
    assert (constants["t0/float/scale"], constants["w0/scale"], constants["w0/scale/float"]) == (
        "FLOAT",
        "FLOAT16 4",
        "FLOAT 4",
    )


def test_below_operator_set_19_casts_stand_behind_pairs():
    nodes, constants, _ = written(network("conv", opset=13), MIXED)
    assert nodes == [
        *pair("x"),
        "x/dequantized/float16/Cast: x/dequantized -> x/dequantized/float16 to=10",
        stored("w0"),
        "w0/dequantized/float16/Cast: w0/dequantized -> w0/dequantized/float16 to=10",
        "Conv_0: x/dequantized/float16, w0/dequantized/float16, w1/float16 -> t0/float16",
        "t0/Cast: t0/float16 -> t0 to=1",
    ]
    assert (constants["x/scale"], constants["w0/scale"]) == ("FLOAT", "FLOAT 4")


def test_casts_stand_where_types_meet():
    net = Net()
    nodes, constants, ends = written(net.model(net.op("Exp", net.conv(net.conv("x")))), FP16)
    assert nodes == [
        "x/float16/Cast: x -> x/float16 to=10",
        "Conv_0: x/float16, w0/float16, w1/float16 -> t0",
        "Conv_1: t0, w2/float16, w3/float16 -> t1",
        "t1/float/Cast: t1 -> t1/float to=1",
        "Exp_2: t1/float -> t2",
    ]
    assert constants == {f"w{at}/float16": kind for at, kind in enumerate(("FLOAT16 4x4x3x3", "FLOAT16 4") * 2)}
    assert ends == ["x FLOAT", "t2 FLOAT"]


def test_a_tensor_that_is_read_in_two_types_has_a_pair_for_each():
    plan = MIXED.with_rule("name:Conv_1", "fp32").with_rule("name:Conv_1", "int8")
    nodes, _, _ = written(network("two_readers", opset=19), plan)
    assert nodes == [
        *pair("x/int8/fp32", source="x"),
        *pair("x", scale="scale/float"),
        stored("w0"),
        "Conv_0: x/dequantized, w0/dequantized, w1/float16 -> t0",
        "t0/float/Cast: t0 -> t0/float to=1",
        stored("w2"),
        "Conv_1: x/int8/fp32/dequantized, w2/dequantized, w3 -> t1",
        "Mul_2: t0/float, t1 -> t2",
    ]


@pytest.mark.parametrize(
    ("options", "ends"),
    [
        ({"keep_inputs": False, "keep_outputs": False}, ["x FLOAT16", "t0 FLOAT16"]),
        ({"keep_inputs": False}, ["x FLOAT16", "t0 FLOAT"]),
        ({"keep_outputs": False}, ["x FLOAT", "t0 FLOAT16"]),
        ({}, ["x FLOAT", "t0 FLOAT"]),
    ],
)
def test_the_ends_of_a_model_change_type_where_a_rule_says_so(options, ends):
    nodes, _, actual = written(network("conv"), PrecisionPlan().with_rule("*", "fp16", **options))
    assert actual == ends
    assert len(nodes) == 1 + ends.count("x FLOAT") + ends.count("t0 FLOAT")
