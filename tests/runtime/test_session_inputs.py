"""What is fed stays what it was."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper

from tests.kit.models import model
from workbench.runtime import Session, first_line


@pytest.mark.parametrize("outputs", [["y"], ["y", "mean_out"], ["y", "var_out"]])
@pytest.mark.parametrize("observing", [False, True])
def test_running_statistics_are_not_written_into_the_callers_arrays(outputs, observing):
    names = ["x", "scale", "bias", "mean", "var"]
    node = helper.make_node("BatchNormalization", names, ["y", "mean_out", "var_out"], "norm", training_mode=1)
    shapes = {"x": [2, 3, 4, 5]} | {key: [3] for key in names[1:]}
    results = {"y": [2, 3, 4, 5], "mean_out": [3], "var_out": [3]}
    network = model([node], shapes, {name: results[name] for name in outputs}, opset=15)
    rng = np.random.default_rng(0)
    feeds = {name: np.abs(rng.normal(size=shape)).astype(np.float32) for name, shape in shapes.items()}
    before = {name: array.copy() for name, array in feeds.items()}
    Session(network, observing=observing).run(feeds)
    for name, array in feeds.items():
        np.testing.assert_array_equal(array, before[name])


@pytest.mark.parametrize(
    ("message", "kept"),
    [
        ("FAIL : /src/rnn/gru.h:56 onnx::Gru::Gru(const onnx::Op&) layout was (1). No.", "FAIL : layout was (1). No."),
        ("/src/rnn.h:48 onnxruntime::RNN<T>::RNN(const Info&) [with T = float] no (good)", "no (good)"),
        ("/src/text.cc:235 onnxruntime::Locale::Locale(const std::string&)::<lambda()> Failed", "Failed"),
        ("no locale en_US:locale::facet::_S_create name not valid", "no locale en_US:name not valid"),
        (r"at D:\a\1\core\x.cc:12 The shape (1, 2) is none", "at The shape (1, 2) is none"),
        (
            "no implementation for Sub(14) node with name 'a.h:3 b'",
            "no implementation for Sub(14) node with name 'a.h:3 b'",
        ),
    ],
)
def test_what_onnx_runtime_says_has_no_place_of_its_source(message, kept):
    assert first_line(RuntimeError(message)) == kept
