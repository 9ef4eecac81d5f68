"""Scales and 8-bit numbers."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.precision.lowering.quantize import quantize_weight, representable, scale_of

amaxes = st.floats(2.0**-20, 2.0**20, width=32)


@given(amaxes, st.sampled_from(["fp16", "bf16"]))
def test_a_stored_scale_is_a_number_of_its_type_and_clips_no_more(amax, floating):
    kind = {"fp16": np.float16, "bf16": ml_dtypes.bfloat16}[floating]
    exact, stored = float(scale_of(amax)), float(scale_of(amax, "int8", floating))
    assert float(np.asarray(stored, kind)) == stored
    assert stored >= exact
    if exact >= 2.0**-14:
        assert stored <= exact * (1 + 2.0**-7)


@given(amaxes)
def test_fp8_represents_the_threshold_itself(amax):
    q, scale = quantize_weight(np.array([amax, -amax], np.float32), None, "fp8")
    assert q.dtype == ml_dtypes.float8_e4m3fn
    np.testing.assert_allclose(q.astype(np.float32) * scale, [amax, -amax], rtol=1e-5)
    assert np.isfinite(q.astype(np.float32)).all()


@given(st.integers(0, 1000), st.sampled_from(["fp32", "fp16", "bf16"]), st.sampled_from(["int8", "fp8"]))
def test_no_weight_is_off_by_more_than_half_a_step(seed, floating, quantized):
    weight = np.random.default_rng(seed).normal(size=(3, 5), scale=0.1).astype(np.float32)
    q, scale = quantize_weight(weight, 0, quantized, floating)
    error = np.abs(q.astype(np.float32) * scale[:, None] - weight)
    # E4M3 has three bits of mantissa: half a step is 2^-4 of the number, and 2^-10 near zero.
    half = 0.5 if quantized == "int8" else np.maximum(np.abs(weight) / scale[:, None] * 2.0**-4, 2.0**-10)
    assert (error <= half * scale[:, None] * 1.0001).all()


@pytest.mark.parametrize(
    ("amax", "floating", "divides", "fits"),
    [
        (1.0, "fp16", True, True),
        (1e-3, "fp16", True, False),
        (1e-3, "fp16", False, True),
        (1e-4, "fp16", False, False),
        (1e9, "fp16", False, False),
        (0.0, "fp16", True, True),
        (1e-4, "bf16", True, True),
    ],
)
def test_a_scale_of_fp16_must_be_normal_where_it_divides(amax, floating, divides, fits):
    assert representable(amax, "int8", floating, divides=divides) is fits
