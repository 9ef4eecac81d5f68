"""What gates are judged on: what is measured of an engine here, what files tell of one, and what is lacking."""

from __future__ import annotations

import contextlib
from types import SimpleNamespace

import pytest

from workbench.errors import BackendError, OptionError, WorkbenchError
from workbench.jobs import measuring, placing
from workbench.jobs.options import TuneOptions


class Timer:
    """Stands for a backend; fails where it is told to."""

    def __init__(self, error=None, **conditions):
        self.error, self.conditions, self.asked = error, conditions, []

    def time(self, engine, options):
        self.asked.append((engine.data, options.runs))
        if self.error is not None:
            raise self.error
        return SimpleNamespace(
            median_ms=1.0,
            p90_ms=2.0,
            p95_ms=3.0,
            p99_ms=4.0,
            throughput=5.0,
            runs=options.runs,
            conditions=self.conditions,
        )


@pytest.fixture
def built(monkeypatch):
    """What is known of an engine that a timer times."""

    def call(timer, runs, *, unbuilt=None):
        def build(_):
            if unbuilt is not None:
                raise unbuilt
            return SimpleNamespace(data=b"12345")

        monkeypatch.setattr("workbench.backends.with_weights", lambda engine, _: engine)
        monkeypatch.setattr("workbench.backends.backend_of", lambda _: timer)
        engines = SimpleNamespace(inspect=lambda engine: f"made of {len(engine.data)}")
        return measuring.built_evidence(SimpleNamespace(build=build, tuned=None, engines=engines), "onnxruntime", runs)

    return call


@pytest.mark.parametrize(("runs", "timed"), [(0, 1), (1, 1), (3, 3)])
def test_an_engine_for_gates_is_timed_at_least_once(built, runs, timed):
    timer = Timer(backend="b", version="1", device={"name": "H200"}, note="", engine_scratch_bytes=7.0)
    evidence = built(timer, runs)
    assert timer.asked == [(b"12345", timed)]
    assert evidence.pop("latency_ms").keys() >= {"p50", "p95", "p99"}
    assert evidence == {
        "engine_bytes": 5,
        "throughput": 5.0,
        "device_bytes": 7,
        "conditions": f"b, 1, H200, {timed} runs",
        "engine": "made of 5",
    }
    assert built(Timer(), 1)["device_bytes"] is None
    assert built(Timer(), 1)["conditions"] == "1 runs"


def test_an_engine_that_is_not_built_or_not_timed_is_lacking_with_the_reason(built):
    lacking = {"engine": "no room", "timing": "no room"}
    assert built(Timer(), 1, unbuilt=WorkbenchError("no room")) == {"lacking": lacking}
    assert built(Timer(BackendError("no room")), 1) == {"engine_bytes": 5, "lacking": lacking}


def test_what_the_files_of_an_engine_tell_has_the_levels_that_they_have():
    timing = SimpleNamespace(ms={"median": 1.5, "p95": 2.5, "mean": 9.0}, throughput=400.0)
    report = SimpleNamespace(name="net", dialect="trtexec", timing=timing)
    summary = SimpleNamespace(report=report)
    known = {"engine": summary, "conditions": "net, trtexec"}
    assert measuring.read_evidence(summary) == known | {"latency_ms": {"p50": 1.5, "p95": 2.5}, "throughput": 400.0}
    report.timing = None
    lacking = {"timing": "the files have no times of whole inferences: give timing"}
    assert measuring.read_evidence(summary) == known | {"lacking": lacking}


def test_gates_need_what_measures_them():
    gates = measuring.gates_of(["sqnr_db >= 1", "p95_ms <= 3"])
    assert measuring.needs(gates, "comparison")
    assert measuring.needs(gates, "engine", "timing")
    assert not measuring.needs(gates, "engine")
    assert not measuring.needs((), "comparison")
    with pytest.raises(OptionError, match="`gates`: "):
        measuring.gates_of(["sqnr_db >= 1", "nothing"])


def test_what_is_known_without_an_engine_says_what_is_lacking(monkeypatch):
    monkeypatch.setattr(measuring, "file_bytes", len)
    monkeypatch.setattr(measuring, "macs_share", lambda _: 0.25)
    wb = SimpleNamespace(recipe=SimpleNamespace(pays=SimpleNamespace(where=None)), tuned="tuned")
    evidence = measuring.result_evidence(wb, None, "no samples")
    assert (evidence.file_bytes, evidence.int8_share, evidence.conditions) == (5, 0.25, "")
    assert evidence.lacking == {"comparison": "no samples"}
    assert measuring.result_evidence(wb, None).lacking == {}
    wb.recipe.pays.where = "here"
    assert measuring.result_evidence(wb, None).conditions == "here"


def test_engines_are_measured_by_a_scheduler_where_one_is_given(monkeypatch, tmp_path):
    monkeypatch.setattr(
        "workbench.precision.measuring.executor_of", lambda address: contextlib.nullcontext(f"at {address}")
    )
    for given, executor in (({}, None), ({"scheduler": "tcp://a"}, "at tcp://a")):
        options = TuneOptions(model="m", samples="s", out=tmp_path, measure="onnxruntime", cuda_graph=True, **given)
        with placing.measuring(options) as how:
            assert (how.executor, how.timing.cuda_graph) == (executor, True)
