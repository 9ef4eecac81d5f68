"""Weights while GraphSurgeon has a model: what a function sees of them, and which come back as they were."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import onnx_ir as ir
import pytest
from onnx import TensorProto, numpy_helper

from workbench.errors import EditError
from workbench.graph.edits.lent_weights import Stub, Weight, held

NUMBERS = np.float32([[1, 2, 3], [4, 5, 6]])


def stored(array, name="w"):
    return ir.tensor(np.asarray(array), name=name)


def empty(dtype, *dims):
    return ir.serde.deserialize_tensor(onnx.TensorProto(name="w", data_type=dtype, dims=dims))


def stub(values, name="w", **more):
    return Stub(gs.Constant(name, values, **more))


def test_a_function_sees_shape_type_and_numbers_of_a_weight():
    weight = Weight(stored(NUMBERS))
    assert (weight.shape, weight.dtype, weight.nbytes) == ([2, 3], np.float32, 24)
    loaded = weight.load()
    np.testing.assert_array_equal(loaded, NUMBERS)
    loaded[0, 0] = 9  # its own copy
    np.testing.assert_array_equal(weight.load(), NUMBERS)
    np.testing.assert_array_equal(numpy_helper.to_array(weight.tensor), NUMBERS)


def test_a_weight_in_a_file_beside_is_a_message_with_its_numbers(tmp_path):
    (tmp_path / "w.bin").write_bytes(NUMBERS.tobytes())
    external = ir.ExternalTensor("w.bin", 0, 24, ir.DataType.FLOAT, shape=ir.Shape([2, 3]), name="w", base_dir=tmp_path)
    weight = Weight(external)
    assert not external.valid() or external._array is None
    np.testing.assert_array_equal(numpy_helper.to_array(weight.tensor), NUMBERS)
    assert not weight.tensor.external_data


def test_what_was_stripped_has_no_numbers():
    with pytest.raises(EditError) as refused:
        Weight(empty(TensorProto.FLOAT, 3)).load()
    assert str(refused.value) == "w: it was stripped: it has no numbers. Restore the weights."


def test_a_stub_says_type_and_shape_alone():
    for values, kind, shape in (
        (NUMBERS, TensorProto.FLOAT, [2, 3]),
        (np.int64([1, 2]), TensorProto.INT64, [2]),
        (Weight(stored(np.float16([1, 2, 3]))), TensorProto.FLOAT16, [3]),
    ):
        made = stub(values)
        assert (made.kind, made.shape) == (kind, shape)
        assert made.tensor == onnx.TensorProto(data_type=kind, dims=shape)
        assert made.values is held(gs.Constant("w", values))
    narrow = stub(np.float32([1, 2]), export_dtype=onnx.TensorProto.BFLOAT16)
    assert narrow.kind == TensorProto.BFLOAT16
    assert narrow.content("w", None).dtype == ir.DataType.BFLOAT16


def test_a_weight_whose_numbers_are_the_same_is_the_very_one_that_it_was():
    before = stored(NUMBERS)
    assert stub(Weight(before)).content("w", None) is before
    assert stub(NUMBERS.copy()).content("w", before) is before
    for other in (NUMBERS + 1, NUMBERS.reshape(3, 2), NUMBERS.view(np.int32)):
        after = stub(other).content("w", before)
        assert after is not before
        np.testing.assert_array_equal(after.numpy(), other)
        assert after.name == "w"
    turned = stub(NUMBERS.T).content("w", None)
    np.testing.assert_array_equal(turned.numpy(), NUMBERS.T)
    assert turned.numpy().flags.c_contiguous


def test_weights_without_numbers_are_equal_where_type_and_shape_are():
    from onnx_graphsurgeon.ir.tensor import LazyValues

    def lazy(dtype, *dims):
        return stub(LazyValues(onnx.TensorProto(name="w", data_type=dtype, dims=dims)))

    before = empty(TensorProto.FLOAT, 3)
    assert lazy(TensorProto.FLOAT, 3).content("w", before) is before
    for other in (lazy(TensorProto.FLOAT16, 3), lazy(TensorProto.FLOAT, 4)):
        assert other.content("w", before) is not before
    full = stored(np.float32([1, 2, 3]))
    assert lazy(TensorProto.FLOAT, 3).content("w", full) is not full
    assert stub(np.float32([1, 2, 3])).content("w", before) is not before
