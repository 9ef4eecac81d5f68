"""What a fuzzer made of files: each is refused, or read without what contradicts itself, in one line."""

from __future__ import annotations

import math

import numpy as np
import onnx
import pandas as pd
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.kit.models import proto
from workbench.errors import BackendError, ModelError
from workbench.evaluate.inputs import random_inputs
from workbench.graph import most_repeated
from workbench.graph.cost.cost import costs
from workbench.graph.inspection.inspect import summary
from workbench.graph.inspection.tables import nodes as nodes_of
from workbench.graph.inspection.tables import tensors
from workbench.graph.load import from_proto, load_model

N = helper.make_node
BOOL, INT64 = TensorProto.BOOL, TensorProto.INT64


def identity(**constants):
    nodes = [N("Constant", [], [name], f"make {name}", **held) for name, held in constants.items()]
    return proto([*nodes, N("Identity", ["x"], ["y"], "same")], {"x": [4]}, {"y": [4]})


def refused(model, *words):
    with pytest.raises(ModelError) as caught:
        summary(from_proto(model)).text()
    text = str(caught.value)
    assert "\n" not in text
    assert all(word in text for word in words), text


@pytest.mark.parametrize("name", [None, "", "k"])
@pytest.mark.parametrize("content", [b"", b"1", b"123"])
def test_the_bytes_of_a_tensor_are_counted_whether_it_has_a_name_or_not(name, content):
    tensor = TensorProto(data_type=BOOL, raw_data=content)
    if name is not None:
        tensor.name = name
    onnx_model = identity(k={"value": tensor})
    if len(content) > 1:
        refused(onnx_model, "has 3 bytes of data, and its lengths and type want 1")
    else:
        from_proto(onnx_model)


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (TensorProto(data_type=INT64, dims=[1], float_data=[1]), "has numbers in float_data"),
        (
            TensorProto(data_type=1, dims=[1], float_data=[1], raw_data=b"1234"),
            "has numbers in raw_data and float_data",
        ),
        (TensorProto(data_type=1, dims=[1], int32_data=[1], raw_data=b"1234"), "has numbers in int32_data"),
    ],
)
def test_a_tensor_has_its_numbers_in_one_place(tensor, message):
    refused(identity(k={"value": tensor}), message)


def test_a_constant_holds_what_its_attribute_is_for():
    onnx_model = identity(k={"value_floats": [1.0]})
    onnx_model.graph.node[0].attribute[0].name = "value"
    refused(onnx_model, "attribute 'value' of node 'make k' is of the kind FLOATS, and that of a Constant is TENSOR")


def reference(name, kind):
    return onnx.AttributeProto(name=name, type=kind, ref_attr_name="given")


def test_what_a_call_gives_stands_in_functions_alone():
    onnx_model = identity(k={"value_int": 1})
    onnx_model.graph.node[0].attribute[0].CopyFrom(reference("value_int", onnx.AttributeProto.INT))
    refused(onnx_model, "is to be 'given' of a function, and is in none")
    inner = N("Constant", [], ["k"], "make")
    inner.attribute.append(reference("value", onnx.AttributeProto.TENSOR))
    used = [inner, N("Add", ["a", "k"], ["b"], "add")]
    opsets = [helper.make_opsetid("", 17)]
    function = helper.make_function("own", "Plus", ["a"], ["b"], used, opsets, attributes=["given"])
    call = N("Plus", ["x"], ["y"], "call", domain="own", given=numpy_helper.from_array(np.float32(1)))
    onnx_model = proto([call], {"x": [4]}, {"y": [4]}, domains=["own"], functions=[function])
    assert summary(from_proto(onnx_model)).text()
    branch = N("If", ["a"], ["b"], "if")
    branch.attribute.append(reference("then_branch", onnx.AttributeProto.GRAPH))
    onnx_model.functions[0].node[1].CopyFrom(branch)
    refused(onnx_model, "'then_branch' of node 'if' is a graph that a call is to give")


def test_the_version_of_any_operator_set_is_a_number_that_onnx_can_hold():
    onnx_model = identity()
    onnx_model.opset_import.add(domain="own", version=2**32)
    refused(onnx_model, "operator set version 4294967296 of the domain 'own' is none")


def test_a_type_that_onnx_does_not_know_is_called_by_no_name():
    onnx_model = identity()
    onnx_model.graph.output[0].type.Clear()
    onnx_model.graph.output[0].type.map_type.key_type = 128
    assert "map of ? to ?" in str(from_proto(onnx_model).quirks)


def test_a_name_of_a_function_is_text():
    function = helper.make_function(
        "own", "Plus", ["a"], ["b"], [N("Neg", ["a"], ["b"])], [helper.make_opsetid("", 17)]
    )
    onnx_model = proto([N("Plus", ["x"], ["y"], "call", domain="own")], {"x": [4]}, {"y": [4]}, domains=["own"])
    onnx_model.functions.append(function)
    content = onnx_model.SerializeToString().replace(b"Plus", b"\xf6lus")
    refused(onnx.ModelProto.FromString(content), "no UTF-8 text")


def test_devices_that_are_none_are_left_out_and_others_kept(tmp_path):
    for ir_version, name, kept in ((8, "two", False), (11, "", False), (11, "two", True)):
        onnx_model = identity()
        onnx_model.ir_version = ir_version
        onnx_model.graph.node[-1].device_configurations.add(configuration_id=name)
        model = from_proto(onnx_model)
        assert [quirk.kind for quirk in model.quirks] == ([] if kept else ["devices"])
        model.save(tmp_path / "m.onnx")
        assert bool(onnx.load(tmp_path / "m.onnx").graph.node[-1].device_configurations) == kept


@pytest.mark.parametrize("location", ["a\0b", "a" * 5000])
def test_a_weight_lies_in_a_file_that_there_can_be(tmp_path, location):
    onnx_model = proto([N("Add", ["x", "w"], ["y"], "add")], {"x": [4]}, {"y": [4]})
    weight = onnx_model.graph.initializer.add(name="w", data_type=1, dims=[4], data_location=TensorProto.EXTERNAL)
    weight.external_data.add(key="location", value=location)
    path = tmp_path / "m.onnx"
    path.write_bytes(onnx_model.SerializeToString())
    with pytest.raises(ModelError, match="no file can be called so") as caught:
        load_model(path)
    assert "\n" not in str(caught.value)


def test_a_node_without_the_inputs_that_it_needs_is_named_also_where_the_output_has_no_shape():
    from workbench.session.workbench import Workbench

    nodes = [N("DequantizeLinear", [], ["d"], "dq"), N("Relu", ["d"], ["y"], "relu")]
    onnx_model = proto(nodes, {"x": [4]}, {"y": [4]})
    onnx_model.graph.output[0].type.tensor_type.ClearField("shape")
    wb = Workbench(from_proto(onnx_model))
    with pytest.raises(ModelError, match="dq") as caught:
        wb.plan.use("int8")
    assert "\n" not in str(caught.value)


def loop(times, *inner):
    nodes = [N("Identity", ["go"], ["on"], "goes"), N("Neg", ["s"], ["t"], "neg"), *inner]
    inputs = [helper.make_tensor_value_info(n, k, s) for n, k, s in (("i", INT64, []), ("go", BOOL, []), ("s", 1, [4]))]
    outputs = [helper.make_tensor_value_info("on", BOOL, []), helper.make_tensor_value_info("t", 1, [4])]
    body = helper.make_graph(nodes, "body", inputs, outputs)
    return N("Loop", [times, "", "x"], ["y"], "loop", body=body)


@pytest.mark.parametrize(("times", "often"), [("many", 2.0**40), ("few", 3.0), ("", math.inf)])
def test_how_often_a_loop_runs_is_known_before_it_is_run(times, often):
    weights = [numpy_helper.from_array(np.int64(number), name) for name, number in (("many", 2**40), ("few", 3))]
    model = from_proto(proto([loop(times)], {"x": [4]}, {"y": [4]}, weights))
    assert most_repeated(model) == often


def test_a_loop_without_an_end_is_not_run_to_check_an_edit():
    from workbench.session.workbench import Workbench

    weights = [numpy_helper.from_array(np.int64(2**40), "many")]
    onnx_model = proto([N("Identity", ["in"], ["x"], "same"), loop("many")], {"in": [4]}, {"y": [4]}, weights)
    wb = Workbench(from_proto(onnx_model))
    assert "a loop in it runs 1.1e+12 times" in str(wb.edit("remove_noops").check)


def test_an_output_without_a_name_is_refused_wherever_it_is():
    model = proto([N("Relu", ["x"], ["y"])], {"x": [4]}, {"y": [4]})
    model.graph.output[0].name = ""
    refused(model, "output 0 of the graph has no name")
    branch = helper.make_graph([N("Relu", ["x"], ["b"])], "b", [], [helper.make_tensor_value_info("", 1, [4])])
    node = N("If", ["c"], ["y"], "if", then_branch=branch, else_branch=branch)
    model = proto([node], {"x": [4]}, {"y": [4]})
    model.graph.input.append(helper.make_tensor_value_info("c", BOOL, []))
    refused(model, "output 0 of if/", "has no name")


@pytest.mark.parametrize("kind", ["TENSOR", "TENSORS"])
def test_an_attribute_that_holds_no_tensor_is_refused_in_any_operator(kind):
    model = proto([N("Concat", ["x", "x"], ["y"], "join", axis=0)], {"x": [4]}, {"y": [8]})
    held = model.graph.node[0].attribute.add(name="odd", type=onnx.AttributeProto.AttributeType.Value(kind))
    if kind == "TENSORS":
        held.tensors.add()
    refused(model, "attribute 'odd' of node 'join' holds a tensor without a type")


def held(**changes):
    """Return a model with a Loop, a branch and a Scan, one of which lacks an attribute, an input or an output."""
    state = [helper.make_tensor_value_info("s", 1, [4]), helper.make_tensor_value_info("t", 1, [4])]
    scan = helper.make_graph([N("Neg", ["s"], ["t"])], "body", state[:1], state[1:])
    branch = helper.make_graph([N("Neg", ["x"], ["b"])], "branch", [], [helper.make_tensor_value_info("b", 1, [4])])
    nodes = {
        "If": N("If", ["yes"], ["a"], "if", then_branch=branch, else_branch=branch),
        "Loop": loop("count"),
        "Scan": N("Scan", ["rows"], ["z"], "scan", body=scan, num_scan_inputs=1),
    }
    for op, change in changes.items():
        change(nodes[op])
    weights = {"yes": np.array(True), "count": np.int64(2), "rows": np.ones((2, 4), np.float32)}
    weights = [numpy_helper.from_array(np.asarray(array), name) for name, array in weights.items()]
    results = {node.output[0]: None for node in nodes.values()}
    return proto(list(nodes.values()), {"x": [4]}, results, weights)


def cut(node, name, field):
    body = next(attribute.g for attribute in node.attribute if attribute.name == name)
    del getattr(body, field)[:]


def renamed(node, old, new):
    next(attribute for attribute in node.attribute if attribute.name == old).name = new


@pytest.mark.parametrize(
    ("op", "change", "message"),
    [
        ("Loop", lambda node: renamed(node, "body", "bod"), "node 'loop' (Loop) has no graph 'body'"),
        ("Loop", lambda node: cut(node, "body", "output"), "has a body of 3 inputs and 0 outputs"),
        ("Loop", lambda node: cut(node, "body", "input"), "has a body of 0 inputs and 2 outputs"),
        ("If", lambda node: renamed(node, "else_branch", "x"), "node 'if' (If) has no graph 'else_branch'"),
        ("Scan", lambda node: renamed(node, "body", "x"), "node 'scan' (Scan) has no graph 'body'"),
        ("Scan", lambda node: renamed(node, "num_scan_inputs", "x"), "does not say how many inputs it scans"),
        ("Scan", lambda node: setattr(node.attribute[1], "i", 2), "scans 2 of its 1 inputs"),
    ],
)
def test_a_node_has_the_graphs_that_it_runs(op, change, message):
    assert summary(from_proto(held())).text()
    refused(held(**{op: change}), message)


def test_a_scan_along_an_axis_that_is_none_is_of_unknown_length():
    model = from_proto(held(Scan=lambda node: node.attribute.append(helper.make_attribute("scan_input_axes", [7]))))
    assert costs(model)["scan"].note == "the length of the scanned axis is not known"


def test_an_operator_of_another_domain_needs_no_body_whatever_it_is_called():
    model = held(Loop=lambda node: (setattr(node, "domain", "own"), renamed(node, "body", "parts")))
    model.opset_import.add(domain="own", version=1)
    assert costs(from_proto(model))["loop"].note == "how often the graph in a Loop runs is not known"


@pytest.mark.parametrize("place", ["graph.name", "producer_name", "producer_version"])
def test_what_a_model_and_its_producer_are_called_is_text(place):
    model = identity()
    model.producer_name, model.producer_version, model.graph.name = "p", "v", "g"
    part, name = (model.graph, "name") if place == "graph.name" else (model, place)
    setattr(part, name, "damaged")
    refused(
        onnx.ModelProto.FromString(model.SerializeToString().replace(b"damaged", b"\xc3maged\xc3")), "no UTF-8 text"
    )
    branched = held(If=lambda node: setattr(node.attribute[0].g, "name", "damaged"))
    content = branched.SerializeToString().replace(b"damaged", b"\xc3maged\xc3")
    refused(onnx.ModelProto.FromString(content), "the name of a graph is no UTF-8 text")


@pytest.mark.parametrize(
    ("kind", "message"), [(1, "too short"), (TensorProto.INT4, "too short"), (TensorProto.STRING, "is text")]
)
def test_the_lengths_of_a_weight_in_another_file_may_be_any_numbers(tmp_path, kind, message):
    # Their product is more than a float can hold.
    onnx_model = proto([N("Add", ["x", "w"], ["y"], "add")], {"x": [4]}, {"y": [4]})
    weight = onnx_model.graph.initializer.add(name="w", data_type=kind, dims=[2**62] * 30, data_location=1)
    weight.external_data.add(key="location", value="m.data")
    path = tmp_path / "m.onnx"
    path.write_bytes(onnx_model.SerializeToString())
    (tmp_path / "m.data").write_bytes(b"1234")
    with pytest.raises(ModelError, match=message) as caught:
        load_model(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("axes", [2, 4, 20])
def test_shapes_that_no_number_of_a_machine_counts_are_told_all_the_same(axes):
    # Products beyond 64 bits, and beyond a float.
    weights = [numpy_helper.from_array(np.ones((2, 2), np.float32), "w")]
    nodes = [N("Relu", ["x"], ["c"], "relu"), N("MatMul", ["c", "w"], ["y"], "product")]
    model = from_proto(proto(nodes, {"x": [2**62] * axes + [2]}, {"y": None}, weights))
    text = summary(model).text()
    assert "MACs" in text
    assert summary(model).to_json()
    assert nodes_of(model).loc["product", "macs"] is pd.NA
    assert tensors(model).loc["c", "elements"] is pd.NA
    assert tensors(model).loc["w", "elements"] == 4
    with pytest.raises(BackendError, match="input_mib"):
        random_inputs(model)
