from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto as T
from onnx import helper, numpy_helper

from workbench.errors import ModelError
from workbench.graph import load
from workbench.graph.load import load_model
from workbench.graph.save import file_bytes
from workbench.graph.stored import wire
from workbench.graph.stored.content import file_content, identity


@pytest.fixture(autouse=True)
def _every_file_is_large(monkeypatch):
    monkeypatch.setattr(load, "LARGE_FILE", 0)
    monkeypatch.setattr(wire, "_LARGE", 8)


def saved(path, *weights: onnx.TensorProto, edit=lambda _: None):
    nodes = [helper.make_node("Identity", [w.name], [f"{w.name}_out"], name=f"i{at}") for at, w in enumerate(weights)]
    outputs = [helper.make_tensor_value_info(f"{w.name}_out", w.data_type, list(w.dims)) for w in weights]
    graph = helper.make_graph(nodes, "g", [], outputs, list(weights), doc_string="a graph")
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    edit(proto)
    path.write_bytes(proto.SerializeToString())
    return path


def weights():
    rng = np.random.default_rng(0)
    some = [rng.normal(size=(3, 5)).astype(kind) for kind in ("f4", "f2", "f8")]
    some += [rng.integers(-9, 9, (4, 4)).astype(kind) for kind in ("i1", "u1", "i4", "i8")]
    entries = [numpy_helper.from_array(array, f"w{at}") for at, array in enumerate(some)]
    entries[0].doc_string = "the first"
    entries += [
        helper.make_tensor("listed", T.FLOAT, [5], [1, 2, 3, 4, 5]),
        helper.make_tensor("bf16", T.BFLOAT16, [3, 2], np.arange(12, dtype=np.uint8).tobytes(), raw=True),
        helper.make_tensor("four", T.INT4, [33], bytes(range(17)), raw=True),
        helper.make_tensor("true", T.BOOL, [10], bytes(10), raw=True),
        helper.make_tensor("none", T.FLOAT, [0], b"", raw=True),
        helper.make_tensor("text", T.STRING, [1], [b"a longer text"]),
    ]
    return entries


def test_a_file_read_apart_is_the_same_model(tmp_path, monkeypatch):
    path = saved(tmp_path / "m.onnx", *weights())
    apart = load_model(path)
    assert set(wire.put_back(*wire.read_apart(path))) == {"w0", "w1", "w2", "w3", "w4", "w5", "w6", "bf16"}
    monkeypatch.setattr(load, "LARGE_FILE", 1 << 60)
    whole = load_model(path)
    assert file_content(apart) == file_content(whole)
    assert identity(apart) == identity(whole)
    assert file_bytes(apart) == file_bytes(whole) == len(file_content(whole))
    for name, value in whole.initializers.items():
        assert np.array_equal(apart.initializers[name].const_value.numpy(), value.const_value.numpy())


def test_a_weight_is_handed_out_without_a_copy(tmp_path):
    model = load_model(saved(tmp_path / "m.onnx", *weights()))
    content = model.initializers["w0"].const_value
    assert np.shares_memory(content.numpy(), content.numpy())


@pytest.mark.parametrize("cut", [1, 7, 60])
def test_a_truncated_file_is_told_as_ever(tmp_path, cut):
    path = saved(tmp_path / "m.onnx", *weights())
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(ModelError):
        load_model(path)


def test_contents_that_do_not_fit_are_told_as_ever(tmp_path):
    def shorten(proto):
        proto.graph.initializer[0].raw_data = proto.graph.initializer[0].raw_data[:-4]

    with pytest.raises(ModelError, match="'w0' has 56 bytes of data, and its lengths and type want 60"):
        load_model(saved(tmp_path / "m.onnx", *weights(), edit=shorten))


def test_a_message_in_two_parts_is_one(tmp_path, monkeypatch):
    path = saved(tmp_path / "m.onnx", *weights())
    more = onnx.ModelProto()
    more.graph.initializer.append(numpy_helper.from_array(np.arange(9.0), "more"))
    path.write_bytes(path.read_bytes() + more.SerializeToString())
    apart = load_model(path)
    monkeypatch.setattr(load, "LARGE_FILE", 1 << 60)
    assert file_content(apart) == file_content(load_model(path))
