"""Scales and 8-bit numbers, exactly: by looking at all numbers of a type."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from workbench.precision.lowering import quantize
from workbench.precision.lowering.quantize import quantize_weight, representable, scale_of

HALVES = np.arange(0x7C00, dtype=np.uint16).view(np.float16).astype(np.float64)
BRAINS = np.arange(0x7F80, dtype=np.uint16).view(ml_dtypes.bfloat16).astype(np.float64)
TINY = float(np.finfo(np.float32).tiny)


@pytest.mark.parametrize(("floating", "numbers", "smallest"), [("fp16", HALVES, 2.0**-20), ("bf16", BRAINS, TINY)])
@pytest.mark.parametrize(("quantized", "largest"), [("int8", 127), ("fp8", 448)])
def test_a_stored_scale_is_the_next_number_of_its_type(floating, numbers, smallest, quantized, largest):
    for amax in (1.0, 3.0, 1000.0, 5e6, 0.01, 1e-9, 1e-30, largest, 2.0 * largest):
        exact = max(float(np.float32(amax) / np.float32(largest)), smallest)
        expected = 1.0 if amax == largest else float(numbers[numbers >= exact].min())
        assert float(scale_of(amax, quantized, floating)) == expected
    assert float(scale_of(0.0, quantized, floating)) == 1.0


def test_a_scale_is_the_threshold_over_the_largest_number():
    values = np.array([[127.0, 254.0], [0.0, 12.7]], np.float32)
    np.testing.assert_array_equal(scale_of(values), np.float32([[1, 2], [1, np.float32(12.7) / np.float32(127)]]))
    assert (float(scale_of(448.0, "fp8")), float(scale_of(1e-45)), scale_of(1.0).dtype) == (1.0, TINY, np.float32)


LEAST, LARGEST = 127 * 2.0**-14, 127 * 65504.0


@pytest.mark.parametrize(
    ("amax", "divides", "multiplies"),
    [
        (LEAST, True, True),
        (LEAST * 0.999, False, True),
        (127 * 2.0**-20, False, True),
        (127 * 2.0**-20 * 0.999, False, False),
        (LARGEST, True, True),
        (LARGEST * 1.001, False, False),
        (0.0, True, True),
    ],
)
def test_fp16_holds_scales_of_a_range_and_others_all(amax, divides, multiplies):
    assert [representable(amax, "int8", "fp16", divides=each) for each in (True, False)] == [divides, multiplies]
    assert representable(amax, "int8", "fp16") is multiplies
    assert (
        representable(amax, "int8", "bf16", divides=True) is representable(amax, "int8", "fp32", divides=True) is True
    )
    assert representable(amax * 448 / 127, "fp8", "fp16") is multiplies


def by_hand(weight, axis, largest=127.0):
    """Each number over its channel's scale, rounded half to even."""
    values = weight.astype(np.float32)
    others = None if axis is None else tuple(np.delete(np.arange(values.ndim), axis))
    scale = np.abs(values).max(axis=others, keepdims=True) / np.float32(largest)
    scale = np.where(scale == 0, np.float32(1), scale)
    return values / scale, scale.reshape(-1) if axis is not None else scale.reshape(())


@pytest.mark.parametrize("part", [1 << 17, 4])
@pytest.mark.parametrize(
    ("shape", "axis"),
    [((3, 5), 0), ((3, 5), 1), ((3, 5), -1), ((3, 5), None), ((2, 3, 4), 1), ((2, 3, 4), -1), ((7,), 0), ((7,), None)],
)
def test_a_weight_is_quantized_channel_by_channel_however_much_at_a_time(shape, axis, part, monkeypatch):
    monkeypatch.setattr(quantize, "_PART", part)
    weight = np.random.default_rng(3).normal(size=shape).astype(np.float32)
    weight.reshape(-1)[:2] = 0
    scaled, scale = by_hand(weight, axis)
    q, stored = quantize_weight(weight, axis)
    np.testing.assert_array_equal(stored, scale)
    np.testing.assert_array_equal(q, np.rint(scaled).astype(np.int8))
    assert q.dtype == np.int8
    scaled, scale = by_hand(weight, axis, 448.0)
    q, stored = quantize_weight(weight, axis, "fp8")
    np.testing.assert_array_equal(stored, scale)
    np.testing.assert_array_equal(q.astype(np.float32), scaled.astype(ml_dtypes.float8_e4m3fn).astype(np.float32))


def test_a_weight_of_one_number_and_one_of_none():
    q, scale = quantize_weight(np.float32(-3.0), None)
    assert (q.shape, int(q), scale.shape, float(scale)) == ((), -127, (), float(np.float32(3) / np.float32(127)))
    q, scale = quantize_weight(np.zeros((0, 3), np.float32), 1)
    assert (q.shape, scale.tolist()) == ((0, 3), [1.0, 1.0, 1.0])


def test_a_scale_that_is_rounded_up_makes_smaller_numbers():
    weight = np.array([1.0, -0.5, 0.25], np.float32)
    q, scale = quantize_weight(weight, None, "int8", "bf16")
    assert float(scale) == float(BRAINS[np.float32(1) / np.float32(127) <= BRAINS].min())
    np.testing.assert_array_equal(q, np.rint(weight / float(scale)).astype(np.int8))
