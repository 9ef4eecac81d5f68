"""Inputs for Polygraphy, read by Polygraphy itself."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from workbench import open_model
from workbench.errors import SamplesError


@pytest.fixture
def tuned(small_cnn):
    wb = open_model(small_cnn)
    wb.calibrate({"x": np.random.default_rng(0).normal(size=(10, 3, 8, 8)).astype(np.float32)}, batch=4)
    wb.tune()
    return wb


def test_polygraphy_runs_the_tuned_model_on_them(tuned, tmp_path):
    from polygraphy.comparator import RunResults
    from polygraphy.json import load_json

    inputs = tuned.engines.save_inputs(tmp_path / "inputs.json", runs=2)
    assert [feed["x"].shape for feed in load_json(str(inputs))] == [(4, 3, 8, 8)] * 2
    model, outputs = tmp_path / "tuned.onnx", tmp_path / "outputs.json"
    model.write_bytes(tuned.tuned.to_bytes())
    # The graph as it is: Polygraphy has no say in what ONNX Runtime optimizes.
    program = [sys.executable, "-c", "import sys, polygraphy.tools as t; sys.exit(t.main())"]
    words = ["run", str(model), "--onnxrt", "--load-inputs", str(inputs), "--save-outputs", str(outputs)]
    subprocess.run([*program, *words], check=True, capture_output=True)
    ((_, runs),) = RunResults.load(str(outputs))
    (output,) = tuned.tuned.outputs
    first = next(iter(load_json(str(inputs))))
    import onnxruntime as ort

    expected = ort.InferenceSession(tuned.tuned.to_bytes()).run([output.name], dict(first))[0]
    np.testing.assert_allclose(runs[0][output.name], expected, atol=1e-5)


def test_no_samples_are_refused(tuned, tmp_path):
    with pytest.raises(SamplesError):
        tuned.engines.save_inputs(tmp_path / "inputs.json", {"x": np.zeros((0, 3, 8, 8), np.float32)})
