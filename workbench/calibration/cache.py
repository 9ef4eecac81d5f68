"""Calibration caches: the ranges that TensorRT, or ONNX Runtime for it, wrote to a file.

Four dialects are read, and written back byte for byte:

``tensorrt``
    What every calibrator of TensorRT 5 to 10 writes: a line ``TRT-<version>-<algorithm>``, then one ``name: scale`` a
    tensor, the scale as the hexadecimal bits of a big-endian float32. A scale is the range divided by 127.
``onnxruntime-json``
    ``calibration.json`` of ``onnxruntime.quantization.write_calibration_table`` for a plain dictionary: lowest and
    highest value a tensor; old releases write a list of both.
``onnxruntime-data``
    The same for what calibrators return today, an object of the class ``TensorsData`` that also names the method.
``onnxruntime-text``
    ``calibration.cache`` of the same: one ``name highest`` a line. Its number is the highest value, not the largest
    magnitude, so a range from it is too small where the lowest value is larger; take the JSON where there is one.
"""

from __future__ import annotations

import json
import math
import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from workbench.errors import ReportError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

__all__ = ["CacheEntry", "CacheMatch", "CalibrationCache", "Dialect", "load_cache", "match_cache", "parse_cache"]

Dialect = Literal["tensorrt", "onnxruntime-json", "onnxruntime-data", "onnxruntime-text"]

_HEADER = re.compile(r"TRT-(\d+)-(\w+)")
_METHOD = "CalibrationMethod."
_FIX = "Name a cache written by a TensorRT calibrator or by onnxruntime.quantization"
# Names that TensorRT and its ONNX parser make up for tensors that no ONNX file has.
_MADE_UP = re.compile(r"\(Unnamed Layer\* ?\d+\)|ONNXTRT_|_(?:reshape|squeeze|unsqueeze|broadcast)\d*(?:_output)?$")


@dataclass(frozen=True)
class CacheEntry:
    """One tensor's range.

    Attributes
    ----------
    name
        The tensor.
    amax
        The threshold: 127 scales. 0, NaN or infinite where the calibrator saw nothing that could be scaled.
    written
        The value as the file spells it.
    """

    name: str
    amax: float
    written: str

    @property
    def usable(self) -> bool:
        """Whether the range can be quantized with."""
        return math.isfinite(self.amax) and self.amax > 0


@dataclass(frozen=True)
class CalibrationCache:
    """A calibration cache.

    Attributes
    ----------
    entries
        In the file's order.
    dialect
        How it is written.
    version, algorithm
        Of TensorRT, as the header has them: ``"8600"``, ``"EntropyCalibration2"``. Of ONNX Runtime's dialects only
        ``onnxruntime-data`` tells the algorithm: ``"MinMax"``.
    newline, closed
        The line ending, and whether the last line has one.
    """

    entries: tuple[CacheEntry, ...]
    dialect: Dialect = "tensorrt"
    version: str = ""
    algorithm: str = ""
    newline: str = "\n"
    closed: bool = True

    @classmethod
    def from_ranges(
        cls, ranges: Mapping[str, float], *, version: str = "8600", algorithm: str = "EntropyCalibration2"
    ) -> CalibrationCache:
        """Return the cache that TensorRT would read these thresholds from.

        Parameters
        ----------
        ranges
            Thresholds by tensor.
        version, algorithm
            For the header; TensorRT ignores a cache of another version or calibrator than its own.
        """
        entries = []
        for name, amax in ranges.items():
            if "\n" in name or "\r" in name:
                raise ReportError("a tensor's name holds a line break", where=repr(name), fix="Rename the tensor")
            bits = struct.pack(">f", amax / 127)
            (scale,) = struct.unpack(">f", bits)
            # TensorRT prints the bits as a number, so without leading zeros.
            entries.append(CacheEntry(name, scale * 127, bits.hex().lstrip("0") or "0"))
        return cls(tuple(entries), "tensorrt", version, algorithm)

    @property
    def ranges(self) -> dict[str, float]:
        """The usable thresholds by tensor."""
        return {entry.name: entry.amax for entry in self.entries if entry.usable}

    def to_bytes(self) -> bytes:
        """Return the file's content; that of a file that was read is the same, byte for byte."""
        if self.dialect in ("onnxruntime-json", "onnxruntime-data"):
            text = "{" + ", ".join(f"{json.dumps(e.name)}: {e.written}" for e in self.entries) + "}"
            if self.dialect == "onnxruntime-data":
                method = json.dumps({"CLS": "CalibrationMethod", "value": f"{_METHOD}{self.algorithm}"})
                text = f'{{"CLS": "TensorsData", "data": {text}, "calibration_method": {method}}}'
            return (text + self.newline * self.closed).encode()
        between = " " if self.dialect == "onnxruntime-text" else ": "
        lines = [f"TRT-{self.version}-{self.algorithm}"] if self.dialect == "tensorrt" else []
        lines += [f"{entry.name}{between}{entry.written}" for entry in self.entries]
        return (self.newline.join(lines) + self.newline * self.closed).encode()


def load_cache(path: str | Path) -> CalibrationCache:
    """Read a calibration cache.

    Raises
    ------
    ReportError
        If the file is missing or is no cache; the line is named.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise ReportError(f"cannot be read ({error.strerror})", where=path, fix=_FIX) from error
    return parse_cache(content, where=str(path))


def parse_cache(content: bytes, *, where: str = "calibration cache") -> CalibrationCache:
    """Read the content of a calibration cache, of whichever dialect.

    Parameters
    ----------
    content
        The file's bytes.
    where
        What to call it in errors.

    Raises
    ------
    ReportError
        If it is no cache, a line cannot be read, or a tensor stands in it twice with different ranges.
    """
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        fix = "The flatbuffers table has the same content as calibration.json beside it: name that file"
        raise ReportError("not text", where=f"{where}, line {line}", fix=fix) from error
    newline = "\r\n" if "\r\n" in text else "\n"
    closed = text.endswith(newline)
    if text.lstrip().startswith("{"):
        dialect, algorithm, entries = _json_table(text, where)
        cache = CalibrationCache(entries, dialect, "", algorithm, newline, closed)
    else:
        lines = text.removesuffix(newline).split(newline) if text else []
        header = _HEADER.fullmatch(lines[0]) if lines else None
        if header:
            entries = tuple(_scale_entry(line, f"{where}, line {n}") for n, line in enumerate(lines[1:], 2))
            version, algorithm = header.groups()
            cache = CalibrationCache(entries, "tensorrt", version, algorithm, newline, closed)
        elif lines:
            entries = tuple(_number_entry(line, f"{where}, line {n}") for n, line in enumerate(lines, 1))
            cache = CalibrationCache(entries, "onnxruntime-text", newline=newline, closed=closed)
        else:
            raise ReportError("an empty file", where=f"{where}, line 1", fix=_FIX)
    _check_twice(cache, where)
    return cache


def _scale_entry(line: str, where: str) -> CacheEntry:
    # The name may itself hold colons and blanks; the value never does.
    name, between, written = line.rpartition(": ")
    if not (between and name and re.fullmatch("[0-9a-fA-F]{1,8}", written)):
        raise ReportError(f"not 'name: scale' with a hexadecimal scale, but {line[:80]!r}", where=where, fix=_FIX)
    (scale,) = struct.unpack(">f", bytes.fromhex(written.zfill(8)))
    return CacheEntry(name, scale * 127, written)


def _number_entry(line: str, where: str) -> CacheEntry:
    name, between, written = line.rpartition(" ")
    try:
        amax = float(written)
    except ValueError:
        amax = math.nan
    if not (between and name) or math.isnan(amax):
        raise ReportError(
            f"neither a header 'TRT-<version>-<algorithm>' nor 'name number', but {line[:80]!r}", where=where, fix=_FIX
        )
    return CacheEntry(name, amax, written)


def _json_table(text: str, where: str) -> tuple[Dialect, str, tuple[CacheEntry, ...]]:
    try:
        table = json.loads(text)
        dialect: Dialect = "onnxruntime-json"
        algorithm = ""
        if table.get("CLS") == "TensorsData":
            dialect, algorithm = "onnxruntime-data", table["calibration_method"]["value"].removeprefix(_METHOD)
            table = table["data"]
        return dialect, algorithm, tuple(_json_entry(name, value) for name, value in table.items())
    except RecursionError as error:
        raise ReportError("JSON nested far too deep for a table", where=where, fix=_FIX) from error
    except json.JSONDecodeError as error:
        raise ReportError(f"no JSON ({error.msg})", where=f"{where}, line {error.lineno}", fix=_FIX) from error
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise ReportError(
            f"JSON, but no table of lowest and highest values ({error!r})", where=f"{where}, line 1", fix=_FIX
        ) from error


def _json_entry(name: str, value: dict[str, object] | list[object]) -> CacheEntry:
    lowest, highest = (value[0], value[1]) if isinstance(value, list) else (value["lowest"], value["highest"])
    return CacheEntry(name, max(*map(_magnitude, (lowest, highest))), json.dumps(value))


def _magnitude(value: object) -> float:
    """Return the largest magnitude of what ONNX Runtime wrote: a number, or an array as {"data": [...], ...}.

    An array holds one number, or one a channel; a range is that of the whole tensor.
    """
    if isinstance(value, dict):
        value = value["data"]
    if isinstance(value, list):
        return max(map(_magnitude, value))
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(value)
    return abs(float(value))


def _check_twice(cache: CalibrationCache, where: str) -> None:
    seen: dict[str, str] = {}
    offset = 2 if cache.dialect == "tensorrt" else 1
    for n, entry in enumerate(cache.entries, offset):
        if seen.setdefault(entry.name, entry.written) != entry.written:
            raise ReportError(
                f"tensor {entry.name!r} stands in it twice, with different ranges",
                where=f"{where}, line {n}",
                fix="Remove one of the two lines",
            )


@dataclass(frozen=True)
class CacheMatch:
    """How a cache and a model go together.

    Attributes
    ----------
    matched
        Usable thresholds of tensors that the model has.
    missing
        Tensors wanted and without a usable range.
    unusable
        Entries of the model's tensors whose range is 0, NaN or infinite.
    unknown
        Names that TensorRT makes up while it imports a model: no ONNX file has such tensors.
    stale
        Other names that the model does not have: the cache was made for another export of it, or another model.
    """

    matched: dict[str, float]
    missing: tuple[str, ...]
    unusable: tuple[str, ...]
    unknown: tuple[str, ...]
    stale: tuple[str, ...]

    def __str__(self) -> str:
        text = f"{len(self.matched)} ranges matched, {len(self.missing)} missing, {len(self.unknown)} TensorRT's own"
        if self.unusable:
            text += f", {len(self.unusable)} unusable"
        if self.stale:
            text += f"; {len(self.stale)} belong to no tensor of this model, the first is {self.stale[0]!r}:"
            text += " the cache may be that of an older export"
        return text


def match_cache(cache: CalibrationCache, tensors: Collection[str], quantizable: Collection[str] = ()) -> CacheMatch:
    """Match the entries of a cache to the tensors of a model.

    Parameters
    ----------
    cache
        The cache.
    tensors
        Names of all tensors of the model.
    quantizable
        Names of those that need a range.
    """
    names = set(tensors)
    matched = {entry.name: entry.amax for entry in cache.entries if entry.usable and entry.name in names}
    strangers = [entry.name for entry in cache.entries if entry.name not in names]
    return CacheMatch(
        matched=matched,
        missing=tuple(name for name in quantizable if name not in matched),
        unusable=tuple(e.name for e in cache.entries if not e.usable and e.name in names),
        unknown=tuple(name for name in strangers if _MADE_UP.search(name)),
        stale=tuple(name for name in strangers if not _MADE_UP.search(name)),
    )
