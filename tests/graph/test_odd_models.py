"""Models that say what few models say: read, looked at, written again with all they say, or named in one line."""

from __future__ import annotations

import json

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.kit.models import constant, proto, run
from tests.kit.odd_models import ODD, every_note, how_to_train, map_as_output, no_inputs, sparse_weight
from workbench.errors import ModelError
from workbench.graph.edits.registry import edit_by_name
from workbench.graph.inspection import tables
from workbench.graph.inspection.difference import diff
from workbench.graph.inspection.inspect import summary
from workbench.graph.load import from_proto, load_model
from workbench.graph.message import LARGEST_DENSE


def opened(name, folder):
    path = folder / f"{name}.onnx"
    onnx.save(ODD[name](), path)
    return load_model(path)


def session(path) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def feeds(model: ort.InferenceSession) -> dict[str, object]:
    random = np.random.default_rng(3)
    values = {}
    for entry in model.get_inputs():
        shape = [axis if isinstance(axis, int) else 2 for axis in entry.shape]
        if entry.type.startswith("seq"):
            values[entry.name] = [random.normal(size=(2, 4)).astype(np.float32) for _ in range(3)]
        elif entry.type == "tensor(float)":
            values[entry.name] = random.normal(size=shape).astype(np.float32)
        else:
            values[entry.name] = np.ones(shape, bool if entry.type == "tensor(bool)" else np.int64)
    return values


@pytest.mark.parametrize("name", ODD)
def test_it_is_looked_at(name, tmp_path):
    model = opened(name, tmp_path)
    actual = summary(model)
    content = json.loads(actual.to_json(), parse_constant=pytest.fail)
    assert content["nodes"] == len(model.top_nodes)
    assert len(actual.text().splitlines()) > 8
    assert all(quirk.text and "\n" not in quirk.text for quirk in actual.quirks)
    assert list(tables.nodes(model).index) == list(model.nodes)
    assert len(tables.tensors(model)) == len(model.tensors)
    assert list(tables.initializers(model, values=True).index) == list(model.initializers)
    assert not diff(model, model).changes


@pytest.mark.parametrize("external", [False, True])
@pytest.mark.parametrize("name", ODD)
def test_what_is_written_is_what_was_read(name, external, tmp_path):
    model = opened(name, tmp_path)
    model.save(tmp_path / "again.onnx", external=external)
    again = load_model(tmp_path / "again.onnx")
    assert again.digest == model.digest
    assert {quirk.kind for quirk in again.quirks} <= {"custom-op", "not-a-tensor", "repeated-value-info"}
    assert again.to_bytes() == model.to_bytes()


@pytest.mark.parametrize("name", [name for name in ODD if name != "without_content"])
def test_it_computes_what_it_did(name, tmp_path):
    model = opened(name, tmp_path)
    model.save(tmp_path / "again.onnx")
    before, after = session(tmp_path / f"{name}.onnx"), session(tmp_path / "again.onnx")
    batches = feeds(before)
    for one, other in zip(before.run(None, batches), after.run(None, batches), strict=True):
        if isinstance(one, np.ndarray):
            np.testing.assert_array_equal(one, other)
        else:
            assert str(one) == str(other)


def test_every_note_is_kept_once():
    outcome, model = every_note(), from_proto(every_note())
    written = model.proto
    for field in ("doc_string", "domain", "model_version", "producer_name", "producer_version", "metadata_props"):
        assert getattr(written, field) == getattr(outcome, field)
    for field in ("doc_string", "metadata_props", "node", "input", "output", "initializer", "quantization_annotation"):
        assert getattr(written.graph, field) == getattr(outcome.graph, field)
    assert outcome.graph.value_info[0] in written.graph.value_info
    device = from_proto(ODD["several_devices"]()).proto
    assert device.configuration == ODD["several_devices"]().configuration
    assert device.graph.node[0].device_configurations == ODD["several_devices"]().graph.node[0].device_configurations


def test_what_is_left_out_is_named():
    (quirk,) = from_proto(how_to_train()).quirks
    assert quirk.kind == "training-info"
    assert "left out" in quirk.text
    (quirk,) = from_proto(ODD["negative_axes"]()).quirks
    assert (quirk.kind, quirk.where) == ("negative-axis", "x")
    assert "2 tensors more" in quirk.text
    (quirk,) = from_proto(ODD["old_version_with_constants"]()).quirks
    assert quirk.kind == "old-ir"


def test_a_message_is_not_changed():
    for name in ODD:
        outcome = ODD[name]()
        before = outcome.SerializeToString(deterministic=True)
        _ = from_proto(outcome).proto
        assert outcome.SerializeToString(deterministic=True) == before


def test_values_that_are_no_tensors_say_what_they_are(tmp_path):
    model = from_proto(map_as_output())
    assert str(model.outputs[1]) == "z sequence of map of INT64 to FLOAT"
    assert model.outputs[1].shape is model.outputs[1].dtype is None
    (quirk,) = [quirk for quirk in model.quirks if quirk.kind == "not-a-tensor"]
    assert "'z' is a sequence of map of INT64 to FLOAT" in quirk.text
    assert str(from_proto(ODD["sequence_as_output"]()).outputs[0]) == "s sequence of FLOAT"
    text = summary(opened("sequence_as_input", tmp_path)).text()
    assert "input       s sequence of FLOAT" in text
    assert "samples are tensors" in text


def test_axes_of_negative_length_have_no_known_length():
    model = from_proto(ODD["negative_axes"]())
    assert model.tensors["x"].shape == (None, 4)
    assert model.tensors["t"].static_shape is None
    assert model.tensors["t"].shape[1] == 4


def test_constants_of_old_models_can_be_folded():
    folded = edit_by_name("fold_constants")(from_proto(ODD["old_version_with_constants"]()))
    assert folded.changed
    assert list(folded.model.initializers) == ["k"]


def test_sparse_weights_are_dense():
    np.testing.assert_array_equal(
        from_proto(sparse_weight()).initializers["s"].const_value.numpy(), [[1, 0, 0, 0], [0, 2, 0, 0]]
    )
    (node, _) = from_proto(ODD["sparse_constant"]()).nodes.values()
    np.testing.assert_array_equal(node.attributes["value"].as_tensor().numpy(), [1, 0, 0, 2, 0, 0, 0, 0])


def sparse(values, indices, dims) -> onnx.ModelProto:
    outcome = sparse_weight()
    stored = outcome.graph.sparse_initializer[0]
    stored.values.CopyFrom(numpy_helper.from_array(np.array(values, np.float32), "s"))
    stored.indices.CopyFrom(numpy_helper.from_array(np.array(indices, np.int64), "i"))
    stored.dims[:] = dims
    return outcome


@pytest.mark.parametrize(
    ("values", "indices", "dims"),
    [
        ([1.0], [8], [2, 4]),
        ([1.0], [-1], [2, 4]),
        ([1.0], [[0, 4]], [2, 4]),
        ([1.0], [[0, -1]], [2, 4]),
        ([1.0], [[0, 0, 0]], [2, 4]),
        ([1.0, 2.0], [0, 1, 2], [2, 4]),
        ([1.0], [0], [2, -4]),
        ([1.0], [0], [LARGEST_DENSE]),
    ],
)
def test_a_sparse_weight_that_contradicts_itself_or_would_be_huge_is_refused(values, indices, dims):
    with pytest.raises(ModelError, match="the sparse weight 's' cannot be read") as caught:
        from_proto(sparse(values, indices, dims))
    assert "\n" not in str(caught.value)


def test_a_sparse_attribute_of_another_operator_is_named():
    onnx_model = proto([helper.make_node("Own", ["x"], ["y"], "own", domain="my.ops")], {"x": [8]}, {"y": [8]})
    onnx_model.graph.node[0].attribute.append(
        helper.make_attribute("table", sparse_weight().graph.sparse_initializer[0])
    )
    with pytest.raises(ModelError, match="attribute 'table' of node 'own' is a sparse tensor"):
        from_proto(onnx_model)


def test_text_counts_for_the_identity_of_a_model():
    def words(*texts):
        tensor = helper.make_tensor("words", TensorProto.STRING, [len(texts)], texts)
        onnx_model = proto(
            [helper.make_node("Gather", ["words", "i"], ["y"], "g")],
            {"i": (TensorProto.INT64, [1])},
            {"y": (TensorProto.STRING, [1])},
            [tensor],
        )
        return from_proto(onnx_model)

    digests = {words(*texts).digest for texts in ([b"ab", b"c"], [b"a", b"bc"], [b"ab", b"d"])}
    assert len(digests) == 3
    assert diff(words(b"a", b"b"), words(b"a", b"c")).changes


def test_text_can_be_stripped_and_restored(tmp_path):
    whole = opened("much_text_as_weight", tmp_path)
    bare = edit_by_name("strip_weights", keep=8)(whole).model
    assert not bare.initializers["words"].const_value.string_data()
    assert "stripped-weights" in {quirk.kind for quirk in summary(bare).quirks}
    back = edit_by_name("restore_weights", source=str(tmp_path / "much_text_as_weight.onnx"))(bare).model
    assert back.digest == whole.digest


def test_a_graph_that_contradicts_itself_says_where():
    onnx_model = proto([helper.make_node("Relu", ["x"], ["x"], "twice")], {"x": [2]}, {"x": [2]})
    with pytest.raises(ModelError, match="Output 'x' is redeclared"):
        from_proto(onnx_model)


def test_weights_alone_are_no_inputs():
    model = from_proto(no_inputs())
    assert model.inputs == ()
    assert summary(model).memory_unknown == ""
    assert constant("k", [1]).data_type == TensorProto.INT64


@pytest.mark.parametrize("spelled", ["import", "nodes", "both", "function"])
def test_the_default_domain_may_be_spelled_out(spelled):
    inner = helper.make_graph(
        [helper.make_node("Neg", ["x"], ["b"], "neg", domain="ai.onnx" if spelled != "import" else "")],
        "branch",
        [],
        [helper.make_tensor_value_info("b", TensorProto.FLOAT, [4])],
    )
    domain = "" if spelled == "import" else "ai.onnx"
    nodes = [
        helper.make_node("If", ["c"], ["i"], "if", then_branch=inner, else_branch=inner, domain=domain),
        helper.make_node("Relu", ["i"], ["y"], "relu", domain=domain),
    ]
    functions = []
    if spelled == "function":
        twice = [helper.make_node("Add", ["a", "a"], ["b"], domain="ai.onnx")]
        functions = [helper.make_function("my", "Twice", ["a"], ["b"], twice, [helper.make_opsetid("ai.onnx", 17)])]
        nodes[1] = helper.make_node("Twice", ["i"], ["y"], "twice", domain="my")
    graph = helper.make_graph(
        nodes,
        "g",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [4]),
            helper.make_tensor_value_info("c", TensorProto.BOOL, []),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [4])],
    )
    opsets = [helper.make_opsetid("" if spelled == "nodes" else "ai.onnx", 17), helper.make_opsetid("my", 1)]
    proto = helper.make_model(graph, opset_imports=opsets[: 1 + bool(functions)], ir_version=8, functions=functions)
    stored = proto.SerializeToString()
    loaded = from_proto(proto)
    assert proto.SerializeToString() == stored
    assert loaded.opset == 17
    assert "ai.onnx" not in str(loaded.proto)
    assert loaded.tensor("y").shape == (4,)
    assert not {quirk.kind for quirk in loaded.quirks} & {"custom-op", "no-opset-import"}
    x = np.array([-2, -1, 1, 2], np.float32)
    expected = -2 * x if spelled == "function" else np.maximum(-x, 0)
    np.testing.assert_array_equal(run(loaded, {"x": x, "c": np.array(True)})[0], expected)
