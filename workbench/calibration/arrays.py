"""Arrays in .npy and .npz files, trusted as far as they can be, since a header can claim anything; counts in them."""

from __future__ import annotations

import math
import sys
import zipfile
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.lib import format as npy

from workbench.errors import ReportError, SamplesError
from workbench.limits import check, mib

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

__all__ = ["as_text", "by_significance", "from_significance", "npy_header", "read_array", "read_arrays"]


def npy_header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Read the header of an .npy stream: shape, whether in Fortran order, dtype.

    Raises
    ------
    ValueError
        It is no header, or one of an array that holds no numbers.
    """
    try:
        version = npy.read_magic(stream)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, fortran, dtype = read(stream)
    except Exception as error:  # the header is a Python literal, and its reader raises what Python's parser does
        raise ValueError(f"no header of an array ({type(error).__name__})") from error
    if dtype.hasobject:
        raise ValueError("object arrays are not data")
    if dtype.itemsize == 0 or any(not 0 <= length < 2**62 for length in shape):
        raise ValueError(f"an array of shape {shape} and type {dtype}")
    return shape, fortran, dtype


def read_array(path: Path) -> npt.NDArray[Any]:
    """Read an .npy file.

    Raises
    ------
    ValueError, OSError
        It is damaged, or cannot be read.
    SamplesError
        It is over the limit ``array_mib``.
    """
    with path.open("rb") as file:
        shape, _, dtype = npy_header(file)
        check("array_mib", mib(math.prod(shape) * dtype.itemsize), SamplesError, where=path)
        if path.stat().st_size - file.tell() < math.prod(shape) * dtype.itemsize:
            raise ValueError("the file ends early")
        file.seek(0)
        array: npt.NDArray[Any] = npy.read_array(file, allow_pickle=False)
    return as_text(array)


def as_text(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return an array as it is, unless it holds characters that do not exist: Python fails over those in C.

    Raises
    ------
    ValueError
        It holds some.
    """
    if array.dtype.kind == "U" and array.size:
        codes = np.asarray(array.astype(array.dtype.newbyteorder("="), copy=False), order="C").reshape(-1)
        if codes.view(np.uint32).max() > sys.maxunicode:
            raise ValueError("text with characters that do not exist")
    return array


def read_arrays(path: str | Path) -> dict[str, npt.NDArray[Any]]:
    """Read an .npz file as a whole.

    Raises
    ------
    ValueError, OSError
        It is damaged, or cannot be read.
    ReportError
        An array is over the limit ``array_mib``.
    """
    arrays = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                with archive.open(name) as stream:
                    shape, _, dtype = npy_header(stream)
                size = math.prod(shape) * dtype.itemsize
                check("array_mib", mib(size), ReportError, where=f"{path}, {name}")
                with archive.open(name) as stream:
                    arrays[name.removesuffix(".npy")] = as_text(npy.read_array(stream, allow_pickle=False))
    except (ReportError, OSError):
        raise
    except Exception as error:  # zipfile and its decoders raise about ten kinds
        raise ValueError(str(error) or type(error).__name__) from error
    return arrays


def by_significance(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
    """Return bytes, the least significant of all counts first: the upper ones are nearly all zero and compress away."""
    return np.moveaxis(counts.view(np.uint8).reshape(*counts.shape, 8), -1, 0)


def from_significance(planes: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """Return counts from what `by_significance` made."""
    return np.asarray(np.moveaxis(planes, 0, -1), order="C").view("<i8")[..., 0].astype(np.int64)
