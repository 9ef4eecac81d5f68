"""What sessions are made of, and what is made of their results, one by one."""

from __future__ import annotations

import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.kit.models import model, weight
from workbench.child import ChildError
from workbench.errors import BackendError
from workbench.graph.edits.registry import edit_by_name
from workbench.graph.load import from_proto
from workbench.runtime import (
    as_written,
    constants,
    device,
    first_line,
    first_run,
    narrow,
    numerics_check,
    opsets,
    session,
    small_graphs,
)
from workbench.runtime.bytes import without_weights
from workbench.runtime.device import Device
from workbench.runtime.first_run import FirstRun
from workbench.runtime.narrow import has_narrow
from workbench.runtime.numerics_check import Tried, _share_off, reference
from workbench.runtime.session import Session, in_one_array, usable_cores

RELU = model([helper.make_node("Relu", ["x"], ["y"], "relu")], {"x": ["N", 2]}, {"y": ["N", 2]})
PRODUCT = model([helper.make_node("MatMul", ["x", "w"], ["y"])], {"x": [1, 64]}, {"y": [1, 64]}, [weight("w", 64, 64)])
X = {"x": np.array([[1.0, -2.0]], np.float32)}


# Results


@pytest.mark.parametrize(
    ("value", "array"),
    [
        (None, []),
        ([], []),
        (7, 7),
        ([np.ones(2), np.zeros(2)], [[1, 1], [0, 0]]),
        ([np.ones(2), np.zeros((1, 3))], [1, 1, 0, 0, 0]),
        ([np.ones(2, np.float32), np.zeros(2, np.float64)], [1, 1, 0, 0]),
        ({2: np.ones(1), 1: np.zeros(1)}, [[0], [1]]),
        ([{1: 5.0}, {1: 6.0}], [[5], [6]]),
        ([None, np.ones(1)], [1]),
    ],
)
def test_every_result_becomes_an_array(value, array):
    assert in_one_array(value).tolist() == array
    one = np.ones(3)
    assert in_one_array(one) is one


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("a" * 300, "a" * 300),
        ("a" * 301, "a" * 297 + "..."),
        ("\n  one  \n two", "one"),
        ("", "RuntimeError"),
        (" \n ", "RuntimeError"),
    ],
)
def test_the_first_line_with_words_is_kept_and_shortened(text, kept):
    assert first_line(RuntimeError(text)) == kept


@pytest.mark.parametrize(
    ("text", "kept"), [("a\nb", "a"), ("", "ValueError"), ("a" * 200, "a" * 200), ("a" * 201, "a" * 197 + "...")]
)
def test_what_cuda_says_is_a_line(text, kept):
    assert device._line(ValueError(text)) == kept


# Sessions


def test_as_many_runs_are_timed_as_are_asked_for(monkeypatch):
    ran = []
    timed = Session(RELU, mode="speed")
    monkeypatch.setattr(timed, "_session", SimpleNamespace(run=lambda outputs, feed: ran.append((outputs, feed))))
    times = timed.time(X)
    assert (len(times), len(ran)) == (50, 55)
    assert ran[0][0] == ["y"]
    assert all(0 < time < 1000 for time in times)
    ran.clear()
    assert (len(timed.time(X, runs=2, warmup=0)), len(ran)) == (2, 2)
    clock = iter([1.0, 1.5])
    monkeypatch.setattr(session, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    assert timed.time(X, runs=1, warmup=0) == [500.0]


def test_a_session_without_outputs_returns_nothing():
    assert Session(RELU, outputs=[]).run(X) == {}


@pytest.mark.parametrize("apart", [False, True])
def test_each_feed_has_its_results_in_order(apart, monkeypatch):
    feeds = [{"x": np.full((1, 2), float(at), np.float32)} for at in range(5)]
    ran = Session(RELU, apart=apart)
    lots = []
    run_all = Session._run_all
    monkeypatch.setattr(Session, "_run_all", lambda self, feeds: lots.append(len(feeds)) or run_all(self, feeds))
    monkeypatch.setattr(session, "TOGETHER_BYTES", 16)  # two feeds; the third is one too many
    assert [result["y"][0, 0] for result in ran.run_each(feeds)] == [0, 1, 2, 3, 4]
    assert lots == ([3, 2] if apart else [1, 1, 1, 1, 1, 0])
    assert list(ran.run_each([])) == []


def test_weights_without_content_are_named():
    stripped = edit_by_name("strip_weights")(PRODUCT).model
    with pytest.raises(BackendError, match=r"weight 'w' has no content, so the model cannot run.*restore_weights"):
        Session(stripped)


@pytest.mark.parametrize(
    ("bound", "kept"), [("LARGE_BYTES", {"w"}), ("HUGE_BYTES", set())], ids=["beside the message", "thrifty"]
)
def test_a_model_is_large_from_a_bound_on(monkeypatch, bound, kept):
    """Of 64 x 64 weights of 4 bytes each."""
    made = []

    class Watched(FirstRun):
        def session(self, *arguments, **options):
            made.append(self)
            return super().session(*arguments, **options)

    monkeypatch.setattr(session, "FirstRun", Watched)
    x = {"x": np.ones((1, 64), np.float32)}
    results = []
    for value in (4 * 64 * 64 + 1, 4 * 64 * 64):
        monkeypatch.setattr(session, bound, value)
        one = Session(PRODUCT)
        results.append(one.run(x)["y"])
        assert one.thrifty == made[-1].thrifty == (bound == "HUGE_BYTES" and value == 4 * 64 * 64)
    np.testing.assert_allclose(*results, rtol=1e-5)
    usual, large = made
    assert set(usual.weights) == set()
    assert set(large.weights) == kept
    assert ("session.disable_prepacking" in large.entries) == large.thrifty
    assert ("ConstantFolding" in large.disabled) == large.thrifty
    assert "session.disable_prepacking" not in usual.entries
    fast = Session(PRODUCT, mode="speed")
    assert ("session.disable_prepacking" in made[-1].entries, fast.thrifty) == (False, large.thrifty)


def test_spinning_threads_are_for_timing_and_single_runs():
    made = [Session(RELU, observing=observing)._session.get_session_options() for observing in (False, True)]
    keys = "session.intra_op.allow_spinning"
    assert made[1].get_session_config_entry(keys) == "0"
    assert [one.enable_mem_pattern for one in made] == [True, False]
    assert all(one.log_severity_level == 4 for one in made)
    assert all(one.intra_op_num_threads == usable_cores() for one in made)


def test_a_worker_uses_the_cores_that_it_may(monkeypatch):
    monkeypatch.setattr(session, "os", SimpleNamespace(sched_getaffinity=lambda pid: {1, 5, 7} if pid == 0 else set()))
    assert usable_cores() == 3
    for count, cores in ((6, 6), (None, 1)):
        monkeypatch.setattr(session, "os", SimpleNamespace(cpu_count=lambda count=count: count))
        assert usable_cores() == cores


# A first run


def test_a_graph_is_another_where_anything_of_it_differs():
    trial = FirstRun(b"m", {"a": "1", "b": "2"}, ["c"], ["y"], {"w": np.ones(2, np.float32)})
    same = trial._replace(entries={"b": "2", "a": "1"})
    assert trial.key() == same.key()
    others = [
        trial._replace(content=b"n"),
        trial._replace(entries={"a": "1"}),
        trial._replace(disabled=[]),
        trial._replace(outputs=["z"]),
        trial._replace(weights={"w": np.zeros(2, np.float32)}),
        trial._replace(weights={"v": np.ones(2, np.float32)}),
        trial._replace(providers=("CUDAExecutionProvider",)),
    ]
    assert len({one.key() for one in (trial, *others)}) == len(others) + 1


@pytest.mark.parametrize(
    ("kind", "text", "memory"),
    [
        ("builtins.MemoryError", "", True),
        ("RuntimeError", "std::bad_alloc", True),
        ("RuntimeError", "Failed to allocate memory for x", True),
        ("RuntimeError", "bad allocation", True),
        ("RuntimeError", "bad shape", False),
    ],
)
def test_too_little_memory_is_told_from_what_is_refused(monkeypatch, kind, text, memory):
    monkeypatch.setattr(first_run.helper, "call", lambda *_: first_run.helper.Failed(kind, text))
    with pytest.raises(BackendError) as caught:
        first_run._ask("m", print)
    assert isinstance(caught.value, ChildError) == memory
    if memory:
        assert caught.value.kind == "memory"
    else:
        assert str(caught.value) == text


def test_the_helpers_sessions_go_when_nobody_needs_them(monkeypatch):
    monkeypatch.setattr(first_run, "_sessions", {1: "a", 2: "b"})
    trial = FirstRun(RELU.to_bytes(), {}, [], ["y"], {})
    first_run._replace([1, 7], 3, trial, 1)
    assert list(first_run._sessions) == [2, 3]
    for lanes in (1, 2):
        results = first_run._runs(3, ["y"], [X, {"x": -X["x"]}], lanes)
        assert [one[0].tolist() for one in results] == [[[1, 0]], [[0, 2]]]
    with pytest.raises(BackendError, match="died meanwhile"):
        first_run._runs(1, ["y"], [X], 1)


# What is switched off


def test_options_and_optimizers_are_switched_off_where_they_do_harm():
    names = {where: [one.name for one in as_written.SWITCHED_OFF if one.where == where] for where in as_written.WHERE}
    off = as_written.optimizers_off
    plain = [name for name in names["always"] if "." not in name]
    assert off(numerics=False, narrow=False) == off(numerics=True, narrow=False) == plain
    assert set(off(numerics=False, narrow=True)) == {*plain, *names["narrow"]}
    assert set(off(numerics=False, narrow=False, bodies=True)) == {*plain, *names["bodies"]}
    assert dict(as_written.options()) == dict.fromkeys(names["numerics"], "1")
    said = str(as_written.SWITCHED_OFF[0])
    assert said.startswith("session.disable_quant_qdq (for numbers; seen in all): fuses Q/DQ pairs")


@pytest.mark.parametrize("newest", [21, 22])
def test_the_newest_operator_set_that_runs_is_the_answer(monkeypatch, newest):
    asked = []
    monkeypatch.setattr(opsets.onnx.defs, "onnx_opset_version", lambda: 24)
    monkeypatch.setattr(opsets, "_runs", lambda version: asked.append(version) or version <= newest)
    assert opsets.newest_opset.__wrapped__() == newest
    assert asked == list(range(24, newest - 1, -1))
    monkeypatch.setattr(opsets, "_runs", lambda version: version == 1)
    assert opsets.newest_opset.__wrapped__() == 1
    monkeypatch.setattr(opsets, "_runs", lambda _: False)
    assert opsets.newest_opset.__wrapped__() == 24


def test_pairs_run_in_the_sets_that_have_them():
    assert [opsets._runs(version) for version in (9, 10, 13, 19)] == [False, True, True, True]


def test_a_narrow_type_is_found_wherever_the_model_says_it():
    def half(**where):
        return model(
            [helper.make_node("Identity", ["x"], ["y"])],
            {"x": (where.get("x", TensorProto.FLOAT), [1])},
            {"y": (where.get("y", TensorProto.FLOAT), [1])},
            where.get("weights", ()),
        )

    assert not has_narrow(half())
    assert has_narrow(half(x=TensorProto.FLOAT16))
    assert has_narrow(half(y=TensorProto.BFLOAT16))
    assert has_narrow(half(weights=[numpy_helper.from_array(np.ones(1, np.float16), "w")]))
    casts = [helper.make_node("Cast", ["x"], ["h"], to=10), helper.make_node("Cast", ["h"], ["y"], to=1)]
    cast = model(casts, {"x": [1, 2]}, {"y": [1, 2]})
    assert has_narrow(cast)
    assert not has_narrow(cast, {16})


# Weights beside the message


def test_weights_are_aligned_and_in_order():
    base = np.arange(2 * 64 * 64 + 1, dtype=np.float32)
    skewed = base[1 : 64 * 64 + 1].reshape(64, 64)  # 4 bytes off
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 64])],
        [numpy_helper.from_array(skewed, "w")],
    )
    network = from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))
    _, weights = without_weights(network, ["y"])
    assert weights["w"].flags.c_contiguous
    assert weights["w"].ctypes.data % 16 == 0
    np.testing.assert_array_equal(weights["w"], skewed)


@pytest.mark.parametrize(("skew", "copied"), [(0, False), (1, True)])
def test_weights_that_are_aligned_stay_where_they_are(monkeypatch, skew, copied):
    base = np.zeros(64 + 64, np.float32)
    start = -base.ctypes.data % 64 // 4 + skew
    array = base[start : start + 64]
    nodes = [helper.make_node("Add", ["x", "w"], ["y"])]
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [64]) for name in "xy")
    graph = helper.make_graph(nodes, "g", [x], [y], [numpy_helper.from_array(array, "w")])
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    monkeypatch.setattr("workbench.runtime.bytes.lean_proto", lambda _: (proto, {"w": ir.tensor(array, name="w")}))
    network = from_proto(proto)
    _, weights = without_weights(network, ["y"])
    assert np.shares_memory(weights["w"], array) != copied


# The self-check


def test_the_share_of_results_that_are_off_is_of_the_largest():
    expected = np.array([100.0, 1.0, np.nan, np.inf, 0.0])
    assert _share_off(expected, expected, 0.0) == 0.0
    near = expected + np.array([0, 0.5, 0, 0, 0.5])
    assert _share_off(expected, near, 0.005) == 0.0
    assert _share_off(expected, near, 0.0049) == pytest.approx(0.4)
    assert _share_off(expected, np.zeros(4), 1.0) == 1.0
    assert _share_off(np.zeros(0), np.zeros(0), 0.0) == 0.0
    assert _share_off(np.array([np.nan]), np.array([np.nan]), 0.0) == 0.0
    assert _share_off(np.array([np.nan]), np.array([0.0]), 0.0) == 1.0
    assert _share_off(np.array([0.1, 0.2]), np.array([0.1, 0.25]), 0.1) == 0.5


def test_an_operator_holds_up_to_what_rounding_allows_and_not_where_it_was_refused():
    at = Tried("Conv", "int8", off=0.02, allowed=0.02)
    assert at.holds
    assert not replace(at, off=0.0201).holds
    assert not replace(at, refused="no kernel").holds
    assert str(at) == "Conv in int8: 2.0% of the results are off, 2% is rounding"
    assert str(replace(at, refused="no kernel")) == "Conv in int8: no kernel"


def test_what_is_allowed_is_a_matter_of_the_precision():
    allowed = {kind: numerics_check.tried("Add", kind).allowed for kind in ("fp32", "fp16", "int8", "int8 over fp16")}
    assert allowed == {"fp32": 0.0, "fp16": 0.1, "int8": 0.02, "int8 over fp16": 0.1}


def test_the_reference_rounds_after_each_node():
    proto = helper.make_model(
        helper.make_graph(
            [
                helper.make_node("Cast", ["x"], ["h"], to=TensorProto.FLOAT16),
                helper.make_node("Mul", ["h", "h"], ["s"]),
                helper.make_node("Less", ["h", "s"], ["less"]),
                helper.make_node("Shape", ["h"], ["shape"]),
                helper.make_node("Cast", ["s"], ["y"], to=TensorProto.FLOAT),
            ],
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2])],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
    )
    values = reference(proto, {"x": np.array([300, 0.1], np.float32)})
    assert {name: array.dtype for name, array in values.items()} == {
        "x": np.float32,
        "h": np.float16,
        "s": np.float16,
        "less": np.bool_,
        "shape": np.int64,
        "y": np.float32,
    }
    tenth = np.float32(np.float16(0.1))
    assert values["y"].tolist() == [np.inf, np.float32(np.float16(tenth * tenth))]


# Devices


def test_a_device_says_where_its_memory_is_and_what_it_is_called():
    assert (Device().memory, Device(2).memory) == (("cpu", 0), ("cuda", 2))
    assert [str(one) for one in (Device(), Device(1), Device(0, tf32=True))] == ["cpu", "cuda:1", "cuda:0+tf32"]
    assert Device().describe() == "the processor"
    assert Device().providers(stream=7) == ["CPUExecutionProvider"]


@pytest.fixture
def cuda(monkeypatch):
    """As far as Python sees: ONNX Runtime with a CUDA provider, and CuPy with two GPUs."""

    class On:
        def __init__(self, index):
            if index == 1:
                raise RuntimeError("out of memory\nreally")

        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

    def zeros(count):
        assert count > 0  # nothing of nothing takes no memory

    properties = {"name": b"H200"}
    cupy = SimpleNamespace(
        cuda=SimpleNamespace(
            runtime=SimpleNamespace(getDeviceCount=lambda: 2, getDeviceProperties=lambda _: properties), Device=On
        ),
        zeros=zeros,
    )
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    monkeypatch.setattr(device, "_provider_trouble", lambda index: f"trouble of {index}")


@pytest.mark.usefixtures("cuda")
def test_a_gpu_that_is_not_there_or_does_not_start_is_told():
    unusable = device.unusable.__wrapped__
    assert unusable(0) == "trouble of 0"
    assert unusable(1) == "CUDA does not start (out of memory)"
    assert unusable(2) == "there are 2 GPUs, numbered from 0"
    words = f"cuda:1+tf32 (H200, ONNX Runtime {onnxruntime.__version__}, TF32 on)"
    assert Device(1, tf32=True).describe() == words
    assert Device(1).describe().endswith("TF32 off)")


def test_what_is_not_installed_is_told(monkeypatch):
    unusable = device.unusable.__wrapped__
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    assert f"onnxruntime {onnxruntime.__version__} has no CUDA provider" in unusable(0)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    monkeypatch.setitem(sys.modules, "cupy", None)
    assert unusable(0) == "CuPy is not installed: pip install 'trt-workbench[gpu]'"
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    monkeypatch.setitem(sys.modules, "cupy", None)
    assert unusable(0).startswith("CuPy is not installed")


@pytest.mark.skipif("CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="there is a provider")
@pytest.mark.filterwarnings("ignore:Specified provider")
def test_a_provider_that_does_not_load_is_told():
    assert device._provider_trouble(0).startswith("ONNX Runtime's CUDA provider does not load")


def test_a_provider_that_loads_and_fails_is_told(monkeypatch):
    real = onnxruntime.InferenceSession

    class Works:
        def __init__(self, content, options, *, providers):
            assert onnx.load_from_string(content).graph.node[0].op_type == "Relu"
            self.real = real(content, providers=["CPUExecutionProvider"])
            assert (options.log_severity_level, providers[0][1]["device_id"]) == (4, "3")

        def get_providers(self):
            return ["CUDAExecutionProvider"]

        def run(self, outputs, feeds):
            assert (outputs, feeds["x"].tolist()) == (None, [0.0])
            assert self.real.run(outputs, feeds)[0].tolist() == [0.0]

    monkeypatch.setattr(onnxruntime, "InferenceSession", Works)
    assert device._provider_trouble(3) == ""
    monkeypatch.setattr(Works, "run", lambda *_: 1 / 0)
    assert device._provider_trouble(3) == "ONNX Runtime's CUDA provider fails (division by zero)"


# Constants, and types that are left open


def test_a_constant_takes_whole_bytes_for_each_number():
    kinds = ("FLOAT", "FLOAT16", "INT8", "BOOL", "INT4")
    assert [constants._bytes((4, 5), kind) for kind in kinds] == [80, 40, 20, 20, 20]
    assert constants._bytes((), "DOUBLE") == 8


def test_what_reads_constants_alone_is_made_of_constants():
    node = helper.make_node
    shape, filling = (numpy_helper.from_array(np.array(value), "") for value in ([2], [1]))
    value = helper.make_tensor_value_info("inner", TensorProto.FLOAT, [2])
    branch = helper.make_graph([node("Neg", ["w"], ["inner"])], "branch", [], [value])
    made = model(
        [
            node("Constant", [], ["shape"], "constant", value=shape),
            node("ConstantOfShape", ["shape"], ["filled"], "filled", value=filling),
            node("RandomNormal", [], ["drawn"], "drawn", shape=[2]),
            node("Neg", ["filled"], ["turned"], "turned"),
            node("Add", ["filled", "fed"], ["sum"], "sum"),
            node("If", ["yes"], ["chosen"], "chosen", then_branch=branch, else_branch=branch),
            node("Abs", ["chosen"], ["abs"], "of a graph"),
            node("A", [], ["a"], "nobody's own", domain="own"),
            node("Z", [], ["z"], "nobody's own, too", domain="own"),
            node("Abs", ["w"], ["size"], "size"),
            node("Clip", ["size", "", "w"], ["clipped"], "clipped"),
            node("Mul", ["drawn", "w"], ["y"], "product"),
        ],
        {"fed": (TensorProto.INT64, [2])},
        {"y": [2], "sum": (TensorProto.INT64, [2]), "turned": (TensorProto.INT64, [2])},
        [weight("w", 2), numpy_helper.from_array(np.array(True), "yes")],
        domains=["own"],
    )
    assert [one for one, _ in constants._of_constants(made)] == [
        *("filled", "drawn", "turned", "size", "clipped", "product")
    ]


def test_a_result_has_the_type_of_what_is_to_have_the_same():
    made = model(
        [helper.make_node("Pow", ["x", "n"], ["p"], "pow"), helper.make_node("Where", ["c", "x", "p"], ["y"], "where")],
        {"x": [2], "n": (TensorProto.INT32, [2]), "c": (TensorProto.BOOL, [2])},
        {"y": [2]},
    )
    power, where = made.nodes["pow"], made.nodes["where"]
    (x, n), c = power.inputs, where.inputs[0]
    int32, half, boolean = (ir.DataType[name] for name in ("INT32", "FLOAT16", "BOOL"))
    assert narrow._by_schema(power, power.outputs[0], 17, {x: half, n: int32}) == half
    assert narrow._by_schema(power, power.outputs[0], 17, {n: int32}) is None  # the exponent has a type of its own
    assert narrow._by_schema(where, where.outputs[0], 17, {c: boolean, x: half}) == half
    assert narrow._by_schema(where, where.outputs[0], 17, {c: boolean}) is None


@pytest.mark.parametrize(
    ("operator", "known", "result", "expected"),
    [
        ("Concat", 2, 0, "FLOAT16"),  # one formal input stands for all
        ("Split", 0, 2, "FLOAT16"),  # and one formal result
        ("TopK", 0, 0, "FLOAT16"),
        ("TopK", 0, 1, None),  # the indices
        ("DequantizeLinear", 1, 0, "FLOAT16"),  # that of the scale
        ("DequantizeLinear", 0, 0, None),
        ("Concat", None, 0, None),
        ("OfNobody", 0, 0, None),
    ],
)
def test_a_results_type_is_that_of_the_input_that_its_schema_names(operator, known, result, expected):
    inputs = [ir.Value(name=name) for name in "abc"]
    node = ir.node(operator, inputs, num_outputs=3)
    dtypes = {} if known is None else {inputs[known]: ir.DataType.FLOAT16}
    found = narrow._by_schema(node, node.outputs[result], 17, dtypes)
    assert (found and found.name) == expected


@pytest.mark.parametrize(
    ("operator", "domain", "as_it_is"),
    [
        ("Cast", "", True),
        ("Loop", "ai.onnx", True),
        ("SequenceAt", "", True),
        ("OptionalHasElement", "", True),
        ("Relu", "", False),
        ("Relu", "ai.onnx", False),
        ("Gelu", "com.microsoft", False),
        ("Relu", "own", True),
    ],
)
def test_who_takes_each_type_as_it_is(operator, domain, as_it_is):
    assert narrow._as_it_is(ir.node(operator, [], domain=domain)) == as_it_is


def test_the_type_that_an_attribute_says_is_widened_where_it_is_narrow():
    def widened(operator, **attributes):
        made = ir.node(operator, [], attributes)
        narrow._widen_attributes(made)
        return made.attributes

    half = ir.Tensor(np.ones(2, np.float16))
    for operator in ("Constant", "ConstantOfShape"):
        assert widened(operator, value=half)["value"].as_tensor().dtype == ir.DataType.FLOAT
    assert widened("Constant", value_float=1.0)["value_float"].as_float() == 1.0
    assert widened("Pad", value=0.5)["value"].as_float() == 0.5
    assert widened("EyeLike", dtype=TensorProto.BFLOAT16)["dtype"].as_int() == TensorProto.FLOAT
    assert widened("EyeLike", dtype=TensorProto.INT8)["dtype"].as_int() == TensorProto.INT8


def test_everything_is_tried_in_every_precision_and_pairs_over_each(monkeypatch):
    monkeypatch.setattr(numerics_check, "tried", lambda *asked: asked)
    asked = list(numerics_check.self_check())
    assert [precision for operator, precision in asked if operator == "Relu"] == ["fp32", "fp16", "bf16"]
    assert [precision for operator, precision in asked if operator == "Conv"] == [
        *("fp32", "fp16", "bf16"),
        *(f"{kind}{over}" for kind in small_graphs.QUANTIZED for over in ("", " over fp16", " over bf16")),
    ]


def test_what_makes_nothing_of_its_own_is_no_reason_to_stop_counting():
    """An Identity shares the constant; behind it something large is made."""
    node = helper.make_node
    made = model(
        [
            node("Identity", ["w"], ["same"], "same"),
            node("Expand", ["same", "shape"], ["large"], "large"),
            node("ReduceSum", ["large"], ["y"], "sum", keepdims=0),
        ],
        {},
        {"y": []},
        [weight("w", 1), numpy_helper.from_array(np.array([2**28]), "shape")],
    )
    with pytest.raises(BackendError, match="large: what is made of constants"):
        constants.check_constants(made)


def test_a_weight_that_was_widened_stays_only_where_it_is_given_out():
    half = (TensorProto.FLOAT16, [2])
    stored = [numpy_helper.from_array(np.ones(2, np.float16), name) for name in ("w", "out")]
    nodes = [helper.make_node("Mul", ["x", "w"], ["m"], "mul"), helper.make_node("Add", ["m", "out"], ["y"], "add")]
    wide = narrow.in_float32(model(nodes, {"x": half}, {"y": half, "out": half}, stored))
    types = {name: value.dtype.name for name, value in wide.initializers.items()}
    assert types == {"w/widened": "FLOAT", "out/widened": "FLOAT", "out": "FLOAT16"}
