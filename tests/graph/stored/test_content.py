"""What a file holds, piece by piece, is the message that it would be written as in one."""

from __future__ import annotations

import hashlib

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto as T
from onnx import helper, numpy_helper

from tests.kit.models import model, weight
from workbench.errors import ModelError
from workbench.graph.load import from_proto, load_model
from workbench.graph.message import to_message
from workbench.graph.save import file_bytes, file_digest, save_model
from workbench.graph.stored import content
from workbench.graph.stored.content import file_content, pieces
from workbench.graph.structure import is_external

RANDOM = np.random.default_rng(0)
SHIPPED_KEPT = content.KEPT


@pytest.fixture(autouse=True)
def _nothing_is_kept(monkeypatch):
    monkeypatch.setattr(content, "KEPT", -1)


def described(made):
    """A model whose every message has fields behind those of its weights."""
    graph = made.thaw()
    graph.doc_string, graph.graph.doc_string = "a model", "a graph"
    graph.metadata_props["made"], graph.graph.metadata_props["by"] = "here", "hand"
    for value in graph.graph.initializers.values():
        tensor = value.const_value
        if tensor.dtype != ir.DataType.STRING:
            about = {"name": value.name, "doc_string": f"of {value.name}", "metadata_props": {"kind": "weight"}}
            value.const_value = ir.Tensor(tensor.numpy(), dtype=tensor.dtype, **about)
    return made.replaced(graph)


def kinds():
    """Weights of every way to lie in memory, the lengths of their messages of one, two and three bytes."""
    entries = [numpy_helper.from_array(RANDOM.normal(size=400).astype(kind), kind) for kind in ("f2", "f4", "f8")]
    entries += [numpy_helper.from_array(RANDOM.integers(-9, 9, (1200, 40)).astype("i1"), "i1"), weight("w", 2, 2)]
    entries += [helper.make_tensor("bf16", T.BFLOAT16, [600], RANDOM.bytes(1200), raw=True)]
    entries += [helper.make_tensor("int4", T.INT4, [2401], RANDOM.bytes(1200) + b"\1", raw=True)]
    entries += [helper.make_tensor("text", T.STRING, [200], [b"a longer text"] * 200)]
    return entries


def everything():
    weights = kinds()
    nodes = [helper.make_node("Identity", [one.name], [f"{one.name}_out"], f"n{one.name}") for one in weights]
    outputs = [helper.make_tensor_value_info(f"{one.name}_out", one.data_type, list(one.dims)) for one in weights]
    graph = helper.make_graph(nodes, "g", [], outputs, weights)
    return from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10))


@pytest.mark.parametrize("edit", [lambda made: made, described], ids=["as read", "described"])
def test_pieces_are_the_message(edit, tmp_path):
    made = edit(everything())
    whole = to_message(made.ir_model).SerializeToString(deterministic=True)
    assert file_content(made) == whole
    assert file_digest(made) == hashlib.sha256(whole).hexdigest()
    assert file_bytes(made) == len(whole)
    save_model(made, tmp_path / "m.onnx")
    assert (tmp_path / "m.onnx").read_bytes() == whole


def test_large_weights_are_pieces_of_their_own_and_not_copied():
    made = described(everything())
    apart = [piece for piece in pieces(made) if isinstance(piece, ir.TensorProtocol)]
    assert [one.name for one in apart] == ["f4", "f8", "i1", "bf16", "int4"]
    held = {name: value.const_value for name, value in made.initializers.items()}
    assert all(one is held[one.name] for one in apart)
    for one in apart[:-1]:  # four bits are packed first
        poured = []
        content.pour(one, poured.append)
        (view,) = poured
        assert np.shares_memory(np.frombuffer(view, np.uint8), held[one.name].numpy())


def test_what_lies_in_another_order_is_written_in_onnx_s():
    array = np.asfortranarray(RANDOM.normal(size=(40, 30)).astype("f4"))
    made = model([helper.make_node("Identity", ["w"], ["y"], "n")], {}, {"y": None}, [weight("w", 40, 30)])
    made.initializers["w"].const_value = ir.Tensor(array, name="w")
    assert file_content(made) == to_message(made.ir_model).SerializeToString(deterministic=True)
    np.testing.assert_array_equal(
        numpy_helper.to_array(onnx.load_from_string(file_content(made)).graph.initializer[0]), array
    )


def test_a_file_beside_the_model_is_written_a_part_at_a_time(tmp_path):
    made = described(everything())
    save_model(made, tmp_path / "m.onnx", external=True)
    beside = load_model(tmp_path / "m.onnx")
    assert sum(map(is_external, beside.initializers.values())) == 5
    assert onnx.load_from_string(file_content(beside)).graph.initializer[2].raw_data
    assert file_bytes(beside) == len(file_content(beside))
    assert hashlib.sha256(file_content(beside)).hexdigest() == file_digest(beside)


def test_over_the_limit_is_said_before_anything_is_written(monkeypatch, tmp_path):
    made = everything()
    monkeypatch.setattr(content, "PROTOBUF_LIMIT", len(file_content(made)) - 1)
    with pytest.raises(ModelError, match="over 2 GB"):
        file_content(made)
    with pytest.raises(ModelError, match="over 2 GB"):
        save_model(made, tmp_path / "m.onnx")
    assert not list(tmp_path.iterdir())


def test_weights_are_left_out_of_a_message_from_a_kibibyte_on():
    bare = onnx.TensorProto(name="bare", data_type=T.FLOAT, dims=[256])
    text = helper.make_tensor("text", T.STRING, [200], [b"a longer text"] * 200)
    entries = [weight("under", 255), weight("just", 256), bare, text]
    nodes = [helper.make_node("Identity", [one.name], [f"{one.name}_out"], one.name) for one in entries]
    outputs = {f"{one.name}_out": (one.data_type, list(one.dims)) for one in entries}
    made = model(nodes, {}, outputs, entries)
    proto, beside = content.lean_proto(made)
    assert list(beside) == ["just"]
    assert beside["just"] is made.initializers["just"].const_value
    assert [one.name for one in proto.graph.initializer] == ["under", "just", "bare", "text"]
    (stated,) = (one for one in proto.graph.initializer if one.external_data)
    assert (stated.name, stated.data_type, list(stated.dims)) == ("just", T.FLOAT, [256])
    assert {entry.key: entry.value for entry in stated.external_data} == {
        "location": "memory",
        "offset": "0",
        "length": "1024",
    }
    proto, beside = content.lean_proto(made, lambda _: False)
    assert (beside, [one for one in proto.graph.initializer if one.external_data]) == ({}, [])


def test_all_else_of_a_message_without_weights_is_as_ever():
    made = described(everything())
    lean, _ = content.lean_proto(made)
    whole = to_message(made.ir_model)
    del lean.graph.initializer[:], whole.graph.initializer[:]
    assert lean == whole


@pytest.mark.parametrize("kept", [1599, 1600, 1601])
def test_the_message_of_a_model_is_kept_up_to_so_many_bytes(kept, monkeypatch):
    monkeypatch.setattr(content, "KEPT", kept)
    made = described(model([helper.make_node("Identity", ["w"], ["y"], "i")], {}, {"y": None}, [weight("w", 400)]))
    assert len(pieces(made)) == (8 if kept == 1599 else 1)
    assert ("proto" in vars(made)) == (kept != 1599)


def test_so_much_is_kept_and_so_much_fits_a_file():
    assert (SHIPPED_KEPT, content.SMALL, content.PROTOBUF_LIMIT) == (16 * 2**20, 1024, 2147483647)


def test_the_limit_itself_is_not_over_it(monkeypatch):
    made = everything()
    whole = file_content(made)
    monkeypatch.setattr(content, "PROTOBUF_LIMIT", len(whole))
    assert file_content(made) == whole


def test_a_model_is_known_by_its_message_and_each_weight():
    made = model([helper.make_node("Identity", ["w"], ["y"], "i")], {}, {"y": [2, 3]}, [weight("w", 2, 3)])
    skeleton = to_message(made.ir_model)
    numbers = numpy_helper.to_array(skeleton.graph.initializer[0]).tobytes()
    del skeleton.graph.initializer[:]
    expected = hashlib.sha256(skeleton.SerializeToString(deterministic=True) + b"\0w\0FLOAT\0(2, 3)\0" + numbers)
    assert content.identity(made) == made.digest == expected.hexdigest()
