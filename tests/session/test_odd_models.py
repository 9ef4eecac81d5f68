"""The whole loop over models that say what few models say: done, or refused in one line that says why."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

import workbench
from tests.kit.odd_models import ODD
from workbench.errors import BackendError, SamplesError
from workbench.runtime import in_one_array

REFUSED = {
    "sequence_as_input": (SamplesError, "it is a sequence of FLOAT, and samples are tensors"),
    "without_content": (BackendError, "weight 'w' has no content"),
}


def sample(model) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    values = {}
    for tensor in model.inputs:
        shape = [length if isinstance(length, int) else 2 for length in tensor.shape or ()]
        kind = tensor.numpy_dtype or np.dtype(np.float32)
        values[tensor.name] = random.normal(size=shape).astype(kind) if kind.kind == "f" else np.ones(shape, kind)
    return values


def loop(path, preset):
    wb = workbench.open_model(path)
    wb.prepare()
    arguments = sample(wb.model)
    wb.calibrate([arguments] * 2)
    wb.plan.use(preset)
    wb.tune()
    return wb, wb.compare([arguments] * 2, runs=0)


@pytest.mark.parametrize(
    ("name", "preset"), [*((name, "int8") for name in ODD), ("map_as_output", "fp16"), ("text_as_weight", "fp16")]
)
def test_every_odd_model_is_tuned_or_refused_in_one_line(name, preset, tmp_path):
    path = tmp_path / "m.onnx"
    onnx.save(ODD[name](), path)
    if name in REFUSED:
        kind, words = REFUSED[name]
        with pytest.raises(kind, match=words) as caught:
            loop(path, preset)
        assert "\n" not in str(caught.value)
        return
    wb, actual = loop(path, preset)
    assert [output.name for output in actual.outputs] == [tensor.name for tensor in wb.source.outputs]
    # Numbers have one; whole numbers and text either are the same or not.
    assert all(np.isnan(output.cosine) or output.cosine > 0.99 for output in actual.outputs)


def test_results_that_are_no_arrays_become_one():
    one, two = np.ones((2, 3), np.float32), np.zeros((4,), np.float32)
    assert in_one_array(one) is one
    assert in_one_array([one, one]).shape == (2, 2, 3)
    np.testing.assert_array_equal(in_one_array([one, two]), [1, 1, 1, 1, 1, 1, 0, 0, 0, 0])
    np.testing.assert_allclose(in_one_array([{1: 0.3, 0: 0.7}, {0: 0.1, 1: 0.9}]), [[0.7, 0.3], [0.1, 0.9]])
    assert in_one_array([]).size == in_one_array(None).size == 0
    assert in_one_array(["a", "b"]).tolist() == ["a", "b"]
