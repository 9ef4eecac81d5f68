"""Tensors as the protocol carries them: lists in JSON, or bytes behind it."""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.handoff.service.request_error import RequestError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from workbench.handoff.deployment import Port

__all__ = ["dtype_of", "from_bytes", "from_json", "shape_of", "to_bytes", "to_json"]

_DTYPES = {
    "BOOL": "?",
    "UINT8": "u1",
    "UINT16": "<u2",
    "UINT32": "<u4",
    "UINT64": "<u8",
    "INT8": "i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "FP16": "<f2",
    "FP32": "<f4",
    "FP64": "<f8",
}
_DTYPE: dict[str, np.dtype[Any]] = {name: np.dtype(code) for name, code in _DTYPES.items()} | {
    "BYTES": np.dtype(object)
}
_MOST_AXES = 32
MOST_VALUES = 1 << 21
"""Of a tensor in JSON: writing it holds up everything else in the process, as reading does."""
_LENGTH = struct.Struct("<I")


def dtype_of(datatype: str) -> np.dtype[Any]:
    """Return the NumPy type of one of the protocol's; BF16 is that of ml_dtypes."""
    if datatype == "BF16":
        import ml_dtypes

        wide: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
        return wide
    return _DTYPE[datatype]


def shape_of(shape: object, port: Port) -> tuple[int, ...]:
    """Check a shape of a request against the model's.

    Raises
    ------
    RequestError
        400: it is no list of whole numbers, or another one than the model takes.
    """
    if type(shape) is not list or len(shape) > _MOST_AXES or any(type(n) is not int or n < 0 for n in shape):
        raise _wrong(port, f"shape {str(shape)[:60]} is no list of lengths", "Give one whole number an axis.")
    if len(shape) != len(port.shape) or any(n not in (-1, m) for n, m in zip(port.shape, shape, strict=True)):
        raise _wrong(port, f"shape {shape}, the model takes {list(port.shape)}", "-1 stands for any length.")
    return tuple(shape)


def from_bytes(content: memoryview, shape: tuple[int, ...], port: Port) -> NDArray[Any]:
    """Read a tensor from its bytes, without a copy where it holds numbers.

    Raises
    ------
    RequestError
        400: there are more or fewer bytes than the shape says.
    """
    count = math.prod(shape)
    if port.datatype == "BYTES":
        return _texts(content, count, port).reshape(shape)
    dtype = dtype_of(port.datatype)
    if len(content) != count * dtype.itemsize:
        raise _wrong(
            port,
            f"{len(content)} bytes, and {list(shape)} of {port.datatype} are {count * dtype.itemsize}",
            "Send little-endian values in row-major order.",
        )
    return np.frombuffer(content, dtype).reshape(shape)


def from_json(data: object, shape: tuple[int, ...], port: Port) -> NDArray[Any]:
    """Read a tensor from a list of JSON, flat or nested as the shape is.

    Raises
    ------
    RequestError
        400: they are not so many values, or values of another kind.
    """
    if port.datatype == "BF16":
        raise _wrong(port, "BF16 cannot be written in JSON", "Send it in the binary extension.")
    dtype = dtype_of(port.datatype)
    try:
        if port.datatype == "BYTES":
            array = np.asarray(data, object).reshape(-1)
            fits = all(type(one) is str for one in array)
        else:
            array, fits = _numbers(data, dtype)
    except (ValueError, TypeError, OverflowError):
        fits = False
    if not fits:
        raise _wrong(port, f"its data are no {port.datatype} values", "Give a list of such values, flat or nested.")
    if array.size != math.prod(shape):
        raise _wrong(port, f"{array.size} values, and {list(shape)} are {math.prod(shape)}", "Give as many.")
    return array.reshape(shape)


def _numbers(data: object, dtype: np.dtype[Any]) -> tuple[NDArray[Any], bool]:
    """Return values as an array, and whether each of them is one of its type."""
    values = np.asarray(data)
    if values.dtype.kind == "f" and dtype.kind in "iu":
        # Whole numbers beyond 2**63 among smaller ones: NumPy would make floats of all.
        values = np.asarray(data, object)
        fits = all(type(value) is int for value in values.reshape(-1))
        return np.array(values.tolist(), dtype), fits
    if dtype.kind != "b" and values.dtype.kind != "b" and _has_truth(data):
        return values, False
    kinds = {"b": "b", "f": "iuf"}.get(dtype.kind, "iu")
    with np.errstate(over="ignore", invalid="ignore"):
        array = values.astype(dtype)
    # Whole numbers wrap around where they are too large, others become infinite.
    same = np.isfinite(array) if dtype.kind == "f" else array == values
    return array, values.size == 0 or (values.dtype.kind in kinds and bool(same.all()))


def _has_truth(data: object) -> bool:
    """Say whether true or false is among numbers: NumPy takes them for 1 and 0."""
    if type(data) is not list:
        return type(data) is bool
    types = set(map(type, data))
    return bool in types or (list in types and any(map(_has_truth, data)))


def to_bytes(array: NDArray[Any]) -> bytes:
    """Write a tensor as its bytes, row-major and little-endian; a text is its length and itself."""
    if array.dtype.kind in "OUS":
        parts = [one if isinstance(one, bytes) else str(one).encode() for one in array.reshape(-1)]
        return b"".join(_LENGTH.pack(len(part)) + part for part in parts)
    return array.tobytes()


def to_json(array: NDArray[Any], name: str) -> NDArray[Any] | list[Any]:
    """Return a tensor as orjson writes it: a flat array of numbers, or a list of texts.

    Raises
    ------
    RequestError
        400: there are too many values for JSON, or it has no word for one: NaN, infinity, BF16, bytes that are no text.
    """
    where, fix = f"output {name!r}", "Ask for binary_data."
    if array.size > MOST_VALUES:
        raise RequestError(400, f"{array.size} values are too many for JSON", where=where, fix=fix)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise RequestError(400, "it holds NaN or infinity, which JSON cannot say", where=where, fix=fix)
    if array.dtype.kind == "V":
        raise RequestError(400, "BF16 cannot be written in JSON", where=where, fix=fix)
    flat = np.asarray(array, order="C").reshape(-1)
    return flat if array.dtype.kind in "biuf" else list(flat.tolist())


def _texts(content: memoryview, count: int, port: Port) -> NDArray[Any]:
    texts: list[bytes] = []
    place = 0
    while place + _LENGTH.size <= len(content) and len(texts) < count:
        (length,) = _LENGTH.unpack_from(content, place)
        place += _LENGTH.size
        texts.append(bytes(content[place : place + length]))
        place += length
    if place != len(content) or len(texts) != count:
        raise _wrong(port, f"its bytes are not {count} texts", "Before each text stands its length in four bytes.")
    try:
        array = np.empty(count, object)
        array[:] = [text.decode() for text in texts]
    except UnicodeDecodeError:
        raise _wrong(port, "a text is no UTF-8", "Encode it so.") from None
    return array


def _wrong(port: Port, what: str, fix: str) -> RequestError:
    return RequestError(400, what, where=f"input {port.name!r}", fix=fix)
