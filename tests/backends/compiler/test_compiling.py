"""What the child process that compiles is given, and what its limits become."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import onnx
import pytest
from onnx import helper

from tests.kit.models import model
from workbench.backends.compiler import compiling
from workbench.backends.compiler.nvinfer import compile_model
from workbench.backends.compiler.workspace import with_workspace
from workbench.backends.protocol import BuildOptions, ShapeRange
from workbench.child import Child, ChildError, Progress
from workbench.graph import suggested_workspace
from workbench.progress import watched

NETWORK = model([helper.make_node("Relu", ["x"], ["y"], "r")], {"x": ["N", 3, "L"]}, {"y": ["N", 3, "L"]})


def compiled(monkeypatch, run, child=None, **more):
    monkeypatch.setattr(compiling, "run", run)
    return compiling.compile_in_child(
        "tensorrt", NETWORK, BuildOptions(), child=child or Child(timeout_s=7.0), what="the build", **more
    )


def test_the_child_reads_the_model_from_a_file(monkeypatch):
    calls = []

    def run(child, what, function, package, path, options, **named):
        read = onnx.load(path)
        calls.append((child.timeout_s, what, function, package, [one.name for one in read.graph.node], options, named))
        assert Path(path).name == "model.onnx"
        return "outcome"

    assert compiled(monkeypatch, run) == "outcome"
    assert compiled(monkeypatch, run, target="sm86", keep_engine=False) == "outcome"
    same = (7.0, "the build", compile_model, "tensorrt", ["r"], BuildOptions())
    assert calls == [
        (*same, {"target": None, "keep_engine": True}),
        (*same, {"target": "sm86", "keep_engine": False}),
    ]


@pytest.mark.parametrize("kind", ["crashed", "timeout", "memory", "cancelled", "raised"])
def test_a_build_that_takes_too_long_says_how_to_make_it_shorter(monkeypatch, kind):
    end = ChildError("it ended", kind=kind, log=("a", "b"), where="there", fix="Do that.")

    def run(*_, **__):
        raise end

    with pytest.raises(ChildError) as caught:
        compiled(monkeypatch, run)
    if kind != "timeout":
        assert caught.value is end
        return
    assert (caught.value.what, caught.value.kind, caught.value.log) == ("it ended", "timeout", ("a", "b"))
    assert caught.value.fix.startswith("Raise the time limit, or lower the optimization level")
    assert caught.value.__cause__ is end


def test_progress_is_shown_unless_the_caller_listens_himself(monkeypatch):
    heard, shown = [], []

    def run(child, *_, **__):
        child.on_progress(Progress("tactics", 0.25))

    watcher = SimpleNamespace(step=lambda *told: shown.append(told))
    with watched(watcher):
        compiled(monkeypatch, run)
        compiled(monkeypatch, run, Child(on_progress=heard.append))
    assert shown == [("the build: tactics", 0.25, 1.0)]
    assert heard == [Progress("tactics", 0.25)]


def test_a_model_of_over_a_gigabyte_has_its_weights_beside_it(monkeypatch, tmp_path):
    """Protobuf reads twice that, and what is not a weight needs room too."""
    asked = []
    monkeypatch.setattr(
        compiling, "save_model", lambda *given, **named: asked.append((given, named)) or [tmp_path / "m", "weights"]
    )
    assert compiling.write_for_parser(NETWORK, tmp_path) == str(tmp_path / "m")
    assert asked == [((NETWORK, tmp_path / "model.onnx"), {"limit": (1 << 30) - 1})]


@pytest.mark.parametrize(
    ("profiles", "sizes"),
    [
        (None, {"N": 8, "L": 128}),
        (({},), {"N": 8, "L": 128}),
        (({"x": ShapeRange((1, 3, 4), (2, 3, 5), (3, 3, 6))},), {"N": 3, "L": 6}),
        (({"x": ShapeRange.fixed((9, 3, 1))}, {"x": ShapeRange.fixed((2, 3, 70))}), {"N": 9, "L": 70}),
        (({"x": ShapeRange.fixed((2, 3, 70))}, {}), {"N": 2, "L": 70}),
    ],
)
def test_the_suggested_workspace_is_that_of_the_longest_axes(monkeypatch, profiles, sizes):
    asked = []
    monkeypatch.setattr("workbench.graph.suggested_workspace", lambda *given: asked.append(given) or 12345)
    options = BuildOptions(profiles=profiles, optimization_level=2)
    assert with_workspace(options, NETWORK) == BuildOptions(
        profiles=profiles, optimization_level=2, workspace_bytes=12345
    )
    assert asked == [(NETWORK, sizes)]


def test_a_workspace_that_was_given_stays_and_lengths_that_nothing_tells_leave_none():
    for given in (None, 4096):
        options = BuildOptions(workspace_bytes=given)
        assert with_workspace(options, NETWORK) is options
    suggested = with_workspace(BuildOptions(), NETWORK).workspace_bytes
    assert suggested == suggested_workspace(NETWORK, {"N": 8, "L": 128}) > 0
    unknown = model([helper.make_node("Relu", ["x"], ["y"], "r")], {"x": None}, {"y": None})
    assert with_workspace(BuildOptions(), unknown).workspace_bytes is None
