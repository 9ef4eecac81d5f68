"""How ONNX Runtime is asked, timed and read, by a clock that ticks once a second whenever it is looked at."""

from __future__ import annotations

import itertools
import json
from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest
from onnx import helper

from tests.kit.models import model, proto
from workbench.backends.needs import this_platform
from workbench.backends.onnxruntime import engine as module
from workbench.backends.onnxruntime import interleaved
from workbench.backends.onnxruntime.engine import OnnxRuntime, backend_for
from workbench.backends.onnxruntime.inputs import conditions_of
from workbench.backends.onnxruntime.interleaved import InMemory
from workbench.backends.protocol import BuildOptions, Engine, ShapeRange, TimingOptions
from workbench.backends.turns import LOADINGS, Schedule
from workbench.child import Child
from workbench.engine import LayerTime
from workbench.errors import BackendError
from workbench.runtime import usable_cores

NODES = [helper.make_node("Relu", ["x"], ["a"], "relu"), helper.make_node("Neg", ["a"], ["y"], "neg")]
NETWORK = proto(NODES, {"x": [2, 3]}, {"y": [2, 3]})
FACTS = {
    "model": "net",
    "version": onnxruntime.__version__,
    "device": {"name": module._processor(), "threads": usable_cores()},
    "platform": this_platform(),
    "shapes": {"x": [2, 3]},
    "sources": {"relu": ["relu"]},
}
MANIFEST = json.loads(json.dumps(FACTS))  # as it is read from a file
ENGINE = Engine("onnxruntime", NETWORK.SerializeToString(), MANIFEST)
QUICK = TimingOptions(warm_up_s=0.0, runs=3)


@pytest.fixture
def ticking(monkeypatch):
    """A clock that both modules look at."""
    clock = SimpleNamespace(perf_counter=itertools.count(5.0).__next__)
    for one in (module, interleaved):
        monkeypatch.setattr(one, "time", clock)


def test_it_is_the_backend_of_its_name_and_builds_for_ten_minutes():
    assert backend_for("onnxruntime").name == "onnxruntime"
    assert Child(timeout_s=600.0) == module.BUILD_LIMITS


@pytest.mark.usefixtures("ticking")
def test_a_timing_has_the_milliseconds_of_single_runs_and_the_span_of_all():
    timing = OnnxRuntime().time(ENGINE, QUICK)
    assert timing.latencies_ms == (1000.0,) * 3
    assert timing.throughput == 3 / 7  # looked at before and after each run, and around all
    assert (timing.runs, timing.warm_up_runs) == (3, 1)
    assert timing.conditions == conditions_of(ENGINE, {"x": np.zeros((2, 3))})


def test_the_conditions_of_a_timing_are_what_a_reader_needs():
    assert conditions_of(ENGINE, {"x": np.zeros((4, 3)), "n": np.zeros(())}) == {
        "backend": "onnxruntime",
        "version": onnxruntime.__version__,
        "device": MANIFEST["device"],
        "shapes": {"x": [4, 3], "n": []},
        "clock": "host clock around one inference at a time",
        "data": "uniform random",
        "note": "a processor's time, which says nothing about a GPU's",
    }


def test_a_profile_has_mean_and_median_of_each_kernel_in_milliseconds(monkeypatch):
    events = {"a": [{"dur": 1000}, {"dur": 2000}, {"dur": 6000}], "b": [{"dur": 500}]}
    monkeypatch.setattr(OnnxRuntime, "_events", lambda *_: events)
    assert OnnxRuntime().profile(ENGINE) == (LayerTime("a", 3.0, 2.0), LayerTime("b", 0.5, 0.5))


def test_every_measured_run_of_every_node_is_profiled_and_no_other():
    events = OnnxRuntime()._events(ENGINE, QUICK)
    assert {name: len(each) for name, each in events.items()} == {"relu": 3, "neg": 3}
    assert {event["cat"] for each in events.values() for event in each} == {"Node"}
    assert {event["name"] for event in events["neg"]} == {"neg_kernel_time"}


def test_an_inspection_runs_once_and_shows_the_last_shapes(monkeypatch):
    asked = []

    def events(_, __, options):
        asked.append((options.warm_up_s, options.runs))
        shapes = [{"args": {"output_type_shape": [{"float": [length]}]}} for length in (7, 8)]
        return {"relu": shapes, "neg": [{"args": {}}]}

    monkeypatch.setattr(OnnxRuntime, "_events", events)
    report = json.loads(OnnxRuntime().inspect(ENGINE))
    assert asked == [(0.0, 1)]
    assert report["Runtime"] == f"ONNX Runtime {onnxruntime.__version__}, optimized graph on a processor"
    assert report["Bindings"] == ["x", "y"]
    relu, neg = report["Layers"]
    assert (relu["Inputs"][0]["Dimensions"], relu["Outputs"][0]["Dimensions"]) == ([2, 3], [8])
    assert (relu["Metadata"], neg["Metadata"]) == ("[ONNX Layer: relu]", "")
    assert neg["Outputs"] == [{"Name": "y", "Location": "Host"}]


@pytest.mark.parametrize(
    "options", [TimingOptions(streams=2), TimingOptions(cuda_graph=True), TimingOptions(profile_index=1)]
)
def test_what_only_a_gpu_has_is_refused(options):
    for ask in (OnnxRuntime().time, OnnxRuntime().profile):
        with pytest.raises(BackendError, match="has one stream, no CUDA graphs and no optimization profiles"):
            ask(ENGINE, options)
    with pytest.raises(BackendError, match="has one stream"):
        OnnxRuntime().measure({}, options)


@pytest.mark.parametrize(("options", "entry"), [({}, None), ({"spinning": True}, None), ({"spinning": False}, "0")])
def test_what_runs_is_what_was_inspected_on_all_cores(options, entry):
    settings = OnnxRuntime()._session(ENGINE, **options).get_session_options()
    assert settings.graph_optimization_level == onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    assert (settings.log_severity_level, settings.intra_op_num_threads) == (4, usable_cores())
    assert not settings.enable_profiling
    if entry is not None:
        assert settings.get_session_config_entry("session.intra_op.allow_spinning") == entry
        return
    with pytest.raises(Exception, match="allow_spinning"):
        settings.get_session_config_entry("session.intra_op.allow_spinning")


def test_an_engine_that_waits_for_feeds_leaves_the_processor_to_others(monkeypatch):
    asked, sessions = [], OnnxRuntime._session

    def session(backend, engine, **options):
        asked.append(options)
        return sessions(backend, engine, **options)

    monkeypatch.setattr(OnnxRuntime, "_session", session)
    feeds = [{"x": np.full((2, 3), sign, np.float32)} for sign in (-1, 2)]
    results = OnnxRuntime().run_each(ENGINE, feeds)
    assert [result["y"].tolist() for result in results] == [[[0.0] * 3] * 2, [[-2.0] * 3] * 2]
    assert asked == [{"spinning": False}]
    assert OnnxRuntime().run(ENGINE, feeds[1])["y"].tolist() == [[-2.0] * 3] * 2


@pytest.mark.parametrize(
    ("part", "value", "what"),
    [
        ("version", "0.1", f"made for 0.1; this is {onnxruntime.__version__}"),
        ("version", "~", f"made for ~; this is {onnxruntime.__version__}"),
        ("device", {"name": "!"}, f"made for !; this is {module._processor()}"),
        ("device", {"name": "~"}, f"made for ~; this is {module._processor()}"),
        ("device", None, f"made for None; this is {module._processor()}"),
        ("platform", "aix-ppc", f"made for aix-ppc; this is {this_platform()}"),
        ("platform", "zos-s390x", f"made for zos-s390x; this is {this_platform()}"),
    ],
)
def test_an_engine_is_for_its_version_processor_and_system(part, value, what):
    backend = OnnxRuntime()
    with pytest.raises(BackendError) as caught:
        backend.load(ENGINE.data, {**MANIFEST, part: value})
    assert (caught.value.where, caught.value.what) == ("engine of net", what)
    trusted = {"trusted": True, part: value}
    assert backend.load(ENGINE.data, trusted) == Engine("onnxruntime", ENGINE.data, trusted)
    assert backend.load(ENGINE.data, MANIFEST) == ENGINE


# Side by side


@pytest.mark.usefixtures("ticking")
def test_a_turn_measures_its_runs_behind_one_that_is_not_measured(monkeypatch):
    ran, warmed = [], []
    session = SimpleNamespace(run=lambda *_: ran.append(1))
    monkeypatch.setattr(interleaved, "warm_up", lambda *given: warmed.append(given))
    engine = InMemory(OnnxRuntime(), session, ENGINE, QUICK, 0.25)
    ((warm, feeds, seconds),) = warmed
    assert (warm, list(feeds), seconds) == (session, ["x"], 0.25)
    assert engine.turn(3) == ([1000.0] * 3, 3.0)
    assert len(ran) == 4


def test_what_took_turns_is_profiled_and_inspected_in_sessions_of_its_own(monkeypatch):
    asked = []
    layers = (LayerTime("a", 1.0, 1.0),)
    monkeypatch.setattr(OnnxRuntime, "profile", lambda _, __, options: asked.append(options) or layers)
    monkeypatch.setattr(OnnxRuntime, "inspect", lambda *_: "json")
    backend = OnnxRuntime()
    options = TimingOptions(runs=70, warm_up_s=9.0, shapes={"x": (2, 3)})
    engine = InMemory(backend, backend._session(ENGINE), ENGINE, options, 0.0)
    schedule = Schedule(2, 3, 5)
    conditions, profiled, report = engine.finish(schedule, ["b"])
    assert (profiled, report) == (layers, "json")
    assert asked == [TimingOptions(runs=20, warm_up_s=0.0, shapes={"x": (2, 3)})]
    base = conditions_of(ENGINE, {"x": np.zeros((2, 3))})
    assert conditions == {**base, "beside": ["b"], "clock": f"{base['clock']}; {schedule}", "profiled_runs": 20}
    engine.close()
    assert engine._session is None


def test_only_the_first_loading_is_warmed_up_for_the_whole_time(monkeypatch):
    made, taken = [], []
    monkeypatch.setattr(module, "InMemory", lambda *given: made.append(given) or "loaded")

    def take_turns(names, load, schedule, *, kept):
        taken.append((names, schedule, kept, [load(name, at, schedule) for at in range(3) for name in names]))
        return "measured"

    monkeypatch.setattr(module, "take_turns", take_turns)
    backend = OnnxRuntime()
    assert backend.measure({"a": ENGINE, "b": ENGINE}, TimingOptions(runs=40, warm_up_s=6.0), loadings=4) == "measured"
    assert taken == [(["a", "b"], Schedule.of(40, 4), None, ["loaded"] * 6)]
    assert [given[-1] for given in made] == [6.0] * 2 + [1.5] * 4
    assert all(given[0] is backend and given[2] is ENGINE for given in made)
    backend.measure({"a": ENGINE}, kept={"a"})
    assert taken[1][:3] == (["a"], Schedule.of(200, LOADINGS), {"a"})


# Building


@pytest.mark.usefixtures("ticking")
def test_a_graph_is_optimized_by_onnx_runtime_which_says_how_long_it_took(monkeypatch):
    told = []
    monkeypatch.setattr(module, "progress", lambda *step: told.append(step))
    data, version, seconds = module._optimize(NETWORK.SerializeToString(), [], "net")
    assert (version, seconds) == (onnxruntime.__version__, 1.0)
    assert [node.op_type for node in module.parse(data).graph.node] == ["Relu", "Neg"]
    assert told == [("optimizing", 0.0), ("optimizing", 1.0)]
    with pytest.raises(BackendError, match=r"net: ONNX Runtime refuses it: .*Repair or replace the named node"):
        module._optimize(b"no graph", [], "net")


def test_what_was_built_is_told_with_all_that_it_depends_on(monkeypatch):
    asked = []

    def run(child, what, function, *given):
        asked.append((child, what, function, *given[1:]))
        return SimpleNamespace(value=(NETWORK.SerializeToString(), "1.2", 0.5))

    monkeypatch.setattr(module, "run", run)
    network = model(NODES, {"x": ["N", 3]}, {"y": ["N", 3]})
    options = BuildOptions(profiles=({"x": ShapeRange((1, 3), (2, 3), (4, 3))},), tf32=False)
    engine = OnnxRuntime().build(network, options)
    what = f"ONNX Runtime's optimization of {network.name}"
    assert asked == [(module.BUILD_LIMITS, what, module._optimize, module.disabled_optimizers(network), network.name)]
    manifest = dict(engine.manifest)
    assert len(manifest.pop("engine_sha256")) == 64
    stated = manifest.pop("options")
    assert (stated["tf32"], stated["profiles"]) == (False, [{"x": {"min": [1, 3], "opt": [2, 3], "max": [4, 3]}}])
    assert manifest == {
        "format": "workbench-engine/1",
        "backend": "onnxruntime",
        "version": "1.2",
        "engine_bytes": len(engine.data),
        "model": network.name,
        "model_sha256": network.digest,
        "shapes": {"x": [2, 3]},
        "inputs": [{"name": "x", "dtype": "FLOAT", "shape": ["N", 3]}],
        "outputs": [{"name": "y", "dtype": "FLOAT", "shape": ["N", 3]}],
        "device": MANIFEST["device"],
        "platform": this_platform(),
        "build_s": 0.5,
        "sources": {"relu": ["relu"], "neg": ["neg"]},
    }


@pytest.mark.parametrize(
    "option", [{"optimization_level": 0}, {"refit": True}, {"timing_cache": "c"}, {"workspace_bytes": None}]
)
def test_an_option_that_means_nothing_to_it_is_refused(option):
    with pytest.raises(BackendError, match=f"ONNX Runtime has no {next(iter(option))}. Leave the option out"):
        OnnxRuntime().build(model(NODES, {"x": [2]}, {"y": [2]}), BuildOptions(**option))


def test_a_processor_has_the_name_that_the_system_gives_it(monkeypatch, tmp_path):
    cpuinfo = tmp_path / "cpuinfo"
    monkeypatch.setattr(module, "Path", lambda path: cpuinfo if path == "/proc/cpuinfo" else None)
    cpuinfo.write_text("processor\t: 0\nmodel\t\t: 7\nmodel name\t: A: fast one \nmodel name\t: another\n")
    assert module._processor() == "A: fast one"
    cpuinfo.write_text("processor\t: 0\nzz\t: 1\n")
    for name, told in (("arm", "arm"), ("", "aarch64")):
        monkeypatch.setattr(
            module, "platform", SimpleNamespace(processor=lambda name=name: name, machine=lambda: "aarch64")
        )
        assert module._processor() == told
    cpuinfo.unlink()
    assert module._processor() == "aarch64"
