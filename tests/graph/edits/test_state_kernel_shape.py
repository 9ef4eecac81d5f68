"""Kernel shapes are stated where only the weights say them, and nowhere else."""

from __future__ import annotations

import numpy as np

import workbench
from workbench.graph.edits.registry import edit_by_name
from workbench.graph.load import load_model
from workbench.runtime.session import Session


def test_it_is_stated_once_and_changes_no_number(small_cnn):
    model = load_model(small_cnn)
    result = edit_by_name("state_kernel_shape")(model)
    assert result.changed
    assert list(result.model.top_nodes["stem/conv"].attributes["kernel_shape"].as_ints()) == [3, 3]
    assert not edit_by_name("state_kernel_shape")(result.model).changed
    x = {"x": np.random.default_rng(0).normal(size=(2, 3, 8, 8)).astype(np.float32)}
    assert np.array_equal(Session(model).run(x)["y"], Session(result.model).run(x)["y"])


def test_preparing_states_it_in_the_recipe(small_cnn):
    wb = workbench.open_model(small_cnn)
    wb.prepare()
    assert "state_kernel_shape" in [step.do for step in wb.recipe.steps]
