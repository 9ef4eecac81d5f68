"""What a lowering writes, on generated networks."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings

from tests.kit.networks import feed, network, networks, ranges_of
from tests.kit.places import ROOT
from workbench.errors import PrecisionError
from workbench.graph.edits.remove_qdq import RemoveQDQ
from workbench.precision.lowering.lowering import activation_tensors, lower, needed_opset, quantize_weight, scale_of
from workbench.precision.plan.plan import BEST_PRACTICE, PrecisionPlan
from workbench.precision.targets import parse_target
from workbench.runtime.session import Session

everywhere = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
EVERYTHING = PrecisionPlan().with_rule("*", "int8")


def lowered(model, plan=BEST_PRACTICE, *, storage="int8", amax=3.0):
    resolution = plan.resolve(model)
    ranges = dict.fromkeys(activation_tensors(model, resolution), amax)
    return lower(model, resolution, ranges, weight_storage=storage)


def producer(value):
    node = value.producer() if value is not None else None
    return (node.op_type, node) if node is not None else (None, None)


@everywhere
@given(networks())
def test_without_its_pairs_a_lowered_graph_is_the_original(model):
    outcome = lowered(model, EVERYTHING, storage="float").model
    assert RemoveQDQ()(outcome).model.digest == model.digest


@everywhere
@given(networks())
def test_a_lowered_graph_is_valid(model):
    onnx.checker.check_model(lowered(model, EVERYTHING).model.proto, full_check=True)


@everywhere
@given(networks())
def test_quantized_layers_are_symmetric_per_channel_and_keep_their_bias(model):
    lowering = lowered(model, EVERYTHING)
    for name in EVERYTHING.resolve(model).nodes("int8"):
        node = lowering.model.nodes[name]
        if node.op_type not in ("Conv", "ConvTranspose", "Gemm", "MatMul"):
            continue
        for value in node.inputs[:2]:
            kind, dequantize = producer(value)
            assert kind == "DequantizeLinear"
            zero_point = dequantize.inputs[2].const_value.numpy()
            assert zero_point.dtype == np.int8
            assert not zero_point.any()
        _, weight = producer(node.inputs[1])
        if weight.inputs[0].is_initializer():
            axis = {"Conv": 0, "ConvTranspose": 1, "MatMul": 1, "Gemm": 0}[node.op_type]
            assert weight.attributes["axis"].as_int() == axis
            assert weight.inputs[1].shape.numpy() == (weight.inputs[0].shape.numpy()[axis],)
        if len(node.inputs) > 2:
            assert node.inputs[2].is_initializer()


@everywhere
@given(networks())
def test_each_tensor_has_one_pair_that_its_consumers_share(model):
    outcome = lowered(model, EVERYTHING).model
    quantized = [node.inputs[0] for node in outcome.nodes.values() if node.op_type == "QuantizeLinear"]
    assert len(quantized) == len(set(quantized))
    for source in quantized:
        kind, _ = producer(source)
        assert kind not in ("QuantizeLinear", "DequantizeLinear")


@everywhere
@given(networks())
def test_no_pair_stands_between_convolution_norm_and_activation(model):
    outcome = lowered(model).model
    for node in outcome.nodes.values():
        if node.op_type in ("BatchNormalization", "Relu"):
            before, _ = producer(node.inputs[0])
            assert before != "DequantizeLinear"


@everywhere
@given(networks())
def test_both_ways_to_store_weights_compute_the_same(model):
    resolution = BEST_PRACTICE.resolve(model)
    ranges = ranges_of(model, activation_tensors(model, resolution))
    results = [
        Session(lower(model, resolution, ranges, weight_storage=storage).model).run(feed(model))
        for storage in ("int8", "float")
    ]
    for a, b in zip(*(result.values() for result in results), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(("target", "stored"), [("tensorrt-8.6", "float32"), ("rtx", "int8"), (None, "int8")])
def test_weights_are_stored_as_the_target_takes_them(target, stored):
    """TensorRT 8.6.0 fails on INT8 weights of products and in yolox_nano: seen on an H200."""
    model = network("residual", head="gemm")
    resolution = BEST_PRACTICE.resolve(model, target=None if target is None else parse_target(target))
    ranges = dict.fromkeys(activation_tensors(model, resolution), 3.0)
    outcome = lower(model, resolution, ranges).model
    seen = set()
    for node in outcome.nodes.values():
        if node.op_type in ("Conv", "Gemm"):
            source = node.inputs[1].producer().inputs[0]
            quantize = source.producer()
            seen.add((source if quantize is None else quantize.inputs[0]).dtype.numpy().name)
    assert seen == {stored}


@pytest.mark.parametrize(("rule", "message"), [("op:MatMul", False), ("name:{}", True)])
def test_products_quantized_in_part_are_warned_of_where_a_region_is_all_or_nothing(rule, message):
    """Measured on an H200; see tests/data/engines/README.md."""
    model = network("conv", head="attention")
    products = [name for name, node in model.nodes.items() if node.op_type == "MatMul"]
    assert len(products) > 1
    plan = PrecisionPlan().with_rule(rule.format(products[0]), "int8")
    for target in ("tensorrt-8.6", "tensorrt-10"):
        resolution = plan.resolve(model, target=parse_target(target))
        ranges = dict.fromkeys(activation_tensors(model, resolution), 3.0)
        warned = [note for note in lower(model, resolution, ranges).advice if "matrix products" in note]
        assert bool(warned) == (message and target == "tensorrt-8.6")


@everywhere
@given(networks())
def test_the_bytes_are_the_same_each_time(model):
    assert lowered(model).model.to_bytes() == lowered(model).model.to_bytes()


@everywhere
@given(networks())
def test_nothing_is_quantized_twice(model):
    once = lowered(model, EVERYTHING).model
    resolution = EVERYTHING.resolve(once)
    again = lower(once, resolution, dict.fromkeys(activation_tensors(once, resolution), 3.0)).model
    quantized = set(EVERYTHING.resolve(model).nodes("int8"))
    for name in quantized:
        for position, value in enumerate(once.nodes[name].inputs):
            other = again.nodes[name].inputs[position]
            assert (value is None) == (other is None)
            assert value is None or value.name == other.name
    for node in again.nodes.values():
        if node.op_type == "QuantizeLinear":
            assert producer(node.inputs[0])[0] != "DequantizeLinear"


def test_the_bytes_do_not_depend_on_the_hash_seed():
    code = (
        "import hashlib; from tests.kit.networks import network;"
        "from tests.precision.lowering.test_lowering import lowered;"
        "m = network('residual', 'shared_weight', 'two_readers', head='attention');"
        "print(hashlib.sha256(lowered(m).model.to_bytes()).hexdigest())"
    )
    digests = set()
    for seed in ("0", "1", "77"):
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
        )
        digests.add(done.stdout.strip())
    model = network("residual", "shared_weight", "two_readers", head="attention")
    assert digests == {hashlib.sha256(lowered(model).model.to_bytes()).hexdigest()}


def test_int8_stays_close_to_floating_point():
    model = network("conv_bn_relu", "residual", "upsample", head="gemm", seed=1)
    resolution = BEST_PRACTICE.resolve(model)
    outcome = lower(model, resolution, ranges_of(model, activation_tensors(model, resolution))).model
    ours, theirs = (next(iter(Session(m).run(feed(model)).values())) for m in (outcome, model))
    noise = float(((ours - theirs) ** 2).sum())
    assert 0 < noise < 1e-3 * float((theirs**2).sum())  # over 30 dB


def test_a_plan_without_int8_changes_nothing():
    model = network("conv")
    assert lower(model, PrecisionPlan().resolve(model), {}).model is model


def test_a_tensor_without_range_is_named():
    model = network("conv")
    with pytest.raises(PrecisionError, match=r"tensor 'x': no range"):
        lower(model, BEST_PRACTICE.resolve(model), {})


@pytest.mark.parametrize("amax", [-1.0, float("nan"), float("inf")])
def test_a_range_that_is_no_threshold_is_refused(amax):
    model = network("conv")
    with pytest.raises(PrecisionError, match=r"tensor 'x': range .* is no threshold"):
        lower(model, BEST_PRACTICE.resolve(model), {"x": amax})


def test_an_operator_set_without_channels_is_refused_and_the_conversion_named():
    model = network("conv", opset=11)
    resolution = BEST_PRACTICE.resolve(model)
    with pytest.raises(PrecisionError, match=r"operator set 11 .*convert_opset"):
        lower(model, resolution, {"x": 1.0})
    conversion = needed_opset(model, resolution)
    assert conversion is not None
    converted = conversion(model).model
    assert needed_opset(converted, BEST_PRACTICE.resolve(converted)) is None
    assert lowered(converted).activations == ("x",)


def test_scales_represent_the_threshold_and_are_never_zero_or_subnormal():
    scales = scale_of(np.array([127.0, 0.0, 1e-40], np.float32))
    np.testing.assert_array_equal(scales, np.array([1.0, 1.0, np.finfo(np.float32).tiny], np.float32))


def test_weights_are_rounded_half_to_even_and_clipped_symmetrically():
    weight = np.array([[127.0, 0.5, 1.5, -127.0], [0.0, 0.0, 0.0, 0.0]], np.float32)
    q, scale = quantize_weight(weight, 0)
    np.testing.assert_array_equal(q, [[127, 0, 2, -127], [0, 0, 0, 0]])
    np.testing.assert_array_equal(scale, [1.0, 1.0])
