"""What a session asks of backends and readers of engines where it is not told more."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from tests.session.test_fixes import BLOCK, STEM, engine_of
from workbench.backends import BuildOptions, Engine, TimingOptions
from workbench.session import open_model

X = {"x": np.zeros((6, 3, 8, 8), np.float32)}


@pytest.fixture
def wb(small_cnn):
    """Its convolutions are planned in FP16, so that the tuned model is another one."""
    session = open_model(small_cnn)
    session.plan.set("op:Conv", "fp16")
    return session


def test_an_engine_is_timed_for_a_moment_unless_more_is_asked_for(wb, monkeypatch):
    asked = []
    backend = SimpleNamespace(profile=lambda _, timing: asked.append(timing), inspect=lambda _: engine_of(STEM, BLOCK))
    monkeypatch.setattr("workbench.backends.backend_of", lambda _: backend)
    engine = Engine("onnxruntime", b"", {})
    summary = wb.engines.inspect(engine)
    longer = TimingOptions(warm_up_s=1.0, runs=7)
    wb.engines.inspect(engine, timing=longer)
    assert asked == [TimingOptions(warm_up_s=0.1, runs=20), longer]
    assert summary.model is wb.tuned is not wb.model


def test_an_engine_is_read_against_the_model_and_once_it_was_tuned_against_that(wb):
    assert wb.engines.read(engine_of(STEM, BLOCK)).model is wb.model
    wb.tune()
    assert wb.engines.read(engine_of(STEM, BLOCK)).model is wb.tuned is not wb.model


def test_an_engine_runs_as_many_samples_at_a_time_as_are_asked_for_or_were_calibrated_on(wb, monkeypatch):
    monkeypatch.setattr("workbench.backends.need_of", lambda _: SimpleNamespace(stripped=False))
    monkeypatch.setattr("workbench.backends.backend_of", lambda _: None)
    monkeypatch.setattr("workbench.evaluate.compare_engine", lambda *_, batch, **__: batch)
    wb.calibrate(X, batch=3)
    engine = Engine("onnxruntime", b"", {})
    assert [wb.engines.compare(engine), wb.engines.compare(engine, batch=2)] == [3, 2]


def test_eight_runs_are_written_for_polygraphy_unless_others_are_asked_for(wb, monkeypatch):
    def save_inputs(data, model, path, *, runs, batch):
        return len(data), model is wb.tuned, path, runs, batch

    monkeypatch.setattr("workbench.evaluate.save_inputs", save_inputs)
    assert wb.engines.save_inputs("a.json", X) == (6, True, "a.json", 8, 1)
    assert wb.engines.save_inputs("a.json", X, runs=3) == (6, True, "a.json", 3, 1)


def test_a_build_takes_what_the_session_asks_for_where_it_is_given_no_options(wb, monkeypatch):
    asked, engine = [], Engine("onnxruntime", b"", {})
    backend = SimpleNamespace(build=lambda _, options, *, child: asked.append(options) or engine)  # noqa: ARG005
    monkeypatch.setattr("workbench.backends.backend_named", lambda _: backend)
    wb.engines.set(refit=True)
    own = BuildOptions(optimization_level=2)
    assert wb.build() is wb.build(options=own) is engine
    assert asked == [BuildOptions(refit=True), own]
