"""What is known of a tensor before anything runs."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from workbench.graph.tensor import Tensor, is_floating, packed_bytes


@pytest.mark.parametrize("kind", list(ir.DataType))
def test_floating_are_the_types_that_onnx_calls_so(kind):
    if kind not in (ir.DataType.UNDEFINED, ir.DataType.STRING):
        complex_or_scale = kind in (ir.DataType.COMPLEX64, ir.DataType.COMPLEX128)
        assert is_floating(kind.numpy()) is (kind.is_floating_point() and not complex_or_scale)


@pytest.mark.parametrize(
    ("lengths", "dtype", "count"),
    [
        ([3, 5], "FLOAT", 60),
        ([3, 5], "BOOL", 15),
        ([], "DOUBLE", 8),
        ([0, 5], "FLOAT", 0),
        ([3, 5], "INT4", 8),
        ([4], "UINT4", 2),
        ([5], "UINT4", 3),
        ([2**62, 2**62], "INT64", 2**127),
    ],
)
def test_elements_of_less_than_a_byte_are_packed(lengths, dtype, count):
    assert packed_bytes(lengths, ir.DataType[dtype]) == count


def test_text_has_no_size_of_its_own():
    with pytest.raises(TypeError):
        packed_bytes([1], ir.DataType.STRING)


@pytest.mark.parametrize(
    ("tensor", "static", "nbytes", "text"),
    [
        (Tensor("t", (2, 3), "FLOAT16"), (2, 3), 12, "t float16[2x3]"),
        (Tensor("t", (), "INT64"), (), 8, "t int64[]"),
        (Tensor("t", (2, "N", None), "FLOAT"), None, None, "t float[2xNx?]"),
        (Tensor("t", None, "FLOAT"), None, None, "t float[?]"),
        (Tensor("t", (2, 3), None), (2, 3), None, "t ?[2x3]"),
        (Tensor("t", (2,), "STRING"), (2,), None, "t string[2]"),
        (Tensor("t", (3,), "INT4"), (3,), 2, "t int4[3]"),
        (Tensor("s", None, None, "sequence of FLOAT"), None, None, "s sequence of FLOAT"),
    ],
)
def test_a_tensor_in_bytes_and_in_words(tensor, static, nbytes, text):
    assert (tensor.static_shape, tensor.nbytes, str(tensor)) == (static, nbytes, text)


def test_its_type_is_one_of_numpys():
    assert Tensor("t", None, "FLOAT16").numpy_dtype == np.float16
    assert Tensor("t", None, None).numpy_dtype is None
