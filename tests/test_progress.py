"""Progress is shown where somebody looks, and nowhere else."""

from __future__ import annotations

import io
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from workbench import progress
from workbench.backends.compiler import rtx_capabilities
from workbench.backends.verdict import check
from workbench.progress import phases


class Terminal(io.StringIO):
    """A terminal that keeps what it was shown."""

    def isatty(self) -> bool:
        return True


def shown_at_once(monkeypatch, delay_s=0.0) -> Terminal:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)  # not in a fixture: pytest puts its own there when the test begins
    monkeypatch.setattr(progress, "DELAY_S", delay_s)
    monkeypatch.setattr(progress, "REFRESH_S", 0.0)
    return terminal


def test_phases_say_what_is_done_and_how_much(monkeypatch):
    terminal = shown_at_once(monkeypatch)
    with phases("building m") as show:
        for done in (0.0, 0.25, 1.0):
            show("choosing kernels", done)
    shown = terminal.getvalue()
    assert "building m: choosing kernels" in shown
    assert " 25%" in shown
    assert "100%" in shown


def test_nothing_is_shown_where_output_is_no_terminal(capsys, monkeypatch):
    monkeypatch.setattr(progress, "DELAY_S", 0.0)
    with phases("building m") as show:
        show("choosing kernels", 0.5)
    assert capsys.readouterr() == ("", "")


def test_what_is_done_within_a_second_is_not_told(monkeypatch):
    terminal = shown_at_once(monkeypatch, 60.0)
    with phases("building m") as show:
        show("choosing kernels", 1.0)
    assert "choosing" not in terminal.getvalue()


def test_items_of_several_samples_count_as_many(monkeypatch):
    terminal = shown_at_once(monkeypatch)
    assert list(progress.progress([8, 8, 8], total=24, doing="calibrating", amount=lambda size: size)) == [8, 8, 8]
    assert "24/24" in terminal.getvalue()

    lines = []
    display = pytest.importorskip("IPython.display", reason="IPython is not installed")
    handle = SimpleNamespace(update=lambda bundle, **_: lines.append(bundle["text/plain"]))
    monkeypatch.setattr(display, "display", lambda *_, **__: handle)
    monkeypatch.setattr(progress, "in_notebook", lambda: True)
    for _ in progress.progress([8, 8, 8], total=24, doing="calibrating", amount=lambda size: size):
        pass
    assert lines[0] == "calibrating: 8 of 24"
    assert lines[-1].startswith("calibrating: 24 of 24, done in ")


@pytest.mark.skipif(not rtx_capabilities().build, reason="tensorrt_rtx is not installed")
def test_a_compiler_reports_its_phases(monkeypatch):
    terminal = shown_at_once(monkeypatch)
    value = helper.make_tensor_value_info
    weight = numpy_helper.from_array(np.ones((8, 3, 3, 3), np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"], "conv")],
        "g",
        [value("x", TensorProto.FLOAT, [1, 3, 16, 16])],
        [value("y", TensorProto.FLOAT, [1, 8, 14, 14])],
        [weight],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    assert check(proto).accepted
    assert "TensorRT-RTX for sm86 on g: " in terminal.getvalue()
