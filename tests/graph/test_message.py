"""What a file may say and `onnx_ir` cannot hold: mended on the way in, put back on the way out."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.kit.models import proto, weight
from workbench.errors import ModelError
from workbench.graph import message
from workbench.graph.load import from_proto
from workbench.graph.message import attribute_message, described, readable, restored, to_message, written
from workbench.graph.quirk import Quirk

node = helper.make_node
FLOAT = helper.make_tensor_type_proto(TensorProto.FLOAT, [2])
MAP = helper.make_map_type_proto(TensorProto.INT64, FLOAT)
SPARSE = helper.make_sparse_tensor_type_proto(TensorProto.FLOAT, [2])


def opaque():
    kind = onnx.TypeProto()
    kind.opaque_type.name = "thing"
    return kind


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (FLOAT, "FLOAT"),
        (SPARSE, "sparse FLOAT"),
        (MAP, "map of INT64 to FLOAT"),
        (helper.make_sequence_type_proto(MAP), "sequence of map of INT64 to FLOAT"),
        (helper.make_optional_type_proto(MAP), "optional map of INT64 to FLOAT"),
        (helper.make_sequence_type_proto(onnx.TypeProto()), "sequence of ?"),
        (helper.make_optional_type_proto(onnx.TypeProto()), "optional ?"),
        (helper.make_map_type_proto(TensorProto.STRING, onnx.TypeProto()), "map of STRING to ?"),
        (opaque(), "value of an opaque type"),
        (onnx.TypeProto(), ""),
        (helper.make_tensor_type_proto(999, [2]), "?"),
    ],
)
def test_a_type_in_words(kind, words):
    assert described(kind) == words


def stated(**kinds):
    """A model that says of some inner tensors of what type they are."""
    made = proto([node("Relu", ["x"], ["y"], "r")], {"x": [2]}, {"y": [2]})
    for name, kind in kinds.items():
        made.graph.value_info.append(helper.make_value_info(name, kind))
    return made


def test_what_says_nothing_odd_is_returned_as_it_is():
    plain = stated(a=FLOAT, b=SPARSE, c=helper.make_sequence_type_proto(helper.make_optional_type_proto(FLOAT)))
    plain.graph.value_info.append(onnx.ValueInfoProto(name="d"))
    for nested in (True, False):
        assert readable(plain, "m", nested=nested) == (plain, ())
        assert readable(plain, "m", nested=nested)[0] is plain


@pytest.mark.parametrize("nested", [True, False])
def test_maps_wait_in_the_metadata_of_their_tensors(nested):
    odd = stated(a=FLOAT, b=helper.make_sequence_type_proto(MAP), c=opaque())
    odd.graph.value_info[1].metadata_props.add(key="own", value="kept")
    before = odd.SerializeToString()
    copy, quirks = readable(odd, "m", nested=nested)
    assert odd.SerializeToString() == before
    kind = "sequence of map of INT64 to FLOAT"
    text = f"'b' is a {kind}, which TensorRT does not have; cut the model before the node that makes it"
    assert quirks == (Quirk("not-a-tensor", "b", text),)
    assert [value.HasField("type") for value in copy.graph.value_info] == [True, False, False]
    assert [[entry.key for entry in value.metadata_props] for value in copy.graph.value_info] == [
        [],
        ["own", "workbench.type"],
        ["workbench.type"],
    ]
    assert restored(copy, nested=nested) == odd


def test_maps_inside_of_a_branch_are_put_back_too():
    inner = helper.make_graph([node("Own", ["x"], ["z"])], "b", [], [helper.make_value_info("z", MAP)])
    odd = proto([node("If", ["c"], ["y"], "if", then_branch=inner, else_branch=inner)], {"x": [2]}, {"y": [2]})
    copy, quirks = readable(odd, "m")
    assert [quirk.where for quirk in quirks] == ["z"]
    assert copy != odd
    assert restored(copy) == odd


def test_axes_of_negative_length_are_counted():
    def quirks(*shapes):
        kinds = {f"t{at}": helper.make_tensor_type_proto(TensorProto.FLOAT, shape) for at, shape in enumerate(shapes)}
        copy, told = readable(stated(**kinds), "m")
        read = [
            [dim.dim_value if dim.HasField("dim_value") else None for dim in value.type.tensor_type.shape.dim]
            for value in copy.graph.value_info
        ]
        return read, [(quirk.where, quirk.text) for quirk in told]

    assert quirks([0, 3]) == ([[0, 3]], [])
    one = "tensor 't0' has an axis of negative length; it is read as one of unknown length"
    assert quirks([-1, 3], [5, 0]) == ([[None, 3], [5, 0]], [("t0", one)])
    two = "tensor 't1' has an axis of negative length, and 2 tensors more; it is read as one of unknown length"
    assert quirks([3], [-1], [-2, -2], [-5, 7]) == ([[3], [None], [None, None], [None, 7]], [("t1", two)])


@pytest.mark.parametrize("holder", ["then_branch", "parts", "function"])
def test_what_is_odd_is_found_at_any_depth(holder):
    """A negative axis, a spelled domain and devices that are none, in a graph inside of a graph inside of a node."""
    odd = node("Neg", ["x"], ["z"], "odd", domain="ai.onnx")
    odd.device_configurations.add(configuration_id="pair")
    inner = helper.make_graph([odd], "b", [], [helper.make_tensor_value_info("z", 1, [-1])])
    outer = helper.make_graph(
        [node("Own", ["x"], ["w"], "in", parts=[inner])], "b", [], [helper.make_tensor_value_info("w", 1, [2])]
    )
    functions = []
    if holder == "function":
        opsets = [helper.make_opsetid("", 17)]
        stated = [helper.make_tensor_value_info("z", 1, [-1])]
        functions = [helper.make_function("own", "F", ["x"], ["z"], [odd], opsets, value_info=stated)]
        made = proto([node("F", ["x"], ["y"], domain="own")], {"x": [2]}, {"y": [2]}, functions=functions)
    else:
        held = {holder: outer if holder == "then_branch" else [outer]}
        made = proto([node("Own", ["x"], ["y"], "out", **held)], {"x": [2]}, {"y": [2]})
    copy, quirks = readable(made, "m")
    assert [(quirk.kind, quirk.where) for quirk in quirks] == [("negative-axis", "z"), ("devices", "odd")]
    text = str(copy)
    assert ("ai.onnx" in text, "configuration_id" in text, "dim_value: -1" in text) == (False, False, False)
    # Where nobody says that there is something inside of attributes nobody looks there.
    plain, told = readable(made, "m", nested=False)
    assert (plain is made, told) == (holder != "function", () if holder != "function" else quirks)


def devices(ir_version, *names, nested=False):
    nodes = [node("Relu", ["x"], ["y"], "r")]
    if nested:
        body = helper.make_graph([node("Neg", ["x"], ["z"])], "b", [], [helper.make_tensor_value_info("z", 1, [2])])
        nodes = [node("If", ["c"], ["y"], "if", then_branch=body, else_branch=body)]
    made = proto(nodes, {"x": [2]}, {"y": [2]}, ir_version=ir_version)
    target = made.graph.node[0].attribute[0].g.node[0] if nested else made.graph.node[0]
    for name in names:
        target.device_configurations.add(configuration_id=name)
    return [(quirk.kind, quirk.where, quirk.text) for quirk in readable(made, "m", nested=nested)[1]]


def test_devices_are_said_from_their_ir_version_on_and_by_their_name():
    text = "on which devices 1 nodes run is not said in a way that ONNX knows; it is left out"
    assert devices(10) == devices(11, "a") == devices(11, "a", "b") == devices(12, "a") == []
    assert devices(10, "a") == devices(11, "") == devices(11, "a", "") == [("devices", "r", text)]
    assert devices(10, "a", nested=True) == [("devices", "Neg", text)]


def test_how_to_train_is_left_out():
    text = "the file also says how to train it (training_info); that is left out, inference is all that is kept"
    taught = stated()
    taught.training_info.add()
    assert readable(taught, "m") == (taught, (Quirk("training-info", "g", text),))
    taught.graph.name = ""
    assert readable(taught, "m")[1] == (Quirk("training-info", "model", text),)


def test_two_spellings_of_the_default_domain_agree():
    spelled = stated()
    spelled.opset_import.add(domain="ai.onnx", version=17)
    spelled.opset_import.add(domain="own", version=3)
    spelled.graph.node[0].domain = "ai.onnx"
    for nested in (True, False):
        copy, quirks = readable(spelled, "m", nested=nested)
        assert quirks == ()
        assert [(entry.domain, entry.version) for entry in copy.opset_import] == [("", 17), ("own", 3)]
        assert copy.graph.node[0].domain == ""
    assert spelled.graph.node[0].domain == "ai.onnx"


def sparse(values, indices, dims, *, dtype=np.float32):
    made = proto([node("Add", ["x", "s"], ["y"], "add")], {"x": [2]}, {"y": None})
    stored = made.graph.sparse_initializer.add(dims=dims)
    stored.values.CopyFrom(numpy_helper.from_array(np.array(values, dtype), "s"))
    stored.indices.CopyFrom(numpy_helper.from_array(np.array(indices, np.int64), "i"))
    stored.values.doc_string = "a few"
    stored.values.metadata_props.add(key="k", value="v")
    return made


@pytest.mark.parametrize("nested", [True, False])
@pytest.mark.parametrize(
    ("values", "indices", "dims", "dense"),
    [
        ([3, 5], [1, 4], [2, 3], [[0, 3, 0], [0, 5, 0]]),
        ([3, 5], [[0, 2], [1, 0]], [2, 3], [[0, 0, 3], [5, 0, 0]]),
        ([3], [[1, 0, 2]], [2, 1, 3], [[[0, 0, 0]], [[0, 0, 3]]]),
        ([3], [2], [4], [0, 0, 3, 0]),
        ([], [], [2], [0, 0]),
    ],
)
def test_a_sparse_weight_is_stored_dense_with_all_that_is_said_of_it(values, indices, dims, dense, nested):
    copy, quirks = readable(sparse(values, indices, dims), "m", nested=nested)
    (tensor,) = copy.graph.initializer
    np.testing.assert_array_equal(numpy_helper.to_array(tensor), np.array(dense, np.float32))
    assert (tensor.name, tensor.doc_string, [entry.value for entry in tensor.metadata_props]) == ("s", "a few", ["v"])
    assert not copy.graph.sparse_initializer
    text = "1 weights were stored as sparse tensors; they are dense here, as TensorRT wants them"
    assert quirks == (Quirk("sparse-weights", "s", text),)


@pytest.mark.parametrize("damage", [{"indices": 3}, {"values": 999}, {"length": 3}])
def test_a_sparse_weight_that_cannot_be_read_is_told(damage):
    made = sparse([3, 5], [1, 4], [2, 3])
    (stored,) = made.graph.sparse_initializer
    if "indices" in damage:
        stored.indices.CopyFrom(numpy_helper.from_array(np.int64(3), "i"))
    elif "values" in damage:
        stored.values.data_type = 999
    else:
        stored.values.raw_data = b"123"
    with pytest.raises(ModelError, match=r"m: the sparse weight 's' cannot be read: .*\. Store it dense\."):
        readable(made, "m")


def test_so_many_bytes_are_made_dense_and_no_more(monkeypatch):
    monkeypatch.setattr(message, "LARGEST_DENSE", 24)
    assert readable(sparse([1], [0], [2, 3]), "m")[0].graph.initializer[0].dims == [2, 3]
    assert readable(sparse([1], [0], [3], dtype=np.float64), "m")[0].graph.initializer
    for made in (sparse([1], [0], [7]), sparse([1], [0], [4], dtype=np.float64), sparse([1], [0], [-1])):
        with pytest.raises(ModelError, match=r"m: the sparse weight 's' cannot be read: it would have the shape \("):
            readable(made, "m")


def test_that_is_a_quarter_of_a_gibibyte():
    assert message.LARGEST_DENSE == 256 * 1024 * 1024


@pytest.mark.parametrize("op", ["Constant", "Own"])
def test_a_sparse_attribute_of_a_constant_alone_is_read(op):
    table = sparse([3, 5], [1, 4], [2, 3]).graph.sparse_initializer[0]
    name = "sparse_value" if op == "Constant" else "table"
    made = proto([node(op, [], ["k"], "k", **{name: table}), node("Relu", ["k"], ["y"], "r")], {}, {"y": [2, 3]})
    if op == "Own":
        with pytest.raises(ModelError, match="attribute 'table' of node 'k' is a sparse tensor"):
            readable(made, "m")
        return
    copy, quirks = readable(made, "m")
    (attribute,) = copy.graph.node[0].attribute
    assert (attribute.name, attribute.t.name) == ("value", "k")
    np.testing.assert_array_equal(numpy_helper.to_array(attribute.t), [[0, 3, 0], [0, 5, 0]])
    assert [(quirk.kind, quirk.where) for quirk in quirks] == [("sparse-weights", "k")]


def test_several_sparse_tensors_of_one_attribute_are_refused():
    table = sparse([3, 5], [1, 4], [2, 3]).graph.sparse_initializer[0]
    made = proto([node("Constant", [], ["k"], sparse_values=[table])], {}, {"k": [2, 3]})
    with pytest.raises(ModelError, match="attribute 'sparse_values' of node 'k' is a sparse tensor"):
        readable(made, "m")


def test_what_cannot_be_written_is_told_by_its_deepest_cause():
    error = ir.serde.SerdeError("shallow")
    error.__cause__ = KeyError("in between")
    error.__cause__.__context__ = ValueError("  deep\nand more")
    with pytest.raises(ModelError) as caught, written("m"):
        raise error
    assert str(caught.value) == "m: a part of it cannot be written: deep. Repair the model that it came from."
    with pytest.raises(KeyError), written("m"):
        raise KeyError("x")


def test_an_attribute_is_written_with_what_it_refers_to():
    given = ir.RefAttr("alpha", "slope", ir.AttributeType.FLOAT)
    expected = onnx.AttributeProto(name="alpha", type=onnx.AttributeProto.FLOAT, ref_attr_name="slope")
    assert attribute_message(given) == expected
    assert attribute_message(ir.AttrInt64("axis", 3)) == helper.make_attribute("axis", 3)


def test_metadata_is_written_once_and_results_that_nobody_reads_are_named():
    body = [node("Split", ["a"], ["b", "c", "d"], "split", num_outputs=3)]
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("own", 1)]
    function = helper.make_function("own", "F", ["a"], ["b", "c", "d"], body, opsets)
    held = weight("k", 3)
    held.metadata_props.add(key="from", value="here")
    kept = weight("w", 3)
    kept.metadata_props.add(key="p", value="1")
    kept.metadata_props.add(key="q", value="2")
    nodes = [
        node("Constant", [], ["k"], "k", value=held),
        node("Sum", ["x", "k", "w"], ["s"], "sum"),
        node("F", ["s"], ["y"], "call", domain="own"),
    ]
    stated = proto(
        nodes, {"x": [3]}, {"y": [1]}, [kept], opset=18, domains=["own"], functions=[function], ir_version=10
    )
    made = to_message(from_proto(stated).ir_model)
    assert [(entry.key, entry.value) for entry in made.graph.initializer[0].metadata_props] == [("p", "1"), ("q", "2")]
    assert [entry.key for entry in made.graph.node[0].attribute[0].t.metadata_props] == ["from"]
    assert [list(one.output) for one in made.graph.node] == [["k"], ["s"], ["y", "", ""]]
