"""What is known of every tensor before anything runs, and why of some nothing is."""

from __future__ import annotations

import onnx
import pytest
from onnx import TensorProto, helper

from tests.kit.models import constant, model, proto, weight
from workbench.graph.load import from_proto
from workbench.graph.model import Model
from workbench.graph.shapes import infer, shapes, skeleton_proto
from workbench.graph.shapes.shapes import (
    NOWHERE,
    Inferred,
    _collect,
    _crop_as_slice,
    _first_refused,
    _has_rule,
    _infer,
    _infer_or_none,
    _reason,
    _stand_in,
    _tensor,
)
from workbench.graph.tensor import Tensor

node = helper.make_node
NEWEST = onnx.defs.onnx_opset_version()
F = TensorProto.FLOAT


def value(name, shape=(2,), kind=F):
    return helper.make_tensor_value_info(name, kind, shape)


@pytest.mark.parametrize(
    ("domain", "op", "opsets", "known"),
    [
        ("", "Relu", {"": 17}, True),
        ("ai.onnx", "Relu", {"": 17}, True),
        ("", "Relu", {}, True),
        ("", "Relu", {"own": 1}, False),
        ("", "Gelu", {"": 20}, True),
        ("", "Gelu", {"": 19}, False),
        ("", "Wobble", {"": 17}, False),
        ("ai.onnx.ml", "ZipMap", {"ai.onnx.ml": 1}, True),
        ("ai.onnx.ml", "ZipMap", {}, False),
        ("ai.onnx.ml", "ZipMap", {"": 17}, False),
        ("own", "Relu", {"": 17, "own": 1}, False),
    ],
)
def test_an_operator_has_a_rule_in_the_version_that_is_imported(domain, op, opsets, known):
    assert _has_rule(domain, op, opsets) == known


def stood_in(op, *, domain="", opset=17, outputs=("y",), inputs=("x", "w"), **attributes):
    made = proto(
        [node(op, inputs, outputs, "n", domain=domain, **attributes)], {"x": [1, 3, 9, 9]}, {"y": None}, opset=opset
    )
    if domain:
        made.opset_import.add(domain=domain, version=1)
    _stand_in(made, {(domain, op)})
    assert made.opset_import[-1].domain == "workbench.no.shape.rule"
    (one,) = made.graph.node
    return one.domain, one.op_type, list(one.input), {each.name: list(each.ints) for each in one.attribute}


@pytest.mark.parametrize(
    ("options", "domain", "op", "inputs"),
    [
        ({"op": "Relu"}, "", "Relu", ["x", "w"]),
        ({"op": "Affine", "alpha": [1]}, "", "Identity", ["x"]),
        ({"op": "QuickGelu", "domain": "com.microsoft"}, "", "Identity", ["x"]),
        (
            {"op": "QuickGelu", "domain": "com.microsoft", "outputs": ["y", "z"]},
            "workbench.no.shape.rule",
            "QuickGelu",
            ["x", "w"],
        ),
        ({"op": "Wobble", "domain": "own"}, "workbench.no.shape.rule", "Wobble", ["x", "w"]),
        ({"op": "Crop", "opset": 9}, "", "Slice", ["x", "w"]),
        ({"op": "Crop", "opset": 10}, "workbench.no.shape.rule", "Crop", ["x", "w"]),
    ],
)
def test_what_has_no_rule_is_stood_in_for(options, domain, op, inputs):
    assert stood_in(**options)[:3] == (domain, op, inputs)


def test_a_function_needs_no_rule():
    function = helper.make_function(
        "own", "F", ["a"], ["b"], [node("Neg", ["a"], ["b"], "n")], [helper.make_opsetid("", 17)]
    )
    made = proto(
        [node("F", ["x"], ["y"], "n", domain="own")], {"x": [2]}, {"y": None}, domains=["own"], functions=[function]
    )
    _stand_in(made, {("own", "F")})
    assert made.graph.node[0].domain == "own"


def test_without_a_version_the_newest_is_guessed():
    made = proto([node("Relu", ["x"], ["y"])], {"x": [2]}, {"y": None})
    _stand_in(made, {("", "Relu")})
    assert [(entry.domain, entry.version) for entry in made.opset_import] == [("", 17), ("workbench.no.shape.rule", 1)]
    del made.opset_import[:]
    _stand_in(made, {("", "Relu")})
    assert [(entry.domain, entry.version) for entry in made.opset_import] == [
        ("", NEWEST),
        ("workbench.no.shape.rule", 1),
    ]
    assert made.graph.node[0].domain == ""


@pytest.mark.parametrize(
    ("attributes", "starts", "ends"),
    [
        ({"border": [1, 2, 3, 4]}, [2, 1], [-4, -3]),
        ({"border": [1, 2, 0, 0]}, [2, 1], [2**31, 2**31]),
        ({}, [0, 0], [2**31, 2**31]),
        ({"border": [1, 2, 3, 4], "scale": [5, 7]}, [2, 1], [7, 8]),
    ],
)
def test_a_crop_is_a_slice_of_height_and_width(attributes, starts, ends):
    crop = node("Crop", ["x"], ["y"], **attributes)
    _crop_as_slice(crop)
    assert crop.op_type == "Slice"
    assert {each.name: list(each.ints) for each in crop.attribute} == {"axes": [2, 3], "starts": starts, "ends": ends}


def row(*kept):
    """Nodes one after the other; those that are not kept are of a domain without a version, which ONNX refuses."""
    nodes = [
        node("Relu", [f"t{at}" if at else "x"], [f"t{at + 1}"], f"n{at}", domain="" if keep else "none")
        for at, keep in enumerate(kept)
    ]
    made = proto(nodes, {"x": [2, 3]}, {f"t{len(kept)}": None}, domains=[NOWHERE])
    made.graph.output.append(value("t1", None))
    return made


@pytest.mark.parametrize("at", range(5))
def test_the_first_node_that_is_refused_is_found(at):
    made = row(*(place != at for place in range(5)))
    assert _first_refused(made).name == f"n{at}"
    assert (len(made.graph.node), len(made.graph.output)) == (5, 2)


def test_the_next_is_found_once_the_first_is_set_aside():
    made = row(False, True, False)
    assert _first_refused(made).name == "n0"
    _first_refused(made).domain = NOWHERE
    assert _first_refused(made).name == "n2"


def test_where_no_node_is_left_none_is_found():
    assert _first_refused(proto([], {"x": [2]}, {})) is None
    made = row(False)
    made.graph.node[0].domain = NOWHERE
    assert _first_refused(made) is None


@pytest.mark.parametrize(("most", "refused", "aside"), [(3, 3, 3), (2, 3, 2), (1, 2, 1), (0, 1, 0)])
def test_so_many_nodes_are_set_aside(most, refused, aside, monkeypatch):
    monkeypatch.setattr(shapes, "MOST_REFUSED", most)
    inferred, refusals = _infer(row(False, False, True, False))
    assert len(refusals) == refused
    assert all("No opset import for domain none" in line and "\n" not in line for line in refusals)
    assert [one.domain for one in inferred.graph.node].count(NOWHERE) == aside
    assert (_infer_or_none(row(False)), _infer_or_none(row(True)) is None) == (None, False)


def test_that_is_fifty_nodes_and_the_one_that_ends_it():
    assert len(_infer(row(*[False] * 53))[1]) == 51


KINDS = [onnx.shape_inference.InferenceError, RuntimeError, ValueError]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("text", "line"), [(" one\ntwo", "one"), ("", None)])
def test_whatever_native_code_raises_sets_a_node_aside(kind, text, line, monkeypatch):
    def refuse(made):
        if any(one.op_type == "Neg" and one.domain != NOWHERE for one in made.graph.node):
            raise kind(text)
        return made

    monkeypatch.setattr(shapes, "infer_shapes", refuse)
    made = proto([node("Relu", ["x"], ["a"], "r"), node("Neg", ["a"], ["y"], "n")], {"x": [2]}, {"y": None})
    assert _infer_or_none(made) is None
    inferred, refusals = _infer(made)
    assert refusals == [line or kind.__name__]
    assert [one.domain for one in inferred.graph.node] == ["", NOWHERE]


@pytest.mark.parametrize("kind", [*KINDS, onnx.checker.ValidationError])
@pytest.mark.parametrize(("text", "line"), [("\none\ntwo", "one"), ("", None)])
def test_whatever_it_says_of_a_node_is_the_reason(kind, text, line, monkeypatch):
    def refuse(*_):
        raise kind(text)

    monkeypatch.setattr(onnx.shape_inference, "infer_node_outputs", refuse)
    loaded = model([node("Relu", ["x"], ["y"], "r")], {"x": [2]}, {"y": [2]})
    assert _reason(loaded.nodes["r"], loaded.tensors, loaded) == (line or kind.__name__)


def told(made):
    return infer(from_proto(made)).problem


@pytest.mark.parametrize(
    ("made", "problem"),
    [
        (proto([node("Relu", ["x"], ["y"], "r")], {"x": [2]}, {"y": None}), None),
        (
            proto([node("Relu", ["x"], ["y"], "r")], {"x": None}, {"y": None}),
            "2 of 2 tensors have no known shape; the file gives input 'x' none",
        ),
        (
            proto(
                [node("Wobble", ["x"], ["a"], "w", domain="own"), node("Relu", ["a"], ["y"], "r")],
                {"x": [2]},
                {"y": None},
                domains=["own"],
            ),
            "2 of 3 tensors have no known shape, the first behind 'w': Wobble has no shape rule in ONNX",
        ),
        (
            proto([node("Reshape", ["x", "s"], ["y"], "n")], {"x": [4], "s": (TensorProto.INT64, ["R"])}, {"y": None}),
            "1 of 3 tensors have no known shape, the first behind 'n': what Reshape makes depends on values",
        ),
    ],
)
def test_why_shapes_are_unknown_is_said_of_the_first(made, problem):
    assert told(made) == problem


def test_what_is_refused_is_the_reason_where_shapes_are_known_and_where_not():
    loaded = model([node("Relu", ["x"], ["y"], "r")], {"x": [2]}, {"y": [2]})
    stated = {"x": value("x"), "y": value("y")}
    assert Inferred(loaded, stated, []).problem is None
    assert Inferred(loaded, stated, ["why", "and why"]).problem == "why"
    some = stated | {"y": helper.make_tensor_sequence_value_info("y", F, None)}
    assert Inferred(loaded, some, []).problem is None
    none = stated | {"y": value("y", None)}
    assert Inferred(loaded, none, ["why", "and why"]).problem == (
        "1 of 2 tensors have no known shape; ONNX's inference says: why"
    )


def test_shapes_in_a_function_may_differ_from_call_to_call():
    function = helper.make_function(
        "own", "F", ["a"], ["b"], [node("Neg", ["a"], ["b"], "n")], [helper.make_opsetid("", 17)]
    )
    made = proto(
        [node("F", ["x"], ["y"], "call", domain="own")], {"x": [2]}, {"y": None}, domains=["own"], functions=[function]
    )
    assert told(made) == (
        "1 of 3 tensors have no known shape, the first behind 'function(own:F)/n': "
        "shapes in a function may differ from call to call"
    )
    loaded = from_proto(made)
    assert loaded.tensors["y"].shape == (2,)
    assert loaded.tensors["function(own:F)/b"] == Tensor("function(own:F)/b", None, None)


@pytest.mark.parametrize(
    ("stated", "tensor"),
    [
        (value("t", (2, "N", None)), Tensor("t", (2, "N", None), "FLOAT")),
        (value("t", ()), Tensor("t", (), "FLOAT")),
        (value("t", None), Tensor("t", None, "FLOAT")),
        (value("t", (0, 3), TensorProto.INT64), Tensor("t", (0, 3), "INT64")),
        (value("t", (2,), 0), Tensor("t", (2,), None)),
        (onnx.ValueInfoProto(name="t"), Tensor("t", None, None)),
        (helper.make_tensor_sequence_value_info("t", F, None), Tensor("t", None, None, "sequence of FLOAT")),
    ],
)
def test_a_stated_tensor_is(stated, tensor):
    assert _tensor("t", stated) == tensor


@pytest.mark.parametrize("nested", [True, False])
def test_tensors_are_collected_under_the_address_of_their_graph(nested):
    inner = helper.make_graph([node("Neg", ["i"], ["z"], "neg")], "b", [value("i")], [value("z")])
    outer = helper.make_graph(
        [node("Own", ["x"], ["w"], "in", domain="own", parts=[inner, inner])], "b", [], [value("w")]
    )
    made = proto([node("If", ["c"], ["y"], "if", then_branch=outer, else_branch=inner)], {"c": []}, {"y": [2]})
    made.graph.value_info.append(value("v"))
    expected = ["c", "v", "y"]
    if nested:
        expected += ["if/else/i", "if/else/z", "if/then/w"]
        expected += [f"if/then/in/parts[{at}]/{name}" for at in (0, 1) for name in "iz"]
    assert [name for name, _ in _collect(made.graph, "", nested=nested)] == expected


def weights_of(*tensors, listed=(), flat=True):
    nodes = [node("Own", ["x", *(one.name for one in tensors)], ["y"], "n", domain="own")]
    if flat:
        nodes = [node("Sum", ["x", *(one.name for one in tensors)], ["y"], "n")]
    loaded = from_proto(proto(nodes, {name: [2] for name in ("x", *listed)}, {"y": None}, tensors, domains=["own"]))
    assert (loaded.flat is not None) == flat
    graph = skeleton_proto(loaded).graph
    shapes_of = {one.name: [dim.dim_value for dim in one.type.tensor_type.shape.dim] for one in graph.input}
    types = {one.name: one.type.tensor_type.elem_type for one in graph.input}
    return [one.name for one in graph.initializer], shapes_of, types


@pytest.mark.parametrize("flat", [True, False])
def test_large_and_empty_weights_are_inputs_of_a_skeleton_and_small_ones_keep_their_numbers(flat):
    bare = TensorProto(name="bare", data_type=TensorProto.DOUBLE, dims=[3])
    listed = helper.make_tensor("listed", F, [2], [1, 2])
    kept, inputs, types = weights_of(
        weight("most", 1024), weight("over", 1025), bare, listed, constant("k", 1), flat=flat
    )
    assert kept == ["most", "listed", "k"]
    assert inputs == {"x": [2], "over": [1025], "bare": [3]}
    assert types == {"x": 1, "over": 1, "bare": 11}


@pytest.mark.parametrize(
    "tensor",
    [
        TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1], float_data=[1]),
        TensorProto(name="w", data_type=TensorProto.INT32, dims=[1], int32_data=[1]),
        TensorProto(name="w", data_type=TensorProto.INT64, dims=[1], int64_data=[1]),
        TensorProto(name="w", data_type=TensorProto.DOUBLE, dims=[1], double_data=[1]),
        TensorProto(name="w", data_type=TensorProto.UINT64, dims=[1], uint64_data=[1]),
        TensorProto(name="w", data_type=TensorProto.STRING, dims=[1], string_data=[b"a"]),
    ],
)
def test_a_small_weight_is_kept_in_whatever_field_it_is(tensor):
    assert weights_of(tensor)[0] == ["w"]


def test_a_weight_without_content_is_left_out_of_a_skeleton():
    graph = model([node("Sum", ["v", "w"], ["y"], "s")], {}, {"y": [2]}, [weight("v", 2), weight("w", 2)]).thaw()
    graph.graph.initializers["v"].const_value = None
    skeleton = skeleton_proto(Model(graph)).graph
    assert ([one.name for one in skeleton.initializer], list(skeleton.input)) == (["w"], [])


def test_a_skeleton_says_what_the_graph_does():
    nodes = [
        node("Relu", ["x"], ["a"], "r"),
        node("Wobble", ["a"], ["b"], "w", domain="own"),
        node("Abs", ["b"], ["y"], "a"),
    ]
    made = proto(nodes, {"x": ["N", 2]}, {"y": ["N", 2]}, domains=["own"])
    made.graph.value_info.extend([value("a", ("N", 2)), value("b", ("N", 2))])
    loaded = from_proto(made)
    plain = model([node("MatMul", ["x", "w"], ["y"], "mm")], {"x": ["N", 3]}, {"y": ["N", 2]}, [weight("w", 3, 2)])
    for source in (loaded, plain, Model(plain.ir_model)):
        skeleton = skeleton_proto(source)
        whole = source.proto
        for field in ("input", "output", "node"):
            assert getattr(skeleton.graph, field) == getattr(whole.graph, field)
        assert skeleton.graph.name == "g"
        assert skeleton.ir_version == whole.ir_version
        assert sorted(map(str, skeleton.opset_import)) == sorted(map(str, whole.opset_import))
    assert [one.name for one in skeleton_proto(loaded).graph.value_info] == ["a", "b"]


def test_a_graph_without_a_name_gets_one():
    made = proto([node("Relu", ["x"], ["y"], "r")], {"x": [2]}, {"y": None})
    made.graph.name = ""
    loaded = from_proto(made)
    assert skeleton_proto(loaded).graph.name == skeleton_proto(Model(loaded.ir_model)).graph.name == "graph"


def test_tensors_are_those_of_the_weights_and_of_inference():
    nodes = [node("MatMul", ["x", "w"], ["a"], "mm"), node("Relu", ["a"], ["y"], "r")]
    loaded = model(nodes, {"x": [2, 3]}, {"y": None}, [weight("w", 3, 5)])
    assert dict(loaded.tensors) == {
        "x": Tensor("x", (2, 3), "FLOAT"),
        "w": Tensor("w", (3, 5), "FLOAT"),
        "a": Tensor("a", (2, 5), "FLOAT"),
        "y": Tensor("y", (2, 5), "FLOAT"),
    }
    assert len(loaded.tensors) == 4
    assert loaded.tensors["x"] is loaded.tensors["x"]
    with pytest.raises(KeyError):
        loaded.tensors["nowhere"]


def test_lengths_of_symbolic_axes_are_assumed_by_name():
    nodes = [node("MatMul", ["x", "z"], ["y"], "m")]
    loaded = model(nodes, {"x": ["N", "K"], "z": ["K", None]}, {"y": ["N", None]})
    assert infer(loaded, {"N": 5, "other": 7}).tensors["y"].shape[0] == 5
    assert infer(loaded, {"N": 5, "K": 7}).tensors["x"].shape == (5, 7)
    assert infer(loaded, {"N": 5, "K": 7}).tensors["z"].shape[0] == 7
    assert infer(loaded, {}).tensors["x"].shape == ("N", "K")
