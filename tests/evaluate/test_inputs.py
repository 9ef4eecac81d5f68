"""Random inputs have the lengths, types and numbers that a model states."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper

from tests.kit.models import model, weight
from workbench.errors import BackendError
from workbench.evaluate.inputs import has_free_axes, random_inputs, stated_inputs


def identity(shape, dtype=TensorProto.FLOAT):
    return model([helper.make_node("Identity", ["x"], ["y"])], {"x": (dtype, shape)}, {"y": (dtype, None)})


def test_floats_are_normal_numbers_and_whole_ones_are_zeros_and_ones():
    x = random_inputs(identity([4000]))["x"]
    assert x.dtype == np.float32
    assert abs(x.mean()) < 0.1
    assert 0.9 < x.std() < 1.1
    for dtype in (TensorProto.INT64, TensorProto.UINT8, TensorProto.INT32, TensorProto.BOOL):
        whole = random_inputs(identity([4000], dtype))["x"]
        assert whole.dtype == helper.tensor_dtype_to_np_dtype(dtype)
        assert set(np.unique(whole)) == {0, 1}
    for dtype in (TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.FLOAT8E4M3FN):
        narrow = random_inputs(identity([400], dtype))["x"]
        assert narrow.dtype == helper.tensor_dtype_to_np_dtype(dtype)
        assert 0.8 < narrow.astype(np.float32).std() < 1.2


@pytest.mark.parametrize(
    ("shape", "lengths"),
    [
        (("N", "T"), (1, 16)),
        ((None, None), (1, 1)),  # one symbol: nothing is known of either
        (("N", "T", "T + 1"), (1, 16, 17)),
        (("N", "T+T"), (1, 16)),  # a sum of what no input states is a symbol like others
        ((), ()),
        ((0, 3), (0, 3)),
    ],
)
def test_a_symbol_has_the_length_of_its_first_place(shape, lengths):
    assert random_inputs(identity(shape))["x"].shape == lengths


def test_lengths_of_the_model_afterwards_come_first():
    before = identity(("N", "T"))
    assert random_inputs(before, after=identity((5, "T")))["x"].shape == (5, 16)
    assert random_inputs(before, after=identity((5, 7)))["x"].shape == (5, 7)
    assert random_inputs(before, after=identity((5, 7, 9)))["x"].shape == (1, 16)  # of another rank
    assert random_inputs(before, free=64)["x"].shape == (1, 64)


def test_an_input_of_unknown_rank_or_of_text_is_refused():
    for arguments in (identity(None), identity([2], TensorProto.STRING), identity([2], TensorProto.COMPLEX64)):
        with pytest.raises(BackendError, match=r"x: no random numbers can be made for it.*Give inputs"):
            random_inputs(arguments)


@pytest.mark.parametrize(("shape", "fits"), [((1024, 256), True), ((1024, 257), False), ((0, 1024, 257), False)])
def test_numbers_in_double_precision_may_take_as_much_as_the_limit(monkeypatch, shape, fits):
    monkeypatch.setattr("workbench.limits._raised", {"input_mib": 2})
    if fits:
        assert random_inputs(identity(shape))["x"].shape == shape
        return
    with pytest.raises(BackendError, match=r"input 'x': it has 2\.00781 MiB"):
        random_inputs(identity(shape))


def test_an_axis_is_free_where_it_has_no_length_and_is_not_the_first():
    shapes = {(1, 3): False, ("N", 3): False, ("N", "T"): True, (1, 3, None): True, (): False}
    assert {shape: has_free_axes(identity(shape)) for shape in shapes} == shapes
    assert not has_free_axes(identity(None))


def test_weights_that_are_listed_as_inputs_are_none():
    listed = model([helper.make_node("Add", ["x", "w"], ["y"])], {"x": [3], "w": [3]}, {"y": [3]}, [weight("w", 3)])
    assert [str(tensor) for tensor in stated_inputs(listed)] == ["x float[3]"]
