"""What is said otherwise before ONNX's converter carries a model over: from which operator set on, and how."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper

from tests.kit.models import constant, model, weight
from workbench.errors import EditError
from workbench.graph.edits.opset_changes import revealed, rewrite

node = helper.make_node
IMAGE = [2, 3, 4, 5]


def rewritten(network, version):
    graph = network.thaw()
    rewrite(graph, network, version)
    return graph


def line(graph):
    return [
        f"{one.domain}:{one.op_type}({', '.join(str(v.name) for v in one.inputs)}) -> {one.outputs[0].name}"
        for one in graph.graph
    ]


def one(op, opset, inputs=("x",), weights=(), shape=None, **attributes):
    return model(
        [node(op, list(inputs), ["y"], "it", **attributes)], {"x": shape or IMAGE}, {"y": None}, weights, opset=opset
    )


SCALES = constant("s", [1, 1, 2, 2], "float32")
CHANGED = {
    "Add": (7, lambda opset: one("Add", opset, ["x", "w"], [weight("w", 3)], axis=1, broadcast=1)),
    "Upsample": (10, lambda opset: one("Upsample", opset, ["x", "s"], [SCALES])),
    "Resize": (11, lambda opset: one("Resize", opset, ["x", "s"], [SCALES])),
    "Hardmax": (13, lambda opset: one("Hardmax", opset)),
    "GroupNormalization": (
        21,
        lambda opset: one(
            "GroupNormalization",
            opset,
            ["x", "a", "b"],
            [weight("a", 2), weight("b", 2)],
            shape=[1, 4, 5],
            num_groups=2,
        ),
    ),
}


@pytest.mark.parametrize("op", CHANGED)
def test_an_operator_changes_on_the_way_to_the_set_that_changed_it(op):
    since, made = CHANGED[op]
    for old, new, changes in (
        (since - 1, since, True),
        (since - 1, since + 3, True),
        (since - 2, since - 1, False),
        (since, since + 1, False),
        (since, since - 1, False),
    ):
        network = made(old)
        assert (line(rewritten(network, new)) != line(network.thaw())) is changes, (old, new)


@pytest.mark.parametrize(("old", "new", "refused"), [(8, 9, True), (8, 12, True), (7, 8, False), (9, 10, False)])
def test_a_scan_over_a_batch_has_no_later_form(old, new, refused):
    info = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in ("s", "n", "t", "o")]
    nodes = [node("Add", ["s", "n"], ["t"]), node("Identity", ["t"], ["o"])]
    body = helper.make_graph(nodes, "body", info[:2], info[2:])
    scan = node("Scan", ["", "start", "x"], ["y", "z"], "scan", num_scan_inputs=1, body=body)
    network = model([scan], {"start": [1, 2], "x": [1, 3, 2]}, {"y": [1, 2], "z": [1, 3, 2]}, opset=old)
    if not refused:
        rewritten(network, new)
        return
    with pytest.raises(EditError) as error:
        rewritten(network, new)
    assert str(error.value) == (
        "scan: a Scan of operator set 8 runs over a batch, which no later one does. "
        "Export the model again with operator set 9 or later."
    )


@pytest.mark.parametrize(
    ("op", "second", "stated", "axes"),
    [
        ("Add", (3,), {"axis": 1}, [1, 2]),
        ("Sub", (3, 4), {"axis": 1}, [2]),
        ("Mul", (2,), {"axis": 0}, [1, 2, 3]),
        ("Div", (4,), {"axis": -2}, [1]),
        ("Pow", (3,), {"axis": -3}, [1, 2]),
        ("Add", (5,), {"axis": 3}, None),
        ("Add", (4, 5), {"axis": 2}, None),
        ("Add", (5,), {"axis": -1}, None),
        ("Add", (5,), {}, None),
        ("Add", (), {"axis": 1}, None),
        ("PRelu", (3,), None, [1, 2]),
        ("PRelu", (1,), None, [1, 2]),
    ],
)
def test_the_second_operand_gets_the_axes_behind_its_own(op, second, stated, axes):
    attributes = {} if stated is None else {"broadcast": 1, **stated}
    network = one(op, 6, ["x", "w"], [weight("w", *second)], **attributes)
    graph = rewritten(network, 7)
    last = graph.graph.node("it")
    assert (last.domain, list(last.attributes)) == ("workbench.hidden", [])
    assert graph.opset_imports["workbench.hidden"] == 1
    if axes is None:
        assert line(graph) == [f"workbench.hidden:{op}(x, w) -> y"]
    else:
        assert line(graph) == [":Unsqueeze(w) -> it/aligned", f"workbench.hidden:{op}(x, it/aligned) -> y"]
        assert list(graph.graph[0].attributes["axes"].as_ints()) == axes
    revealed(graph)
    assert (last.domain, last.op_type) == ("", op)
    assert dict(graph.opset_imports) == {"": 6}


@pytest.mark.parametrize(("shape", "axes"), [([2, 3], None), ([2, 3, 4], [1])])
def test_slopes_are_one_a_channel_whatever_the_rank(shape, axes):
    graph = rewritten(one("PRelu", 6, ["x", "w"], [weight("w", 3)], shape=shape), 7)
    first = graph.graph[0]
    assert (list(first.attributes["axes"].as_ints()) if "axes" in first.attributes else None) == axes


def test_a_gemm_broadcasts_along_its_last_axes():
    weights = [weight("w", 3, 4), weight("b", 4)]
    network = one("Gemm", 6, ["x", "w", "b"], weights, shape=[2, 3], broadcast=1, alpha=0.5)
    graph = rewritten(network, 7)
    assert line(graph) == ["workbench.hidden:Gemm(x, w, b) -> y"]
    assert list(graph.graph[0].attributes) == ["alpha"]


def test_an_operator_of_another_domain_means_what_it_meant():
    network = model(
        [node("Hardmax", ["x"], ["y"], "it", domain="own")], {"x": IMAGE}, {"y": IMAGE}, opset=11, domains=["own"]
    )
    assert line(rewritten(network, 13)) == ["own:Hardmax(x) -> y"]


@pytest.mark.parametrize("mode", ["nearest", "linear", None])
@pytest.mark.parametrize(
    ("op", "old", "new"), [("Upsample", 7, 10), ("Upsample", 9, 13), ("Resize", 10, 11), ("Resize", 10, 13)]
)
def test_what_is_resampled_says_where_it_samples(op, old, new, mode):
    stated = ({"scales": [1.0, 1.0, 2.0, 3.0]} if old == 7 else {}) | ({"mode": mode} if mode else {})
    inputs, weights = (["x"], []) if old == 7 else (["x", "s"], [SCALES])
    graph = rewritten(one(op, old, inputs, weights, **stated), new)
    (it,) = graph.graph
    assert (it.domain, it.op_type, "scales" in it.attributes) == ("workbench.hidden", "Resample", False)
    scales = it.inputs[1].const_value.numpy()
    assert (scales.dtype, scales.tolist()) == (np.float32, [1, 1, 2, 3] if old == 7 else [1, 1, 2, 2])
    assert str(it.outputs[0].shape) == str(one(op, old, inputs, weights, **stated).tensor("y").shape).replace(
        "(", "["
    ).replace(")", "]").replace(" ", "")
    graph.opset_imports[""] = new
    revealed(graph)
    assert (it.domain, it.op_type) == ("", "Resize")
    if new == 10:
        assert len(it.inputs) == 2
        assert "coordinate_transformation_mode" not in it.attributes
        return
    region, last = it.inputs[1:]
    assert (region.const_value.numpy().shape, last.const_value.numpy().tolist()) == ((0,), scales.tolist())
    assert it.attributes.get_string("coordinate_transformation_mode") == "asymmetric"
    assert it.attributes.get_string("nearest_mode", "") == ("" if mode == "linear" else "floor")


@pytest.mark.parametrize("axis", [None, 0, 2, -1])
def test_a_hardmax_of_all_axes_from_one_on_is_one_of_a_matrix(axis):
    nodes = [node("Hardmax", ["x"], ["h"], "it", **({} if axis is None else {"axis": axis})), node("Neg", ["h"], ["y"])]
    network = model(nodes, {"x": IMAGE}, {"y": IMAGE, "h": IMAGE}, opset=11)
    graph = rewritten(network, 13)
    assert line(graph) == [
        ":Shape(x) -> it/shape",
        ":Flatten(x) -> it/flat",
        ":Hardmax(it/flat) -> it/back",
        ":Reshape(it/back, it/shape) -> h",
        ":Neg(h) -> y",
    ]
    assert graph.graph[1].attributes["axis"].as_int() == (1 if axis is None else axis)
    assert graph.graph[2].attributes["axis"].as_int() == 1
    assert [value.name for value in graph.graph.outputs] == ["y", "h"]
    assert graph.graph.outputs[1].shape.numpy() == tuple(IMAGE)
    assert "workbench.hidden" not in graph.opset_imports


def test_scale_and_bias_of_groups_are_repeated_for_their_channels():
    nodes = [node("GroupNormalization", ["x", "a", "b"], ["y"], "it", num_groups=3)]
    weights = [constant("a", [1, 2, 3], "float32"), constant("b", [4, 5, 6], "float32")]
    network = model(nodes, {"x": [1, 6, 5]}, {"y": [1, 6, 5]}, weights, opset=18)
    graph = rewritten(network, 21)
    assert {name: value.const_value.numpy().tolist() for name, value in graph.graph.initializers.items()} == {
        "a/channels": [1, 1, 2, 2, 3, 3],
        "b/channels": [4, 4, 5, 5, 6, 6],
    }
    assert line(graph) == [":GroupNormalization(x, a/channels, b/channels) -> y"]


@pytest.mark.parametrize(
    ("shape", "weights", "inputs"),
    [
        ([1, 6, 5], [weight("a", 6), weight("b", 3)], {}),
        ([1, 6, 5], [weight("a", 3), weight("b", 6)], {}),
        ([1, 6, 5], [weight("a", 3)], {"b": [3]}),
        ([1, 6, 5], [weight("b", 3)], {"a": [3]}),
        ([1, "C", 5], [weight("a", 3), weight("b", 3)], {}),
        (None, [weight("a", 3), weight("b", 3)], {}),
    ],
)
def test_scale_and_bias_that_cannot_be_repeated_are_refused(shape, weights, inputs):
    nodes = [node("GroupNormalization", ["x", "a", "b"], ["y"], "it", num_groups=3)]
    network = model(nodes, {"x": shape} | inputs, {"y": None}, weights, opset=18)
    with pytest.raises(EditError) as refused:
        rewritten(network, 21)
    assert str(refused.value) == (
        "it: its scale and bias are one a group and no constants, or its channels are unknown. "
        "From operator set 21 on they are one a channel: export the model again."
    )


def test_what_broadcasts_over_axes_that_nobody_counts_is_refused():
    for shapes in ({"x": None, "b": [3]}, {"x": IMAGE, "b": None}):
        network = model([node("Add", ["x", "b"], ["y"], "it", axis=1)], shapes, {"y": None}, opset=6)
        with pytest.raises(EditError) as refused:
            rewritten(network, 7)
        assert str(refused.value) == (
            "it: it broadcasts along an axis, and how many axes its operands have is unknown. "
            "Export the model again with operator set 7 or later."
        )


@pytest.mark.parametrize("stated", [{}, {"axis": -1}])
def test_along_the_last_axes_nobody_has_to_count_them(stated):
    network = model([node("Add", ["x", "b"], ["y"], "it", **stated)], {"x": None, "b": [3]}, {"y": None}, opset=6)
    assert line(rewritten(network, 7)) == ["workbench.hidden:Add(x, b) -> y"]


def test_what_was_hidden_in_a_function_is_revealed_there():
    body = [node("Upsample", ["a"], ["b"], "up", scales=[1.0, 1.0, 2.0, 2.0])]
    function = helper.make_function("own", "Up", ["a"], ["b"], body, [helper.make_opsetid("", 7)])
    call = node("Up", ["x"], ["y"], "call", domain="own")
    network = model([call], {"x": IMAGE}, {"y": None}, opset=7, domains=["own"], functions=[function])
    graph = rewritten(network, 13)
    (held,) = graph.functions.values()
    assert dict(held.opset_imports) == {"": 7, "workbench.hidden": 1}
    assert held.graph.node("up").domain == "workbench.hidden"
    graph.opset_imports[""] = 13
    revealed(graph)
    assert dict(held.opset_imports) == {"": 7}
    assert held.graph.node("up").op_type == "Resize"
