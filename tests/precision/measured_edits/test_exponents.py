"""By which powers of two channels are equalized, and by how much biases are corrected: exactly."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper, numpy_helper

from tests.kit.models import model
from workbench.calibration import ChannelExtremes, open_samples
from workbench.precision.measured_edits.correction import bias_shifts
from workbench.precision.measured_edits.equalize import _exponents, _read_ranges
from workbench.precision.plan import PrecisionPlan
from workbench.precision.sensitivity import all_quantized
from workbench.precision.sensitivity.graft import quantized_alone
from workbench.runtime import Session


def extremes(low, high):
    return ChannelExtremes(1, np.float32(low), np.float32(high))


def reading(*weights, groups=(1,)):
    """A network in which convolutions of these weights read the tensor r."""
    nodes = [helper.make_node("Relu", ["x"], ["r"], "relu")]
    for at, (_, group) in enumerate(zip(weights, groups, strict=True)):
        nodes.append(helper.make_node("Conv", ["r", f"w{at}"], [f"y{at}"], f"conv{at}", group=group))
    outputs = {f"y{at}": None for at in range(len(weights))}
    arrays = [numpy_helper.from_array(np.float32(array), f"w{at}") for at, array in enumerate(weights)]
    return model(nodes, {"x": [1, 4, 2, 2]}, outputs, arrays)


def columns(*values):
    """A weight of two rows whose columns have these largest magnitudes."""
    row = np.array(values)
    return np.stack([row / 2, -row])[:, :, None, None]


DEPTHWISE = np.reshape([1.0, 1.0, 0.01, 1.0], (4, 1, 1, 1))


@pytest.mark.parametrize(
    ("network", "low", "high", "exponents"),
    [
        # The root of what channels reach over what weights do: of 8, 0.5, 2 and nothing.
        (reading(columns(1, 4, 0.25, 1)), [0] * 4, [8, 2, 0.5, 0], (0, -2, -1, 0)),
        (reading(columns(1, 4, 0.25, 0)), [-8, 0, 0, 0], [1, 2, 0.5, 9], (0, -2, -1, 0)),
        # A depthwise convolution takes all of the difference, down to a 256th.
        (reading(DEPTHWISE, groups=(4,)), [0] * 4, [8, 2, 0.5, 1e-9], (0, -2, -4, -8)),
        # Beside another convolution it does not, and the larger weight of both counts.
        (reading(DEPTHWISE, columns(1, 4, 0.25, 1), groups=(4, 1)), [0] * 4, [8, 2, 0.5, 8], (0, -2, -1, 0)),
        (reading(columns(1, 1, 1, 1)), [0] * 4, [0] * 4, (0, 0, 0, 0)),
    ],
)
def test_channels_are_divided_by_powers_of_two_of_what_they_reach(network, low, high, exponents):
    assert _exponents(network, "r", extremes(low, high)) == exponents


def test_the_weights_that_read_a_channel_are_those_of_its_group():
    weight = np.float32([[[1], [-2]], [[3], [0]], [[0], [5]], [[-7], [4]]])[..., None]  # four rows, two columns
    assert _read_ranges(weight, 2).tolist() == [3, 2, 7, 5]
    assert _read_ranges(weight, 1).tolist() == [7, 5]


def test_the_shift_of_a_channel_is_its_mean_error_over_all_samples():
    random = np.random.default_rng(0)
    weights = {
        "w": random.normal(size=(3, 2, 1, 1)),
        "b": random.normal(size=3),
        "g": random.normal(size=(2, 12)),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], "conv"),
        helper.make_node("Flatten", ["c"], ["f"], "flat"),
        helper.make_node("Gemm", ["f", "g"], ["y"], "gemm", transB=1),
    ]
    arrays = [numpy_helper.from_array(array.astype(np.float32), name) for name, array in weights.items()]
    network = model(nodes, {"x": [2, 2, 2, 2]}, {"y": None}, arrays)
    ranges = {"x": 2.0, "f": 3.0}
    data = random.normal(size=(5, 2, 2, 2)).astype(np.float32)
    samples = open_samples({"x": data}, network)  # of a batch of two: the last is filled up
    shifts = bias_shifts(network, ["conv", "gemm"], ranges, samples).shifts
    lowered = all_quantized(network, ["conv", "gemm"], ranges)
    padded = np.concatenate([data, data[-1:]])
    for node, tensor, axes in (("conv", "c", (0, 2, 3)), ("gemm", "y", (0,))):
        one, other = (
            np.concatenate(
                [Session(each, outputs=[tensor]).run({"x": padded[at : at + 2]})[tensor] for at in (0, 2, 4)]
            )
            for each in (network, quantized_alone(network, lowered, node))
        )
        expected = (one - other)[:5].mean(axis=axes, dtype=np.float64)
        assert shifts[node] == pytest.approx(tuple(expected), rel=1e-4, abs=1e-7)
        assert abs(expected).max() > 1e-3
    assert bias_shifts(network, [], ranges, samples).shifts == {}


def test_gemms_whose_bias_takes_no_number_a_column_are_left_out():
    random = np.random.default_rng(4)
    arrays = {"w": (3, 3), "row": (3, 1), "own": (3,), "all": (3, 3)}
    nodes = [
        helper.make_node("Gemm", ["x", "w", "own"], ["a"], "column"),
        helper.make_node("Gemm", ["x", "w", "row"], ["b"], "row"),
        helper.make_node("Gemm", ["x", "w", "all"], ["c"], "each"),
        helper.make_node("Gemm", ["x", "w", "own"], ["d"], "times", beta=2.0),
        helper.make_node("Gemm", ["w", "x"], ["e"], "turned"),
    ]
    weights = [numpy_helper.from_array(random.normal(size=of).astype(np.float32), name) for name, of in arrays.items()]
    network = model(nodes, {"x": [3, 3]}, dict.fromkeys("abcde"), weights)
    samples = open_samples({"x": random.normal(size=(2, 3, 3)).astype(np.float32)}, network)
    found = bias_shifts(network, [each.name for each in nodes], {"x": 3.0}, samples)
    assert list(found.shifts) == ["column"]
    assert found(network).changed


@pytest.mark.parametrize("options", [{}, {"per_channel": False}, {"weight_only": True}, {"amax": 0.5}])
def test_biases_take_back_what_the_rules_of_the_plan_shift(options):
    random = np.random.default_rng(5)
    weight = (random.normal(size=(4, 3)) * [0.1, 1, 5]).astype(np.float32)
    gemm = helper.make_node("Gemm", ["x", "w"], ["y"], "gemm")
    network = model([gemm], {"x": [4, 4]}, {"y": [4, 3]}, [numpy_helper.from_array(weight, "w")])
    data = random.normal(size=(4, 4)).astype(np.float32)
    resolution = PrecisionPlan().with_rule("op:Gemm", "int8", **options).resolve(network)
    samples = open_samples({"x": data}, network)
    found = bias_shifts(network, ["gemm"], {"x": 2.0}, samples, resolution=resolution).shifts["gemm"]
    scale = np.abs(weight).max(axis=0 if options.get("per_channel", True) else None) / np.float32(127)
    rounded, step = np.rint(weight / scale) * scale, np.float32(options.get("amax", 2.0)) / np.float32(127)
    read = data if options.get("weight_only") else np.clip(np.rint(data / step), -128, 127) * step
    expected = (data.astype(np.float64) @ weight - read.astype(np.float64) @ rounded).mean(axis=0)
    assert found == pytest.approx(tuple(expected), rel=1e-3, abs=1e-6)
