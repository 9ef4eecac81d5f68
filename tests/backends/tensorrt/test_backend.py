"""What the backend asks of its child processes, and of whom: TensorRT and its GPU are stood in for."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.kit.models import model
from workbench.backends.needs import Runtime
from workbench.backends.protocol import BuildOptions, Engine, TimingOptions
from workbench.backends.tensorrt import TensorRT, backend, backend_for
from workbench.backends.tensorrt.interleaved import measure_files
from workbench.backends.turns import LOADINGS
from workbench.child import Child
from workbench.errors import BackendError

FULL, LEAN, RTX = Runtime("full", "tensorrt", "8.6.0"), Runtime("lean", "lean8", "8.6.1"), Runtime("rtx", "rtx1", "1.7")
LIMITS = Child(timeout_s=7.0)
ENGINE = Engine("tensorrt", b"the plan", {"model": "net"})


@pytest.fixture
def gpu(monkeypatch):
    """Runtimes that are installed, and a GPU."""
    monkeypatch.setattr(backend, "installed", lambda: [LEAN, FULL, RTX])
    device = SimpleNamespace(target="sm90", name="a GPU", text="a GPU, 3 multiprocessors")
    monkeypatch.setattr(backend, "_device", lambda: device)


@pytest.fixture
def asked(gpu, monkeypatch):  # noqa: ARG001 - the GPU is there
    """What child processes are asked: the function, the limits, what it is called, and what it is given."""
    calls, fitted = [], []

    def run(child, what, function, *given, **named):
        paths = list(given[1].values()) if isinstance(given[1], dict) else [given[1]]
        content = [Path(path).read_bytes() for path in paths]
        calls.append((function.__name__, child.timeout_s, what, given[0], content, given[2:], named))
        return SimpleNamespace(value=[f"result of {function.__name__}"])

    monkeypatch.setattr(backend, "run", run)
    monkeypatch.setattr(backend, "check_fits", lambda manifest, **what: fitted.append((dict(manifest), what)))
    calls.append(fitted)
    return calls


def test_an_engine_is_run_timed_profiled_and_inspected_from_a_file_in_another_process(asked):
    trt, fitted = TensorRT(), asked.pop()
    assert trt.run(ENGINE, {"x": 1}) == "result of run_file"
    assert trt.run_each(ENGINE, [{"x": 1}, {"x": 2}], child=LIMITS) == ["result of run_file"]
    trt.time(ENGINE, child=LIMITS)
    trt.time(ENGINE, TimingOptions(runs=3))
    trt.profile(ENGINE, child=LIMITS)
    trt.profile(ENGINE, TimingOptions(runs=3))
    trt.inspect(ENGINE)
    trt.inspect(ENGINE, profile_index=2, child=LIMITS)
    content, limit = [b"the plan"], backend.RUN_LIMITS.timeout_s
    assert asked == [
        ("run_file", limit, "running the engine of net", "tensorrt", content, ([{"x": 1}],), {}),
        ("run_file", 7.0, "running the engine of net", "tensorrt", content, ([{"x": 1}, {"x": 2}],), {}),
        ("time_file", 7.0, "timing the engine of net", "tensorrt", content, (TimingOptions(),), {}),
        ("time_file", limit, "timing the engine of net", "tensorrt", content, (TimingOptions(runs=3),), {}),
        ("profile_file", 7.0, "profiling the engine of net", "tensorrt", content, (TimingOptions(runs=30),), {}),
        ("profile_file", limit, "profiling the engine of net", "tensorrt", content, (TimingOptions(runs=3),), {}),
        ("inspect_file", limit, "inspecting the engine of net", "tensorrt", content, (0,), {}),
        ("inspect_file", 7.0, "inspecting the engine of net", "tensorrt", content, (2,), {}),
    ]
    manifest, (runtime, device) = ENGINE.manifest, fitted[:2]
    assert runtime == (manifest, {"runtime": FULL})  # what needs no GPU is said first
    assert device == (manifest, {"runtime": FULL, "device": backend._device()})


def test_engines_are_measured_beside_each_other_in_one_process(asked):
    asked.pop()
    other = Engine("tensorrt", b"another", {})
    trt = TensorRT(lean=True)
    trt.measure({"a": ENGINE, "b": other}, TimingOptions(runs=3))
    trt.measure({"a": ENGINE}, TimingOptions(runs=3), loadings=4, kept={"a"}, child=LIMITS)
    both, alone = asked
    assert both[0] == measure_files.__name__
    assert both[2:5] == ("measuring a beside b", "lean8", [b"the plan", b"another"])
    assert both[5:] == ((TimingOptions(runs=3),), {"loadings": LOADINGS, "kept": None})
    assert (alone[1], alone[2], alone[6]) == (7.0, "measuring a", {"loadings": 4, "kept": ("a",)})


def test_a_build_may_take_an_hour_and_a_run_ten_minutes():
    assert (Child(timeout_s=3600.0), Child(timeout_s=600.0)) == (backend.BUILD_LIMITS, backend.RUN_LIMITS)


@pytest.mark.usefixtures("asked")
def test_an_engine_that_is_kept_open_has_memory_for_four_shapes_and_gives_it_back(monkeypatch):
    runners = []

    class Runner:
        def __init__(self, *given, **named):
            self.given, self.named, self.closed = given, named, False
            self.content = Path(given[1]).read_bytes()
            runners.append(self)

        def close(self):
            self.closed = True

    monkeypatch.setattr("workbench.backends.tensorrt.execution.EngineRunner", Runner)
    with TensorRT().opened(ENGINE) as runner:
        assert (runner.given[0], runner.content, runner.named) == ("tensorrt", b"the plan", {"contexts": 4})
        assert (runners, runner.closed) == ([runner], False)
    assert runner.closed
    with pytest.raises(KeyError), TensorRT().opened(ENGINE):
        raise KeyError
    assert [one.closed for one in runners] == [True, True]


def test_inputs_are_those_of_the_manifest_or_asked_of_the_engine_itself(asked):
    asked.pop()
    trt, stated = TensorRT(), [{"name": "x"}]
    assert trt.inputs(Engine("tensorrt", b"", {"inputs": stated})) == stated
    assert asked == []
    for manifest, refitted in (({}, False), ({"refitted": True}, True)):
        assert trt.inputs(Engine("tensorrt", b"plan", manifest)) == ["result of inputs_of_file"]
        assert asked.pop()[2:] == (
            "reading the engine of an unknown model",
            *("tensorrt", [b"plan"], (), {"refitted": refitted}),
        )


@pytest.mark.usefixtures("gpu")
def test_each_package_finds_its_own_runtime_and_a_copied_one_is_asked_for_its_version(monkeypatch):
    assert [TensorRT().runtime(), TensorRT(lean=True).runtime(), TensorRT("tensorrt_rtx").runtime()] == [
        *(FULL, LEAN, RTX),
    ]
    assert backend_for("tensorrt_rtx").name == "tensorrt_rtx"
    monkeypatch.setattr(backend, "installed", lambda: [Runtime("full", "tensorrt")])
    monkeypatch.setattr(backend, "run", lambda _, what, __, module: SimpleNamespace(value=f"{what}: {module} 10.1"))
    assert TensorRT().runtime().version == "importing tensorrt: tensorrt 10.1"
    for trt, what, how in (
        (TensorRT(lean=True), "the lean runtime of TensorRT is missing", r"\[lean\]"),
        (TensorRT("tensorrt_rtx"), "the package tensorrt_rtx is missing", r"\[rtx\]"),
    ):
        with pytest.raises(BackendError, match=f"{what}.*{how}"):
            trt.runtime()
    assert backend._imported_version("onnx").count(".") == 2


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize(
    ("version", "lean", "typing"),
    [
        ("8.6.0", False, "weak"),
        ("8.6.1", True, "weak"),
        ("9.0.0", False, "strong"),
        ("10.3", False, "strong"),
        ("8.dev", False, "weak"),
        ("12", False, "strong"),
        ("dev", False, "strong"),
    ],
)
def test_what_can_be_done_follows_from_the_version_and_the_gpu(monkeypatch, version, lean, typing):
    monkeypatch.setattr(backend, "installed", lambda: [Runtime("lean" if lean else "full", "m", version)])
    able = TensorRT(lean=lean).capabilities()
    assert (able.backend, able.version, able.typing, able.targets) == ("tensorrt", version, typing, ("sm90",))
    assert (able.build, able.run, able.device) == (not lean, True, "a GPU, 3 multiprocessors")
    assert able.reason == ("the lean runtime builds nothing" if lean else None)

    def none():
        raise BackendError("there is no GPU")

    monkeypatch.setattr(backend, "_device", none)
    able = TensorRT(lean=lean).capabilities()
    assert (able.build, able.run, able.typing, able.version) == (False, False, typing, version)
    assert "there is no GPU" in able.reason
    monkeypatch.setattr(backend, "installed", list)
    able = TensorRT(lean=lean).capabilities()
    assert (able.build, able.run, able.version) == (False, False, None)
    assert able.reason.endswith('[lean]"' if lean else '[tensorrt]"')


@pytest.mark.usefixtures("gpu")
def test_a_build_is_for_the_gpu_that_is_here_or_for_the_target_of_tensorrt_rtx(monkeypatch):
    import onnx

    network = model([onnx.helper.make_node("Relu", ["x"], ["y"], "r")], {"x": [2]}, {"y": [2]})
    compilation = SimpleNamespace(engine=b"plan", version="8.6.0", engine_bytes=4, profile=[], parse_s=0.5, build_s=1.5)
    calls = []

    def compiled(*given, **named):
        calls.append((given, named))
        return SimpleNamespace(value=compilation)

    manifest = "workbench.backends.manifest.make_manifest"
    monkeypatch.setattr(manifest, lambda name, _, __, ___, device, target: {"of": (name, device, target)})
    monkeypatch.setattr(backend, "compile_in_child", compiled)
    monkeypatch.setattr(backend, "compile_for", compiled)
    engine = TensorRT().build(network, child=LIMITS)
    assert (engine.backend, engine.data, engine.manifest["of"]) == (
        "tensorrt",
        b"plan",
        ("tensorrt", backend._device(), None),
    )
    (name, built, options), named = calls.pop()
    assert (name, built, named) == (
        "tensorrt",
        network,
        {"child": LIMITS, "what": f"the tensorrt build of {network.name}"},
    )
    assert options.workspace_bytes is not None
    engine = TensorRT("tensorrt_rtx").build(network, BuildOptions(optimization_level=2), target="sm86")
    assert engine.manifest["of"] == ("tensorrt_rtx", None, "sm86")
    (built, target, options), named = calls.pop()
    assert (target, options.optimization_level, named) == (
        *("sm86", 2),
        {"child": backend.BUILD_LIMITS, "keep_engine": True},
    )
    with pytest.raises(BackendError, match="tensorrt builds for the GPU of its machine"):
        TensorRT().build(network, target="sm86")
    with pytest.raises(BackendError, match="tensorrt cannot be used here: the lean runtime builds nothing"):
        TensorRT(lean=True).build(network)


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize(("package", "target", "told"), [("tensorrt", None, "sm90"), ("tensorrt_rtx", "sm86", "sm86")])
def test_a_build_that_is_refused_is_judged_for_its_gpu(monkeypatch, package, target, told):
    network = SimpleNamespace(name="net", inputs=[])
    outcome = SimpleNamespace(value=SimpleNamespace(engine=None))
    for name in ("compile_in_child", "compile_for"):
        monkeypatch.setattr(backend, name, lambda *_, **__: outcome)
    refusals = []

    def refusal(*given):
        refusals.append(given)
        return BackendError("refused")

    monkeypatch.setattr(backend, "_refusal", refusal)
    with pytest.raises(BackendError, match="refused"):
        TensorRT(package).build(network, BuildOptions(workspace_bytes=None), target=target)
    assert refusals == [(package, network, told, outcome)]


def test_weights_are_put_into_an_engine_that_has_none(asked, monkeypatch):
    import onnx

    network = model([onnx.helper.make_node("Relu", ["x"], ["y"], "r")], {"x": [2]}, {"y": [2]})
    fitted, checked = asked.pop(), []
    refitting = "workbench.backends.tensorrt.refitting"
    monkeypatch.setattr(f"{refitting}.check_weights", lambda *given: checked.append(given))
    monkeypatch.setattr(f"{refitting}.refitted_manifest", lambda manifest, data, _: {**manifest, "data": data})
    stripped = Engine("tensorrt", b"no weights", {"options": {"strip": True, "tf32": False}})
    done = TensorRT().refit(stripped, network, child=LIMITS)
    assert checked == [(stripped.manifest, network)]
    assert (done.data, done.manifest["data"]) == (["result of refit_file"],) * 2
    assert done.manifest["options"]["strip"]
    (call,) = asked
    assert call[:5] == ("refit_file", 7.0, "refitting the engine of an unknown model", "tensorrt", [b"no weights"])
    assert Path(call[5][0]).suffix == ".onnx"
    assert fitted[0][0]["options"] == {"strip": False, "tf32": False}  # for this once it may be loaded


def test_a_refusal_names_the_node_or_the_first_problem(monkeypatch):
    network = SimpleNamespace(name="net")
    outcome = SimpleNamespace(value=SimpleNamespace(version="8.6"))
    fix = SimpleNamespace(text="Do that")
    node = SimpleNamespace(op="Conv", reason="too wide", node="c1", fix=fix)
    problem = SimpleNamespace(reason="no memory", fix=None)
    judged = {}

    def judge(*given, **named):
        judged.update(named, given=given)
        return judged["verdict"]

    monkeypatch.setattr("workbench.backends.verdict.judge", judge)
    judged["verdict"] = SimpleNamespace(refused=[node, problem], problems=[problem], log="all of it")
    error = backend._refusal("tensorrt", network, "sm90", outcome)
    assert str(error) == "c1: tensorrt refused the Conv: too wide. Do that"
    assert (error.log, judged["compiler"], judged["given"]) == ("all of it", "tensorrt 8.6", (network, "sm90", outcome))
    judged["verdict"] = SimpleNamespace(refused=[SimpleNamespace(**{**vars(node), "fix": None})], problems=[], log="")
    assert str(backend._refusal("tensorrt", network, "sm90", outcome)) == "c1: tensorrt refused the Conv: too wide"
    judged["verdict"] = SimpleNamespace(refused=[], problems=[problem, node, node], log="")
    assert str(backend._refusal("tensorrt", network, "sm90", outcome)) == "net: no memory"
    judged["verdict"] = SimpleNamespace(refused=[], problems=[node], log="")
    assert str(backend._refusal("tensorrt", network, "sm90", outcome)) == "net: too wide. Do that"
