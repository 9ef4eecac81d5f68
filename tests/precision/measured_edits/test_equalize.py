from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.kit.searching import calibrated, images, small
from workbench.errors import EditError, RecipeError
from workbench.evaluate.comparison import compare
from workbench.graph.edits.correct_bias import CorrectBias
from workbench.graph.edits.equalize_channels import EqualizeChannels, equalizable
from workbench.graph.load import from_proto
from workbench.precision.measured_edits.equalize import equalization
from workbench.runtime.session import Session
from workbench.session import Workbench, history_of, samples_for


def silu() -> object:
    """A convolution, SiLU, and two that read it: one depthwise, one in two groups."""
    random = np.random.default_rng(3)
    weights = {
        "w0": random.normal(size=(8, 3, 3, 3)) * 2.0 ** -np.arange(8).reshape(8, 1, 1, 1),
        "b0": random.normal(size=8) * 0.1,
        "w1": random.normal(size=(8, 1, 3, 3)),
        "w2": random.normal(size=(4, 4, 1, 1)),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w0", "b0"], ["a"], "conv0"),
        helper.make_node("Sigmoid", ["a"], ["s"], "sigmoid"),
        helper.make_node("Mul", ["a", "s"], ["b"], "mul"),
        helper.make_node("Conv", ["b", "w1"], ["y"], "depthwise", group=8),
        helper.make_node("Conv", ["b", "w2"], ["z"], "groups", group=2),
    ]
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "silu",
        [info("x", TensorProto.FLOAT, ["N", 3, 9, 9])],
        [info("y", TensorProto.FLOAT, None), info("z", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
    )
    return from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))


def plain(model, feed):
    return list(Session(model).run(feed).values())


@pytest.mark.parametrize(
    ("make", "tensor", "added"), [(small, "b", 0), (silu, "b", 1)], ids=["into the convolution", "as a multiplication"]
)
def test_equalizing_changes_no_bit_of_the_function(make, tensor, added):
    model = make()
    exponents = (-3, 0, -1, -8, -2, -4, 0, -5)
    result = EqualizeChannels(exponents={tensor: exponents})(model)
    assert len(result.model.nodes) == len(model.nodes) + added
    feed = images(model, 3)
    for before, after in zip(plain(model, feed), plain(result.model, feed), strict=True):
        assert np.array_equal(before, after)
    read = f"{tensor}/equalized" if added else tensor
    old = Session(model, outputs=[tensor]).run(feed)[tensor]
    new = Session(result.model, outputs=[read]).run(feed)[read]
    assert np.array_equal(new, old * np.exp2(-np.array(exponents, np.float32)).reshape(8, 1, 1))


def test_what_cannot_be_equalized_is_refused():
    model = small()
    assert equalizable(model, "b") == 8
    assert equalizable(model, "d") is None  # an Add reads it too
    with pytest.raises(EditError, match="not read by convolutions"):
        EqualizeChannels(exponents={"d": (0,) * 8})(model)
    with pytest.raises(EditError, match="3 exponents for 8 channels"):
        EqualizeChannels(exponents={"b": (0, 0, 0)})(model)
    assert not EqualizeChannels(exponents={"b": (0,) * 8})(model).changed


def sqnr(wb):
    return compare(wb.source, wb.tune().model, wb.ranges.samples, batch=4, runs=0).worst_sqnr_db


def test_equalizing_mends_a_channel_that_outgrows_the_others(tmp_path):
    before = sqnr(calibrated(small(broken=True), tmp_path, 16, batch=4))
    wb = calibrated(small(broken=True), tmp_path, 16, batch=4)
    assert wb.ranges.equalize().changed
    assert [step.do for step in wb.recipe.steps][-3:] == ["calibrate", "equalize_channels", "calibrate"]
    assert sqnr(wb) > before + 6


def test_channels_end_up_alike_before_a_depthwise_convolution(tmp_path):
    wb = calibrated(silu(), tmp_path, 8)
    samples, _ = samples_for(history_of(wb), None)
    assert set(equalization(wb.model, ["x", "b"], samples).exponents) == {"b"}


def test_biases_take_the_mean_error_back(tmp_path):
    wb = calibrated(small(), tmp_path, 16, batch=4)
    feed = images(wb.source, 16)  # what it was calibrated on

    def mean_error():
        model = wb.tune().model
        before, after = (Session(each, outputs=["a"]).run(feed)["a"] for each in (wb.source, model))
        return np.abs((before - after).mean(axis=(0, 2, 3), dtype=np.float64)).max()

    plain_error, quality = mean_error(), sqnr(wb)
    assert wb.plan.correct_bias().changed
    assert mean_error() < 1e-6 < plain_error / 10
    assert sqnr(wb) >= quality - 0.5  # the other nodes' errors have hardly a mean here; it must not hurt


def test_a_bias_is_made_where_there_is_none():
    model = small()
    shift = tuple(float(x) for x in range(5))
    result = CorrectBias(shifts={"head/fc": shift})(model)
    feed = images(model, 2)
    assert np.allclose(plain(result.model, feed)[0], plain(model, feed)[0] + np.array(shift), atol=1e-5)
    with pytest.raises(EditError, match="no Conv"):
        CorrectBias(shifts={"block/add": (0.0,)})(model)


def test_nothing_is_equalized_before_a_calibration():
    with pytest.raises(RecipeError, match="nothing was calibrated"):
        Workbench(small()).ranges.equalize()
