"""Sample models that come with the package, and what is drawn for them."""

from __future__ import annotations

import numpy as np
import pytest

import workbench
from workbench.errors import WorkbenchError


def test_a_sample_model_takes_the_images_that_are_drawn_for_it(tmp_path):
    example = workbench.example("depthwise_cnn", out=tmp_path)
    drawn = example.draw("test", 2)
    assert drawn.samples.parent == tmp_path / "test"
    with np.load(drawn.samples) as arrays:
        (name,) = arrays
        assert len(arrays[name]) == len(np.load(drawn.labels)) == 2
    model = workbench.load_model(example.model)
    assert [tensor.name for tensor in model.inputs] == [name]


def test_a_misspelt_one_is_refused_with_the_near_name():
    with pytest.raises(WorkbenchError, match="Did you mean residual_cnn"):
        workbench.example("residual_cn")
