"""Read a large model's file with its weights apart from its message, each of them once and into memory of its own.

Protobuf for Python keeps a message's bytes until the whole of it is freed, and hands out a copy of a weight whenever it
is asked for one. So a model of a gigabyte would lie in memory two or three times before anything is done with it. Here
the file is gone through by protobuf's wire format (https://protobuf.dev/programming-guides/encoding): the content of
every large weight of the main graph is read into an array, and what remains is a message of a few kilobytes. It is
written so, too: weights go between the parts of a message.
"""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import onnx
import onnx_ir as ir

from workbench.graph.tensor import packed_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from io import BufferedReader
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["LARGE_FILE", "put_back", "put_in", "put_together", "read_apart"]

LARGE_FILE = 1 << 24
"""Bytes from which a file is read so."""
_LARGE = 1 << 16
"""Bytes from which a weight is set apart."""

_NESTED = {"model": (7, "graph"), "graph": (5, "tensor")}
"""Within which field of a message lies the next one that is looked into: ModelProto.graph, GraphProto.initializer."""
_RAW_DATA = 9
_VARINT, _BYTES = 0, 2
_FIXED = {1: 8, 5: 4}
"""The bytes of a number of fixed length, by the form of its field."""

_WHOLE = frozenset(
    {ir.DataType[name] for name in "FLOAT FLOAT16 BFLOAT16 DOUBLE INT8 UINT8 INT16 UINT16 INT32 INT64".split()}
)
"""Types of which a number is whole bytes and NumPy, with ml_dtypes, has them all."""


def read_apart(path: Path) -> tuple[onnx.ModelProto, dict[int, NDArray[np.uint8]]]:
    """Return a model's message without its large weights, and their bytes by their place among the initializers.

    Raises
    ------
    ValueError, google.protobuf.message.DecodeError
        It is no such message; reading it as a whole says what is wrong.
    """
    weights: dict[int, NDArray[np.uint8]] = {}
    with path.open("rb") as file:
        content = _message(file, path.stat().st_size, "model", weights, [0])
    proto = onnx.ModelProto()
    proto.ParseFromString(content)
    # A message may come in parts that follow each other; then places are not what they seem.
    if any(place >= len(proto.graph.initializer) for place in weights):
        raise ValueError("weights outside of the graph")
    return proto, weights


def put_back(proto: onnx.ModelProto, weights: Mapping[int, NDArray[np.uint8]]) -> dict[str, NDArray[np.uint8]]:
    """Return by name the weights that can stay apart, and put all others into the message again."""
    apart = {}
    names = [tensor.name for tensor in proto.graph.initializer]
    once = len(set(names)) == len(names)
    for place, content in weights.items():
        tensor = proto.graph.initializer[place]
        whole = once and tensor.data_type in _WHOLE and min(tensor.dims, default=0) >= 0 and not tensor.external_data
        whole = whole and not any(
            len(getattr(tensor, f"{kind}_data")) for kind in ("float", "int32", "int64", "double")
        )
        if whole and packed_bytes(tensor.dims, ir.DataType(tensor.data_type)) == content.size:
            apart[tensor.name] = content
        else:
            tensor.raw_data = content.tobytes()
    return apart


def put_in(graph: ir.Graph, apart: Mapping[str, NDArray[np.uint8]]) -> None:
    """Give weights of a graph their content, which is not copied."""
    for name, content in apart.items():
        value = graph.initializers[name]
        stored = value.const_value
        if stored is None:
            continue
        shape = stored.shape.numpy()
        array = content.view(stored.dtype.numpy()).reshape(shape)
        value.const_value = ir.Tensor(
            array,
            dtype=stored.dtype,
            name=stored.name,
            doc_string=stored.doc_string,
            metadata_props=dict(stored.metadata_props),
        )


def put_together(
    content: bytes, weights: Mapping[int, ir.TensorProtocol]
) -> list[bytes | memoryview | ir.TensorProtocol]:
    """Return a message in parts, with the raw data of weights between them; nothing is copied.

    Parameters
    ----------
    content
        The message, its fields in the order of their numbers, as protobuf writes them.
    weights
        What the message lacks, by place among the initializers.
    """
    file = BytesIO(content)
    whole, (number, name) = memoryview(content), _NESTED["model"]
    graph = next(field for field in _fields(file, len(content)) if field.number == number)
    before: list[bytes | memoryview | ir.TensorProtocol] = []
    length, done, place = graph.end - graph.body, graph.body, 0
    for field in _fields(file, graph.end, graph.body):
        if field.number != _NESTED[name][0]:
            continue
        if (weight := weights.get(place)) is not None:
            # Before the first field of a higher number than its own: a name comes before it, a description after it.
            later = (each.start for each in _fields(file, field.end, field.body) if each.number > _RAW_DATA)
            split = next(later, field.end)
            raw = _varint(_RAW_DATA << 3 | _BYTES) + _varint(weight.nbytes)
            size = _varint(field.end - field.body + len(raw) + weight.nbytes)
            length += len(size) - (field.body - field.length) + len(raw) + weight.nbytes
            before += [whole[done : field.length], size, whole[field.body : split], raw, weight]
            done = split
        place += 1
    return [whole[: graph.length], _varint(length), *before, whole[done:]]


class _Field(NamedTuple):
    """Where a field lies: its key, its length, its content, and the end of that."""

    number: int
    start: int
    length: int
    body: int
    end: int


def _fields(file: BytesIO, end: int, start: int = 0) -> Iterator[_Field]:
    """Yield the fields of a message that lies at a place of a file, in their order."""
    while start < end:
        file.seek(start)
        key = _number(file)
        number, form, at = key >> 3, key & 7, file.tell()
        size = _FIXED[form] if form in _FIXED else _number(file)
        body = file.tell()
        last = body if form == _VARINT else body + size
        yield _Field(number, start, at, body, last)
        start = last


def _message(
    file: BufferedReader, end: int, kind: str, weights: dict[int, NDArray[np.uint8]], place: list[int]
) -> bytes:
    """Read a message that ends at a place of the file; return it without its large weights."""
    inside, inner = _NESTED.get(kind, (_RAW_DATA, ""))
    parts: list[bytes] = []
    while file.tell() < end:
        key = _number(file)
        field, form = key >> 3, key & 7
        if form == _VARINT:
            parts += [_varint(key), _varint(_number(file))]
            continue
        if form != _BYTES and form not in _FIXED:
            raise ValueError(f"a field of the form {form}")
        length = _number(file) if form == _BYTES else _FIXED[form]
        if length > end - file.tell():
            raise ValueError("the file ends early")
        if form == _BYTES and field == inside and not inner and length >= _LARGE:
            weights[place[0]] = content = np.empty(length, np.uint8)
            if file.readinto(content.data) != length:
                raise ValueError("the file ends early")
            continue
        if form == _BYTES and field == inside and inner:
            body = _message(file, file.tell() + length, inner, weights, place)
            place[0] += kind == "graph"
        else:
            body = file.read(length)
        parts += [_varint(key), _varint(len(body)) if form == _BYTES else b"", body]
    if file.tell() != end:
        raise ValueError("a field that ends outside of its message")
    return b"".join(parts)


def _number(file: BufferedReader | BytesIO) -> int:
    value = shift = 0
    while True:
        byte = file.read(1)
        if not byte or shift > 63:
            raise ValueError("no number")
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
        shift += 7


def _varint(value: int) -> bytes:
    content = bytearray()
    while value > 0x7F:
        content.append(value & 0x7F | 0x80)
        value >>= 7
    content.append(value)
    return bytes(content)
