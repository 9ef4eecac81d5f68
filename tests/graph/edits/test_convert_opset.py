"""Another operator set: the same numbers, or a refusal that says which node stands in the way."""

from __future__ import annotations

import re

import numpy as np
import onnx
import pytest
from onnx import AttributeProto, TensorProto, helper, numpy_helper

from tests.kit.models import assert_same, constant, model, proto, run, weight
from workbench.errors import EditError
from workbench.graph.edits.convert_opset import ConvertOpset
from workbench.graph.edits.registry import applicable, edit_by_name
from workbench.graph.load import from_proto

IMAGE = [1, 4, 6, 6]


def converted(network, version):
    return edit_by_name("convert_opset", version=version)(network).model


def between_convolutions(node, size, weights, opset):
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], "first"),
        node,
        helper.make_node("Conv", ["r", "w"], ["y"], "last"),
    ]
    return model(nodes, {"x": IMAGE}, {"y": [1, 4, size, size]}, [weight("w", 4, 4, 1, 1), *weights], opset=opset)


@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize("scale", [2.0, 1.7])
@pytest.mark.parametrize(("op", "opset"), [("Upsample", 7), ("Upsample", 9), ("Resize", 10)])
@pytest.mark.parametrize("version", [13, 17, 21])
def test_what_is_resized_is_sampled_where_it_was(op, opset, scale, mode, version):
    scales = [1.0, 1.0, scale, scale]
    stated = {"scales": scales} if opset == 7 else {}
    node = helper.make_node(op, ["c"] if stated else ["c", "s"], ["r"], "resize", mode=mode, **stated)
    weights = [] if stated else [constant("s", scales, "float32")]
    outcome = between_convolutions(node, int(6 * scale), weights, opset)
    after = converted(outcome, version)
    assert_same(outcome, after, atol=1e-6)
    resize = after.nodes["resize"]
    assert (resize.op_type, resize.outputs[0].name) == ("Resize", "r")


def test_a_resize_inside_of_a_branch_is_sampled_where_it_was():
    def branch(mode):
        node = helper.make_node("Upsample", ["x", "s"], [mode], f"up/{mode}", mode=mode)
        return helper.make_graph([node], mode, [], [helper.make_tensor_value_info(mode, TensorProto.FLOAT, None)])

    node = helper.make_node("If", ["c"], ["y"], "if", then_branch=branch("linear"), else_branch=branch("nearest"))
    inputs = {"x": IMAGE, "c": (TensorProto.BOOL, [])}
    network = model([node], inputs, {"y": [1, 4, 10, 10]}, [constant("s", [1, 1, 1.7, 1.7], "float32")], opset=9)
    after = converted(network, 17)
    assert {"if/then/up/linear", "if/else/up/nearest"} <= set(after.nodes)
    x = np.random.default_rng(0).normal(size=IMAGE).astype(np.float32)
    for way in (True, False):
        feeds = {"x": x, "c": np.array(way)}
        np.testing.assert_allclose(run(after, feeds)[0], run(network, feeds)[0], atol=1e-6)


@pytest.mark.parametrize("stated", [{}, {"axis": 2}, {"axis": 3}, {"axis": -1}])
@pytest.mark.parametrize("op", ["Hardmax", "Softmax", "LogSoftmax"])
def test_an_axis_that_meant_all_from_it_on_still_does(op, stated):
    network = model([helper.make_node(op, ["x"], ["y"], "it", **stated)], {"x": IMAGE}, {"y": IMAGE}, opset=11)
    after = converted(network, 17)
    assert_same(network, after, atol=1e-6)


def test_scale_and_bias_of_groups_become_those_of_channels():
    node = helper.make_node("GroupNormalization", ["x", "scale", "bias"], ["y"], "norm", num_groups=2)
    network = model([node], {"x": IMAGE}, {"y": IMAGE}, [weight("scale", 2), weight("bias", 2)], opset=18)
    after = converted(network, 21)
    assert_same(network, after, atol=1e-5)
    assert [after.tensor(v.name).shape for v in after.nodes["norm"].inputs[1:]] == [(4,), (4,)]
    fed = model([node], {"x": IMAGE, "scale": [2], "bias": [2]}, {"y": IMAGE}, opset=18)
    with pytest.raises(EditError, match="norm: its scale and bias are one a group and no constants"):
        converted(fed, 21)


def test_a_scan_over_a_batch_is_refused():
    one = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in ("s", "n", "t", "o")]
    nodes = [helper.make_node("Add", ["s", "n"], ["t"]), helper.make_node("Identity", ["t"], ["o"])]
    body = helper.make_graph(nodes, "body", one[:2], one[2:])
    scan = helper.make_node("Scan", ["", "start", "x"], ["y", "z"], "scan", num_scan_inputs=1, body=body)
    network = model([scan], {"start": [1, 2], "x": [1, 3, 2]}, {"y": [1, 2], "z": [1, 3, 2]}, opset=8)
    with pytest.raises(EditError, match="scan: a Scan of operator set 8 runs over a batch"):
        converted(network, 9)


REFUSED = {
    "an operator that ONNX never had": (
        helper.make_node("RequantShift", ["x", "k"], ["y"], "it"),
        10,
        13,
        "no operator set of ONNX has RequantShift",
    ),
    "came later": (helper.make_node("CumProd", ["x", "k"], ["y"], "it"), 26, 24, "has no CumProd, it came with 26"),
    "no step": (helper.make_node("Hardmax", ["x"], ["y"], "it"), 13, 11, "Hardmax: ONNX has no way from its version"),
    "attribute": (
        helper.make_node("Resize", ["x", "", "s"], ["y"], "it", mode="linear", antialias=1),
        18,
        17,
        "Resize: Resize antialias",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_refusal_names_the_node_and_no_source_of_a_library(name):
    node, opset, version, message = REFUSED[name]
    weights = [constant("k", 1), constant("s", [1, 1, 0.5, 0.5], "float32")]
    before = helper.make_node("Elu", ["x0"], ["x"], "before")
    network = model([before, node], {"x0": IMAGE}, {"y": None}, weights, opset=opset)
    with pytest.raises(EditError) as refused:
        converted(network, version)
    assert refused.value.where == "it"
    assert message in refused.value.what
    assert not re.search(r"\.(cc|cpp|h)\b|[Aa]ssert|\w::\w", str(refused.value))
    assert refused.value.fix


def test_an_early_ir_version_rises_with_weights_that_are_no_inputs():
    nodes = [
        helper.make_node("Constant", [], ["k"], "k", value=constant("k", [4, 2])),
        helper.make_node("Reshape", ["x", "k"], ["y"], "reshape"),
    ]
    network = model(nodes, {"x": [8]}, {"y": [4, 2]}, opset=7, ir_version=3)
    folded = edit_by_name("fold_constants")(network).model
    assert folded.ir_model.ir_version == 4
    assert_same(network, folded)
    assert_same(network, converted(folded, 8))


MAPPED = helper.make_map_type_proto(TensorProto.STRING, helper.make_tensor_type_proto(TensorProto.FLOAT, None))


def with_map(*, typed):
    node = helper.make_node("DictVectorizer", ["m"], ["d"], "vector", domain="ai.onnx.ml", string_vocabulary=["a", "b"])
    onnx_model = proto([node, helper.make_node("Relu", ["d"], ["y"], "relu")], {"m": [1]}, {"y": [1, 2]}, opset=12)
    onnx_model.opset_import.append(helper.make_opsetid("ai.onnx.ml", 1))
    onnx_model.graph.input[0].type.CopyFrom(MAPPED) if typed else onnx_model.graph.input[0].ClearField("type")
    return from_proto(onnx_model)


def test_maps_keep_their_type():
    newer = ConvertOpset(version=17)(with_map(typed=True)).model
    assert newer.proto.graph.input[0].type == MAPPED
    assert newer.opset == 17


def test_what_crashes_in_onnxs_native_code_is_one_line_and_no_dead_process():
    model = with_map(typed=False)
    assert model.tensor("y").shape == (1, 2)  # inference crashed, too, and what the file says is left
    with pytest.raises(EditError, match=r"ONNX's converter crashed in native code \(SIGSEGV\)") as error:
        ConvertOpset(version=17)(model)
    assert "\n" not in str(error.value)
    nodes = [
        helper.make_node("Tokens", ["x"], ["t"], "tokens", domain="own"),
        helper.make_node("RegexFullMatch", ["t"], ["y"], "match", pattern="a+"),
    ]
    stated = {"y": (TensorProto.BOOL, [4])}
    network = from_proto(proto(nodes, {"x": (TensorProto.STRING, [4])}, stated, opset=20, domains=["own"]))
    assert network.tensor("y").dtype == "BOOL"
    assert applicable(network, []) is not None


def with_function(op, name, value, kind, *, opset=11):
    node = helper.make_node(op, ["a"], ["b"], "inner")
    node.attribute.append(AttributeProto(name=name, type=kind, ref_attr_name="given"))
    opsets = [helper.make_opsetid("", opset)]
    function = helper.make_function("own", "Does", ["a"], ["b"], [node], opsets, attributes=["given"])
    call = helper.make_node("Does", ["x"], ["y"], "call", domain="own", given=value)
    return model([call], {"x": [2, 3, 4]}, {"y": None}, opset=opset, domains=["own"], functions=[function])


def test_what_a_call_gives_a_function_is_given_after_a_conversion():
    outcome = with_function("LeakyRelu", "alpha", 0.3, AttributeProto.FLOAT, opset=13)
    assert_same(outcome, converted(outcome, 21))


@pytest.mark.parametrize(
    ("op", "name", "value", "kind"),
    [("Softmax", "axis", 1, AttributeProto.INT), ("ReduceSum", "axes", [1], AttributeProto.INTS)],
)
def test_what_a_call_gives_and_the_newer_operator_takes_otherwise_is_refused(op, name, value, kind):
    with pytest.raises(EditError, match=f"says an attribute of {op} otherwise, which is given by each call of 'Does'"):
        converted(with_function(op, name, value, kind), 13)


def _broadcast(op, along, shape, sizes, **stated):
    """A model of operator set 6 behind a convolution, its weight, and what it computes by hand."""
    batch = [2 if isinstance(length, str) else length for length in shape]
    nodes = [
        helper.make_node("Conv", ["x", "k"], ["c"], "conv"),
        helper.make_node(op, ["c", "w"], ["y"], "it", **stated),
    ]
    kernel, second = weight("k", 3, 3, 1, 1), weight("w", *sizes)
    network = model(nodes, {"x": shape}, {"y": shape}, [kernel, second], opset=6)
    x = np.random.default_rng(0).normal(size=batch).astype(np.float32)
    c = np.einsum("nchw,oc->nohw", x, numpy_helper.to_array(kernel)[:, :, 0, 0])
    w = numpy_helper.to_array(second).reshape(along)
    return network, x, np.where(c < 0, c * w, c) if op == "PRelu" else {"Add": c + w, "Mul": c * w, "Sub": c - w}[op]


@pytest.mark.parametrize("version", [7, 13, 21])
@pytest.mark.parametrize(
    ("op", "shape", "sizes", "along", "stated"),
    [
        ("Add", ["N", 3, 4, 4], [3], (3, 1, 1), {"axis": 1}),
        ("Add", [3, 3, 4, 4], [3], (3, 1, 1), {"axis": 1}),  # as long as the batch, which ONNX's converter takes
        ("Sub", [2, 3, 4, 4], [3, 4], (3, 4, 1), {"axis": 1}),
        ("Mul", [2, 3, 4, 4], [2], (2, 1, 1, 1), {"axis": 0}),
        ("Mul", [2, 3, 4, 5], [4, 5], (4, 5), {}),
        ("Add", [2, 3, 4, 4], [], (), {"axis": 1}),
        ("PRelu", [2, 3, 4, 3], [3], (3, 1, 1), None),  # as long as a row is wide
        ("PRelu", ["N", 3, 4, 4], [1], (1,), None),
    ],
)
def test_what_was_broadcast_along_an_axis_still_is(op, shape, sizes, along, stated, version):
    stated = {} if stated is None else {"broadcast": 1} | stated
    network, x, expected = _broadcast(op, along, shape, sizes, **stated)
    after = converted(network, version)
    onnx.checker.check_model(after.proto, full_check=True)
    np.testing.assert_allclose(run(after, {"x": x})[0], expected, rtol=1e-5, atol=1e-5)
    assert after.nodes["it"].op_type == op


def test_what_broadcasts_over_an_unknown_number_of_axes_is_refused():
    nodes = [helper.make_node("Reshape", ["x", "s"], ["r"]), helper.make_node("Add", ["r", "b"], ["y"], "it", axis=1)]
    network = model(nodes, {"x": [6], "s": (TensorProto.INT64, ["n"])}, {"y": [2, 3]}, [weight("b", 3)], opset=6)
    with pytest.raises(EditError, match="it: it broadcasts along an axis, and how many axes"):
        converted(network, 13)


def relu(opset=13, ir_version=8):
    nodes = [helper.make_node("Relu", ["x"], ["y"], "r")]
    return model(nodes, {"x": [3]}, {"y": [3]}, opset=opset, ir_version=ir_version)


def test_there_are_the_operator_sets_that_onnx_has():
    newest = onnx.defs.onnx_opset_version()
    for version in (-1, 0, newest + 1):
        with pytest.raises(EditError) as refused:
            converted(relu(), version)
        assert str(refused.value) == f"g: there is no operator set {version}. 1 to {newest} exist."
    assert converted(relu(), newest).opset == newest
    first = relu(opset=1)
    assert converted(first, 1) is first
    assert edit_by_name("convert_opset", version=14)(relu()).notes == ("operator set 13 -> 14",)


def test_where_no_set_is_imported_there_is_none_to_convert_from():
    stated = proto(
        [helper.make_node("Own", ["x"], ["y"], "own", domain="own")], {"x": [3]}, {"y": [3]}, domains=["own"]
    )
    del stated.opset_import[0]
    result = edit_by_name("convert_opset", version=17)(from_proto(stated))
    assert result.notes == ("operator set 17 is imported; nothing is of it yet",)
    assert dict(result.model.ir_model.opset_imports) == {"own": 1, "": 17}


@pytest.mark.parametrize(("stated", "version", "expected"), [(4, 9, 4), (4, 10, 5), (8, 21, 10), (10, 14, 10)])
def test_the_ir_version_rises_where_the_set_needs_it(stated, version, expected):
    assert converted(relu(8, stated), version).ir_model.ir_version == expected


def test_large_weights_are_not_touched_and_what_is_said_of_nodes_stays():
    sizes = {"small": 1024, "large": 1025}
    nodes = [helper.make_node("Add", ["x", name], [f"{name}/y"], name, doc_string=name) for name in sizes]
    weights = [weight(name, size) for name, size in sizes.items()]
    stated = proto(nodes, {"x": [1]}, {f"{name}/y": None for name in sizes}, weights, opset=13)
    stated.graph.node[1].metadata_props.add(key="from", value="torch")
    stated.graph.metadata_props.add(key="of", value="all")
    before = from_proto(stated)
    after = converted(before, 14)
    content = [one.initializers["large"].const_value for one in (before, after)]
    assert content[0] is content[1]
    assert (after.nodes["small"].doc_string, after.nodes["large"].doc_string) == ("small", "large")
    assert after.nodes["large"].metadata_props == {"from": "torch"}
    assert after.ir_model.graph.metadata_props == {"of": "all"}
    assert [tensor.name for tensor in after.inputs] == ["x"]
    assert_same(before, after)


def test_a_small_weight_in_a_file_beside_is_not_read(tmp_path):
    from workbench.graph.load import load_model

    stated = proto([helper.make_node("Add", ["x", "w"], ["y"], "add")], {"x": [5]}, {"y": [5]}, [weight("w", 5)])
    beside = {"save_as_external_data": True, "location": "w.bin", "size_threshold": 0}
    onnx.save(stated, tmp_path / "m.onnx", **beside)
    before = load_model(tmp_path / "m.onnx")
    after = converted(before, 18)
    assert after.initializers["w"].const_value is before.initializers["w"].const_value


@pytest.mark.parametrize(
    ("inputs", "outputs", "refused"),
    [("xz", "pq", False), ("zx", "pq", False), ("xz", "qp", True), ("xw", "pq", True), ("xz", "pr", True)],
)
def test_inputs_and_outputs_have_to_be_what_they_were(inputs, outputs, refused):
    def made(fed, given):
        nodes = [helper.make_node("Add", [*fed], [name], name) for name in given]
        return model(nodes, {name: [3] for name in fed}, {name: [3] for name in given})

    edit = ConvertOpset(version=18)
    if not refused:
        edit.ensures(made("xz", "pq"), made(inputs, outputs))
        return
    with pytest.raises(EditError, match="g: the conversion changed the model's inputs or outputs"):
        edit.ensures(made("xz", "pq"), made(inputs, outputs))
