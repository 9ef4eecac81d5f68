"""A model that is nothing but its inputs."""

from __future__ import annotations

import pytest

from workbench.errors import BackendError
from workbench.graph import model_of_inputs


def test_each_input_is_handed_on_as_it_is():
    made = model_of_inputs(
        [
            {"name": "x", "dtype": "FLOAT", "shape": [None, 3, "W"]},
            {"name": "ids", "dtype": "INT64", "shape": [5]},
        ]
    )
    assert [str(tensor) for tensor in made.inputs] == ["x float[?x3xW]", "ids int64[5]"]
    assert [(tensor.name, tensor.shape[-1], tensor.dtype) for tensor in made.outputs] == [
        ("x/handed on", "W", "FLOAT"),
        ("ids/handed on", 5, "INT64"),
    ]
    assert [(name, node.op_type) for name, node in made.nodes.items()] == [("x", "Identity"), ("ids", "Identity")]
    assert [(node.inputs[0].name, node.outputs[0].name) for node in made.nodes.values()] == [
        ("x", "x/handed on"),
        ("ids", "ids/handed on"),
    ]
    assert (made.opset, made.ir_model.ir_version, made.name, made.quirks) == (21, 10, "inputs", ())


@pytest.mark.parametrize(
    "entry",
    [
        {"name": "x", "dtype": "FLOAT"},
        {"dtype": "FLOAT", "shape": [1]},
        {"name": "x", "dtype": "float32", "shape": [1]},
        {"name": "x", "dtype": "FLOAT", "shape": [1.5]},
    ],
)
def test_an_input_of_which_something_is_missing_is_told(entry):
    with pytest.raises(BackendError, match=r"the inputs of an engine cannot be read: .*Build the engine again"):
        model_of_inputs([entry])
