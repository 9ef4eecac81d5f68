"""A tuned graph that kills ONNX Runtime's process kills no other."""

from __future__ import annotations

import signal
import time

import numpy as np
import pytest
from onnx import TensorProto, helper

from workbench.child import ChildError
from workbench.errors import BackendError
from workbench.graph.load import from_proto
from workbench.runtime import first_run
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
        monkeypatch.setattr(first_run, "_helper", None)

    return kill


@pytest.mark.parametrize(
    ("number", "running", "kind", "said"),
    [
        (signal.SIGSEGV, False, "crashed", r"ONNX Runtime crashed in native code \(SIGSEGV\) when it was first given"),
        (signal.SIGABRT, True, "crashed", "SIGABRT"),
        (signal.SIGKILL, False, "memory", "the machine ran out of memory"),
    ],
)
def test_what_dies_of_a_graph_is_another_process(deadly, number, running, kind, said):
    deadly(number, running=running)
    with pytest.raises(ChildError, match=said) as error:
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
    real = first_run._Helper.run
    monkeypatch.setattr(first_run._Helper, "run", lambda self, wanted: asked.append(1) or real(self, wanted))
    graph = model("Exp", "Sqrt", "Neg")
    for mode in ("numerics", "speed", "numerics", "speed"):
        Session(graph, mode=mode, untried=X)
    assert len(asked) == 2
    start = time.perf_counter()
    Session(graph, untried=X)
    assert time.perf_counter() - start < 1.0


def test_without_a_helper_it_is_said_and_goes_on(monkeypatch, tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.exit(1)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(first_run, "_helper", None)
    with pytest.warns(UserWarning, match="no helper process starts"):
        Session(model("Exp", "Log"), untried=X)
