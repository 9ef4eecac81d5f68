"""What rules come to on a model: constraints of single nodes, of neighbours, of the target, one by one."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.kit.models import model as made
from tests.kit.models import weight
from tests.kit.networks import Net, network
from workbench.precision.plan import PrecisionPlan
from workbench.precision.plan.myelin import left_in_fp32
from workbench.precision.plan.presets import PRESETS, all_int8, patch_embeddings
from workbench.precision.plan.regions import Wish, settle
from workbench.precision.plan.resolve import quantized_edges
from workbench.precision.targets import parse_target

INT8 = PrecisionPlan().with_rule("*", "int8")


def told(resolution, node):
    decision = resolution[node]
    return decision.precision, decision.floating, decision.reasons


def test_where_only_weights_are_asked_for_a_product_of_computed_tensors_stays_floating():
    model = network("conv", head="attention")
    resolution = PrecisionPlan().with_rule("op:MatMul", "int8", weight_only=True).resolve(model)
    products = [(name, node) for name, node in model.nodes.items() if node.op_type == "MatMul"]
    weighted = [name for name, node in products if node.inputs[1].is_initializer()]
    assert resolution.nodes("int8") == weighted
    assert len(weighted) == 3
    other = next(name for name, _ in products if name not in weighted)
    assert told(resolution, other) == ("fp32", "fp32", ("only weights are to be quantized, and it has none",))
    # Of weights alone no activation reads through a pair.
    assert quantized_edges(model, resolution) == {(name, 1) for name in weighted}
    whole = PrecisionPlan().with_rule(f"name:{weighted[0]}", "int8").resolve(model)
    assert quantized_edges(model, whole) == {(weighted[0], 0), (weighted[0], 1)}


def test_a_node_has_the_last_rule_and_floats_as_the_last_floating_rule_says():
    model = network("conv", "sigmoid", "conv")
    plan = INT8.with_rule("name:Conv_2", "bf16").with_rule("*", "fp16").with_rule("op:Conv", "fp8")
    resolution = plan.resolve(model)
    assert [(d.node, d.requested, d.precision, d.rule, d.floating_rule) for d in resolution.decisions.values()] == [
        ("Conv_0", "fp8", "fp8", 3, 2),
        ("Sigmoid_1", "fp16", "fp16", 2, 2),
        ("Conv_2", "fp8", "fp8", 3, 2),
    ]
    assert {d.floating for d in resolution.decisions.values()} == {"fp16"}
    refused = INT8.with_rule("*", "bf16").with_rule("*", "int8").resolve(model)["Sigmoid_1"]
    assert (refused.precision, refused.floating, len(refused.reasons)) == ("bf16", "bf16", 1)


UNRANGED = {"x": "3 NaN and 0 infinite values were seen"}


@pytest.mark.parametrize(
    ("options", "precision"), [({}, "fp16"), ({"amax": 2.0}, "int8"), ({"weight_only": True}, "int8")]
)
def test_what_reads_a_tensor_without_a_range_stays_floating_unless_its_rule_needs_none(options, precision):
    plan = PrecisionPlan().with_rule("*", "fp16").with_rule("op:Conv", "int8", **options)
    resolution = plan.resolve(network("conv", "conv"), unranged=UNRANGED)
    assert [resolution[f"Conv_{at}"].precision for at in (0, 1)] == [precision, "int8"]
    reason = f"its input 'x' has no range: {UNRANGED['x']}"
    assert resolution["Conv_0"].reasons == (() if precision == "int8" else (reason,))


@pytest.mark.parametrize(
    ("group", "options", "target", "left"),
    [
        (4, {}, "rtx", True),
        (4, {}, "tensorrt-10", False),
        (4, {}, None, False),
        (2, {}, "rtx", False),  # two channels a group
        (1, {}, "rtx", False),
        (4, {"weight_only": True}, "rtx", False),
    ],
)
def test_depthwise_convolutions_stay_floating_where_they_make_engines_large(group, options, target, left):
    net = Net()
    model = net.model(net.conv("x", group=group))
    plan = PrecisionPlan().with_rule("*", "fp16").with_rule("op:Conv", "int8", **options)
    resolution = plan.resolve(model, target=None if target is None else parse_target(target))
    reason = "in 8 bits a depthwise convolution makes engines of rtx many times as large"
    assert told(resolution, "Conv_0") == ("fp16" if left else "int8", "fp16", (reason,) if left else ())


def test_a_convolution_of_one_channel_is_not_depthwise():
    weight = numpy_helper.from_array(np.ones((4, 1, 3, 3), np.float32), "w")
    conv = helper.make_node("Conv", ["x", "w"], ["y"], "one")
    model = made([conv], {"x": [1, 1, 8, 8]}, {"y": [1, 4, 6, 6]}, [weight])
    assert INT8.resolve(model, target=parse_target("rtx")).nodes("int8") == ["one"]


def test_a_residual_add_goes_with_its_convolution():
    model = network("residual")
    plan = INT8.with_rule("name:Conv_2", "fp32")
    reason = "the convolution 'Conv_2' before it is fp32, so the two cannot be fused"
    assert told(plan.resolve(model), "Add_4") == ("fp32", "fp32", (reason,))
    assert told(INT8.resolve(model), "Add_4") == ("int8", "fp32", ())
    assert all_int8(model).decisions == INT8.resolve(model).decisions


def test_a_weakly_typed_builder_chooses_floating_types_itself():
    model = network("conv", head="attention")
    plan = PRESETS["fp16"]
    softmax = next(name for name, node in model.nodes.items() if node.op_type == "Softmax")
    kinds = {
        target: plan.resolve(model, target=parse_target(target))[softmax].floating
        for target in ("tensorrt-8.6", "tensorrt-10")
    }
    assert kinds == {"tensorrt-8.6": "fp16", "tensorrt-10": "fp32"}


def test_rules_that_select_nothing_are_known_by_their_positions():
    plan = PrecisionPlan().with_rule("op:Gemm", "int8").with_rule("*", "fp16").with_rule("name:nobody", "fp32")
    assert plan.idle(network("conv")) == (0, 2)
    assert [plan._card().headline, PrecisionPlan()._card().headline] == [
        "3 rules; the last that selects a node decides",
        "no rules",
    ]
    assert plan._card().rows[1] == (1, "* -> fp16")


# What TensorRT 8 leaves in FP32


@pytest.mark.parametrize(
    ("selector", "target", "left"),
    [
        ("op:MatMul", "tensorrt-8.6", True),
        ("op:MatMul", "tensorrt-10", False),
        ("op:MatMul", None, False),
        ("op:Conv", "tensorrt-8.6", False),
    ],
)
def test_one_quantized_product_leaves_all_but_convolutions_and_pools_in_fp32(selector, target, left):
    model = network("conv", "pool", "upsample", head="matmul")
    plan = PRESETS["fp16"].with_rule(selector, "int8")
    resolution = plan.resolve(model, target=None if target is None else parse_target(target))
    assert left_in_fp32(resolution) == (["Reshape_4", "Transpose_5", "Add_7"] if left else [])


# Presets


@pytest.mark.parametrize(
    ("shape", "strides", "group", "cuts"),
    [
        ((8, 3, 4, 4), [4, 4], 1, True),
        ((8, 4, 4, 4), [4, 4], 1, True),
        ((8, 5, 4, 4), [4, 4], 1, False),
        ((8, 3, 3, 3), [3, 3], 1, False),
        ((8, 3, 4, 3), [4, 3], 1, False),
        ((8, 3, 5, 6), [5, 6], 1, True),
        ((8, 3, 5, 6), [5, 5], 1, False),
        ((8, 3, 5), [5], 1, True),
        ((8, 3, 4, 4), None, 1, False),
        ((8, 1, 4, 4), [4, 4], 3, False),
    ],
)
def test_a_patch_embedding_has_few_channels_and_kernels_that_do_not_overlap(shape, strides, group, cuts):
    weight = numpy_helper.from_array(np.ones(shape, np.float32), "w")
    more = {} if strides is None else {"strides": strides}
    conv = helper.make_node("Conv", ["x", "w"], ["y"], "embed", group=group, **more)
    channels = shape[1] * group
    sizes = [32] * (len(shape) - 2)
    model = made([conv], {"x": [1, channels, *sizes]}, {"y": None}, [weight])
    assert patch_embeddings(model) == (["embed"] if cuts else [])


def test_a_convolution_whose_weight_is_computed_cuts_no_patches():
    nodes = [
        helper.make_node("Relu", ["w"], ["k"], "relu"),
        helper.make_node("Conv", ["x", "k"], ["y"], "conv", strides=[4, 4]),
    ]
    free = made(nodes, {"x": [1, 3, 8, 8], "w": ["O", 3, 4, 4]}, {"y": None})
    assert patch_embeddings(free) == []


# Casts


def chain(length, *, ends=("Exp", "Log")):
    """A convolution, a steep function, light nodes, a steep function, a convolution."""
    net = Net()
    x = net.op(ends[0], net.conv("x"))
    for _ in range(length):
        x = net.op("Relu", x)
    return net.model(net.conv(net.op(ends[1], x)))


def kinds(model, *, literal=(), kind="fp16", **options):
    wishes = {node: Wish(kind, literal=node in literal) for node in model.nodes}
    return {
        node: floating for node, (floating, _) in settle(model, wishes, options.get("quantized", set()), {}).items()
    }


@pytest.mark.parametrize(("length", "absorbed"), [(1, True), (2, True), (4, True), (5, False)])
def test_four_light_nodes_between_two_in_fp32_are_taken_in(length, absorbed):
    found = kinds(chain(length))
    assert [found[f"Relu_{2 + at}"] for at in range(length)] == ["fp32" if absorbed else "fp16"] * length
    assert (found["Conv_0"], found["Exp_1"], found[f"Log_{2 + length}"]) == ("fp16", "fp32", "fp32")


def test_what_is_meant_literally_or_multiplies_is_not_taken_in():
    assert kinds(chain(1), literal={"Relu_2"})["Relu_2"] == "fp16"
    net = Net()
    model = net.model(net.op("Log", net.conv(net.op("Exp", "x"))))
    assert kinds(model) == {"Exp_0": "fp32", "Conv_1": "fp16", "Log_2": "fp32"}
    assert kinds(model, literal={"Exp_0"})["Exp_0"] == "fp16"


def test_a_light_node_is_taken_in_only_where_that_saves_casts():
    net = Net()
    steep = net.op("Exp", net.conv("x"))
    relu = net.op("Relu", steep)  # one cast before it, none behind it
    model = net.model(net.conv(relu))
    assert kinds(model)["Relu_2"] == "fp16"
    # To and from the ends of a model, which keep FP32, are casts too.
    net = Net()
    assert kinds(net.model(net.op("Relu", net.op("Relu", "x")))) == {"Relu_0": "fp32", "Relu_1": "fp32"}
    net = Net()
    both = net.model(net.op("Add", net.op("Relu", "x"), net.conv("x")))
    assert kinds(both) == {"Relu_0": "fp16", "Conv_1": "fp16", "Add_2": "fp16"}


def test_who_reads_any_type_or_no_floating_numbers_needs_no_cast():
    net = Net()
    relu = net.op("Relu", net.op("Exp", net.conv("x")))
    model = net.model(net.op("Reshape", net.conv(relu), net.op("Shape", relu)))
    assert {node: kind for node, kind in kinds(model).items() if kind == "fp32"} == {"Exp_1": "fp32", "Shape_4": "fp32"}
    nodes = [
        helper.make_node("Slice", ["table", "first", "last"], ["s"], "slice"),
        helper.make_node("MatMul", ["s", "w"], ["y"], "product"),
    ]
    bounds = dict.fromkeys(("first", "last"), (TensorProto.INT64, [1]))
    sliced = made(nodes, bounds, {"y": None}, [weight("table", 4, 4), weight("w", 4, 4)])
    assert kinds(sliced) == {"slice": "fp16", "product": "fp16"}


def test_an_input_that_reads_through_a_pair_needs_no_cast():
    net = Net()
    model = net.model(net.conv(net.op("Relu", "x")))
    assert kinds(model)["Relu_0"] == "fp16"  # a cast before it or one behind it
    assert kinds(model, quantized={("Conv_1", 0)})["Relu_0"] == "fp32"


def test_nothing_is_settled_where_nothing_is_asked_for():
    assert set(kinds(chain(2), kind="fp32").values()) == {"fp32"}
