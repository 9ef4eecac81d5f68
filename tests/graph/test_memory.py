"""Memory of the graph as it is written, counted by hand, and the workspace that follows from it."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from workbench.backends.compiler.workspace import with_workspace
from workbench.backends.protocol import BuildOptions, ShapeRange
from workbench.graph.cost.memory import SMALLEST_WORKSPACE, MemoryUse, memory_use, suggested_workspace
from workbench.graph.inspection.inspect import summary
from workbench.graph.load import from_proto, load_model


@pytest.fixture
def model(small_cnn):
    return load_model(small_cnn)


def test_tensors_live_from_their_maker_to_their_last_reader(model):
    use = memory_use(model, {"N": 2})
    image, wide, pooled, out = 2 * 3 * 64 * 4, 2 * 4 * 64 * 4, 2 * 4 * 4, 2 * 5 * 4
    assert dict(zip(use.nodes, use.live, strict=True)) == {
        "stem/conv": image + wide,
        "stem/relu": 2 * wide,
        "block/conv": 2 * wide,  # the shortcut waits
        "block/add": 3 * wide,
        "block/relu": 2 * wide,
        "head/pool": wide + pooled,
        "head/flatten": 2 * pooled,
        "head/fc": pooled + out,
    }
    weights = 4 * (4 * 27 + 4 * 36 + 4 + 20 + 5)
    assert (use.weight_bytes, use.peak, use.unknown) == (weights, 3 * wide + weights, ())


def test_what_is_not_known_makes_no_suggestion(model):
    assert set(memory_use(model).unknown) >= {"x", "c1", "y"}
    assert suggested_workspace(model) is None
    assert with_workspace(BuildOptions(), from_proto(unshaped())).workspace_bytes is None


def unshaped():
    nodes = [helper.make_node("NonZero", ["x"], ["y"], "n")]
    values = [helper.make_tensor_value_info(name, kind, None) for name, kind in (("x", 1), ("y", 7))]
    graph = helper.make_graph(nodes, "g", values[:1], values[1:])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def test_a_small_model_gets_the_smallest_workspace_and_a_large_one_half_as_much_again(model):
    assert suggested_workspace(model, {"N": 1}) == SMALLEST_WORKSPACE
    batch = 1 << 17
    use = memory_use(model, {"N": batch})
    actual = suggested_workspace(model, {"N": batch})
    assert actual % 2**20 == 0
    assert 0 <= actual - 1.5 * use.peak < 2**20


def test_builds_take_the_longest_shape_of_their_profiles(model):
    largest = 1 << 17
    profile = {"x": ShapeRange((1, 3, 8, 8), (4, 3, 8, 8), (largest, 3, 8, 8))}
    options = with_workspace(BuildOptions(profiles=(profile,)), model)
    assert options.workspace_bytes == suggested_workspace(model, {"N": largest})
    assert with_workspace(BuildOptions(workspace_bytes=None), model).workspace_bytes is None
    assert with_workspace(BuildOptions(workspace_bytes=7), model).workspace_bytes == 7
    assert with_workspace(BuildOptions(), model).workspace_bytes == SMALLEST_WORKSPACE


def test_the_summary_shows_it(model):
    text = summary(model).text()
    assert "at the peak; builds get a workspace of 256 MiB" in text


def test_an_output_that_is_read_again_lives_to_the_end():
    weight = numpy_helper.from_array(np.ones(4, np.float32), "w")
    nodes = [
        helper.make_node("Relu", ["x"], ["a"], "first"),
        helper.make_node("Add", ["a", "w"], ["b"], "second"),
        helper.make_node("Relu", ["b"], ["c"], "third"),
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [4]) for name in ("x", "a", "c")]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], [weight])
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(proto)
    assert memory_use(from_proto(proto)).live == (32, 32, 48)


def live(nodes, inputs, outputs, weights=(), **options):
    graph = helper.make_graph(
        [helper.make_node(op, reads, makes, name) for name, op, reads, makes in nodes],
        "g",
        *(
            [helper.make_tensor_value_info(name, 1, shape) for name, shape in each.items()]
            for each in (inputs, outputs)
        ),
        list(weights),
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    use = memory_use(from_proto(proto), **options)
    return dict(zip(use.nodes, use.live, strict=True)), use.unknown


def test_bytes_that_are_alive_while_each_node_runs():
    weight = numpy_helper.from_array(np.ones(100, np.float32), "w")
    nodes = [
        ("a", "Relu", ["x"], ["a"]),
        ("idle", "Exp", ["z"], ["unread"]),
        ("b", "Concat", ["a", "z"], ["b"]),
        ("c", "Relu", ["b"], ["y"]),
    ]
    made = live(nodes, {"x": [3], "z": [5]}, {"y": [8], "w": [100]}, [weight])
    # x 12, z 20, a 12, unread 20, b 32, y 32; the axis of a Concat is missing, so b is as its reader states it.
    assert made[1] == ("b",)
    nodes[2] = ("b", "Sum", ["a", "z"], ["b"])
    ends = ({"x": [5], "z": [5]}, {"y": [5], "w": [100]})
    assert live(nodes, *ends, [weight]) == ({"a": 60, "idle": 60, "b": 60, "c": 40}, ())


def test_a_model_without_nodes_needs_its_weights_alone():
    assert live([], {"x": [3]}, {"x": [3]}) == ({}, ())
    assert MemoryUse((), (), 0, ()).peak == 0


def test_a_tensor_of_unknown_size_is_named_and_not_counted():
    nodes = [("a", "Relu", ["x"], ["a"]), ("b", "Relu", ["z"], ["y"])]
    assert live(nodes, {"x": ["N"], "z": [5]}, {"y": [5]}) == ({"a": 20, "b": 40}, ("x", "a"))
    assert live(nodes, {"x": ["N"], "z": [5]}, {"y": [5]}, sizes={"N": 3}) == ({"a": 12 + 20 + 12, "b": 40}, ())


def test_a_workspace_of_any_size_is_a_number():
    assert MemoryUse(("a",), (10**400,), 0, ()).workspace == (3 * 2**999 >> 20) << 20
    assert MemoryUse(("a",), (2**1000,), 0, ()).workspace == MemoryUse(("a",), (2**1001,), 0, ()).workspace
