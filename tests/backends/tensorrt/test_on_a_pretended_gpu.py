"""How engines are run, timed, profiled and inspected, on a GPU that is none."""

from __future__ import annotations

import re
import sys
from types import SimpleNamespace

import ml_dtypes
import numpy as np
import pytest

from tests.kit import pretended_gpu
from tests.kit.pretended_gpu import Tensor
from workbench.backends import cudart
from workbench.backends.clocks import Clocks
from workbench.backends.cudart import Buffer, Event, ReplayedGraph, Stream
from workbench.backends.protocol import TimingOptions
from workbench.backends.tegrastats import TegrastatsReading
from workbench.backends.tensorrt import context as module
from workbench.backends.tensorrt import execution, interleaved, refitting
from workbench.backends.tensorrt.context import Context, EngineFile, warm_up
from workbench.backends.tensorrt.execution import (
    EngineRunner,
    inputs_of_file,
    inspect_file,
    layer_times,
    profile_file,
    run_file,
    time_file,
)
from workbench.backends.tensorrt.interleaved import measure_files
from workbench.engine import LayerTime
from workbench.errors import BackendError

X = Tensor("x", (-1, 2), profile=[((1, 2), (2, 2), (4, 2)), ((1, 2), (8, 2), (9, 2))])
Y = Tensor("y", None, output=True)


@pytest.fixture
def runtime(monkeypatch):
    """What stands for CUDA's runtime."""
    made = pretended_gpu.Runtime()
    monkeypatch.setitem(sys.modules, "cuda.bindings", SimpleNamespace(runtime=made))
    cudart.cuda.cache_clear()
    yield made
    cudart.cuda.cache_clear()


@pytest.fixture
def made(runtime, monkeypatch, tmp_path):
    """Return a function that puts an engine of some tensors there; it returns what stands for TensorRT, and a path."""
    (tmp_path / "engine.plan").write_bytes(b"plan")

    def make(*tensors, **options):
        trt = pretended_gpu.TensorRT(runtime, *(tensors or (X, Y)), **options)
        monkeypatch.setattr(module, "importlib", SimpleNamespace(import_module=lambda _: trt))
        return trt, str(tmp_path / "engine.plan")

    return make


def opened(made, *tensors, shapes=None, profile=0, allocate=True, **options):
    _, path = made(*tensors, **options)
    return Context(EngineFile("tensorrt", path), shapes or {}, profile, allocate=allocate)


def rows(count, value=1.0):
    return np.full((count, 2), value, np.float32)


# CUDA


def test_a_call_that_fails_has_cudas_own_words_and_what_helps(runtime):
    api = cudart.cuda()
    for status, driver, fix in (
        (pretended_gpu.OTHER, 13000, None),
        (pretended_gpu.NO_DEVICE, 13000, "This needs an NVIDIA GPU and its driver."),
        (pretended_gpu.OLD_DRIVER, 0, "This needs an NVIDIA GPU and its driver."),
        (pretended_gpu.OLD_DRIVER, 12000, "The driver is for CUDA 12: pip install 'cuda-bindings==12.*'."),
        (pretended_gpu.OLD_DRIVER, 12999, "The driver is for CUDA 12: pip install 'cuda-bindings==12.*'."),
    ):
        runtime.driver = driver
        runtime.fails = {"cudaGetDeviceCount": status}
        with pytest.raises(BackendError) as caught:
            api.device()
        assert caught.value.what == "cudaGetDeviceCount failed: cudaErrorSome (some trouble)"
        assert caught.value.fix == fix


def test_a_gpu_is_described(runtime):
    device = cudart.first_device()
    assert (device.name, device.capability, device.target, device.multiprocessors) == ("Pretended", (9, 0), "sm90", 132)
    assert (device.driver, device.runtime) == (13000, 12080)
    for index in (1, 2):
        with pytest.raises(BackendError, match=f"there is no GPU number {index}; the driver sees 1"):
            cudart.cuda().device(index)
    assert cudart.bus_id() == "0000:01:00.0"
    assert cudart.cuda().free_bytes() == runtime.free == 1000


def test_memory_holds_what_was_written_and_is_given_back_once(runtime):
    api = cudart.cuda()
    buffer = Buffer(api, 16)
    assert runtime.free == 984
    stream = Stream(api)
    given, taken = np.arange(4, dtype=np.float32), np.zeros(4, np.float32)
    buffer.write(given, stream)
    buffer.read(taken, stream)
    assert taken.tolist() == [0, 1, 2, 3]
    buffer.write(np.array([7, 8], np.float32), stream)  # less than there is room for
    buffer.read(taken, stream)
    assert taken.tolist() == [7, 8, 2, 3]
    for copy in (buffer.write, buffer.read):
        with pytest.raises(BackendError, match="20 bytes do not fit a device buffer of 16"):
            copy(np.zeros(5, np.float32), stream)
    buffer.close()
    buffer.close()
    assert (runtime.free, runtime.calls.count("cudaFree")) == (1000, 1)
    assert len(runtime.memory) == 0
    Buffer(api, 0)
    assert runtime.free == 999  # CUDA gives nothing for nothing


def test_a_recorded_graph_is_launched(runtime):
    api = cudart.cuda()
    graph = ReplayedGraph(api, Stream(api))
    graph.begin()
    graph.end()
    graph.launch()
    assert graph.executable == ("graph", 0)
    names = [name.removeprefix("cuda") for name in runtime.calls]
    assert names[1:] == [
        *("StreamBeginCapture", "StreamEndCapture", "GraphInstantiateWithFlags", "GraphDestroy", "GraphLaunch")
    ]
    start, end = Event(api), Event(api)
    start.record(graph.stream)
    runtime.clock = 1.5
    end.record(graph.stream)
    assert end.since(start) == 1.5


# An engine


def test_a_refused_engine_says_what_the_library_said(made):
    trt, path = made()
    trt.refused = True
    with pytest.raises(BackendError, match=r"tensorrt 10\.3\.0 refused the engine: no good\. Build it on this machine"):
        EngineFile("tensorrt", path)
    trt.refused = False
    assert EngineFile("tensorrt", path).last_error == "it said nothing"


def test_an_engine_tells_of_its_tensors(made):
    kinds = {"BF16": ml_dtypes.bfloat16, "FP8": ml_dtypes.float8_e4m3fn, "HALF": "f2", "INT8": "i1", "UINT8": "u1"}
    tensors = [Tensor(kind, (1,), kind) for kind in kinds]
    trt, path = made(*tensors, Tensor("odd", (1,), "FP4"), Tensor("y", (1,), output=True, host=True))
    engine = EngineFile("tensorrt", path)
    assert engine.names() == [*kinds, "odd", "y"]
    assert [engine.is_input(name) for name in ("BF16", "y")] == [True, False]
    assert [engine.on_host(name) for name in ("BF16", "y")] == [False, True]
    assert {kind: engine.dtype(kind) for kind in kinds} == {kind: np.dtype(name) for kind, name in kinds.items()}
    with pytest.raises(BackendError, match="odd: FP4 cannot be fed or read"):
        engine.dtype("odd")
    assert engine.scratch_bytes() == 4096
    engine.engine.device_memory_size_v2 = None
    assert engine.scratch_bytes() == 7
    assert engine.runtime.engine_host_code_allowed
    for stripped, lacks in ((0, False), (1, True)):
        trt.stripped = stripped
        assert engine.lacks_weights() == lacks
    trt.EngineStat = None
    assert not engine.lacks_weights()


def test_a_context_has_the_optimum_of_its_profile_or_the_shapes_that_are_asked_for(made):
    assert opened(made).shapes == {"x": (2, 2), "y": (2, 2)}
    assert opened(made, profile=1).shapes["x"] == (8, 2)
    for count in (1, 4):
        assert opened(made, shapes={"x": (count, 2)}).shapes["y"] == (count, 2)
    for shape in ((0, 2), (5, 2), (2, 3), (2,)):
        with pytest.raises(BackendError, match=r"x: shape .* is outside optimization profile 0, \(1, 2\) to \(4, 2\)"):
            opened(made, shapes={"x": shape})
    with pytest.raises(BackendError, match=r"a, z is no input. The inputs are x"):
        opened(made, shapes={"z": (1,), "a": (1,)})
    fixed = Tensor("x", (3, 2))
    assert opened(made, fixed, Y).shapes == {"x": (3, 2), "y": (3, 2)}
    with pytest.raises(BackendError, match=r"outside optimization profile 0, \(3, 2\) to \(3, 2\)"):
        opened(made, fixed, Y, shapes={"x": (2, 2)})
    odd = Tensor("x", (-1, 2), profile=[((1, 2), (13, 2), (20, 2))])
    with pytest.raises(BackendError, match=r"x: shape \(13, 2\) was refused"):
        opened(made, odd, Y)


def test_a_profile_that_is_not_there_or_a_context_that_cannot_be_is_told(made):
    with pytest.raises(BackendError, match="there is no optimization profile 2; the engine has 2"):
        opened(made, profile=2)
    with pytest.raises(BackendError, match="there is no optimization profile -1"):
        opened(made, profile=-1)
    with pytest.raises(BackendError, match="optimization profile 7 was refused"):
        opened(made, profile=7, profiles=8)
    trt, path = made()
    trt.context = False
    with pytest.raises(BackendError, match="no execution context: not enough device memory"):
        Context(EngineFile("tensorrt", path), {}, 0)
    with pytest.raises(BackendError, match=r"y: its shape \(-1,\) depends on the data"):
        opened(made, X, Tensor("y", (-1,), output=True))


def test_what_is_fed_is_computed_with_and_read_back(made, runtime):
    context = opened(made, shapes={"x": (3, 2)})
    assert runtime.free == 1000 - 2 * 24
    context.write("x", np.arange(12, dtype=np.float32).reshape(3, 4)[:, ::2])  # not contiguous
    context.enqueue()
    assert context.outputs()["y"].tolist() == [[0, 4], [8, 12], [16, 20]]
    with pytest.raises(BackendError, match="x: the feed is float64; the engine takes float32"):
        context.write("x", np.zeros((3, 2)))
    context.context.ran = 98
    context.engine.log.append("the last line")
    with pytest.raises(BackendError, match="the last line: the inference could not be enqueued"):
        context.enqueue()
    context.close()
    assert runtime.free == 1000
    assert context.context is None


def test_whole_numbers_are_narrowed_where_nothing_is_lost(made):
    context = opened(made, Tensor("x", (2,), "INT32"), Tensor("y", (2,), "INT32", output=True))
    context.write("x", np.array([1, -2]))
    context.enqueue()
    assert context.outputs()["y"].tolist() == [2, -4]
    with pytest.raises(BackendError, match="the feed is int64; the engine takes int32"):
        context.write("x", np.array([1, 1 << 40]))


def test_shape_tensors_lie_on_the_host_with_the_values_that_were_tuned_for(made, runtime, monkeypatch):
    shape = Tensor("x", (2,), "INT64", host=True, values=[3, 5])
    context = opened(made, shape, Tensor("y", (2,), "INT64", output=True, host=True))
    assert runtime.free == 1000
    assert context.host["x"].tolist() == [3, 5]
    context.enqueue()
    output = context.outputs()["y"]
    assert output.tolist() == [6, 10]
    context.write("x", np.array([7, 1]))
    context.enqueue()
    assert (output.tolist(), context.outputs()["y"].tolist()) == ([6, 10], [14, 2])
    monkeypatch.delattr(pretended_gpu.Engine, "get_tensor_profile_values")  # as of TensorRT 8.6
    context.engine.engine.get_profile_shape_input = lambda index, name: ([], [index, name], [9])
    assert context.engine.tuned_values("x", 1) == [1, "x"]


def test_inputs_are_filled_with_seeded_numbers(made):
    context = opened(made, Tensor("x", (64,)), Tensor("y", (64,), output=True))
    context.fill()
    context.enqueue()
    first = context.outputs()["y"] / 2
    np.testing.assert_array_equal(first, np.random.default_rng(0).random(64, np.float32))
    context.fill()
    context.enqueue()
    np.testing.assert_array_equal(context.outputs()["y"] / 2, first)
    whole = opened(made, Tensor("x", (64,), "INT32"), Tensor("y", (64,), "INT32", output=True))
    whole.fill()
    whole.enqueue()
    assert set(whole.outputs()["y"].tolist()) == {0, 2}
    truth = opened(made, Tensor("x", (64,), "BOOL"), Tensor("y", (64,), "INT32", output=True))
    truth.fill()
    truth.enqueue()
    assert set(truth.outputs()["y"].tolist()) == {0, 2}


def test_a_captured_inference_is_replayed(made, runtime):
    context = opened(made)
    context.capture()
    assert context.context.ran == 1
    context.enqueue()
    assert (context.context.ran, runtime.calls[-1]) == (1, "cudaGraphLaunch")


def test_one_warms_up_for_some_seconds_and_once_at_least(made, monkeypatch):
    contexts = [opened(made), opened(made)]
    clock = iter([0.0, 0.5, 1.0, 1.5])
    monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    assert warm_up(contexts, 1.0) == 4
    assert [one.context.ran for one in contexts] == [2, 2]
    clock = iter([0.0, 0.0])
    assert warm_up(contexts[:1], 0.0) == 1


# Running


def test_an_engine_runs_each_feed_and_keeps_the_latest_shapes(made, runtime):
    _, path = made()
    results = run_file("tensorrt", path, [{"x": rows(1)}, {"x": rows(2, 3)}])
    assert [result["y"].tolist() for result in results] == [[[2, 2]], [[6, 6], [6, 6]]]
    assert runtime.free == 1000 - 32  # of one shape there is memory, the latest
    (wide,) = run_file("tensorrt", path, [{"x": rows(9)}], profile_index=1)
    assert wide["y"].shape == (9, 2)
    for run in (
        lambda: run_file("tensorrt", path, [{"x": rows(5)}]),
        lambda: EngineRunner("tensorrt", path)({"x": rows(5)}),
    ):
        with pytest.raises(BackendError, match="outside optimization profile 0"):
            run()
    runtime.free = 1000
    runner = EngineRunner("tensorrt", path, contexts=2)
    kept = []
    for count in (1, 2, 1, 3, 1, 2):
        assert runner({"x": rows(count, count)})["y"][0, 0] == 2 * count
        kept.append([key[0][1][0] for key in runner._contexts])
    assert kept == [[1], [1, 2], [2, 1], [1, 3], [3, 1], [1, 2]]
    assert runtime.free == 1000 - 2 * (8 + 16)
    runner.close()
    assert (runtime.free, runner._contexts) == (1000, {})


@pytest.mark.parametrize(("streams", "graph"), [(1, False), (2, True)])
def test_a_timing_says_how_it_came_about(made, runtime, monkeypatch, streams, graph):
    _, path = made()
    ticks = iter(range(10_000))
    monkeypatch.setattr(execution, "time", SimpleNamespace(perf_counter=lambda: float(next(ticks))))
    monkeypatch.setattr(execution, "warm_up", lambda contexts, seconds: (len(contexts), seconds))
    monkeypatch.setattr(Clocks, "read", lambda self: self.readings.append({"sm_clock_mhz": 7.0}))
    options = TimingOptions(runs=5, warm_up_s=0.25, shapes={"x": (3, 2)}, streams=streams, cuda_graph=graph)
    timing = time_file("tensorrt", path, options)
    assert (timing.runs, timing.warm_up_runs) == (5, (streams, 0.25))
    assert timing.median_ms == (0.0 if graph else 2.0)  # a launched graph does not move the pretended clock
    assert timing.throughput == 5.0  # five runs in a second of the clock that ticks when it is asked
    conditions = dict(timing.conditions)
    clocks = conditions.pop("clocks")
    assert (clocks["sm_clock_mhz"], clocks["readings"]) == ([7.0, 7.0], 2)
    assert conditions == {
        "backend": "tensorrt",
        "version": "10.3.0",
        "device": "Pretended",
        "capability": "sm90",
        "driver": 13000,
        "shapes": {"x": [3, 2], "y": [3, 2]},
        "profile_index": 0,
        "cuda_graph": graph,
        "streams": streams,
        "clock": "CUDA events around one inference at a time; throughput: all streams back to back, host clock",
        "data": "uniform random, without copies to and from the host",
        "host_median_ms": 1000.0,
        "engine_scratch_bytes": 4096,
        "context_device_bytes": streams * 48,
    }
    assert ("cudaGraphLaunch" in runtime.calls) == graph


def test_a_layer_in_a_loop_counts_once_a_run_with_all_of_its_times(made):
    trt, path = made()
    assert profile_file("tensorrt", path, TimingOptions(runs=4, warm_up_s=0.0)) == (
        LayerTime("one", 4.0, 4.0),
        LayerTime("two", 2.0, 2.0),
    )
    context = opened(made)
    trt.layers = []
    context.engine.trt.layers = []
    assert layer_times(context, 2) == ()


@pytest.mark.parametrize(
    ("streams", "said"),
    [
        (0, "the profiler reported no layer. Build with detailed profiling verbosity."),
        (2, "the profiler reported no layer: the engine runs on 3 streams at once. Build it without auxiliary"),
    ],
)
def test_why_there_is_no_profile(made, streams, said):
    trt, path = made()
    trt.layers, trt.aux_streams = [], streams
    with pytest.raises(BackendError, match=re.escape(said)):
        profile_file("tensorrt", path, TimingOptions(runs=2, warm_up_s=0.0))


def test_a_layer_that_is_reported_now_and_then_has_the_mean_of_its_reports(made):
    context = opened(made)
    trt = context.engine.trt
    reports = iter([[("a", 1.0)], [("a", 2.0), ("a", 6.0)]])
    plain = context.context.execute_async_v3

    def enqueue(handle):
        trt.layers = next(reports)
        return plain(handle)

    context.context.execute_async_v3 = enqueue
    assert layer_times(context, 2) == (LayerTime("a", 3.0, 2.0),)


def test_an_engine_is_inspected_without_memory(made, runtime):
    _, path = made()
    assert inspect_file("tensorrt", path, 1) == "json of 4 bytes, profile 1"
    assert runtime.free == 1000


def test_inputs_are_those_of_a_manifest_and_an_engine_without_weights_has_none(made):
    trt, path = made(X, Tensor("n", (2,), "INT64"), Y)
    expected = [
        {"name": "x", "dtype": "FLOAT", "shape": [None, 2]},
        {"name": "n", "dtype": "INT64", "shape": [2]},
    ]
    assert inputs_of_file("tensorrt", path) == expected
    trt.stripped = 8
    with pytest.raises(BackendError, match="the engine was written without its weights"):
        inputs_of_file("tensorrt", path)
    assert inputs_of_file("tensorrt", path, refitted=True) == expected


def test_engines_side_by_side_are_timed_and_then_looked_into(made, runtime, monkeypatch):
    _, path = made()
    monkeypatch.setattr(Clocks, "read", lambda self: self.readings.append({"sm_clock_mhz": 7.0}))
    monkeypatch.setattr(interleaved, "SPACER_BYTES", 16)
    options = TimingOptions(runs=4, warm_up_s=0.0, cuda_graph=True)
    measured = measure_files("tensorrt", {"a": path, "b": path}, options, loadings=2)
    assert {name: one.error for name, one in measured.items()} == {"a": None, "b": None}
    conditions = measured["a"].timing.conditions
    assert (conditions["beside"], conditions["profiled_runs"], conditions["streams"]) == (["b"], 50, 1)
    assert conditions["clock"].startswith("CUDA events around one inference at a time; engines take turns")
    assert (conditions["device"], conditions["capability"], conditions["cuda_graph"]) == ("Pretended", "sm90", True)
    assert conditions["shapes"] == {"x": [2, 2], "y": [2, 2]}
    assert measured["b"].layers == (LayerTime("one", 4.0, 4.0), LayerTime("two", 2.0, 2.0))
    assert measured["b"].inspector == "json of 4 bytes, profile 0"
    assert runtime.free == 1000
    plain = measure_files("tensorrt", {"a": path}, TimingOptions(runs=4, warm_up_s=0.0), loadings=1)["a"].timing
    assert (plain.median_ms, plain.runs) == (2.0, 4)


# Clocks


@pytest.fixture
def nvml(monkeypatch):
    """What stands for NVML."""

    class NVMLError(Exception):
        pass

    names = ["SwPowerCap", "SwThermalSlowdown", "HwThermalSlowdown", "HwPowerBrakeSlowdown", "HwSlowdown"]
    reasons = {f"nvmlClocksEventReason{name}": 1 << at for at, name in enumerate([*names, "ApplicationsClocksSetting"])}
    made = SimpleNamespace(
        **reasons,
        NVMLError=NVMLError,
        NVML_CLOCK_SM="sm",
        NVML_CLOCK_MEM="memory",
        NVML_TEMPERATURE_GPU="gpu",
        bits=0,
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByPciBusId=lambda bus: bus,
        nvmlDeviceGetCurrentClocksEventReasons=lambda _: made.bits,
        nvmlDeviceGetClockInfo=lambda _, which: {"sm": made.sm, "memory": 2600}[which],
        nvmlDeviceGetPowerUsage=lambda _: 350_500,
        nvmlDeviceGetTemperature=lambda *_: 50,
        sm=1980,
    )
    monkeypatch.setitem(sys.modules, "pynvml", made)
    monkeypatch.setattr("workbench.backends.clocks.board", lambda: None)
    return made


@pytest.mark.usefixtures("runtime")
def test_clocks_are_bounds_with_what_held_them_back(nvml):
    clocks = Clocks(cudart.cuda())
    assert clocks._device == "0000:01:00.0"
    assert clocks.conditions() == {"clocks": "unknown: none was read"}
    for sm, bits in ((1980, 0), (1200, 0b100001), (1500, 0b000110)):
        nvml.sm, nvml.bits = sm, bits
        clocks.read()
        assert clocks.conditions()["clocks"]["readings"] == len(clocks.readings)
    assert clocks.conditions()["clocks"] == {
        "sm_clock_mhz": [1200, 1980],
        "memory_clock_mhz": [2600, 2600],
        "power_w": [350.5, 350.5],
        "temperature_c": [50, 50],
        "slowed_by": ["clocks set by somebody", "power limit", "temperature"],
        "readings": 3,
    }


def test_why_there_are_no_clocks_is_said(runtime, nvml, monkeypatch):
    def fails(*_):
        raise nvml.NVMLError("it is away")

    working = Clocks(cudart.cuda())
    nvml.nvmlDeviceGetCurrentClocksEventReasons = fails
    working.read()
    working.read()
    assert working.conditions() == {"clocks": "unknown: it is away"}
    nvml.nvmlDeviceGetHandleByPciBusId = fails
    assert Clocks(cudart.cuda()).conditions() == {"clocks": "unknown: it is away"}
    runtime.fails = {"cudaDeviceGetPCIBusId": pretended_gpu.OTHER}
    assert "cudaDeviceGetPCIBusId failed" in Clocks(cudart.cuda()).conditions()["clocks"]
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert Clocks(cudart.cuda()).conditions() == {"clocks": "unknown: nvidia-ml-py is not installed"}


@pytest.mark.usefixtures("runtime", "nvml")
def test_a_board_tells_of_its_memory_besides(monkeypatch):
    shown = [TegrastatsReading(100, 8000, {"VDD_IN": 4000}, {"cpu": 40.0}), None]
    monkeypatch.setattr("workbench.backends.clocks.board", lambda: SimpleNamespace(latest=lambda: shown.pop(0)))
    clocks = Clocks(cudart.cuda())
    clocks.read()
    clocks.read()
    board = clocks.conditions()["board"]
    assert (board["ram_mb"], board["readings"]) == ([100, 100], 1)


def test_the_first_profile_is_chosen_where_another_is_active(made, monkeypatch):
    monkeypatch.setattr(pretended_gpu.Context, "active_optimization_profile", 1)
    assert opened(made).context.active_optimization_profile == 0
    _, path = made()
    assert inspect_file("tensorrt", path) == "json of 4 bytes, profile 0"


class Refitter:
    """TensorRT's refitter and its parser of ONNX files, with what is to be answered."""

    def __init__(self, trt):
        self.read, self.put, self.missing, self.errors = True, True, [], ["one", "two"]
        trt.OnnxParserRefitter, trt.Refitter = (lambda *_: self), (lambda *_: self)
        trt.SerializationFlag = SimpleNamespace(EXCLUDE_WEIGHTS="without weights")
        self.cleared = []

    def refit_from_file(self, _path):
        return self.read

    @property
    def num_errors(self):
        return len(self.errors)

    def get_error(self, index):
        return SimpleNamespace(desc=lambda: self.errors[index])

    def get_missing_weights(self):
        return self.missing

    def refit_cuda_engine(self):
        return self.put


@pytest.fixture
def refit(made, monkeypatch):
    """Return a function that puts weights into an engine, and what answers it."""
    trt, path = made()
    refitter = Refitter(trt)
    monkeypatch.setattr(refitting, "importlib", SimpleNamespace(import_module=lambda _: trt))
    config = SimpleNamespace(clear_flag=refitter.cleared.append)
    monkeypatch.setattr(pretended_gpu.Engine, "create_serialization_config", lambda _: config, raising=False)
    monkeypatch.setattr(
        pretended_gpu.Engine, "serialize_with_config", lambda engine, _: engine.data + b" whole", raising=False
    )
    return refitter, lambda: refitting.refit_file("tensorrt", path, "m.onnx")


def test_weights_are_put_into_an_engine_which_then_holds_them(refit):
    refitter, done = refit
    assert done() == b"plan whole"
    assert refitter.cleared == ["without weights"]


@pytest.mark.parametrize(
    ("answer", "what"),
    [
        ({"read": False}, "TensorRT refused the weights: one; two"),
        ({"missing": ["a", "b", "c"]}, "the file has no weights for a, b, c"),
        ({"missing": ["a", "b", "c", "d", "e"]}, "the file has no weights for a, b, c and 2 more"),
        ({"missing": ["a", "b", "c", "d"]}, "the file has no weights for a, b, c and 1 more"),
        ({"put": False}, "TensorRT could not put the weights in: "),
    ],
)
def test_weights_that_do_not_go_in_are_told(refit, answer, what):
    refitter, done = refit
    vars(refitter).update(answer)
    with pytest.raises(BackendError) as failure:
        done()
    assert failure.value.what.startswith(what)
    assert failure.value.what == what or "in: " in what
