"""What an engine computes, against what the comparison of the models says."""

from __future__ import annotations

import numpy as np
import pytest

from workbench.backends.manifest import write_engine
from workbench.backends.onnxruntime.engine import OnnxRuntime
from workbench.backends.protocol import Engine
from workbench.backends.registry import backend_of
from workbench.errors import BackendError, SamplesError
from workbench.evaluate import engine_runs
from workbench.evaluate.engine_accuracy import compare_engine
from workbench.graph.load import load_model
from workbench.session import history_of, open_model, opened


@pytest.fixture(scope="module")
def labels(small_data):
    return np.load(small_data.with_name("labels.npy"))


@pytest.fixture(scope="module")
def tuned(small_cnn, small_data):
    wb = open_model(small_cnn)
    wb.prepare()
    wb.calibrate(small_data)
    wb.plan.set("op:Conv", "int8")
    wb.tune()
    return wb


@pytest.fixture(scope="module")
def engine(tuned):
    return OnnxRuntime().build(tuned.tuned)


def test_an_engine_is_as_far_away_as_the_model_it_was_built_from(tuned, engine, labels):
    message = tuned.compare(labels=labels, runs=0)
    comparison = tuned.engines.compare(engine, labels=labels)
    assert comparison.samples == 12
    assert comparison.accuracy == message.accuracy
    # ONNX Runtime's kernels sum in INT32 where the comparison of models sums dequantized floats.
    assert comparison.worst_sqnr_db == pytest.approx(message.worst_sqnr_db, abs=0.5)
    assert 10 < comparison.worst_sqnr_db < 60


def test_a_stored_engine_is_compared_too(tuned, engine, tmp_path):
    path = write_engine(engine, tmp_path / "model.engine")
    assert tuned.engines.compare(path).outputs == tuned.engines.compare(engine).outputs
    path.write_bytes(b"x")
    with pytest.raises(BackendError, match="manifest"):
        tuned.engines.compare(path)


@pytest.mark.parametrize("batch", [1, 5, 12])
def test_lots_and_batches_do_not_change_what_is_found(small_cnn, small_data, engine, labels, batch, monkeypatch):
    model, wb = load_model(small_cnn), open_model(small_cnn)
    samples = opened(history_of(wb), small_data)
    whole = compare_engine(model, OnnxRuntime(), engine, samples, labels=labels, batch=4)
    monkeypatch.setattr(engine_runs, "RUNS_BYTES", 1)
    again = compare_engine(model, OnnxRuntime(), engine, samples, labels=labels, batch=batch)
    assert again.accuracy == whole.accuracy
    assert again.worst_sqnr_db == pytest.approx(whole.worst_sqnr_db, abs=0.01)


def test_samples_that_a_fixed_batch_repeats_count_once(small_cnn, small_data, labels):
    wb = open_model(small_cnn)
    wb.edit("set_batch", size=5)  # 12 samples are two batches and two samples of a third
    agreement = compare_engine(
        wb.model, OnnxRuntime(), OnnxRuntime().build(wb.model), opened(history_of(wb), small_data), labels=labels
    )
    assert agreement.samples == agreement.accuracy.samples == 12
    assert agreement.accuracy.original == agreement.accuracy.tuned


def test_an_engine_of_another_model_is_refused(small_cnn, small_data, engine):
    wb = open_model(small_cnn)
    wb.edit("rename_tensor", tensor="y", to="scores")
    with pytest.raises(BackendError, match="the engine has no output scores"):
        compare_engine(wb.model, OnnxRuntime(), engine, opened(history_of(wb), small_data))
    with pytest.raises(SamplesError, match="no samples"):
        compare_engine(
            load_model(small_cnn), OnnxRuntime(), engine, opened(history_of(wb), {"x": np.zeros((0, 3, 8, 8), "f")})
        )


def test_every_engine_finds_its_backend():
    assert backend_of(Engine("onnxruntime", b"", {})).name == "onnxruntime"
    assert backend_of(Engine("tensorrt_rtx", b"", {})).name == "tensorrt_rtx"
    with pytest.raises(BackendError, match="no backend 'openvino'"):
        backend_of(Engine("openvino", b"", {}))
