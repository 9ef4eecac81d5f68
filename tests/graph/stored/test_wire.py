from __future__ import annotations

from io import BytesIO

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto as T
from onnx import helper, numpy_helper

from workbench.errors import ModelError
from workbench.graph import load
from workbench.graph.load import load_model
from workbench.graph.save import file_bytes
from workbench.graph.stored import wire
from workbench.graph.stored.content import file_content, identity

SHIPPED = (wire.LARGE_FILE, wire._LARGE)


def test_a_large_file_is_of_16_mebibytes_and_a_large_weight_of_64_kibibytes():
    assert SHIPPED == (16 * 2**20, 64 * 2**10)


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


@pytest.mark.parametrize(
    ("number", "content"),
    [
        (0, b"\0"),
        (127, b"\x7f"),
        (128, b"\x80\x01"),
        (300, b"\xac\x02"),
        (2**14 - 1, b"\xff\x7f"),
        (2**14, b"\x80\x80\x01"),
        (2**64 - 1, b"\xff" * 9 + b"\x01"),
    ],
)
def test_a_number_is_written_in_groups_of_seven_bits(number, content):
    """The examples of protobuf's own description, and both sides of a group's end."""
    assert wire._varint(number) == content
    assert wire._number(BytesIO(content)) == number


@pytest.mark.parametrize("content", [b"", b"\x80", b"\xff" * 10 + b"\x01"])
def test_a_number_ends_within_64_bits(content):
    with pytest.raises(ValueError, match="no number"):
        wire._number(BytesIO(content))


def message(number, content):
    return wire._varint(number << 3 | 2) + wire._varint(len(content)) + content


def read(content, kind="model", place=0):
    weights, places = {}, [place]
    rest = wire._message(BytesIO(content), len(content), kind, weights, places)
    return rest, {at: one.tobytes() for at, one in weights.items()}, places


def test_the_raw_data_of_initializers_is_set_apart_from_a_length_on():
    small, large = message(9, b"1234567"), message(9, b"12345678")
    numbers = b"\x08\x96\x01" + b"\x0d1234" + b"\x0912345678"
    graph = (
        message(5, numbers + small) + message(1, b"a node of a graph") + message(5, large + message(12, b"about it"))
    )
    content = message(2, b"a producer") + message(7, graph + message(5, b"")) + numbers
    rest, weights, places = read(content)
    assert weights == {1: b"12345678"}
    assert places == [3]
    graph = message(5, numbers + small) + message(1, b"a node of a graph") + message(5, message(12, b"about it"))
    assert rest == message(2, b"a producer") + message(7, graph + message(5, b"")) + numbers
    # A field of the same number elsewhere is none.
    for other in (message(9, b"12345678"), message(5, large), message(7, message(9, b"12345678"))):
        assert read(other)[:2] == (other, {})
    assert read(message(5, large), "graph", 4)[1:] == ({4: b"12345678"}, [5])


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (message(2, b"abc")[:-1], "the file ends early"),
        (message(7, message(5, message(9, b"12345678")))[:-1], "the file ends early"),
        (b"\x0d123", "the file ends early"),
        (b"\x091234567", "the file ends early"),
        (b"\x0b", "a field of the form 3"),
        (b"\x0c", "a field of the form 4"),
        (b"\x0e", "a field of the form 6"),
        (b"\x3a\x02\x08\x96\x01", "a field that ends outside of its message"),
        (b"\x08", "no number"),
    ],
)
def test_what_is_no_message_is_told(content, reason):
    with pytest.raises(ValueError, match=reason):
        read(content)


def test_fields_are_found_where_they_lie():
    content = b"\x08\x96\x01" + b"\x15abcd" + b"\x19abcdefgh" + message(20, b"xyz")
    assert [tuple(field) for field in wire._fields(BytesIO(content), len(content))] == [
        (1, 0, 1, 3, 3),
        (2, 3, 4, 4, 8),
        (3, 8, 9, 9, 17),
        (20, 17, 19, 20, 23),
    ]
    assert [field.number for field in wire._fields(BytesIO(content), 17, 3)] == [2, 3]


def tensor(name="w", kind=T.FLOAT, dims=(3,), **fields):
    return onnx.TensorProto(name=name, data_type=kind, dims=dims, **fields)


@pytest.mark.parametrize(
    ("stated", "size", "apart"),
    [
        (tensor(), 12, True),
        (tensor(dims=[3, 0]), 0, True),
        (tensor(dims=[]), 4, True),
        (tensor(), 11, False),
        (tensor(), 13, False),
        (tensor(dims=[-3]), 12, False),
        (tensor(float_data=[1.0]), 12, False),
        (tensor(int32_data=[1]), 12, False),
        (tensor(int64_data=[1]), 12, False),
        (tensor(double_data=[1.0]), 12, False),
        *((tensor(kind=T.DataType.Value(name)), 6, True) for name in ("FLOAT16", "BFLOAT16", "INT16", "UINT16")),
        *((tensor(kind=T.DataType.Value(name)), 3, True) for name in ("INT8", "UINT8")),
        *((tensor(kind=T.DataType.Value(name)), 24, True) for name in ("DOUBLE", "INT64")),
        (tensor(kind=T.INT32), 12, True),
        *((tensor(kind=T.DataType.Value(name)), 3, False) for name in ("BOOL", "FLOAT8E4M3FN", "STRING")),
        (tensor(kind=T.INT4), 2, False),
        (tensor(kind=T.UINT32), 12, False),
    ],
)
def test_a_weight_stays_apart_where_its_bytes_are_its_numbers(stated, size, apart):
    content = np.arange(size, dtype=np.uint8)
    proto = onnx.ModelProto()
    proto.graph.initializer.extend([tensor("first", raw_data=b"kept"), stated])
    found = wire.put_back(proto, {1: content})
    assert list(found) == (["w"] if apart else [])
    assert proto.graph.initializer[0].raw_data == b"kept"
    if apart:
        assert found["w"] is content
        assert not proto.graph.initializer[1].HasField("raw_data")
    else:
        assert proto.graph.initializer[1].raw_data == content.tobytes()


def test_weights_of_one_name_or_in_another_file_do_not_stay_apart():
    twice, beside = onnx.ModelProto(), onnx.ModelProto()
    twice.graph.initializer.extend([tensor(), tensor()])
    beside.graph.initializer.append(tensor())
    beside.graph.initializer[0].external_data.add(key="location", value="m.data")
    for proto in (twice, beside):
        assert wire.put_back(proto, {0: np.zeros(12, np.uint8)}) == {}
        assert len(proto.graph.initializer[0].raw_data) == 12


def test_a_weight_outside_of_the_graph_is_told(tmp_path):
    # The second part of a message has places of its own only in the whole.
    path = tmp_path / "m.onnx"
    content = message(7, message(5, message(9, b"12345678")))
    path.write_bytes(content)
    proto, weights = wire.read_apart(path)
    assert (len(proto.graph.initializer), list(weights)) == (1, [0])
    path.write_bytes(message(5, message(5, b"")) + content)
    assert list(wire.read_apart(path)[1]) == [0]


@pytest.mark.parametrize("lengths", [(0, 5), (127, 128), (16383, 16384), (3, 2**21)])
def test_a_message_is_put_together_around_weights_of_any_length(lengths):
    def made(**fields):
        proto = onnx.ModelProto(producer_name="p", doc_string="after the graph")
        proto.graph.name, proto.graph.doc_string = "g", "behind its weights"
        proto.graph.node.add(op_type="Relu")
        for at, length in enumerate((lengths[0], None, lengths[1])):
            one = proto.graph.initializer.add(name=f"w{at}", data_type=T.UINT8, dims=[length or 0])
            if at != 1:
                one.doc_string = "behind its numbers" if at else ""
                if fields:
                    one.raw_data = bytes(length)
        return proto

    weights = {at: ir.Tensor(np.zeros(length, np.uint8)) for at, length in zip((0, 2), lengths, strict=True)}
    parts = wire.put_together(made().SerializeToString(deterministic=True), weights)
    content = b"".join(bytes(part) if isinstance(part, (bytes, memoryview)) else part.tobytes() for part in parts)
    assert content == made(whole=True).SerializeToString(deterministic=True)
    assert [part for part in parts if isinstance(part, ir.Tensor)] == list(weights.values())


def test_a_weight_that_is_put_in_keeps_what_is_said_of_it():
    stated = tensor(dims=[2, 3], doc_string="about", metadata_props=[onnx.StringStringEntryProto(key="k", value="v")])
    proto = onnx.ModelProto(ir_version=8)
    proto.graph.initializer.append(stated)
    proto.graph.node.add(op_type="Relu", input=["w"], output=["y"])
    graph = ir.from_proto(proto).graph
    numbers = np.arange(6, dtype=np.float32)
    wire.put_in(graph, {"w": numbers.view(np.uint8)})
    held = graph.initializers["w"].const_value
    np.testing.assert_array_equal(held.numpy(), numbers.reshape(2, 3))
    assert np.shares_memory(held.numpy(), numbers)
    assert (held.name, held.doc_string, dict(held.metadata_props)) == ("w", "about", {"k": "v"})
