"""Kernel shapes are stated where only the weights say them, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper, numpy_helper

import workbench
from tests.kit.models import model
from workbench.graph.edits.registry import applicable, edit_by_name
from workbench.graph.load import load_model
from workbench.runtime.session import Session


def test_it_is_stated_once_and_changes_no_number(small_cnn):
    network = load_model(small_cnn)
    result = edit_by_name("state_kernel_shape")(network)
    assert result.changed
    assert list(result.model.top_nodes["stem/conv"].attributes["kernel_shape"].as_ints()) == [3, 3]
    assert not edit_by_name("state_kernel_shape")(result.model).changed
    x = {"x": np.random.default_rng(0).normal(size=(2, 3, 8, 8)).astype(np.float32)}
    assert np.array_equal(Session(network).run(x)["y"], Session(result.model).run(x)["y"])


def test_preparing_states_it_in_the_recipe(small_cnn):
    wb = workbench.open_model(small_cnn)
    wb.prepare()
    assert "state_kernel_shape" in [step.do for step in wb.recipe.steps]


def weights_of(op, *, kernel=None, weight="w", domain="", inputs=None):
    stored = numpy_helper.from_array(np.ones((4, 4, 3, 5), np.float32), "w")
    nodes = [
        helper.make_node("Constant", [], ["k"], "k", value=stored),
        helper.make_node("Identity", ["k"], ["computed"], "i"),
        helper.make_node(op, ["x", weight], ["y"], "it", domain=domain, **({"kernel_shape": kernel} if kernel else {})),
    ]
    return model(nodes, {"x": [1, 4, 8, 8]} | (inputs or {}), {"y": None}, [stored], domains=["own"])


@pytest.mark.parametrize(
    ("network", "stated"),
    [
        (weights_of("Conv"), [3, 5]),
        (weights_of("ConvTranspose"), [3, 5]),
        (weights_of("Conv", weight="k"), [3, 5]),
        (weights_of("Conv", weight="computed"), None),
        (weights_of("Conv", domain="own"), None),
        (weights_of("Conv", kernel=[3, 5]), [3, 5]),
        (weights_of("MatMul"), None),
    ],
)
def test_it_is_stated_where_constant_weights_say_it(network, stated):
    fits = stated is not None and "kernel_shape" not in network.nodes["it"].attributes
    assert ("state_kernel_shape" in {edit.do for edit in applicable(network, ["it"])}) is fits
    done = edit_by_name("state_kernel_shape")(network)
    assert done.notes == (("stated the kernel shape of 1 convolutions",) if fits else ())
    attributes = done.model.nodes["it"].attributes
    assert (list(attributes["kernel_shape"].as_ints()) if "kernel_shape" in attributes else None) == stated
