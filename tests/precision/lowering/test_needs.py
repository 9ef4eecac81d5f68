"""What a plan needs before it can be written: operator sets, ranges, flags, names of what is written."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper

from tests.kit.models import model as made
from tests.kit.networks import Net, network
from workbench.errors import PrecisionError
from workbench.precision.lowering import activation_tensors, lower, needed_opset
from workbench.precision.lowering.lowering import Lowered
from workbench.precision.plan import PrecisionPlan
from workbench.precision.plan.presets import PRESETS
from workbench.precision.targets import parse_target

INT8 = PrecisionPlan().with_rule("op:Conv", "int8")


@pytest.mark.parametrize(
    ("opset", "preset", "target", "needed"),
    [
        (11, "fp32", None, None),
        (11, "fp16", None, None),
        (11, "int8", None, 13),
        (12, "int8", None, 13),
        (13, "int8", None, None),
        (13, "int8+fp16", None, 19),
        (18, "int8+fp16", None, 19),
        (19, "int8+fp16", None, None),
        (13, "int8+fp16", "tensorrt-8.6", None),
        (11, "int8+fp16", "tensorrt-8.6", 13),
        (13, "fp8+fp16", None, 19),
        (17, "bf16", None, 22),
        (22, "bf16", None, None),
    ],
)
def test_a_plan_needs_an_operator_set_that_can_say_it(opset, preset, target, needed):
    model = network("conv", opset=opset)
    resolution = PRESETS[preset].resolve(model, target=None if target is None else parse_target(target))
    conversion = needed_opset(model, resolution)
    assert (None if conversion is None else conversion.version) == needed


def test_an_operator_set_that_gave_up_an_operator_is_passed_over():
    """GroupNormalization is deprecated in the sets 18 to 20, and another one from 21 on."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], "conv"),
        helper.make_node("GroupNormalization", ["c", "s", "b"], ["y"], "norm", num_groups=2),
    ]
    net = Net()
    for shape in ((4, 4, 1, 1), (2,), (2,)):
        net.weight(*shape)
    for tensor, name in zip(net.weights, "wsb", strict=True):
        tensor.name = name
    model = made(nodes, {"x": [1, 4, 8, 8]}, {"y": [1, 4, 8, 8]}, net.weights, opset=18)
    assert needed_opset(model, PRESETS["int8+fp16"].resolve(model)).version == 21
    assert needed_opset(model, PRESETS["int8"].resolve(model)) is None


def test_a_target_that_reads_no_such_operator_set_is_named():
    model = network("conv", opset=11)
    plan = PRESETS["fp16"].with_rules(*INT8.rules)
    target = parse_target("tensorrt-8.6")
    assert needed_opset(model, plan.resolve(model, target=target)).version == 13
    newest = type(target)("old", target.since, newest_opset=18)
    with pytest.raises(
        PrecisionError, match=r"^g: the plan needs operator set 19, and old reads 18 at most\. Use per-"
    ):
        needed_opset(model, plan.resolve(model, target=newest))
    exact = type(target)("old", target.since, newest_opset=19)
    assert needed_opset(model, plan.resolve(model, target=exact)).version == 19


@pytest.mark.parametrize(
    ("opset", "plan", "message"),
    [
        (12, INT8, r"operator set 12 has no per-channel QuantizeLinear\..*version=13\)"),
        (17, INT8.with_rule("op:Conv", "fp8"), r"17 has no FP8 QuantizeLinear, which node 'Conv_0' needs\..*=19\)"),
        (17, PRESETS["bf16"], r"operator set 17 has no BFLOAT16 Conv, which node 'Conv_0' is\..*version=22\)"),
        (12, INT8.with_rule("op:Conv", "bf16").with_rule("op:Conv", "int8"), r"has no BFLOAT16 Conv.*version=22\)"),
    ],
)
def test_what_an_operator_set_cannot_express_is_refused(opset, plan, message):
    model = network("conv", opset=opset)
    with pytest.raises(PrecisionError, match=message):
        lower(model, plan.resolve(model), {"x": 1.0})


@pytest.mark.parametrize("amax", [-1.0, np.nan, np.inf])
def test_a_range_is_a_number_from_nought(amax):
    model = network("conv")
    with pytest.raises(PrecisionError, match=rf"^tensor 'x': range {amax} is no threshold\. Give a positive number"):
        lower(model, INT8.resolve(model), {"x": amax})
    with pytest.raises(PrecisionError, match=r"^tensor 'x': no range is known\. Calibrate, once more where"):
        lower(model, INT8.resolve(model), {"t0": 1.0})


def scale(lowered, name):
    return float(lowered.model.initializers[f"{name}/scale"].const_value.numpy())


def test_a_threshold_is_that_of_the_last_rule_that_gives_one():
    model = network("conv", "two_readers")
    plan = INT8.with_rule("name:Conv_1", "int8", amax=254.0).with_rule("name:Conv_2", "int8", amax=508.0)
    ranges = {"x": 127.0, "t0": 1270.0}
    assert [scale(lower(model, plan.resolve(model), ranges), name) for name in ("x", "t0")] == [1.0, 4.0]
    turned = INT8.with_rule("name:Conv_2", "int8", amax=508.0).with_rule("name:Conv_1", "int8", amax=254.0)
    assert scale(lower(model, turned.resolve(model), ranges), "t0") == 2.0
    one = INT8.with_rule("name:Conv_2", "int8", amax=508.0)
    assert scale(lower(model, one.resolve(model), ranges), "t0") == 4.0  # the tensor is one, and so is its pair
    assert scale(lower(model, INT8.resolve(model), {"x": 0.0, "t0": 1.0}), "x") == 1.0


@pytest.mark.parametrize(
    ("preset", "target", "flags"),
    [
        ("fp32", "tensorrt-8.6", ()),
        ("fp16", "tensorrt-8.6", ("fp16",)),
        ("int8", "tensorrt-8.6", ("int8",)),
        ("int8+fp16", "tensorrt-8.6", ("fp16", "int8")),
        ("int8+fp16", "rtx", ()),
        ("int8+fp16", None, ()),
    ],
)
def test_a_weakly_typed_builder_has_to_be_allowed_what_the_plan_uses(preset, target, flags):
    model = network("conv", opset=19)
    resolution = PRESETS[preset].resolve(model, target=None if target is None else parse_target(target), overflow={})
    lowered = lower(model, resolution, {"x": 1.0})
    assert lowered.flags == flags
    options = " ".join(f"--{flag}" for flag in flags)
    advice = (f"its builder is weakly typed and has to be allowed this: {options}",) if flags else ()
    assert lowered.advice == advice


def test_what_was_written_is_counted_and_named_in_the_order_of_the_graph():
    model = network("conv", "shared_weight")
    resolution = INT8.resolve(model)
    assert activation_tensors(model, resolution) == ["x", "t0", "t2"]
    lowered = lower(model, resolution, dict.fromkeys(["x", "t0", "t2"], 1.0))
    assert (lowered.activations, lowered.weights) == (("x", "t0", "t2"), ("w0", "w2"))
    assert lowered._card().headline == "g: 3 tensors and 2 weights quantized"
    kept = lower(model, INT8.with_rule("op:Conv", "int8", weight_only=True).resolve(model), {})
    assert (kept.activations, kept.weights) == ((), ("w0", "w2"))
    noted = Lowered(model, (), (), ("int8",), ("a note",))
    assert noted.advice == ("its builder is weakly typed and has to be allowed this: --int8", "a note")


@pytest.mark.parametrize(
    ("precision", "options", "target", "channels"),
    [
        ("int8", {}, None, True),
        ("int8", {"per_channel": False}, None, False),
        ("fp8", {}, None, True),
        ("fp8", {}, "rtx", True),
        ("fp8", {}, "tensorrt-10", False),
        ("int8", {}, "tensorrt-10", True),
        ("fp8", {"per_channel": False}, "rtx", False),
    ],
)
def test_a_weight_has_a_scale_a_channel_where_rule_and_target_take_that(precision, options, target, channels):
    model = network("conv", opset=19)
    plan = PrecisionPlan().with_rule("op:Conv", precision, **options)
    resolution = plan.resolve(model, target=None if target is None else parse_target(target))
    weights = lower(model, resolution, {"x": 1.0}).model.initializers["w0/scale"]
    assert tuple(weights.shape) == ((4,) if channels else ())
