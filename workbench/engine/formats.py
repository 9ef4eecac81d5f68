"""Tensor formats as TensorRT words them, and the bytes a tensor then takes."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["BITS", "MOST_ELEMENTS", "TensorFormat", "parse_dtype", "parse_format", "read_dims", "tensor_bytes"]

BITS = {
    "fp32": 32,
    "fp16": 16,
    "bf16": 16,
    "fp8": 8,
    "fp4": 4,
    "int64": 64,
    "int32": 32,
    "int8": 8,
    "uint8": 8,
    "int4": 4,
    "bool": 8,
}
"""Bits an element takes in device memory, by data type. INT4 and FP4 are packed two a byte."""

_DTYPE_WORDS = {
    "float": "fp32",
    "float32": "fp32",
    "fp32": "fp32",
    "half": "fp16",
    "float16": "fp16",
    "fp16": "fp16",
    "bfloat16": "bf16",
    "bf16": "bf16",
    "fp8": "fp8",
    "float8": "fp8",
    "fp4": "fp4",
    "float4": "fp4",
    "int64": "int64",
    "int32": "int32",
    "int8": "int8",
    "uint8": "uint8",
    "int4": "int4",
    "bool": "bool",
}
_NUMBERS = {"two": 2, "four": 4, "eight": 8, "sixteen": 16, "thirty-two": 32, "sixty-four": 64}
_THREE_SPATIAL = re.compile(r"\bk?(?:cdhw\d+|dhwc\d*)\b|\b3 spatial dimensions", re.IGNORECASE)
_LAYOUTS = tuple(
    (re.compile(pattern, re.IGNORECASE), layout)
    for pattern, layout in (
        (rf"({'|'.join(_NUMBERS)})[- ]wide channel vectorized", "vectorized"),
        (r"channel % (\d+) == 0", "channels-last"),
        (r"^channel major()", "channels-last"),
        (r"^row major()", "linear"),
        (r"\bk?linear\b()", "linear"),
        (r"\bk?cd?hw(\d+)\b", "vectorized"),
        (r"\bk?d?hwc(\d*)\b", "channels-last"),
    )
)


@dataclass(frozen=True, slots=True)
class TensorFormat:
    """A tensor's data type and memory layout.

    Attributes
    ----------
    text
        What TensorRT wrote, word for word.
    dtype
        A key of `BITS`, or None where the text names none, or one that is not known here.
    layout
        "linear", "vectorized" (channels in groups), "channels-last", "unstated" (a data type alone, as Myelin layers
        have it) or None where the text is not understood.
    channels
        Channels are padded to a multiple of this.
    spatial
        Axes behind that of the channels: 2, or 3 in the formats of volumes (kCDHW32, kDHWC8).
    """

    text: str
    dtype: str | None
    layout: str | None
    channels: int = 1
    spatial: int = 2

    @property
    def short(self) -> str:
        """The format in a few letters, such as "int8 CHW32"; "unknown" where it is not."""
        pad = str(self.channels) if self.channels > 1 else ""
        axes = "HW" if self.spatial == 2 else "DHW"
        shape = {"linear": "linear", "vectorized": f"C{axes}{pad}", "channels-last": f"{axes}C{pad}"}
        return f"{self.dtype or 'unknown'} {shape.get(self.layout or '', '')}".strip()


def parse_dtype(text: str | None) -> str | None:
    """Return the data type a text names ("Half", "kFLOAT", "FP8 E4M3", ...), or None where it names none known."""
    # FP8 and FP4 come with their exponent and mantissa: FP8E4M3, Float4E2M1.
    for word in re.findall(r"[A-Za-z]+\d*", (text or "").replace("_", " ")):
        plain = word[1:] if re.match(r"k[A-Z]", word) else word
        if (dtype := _DTYPE_WORDS.get(plain.lower())) is not None:
            return dtype
    return None


MOST_ELEMENTS = 2**48
"""More numbers than this are in no tensor of any machine: a size that says so is a misread one, and unknown."""


def parse_format(text: str | None, dtype_text: str | None = None) -> TensorFormat:
    """Read a format string of any TensorRT version.

    Parameters
    ----------
    text
        8.x and 10.x `Format/Datatype`, or 11.x `Format`.
    dtype_text
        11.x `Datatype`, which then decides the data type.

    Returns
    -------
    TensorFormat
        With None in every part that the text does not tell: a data type is never assumed.
    """
    words = (text or "").strip()
    dtype = parse_dtype(dtype_text) if dtype_text else parse_dtype(words)
    shown = words if not dtype_text else f"{words} {dtype_text}".strip()
    for pattern, layout in _LAYOUTS:
        if match := pattern.search(words):
            channels = _NUMBERS.get(match[1].lower()) or int(match[1] or 1)
            return TensorFormat(shown, dtype, layout, channels, 3 if _THREE_SPATIAL.search(words) else 2)
    alone = dtype is not None and re.fullmatch(r"(?:k?[A-Za-z]+\d*(?:[ _]?E\d+M\d+)?)?", words) is not None
    return TensorFormat(shown, dtype, "unstated" if alone else None)


def tensor_bytes(dims: Sequence[int] | None, form: TensorFormat) -> int | None:
    """Bytes a tensor takes on the device, or None where its shape, data type or layout is not known.

    Vectorized and channels-last formats are counted with their padding: the channel axis, before the spatial ones (the
    last axis where there are no more), is rounded up to a multiple of `form.channels`. A layout that is unstated is
    counted without padding. INT4 and FP4 take half a byte an element, rounded up to whole bytes at the end.
    """
    if dims is None or form.dtype is None or form.layout is None or any(size < 0 for size in dims):
        return None
    sizes = list(dims)
    if sizes and form.channels > 1:
        axis = -1 - form.spatial if len(sizes) > form.spatial else -1
        sizes[axis] = math.ceil(sizes[axis] / form.channels) * form.channels
    size = -(-math.prod(sizes) * BITS[form.dtype] // 8)
    return size if size <= 8 * MOST_ELEMENTS else None


def read_dims(raw: Any) -> tuple[int, ...] | None:
    """Return a shape, or None where there is no list of whole numbers, or one that no tensor can have."""
    if not isinstance(raw, list) or not all(isinstance(size, int) and not isinstance(size, bool) for size in raw):
        return None
    return tuple(raw) if abs(math.prod(size for size in raw if size)) <= MOST_ELEMENTS else None
