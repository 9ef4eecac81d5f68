"""What single parts of a comparison tell apart, each on the smallest arrays and graphs that show it."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from tests.kit.models import model, proto, weight
from workbench.calibration.sources import open_samples
from workbench.evaluate import edit_check
from workbench.evaluate.agreement import Comparison
from workbench.evaluate.engine_runs import run_samples
from workbench.evaluate.equivalence import _error, _kept_run
from workbench.evaluate.touched import _cropped, _edge, _version, touched
from workbench.graph.edits.base import Edit
from workbench.graph.load import from_proto

node = helper.make_node


# Arrays


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        (np.ones(2, np.float32), np.ones(2, np.float64), math.inf),
        (np.ones(2, np.float64), np.ones(2, np.float32), math.inf),
        (np.ones(2, np.float32), np.ones((2, 1), np.float32), math.inf),
        (np.array([4]), np.array([5]), 1.0),
        (np.array([4, 5, 6, 7]), np.array([4, 5, 6, 8]), 0.25),
        (np.array([], np.int64), np.array([], np.int64), 0.0),
        (np.float32([4, -8]), np.float32([4, -6]), 0.25),
        (np.float32([0, 0]), np.float32([0, 0]), 0.0),
        (np.float32([0, 0]), np.float32([0, 1]), math.inf),
        (np.float32([1, 2]), np.float32([1, math.nan]), math.inf),
    ],
)
def test_an_error_is_a_share_of_the_largest_number_or_of_the_whole_numbers_that_differ(old, new, error):
    assert _error(old, new) == error


def test_what_was_run_is_kept_for_the_outputs_that_it_has():
    made = model([node("Neg", ["x"], ["a"]), node("Abs", ["a"], ["y"])], {"x": [2]}, {"a": [2], "y": [2]})
    feeds = {"x": np.float32([1, -2])}
    first = _kept_run(made, ["a"], feeds, "key")
    assert _kept_run(made, ["a"], {}, "key") is first
    assert _kept_run(made, ["y"], feeds, "key")["y"].tolist() == [1, 2]
    assert _kept_run(made, ["y"], {"x": np.float32([3, 3])}, "other")["y"].tolist() == [3, 3]
    assert _kept_run(made, ["y"], {"x": np.float32([4, 4])}, None)["y"].tolist() == [4, 4]


def test_samples_are_run_one_at_a_time_unless_more_are_asked_for():
    form = model([node("Neg", ["x"], ["y"])], {"x": ["N", 3]}, {"y": ["N", 3]})
    samples = open_samples({"x": np.arange(12, dtype=np.float32).reshape(4, 3)}, form.inputs)
    backend = SimpleNamespace(run_each=lambda _, lot: [{"y": -one["x"]} for one in lot])
    for options, lengths in (({}, [1, 1, 1, 1]), ({"batch": 2}, [2, 2])):
        ran = list(run_samples(backend, None, samples, form, **options))
        assert [len(results["y"]) for _, results in ran] == lengths
        assert np.concatenate([results["y"] for _, results in ran]).sum() == -66


def test_files_are_told_in_millions_of_bytes():
    made = Comparison((), None, 1, None, None, 123_456_789_000, 98_765_432_000)
    assert made._notes() == ("file 123456.79 -> 98765.43 MB",)


def test_what_is_too_much_to_run_is_told_in_rounded_gmacs(monkeypatch):
    made = model([node("Neg", ["x"], ["y"])], {"x": [2]}, {"y": [2]})
    for macs in (edit_check.MOST_MACS, edit_check.MOST_MACS + 700_000_000):
        monkeypatch.setattr(edit_check, "total", lambda *_, macs=macs: (macs, None))
        most = edit_check.MOST_MACS / 1e9
        said = f"one run takes {most + 1:.0f} GMACs, over {most:.0f}; it is checked with check=True"
        assert edit_check.too_costly(made) == (None if macs == edit_check.MOST_MACS else said)


# What an edit touched


def test_the_version_of_an_operator_is_when_it_last_changed():
    def version(operator, opset, domain=""):
        return _version(ir.node(operator, [], domain=domain), opset)

    assert [version("Relu", opset) for opset in (12, 13, 14, 17)] == [6, 13, 14, 14]
    assert version("Relu", 0) == version("Unheard", 17) == version("Gelu", 17) == version("Relu", 17, "mine") == 0


def test_a_part_begins_at_floating_point_that_nothing_touched():
    nodes = [
        node("Shape", ["x"], ["shape"], "shape"),
        node("Neg", ["x"], ["n"], "neg"),
        node("MatMul", ["w", "n"], ["p"], "product"),
        node("Reshape", ["p", "shape"], ["y"], "reshape"),
    ]
    made = model(nodes, {"x": [2, 2]}, {"y": [2, 2]}, [weight("w", 2, 2)])
    product, reshape = made.nodes["product"], made.nodes["reshape"]
    assert list(_edge(made, ["p"], {product})) == ["n"]  # the weight comes first, and is none
    assert list(_edge(made, ["y"], {product, reshape})) == ["x", "n"]
    assert list(_edge(made, ["y"], {reshape})) == ["p", "x"]


def test_both_parts_take_what_either_reads():
    def made(last, *inputs):
        nodes = [node("Neg", ["x"], ["a"], "a"), node("Abs", ["x"], ["b"], "b"), node(last, inputs, ["t"], "t")]
        return model([*nodes, node("Relu", ["t"], ["y"], "y")], {"x": [2]}, {"y": [2], "b": [2]})

    there = touched(Edit(do="nothing"), made("Add", "a", "b"), made("Sin", "a"))
    assert there.places == ["t"]
    part = there.part(["t"])
    assert [one.name for one in part.before.inputs] == [one.name for one in part.after.inputs] == ["a", "b"]
    assert [node.op_type for node in part.before.nodes.values()] == ["Add"]


def test_a_part_that_is_cropped_has_smaller_results_too():
    nodes = [node("Conv", ["x", "w"], ["a"], "conv"), node("Relu", ["a"], ["y"], "relu")]
    stated = proto(nodes, {"x": [4, 3, 200, 30]}, {"y": [4, 2, 200, 30]}, [weight("w", 2, 3, 1, 1)])
    stated.graph.value_info.append(helper.make_tensor_value_info("a", TensorProto.FLOAT, [4, 2, 200, 30]))
    part = _cropped(from_proto(stated))
    assert [one.shape for one in part.inputs] == [(1, 3, 64, 30)]
    assert [one.shape for one in part.outputs] == [(1, 2, 64, 30)]
    assert part.tensors["a"].shape == (1, 2, 64, 30)
    small = model([node("Neg", ["x"], ["y"])], {"x": (TensorProto.FLOAT, [4, 300])}, {"y": [4, 300]})
    assert _cropped(small).outputs[0].shape == (4, 300)
