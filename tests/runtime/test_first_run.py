"""A tuned graph that kills ONNX Runtime's process kills no other."""

from __future__ import annotations

import signal
import sys

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime import ExecutionOrder

from tests.kit.models import model as made
from workbench import helper as helper_process
from workbench import limits
from workbench.child import ChildError
from workbench.errors import BackendError
from workbench.graph.load import from_proto
from workbench.runtime import first_run
from workbench.runtime.constants import check_constants
from workbench.runtime.session import Session

X = {"x": np.ones((2, 2), np.float32)}


def model(*operators):
    names = ["x", *(f"t{n}" for n in range(1, len(operators))), "y"]
    nodes = [
        helper.make_node(op, [names[n]], [names[n + 1]], f"{op}{n}", domain="" if op != "Unknown" else "own")
        for n, op in enumerate(operators)
    ]
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 2]) for name in "xy")
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    return from_proto(helper.make_model(helper.make_graph(nodes, "g", [x], [y]), opset_imports=opsets, ir_version=8))


@pytest.fixture
def deadly(tmp_path, monkeypatch):
    """Let every other process die of graphs with a Tanh, as it is made a session of or as it is run."""

    def kill(number, *, running=False):
        (tmp_path / "sitecustomize.py").write_text(
            f"""
import onnxruntime, os
plain = onnxruntime.InferenceSession
class Deadly(plain):
    def __init__(self, model, *words, **options):
        self.deadly = b"Tanh" in model
        if self.deadly and not {running}:
            os.kill(os.getpid(), {int(number)})
        super().__init__(model, *words, **options)
    def run(self, *words):
        if self.deadly:
            os.kill(os.getpid(), {int(number)})
        return super().run(*words)
onnxruntime.InferenceSession = Deadly
"""
        )
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        monkeypatch.setattr(helper_process, "_helper", None)

    return kill


@pytest.mark.parametrize(
    ("number", "running", "kind", "message"),
    [
        (signal.SIGSEGV, False, "crashed", r"ONNX Runtime crashed in native code \(SIGSEGV\) when it was first given"),
        (signal.SIGABRT, True, "crashed", "SIGABRT"),
        (signal.SIGKILL, False, "memory", "the machine ran out of memory"),
    ],
)
def test_what_dies_of_a_graph_is_another_process(deadly, number, running, kind, message):
    deadly(number, running=running)
    with pytest.raises(ChildError, match=message) as error:
        Session(model("Tanh", "Exp"), untried=X)
    assert error.value.kind == kind
    # The next graph has a helper again, and one that nobody is unsure of is not tried.
    assert Session(model("Exp", "Exp"), untried=X).run(X)["y"].shape == (2, 2)
    assert Session(model("Tanh", "Exp")).run(X)["y"].shape == (2, 2)


def test_what_is_refused_in_words_is_refused_here():
    with pytest.raises(BackendError, match="Unknown") as error:
        Session(model("Unknown"), untried=X)
    assert not isinstance(error.value, ChildError)


def test_a_graph_is_tried_once(monkeypatch):
    asked = []
    real = helper_process.call
    monkeypatch.setattr(
        helper_process, "call", lambda what, *arguments: asked.append(what.__name__) or real(what, *arguments)
    )
    graph = model("Exp", "Sqrt", "Neg")
    for mode in ("numerics", "speed", "numerics", "speed", "numerics"):
        Session(graph, mode=mode, untried=X)
    assert asked == ["_tried"] * 2


def test_without_a_helper_it_is_said_and_goes_on(monkeypatch, tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.exit(1)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(helper_process, "_helper", None)
    with pytest.warns(UserWarning, match="no helper process starts"):
        Session(model("Exp", "Log"), untried=X)


def test_a_graph_that_one_file_cannot_hold_is_tried_with_its_weights_beside_it(deadly, monkeypatch):
    monkeypatch.setattr("workbench.runtime.session.fits_one_file", lambda _: False)
    weights = np.linspace(-1, 1, 4096, dtype=np.float32).reshape(64, 64)

    def product(op, factor):
        nodes = [helper.make_node("MatMul", ["x", "w"], ["m"], "m"), helper.make_node(op, ["m"], ["y"], "t")]
        stored = [numpy_helper.from_array(weights * np.float32(factor), "w")]
        return made(nodes, {"x": [1, 64]}, {"y": [1, 64]}, stored)

    asked = []
    real = helper_process.call
    monkeypatch.setattr(
        helper_process, "call", lambda what, *arguments: asked.append(what.__name__) or real(what, *arguments)
    )
    x = {"x": np.ones((1, 64), np.float32)}
    for factor in (1, 1, 2):  # other weights are another graph
        got = Session(product("Neg", factor), untried=x).run(x)["y"]
        np.testing.assert_allclose(got, -factor * weights.sum(axis=0, keepdims=True), atol=1e-4)
    assert asked == ["_tried"] * 2
    deadly(signal.SIGSEGV)
    with pytest.raises(ChildError, match="SIGSEGV"):
        Session(product("Tanh", 1), untried=x)


def test_a_session_apart_gives_the_same_and_dies_alone(deadly):
    graph = model("Exp", "Sqrt")
    apart = Session(graph, apart=1)
    for factor in (1, 2):
        fed = {"x": X["x"] * np.float32(factor)}
        np.testing.assert_array_equal(apart.run(fed)["y"], Session(graph).run(fed)["y"])
    with pytest.raises(BackendError, match=r"refuses it.*Unknown"):
        Session(model("Unknown"), apart=1)
    with pytest.raises(BackendError, match=r"ONNX Runtime fails.*Got: 3 Expected: 2"):
        apart.run({"x": np.ones((3, 2), np.float32)})
    deadly(signal.SIGABRT, running=True)
    dying = Session(model("Tanh"), apart=1)
    with pytest.raises(ChildError, match="SIGABRT"):
        dying.run(X)
    with pytest.raises(BackendError, match="died meanwhile"):
        dying.run(X)
    assert Session(graph, apart=1).run(X)["y"].shape == (2, 2)


@pytest.mark.parametrize("cores", [1, 2, 3])
def test_runs_of_a_session_apart_go_on_at_once_and_come_in_order(monkeypatch, cores):
    threads, (real, lanes) = [], (first_run._ask, [])

    def ask(name, function, *arguments):
        if function is first_run._replace:
            threads.append(arguments[-1])
        else:
            lanes.append(arguments[-1])
        return real(name, function, *arguments)

    monkeypatch.setattr(first_run, "_ask", ask)
    monkeypatch.setattr("workbench.runtime.session.usable_cores", lambda: cores)
    graph = model("Exp", "Sqrt")
    feeds = [{"x": X["x"] * np.float32(factor)} for factor in range(5)]
    apart, here = Session(graph, apart=2).run_each(feeds), Session(graph)
    for got, fed in zip(apart, feeds, strict=True):
        np.testing.assert_array_equal(got["y"], here.run(fed)["y"])
    assert (threads, lanes) == ([max(1, cores // 2)], [min(cores, 2)])


def of_constants(*nodes, **weights):
    stored = [numpy_helper.from_array(np.array(value), name) for name, value in weights.items()]
    last = [helper.make_node("ReduceMax", ["big"], ["peak"], "peak", keepdims=0)]
    return made([*nodes, *last, helper.make_node("Add", ["x", "peak"], ["y"], "add")], {"x": [2]}, {"y": [2]}, stored)


def test_what_is_made_of_constants_is_bounded():
    nodes = [helper.make_node("Add", ["column", "row"], ["big"], "outer")]
    side = np.zeros(40_000, np.float32)
    graph = of_constants(*nodes, column=side[:, None], row=side)
    with pytest.raises(BackendError, match=r"outer: what is made of constants .* the limit is 512\. .*constants_mib"):
        Session(graph)
    small = of_constants(*nodes, column=side[:4, None], row=side[:4])
    assert Session(small).run({"x": np.ones(2, np.float32)})["y"].tolist() == [1, 1]


@pytest.mark.parametrize("op", ["SequenceAt", "SequenceErase", "SequenceInsert", "Loop"])
def test_where_one_number_is_read_there_is_one(op):
    n = helper.make_node
    nodes = [n("SequenceConstruct", ["x", "x"], ["s"], "pack")]
    if op == "Loop":
        values = [helper.make_tensor_value_info(*at) for at in (("i", 7, []), ("go", 9, []), ("a", 1, [2]))]
        results = [helper.make_tensor_value_info(*at) for at in (("on", 9, []), ("b", 1, [2]))]
        inner = [n("Identity", ["go"], ["on"], "goes"), n("Neg", ["a"], ["b"], "neg")]
        nodes = [n(op, ["at", "", "x"], ["y"], "node", body=helper.make_graph(inner, "body", values, results))]
    elif op == "SequenceAt":
        nodes += [n(op, ["s", "at"], ["y"], "node")]
    else:
        inputs = ["s", "at"] if op == "SequenceErase" else ["s", "x", "at"]
        nodes += [n(op, inputs, ["t"], "node"), n("ConcatFromSequence", ["t"], ["y"], "join", axis=0)]

    def graph(numbers):
        stored = [numpy_helper.from_array(np.array(numbers, np.int64), "given")]
        again = [n("Identity", ["given"], ["at"], "same"), *nodes]  # its shape is inferred
        return made(again, {"x": [2]}, {"y": None}, stored)

    with pytest.raises(BackendError, match=f"node: {op} reads a number of tensor 'at', which is empty"):
        check_constants(graph([]))
    assert Session(graph(1)).run({"x": np.ones(2, np.float32)})["y"].size >= 2


def test_a_constant_behind_identities_is_made_by_nobody(monkeypatch):
    monkeypatch.setattr(limits, "_raised", {"constants_mib": 1})
    nodes = [helper.make_node("Identity", ["w"], [f"w{at}"], f"share{at}") for at in range(8)]
    nodes += [helper.make_node("Sum", ["x", *(f"w{at}" for at in range(8))], ["y"], "sum")]
    stored = [numpy_helper.from_array(np.ones(2**16, np.float32), "w")]  # 0.25 MiB
    graph = made(nodes, {"x": [2**16]}, {"y": [2**16]}, stored)
    assert Session(graph).run({"x": np.ones(2**16, np.float32)})["y"].tolist() == [9] * 2**16


def test_what_nobody_knows_the_size_of_is_made_elsewhere_first():
    nodes = [
        helper.make_node("Cast", ["length"], ["shape"], "cast", to=TensorProto.INT64),
        helper.make_node("ConstantOfShape", ["shape"], ["big"], "fill"),
    ]
    with pytest.raises(ChildError, match="too little memory") as error:
        Session(of_constants(*nodes, length=np.float32([1e13])))
    assert error.value.kind == "memory"
    assert Session(of_constants(*nodes, length=np.float32([8]))).run({"x": np.ones(2, np.float32)})["y"].tolist() == [
        1,
        1,
    ]


@pytest.mark.skipif(sys.platform != "linux", reason="the bound on data is one of Linux")
def test_a_helper_lets_a_gpu_map_more_than_there_is_and_bounds_all_else(monkeypatch):
    import resource

    bounds, loaded = [], []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1 << 30, 1 << 40))
    monkeypatch.setattr(resource, "setrlimit", lambda kind, pair: bounds.append((kind, pair)))
    monkeypatch.setattr("onnxruntime.preload_dlls", lambda: loaded.append("CUDA"))
    run = first_run.FirstRun(b"", {}, [], [], {})
    first_run._allow(run)
    assert (bounds, loaded) == ([], [])
    first_run._allow(run._replace(providers=("CUDAExecutionProvider", "CPUExecutionProvider")))
    assert (bounds, loaded) == ([(resource.RLIMIT_DATA, (1 << 40, 1 << 40))], ["CUDA"])


@pytest.mark.parametrize(
    ("more", "threads", "runs", "each", "lanes"),
    [
        ({}, 7, {}, 7, 1),
        ({}, 7, {"runs": 3}, 2, 3),
        ({}, 3, {"runs": 5}, 1, 3),
        ({"thrifty": True}, 7, {"runs": 3}, 7, 1),
        ({"providers": ("CUDAExecutionProvider", "CPUExecutionProvider")}, 7, {"runs": 3}, 7, 1),
    ],
)
def test_runs_share_the_threads_unless_memory_or_a_gpu_is_there_once(monkeypatch, more, threads, runs, each, lanes):
    asked = []
    monkeypatch.setattr(first_run, "_ask", lambda *given: asked.append(given) or [["result"]])
    monkeypatch.setattr(first_run, "_dropped", first_run.deque([5]))
    trial = first_run.FirstRun(b"m", {"a": "1"}, [], ["y"], {}, **more)
    apart = first_run.Apart(trial, threads, "m", **runs)
    assert apart.run(["y"], X) == ["result"]
    made, ran = asked
    spun = trial._replace(entries={"a": "1", first_run.NO_SPINNING: "0"})
    number = made[3]
    assert made == ("m", first_run._replace, [5], number, spun, each)
    assert ran == ("m", first_run._runs, number, ["y"], [X], lanes)
    del apart
    assert list(first_run._dropped) == [number]  # the helper hears of it with the next


@pytest.mark.parametrize(
    ("thrifty", "options", "seen"),
    [
        (False, {}, (True, True, ExecutionOrder.DEFAULT)),
        (False, {"memory_pattern": False}, (False, True, ExecutionOrder.DEFAULT)),
        (True, {}, (False, False, ExecutionOrder.PRIORITY_BASED)),
    ],
)
def test_a_thrifty_session_keeps_no_memory_and_the_order_of_the_file(thrifty, options, seen):
    trial = first_run.FirstRun(model("Exp").to_bytes(), {}, [], ["y"], {})
    assert not trial.thrifty
    session, _ = trial._replace(thrifty=thrifty).session(3, **options)
    told = session.get_session_options()
    assert (told.enable_mem_pattern, told.enable_cpu_mem_arena, told.execution_order) == seen
    assert (told.intra_op_num_threads, told.log_severity_level) == (3, 4)
