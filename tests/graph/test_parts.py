"""What single parts of the graph code tell apart, each on the smallest graph that shows it."""

from __future__ import annotations

import math
from collections import ChainMap

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.kit.models import assert_same, constant, model, proto, weight
from workbench.errors import EditError, ModelError
from workbench.graph import structure_digest
from workbench.graph.check import _reads
from workbench.graph.cost.macs import Call, _gemm
from workbench.graph.edits.pattern import find, read_pattern
from workbench.graph.edits.registry import applicable, edit_by_name
from workbench.graph.edits.scripts import plain
from workbench.graph.inspection.difference import diff
from workbench.graph.inspection.quirks import find_quirks
from workbench.graph.load import _end_of, _repeated_value_info, from_proto, load_model
from workbench.graph.save import _size, save_model
from workbench.graph.select.language import parse
from workbench.graph.select.selectors import Not
from workbench.graph.shapes.states import _states
from workbench.graph.stored.content import file_content

node = helper.make_node
WIDE = TensorProto.FLOAT


# Files


def test_the_default_domain_may_be_spelled_where_it_is_imported_alone():
    stated = proto([node("Relu", ["x"], ["y"], "it")], {"x": [2]}, {"y": [2]})
    stated.opset_import[0].domain = "ai.onnx"
    loaded = from_proto(stated)
    assert (loaded.opset, [one.domain for one in loaded.nodes.values()]) == (17, [""])
    assert loaded.tensors["y"].shape == (2,)
    stated.graph.node[0].domain = "ai.onnx"
    assert from_proto(stated).tensors["y"].shape == (2,)


def test_a_file_is_taken_for_no_smaller_than_it_is():
    """What is said to fit one file has to."""
    for weights in ([weight("w", 3, 3, 3, 3)], [constant(f"c{n}", [n]) for n in range(50)]):
        saved = model([node("Relu", ["x"], ["y"], "it")], {"x": [2]}, {"y": [2]}, weights)
        exact = len(file_content(saved))
        assert exact <= _size(saved) <= 2 * exact + 48 * len(weights)


def test_a_small_weight_that_lay_in_another_file_is_taken_along(tmp_path):
    stated = proto(
        [node("Add", ["x", "b"], ["a"], "add"), node("Mul", ["a", "w"], ["y"], "mul")],
        {"x": [1000]},
        {"y": [1000]},
        [weight("b", 1), weight("w", 1000)],
    )
    before = {one.name: numpy_helper.to_array(one) for one in stated.graph.initializer}
    (tmp_path / "old").mkdir()
    (tmp_path / "new").mkdir()
    old = tmp_path / "old" / "m.onnx"
    onnx.save(stated, old, save_as_external_data=True, location="m.bin", size_threshold=0)
    save_model(load_model(old), tmp_path / "new" / "m.onnx", external=True)
    (tmp_path / "old" / "m.bin").unlink()
    again = load_model(tmp_path / "new" / "m.onnx")
    for name, array in before.items():
        np.testing.assert_array_equal(again.initializers[name].const_value.numpy(), array)
    written = onnx.load(tmp_path / "new" / "m.onnx", load_external_data=False).graph.initializer
    assert {one.name: one.data_location for one in written} == {"b": TensorProto.DEFAULT, "w": TensorProto.EXTERNAL}


def external(count, **entries):
    tensor = onnx.TensorProto(name="w", data_type=WIDE, dims=[count], data_location=TensorProto.EXTERNAL)
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=value)
    return tensor


def test_a_weight_beside_ends_where_its_length_says_and_what_is_no_number_is_refused():
    assert _end_of(external(3), "m") == 12
    assert _end_of(external(3, offset="8", length="12"), "m") == 20
    for count, entries in ((0, {"offset": "two"}), (3, {"offset": "-1"}), (3, {"length": "11"}), (3, {"length": "x"})):
        with pytest.raises(ModelError, match="is said to be at offset"):
            _end_of(external(count, **entries), "m")


def test_a_shape_that_is_stated_twice_is_told_once_with_how_many_more():
    stated = proto([node("Relu", ["x"], ["y"])], {"x": [2]}, {"y": [2]})
    assert list(_repeated_value_info(stated)) == []
    stated.graph.value_info.append(stated.graph.output[0])
    (quirk,) = _repeated_value_info(stated)
    assert (quirk.where, quirk.text) == ("y", "the file states its shape more than once")
    stated.graph.value_info.append(stated.graph.input[0])
    (quirk,) = _repeated_value_info(stated)
    assert (quirk.where, quirk.text) == ("x", "the file states its shape more than once, and that of 1 more")


# What is odd, what is the same, what differs


def test_the_first_of_several_odd_weights_is_named():
    weights = [
        *(constant(name, [[1, 2]]) for name in ("wide", "wider")),
        *(weight(name, 2) for name in ("alone", "lonely")),
    ]
    nodes = [node("Identity", [name], [f"{name}_read"]) for name in ("wide", "wider")]
    outputs = {f"{name}_read": (TensorProto.INT64, [1, 2]) for name in ("wide", "wider")}
    told = {quirk.kind: (quirk.where, quirk.text[:2]) for quirk in find_quirks(model(nodes, {}, outputs, weights))}
    assert told["wide-weights"] == ("wide", "2 ")
    assert told["unused-weights"] == ("alone", "2 ")


def test_another_interface_is_another_structure():
    def digest(x=(2, 8), y=(2, 8), name="x", axes=(1,), scale=1.0, **options):
        nodes = [
            node("Unsqueeze", [name, "axes"], ["u"], "u"),
            node("Squeeze", ["u", "axes"], ["s"], "s"),
            node("Mul", ["s", "w"], ["y"], "m"),
        ]
        weights = [constant("axes", axes), numpy_helper.from_array(np.full(8, scale, np.float32), "w")]
        return structure_digest(model(nodes, {name: list(x)}, {"y": list(y)}, weights, **options))

    assert digest() == digest(scale=2.0)
    others = [
        digest(x=(None, 8), y=(None, 8)),
        digest(y=(None, 8)),
        digest(name="z"),
        digest(axes=(0,)),
        digest(opset=18),
    ]
    assert len({digest(), *others}) == 6


def test_a_domain_that_came_is_a_difference():
    def stated(*domains):
        return model([node("Relu", ["x"], ["y"], "it")], {"x": [2]}, {"y": [2]}, domains=domains)

    (come,) = diff(stated(), stated("com.microsoft")).changes
    assert (come.where, come.what, come.before, come.after) == ("com.microsoft", "opset", "", "1")
    (gone,) = diff(stated("com.microsoft"), stated()).changes
    assert (gone.before, gone.after) == ("1", "")


# Bodies of loops


def scan():
    def value(name):
        return helper.make_tensor_value_info(name, WIDE, None)

    body = helper.make_graph(
        [node("Add", ["s", "e"], ["u"]), node("Add", ["u", "outer"], ["t"])],
        "body",
        [value("s"), value("e")],
        [value("u"), value("t")],
    )
    return node("Scan", ["x", "steps"], ["y", "all"], "scan", num_scan_inputs=1, body=body)


def test_what_a_scan_goes_through_is_no_state():
    graph = proto([scan()], {"x": [2], "steps": [7, 2], "outer": [2]}, {"y": [2], "all": [7, 2]}).graph
    (state,) = _states(graph, ChainMap())
    assert (state.body_input.name, state.body_output.name, state.result) == ("s", "u", "y")
    assert state.start == graph.input[0].type


def test_what_a_body_reads_is_read_by_its_node_wherever_the_attribute_stands():
    loaded = model([scan()], {"x": [2], "steps": [7, 2], "outer": [2]}, {"y": [2], "all": [7, 2]})
    (one,) = loaded.nodes.values() if len(loaded.nodes) == 1 else [loaded.nodes["scan"]]
    assert {"x", "steps", "outer"} <= {value.name for value in _reads(one)}


# Costs, selectors, patterns


def test_a_gemm_of_unknown_shapes_has_unknown_work():
    def gemm(a, y, **attributes):
        made = model([node("Gemm", ["a", "b"], ["y"], "g", **attributes)], {"a": [2, 3], "b": [3, 4]}, {"y": [2, 4]})
        return _gemm(Call(made.nodes["g"], [a, (3, 4)], [y]))

    assert gemm((2, 3), (2, 4)) == math.prod((2, 3, 4))
    assert gemm((3, 2), (2, 4), transA=1) == math.prod((2, 3, 4))
    assert gemm(None, (2, 4)) is gemm((2, 3), None) is gemm(None, None) is None


@pytest.mark.parametrize(
    "text",
    [
        "op:A & op:B",
        "op:A | op:B",
        "!op:A",
        "!(op:A & op:B)",
        "!(op:A | op:B)",
        "op:A & (op:B | op:C)",
        "op:A | op:B & op:C",
    ],
)
def test_a_selector_is_written_with_the_brackets_that_it_needs(text):
    assert str(parse(text)) == text


def test_a_double_negation_needs_no_brackets():
    part = parse("op:A")
    assert (str(Not(part)), str(Not(Not(part)))) == ("!op:A", "!!op:A")


def test_a_pattern_matches_a_node_with_more_results_than_it_names():
    nodes = [node("MaxPool", ["x"], ["p", "places"], "pool", kernel_shape=[2, 2]), node("Relu", ["p"], ["y"], "relu")]
    pooled = model(nodes, {"x": [1, 2, 4, 4]}, {"y": None})
    text = "p = MaxPool(x)\ny = Relu(p)"
    (match,) = find(pooled.ir_model.graph, read_pattern(text))
    assert [one.name for one in match.nodes] == ["relu", "pool"]


# Edits


def gemm(beta, *, third_is_constant):
    weights = [weight("w", 8, 4), *([weight("c", 4)] if third_is_constant else [])]
    inputs = {"x": [2, 8], **({} if third_is_constant else {"c": [4]})}
    return model([node("Gemm", ["x", "w", "c"], ["y"], "it", beta=beta)], inputs, {"y": [2, 4]}, weights)


@pytest.mark.parametrize("beta", [0.5, 2.0])
def test_a_gemm_whose_addend_is_scaled_is_spelled_out_where_that_is_a_constant(beta):
    before = gemm(beta, third_is_constant=True)
    assert_same(before, edit_by_name("expand_gemm")(before).model)
    with pytest.raises(EditError, match="no constant and multiplied by beta"):
        edit_by_name("expand_gemm", only="name:it")(gemm(beta, third_is_constant=False))


def test_a_gemm_whose_addend_is_fed_is_spelled_out_where_it_is_not_scaled():
    before = gemm(1.0, third_is_constant=False)
    assert_same(before, edit_by_name("expand_gemm", only="name:it")(before).model)


@pytest.mark.parametrize("places", [(-1,), (0, 2)])
def test_a_replaced_node_keeps_inputs_that_it_has(places):
    before = model([node("Add", ["x", "z"], ["y"], "it")], {"x": [2], "z": [2]}, {"y": [2]})
    with pytest.raises(EditError, match="it has 2 inputs"):
        edit_by_name("replace_node", node="it", op="Mul", inputs=places)(before)


def test_a_function_that_is_one_operator_is_offered_to_be_spelled_out():
    gelu = model([node("Gelu", ["x"], ["y"], "it")], {"x": [2, 8]}, {"y": [2, 8]}, opset=20, ir_version=9)
    (offer,) = [edit for edit in applicable(gelu, ["it"]) if edit.do == "expand"]
    assert (offer.pattern, str(offer.only)) == ("gelu", "name:it")
    spelled = offer(gelu).model
    (back,) = [edit for edit in applicable(spelled, list(spelled.nodes)[:1]) if edit.do == "fuse"]
    assert back.pattern == "gelu"


def test_a_script_takes_what_a_recipe_can_hold():
    given = {"a": [1, 2.5, None], "b": ({"c": True}, "d")}
    assert plain(given, "x") == {"a": [1, 2.5, None], "b": [{"c": True}, "d"]}
    for wrong in ({1: 2}, {"a": {2: 3}}, {"a", "b"}, object(), math.inf, math.nan, b"text"):
        with pytest.raises(EditError, match="is no argument that a recipe can hold"):
            plain(wrong, "x")
    with pytest.raises(EditError) as failure:
        plain({"a": [1, {"b": math.inf}]}, "x")
    assert failure.value.where == "x['a'][1]['b']"
