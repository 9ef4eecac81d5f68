"""What a file states of tensors is dropped or stated anew where an edit made it untrue."""

from __future__ import annotations

from onnx import TensorProto, helper

from tests.kit.models import model, proto
from workbench.graph.edits.restate import forgotten, restated
from workbench.graph.load import from_proto

node = helper.make_node


def stated(network):
    return {
        str(value.name): None if value.shape is None else tuple(value.shape.numpy())
        for one in network.nodes.values()
        for value in one.outputs
    }


def test_what_is_said_of_tensors_inside_is_forgotten_where_onnx_can_infer_it():
    nodes = [
        node("Relu", ["x"], ["a"], "a"),
        node("Own", ["a"], ["b"], "b", domain="own"),
        node("Neg", ["b"], ["y"], "y"),
    ]
    onnx_model = proto(nodes, {"x": [2, 3]}, {"y": [2, 3]}, domains=["own"])
    onnx_model.graph.value_info.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 3]) for name in "ab")
    network = from_proto(onnx_model)
    assert stated(network) == {"a": (2, 3), "b": (2, 3), "y": (2, 3)}
    assert stated(forgotten(network)) == {"a": None, "b": (2, 3), "y": (2, 3)}
    assert stated(network) == {"a": (2, 3), "b": (2, 3), "y": (2, 3)}


def test_outputs_become_what_their_nodes_make():
    nodes = [
        node("Transpose", ["x"], ["turned"], "t"),
        node("Cast", ["x"], ["cast"], "c", to=TensorProto.INT32),
        node("Relu", ["x"], ["same"], "r"),
        node("Own", ["x"], ["own"], "o", domain="own"),
        node("Neg", ["x"], ["untyped"], "n"),
    ]
    outputs = {name: [2, 3] for name in ["turned", "cast", "same", "own", "untyped"]}
    onnx_model = proto(nodes, {"x": ["N", 3]}, outputs, domains=["own"])
    onnx_model.graph.output[2].type.tensor_type.shape.dim[0].dim_param = "N"
    onnx_model.graph.output[4].ClearField("type")
    after, changes = restated(from_proto(onnx_model))
    assert [str(tensor) for tensor in after.outputs] == [
        "turned float[3xN]",
        "cast int32[Nx3]",
        "same float[Nx3]",
        "own float[2x3]",
        "untyped float[Nx3]",
    ]
    assert changes == [
        "output turned float[2x3] is float[3xN] now",
        "output cast float[2x3] is int32[Nx3] now",
        "output untyped ?[?] is float[Nx3] now",
    ]


def test_what_is_true_already_is_no_change():
    network = model([node("Relu", ["x"], ["y"], "r")], {"x": [2, 3]}, {"y": [2, 3]})
    after, changes = restated(network)
    assert (changes, [str(tensor) for tensor in after.outputs]) == ([], ["y float[2x3]"])
